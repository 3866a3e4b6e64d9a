"""The MC dropout page in a real browser: what a visitor does, and what the page shows."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import DESKTOP, PHONE, Visitor
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Browser, Route

from apps import mc_dropout
from core.topics.mc_dropout.card import CARD

pytestmark = pytest.mark.browser

ONE = [(0.5, 0.15), (0.5, 0.85)]
PROMISE_MS = 150
UPRIGHT = int(CARD.defaults()["rotate"])
OWN = "Your own picture is not part of the link."
Visit = Callable[..., Visitor]


def expected(**values: Any) -> str:
    """What the figure must say for these settings, computed here."""
    return mc_dropout.answer(CARD.parse(values), "").figure["layout"]["meta"]["sentence"]


def photo() -> bytes:
    """A 4 on grey paper under uneven light, as a phone would take it."""
    paper = Image.linear_gradient("L").resize((900, 1200)).point(lambda level: 150 + level // 4)
    pen = ImageDraw.Draw(paper)
    pen.line([(380, 300), (300, 640), (620, 640)], fill=40, width=38, joint="curve")
    pen.line([(540, 360), (520, 900)], fill=40, width=38)
    buffer = io.BytesIO()
    paper.convert("RGB").filter(ImageFilter.GaussianBlur(2)).save(buffer, "PNG")
    return buffer.getvalue()


def upload(visitor: Visitor, name: str, content: bytes) -> None:
    """Hand a file to the upload button, through the browser's own dialogue."""
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.click("#upload")
    chooser.value.set_files({"name": name, "mimeType": "image/png", "buffer": content})


# ---- opening, controls, own input


def test_first_answer_is_there_at_once(visit: Visit) -> None:
    visitor = visit()
    assert visitor.sentence == expected()
    assert len(visitor.tiles) == 3
    assert visitor.page.locator("#figure .points path").count() >= 500
    assert visitor.note == ""
    box = visitor.page.locator("#actions").bounding_box()
    assert box["y"] + box["height"] <= DESKTOP["height"], "question, input, figure and tour fit without scrolling"
    visitor.page.wait_for_timeout(1000)
    visitor.picture("desktop-light")
    visitor.picture("desktop-light-whole", whole=True)


def test_a_slider_answers_mouse_and_keys(visit: Visit) -> None:
    visitor = visit()
    slider, first = visitor.slider("rotate"), visitor.sentence
    box = slider.bounding_box()
    visitor.page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    second = visitor.answered(first)
    turned = int(slider.input_value())
    assert 80 <= turned <= 100
    slider.focus()
    visitor.page.keyboard.press("ArrowRight")
    visitor.shows("rotate", str(turned + 5))
    assert visitor.sentence == expected(rotate=turned + 5) != second


@pytest.mark.alone
def test_a_slider_answers_in_time(visit: Visit, capsys: pytest.CaptureFixture) -> None:
    visitor = visit()
    visitor.answers_in_time("rotate", PROMISE_MS, capsys)


def test_drawing_is_answered_and_stays_out_of_the_link(visit: Visit) -> None:
    visitor = visit()
    first = visitor.sentence
    visitor.page.click("#canvas .clear")
    visitor.told("The paper is empty")
    assert visitor.sentence == first, "the former answer stays"
    visitor.stroke(ONE)
    visitor.answered(first)
    visitor.told(OWN)
    assert "digit" not in visitor.query
    assert visitor.page.locator("#control-digit input:checked").count() == 0
    drawn = visitor.sentence
    visitor.slider("rotate").focus()
    for _ in range(6):
        visitor.page.keyboard.press("ArrowRight")
    visitor.answered(drawn)
    visitor.told(OWN)
    assert visitor.ink(0.5, 0.5), "the drawing is still on the paper"


