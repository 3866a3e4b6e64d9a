"""The map of leaves in a real browser: click a leaf, move the margin, drop a photo, replay, train live and stop."""

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest
from browsing import PHONE, Visitor
from playwright.sync_api import expect

from apps import triplet
from core.topics.triplet.card import CARD, EPOCHS, LEAVES

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]


def sentence(own: str = "", **values: Any) -> str:
    """What the figure must say for these settings, computed here."""
    return triplet.answer(CARD.parse(values), own).figure["layout"]["meta"]["sentence"]


def place_of(visitor: Visitor, number: int) -> dict[str, float]:
    """Where a leaf is on the screen."""
    return visitor.page.evaluate(
        """number => {
            const frame = document.querySelector('#figure .vitrine-figure');
            const { xaxis, yaxis } = frame._fullLayout;
            const box = frame.getBoundingClientRect();
            for (const trace of frame.data) {
                const index = (trace.customdata || []).findIndex(([own]) => own === number);
                if (index >= 0 && (trace.xaxis || 'x') === 'x') {
                    const x = Array.from(trace.x)[index], y = Array.from(trace.y)[index];
                    return { x: box.x + xaxis._offset + xaxis.l2p(x), y: box.y + yaxis._offset + yaxis.l2p(y) };
                }
            }
        }""",
        number,
    )


def leaf_files(count: int) -> list[dict[str, Any]]:
    """Some leaves of the sheet as files."""
    urls = [triplet.picture(number) for number in (*LEAVES.values(), 3, 7, 84, 130, 208, 448)][:count]
    return [
        {"name": f"leaf{n}.jpg", "mimeType": "image/jpeg", "buffer": base64.b64decode(url.split(",")[1])}
        for n, url in enumerate(urls)
    ]


def hand(visitor: Visitor, button: str, files: list[dict[str, Any]]) -> None:
    """Hand files to an upload button, through the browser's own dialogue."""
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.click(button)
    chooser.value.set_files(files)


def tab(visitor: Visitor, name: str) -> Any:
    """Open a tab; returns its panel."""
    visitor.page.get_by_role("tab", name=name, exact=True).click()
    return visitor.page.get_by_role("tabpanel").filter(visible=True)


def test_it_opens_with_a_map_of_leaves(visit: Visit) -> None:
    visitor = visit("/triplet/")
    assert visitor.sentence == sentence()
    assert len(visitor.tiles) == 4
    visitor.page.wait_for_timeout(800)
    visitor.picture("triplet-light")


def test_a_leaf_shows_itself_and_is_asked_by_a_click(visit: Visit) -> None:
    visitor = visit("/triplet/")
    number = 162
    place = place_of(visitor, number)
    visitor.page.mouse.move(place["x"] + 30, place["y"] + 30)
    visitor.page.mouse.move(place["x"], place["y"], steps=5)
    expect(visitor.page.locator("#figure .thumbnail")).to_be_visible()
    visitor.picture("triplet-hover")
    visitor.page.mouse.click(place["x"], place["y"])
    visitor.shows("leaf", "number")
    picked = int(visitor.query["number"])
    assert visitor.sentence == sentence(leaf="number", number=picked)
    expect(visitor.page.locator("#follow")).to_contain_text(f"Leaf {picked} shows", timeout=15_000)
    expect(visitor.page.locator("#follow")).to_contain_text("L = max(")


@pytest.mark.alone
def test_the_margin_is_moved(visit: Visit, capsys: pytest.CaptureFixture) -> None:
    visitor = visit("/triplet/?margin=0.5")
    visitor.answers_in_time("margin", 150, capsys)
    visitor.shows("margin", "1.25")
    assert visitor.sentence == sentence(margin=1.25)


def test_a_photo_is_dropped_on_the_map(visit: Visit) -> None:
    visitor = visit("/triplet/")
    before = visitor.sentence
    hand(visitor, "#upload", leaf_files(1))
    assert "Nearest to your picture" in visitor.answered(before)
    assert "Your own picture is not part of the link." in visitor.note
    assert "second head" in visitor.tiles[1]
    visitor.page.wait_for_timeout(500)
    visitor.picture("triplet-own")
    visitor.slider("epoch").focus()
    visitor.page.keyboard.press("ArrowLeft")
    visitor.told("Only the finished network can place a new picture")


