"""The translators in a real browser: type, watch, hover, choose an alternative, hide a word, compare, link, phone."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from browsing import PHONE, Visitor

from apps import translation
from core.topics.translation import tab_bleu
from core.topics.translation.card import CARD

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]
PAGE = "/translation/"
LOOKS = "label => Number(getComputedStyle(label).opacity)"


def sentence(own: str = "", **values: Any) -> str:
    """What the figure must say for these settings, computed here."""
    return translation.space.last_answer(CARD.parse(values), own).figure["layout"]["meta"]["sentence"]


def says(visitor: Visitor, expected: str) -> None:
    """Wait until the figure says this."""
    visitor.page.wait_for_function(
        "text => document.querySelector('#figure .vitrine-figure').getAttribute('aria-label') === text", arg=expected
    )


def type_in(visitor: Visitor, text: str) -> None:
    visitor.page.fill("#sentence textarea", text)


def cell(visitor: Visitor, column: float, row: float) -> tuple[float, float]:
    """Where a cell of the map is on the screen, once the page is scrolled there."""
    visitor.page.locator("#figure").scroll_into_view_if_needed()
    x, y = visitor.page.evaluate(
        """([column, row]) => {
            const frame = document.querySelector('#figure .vitrine-figure');
            const { xaxis, yaxis } = frame._fullLayout;
            const box = frame.getBoundingClientRect();
            return [box.x + xaxis._offset + xaxis.l2p(column), box.y + yaxis._offset + yaxis.l2p(row)];
        }""",
        [column, row],
    )
    return x, y


def click(visitor: Visitor, column: float, row: float) -> None:
    """Click a cell; Plotly clicks what it has found under the mouse a moment before."""
    visitor.page.mouse.move(*cell(visitor, column, row))
    visitor.page.wait_for_timeout(300)
    visitor.page.mouse.click(*cell(visitor, column, row))


def test_it_opens_with_a_sentence_and_its_translation(visit: Visit) -> None:
    visitor = visit(PAGE)
    assert visitor.sentence == sentence()
    german = visitor.page.input_value("#sentence textarea")
    assert german == translation.sample("guitar", "de-en")[0]
    assert "It means" in visitor.page.inner_text("#written")
    visitor.picture("translation-light")


def test_what_is_typed_is_translated_while_the_words_stay(visit: Visit) -> None:
    visitor = visit(PAGE)
    own = "Zwei Männer spielen am Strand."
    type_in(visitor, own)
    says(visitor, sentence(own))
    assert visitor.page.input_value("#sentence textarea") == own
    assert "Your own text is not part of the link." in visitor.note
    visitor.page.locator("#sentence .keys button", has_text="ö").click()
    says(visitor, sentence(f"{own}ö"))
    assert visitor.page.input_value("#sentence textarea") == f"{own}ö"
    type_in(visitor, "")
    visitor.told("Type a sentence in German")
    type_in(visitor, "!!!")
    visitor.told("There are no letters in it")
    visitor.page.locator("#control-sentence label", has_text="dogs").click()
    says(visitor, sentence(sentence="dogs"))
    assert visitor.page.input_value("#sentence textarea") == translation.sample("dogs", "de-en")[0]


def test_a_row_tells_where_its_word_looked(visit: Visit) -> None:
    visitor = visit(PAGE)
    x, y = cell(visitor, 1, 1)
    visitor.page.mouse.move(x - 3, y)
    visitor.page.mouse.move(x, y)
    visitor.page.wait_for_selector("#figure .hoverlayer text")
    assert "looks at" in (visitor.page.locator("#figure .hoverlayer").text_content() or "")
    click(visitor, 1, 0)
    visitor.shows("word", "1")


def test_another_piece_is_chosen_by_a_click(visit: Visit) -> None:
    visitor = visit(PAGE)
    visitor.choose("view", "choices")
    visitor.shows("view", "choices")
    visitor.page.wait_for_timeout(500)  # the figure is drawn a moment after the address has changed
    click(visitor, 1, 0)
    visitor.shows("at1", "1")
    says(visitor, sentence(view="choices", at1=1, to1=2))
    linked = visit(f"{PAGE}?{urlencode(visitor.query)}")
    says(linked, sentence(view="choices", at1=1, to1=2))


def test_a_hidden_word_is_struck(visit: Visit) -> None:
    visitor = visit(f"{PAGE}?mask=2")
    says(visitor, sentence(mask=2))
    assert visitor.page.locator("#figure .xtick text", has_text="Mann").count() == 1
    visitor.page.get_by_text("of the words went as one was hidden").wait_for()  # said once all is written
    visitor.picture("translation-hidden")
    click(visitor, 1, -1)
    visitor.shows("mask", "0")
    click(visitor, 3, -1)
    visitor.shows("mask", "4")


def test_two_methods_stand_side_by_side(visit: Visit) -> None:
    visitor = visit(PAGE)
    visitor.pin()
    visitor.choose("network", "attention")
    visitor.shows("network", "attention")
    visitor.page.wait_for_selector("#figure-b .main-svg")
    visitor.page.get_by_text("Network: Transformer in A, LSTM with attention in B").wait_for()
    for network in ("transformer", "attention"):
        visitor.page.get_by_text(sentence(network=network)).first.wait_for()


@pytest.mark.alone
def test_the_first_piece_is_there_at_once(visit: Visit, capsys: pytest.CaptureFixture) -> None:
    """Pieces drawn anew with each temperature come one by one: what is measured is the first one's text."""
    visitor = visit(f"{PAGE}?decoding=sampling&temperature=0.2&sentence=ball")
    visitor.page.click("#more > button")
    visitor.page.evaluate(
        """() => {
            const written = () => document.querySelector('#written .written')?.textContent;
            let former = written();
            const changed = () => {
                if (written() !== former) arrived();
                former = written();
            };
            new MutationObserver(changed).observe(document.body, {subtree: true, childList: true, characterData: true});
        }"""
    )
    visitor.in_time("temperature", "the first piece", 100, capsys, pause_ms=1000)