@pytest.mark.parametrize("move", ["slider", "sample", "second stroke"])
def test_drawing_while_an_answer_is_under_way(visit: Visit, move: str) -> None:
    visitor = visit()
    visitor.page.evaluate(
        """() => {
            const quick = window.fetch;
            window.fetch = async (...request) => {
                const joins = String(request[0].url || request[0]).includes('queue/join');
                if (joins) await new Promise((go) => setTimeout(go, 700));
                return quick(...request);
            };
        }"""
    )
    if move == "slider":
        visitor.slider("rotate").focus()
        visitor.page.keyboard.press("ArrowRight")
    elif move == "sample":
        visitor.sample("a shoe")
    else:
        visitor.page.click("#canvas .clear")
        visitor.stroke([(0.2, 0.15), (0.2, 0.85)])
    visitor.stroke(ONE)
    visitor.told(OWN)
    visitor.page.wait_for_timeout(2500)
    assert visitor.ink(0.5, 0.8), "the drawing is still on the paper"
    assert visitor.ink(0.2, 0.5) == (move == "second stroke")
    assert visitor.page.evaluate("document.querySelector('#note').innerText").strip() == OWN
    assert "digit" not in visitor.query


def test_samples(visit: Visit) -> None:
    visitor = visit()
    for label in ("a shoe", "5 or 6?"):
        before = visitor.sentence
        visitor.sample(label)
        visitor.answered(before)
    assert visitor.query["digit"] == "five_or_six"
    assert visitor.sentence == expected(digit="five_or_six")
    visitor.stroke(ONE)
    visitor.told(OWN)
    visitor.sample("5 or 6?")
    visitor.shows("digit", "five_or_six")
    assert visitor.sentence == expected(digit="five_or_six"), "a sample takes the place of the drawing"


def test_upload_and_files_that_are_none(visit: Visit) -> None:
    visitor = visit()
    first = visitor.sentence
    upload(visitor, "note.png", b"This is a text, whatever its name says. " * 50)
    visitor.told("not a picture")
    assert visitor.sentence == first
    upload(visitor, "large.png", bytes(10_500_000))
    visitor.told("10.5 MB")
    upload(visitor, "larger.png", bytes(12_000_000))
    visitor.page.wait_for_function("/12(\\\\.0)? ?MB|11 ?MB|10 MB/.test(document.body.innerText)")
    assert visitor.sentence == first
    upload(visitor, "four.png", photo())
    visitor.told(OWN)
    answer = visitor.answered(first)
    assert visitor.ink(0.5, 0.6) is False
    visitor.picture("upload")
    upload(visitor, "note.png", b"no picture")
    visitor.told("not a picture")
    assert visitor.sentence == answer, "the former answer stays"
    visitor.page.click("#reset")
    visitor.answered(answer)
    assert visitor.sentence == first


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_paste_and_drop(visit: Visit, way: str) -> None:
    visitor = visit()
    first = visitor.sentence
    visitor.page.evaluate(
        """([way, bytes]) => {
            const carrier = new DataTransfer();
            carrier.items.add(new File([new Uint8Array(bytes)], 'four.png', { type: 'image/png' }));
            const event = way === 'paste'
                ? new ClipboardEvent('paste', { clipboardData: carrier, bubbles: true })
                : new DragEvent('drop', { dataTransfer: carrier, bubbles: true, cancelable: true });
            document.querySelector('#canvas canvas').dispatchEvent(event);
        }""",
        [way, list(photo())],
    )
    visitor.told(OWN)
    visitor.answered(first)


# ---- compare, link, tour, take away, follow, reset


def test_pin_and_compare(visit: Visit) -> None:
    visitor = visit()
    visitor.pin()
    visitor.page.wait_for_selector("#figure-a .main-svg")
    visitor.page.wait_for_selector("#figure-b .main-svg")
    visitor.sample("a 7")
    visitor.shows("digit", "seven")
    visitor.slider("T").focus()
    visitor.page.keyboard.press("End")
    visitor.shows("T", "200")
    words = visitor.page.locator("#differences").inner_text()
    assert "a 3 in A, a 7 in B" in words
    assert "50 in A, 200 in B" in words
    sentence = "frame => frame.getAttribute('aria-label')"
    assert visitor.page.eval_on_selector("#figure-a .vitrine-figure", sentence) == expected()
    assert visitor.page.eval_on_selector("#figure-b .vitrine-figure", sentence) == expected(digit="seven", T=200)
    ranges = [
        visitor.page.eval_on_selector(
            f"#figure-{side} .vitrine-figure", "frame => ['xaxis', 'yaxis'].map((axis) => frame.layout[axis].range)"
        )
        for side in "ab"
    ]
    assert ranges[0] == ranges[1]
    visitor.page.locator("#tabs").scroll_into_view_if_needed()
    visitor.picture("compare", whole=True)


