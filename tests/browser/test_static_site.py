"""The static site in Chromium, opened from disk with the network cut: pictures, tour, scores, and nothing asked for."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import serving
import torch
from browsing import DESKTOP, PHONE, PICTURES
from playwright.sync_api import Browser, Page

from core import card as cards
from core import deploy, graph, npm, store, upload
from core.nets import DropoutCNN
from core.topics.gan import walks
from core.topics.gan.card import BEST
from core.topics.gan.network import RiseGenerator
from core.topics.mc_dropout import method
from core.topics.mc_dropout.card import RUN
from core.topics.mc_dropout.picture import framed, rotated

pytestmark = pytest.mark.browser
TOPICS = cards.topics(surface="space")
HOME_MB, SITE_MB = 1, 10
PATIENCE_MS = 120_000  # a machine that trains beside the tests takes minutes to open a page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as the script writes it; still, where the browser's runtime cannot be fetched."""
    folder = tmp_path_factory.mktemp("static")
    try:
        npm.files(serving.ROOT / "build" / "browser")
        still = []
    except npm.NotFetched:
        still = ["--still"]
    command = [sys.executable, "scripts/deploy.py", "static", "--to", str(folder), *still]
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
        context.set_default_timeout(PATIENCE_MS)
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


class Live:
    """A page of the site on a plain web server, whose controls answer.

    asked   the addresses that it asked for, below the site
    """

    def __init__(self, browser: Browser, site: Path, topic: str) -> None:
        handler = partial(QuietHandler, directory=str(site))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.asked: list[str] = []
        self.context = browser.new_context(viewport=DESKTOP)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(f"{self.url}{topic}/index.html")
        self.page.wait_for_selector("#figure .main-svg")

    def close(self) -> None:
        self.context.close()
        self.server.shutdown()
        self.server.server_close()

    def answered(self, act: Callable[[], object]) -> dict[str, Any]:
        """What the network said, once it has answered to this act."""
        self.page.evaluate("vitrine.answered = null")
        act()
        self.page.wait_for_function("vitrine.answered")
        return self.page.evaluate(
            "Object.fromEntries(Object.entries(vitrine.answered).map(([name, value]) => "
            "[name, ArrayBuffer.isView(value) ? [...value] : value]))"
        )


class QuietHandler(SimpleHTTPRequestHandler):
    """Any plain web server will do."""

    def log_message(self, *_: object) -> None:
        """The tests say what was asked."""


@pytest.fixture
def live(browser: Browser, site: Path, request: pytest.FixtureRequest) -> Iterator[Live]:
    topic = getattr(request, "param", "mc_dropout")
    if not (site / topic / "network.onnx").is_file():
        pytest.skip("the browser's runtime could not be fetched: npm and a network are needed once")
    opened = Live(browser, site, topic)
    yield opened
    opened.close()
    assert all(url.startswith((opened.url, "data:", "blob:")) for url in opened.asked)


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
    runtime = sum(path.stat().st_size for path in site.glob("assets/ort*")) / 1e6
    assert deploy.size_mb(site) - runtime < SITE_MB
    for path in site.glob("*/network.onnx"):
        assert path.stat().st_size < graph.LIMIT_MB * 1e6


def test_plotly_is_of_the_version_that_the_pages_have() -> None:
    whole = (files("plotly") / "package_data" / "plotly.min.js").read_text()
    (version,) = re.findall(r"plotly\.js v([\d.]+)", whole[:300])
    assert f"plotly.js-cartesian-dist-min@{version}" in npm.PACKAGES


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
    formula = page.locator(".formula math")
    assert formula.count() >= 1
    assert "\\" not in "".join(formula.all_text_contents())
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


# ---- the live part


def torch_votes(picture: torch.Tensor, degrees: float) -> torch.Tensor:
    """What the page's own method says of an upright picture, with its opening seed."""
    (network,) = store.networks((RUN,), DropoutCNN).values()
    turned = rotated(picture, torch.tensor([degrees]))
    generator = torch.Generator().manual_seed(0)
    return method.monte_carlo(network, turned, passes=50, rate=0.5, generator=generator)[:, 0]


def difference(found: dict[str, Any], expected: torch.Tensor) -> float:
    return float((torch.tensor(found["votes"]).view(-1, 10) - expected).abs().max())


