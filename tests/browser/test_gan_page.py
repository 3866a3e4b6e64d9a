"""The sampler of faces in a real browser: pick, slide, walk, learn in the plane, look for a picture, keep a film."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from browsing import PHONE, Visitor
from PIL import Image
from playwright.sync_api import expect

from apps import gan
from core.topics.gan.card import CARD

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]


def sentence(**values: Any) -> str:
    """What the figure must say for these settings, computed here."""
    return gan.answer(CARD.parse(values)).figure["layout"]["meta"]["sentence"]


def click_picture(visitor: Visitor, number: int) -> None:
    """Click a picture of the sheet."""
    row, column = divmod(number, 8)
    place = visitor.page.evaluate(
        """([x, y]) => {
            const frame = document.querySelector('#figure .vitrine-figure');
            const { xaxis, yaxis } = frame._fullLayout;
            const box = frame.getBoundingClientRect();
            return { x: box.x + xaxis._offset + xaxis.l2p(x), y: box.y + yaxis._offset + yaxis.l2p(y) };
        }""",
        [column + 0.5, row + 0.5],
    )
    visitor.page.mouse.move(place["x"] - 3, place["y"] - 3)
    visitor.page.mouse.move(place["x"], place["y"], steps=3)
    visitor.page.mouse.click(place["x"], place["y"])


def tab(visitor: Visitor, name: str) -> Any:
    """Open a tab; returns its panel."""
    visitor.page.get_by_role("tab", name=name, exact=True).click()
    return visitor.page.get_by_role("tabpanel").filter(visible=True)


def sheet_of(visitor: Visitor) -> str:
    """Data URL of the sheet that is shown."""
    return visitor.page.evaluate("document.querySelector('#figure .vitrine-figure').layout.images[0].source")


def test_it_opens_with_a_sheet_of_faces(visit: Visit) -> None:
    visitor = visit("/gan/")
    assert visitor.sentence == sentence()
    assert len(visitor.tiles) >= 3
    visitor.page.wait_for_timeout(800)
    visitor.picture("gan-light")


def test_a_click_chooses_a_face_and_a_slider_changes_it(visit: Visit) -> None:
    visitor = visit("/gan/")
    click_picture(visitor, 42)
    visitor.shows("face", "42")
    before = visitor.answered("")
    visitor.slider("d1").focus()
    for _ in range(8):
        visitor.page.keyboard.press("ArrowRight")
    visitor.shows("d1", "0.8")
    assert visitor.answered(before) == sentence(face=42, d1=0.8)
    visitor.picture("gan-changed")


def test_two_visitors_with_one_link_see_the_same_faces_and_others_their_own(visit: Visit) -> None:
    first, second, other = (visit(f"/gan/?seed={seed}") for seed in (5, 5, 6))
    assert sheet_of(first) == sheet_of(second) != sheet_of(other)


def test_a_walk_is_scrubbed(visit: Visit) -> None:
    visitor = visit("/gan/?view=walk&position=0")
    before = visitor.sentence
    visitor.slider("position").focus()
    visitor.page.keyboard.press("End")
    assert visitor.answered(before) == sentence(view="walk", position=1.0)
    visitor.picture("gan-walk")


@pytest.mark.parametrize("view", ["copies", "epochs", "photo"])
def test_every_view_is_drawn(visit: Visit, view: str) -> None:
    visitor = visit(f"/gan/?view={view}&epoch=1")
    assert visitor.sentence == sentence(view=view, epoch=1)
    visitor.page.wait_for_timeout(400)
    visitor.picture(f"gan-{view}")


def test_a_walk_becomes_a_film_that_can_be_saved(visit: Visit) -> None:
    visitor = visit("/gan/?view=walk")
    panel = tab(visitor, "Film")
    panel.get_by_role("button", name="Make it").click()
    link = panel.get_by_role("link", name="Save as WebP")
    expect(link).to_be_visible()
    content = base64.b64decode(link.get_attribute("href").split(",")[1])
    assert Image.open(io.BytesIO(content)).n_frames > 10  # type: ignore[attr-defined]
    visitor.picture("gan-film")


def a_file(name: str = "own.png") -> dict[str, Any]:
    """A picture that no network drew."""
    buffer = io.BytesIO()
    Image.fromarray(np.indices((90, 120)).sum(axis=0).astype(np.uint8)).save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


def hand(visitor: Visitor, file: dict[str, Any]) -> None:
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.click("#find-file")
    chooser.value.set_files([file])


def test_a_picture_of_one_s_own_is_looked_for_to_the_end(visit: Visit) -> None:
    visitor = visit("/gan/")
    panel = tab(visitor, "Find my picture")
    hand(visitor, a_file())
    expect(panel).to_contain_text("step 120 of 120", timeout=60_000)
    visitor.picture("gan-found")
    hand(visitor, {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"})
    visitor.told("not a picture")
    expect(panel).to_contain_text("step 120 of 120")


def test_the_search_can_be_stopped(visit: Visit) -> None:
    visitor = visit("/gan/")
    panel = tab(visitor, "Find my picture")
    hand(visitor, a_file())
    expect(panel).to_contain_text("of 120")
    visitor.page.click("#find-stop")
    visitor.page.wait_for_timeout(1500)  # the part that was being computed may still arrive
    stopped = panel.inner_text()
    visitor.page.wait_for_timeout(1500)
    assert panel.inner_text() == stopped


def test_players_in_the_plane_play_pause_and_step(visit: Visit) -> None:
    visitor = visit("/gan/")
    panel = tab(visitor, "See it learn")
    label = "document.querySelector('#toy-gan .vitrine-figure').getAttribute('aria-label')"
    panel.get_by_role("button", name="One step of G").click()
    visitor.page.wait_for_function(f"{label} === 'GAN after 1 steps'")
    panel.get_by_role("button", name="Play").click()
    visitor.page.wait_for_function(f"/after [0-9]{{2,}} steps/.test({label})")
    visitor.page.wait_for_timeout(2500)
    panel.get_by_role("button", name="Pause").click()
    visitor.page.wait_for_timeout(1500)
    stopped = visitor.page.evaluate(label)
    visitor.picture("gan-plane")
    visitor.page.wait_for_timeout(1500)
    assert visitor.page.evaluate(label) == stopped
    panel.get_by_role("button", name="Start again").click()
    visitor.page.wait_for_function(f"{label} === 'GAN after 0 steps'")


def test_points_of_one_s_own_are_set_by_clicks(visit: Visit) -> None:
    visitor = visit("/gan/?toy=yours")
    panel = tab(visitor, "See it learn")
    panel.get_by_role("button", name="One step of D").click()
    visitor.told("at least two points")
    visitor.page.evaluate("document.querySelector('#toy-gan').scrollIntoView({ block: 'center' })")
    box = visitor.page.locator("#toy-gan .nsewdrag").first.bounding_box()
    for x, y, said in ((0.3, 0.3, "Points that are set: 1"), (0.7, 0.6, "")):
        visitor.page.mouse.move(box["x"] + x * box["width"] - 4, box["y"] + y * box["height"])
        visitor.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
        visitor.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        expect(visitor.page.locator("#toy-said")).to_contain_text(said)
    expect(visitor.page.locator("#toy-said")).not_to_contain_text("Points")
    expect(panel).to_contain_text("before any step")
    panel.get_by_role("button", name="One step of G").click()
    visitor.page.wait_for_function(
        "document.querySelector('#toy-gan .vitrine-figure').getAttribute('aria-label') === 'GAN after 1 steps'"
    )
    visitor.picture("gan-own-points")
    panel.get_by_role("button", name="Clear my points").click()
    expect(panel).to_contain_text("Points that are set: 0")


def test_two_visitors_play_games_of_their_own_and_nobody_breaks_one(visit: Visit) -> None:
    label = "document.querySelector('#toy-gan .vitrine-figure').getAttribute('aria-label')"
    first, second = visit("/gan/"), visit("/gan/")
    panels = [tab(visitor, "See it learn") for visitor in (first, second)]
    panels[0].get_by_role("button", name="Play").click()
    panels[1].get_by_role("button", name="One step of G").click()
    second.page.wait_for_function(f"{label} === 'GAN after 1 steps'")
    for _ in range(3):  # into a game that is being played
        panels[0].get_by_role("button", name="One step of D").click()
        first.page.wait_for_timeout(300)
    first.page.wait_for_function(f"/after [0-9]{{2,}} steps/.test({label})")
    assert "broke" not in first.note
    assert second.page.evaluate(label) == "GAN after 1 steps"


@pytest.mark.alone
def test_a_slider_answers_in_time(visit: Visit, capsys: pytest.CaptureFixture) -> None:
    visit("/gan/").answers_in_time("d1", 150, capsys)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(visit: Visit, scheme: str) -> None:
    visitor = visit("/gan/", viewport=PHONE, color_scheme=scheme)
    visitor.page.wait_for_timeout(500)
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    visitor.picture(f"gan-phone-{scheme}", whole=True)
