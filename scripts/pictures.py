"""Draw what the project shows of itself, from real answers: `make pictures`.

checkpoints/<topic>/first.json         the answer a page opens with
checkpoints/<topic>/<variant>/README.md  the model card
docs/pictures/<topic>-{light,dark}.png the figure, for the gallery's card
docs/pictures/page-*.png               whole pages, for the README
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
from pathlib import Path

from core import card as cards
from core import markup, model_card, store

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
BEGIN, END = "<!-- topics: written by scripts/pictures.py -->", "<!-- end of topics -->"


def write_first_answer(slug: str) -> None:
    """Compute and store the answer that the page of a topic opens with."""
    space = importlib.import_module(f"apps.{slug}").space
    answer = space.last_answer(space.card.defaults())
    path = store.CHECKPOINTS / slug / "first.json"
    path.write_text(json.dumps(dataclasses.asdict(answer), indent=1) + "\n", encoding="utf-8")


def write_model_cards(card: cards.Card) -> None:
    """The README.md of every run of a topic."""
    for folder in sorted((store.CHECKPOINTS / card.slug).iterdir()):
        if folder.is_dir():
            run = store.load(f"{card.slug}/{folder.name}")
            (folder / "README.md").write_text(model_card.text(card, run), encoding="utf-8")


def write_table(topics: list[cards.Card]) -> None:
    """The README's row per topic: picture, question, score, where it runs."""
    rows = ["| | question | held-out score | run it alone |", "| --- | --- | --- | --- |"]
    for card in topics:
        score = card.scores[0]
        value = markup.score_cell(score, store.load(score.run).score(score.key))
        picture = f'<img src="docs/pictures/{card.slug}-light.png" width="220" alt="">'
        rows.append(
            f"| {picture} | **{card.question}** {card.claim} | {score.label}: {value} | "
            f"[`gradio apps/{card.slug}.py`](apps/{card.slug}.py) |"
        )
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    table = "\n".join([BEGIN, *rows, END])
    path.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


def photograph(topics: list[cards.Card]) -> None:
    """Open the gallery in Chromium and take its pictures."""
    from playwright.sync_api import sync_playwright

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port)}
    server = subprocess.Popen([sys.executable, "apps/gallery.py"], cwd=ROOT, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{address}/healthz", timeout=1)
                break
            except OSError:
                time.sleep(0.3)
        PICTURES.mkdir(parents=True, exist_ok=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
            for theme in ("light", "dark"):
                page = browser.new_page(viewport={"width": 1366, "height": 640}, color_scheme=theme)
                for card in topics:
                    page.goto(f"{address}/{card.slug}/")
                    page.wait_for_selector("#figure .main-svg")
                    page.wait_for_timeout(1000)
                    page.locator("#figure").screenshot(path=PICTURES / f"{card.slug}-{theme}.png")
                    page.screenshot(path=PICTURES / f"page-{card.slug}-{theme}.png")
                page.close()
            phone = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2)
            phone.goto(f"{address}/{topics[0].slug}/")
            phone.wait_for_selector("#figure .main-svg")
            phone.wait_for_timeout(1000)
            phone.screenshot(path=PICTURES / "page-phone.png")
            home = browser.new_page(viewport={"width": 1366, "height": 640})
            home.goto(address)
            home.wait_for_load_state("networkidle")
            home.screenshot(path=PICTURES / "page-gallery.png")
            browser.close()
    finally:
        server.terminate()
        server.wait(timeout=15)


def main() -> None:
    topics = [cards.load(slug).CARD for slug in cards.topics()]
    for card in topics:
        write_model_cards(card)
        write_first_answer(card.slug)
    photograph(topics)
    write_table(topics)


if __name__ == "__main__":
    main()