def test_copied_link_opens_the_same_state(visit: Visit) -> None:
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    visitor.sample("4 or 9?")
    visitor.shows("digit", "four_or_nine")
    visitor.slider("rate").focus()
    visitor.page.keyboard.press("End")
    visitor.shows("rate", "0.9")
    visitor.page.click("#copy")
    link = visitor.page.evaluate("navigator.clipboard.readText()")
    assert link == visitor.page.url
    other = visit(link.removeprefix(visitor.gallery.url))
    other.page.wait_for_function(
        "want => document.querySelector('#figure .vitrine-figure').getAttribute('aria-label') === want",
        arg=visitor.sentence,
    )
    assert other.slider("rate").input_value() == "0.9"
    assert other.page.locator("#control-digit input:checked").get_attribute("value") == "four_or_nine"
    assert other.query == visitor.query


def test_a_step_of_the_tour_is_part_of_the_link_and_is_seen(visit: Visit) -> None:
    visitor = visit(viewport={"width": 1366, "height": 640})
    visitor.page.click("#tour-next")
    visitor.page.wait_for_selector("#tour-text :text('Tour 2 of 5')")
    visitor.page.wait_for_function("new URLSearchParams(location.search).get('step') === '2'")
    assert visitor.page.eval_on_selector("#figure", "figure => figure.getBoundingClientRect().top") >= 0
    other = visit(visitor.page.url.removeprefix(visitor.gallery.url))
    other.page.wait_for_selector("#tour-text :text('Tour 2 of 5')")
    assert other.query == visitor.query
    other.page.click("#tour-back")
    other.page.wait_for_selector("#tour-text :text('Tour 1 of 5')")
    other.page.wait_for_function("!location.search.includes('step=')")


def test_wrong_values_in_the_address(visit: Visit) -> None:
    visitor = visit("/mc_dropout/?digit=nobody&rotate=900&T=NaN&seed=-3&foreign=1")
    visitor.told("900")
    for word in ("nobody", "NaN", "-3"):
        assert word in visitor.note
    assert visitor.slider("rotate").input_value() == "180"
    assert visitor.sentence == expected(rotate=180)


def test_a_link_is_restored_where_the_script_comes_late(visit: Visit) -> None:
    visitor = visit()

    def late(route: Route) -> None:
        visitor.page.wait_for_timeout(3000)
        route.continue_()

    visitor.page.route("**/vitrine/page.js", late)
    visitor.open("/mc_dropout/?rotate=900")
    visitor.shows("rotate", "180")
    assert visitor.sentence == expected(rotate=180)


def test_teachers_flags(visit: Visit) -> None:
    hidden = visit("/mc_dropout/?hide=rotate,upload,seed")
    assert not hidden.page.locator("#control-rotate").is_visible()
    assert not hidden.page.locator("#upload").is_visible()
    assert hidden.page.locator("#control-T").is_visible()
    hidden.sample("a 7")
    hidden.shows("digit", "seven")
    assert hidden.query["hide"] == "rotate,upload,seed"
    framed = visit("/mc_dropout/?embed=1")
    assert not framed.page.locator("#head h1").is_visible()
    assert not framed.page.locator("#tabs").is_visible()
    assert framed.page.locator("#figure").is_visible()


def test_present_mode_steps_with_arrow_keys(visit: Visit) -> None:
    visitor = visit("/mc_dropout/?present=1", viewport={"width": 1366, "height": 768})
    plain = visit()
    size = "element => parseFloat(getComputedStyle(element).fontSize)"
    ratio = visitor.page.eval_on_selector("#tour .ask", size) / plain.page.eval_on_selector("#tour .ask", size)
    assert ratio >= 1.3
    assert not visitor.page.locator("#more").is_visible()
    visitor.page.wait_for_timeout(500)
    visitor.picture("present")
    visitor.page.keyboard.press("ArrowRight")
    visitor.page.wait_for_selector("#tour-text :text('Tour 2 of 5')")
    visitor.page.keyboard.press("ArrowLeft")
    visitor.page.wait_for_selector("#tour-text :text('Tour 1 of 5')")


