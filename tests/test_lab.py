"""The frame of a concept page: address, notes, hidden controls, the teacher's flags; and the lab's settings."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from labs import CARDS, ROOT, opened, query_of, values_of
from streamlit.testing.v1 import AppTest

from core import draw, lab, store
from core.topics.lr_range_test import figures

CARD = CARDS["optimizers"]
NUMBER = next(param for param in CARD.params if param.kind == "number")
ROLES = {
    "primaryColor": "petrol",
    "backgroundColor": "paper",
    "secondaryBackgroundColor": "card",
    "textColor": "ink",
    "linkColor": "petrol",
    "borderColor": "line",
    "codeBackgroundColor": "card",
}


def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())


def words(test: AppTest) -> str:
    """All HTML of the page."""
    return " ".join(part.proto.body for part in test.get("html"))


@pytest.mark.parametrize(("theme", "place"), [("light", 0), ("dark", 1)])
def test_the_lab_has_the_colours_of_the_spaces(theme: str, place: int) -> None:
    expected = {role: draw.TOKENS[token][place] for role, token in ROLES.items()}
    assert settings()["theme"][theme] == expected


def test_nothing_is_counted_or_asked_outside() -> None:
    found = settings()
    assert found["browser"]["gatherUsageStats"] is False
    assert found["server"]["address"] == "127.0.0.1", "unnamed, it would be asked for outside"
    assert found["server"]["port"] == 8501
    assert found["client"]["showErrorDetails"] == "none"
    assert "http" not in found["theme"]["font"]


def test_wrong_values_are_clamped_with_a_note() -> None:
    test = opened(CARD, **{NUMBER.name: "99999", CARD.params[0].name: "nowhere"})
    assert not test.exception
    assert values_of(test, CARD)[NUMBER.name] == NUMBER.high
    assert f"{NUMBER.label}: expected a number from" in words(test)
    assert CARD.params[0].label in words(test)


def test_opening_a_page_makes_no_entry_in_the_browsers_history() -> None:
    test = opened(CARD)
    assert query_of(test) == {}
    test.slider(f"{CARD.slug}-{NUMBER.name}").set_value(NUMBER.low).run()
    assert query_of(test) == CARD.address(values_of(test, CARD))


def test_the_note_goes_with_the_next_move() -> None:
    test = opened(CARD, **{NUMBER.name: "99999"})
    test.slider(f"{CARD.slug}-{NUMBER.name}").set_value(NUMBER.low).run()
    assert "expected a number" not in words(test)
    assert query_of(test)[NUMBER.name] == NUMBER.write(NUMBER.low)


def test_a_hidden_control_keeps_its_value() -> None:
    test = opened(CARD, hide=f"{NUMBER.name},tour,reset", **{NUMBER.name: str(NUMBER.low)})
    keys = {widget.key for kind in (test.slider, test.button) for widget in kind}
    assert f"{CARD.slug}-{NUMBER.name}" not in keys
    assert not {key for key in keys if re.search("-(choice|next|reset)", key)}
    assert values_of(test, CARD)[NUMBER.name] == NUMBER.low
    assert query_of(test)["hide"] == f"{NUMBER.name},tour,reset"


def test_present_shows_the_main_controls_larger() -> None:
    test = opened(CARD, present="1")
    shown = {widget.key for widget in test.slider}
    folded = {f"{CARD.slug}-{param.name}" for param in CARD.params if not param.main}
    assert not shown & folded
    assert not test.get("latex")
    assert query_of(test)["present"] == "1"


def test_an_address_with_a_step_opens_there() -> None:
    test = opened(CARD, step="3")
    assert "Tour 3 of 3" in words(test)
    assert values_of(test, CARD) == CARD.defaults(), "its settings come with the answer, since they show the true one"
    test.button(f"{CARD.slug}-choice-0").click().run()
    assert values_of(test, CARD) == CARD.parse(CARD.tour[2].set)
    assert query_of(test)["step"] == "3"
    assert "Tour 1 of 3" in words(opened(CARD, step="0"))
    assert "Tour 3 of 3" in words(opened(CARD, step="99"))


def test_going_back_in_the_browser_restores_that_address() -> None:
    test = opened(CARD)
    test.slider(f"{CARD.slug}-{NUMBER.name}").set_value(NUMBER.low).run()
    test.query_params[NUMBER.name] = NUMBER.write(NUMBER.high)
    test.run()
    assert values_of(test, CARD)[NUMBER.name] == NUMBER.high


def test_a_move_counts_more_than_an_address_that_is_late() -> None:
    test = opened(CARD)
    before = query_of(test)
    test.slider(f"{CARD.slug}-{NUMBER.name}").set_value(NUMBER.low).run()
    for name, value in before.items():
        test.query_params[name] = value
    test.slider(f"{CARD.slug}-{NUMBER.name}").set_value(NUMBER.high).run()
    assert values_of(test, CARD)[NUMBER.name] == NUMBER.high


@pytest.fixture(autouse=True)
def nobody_waits() -> None:
    """The queue of live runs is one for the whole process."""
    lab._queue.clear()


def shown_after(test: AppTest, runs: int) -> str:
    """What stands on the page after so many runs of its script, which a browser asks for by itself."""
    for _ in range(runs):
        test.run()
    return " ".join(part.proto.body for part in test.get("html"))


def test_starting_a_live_run_writes_no_address_and_ends_with_its_result() -> None:
    test = opened(CARDS["lr_range_test"])
    test.button("lr_range_test-live").click().run()
    assert query_of(test) == {}
    assert "trained here" in shown_after(test, 1)


def test_a_live_run_that_fails_shows_what_it_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **options: Any) -> None:
        raise ArithmeticError("no more")

    test = opened(CARDS["lr_range_test"])
    monkeypatch.setattr("core.topics.lr_range_test.recipe.trials", failing)
    test.button("lr_range_test-live").click().run()
    assert "Something broke here; what was reached is shown." in shown_after(test, 1)
    assert [button.label for button in test.button].count("Train it here") == 1


def test_ending_a_live_run_twice_is_ending_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.st, "session_state", {})
    visit = lab.Visit(CARD)
    visit.kept["job"] = lab.Job(iter(()), html="so far")
    visit.end("")
    visit.end("Cancelled")
    assert visit.kept["reached"] == "so far"


def test_a_damaged_run_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise store.BadRun(f"{name}: model.safetensors is missing")

    figures.stored.cache_clear()
    monkeypatch.setattr(store, "load", broken)
    test = opened(CARDS["lr_range_test"])
    assert not test.exception
    assert words(test).count("model.safetensors is missing") == 2, "in place of the figure, and of the scores"


def test_the_worksheet_is_offered_with_its_answers_apart() -> None:
    labels = [button.label for button in opened(CARD).get("download_button")]
    assert labels == ["Worksheet", "Answers"]


def test_the_front_page_lists_every_page() -> None:
    test = AppTest.from_file(str(ROOT / "apps" / "lab.py"), default_timeout=60).run()
    assert not test.exception
    assert len(test.get("page_link")) == len(CARDS)


def test_a_card_says_where_it_is_shown() -> None:
    with pytest.raises(ValueError, match="expected a surface"):
        replace(CARD, surface="wall")


def test_plotlys_script_is_there_to_be_served() -> None:
    import plotly

    assert (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").is_file()
    assert lab.FIGURE.count("<button") == 3
