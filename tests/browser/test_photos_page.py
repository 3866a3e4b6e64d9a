"""The photo page in a real browser, and networks that come from a Hub on this machine."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import serving
from browsing import DESKTOP, PHONE, Visitor
from hub import Hub
from PIL import Image, ImageColor
from published import COMMIT, files

from apps import photos
from core import data, draw
from core.card import PUBLISHED, Published
from core.topics.photos.card import CARD

pytestmark = pytest.mark.browser

OWN = "Your own picture is not part of the link."
THERE, SILENT, GONE = "mobilenetv2", "resnet18", "convnext"  # what the Hub of these tests makes of them
LABELS = [f"thing {number}" for number in range(10)]
Visit = Callable[..., Visitor]


def commit(published: Published) -> str:
    return published.commit or COMMIT


@pytest.fixture(scope="module")
def whole_hub() -> Iterator[Hub]:
    """A Hub with one of the published networks, its weights from a seed, and one that is only to be waited for."""
    with Hub() as hub:
        there, silent = PUBLISHED[THERE], PUBLISHED[SILENT]
        hub.put(there.repository, commit(there), files(there, num_classes=len(LABELS), label_names=LABELS))
        hub.put(silent.repository, commit(silent), {"config.json": b"{}", "model.safetensors": bytes(1_000_000)})
        yield hub


@pytest.fixture
def hub(whole_hub: Hub) -> Iterator[Hub]:
    yield whole_hub
    whole_hub.faults.clear()


@pytest.fixture(scope="module")
def gallery(whole_hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Gallery]:
    """A gallery that asks this Hub."""
    folder = tmp_path_factory.mktemp("gallery")
    environment = {"HF_ENDPOINT": whole_hub.url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    with serving.gallery(folder / "log", **environment) as served:
        yield served


@pytest.fixture
def photo_page(visit: Visit) -> Visit:
    """Opens the photo page at an address's query."""
    return lambda query="", **options: visit(f"/photos/{query}", **options)


def expected(**values: Any) -> str:
    """What the figure must say for these settings, computed here."""
    return photos.answer(CARD.parse(values), "").figure["layout"]["meta"]["sentence"]


def says(visitor: Visitor, sentence: str) -> None:
    """Wait until the figure says this."""
    visitor.page.wait_for_function(
        "want => document.querySelector('#figure .vitrine-figure').getAttribute('aria-label') === want", arg=sentence
    )


def upload(visitor: Visitor, name: str, content: bytes) -> None:
    """Hand a file to the upload button, through the browser's own dialogue."""
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.click("#upload")
    chooser.value.set_files({"name": name, "mimeType": "image/png", "buffer": content})


def cat() -> bytes:
    pixels = data.photograph("chelsea")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


# ---- the small network


def test_first_answer_is_there_at_once_and_nobody_is_asked(photo_page: Visit, whole_hub: Hub) -> None:
    asked = len(whole_hub.requests)
    visitor = photo_page()
    assert visitor.sentence == expected()
    assert len(visitor.tiles) == 3
    assert visitor.note == ""
    assert not visitor.page.locator("#stop").is_visible()
    box = visitor.page.locator("#actions").bounding_box()
    assert box["y"] + box["height"] <= DESKTOP["height"], "question, photo, figure and tour fit without scrolling"
    visitor.page.wait_for_timeout(1000)
    visitor.picture("photos-light")
    visitor.picture("photos-light-whole", whole=True)
    assert len(whole_hub.requests) == asked


def test_samples_and_what_is_taken_away(photo_page: Visit) -> None:
    visitor = photo_page()
    visitor.choose("photo", "goldfish")
    says(visitor, expected(photo="goldfish"))
    visitor.page.locator("#control-grey input").check()
    says(visitor, expected(photo="goldfish", grey=True))
    visitor.choose("tiles", "4")
    says(visitor, expected(photo="goldfish", grey=True, tiles="4"))
    visitor.slider("blur").focus()
    visitor.page.keyboard.press("ArrowRight")
    visitor.shows("blur", "0.25")
    assert visitor.sentence == expected(photo="goldfish", grey=True, tiles="4", blur=0.25)
    visitor.page.evaluate("scrollTo(0, 0)")
    visitor.picture("photos-changed")
    visitor.choose("network", "cbam")
    says(visitor, expected(photo="goldfish", grey=True, tiles="4", blur=0.25, network="cbam"))


def test_upload_and_a_file_that_is_none(photo_page: Visit) -> None:
    visitor = photo_page()
    first = visitor.sentence
    upload(visitor, "note.png", b"This is a text, whatever its name says. " * 50)
    visitor.told("not a picture")
    assert visitor.sentence == first, "the former answer stays"
    upload(visitor, "cat.png", cat())
    visitor.told(OWN)
    visitor.answered(first)
    assert "photo" not in visitor.query
    assert visitor.page.locator("#control-photo input:checked").count() == 0
    visitor.picture("photos-upload")
    visitor.choose("photo", "lion")
    says(visitor, first)