def test_the_beam_grows_a_tree_in_the_dark(visit: Visit) -> None:
    visitor = visit(f"{PAGE}?decoding=beam&view=tree&sentence=ball", color_scheme="dark")
    says(visitor, sentence(decoding="beam", view="tree", sentence="ball"))
    visitor.picture("translation-dark")


def test_bleu_follows_what_is_typed(visit: Visit) -> None:
    visitor = visit(PAGE)
    visitor.page.get_by_role("tab", name="BLEU").click()
    said = visitor.page.locator("#bleu-said")
    visitor.page.locator("#bleu-system input").click()
    visitor.page.get_by_role("option", name="LSTM", exact=True).click()
    visitor.page.wait_for_function(
        "text => document.querySelector('#bleu-hypothesis').querySelector('input, textarea').value === text",
        arg=tab_bleu.test_sentence(0, "LSTM")[0],
    )
    for field in ("#bleu-hypothesis", "#bleu-reference"):
        visitor.page.locator(f"{field} :is(input, textarea)").first.fill("A man rides a red bike.")
    visitor.page.wait_for_function("document.querySelector('#bleu-said b').innerText === '100.00'")
    assert "6 of 6" in said.inner_text() or "7 of 7" in said.inner_text()
    visitor.page.locator("#bleu-hypothesis :is(input, textarea)").first.fill("A <b>dog</b> rides.")
    visitor.page.wait_for_function("document.querySelector('#bleu-said').innerText.includes('dog')")
    assert said.locator(".written b").count() == 0
    visitor.picture("translation-bleu", whole=True)


def test_all_heads_are_drawn_when_asked(visit: Visit) -> None:
    visitor = visit(PAGE)
    visitor.page.get_by_role("tab", name="All heads").click()
    visitor.page.get_by_role("button", name="Start").click()
    visitor.page.wait_for_selector("svg.cells")


def test_chinese_fits_a_phone(visit: Visit) -> None:
    visitor = visit(f"{PAGE}?direction=en-zh&sentence=dogs", viewport=PHONE)
    says(visitor, sentence(direction="en-zh", sentence="dogs"))
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert visitor.page.locator("#written [lang=zh]").count() == 1
    choice = "#control-network label:has(input[value='{}'])"
    assert visitor.page.eval_on_selector(choice.format("lstm"), LOOKS) < 0.6
    assert visitor.page.eval_on_selector(choice.format("opus_en_zh"), LOOKS) == 1
    visitor.picture("translation-phone", whole=True)
