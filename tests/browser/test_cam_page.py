"""The page of heat maps in a real browser: upload, drag, switch, click a spot, compare, share, phone."""

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from browsing import PHONE, Visitor
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from apps import cam
from core.topics.cam.card import CARD, METHODS

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]


def sentence(**values: Any) -> str:
    """What the figure must say for these settings, computed here."""
    return cam.answer(CARD.parse(values), "").figure["layout"]["meta"]["sentence"]


def choose(visitor: Visitor, name: str, label: str) -> None:
    """Pick an entry of a menu, or of a row of buttons."""
    row = visitor.page.locator(f"#control-{name} label", has_text=re.compile(f"^ *{re.escape(label)} *$"))
    if row.count():
        row.click()
        return
    visitor.page.locator(f"#control-{name} input").click()
    visitor.page.get_by_role("option", name=label, exact=True).click()


def click_photo(visitor: Visitor, x: float, y: float) -> None:
    """Click the photo under the map; in shares of its sides."""
    box = visitor.page.locator("#figure .nsewdrag").first.bounding_box()
    visitor.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def upload(visitor: Visitor, name: str, content: bytes) -> None:
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.click("#upload")
    chooser.value.set_files({"name": name, "mimeType": "image/png", "buffer": content})


def orange() -> bytes:
    """An orange on a blue table."""
    picture = Image.new("RGB", (640, 480), (40, 60, 120))
    ImageDraw.Draw(picture).ellipse([160, 80, 480, 400], fill=(250, 140, 20))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_it_opens_with_a_map_of_a_photo(visit: Visit) -> None:
    visitor = visit("/cam/")
    assert visitor.sentence == sentence()
    assert len(visitor.tiles) == 4
    box = visitor.page.locator("#actions").bounding_box()
    assert box["y"] + box["height"] <= 640, "question, photo, map and tour fit without scrolling"
    visitor.page.wait_for_timeout(1000)
    visitor.picture("cam-light")


def test_methods_classes_and_layers_answer_at_once(visit: Visit) -> None:
    visitor = visit("/cam/")
    for name, label, change in (
        ("photo", "lion | goldfish", {"photo": "lion_goldfish"}),
        ("target", "goldfish", {"target": "goldfish"}),
        ("stage", "one earlier", {"stage": "late"}),
        ("method", METHODS["layer_cam"], {"method": "layer_cam"}),
    ):
        choose(visitor, name, label)
        (key, value), *_ = change.items()
        visitor.shows(key, value)
    expected = {"photo": "lion_goldfish", "target": "goldfish", "stage": "late", "method": "layer_cam"}
    assert visitor.sentence == sentence(**expected)
    assert "goldfish's half" in visitor.tiles[-1]
    opacity = "name => getComputedStyle(document.querySelector(`#control-${name}`)).opacity"
    assert visitor.page.evaluate(opacity, "sigma") == "0.45", "LayerCAM has no noise"
    assert visitor.page.evaluate(opacity, "stage") == "1"
    visitor.picture("cam-idle-control")


@pytest.mark.alone
@pytest.mark.parametrize(
    ("settings", "control", "promise_ms"),
    [("strength=0", "strength", 150), ("method=smooth_grad", "sigma", 300)],
)
def test_a_slider_answers_in_time(visit: Visit, settings, control, promise_ms, capsys) -> None:
    visitor = visit(f"/cam/?{settings}")
    if control == "strength":
        visitor.page.click("#more > button")
    visitor.answers_in_time(control, promise_ms, capsys)


def test_the_noise_is_dragged(visit: Visit) -> None:
    visitor = visit("/cam/?method=smooth_grad&n=4")
    slider = visitor.slider("sigma")
    slider.focus()
    visitor.page.keyboard.press("ArrowRight")
    visitor.shows("sigma", "0.16")
    assert visitor.sentence == sentence(method="smooth_grad", n=4, sigma=0.16)


def test_a_click_covers_the_spot_and_follows_its_value(visit: Visit) -> None:
    visitor = visit("/cam/")
    click_photo(visitor, 0.55, 0.3)
    visitor.shows("cover", "1")
    # The map of the last layer has eight places per side, and a click takes the middle of one.
    assert (int(visitor.query["x"]), int(visitor.query["y"])) == (56, 31)
    assert "with the spot covered" in visitor.tiles[3]
    assert visitor.page.locator("#control-cover input").is_checked()
    expect(visitor.page.locator("#follow")).to_contain_text("instead of", timeout=15_000)
    assert "240 channels" in visitor.page.locator("#follow").inner_text()
    visitor.page.wait_for_timeout(500)
    visitor.picture("cam-spot")


