"""The static site in Chromium, opened from disk with the network cut: pictures, tour, scores, and nothing asked for."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serving
from browsing import DESKTOP, PHONE, PICTURES
from playwright.sync_api import Browser, Page

from core import card as cards
from core import deploy, store

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TOPICS = cards.topics()
HOME_MB, SITE_MB = 1, 10


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as the script writes it."""
    folder = tmp_path_factory.mktemp("static")
    command = [sys.executable, "scripts/deploy.py", "static", "--to", str(folder)]
    subprocess.run(command, cwd=serving.ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture
def read(browser: Browser, site: Path) -> Iterator[Callable[..., Page]]:
    """read("mc_dropout", **options of a context) opens a page from disk; it may ask for files only."""
    contexts, complaints = [], []

    def heard(message: Any) -> None:
        if message.type == "error":
            complaints.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith((site.as_uri(), "data:", "blob:")):
            complaints.append(f"asked {request.url}")

    def start(topic: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        context.set_offline(True)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", asked)
        page.goto((site / topic / "index.html").as_uri())
        if topic:
            page.wait_for_selector("#figure .main-svg")
        return page

    yield start
    for context in contexts:
        context.close()
    assert not complaints


def picture(page: Page, name: str) -> None:
    """Keep a screenshot in an ignored folder, for somebody to look at."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(300)
    page.screenshot(path=PICTURES / f"static-{name}.png", full_page=True)


def sentence(page: Page) -> str:
    return page.get_attribute("#figure .vitrine-figure", "aria-label") or ""


def test_home_leads_to_every_topic(read: Callable[..., Page], site: Path) -> None:
    page = read()
    for slug in TOPICS:
        assert page.locator(f"a.card[href='{slug}/index.html']").count() == 1
    widths = page.evaluate("[...document.images].map(image => (image.loading = 'eager', image.decode()))  && 0")
    assert widths == 0
    page.wait_for_function("[...document.images].every(image => image.naturalWidth > 0)")
    picture(page, "home")
    page.fill("#search", "dropout")
    assert page.locator("a.card:visible").count() == 1
    page.click("a.card:visible")
    page.wait_for_selector("#figure .main-svg")
    page.click(".kicker a")
    page.wait_for_selector("a.card")


def test_it_is_small(site: Path) -> None:
    home = (site / "index.html").stat().st_size + deploy.size_mb(site / "pictures") * 1e6
    assert home < HOME_MB * 1e6
    assert deploy.size_mb(site) < SITE_MB


def test_it_names_no_address_outside(site: Path) -> None:
    for path in [*site.glob("*.html"), *site.glob("*/*.html")]:
        text = path.read_text(encoding="utf-8")
        for address in re.findall(r"""(?:src|srcset|href)=["']([^"']*)["']""", text):
            if "<a " in text and address.startswith("https://"):
                assert re.search(rf"<a [^>]*{re.escape(address)}", text), f"{path.name}: {address}"
            elif not address.startswith("data:"):
                assert (path.parent / address).is_file(), f"{path.name}: {address}"


@pytest.mark.parametrize("slug", TOPICS)
def test_a_topic_opens_with_its_answer_and_leads_through_its_tour(read: Callable[..., Page], slug: str) -> None:
    page, card = read(slug), cards.load(slug).CARD
    stored = json.loads((store.CHECKPOINTS / slug / "first.json").read_text())["answer"]["figure"]
    assert sentence(page) == stored["layout"]["meta"]["sentence"]
    assert page.locator("h1").inner_text() == card.question
    picture(page, f"{slug}-first")
    seen = {sentence(page)}
    for number, step in enumerate(card.tour):
        if number:
            page.click("#next")
        assert step.ask in page.locator("#step").inner_text()
        assert step.why not in page.locator("#step").inner_text()
        page.click(f"#step button >> nth={step.right}")
        assert step.why in page.locator("#step").inner_text()
        assert "Correct." in page.locator("#step").inner_text()
        seen.add(sentence(page))
    assert len(seen) > len(card.tour) // 2
    assert page.locator("#next").is_disabled()
    page.wait_for_selector("#measured .main-svg")
    for score in card.scores:
        assert page.locator("table.scores").get_by_text(score.label, exact=True).count()
    for name in ("worksheet.html", "worksheet-answers.html"):
        page.goto(page.url.replace("index.html", name))
        assert card.tour[0].ask in page.locator("body").inner_text()


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_how_it_looks(read: Callable[..., Page], look: str) -> None:
    options: dict[str, Any] = {"viewport": PHONE} if look == "phone" else {"color_scheme": look}
    for slug in ("mc_dropout",):
        page = read(slug, **options)
        page.click("#step button >> nth=0")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        picture(page, f"{slug}-{look}")
