"""Draw what the project shows of itself, from real answers: `make pictures`.

checkpoints/<topic>/first.json         the answer a page opens with
checkpoints/<topic>/<variant>/README.md  the model card
docs/pictures/<topic>-{light,dark}.png the figure, for the gallery's card
docs/pictures/{page,phone}-*.png       whole pages, for the README
README.md                              the table of topics, between its markers
"""

import dataclasses
import importlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

from core import card as cards
from core import markup, model_card, store

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
BEGIN, END = "<!-- topics: written by scripts/pictures.py -->", "<!-- end of topics -->"


def write_first_answer(slug: str) -> None:
    """Compute and store the answer that the page of a topic opens with."""
    space = importlib.import_module(f"apps.{slug}").space
    answer = dataclasses.asdict(space.last_answer(space.card.defaults()))
    weights = store.load(space.run).config["files"]["model.safetensors"]
    path = store.CHECKPOINTS / slug / "first.json"
    path.write_text(json.dumps({"weights": weights, "answer": answer}, indent=1) + "\n", encoding="utf-8")


def write_model_cards(card: cards.Card) -> None:
    """The README.md of every run of a topic."""
    for folder in sorted((store.CHECKPOINTS / card.slug).glob("*")):
        if folder.is_dir():
            run = store.load(f"{card.slug}/{folder.name}")
            (folder / "README.md").write_text(model_card.text(card, run), encoding="utf-8")


def write_table(topics: list[cards.Card]) -> None:
    """The README's row per topic: picture, question, score, where it runs."""
    rows = ["| | question | held-out score | run it alone |", "| --- | --- | --- | --- |"]
    for card in topics:
        command, page, said = "gradio", f"apps/{card.slug}.py", "none: a concept page of the lab"
        if card.surface == "lab":
            command, page = "streamlit run", f"apps/lab_pages/{card.slug}.py"
        else:
            score = card.scores[0]
            said = f"{score.label}: {markup.score_cell(score, store.load(score.run).score(score.key))}"
        picture = f'<img src="docs/pictures/{card.slug}-light.png" width="220" alt="">'
        rows.append(f"| {picture} | **{card.question}** {card.claim} | {said} | [`{command} {page}`]({page}) |")
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    table = "\n".join([BEGIN, *rows, END])
    path.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


@contextmanager
def gallery() -> Iterator[str]:
    """The gallery on a free port; yields its address."""
    with served(["apps/gallery.py"], "healthz") as address:
        yield address


@contextmanager
def lab() -> Iterator[str]:
    """The lab on a free port; yields its address."""
    with served(["-m", "streamlit", "run", "apps/lab.py"], "_stcore/health") as address:
        yield address


@contextmanager
def served(command: list[str], health: str) -> Iterator[str]:
    """A server of the project on a free port; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "STREAMLIT_SERVER_PORT": str(port)}
    server = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{health}", timeout=1)
                break
            except OSError:
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=15)


def photograph_spaces(browser: Browser, topics: list[cards.Card]) -> None:
    """Page, phone and figure of every Space at its cover, in both themes."""
    with gallery() as address:
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1366, "height": 640}, color_scheme=theme)
            for card in topics:
                open_space(page, f"{address}/{card.slug}/?{urlencode(card.address(card.parse(card.cover)))}")
                page.screenshot(path=PICTURES / f"page-{card.slug}-{theme}.png")
            # A narrow page draws the figure as small as a card shows it, with type that can be read there.
            phone = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2, color_scheme=theme)
            for card in topics:
                open_space(phone, f"{address}/{card.slug}/?{urlencode(card.address(card.parse(card.cover)))}")
                phone.locator("#figure").screenshot(path=PICTURES / f"{card.slug}-{theme}.png")
                phone.screenshot(path=PICTURES / f"phone-{card.slug}-{theme}.png")


def photograph_lab(browser: Browser, topics: list[cards.Card]) -> None:
    """Figure of every concept page at its cover, in both themes; page and phone of the first."""
    with lab() as address:
        for theme in ("light", "dark"):
            phone = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2, color_scheme=theme)
            page = browser.new_page(viewport={"width": 1366, "height": 640}, color_scheme=theme)
            for card in topics:
                query = urlencode(card.address(card.parse(card.cover)))
                open_space(phone, f"{address}/{card.slug}?{query}", ".lab-figure")
                phone.locator(".lab-figure .drawing").screenshot(path=PICTURES / f"{card.slug}-{theme}.png")
            open_space(page, f"{address}/{topics[0].slug}", ".lab-figure")
            page.screenshot(path=PICTURES / f"page-lab-{theme}.png")


def open_space(page: Page, address: str, figure: str = "#figure") -> None:
    """Go there and wait until the answer is drawn."""
    page.goto(address)
    page.wait_for_selector(f"{figure} .main-svg")
    page.wait_for_timeout(1000)


def photograph_home(browser: Browser) -> None:
    """The front door, which shows the pictures that `photograph_spaces` took."""
    with gallery() as address:
        page = browser.new_page(viewport={"width": 1366, "height": 640})
        page.goto(address)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=PICTURES / "page-gallery.png")


def main() -> None:
    topics = [cards.load(slug).CARD for slug in cards.topics()]
    spaces = [card for card in topics if card.surface == "space"]
    for card in topics:
        write_model_cards(card)
    for card in spaces:
        write_first_answer(card.slug)
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        photograph_spaces(browser, spaces)
        photograph_lab(browser, [card for card in topics if card.surface == "lab"])
        photograph_home(browser)
        browser.close()
    write_table(topics)


if __name__ == "__main__":
    main()
