"""The concept pages in a real Chromium, from the real server: quick, steady, apart, and nothing asked outside."""

import re
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browsing import DESKTOP, EXPECTED_LOG, PHONE, PICTURES, SLACK
from labs import CARDS, served
from playwright.sync_api import Browser, Page

from core.card import Card

pytestmark = pytest.mark.browser
PROMISED_MS = 200  # from a key to the figure drawn anew
every_page = pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("lab") / "log") as url:
        yield url


@pytest.fixture
def visit(browser: Browser, lab: str) -> Iterator[Callable[..., Page]]:
    """visit(path, **options of a browser context) opens a page; no page may complain or ask outside."""
    contexts, complaints = [], []

    def hear(message: Any) -> None:
        if message.type == "error" and not EXPECTED_LOG.search(message.text):
            complaints.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith((lab, lab.replace("http", "ws", 1), "data:", "blob:")):
            complaints.append(f"asked {request.url}")

    def start(path: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        context.set_default_timeout(90_000)  # a machine that trains beside the tests is many times slower
        contexts.append(context)
        page = context.new_page()
        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", asked)
        page.on("websocket", asked)
        page.goto(lab + path)
        page.wait_for_selector(".lab-figure .main-svg")
        page.wait_for_selector(".drawing[data-drawn]")
        return page

    yield start
    for context in contexts:
        context.close()
    assert not complaints


def sentence(page: Page) -> str:
    return page.get_attribute(".drawing", "aria-label") or ""


def query(page: Page) -> dict[str, str]:
    return page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")


def slider(page: Page, label: str) -> Any:
    return page.locator(".stSlider", has_text=label).locator("input[type=range]")


def shows(page: Page, name: str, value: str) -> None:
    """Wait until the address holds this value."""
    page.wait_for_function(
        "([name, value]) => new URLSearchParams(location.search).get(name) === value", arg=[name, value]
    )


def keep(page: Page, name: str) -> None:
    """A picture of the whole page in an ignored folder, for somebody to look at."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    height = page.evaluate("document.querySelector('.stMain').scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": height})
    page.wait_for_timeout(500)
    page.screenshot(path=PICTURES / f"{name}.png")


@every_page
@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_a_page_is_whole(card: Card, look: str, visit: Callable[..., Page]) -> None:
    options = {"viewport": PHONE} if look == "phone" else {"color_scheme": look}
    page = visit(f"/{card.slug}", **options)
    assert page.locator("h1").inner_text() == card.question
    assert not page.locator("[data-testid=stException]").count()
    overflow = page.evaluate(
        """() => [...document.querySelectorAll('.stMain *')].filter((part) => {
            const box = part.getBoundingClientRect();
            // A slider's own input is unseen: Streamlit lays it over the thumb for screen readers.
            const apart = part.closest('.scrolls, .katex, pre, table, .stTabs') || part.matches('.stSlider input');
            return box.width && box.right > innerWidth + 1 && !apart;
        }).length"""
    )
    assert overflow == 0
    keep(page, f"lab-{card.slug}-{look}")
    if look == "phone":
        order = [page.locator(place).first.bounding_box()["y"] for place in ("h1", ".drawing", ".tour", ".stSlider")]
        assert order == sorted(order), "question, figure, tour, controls"


@pytest.mark.alone
@every_page
def test_a_key_is_answered_in_time_by_the_same_figure(
    card: Card, visit: Callable[..., Page], capsys: pytest.CaptureFixture
) -> None:
    page = visit(f"/{card.slug}")
    param = next(param for param in card.params if param.main and param.kind in ("number", "whole"))
    page.wait_for_timeout(1500)  # the parts of Streamlit that arrive late
    slider(page, param.label).focus()
    page.evaluate(
        """() => {
            window.times = [];
            window.svg = document.querySelector('.drawing .main-svg');
            let start = 0;
            document.addEventListener('keydown', () => { start = performance.now(); }, true);
            document.querySelector('.drawing').on('plotly_afterplot', () => {
                if (!start) return;
                const moved = start;
                start = 0;
                requestAnimationFrame(() => times.push(performance.now() - moved));
            });
        }"""
    )
    for step in range(12):
        page.keyboard.press("ArrowLeft" if step % 2 else "ArrowRight")
        page.wait_for_function("count => times.length > count", arg=step, polling=50)  # not with every frame
        page.wait_for_timeout(60)
    times = page.evaluate("times")
    with capsys.disabled():
        print(
            f"\n  {card.slug}, from a key to the figure: median {statistics.median(times):.0f} ms, "
            f"slowest {max(times):.0f} ms of {len(times)}"
        )
    assert page.evaluate("window.svg === document.querySelector('.drawing .main-svg')"), "drawn in place"
    assert statistics.median(times) < SLACK * PROMISED_MS


@every_page
def test_an_address_is_restored_and_follows_the_controls(card: Card, visit: Callable[..., Page]) -> None:
    state = card.parse(card.tour[-1].set)
    page = visit(f"/{card.slug}?" + "&".join(f"{name}={value}" for name, value in card.address(state).items()))
    assert query(page) == card.address(state)
    param = next(param for param in card.params if param.main and param.kind in ("number", "whole"))
    slider(page, param.label).press("End")
    shows(page, param.name, param.write(param.parse(param.high)))
    page.click("text=Reset")
    shows(page, param.name, param.write(param.default))
    assert query(page) == card.address(card.defaults())


def test_the_animation_plays_pauses_and_steps(visit: Callable[..., Page]) -> None:
    page = visit("/optimizers")
    moment = page.locator(".moment")
    assert moment.inner_text() == "step 100"
    page.click(".back")
    assert moment.inner_text() == "step 98"
    page.click(".play")
    page.wait_for_function("document.querySelector('.play').textContent === 'Play'")  # it ends by itself
    assert moment.inner_text() == "step 100"
    page.click(".play")
    page.wait_for_function("document.querySelector('.moment').textContent === 'step 10'")
    page.click(".play")
    held = moment.inner_text()
    page.wait_for_timeout(300)
    assert moment.inner_text() == held
    page.locator(".scrub").press("Home")
    assert moment.inner_text() == "step 0"
    page.click(".forward")
    assert moment.inner_text() == "step 2"
    # The mark of A stands where the walk was.
    x, y = page.evaluate(
        "(() => { const d = document.querySelector('.drawing').data; return [d[6].x[0], d[2].x[2]]; })()"
    )
    assert x == y


def test_a_click_sets_the_start(visit: Callable[..., Page]) -> None:
    page = visit("/optimizers?surface=bowl")
    before = sentence(page)
    box = page.locator(".nsewdrag[data-subplot=xy]").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    page.wait_for_function(
        "before => document.querySelector('.drawing').getAttribute('aria-label') !== before", arg=before
    )
    shows(page, "x", "0.5")
    assert float(query(page)["y"]) == pytest.approx(0.5, abs=0.02)


def test_two_visitors_are_apart(visit: Callable[..., Page]) -> None:
    first, second = visit("/optimizers"), visit("/optimizers?surface=bowl")
    untouched = sentence(second)
    slider(first, "Step size of A").press("Home")
    shows(first, "rate_a", "-4")
    assert sentence(second) == untouched
    assert query(second) == {"surface": "bowl"}


def test_live_training_goes_on_beside_other_moves_and_can_be_cancelled(visit: Callable[..., Page]) -> None:
    first, second = visit("/lr_range_test?batch=32&batches=40"), visit("/lr_range_test?batch=32&batches=40")
    first.get_by_role("button", name="Train it here").click()
    # Alone: with a second run waiting, the first one's budget can end before a busy machine hears the click.
    first.get_by_role("button", name="Cancel").click()
    first.wait_for_selector("text=Cancelled; what was reached is shown.")
    for page in (first, second):
        page.get_by_role("button", name="Train it here").click()
    slider(second, "Batches per rate").press("Home")
    shows(second, "batches", "3")
    # It ends by itself: with all rates, or at its budget on a machine that is busy.
    second.get_by_role("button", name="Train it here").wait_for()
    second.wait_for_function("document.querySelectorAll('table.race').length === 1")
    assert "40 batches of 32 digits" in second.locator("table.race caption").inner_text()


def test_the_tour_by_keyboard_in_front_of_a_class(visit: Callable[..., Page]) -> None:
    page = visit("/optimizers?present=1&hide=race")
    assert page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)") > 20
    assert not page.locator("text=Race: all seven").count()
    page.locator("h1").click()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("text=Tour 2 of 3")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("text=Tour 1 of 3")
    keep(page, "lab-present")


def test_the_front_page_leads_to_every_page(visit: Callable[..., Page], lab: str) -> None:
    page = visit("/optimizers")
    page.goto(lab)
    for card in CARDS.values():
        page.locator("[data-testid=stPageLink]", has_text=card.question).click()
        page.wait_for_selector(".drawing[data-drawn]")
        assert re.search(f"/{card.slug}", page.url)
        page.go_back()
        page.wait_for_selector("[data-testid=stPageLink]")