def test_tour_asks_before_it_shows(visit: Visit) -> None:
    visitor = visit()
    for index, step in enumerate(CARD.tour):
        if index:
            visitor.page.click("#tour-next")
        visitor.page.wait_for_selector(f"#tour-text :text('Tour {index + 1} of {len(CARD.tour)}')")
        assert step.why[:20] not in visitor.page.locator("#tour").inner_text()
        visitor.page.wait_for_selector(f"#choice-0:has-text('{step.choices[0]}')")
        visitor.page.click(f"#choice-{step.right}")
        visitor.page.wait_for_selector("#tour-text .said")
        text = visitor.page.locator("#tour").inner_text()
        assert "Correct." in text
        assert step.look in text
        assert step.why in text
        for name, value in {**step.set, **step.then}.items():
            visitor.shows(name, CARD.param(name).write(value))
        assert visitor.sentence == expected(**{**step.set, **step.then})
        visitor.picture(f"tour-{index + 1}")
    assert visitor.page.locator("#tour-next").is_disabled()
    visitor.page.click("#tour-back")
    visitor.page.wait_for_selector(f"#tour-text :text('Tour {len(CARD.tour) - 1} of {len(CARD.tour)}')")
    visitor.page.wait_for_selector("#tour-text .said", state="detached")