def test_nothing_is_loaded_before_the_first_touch_and_samples_are_answered_as_by_torch(live: Live) -> None:
    live.page.wait_for_selector("#board")
    assert not [url for url in live.asked if re.search(r"ort|onnx|beside", url)]
    live.page.focus("#sample")
    live.page.wait_for_function("document.querySelectorAll('#sample option').length > 1")
    samples = store.load(RUN).tensors("samples.safetensors")
    worst = 0.0
    for label, name, degrees in (("a 3", "three", 0), ("5 or 6?", "five_or_six", 50), ("a shoe", "shoe", -135)):
        live.page.evaluate("degrees => (document.getElementById('rotate').value = degrees)", degrees)
        found = live.answered(lambda label=label: live.page.select_option("#sample", label))  # type: ignore[misc]
        worst = max(worst, difference(found, torch_votes(samples[name][None] / 255, degrees)))
    assert worst < 1e-4
    assert len([url for url in live.asked if url.endswith(".wasm")]) == 1


def test_a_drawn_digit_is_framed_and_answered_as_by_torch(live: Live) -> None:
    page, before = live.page, sentence(live.page)
    box = page.locator("#board").bounding_box()
    assert box

    def draw() -> None:
        points = [(0.3, 0.25), (0.7, 0.25), (0.5, 0.5), (0.45, 0.85)]  # a seven
        for place, (x, y) in enumerate(points):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
            if not place:
                page.mouse.down()
        page.mouse.up()

    found = live.answered(draw)
    assert sentence(page) != before
    assert found["top"] == 7
    assert f"{found['agreeing']} of 50" in page.locator("#tiles").inner_text()
    seen = torch.tensor(found["seen"]).view(1, 28, 28)
    assert difference(found, torch_votes(seen, 0)) < 1e-4
    url = page.evaluate("document.getElementById('board').toDataURL()")
    paper, _ = upload.read_url(url, longest_side=280)
    expected = framed(np.asarray(paper.convert("L"), dtype=np.float32) / 255)
    assert expected is not None
    off = float((seen - expected).abs().max())
    turned = live.answered(
        lambda: page.evaluate(
            "rotate.value = 90; rotate.dispatchEvent(new Event('input'))",
        )
    )
    assert off < 0.02
    assert difference(turned, torch_votes(seen, 90)) < 1e-4
    picture(page, "mc_dropout-live")
    page.click("#clear")
    page.click("#next")  # the tour takes over again
    assert page.locator("#input img").count()


@pytest.mark.parametrize("live", ["gan"], indirect=True)
def test_faces_are_drawn_as_by_torch(live: Live) -> None:
    page, run = live.page, store.load(BEST)
    page.wait_for_selector("#sheet")
    assert not [url for url in live.asked if re.search(r"ort|onnx|beside", url)]
    page.click("#other")
    page.wait_for_function("vitrine.sheets === 1")
    fresh = page.evaluate("sheet.toDataURL()")
    page.select_option("#seed", "3")
    page.wait_for_function("vitrine.sheets === 2")
    assert page.evaluate("sheet.toDataURL()") != fresh
    generator = run.fill(RiseGenerator(**run.network)).eval()
    directions = run.tensors("directions.safetensors")["directions"].float()
    worst = 0.0
    box = page.locator("#sheet").bounding_box()
    assert box
    set_direction = """([number, step]) => {
        const range = document.querySelectorAll("#directions input")[number];
        range.value = step;
        range.dispatchEvent(new Event("input"));
    }"""
    middle = {"x": 2.5 * box["width"] / 4, "y": 1.5 * box["height"] / 4}
    page.focus("#sheet")
    for face, steps, act in (
        (6, (0, 0), lambda: page.click("#sheet", position=middle)),
        (10, (0, 0), lambda: page.keyboard.press("ArrowDown")),
        (10, (3, 0), lambda: page.evaluate(set_direction, [0, 3])),
        (10, (3, -2), lambda: page.evaluate(set_direction, [1, -2])),
    ):
        found = live.answered(act)
        assert found["face"] == face
        latent = walks.moved(walks.sheet(generator.latent, 3)[face], directions, steps)
        with torch.inference_mode():
            expected = generator(latent[None]).flatten()
        worst = max(worst, float((torch.tensor(found["picture"]) - expected).abs().max()))
    assert worst < 1e-4
    picture(page, "gan-live")


def test_opened_from_disk_the_page_says_where_it_is_live(read: Callable[..., Page], site: Path) -> None:
    if (site / "mc_dropout" / "network.onnx").is_file():
        assert "web server" in read("mc_dropout").locator("#loading").inner_text()