def test_a_click_on_a_bar_follows_its_class(photo_page: Visit) -> None:
    visitor = photo_page("?photo=espresso")
    visitor.shows("photo", "espresso")
    second = visitor.page.locator("#figure .barlayer .point").nth(1)
    name = visitor.page.evaluate("document.querySelector('#figure .vitrine-figure').layout.yaxis.ticktext[1]")
    for _ in range(5):  # Plotly takes a click only on a bar that it has found under the pointer before
        box = second.bounding_box()
        place = (box["x"] + min(4, box["width"] / 2), box["y"] + box["height"] / 2)
        visitor.page.mouse.move(place[0], place[1] - 20)
        visitor.page.mouse.move(*place, steps=3)
        visitor.page.wait_for_timeout(500)
        visitor.page.mouse.click(*place)
        visitor.page.wait_for_timeout(1500)
        if "Softmax" in visitor.page.locator("#follow").inner_text():
            break
    assert f"the logit of {name} is" in visitor.page.locator("#follow").inner_text()
    visitor.picture("photos-follow", whole=True)


def test_pin_and_compare(photo_page: Visit) -> None:
    visitor = photo_page()
    visitor.pin()
    visitor.page.wait_for_selector("#figure-a .main-svg")
    visitor.choose("photo", "school_bus")
    visitor.choose("tiles", "4")
    visitor.shows("tiles", "4")
    words = visitor.page.locator("#differences").inner_text()
    assert "a lion in A, a school bus in B" in words
    assert "whole in A, 4 x 4 in B" in words
    sentence = "frame => frame.getAttribute('aria-label')"
    assert visitor.page.eval_on_selector("#figure-a .vitrine-figure", sentence) == expected()
    found = visitor.page.eval_on_selector("#figure-b .vitrine-figure", sentence)
    assert found == expected(photo="school_bus", tiles="4")
    visitor.page.wait_for_timeout(500)
    visitor.picture("photos-compare", whole=True)
    for side in "ab":  # what the eye sees, now that the address is another than when A was drawn
        seen = Image.open(io.BytesIO(visitor.page.locator(f"#figure-{side}").screenshot())).convert("RGB")
        bar = ImageColor.getrgb(draw.VERMILION)
        assert sum(count for count, colour in seen.getcolors(1 << 24) if colour == bar) > 2000, side


def test_copied_link_opens_the_same_state(photo_page: Visit) -> None:
    visitor = photo_page(permissions=["clipboard-read", "clipboard-write"])
    visitor.choose("photo", "lighthouse")
    visitor.choose("tiles", "2")
    visitor.shows("tiles", "2")
    visitor.page.locator("#control-grey input").check()
    visitor.shows("grey", "1")
    visitor.page.click("#copy")
    link = visitor.page.evaluate("navigator.clipboard.readText()")
    assert link == visitor.page.url
    other = photo_page(link.removeprefix(f"{visitor.gallery.url}/photos/"))
    says(other, visitor.sentence)
    assert other.page.locator("#control-photo input:checked").get_attribute("value") == "lighthouse"
    assert other.page.locator("#control-grey input").is_checked()
    assert other.query == visitor.query


# ---- networks from the Hub


def told_how_far(visitor: Visitor, part: str) -> None:
    """Wait until the page says that this much has come, with a button to stop it."""
    visitor.page.locator("#fetching", has_text=part).wait_for()
    assert visitor.page.locator("#stop").is_visible()


def network_of(visitor: Visitor) -> str:
    """The choice that the control shows."""
    return visitor.page.locator("#control-network input:checked").get_attribute("value") or ""


def test_a_network_comes_from_the_hub_or_is_stopped(photo_page: Visit, hub: Hub) -> None:
    visitor = photo_page()
    hub.faults["model.safetensors"] = "slow"
    visitor.choose("network", THERE)
    told_how_far(visitor, f"{PUBLISHED[THERE].title}: 0 of 9 MB")
    visitor.picture("photos-bringing")
    assert network_of(visitor) == "resnet"
    visitor.choose("tiles", "4")
    says(visitor, expected(tiles="4"))
    told_how_far(visitor, "0 of 9 MB")
    visitor.page.focus("#stop")
    visitor.page.keyboard.press("Enter")
    visitor.told("Stopped.")
    visitor.page.wait_for_selector("#stop", state="hidden")
    visitor.page.wait_for_timeout(1000)
    assert visitor.note == "Stopped. The former choice and its answer stay."
    assert visitor.sentence == expected(tiles="4")
    visitor.picture("photos-stopped")
    hub.faults.clear()
    visitor.choose("network", THERE)
    visitor.told(f"{PUBLISHED[THERE].title} is loaded (commit {commit(PUBLISHED[THERE])[:7]}).")
    visitor.shows("network", THERE)
    assert visitor.sentence.startswith("thing "), "with the pieces that were cut meanwhile"
    assert visitor.query["tiles"] == "4"
    assert network_of(visitor) == THERE
    assert not visitor.page.locator("#stop").is_visible()
    assert "of 10 classes have more than 1 %" in visitor.tiles[2]
    visitor.page.evaluate("scrollTo(0, 0)")
    visitor.picture("photos-published")
    visitor.choose("tiles", "1")
    visitor.shows("tiles", "1")
    assert visitor.note == ""
    again = photo_page(f"?photo=rocket&network={THERE}")
    again.page.wait_for_selector("#figure .vitrine-figure[aria-label^='thing ']")
    assert (again.query["photo"], again.query["network"]) == ("rocket", THERE)