def test_save(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.page.click("#save-button")
    visitor.page.wait_for_selector("#save a.save")
    kept = {}
    for ending in ("csv", "json"):
        with visitor.page.expect_download() as download:
            visitor.page.click(f"#save a[download$='{ending}']")
        assert download.value.suggested_filename == f"mc_dropout.{ending}"
        kept[ending] = Path(download.value.path()).read_text(encoding="utf-8")
    assert len(kept["csv"].splitlines()) == 51
    assert json.loads(kept["json"])["settings"] == CARD.defaults()
    with visitor.page.expect_download() as download:
        visitor.page.click("#save button.save")
    picture = Image.open(download.value.path())
    assert picture.format == "PNG"
    assert picture.width >= 1000
    assert len(picture.convert("RGB").getcolors(1 << 24)) > 10, "the picture is not empty"
    visitor.picture("save")


def test_follow_one_number(visit: Visit) -> None:
    visitor = visit("/mc_dropout/?rotate=50")  # turned: the dots of the 7 lie apart
    visitor.shows("rotate", "50")
    # The first dot of the 7: all digits but the one that leads share a trace.
    trace, point = visitor.page.evaluate(
        """() => {
            const { data } = document.querySelector('#figure .vitrine-figure');
            const point = (trace) => (trace.customdata || []).findIndex(([, digit]) => digit === 7);
            const trace = data.findIndex((candidate) => point(candidate) >= 0);
            return [trace, point(data[trace])];
        }"""
    )
    dot = visitor.page.locator("#figure .scatterlayer .trace").nth(trace).locator(".points path").nth(point)
    for _ in range(5):  # Plotly takes a click only on a dot that it has found under the pointer before
        box = dot.bounding_box()
        place = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        visitor.page.mouse.move(place[0] - 20, place[1])
        visitor.page.mouse.move(*place, steps=3)
        visitor.page.wait_for_timeout(500)
        visitor.page.mouse.click(*place)
        visitor.page.wait_for_timeout(1500)
        if "Its logit for 7" in visitor.page.locator("#follow").inner_text():
            break
    text = visitor.page.locator("#follow").inner_text()
    assert "Its logit for 7" in text
    assert visitor.page.locator("#control-y input[type=range]").input_value() == "7"
    visitor.page.locator("#control-y input[type=range]").focus()
    visitor.page.keyboard.press("ArrowRight")
    visitor.page.wait_for_selector("#follow :text('Its logit for 8')")
    visitor.picture("how-it-works", whole=True)


def test_reset(visit: Visit) -> None:
    visitor = visit()
    first = visitor.sentence
    visitor.pin()
    visitor.page.wait_for_selector("#figure-a .main-svg")
    visitor.stroke(ONE)
    visitor.told(OWN)
    visitor.page.click("#tour-next")
    visitor.page.wait_for_selector("#tour-text :text('Tour 2 of 5')")
    visitor.page.click("#reset")
    visitor.page.wait_for_selector("#tour-text :text('Tour 1 of 5')")
    visitor.shows("rotate", str(UPRIGHT))
    assert visitor.sentence == first
    assert visitor.query == CARD.address(CARD.defaults())
    assert visitor.note == ""
    assert visitor.slider("rotate").input_value() == str(UPRIGHT)
    assert visitor.page.locator("#control-digit input:checked").get_attribute("value") == "three"
    assert visitor.page.locator("#differences").inner_text().startswith("Pin an answer")


# ---- everyone


def test_two_visitors_do_not_mix(visit: Visit) -> None:
    first, second = visit("/mc_dropout/?digit=seven&seed=1"), visit("/mc_dropout/?digit=shoe&seed=2&T=20")
    first.shows("seed", "1")
    second.shows("seed", "2")
    for visitor in (first, second):
        visitor.slider("rotate").focus()
    for _ in range(5):  # not waiting for one answer before the other visitor moves
        first.page.keyboard.press("ArrowRight")
        second.page.keyboard.press("ArrowLeft")
    right, left = UPRIGHT + 25, UPRIGHT - 25
    first.shows("rotate", str(right))
    second.shows("rotate", str(left))
    assert first.sentence == expected(digit="seven", seed=1, rotate=right)
    assert second.sentence == expected(digit="shoe", seed=2, T=20, rotate=left)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(visit: Visit, scheme: str) -> None:
    visitor = visit(color_scheme=scheme)
    visitor.page.click("#save-button")
    visitor.page.wait_for_selector("#save a.save")
    ratios = visitor.page.evaluate(
        """() => {
            const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
            const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
            const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
            const ground = (element) => {
                for (; element; element = element.parentElement) {
                    const colour = parts(getComputedStyle(element).backgroundColor);
                    if (colour.length < 4 || colour[3] > 0.5) return colour;
                }
                return [255, 255, 255];
            };
            const ratios = {};
            const texts = ['.vitrine-head h1', '.vitrine-head .claim', '.vitrine-head .meta', '.vitrine-head .kicker',
                '.vitrine-head a', '.control .info-text',
                '#control-digit label span', '.tile .value', '.tile .caption', '.keys', '#tour p', '#pin', '#save a',
                '#tabs button[role=tab]', '#tabs button.selected', '.plain td', '#figure .xtick text',
                '#figure .g-ytitle text', '.canvas figcaption', '.canvas .clear'];
            for (const selector of texts) {
                const element = document.querySelector(selector);
                const style = getComputedStyle(element);
                const ink = element instanceof SVGElement ? style.fill : style.color;
                const [a, b] = [light(parts(ink)), light(ground(element))].sort((x, y) => y - x);
                ratios[selector] = (a + 0.05) / (b + 0.05);
            }
            return ratios;
        }"""
    )
    assert {selector: round(ratio, 1) for selector, ratio in ratios.items() if ratio < 4.5} == {}
    visitor.page.click("#reset")
    visitor.page.wait_for_timeout(500)
    visitor.picture(f"desktop-{scheme}")
    for tab in ("Scores", "Worksheet"):
        visitor.page.locator("#tabs button[role=tab]", has_text=tab).click()
        visitor.page.wait_for_timeout(600)
        visitor.picture(f"{tab.lower()}-{scheme}", whole=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone(visit: Visit, scheme: str) -> None:
    visitor = visit(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    visitor.page.wait_for_timeout(500)
    visitor.picture(f"phone-{scheme}")
    visitor.picture(f"phone-{scheme}-whole", whole=True)
    order = ["h1", "#canvas", "#figure", "#tour", "#control-rotate", "#tabs"]
    tops = [visitor.page.locator(selector).first.bounding_box()["y"] for selector in order]
    assert tops == sorted(tops)
    wider = """() => [...document.querySelectorAll('body *')]
        .filter((element) => element.getBoundingClientRect().right > innerWidth + 1 && element.checkVisibility())
        .filter((element) => !element.closest('.katex-display, .cm-editor, .scores, pre, .tab-wrapper'))
        .map((element) => element.tagName + '.' + element.className)"""
    for tab in ("How it works", "Compare", "Scores", "Worksheet"):
        name = visitor.page.locator("#tabs button[role=tab]", has_text=tab)
        if not name.first.is_visible():
            visitor.page.locator("#tabs .overflow-menu > button").click()
            name = visitor.page.locator("#tabs .overflow-dropdown button", has_text=tab)
        name.first.click()
        visitor.page.wait_for_timeout(300)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], tab
        assert visitor.page.evaluate(wider) == [], tab
    visitor.page.tap("#tour-next")
    visitor.page.wait_for_selector("#tour-text :text('Tour 2 of 5')")


def test_keyboard_alone(visit: Visit) -> None:
    visitor = visit()
    seen, pale = set(), []
    for _ in range(60):
        visitor.page.keyboard.press("Tab")
        place, visible = visitor.page.evaluate(
            """() => {
                const element = document.activeElement;
                const ringed = [element, element.closest('label')].filter(Boolean).some((candidate) => {
                    const style = getComputedStyle(candidate);
                    return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
                });
                return [element.getAttribute('role') === 'tab' ? 'tab' : element.closest('[id]')?.id || '', ringed];
            }"""
        )
        place = (
            visitor.page.evaluate("() => document.activeElement.closest('.control, #canvas, #tiles')?.id || ''")
            or place
        )
        seen.add(place)
        if place and not visible:  # no place: the browser's own bar
            pale.append(place)
    wanted = {
        "control-digit",
        "control-rotate",
        "control-T",
        "canvas",
        "upload",
        "pin",
        "copy",
        "choice-0",
        "tiles",
        "tab",
    }
    assert wanted <= seen
    assert pale == []
    visitor.page.focus("#control-digit input:checked")
    visitor.page.keyboard.press("Tab")
    visitor.page.keyboard.press("Space")
    visitor.shows("digit", "five_or_six")
    visitor.page.focus("#tour-next")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("#tour-text :text('Tour 2 of 5')")


def test_network_is_cut_and_comes_back(visit: Visit) -> None:
    visitor = visit()
    first = visitor.sentence
    visitor.context.set_offline(True)
    visitor.slider("rotate").focus()
    visitor.page.keyboard.press("ArrowRight")
    visitor.page.wait_for_selector(":text('Connection to the server was lost')")
    assert visitor.sentence == first, "the former answer stays"
    visitor.picture("offline")
    visitor.context.set_offline(False)
    visitor.page.wait_for_selector(":text('Connection to the server was lost')", state="detached")
    visitor.slider("T").focus()
    visitor.page.keyboard.press("End")
    visitor.shows("T", "200")
    assert visitor.sentence == expected(rotate=int(visitor.query["rotate"]), T=200)
    assert visitor.note == ""


def test_reduced_motion(visit: Visit) -> None:
    visitor = visit(reduced_motion="reduce")
    moving = visitor.page.evaluate(
        """() => [...document.querySelectorAll('body *')].filter((element) => {
            const style = getComputedStyle(element);
            return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0;
        }).length"""
    )
    assert moving == 0


@pytest.mark.parametrize(("name", "options"), [
    ("home-light", {}),
    ("home-dark", {"color_scheme": "dark"}),
    ("home-phone", {"viewport": PHONE}),
])  # fmt: skip
def test_home(browser: Browser, visit: Visit, name: str, options: dict) -> None:
    visitor = visit("", **options)
    visitor.page.goto(visitor.gallery.url)
    visitor.page.wait_for_load_state("networkidle")
    visitor.picture(name, whole=True)
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cards = visitor.page.locator("a.card", has_text=CARD.question)
    visitor.page.fill("#search", "sure uncertainty")
    assert cards.first.is_visible()
    visitor.page.fill("#search", "no such idea")
    assert not cards.first.is_visible()
    assert visitor.page.locator("#none").is_visible()
    visitor.page.fill("#search", "")
    cards.first.click()
    visitor.page.wait_for_selector("#figure .main-svg")