def test_the_value_at_the_spot_is_followed_without_a_mouse(visit: Visit) -> None:
    visitor = visit("/cam/?x=30&y=60")
    visitor.page.locator("#ask").focus()
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.locator("#follow")).to_contain_text("30 % from the left and 60 % down", timeout=15_000)


def test_an_upload_is_explained_and_stays_out_of_the_link(visit: Visit) -> None:
    visitor = visit("/cam/")
    before = visitor.sentence
    upload(visitor, "orange.png", orange())
    assert visitor.answered(before).startswith("Grad-CAM for orange")
    assert "not part of the link" in visitor.note
    upload(visitor, "text.png", b"no picture")
    visitor.told("picture")
    assert visitor.sentence.startswith("Grad-CAM for orange"), "the former answer stays"
    visitor.picture("cam-upload")


def test_what_is_empty_is_said_and_not_painted(visit: Visit) -> None:
    visitor = visit("/cam/?target=lion&against=lion")
    visitor.told("nothing is left to explain")


def test_two_methods_side_by_side(visit: Visit) -> None:
    visitor = visit("/cam/")
    visitor.pin()
    visitor.page.get_by_role("tab", name="Compare").click()
    choose(visitor, "method", METHODS["cam"])
    visitor.shows("method", "cam")
    expect(visitor.page.locator("#differences")).to_contain_text("Method: Grad-CAM in A, CAM in B")
    for side in ("a", "b"):
        visitor.page.wait_for_selector(f"#figure-{side} .heatmaplayer image", state="attached")
    visitor.page.locator("#figure-a").scroll_into_view_if_needed()
    visitor.picture("cam-compare")


def test_a_link_restores_everything(visit: Visit) -> None:
    settings = {"photo": "school_bus", "method": "occlusion", "x": 30, "y": 70, "cover": 1, "smooth": 0}
    expected = sentence(**settings)
    first = visit("/cam/?strength=0.4&" + "&".join(f"{name}={value}" for name, value in settings.items()))
    first.shows("seed", "0")  # the whole state is in the address once the answer has come
    second = visit("/cam/?" + "&".join(f"{name}={value}" for name, value in first.query.items()))
    assert second.sentence == first.sentence == expected
    assert second.tiles == first.tiles
    assert "with the spot covered" in second.tiles[3]
    assert second.query == first.query


@pytest.mark.alone  # beside others, the ladder is sometimes whole before Stop arrives
def test_sheets_are_drawn_and_stopped(visit: Visit) -> None:
    visitor = visit("/cam/?n=2&photo=lion_goldfish")
    visitor.page.get_by_role("tab", name="All methods").click()
    sheet = visitor.page.get_by_role("tabpanel").filter(visible=True)
    sheet.get_by_role("button", name="Start").click()
    expect(sheet.locator("img")).to_have_count(len(METHODS), timeout=30_000)
    visitor.picture("cam-all", whole=True)
    visitor.page.get_by_role("tab", name="Noise ladder").click()
    sheet = visitor.page.get_by_role("tabpanel").filter(visible=True)
    sheet.get_by_role("button", name="Start").click()
    expect(sheet.locator("img").first).to_be_visible(timeout=15_000)
    sheet.get_by_role("button", name="Stop").click()
    visitor.page.wait_for_timeout(2500)
    drawn = sheet.locator("img").count()
    visitor.page.wait_for_timeout(2000)
    assert sheet.locator("img").count() == drawn < 16


def test_on_a_phone_nothing_is_wider_than_the_screen(visit: Visit) -> None:
    visitor = visit("/cam/?photo=lion_goldfish", viewport=PHONE)
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    photo, curves = (visitor.page.locator("#figure .nsewdrag").nth(place).bounding_box() for place in (0, 1))
    assert curves["y"] > photo["y"] + photo["height"], "the curves stand below the photo"
    visitor.page.wait_for_timeout(500)
    visitor.picture("cam-phone", whole=True)


def test_in_the_dark(visit: Visit) -> None:
    visitor = visit("/cam/?photo=lion_goldfish&method=cam", color_scheme="dark")
    visitor.page.wait_for_timeout(500)
    visitor.picture("cam-dark")


def test_two_visitors_with_different_photos_never_mix(visit: Visit) -> None:
    first, second = visit("/cam/?photo=lion"), visit("/cam/?photo=goldfish")
    for stage, label in (("late", "one earlier"), ("middle", "two earlier"), ("last", "the last")):
        choose(first, "stage", label)
        choose(second, "stage", label)
        for visitor, photo in ((first, "lion"), (second, "goldfish")):
            visitor.shows("stage", stage)
            assert visitor.sentence == sentence(photo=photo, stage=stage)