def test_a_hub_that_does_not_deliver_is_one_sentence(photo_page: Visit) -> None:
    visitor = photo_page()
    visitor.choose("network", GONE)
    visitor.told(f"The Hub did not deliver {PUBLISHED[GONE].repository}")
    visitor.page.wait_for_timeout(500)
    assert not visitor.page.locator("#stop").is_visible()
    assert network_of(visitor) == "resnet"
    assert visitor.sentence == expected()
    visitor.picture("photos-gone")
    opened = photo_page(f"?photo=goldfish&network={GONE}")
    opened.told("The Hub did not deliver")
    assert opened.sentence == expected(photo="goldfish"), "what is here answers"
    opened.shows("network", "resnet")


@pytest.mark.parametrize("change", ["choice", "reset"])
def test_who_changes_his_mind_waits_for_nothing(photo_page: Visit, hub: Hub, change: str) -> None:
    visitor = photo_page("?photo=goldfish")
    visitor.shows("photo", "goldfish")
    hub.faults["model.safetensors"] = "slow"
    visitor.choose("network", SILENT)
    told_how_far(visitor, "0 of 1 MB")
    if change == "choice":
        visitor.choose("network", "cbam")
        says(visitor, expected(photo="goldfish", network="cbam"))
    else:
        visitor.page.click("#reset")
        says(visitor, expected())
    visitor.page.wait_for_selector("#stop", state="hidden")
    answered = visitor.sentence
    visitor.page.wait_for_timeout(1500)
    assert visitor.sentence == answered
    assert visitor.note == ""
    assert network_of(visitor) == ("cbam" if change == "choice" else "resnet")


# ---- everyone


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone(photo_page: Visit, hub: Hub, scheme: str) -> None:
    visitor = photo_page(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    visitor.page.wait_for_timeout(500)
    visitor.picture(f"photos-phone-{scheme}")
    visitor.picture(f"photos-phone-{scheme}-whole", whole=True)
    order = ["h1", "#canvas", "#figure", "#tour", "#control-tiles", "#tabs"]
    tops = [visitor.page.locator(selector).first.bounding_box()["y"] for selector in order]
    assert tops == sorted(tops)
    wider = """() => [...document.querySelectorAll('body *')]
        .filter((element) => element.getBoundingClientRect().right > innerWidth + 1 && element.checkVisibility())
        .filter((element) => !element.closest('.katex-display, .cm-editor, .scores, pre, .tab-wrapper'))
        .map((element) => element.tagName + '.' + element.className)"""
    visitor.page.click("#more > button")
    for tab in ("How it works", "Classes", "Compare", "Scores", "Worksheet"):
        name = visitor.page.locator("#tabs button[role=tab]", has_text=tab)
        if not name.first.is_visible():
            visitor.page.locator("#tabs .overflow-menu > button").click()
            name = visitor.page.locator("#tabs .overflow-dropdown button", has_text=tab)
        name.first.click()
        visitor.page.wait_for_timeout(300)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], tab
        assert visitor.page.evaluate(wider) == [], tab
    hub.faults["model.safetensors"] = "slow"
    visitor.choose("network", SILENT)
    told_how_far(visitor, "0 of 1 MB")
    visitor.picture(f"photos-phone-{scheme}-bringing")
    visitor.page.tap("#stop")
    visitor.told("Stopped.")


def test_dark(photo_page: Visit) -> None:
    visitor = photo_page("?photo=school_bus&tiles=4", color_scheme="dark")
    visitor.shows("tiles", "4")
    visitor.page.wait_for_timeout(500)
    visitor.picture("photos-dark")
    for tab in ("Classes", "Scores"):
        visitor.page.locator("#tabs button[role=tab]", has_text=tab).click()
        visitor.page.wait_for_timeout(600)
        visitor.picture(f"photos-{tab.lower()}-dark", whole=True)
    light = photo_page("?photo=school_bus&tiles=4")
    for tab in ("Classes", "Scores"):
        light.page.locator("#tabs button[role=tab]", has_text=tab).click()
        light.page.wait_for_timeout(600)
        light.picture(f"photos-{tab.lower()}-light", whole=True)