def test_the_training_is_replayed_paused_and_scrubbed(visit: Visit) -> None:
    visitor = visit("/triplet/?view=pca")
    assert visitor.query["epoch"] == str(EPOCHS)
    visitor.page.click("#play-epoch")
    visitor.shows("epoch", "2")
    visitor.page.click("#play-epoch")
    visitor.page.wait_for_timeout(1000)
    paused = visitor.query["epoch"]
    visitor.page.wait_for_timeout(1500)
    assert visitor.query["epoch"] == paused
    assert visitor.sentence == sentence(view="pca", epoch=int(paused))
    visitor.slider("epoch").focus()
    visitor.page.keyboard.press("ArrowRight")
    visitor.shows("epoch", str(int(paused) + 1))
    visitor.page.keyboard.press("End")
    visitor.shows("epoch", str(EPOCHS))
    visitor.page.keyboard.press("ArrowLeft")
    visitor.shows("epoch", str(EPOCHS - 1))
    visitor.page.click("#play-epoch")
    visitor.shows("epoch", str(EPOCHS))
    expect(visitor.page.locator("#play-epoch")).to_have_text("Play Epoch")


def test_two_maps_learn_side_by_side_and_are_stopped(visit: Visit) -> None:
    visitor = visit("/triplet/?mining=batch_all&batch=350&margin=2")  # slow enough to be stopped
    panel = tab(visitor, "Train live")
    panel.get_by_role("button", name="Start").click()
    expect(panel.locator("svg")).to_have_count(4, timeout=15_000)
    first = panel.locator("svg").first.inner_html()
    expect(panel).to_contain_text("of 400 steps")
    visitor.page.wait_for_function(
        """before => {
            const maps = [...document.querySelectorAll('#tabs svg[viewBox="0 0 100 100"]')];
            const map = maps.find((one) => one.checkVisibility());
            return map && map.innerHTML !== before;
        }""",
        arg=first,
    )
    panel.get_by_role("button", name="Stop").click()
    visitor.page.wait_for_timeout(800)
    stopped = panel.inner_text()
    visitor.page.wait_for_timeout(1000)
    assert panel.inner_text() == stopped
    assert "400 of 400" not in stopped
    panel.scroll_into_view_if_needed()
    visitor.picture("triplet-live")


def test_hard_mining_collapses_to_the_margin(visit: Visit) -> None:
    visitor = visit("/triplet/")
    panel = tab(visitor, "Collapse")
    panel.get_by_role("button", name="Start").click()
    expect(panel).to_contain_text("after 400 of 400 steps", timeout=40_000)
    expect(panel).to_contain_text("All points have run to one place")
    loss = float(re.search(r"loss ([\d.]+) after 400", panel.inner_text())[1])
    assert loss == pytest.approx(1, abs=0.01)
    visitor.page.wait_for_timeout(500)
    panel.scroll_into_view_if_needed()
    visitor.picture("triplet-collapse")


def test_photos_become_a_class_of_their_own(visit: Visit) -> None:
    visitor = visit("/triplet/")
    panel = tab(visitor, "Your own class")
    panel.get_by_label("Its name").fill("weeds <b>")
    hand(visitor, "#own-photos", leaf_files(2))
    visitor.told("Expected 3 to 10 photos at once, got 2.")
    hand(visitor, "#own-photos", leaf_files(4))
    expect(panel).to_contain_text(
        "of your 4 photos lie nearest to the middle of the others of weeds <b>", timeout=15_000
    )
    assert panel.locator(".main-svg").first.is_visible()
    panel.scroll_into_view_if_needed()
    visitor.page.wait_for_timeout(500)
    visitor.picture("triplet-class")
    broken = [*leaf_files(3), {"name": "leaf.png", "mimeType": "image/png", "buffer": b"no picture"}]
    hand(visitor, "#own-photos", broken)
    visitor.told("Photo 4: This file is not a picture")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_in_its_width(visit: Visit, scheme: str) -> None:
    visitor = visit("/triplet/?view=tsne", viewport=PHONE, color_scheme=scheme)
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    visitor.page.wait_for_timeout(800)
    visitor.picture(f"triplet-phone-{scheme}", whole=True)


def test_the_dark_page_is_looked_at(visit: Visit) -> None:
    visitor = visit("/triplet/?colour=source&view=pca&leaf=healthy", color_scheme="dark")
    assert "knows the collection" in visitor.tiles[-1]
    visitor.page.wait_for_timeout(800)
    visitor.picture("triplet-dark")
