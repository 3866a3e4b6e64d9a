"""The frame of a concept page: address, notes, hidden controls, the teacher's flags; and the lab's settings."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from labs import CARDS, ROOT, opened, query_of, values_of
from streamlit.testing.v1 import AppTest

from core import draw, lab, store

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
    assert values_of(test, CARD) == CARD.parse(CARD.tour[2].set)
    assert "Tour 3 of 3" in words(test)
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


def job() -> lab.Job:
    return lab.Job(iter(()))


def test_live_runs_take_turns_in_the_order_in_which_they_came() -> None:
    line, first, second, third = lab.Line(), job(), job(), job()
    assert line.place(first) == 0
    assert line.place(second) == 2, "one computes, one waits"
    assert line.done(first, stays=True), "somebody waits"
    assert line.place(third) == 2
    assert line.place(first) == 1
    assert line.place(second) == 0
    line.done(second, stays=False)
    assert [line.place(first), line.place(third)] == [0, 2]
    assert line.done(first, stays=False)
    assert line.place(third) == 0
    assert not line.done(third, stays=False)


def test_who_cancels_or_closes_the_page_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    line, first, second, third = lab.Line(), job(), job(), job()
    now = 0.0
    monkeypatch.setattr(lab.time, "monotonic", lambda: now)
    for each in (first, second, third):
        if line.place(each) == 0:
            line.done(each, stays=True)
    line.leave(second)
    now = lab.GONE_S + 1  # nobody has heard of the first one since
    assert line.place(third) == 0


def test_a_live_run_ends_at_its_budget_and_earlier_if_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def parts() -> Iterator[tuple[float, str]]:
        nonlocal now
        while True:
            now += 0.2
            yield 0.1, "so far"

    def spent(*, crowded: bool) -> float:
        line = lab.Line()
        monkeypatch.setattr(lab, "_line", lambda: line)
        visit, mine, other = lab.Visit(CARD), lab.Job(parts()), job()
        visit.store["job"] = mine
        while "job" in visit.store:
            lab.take_turn(visit, mine)
            if crowded and line.place(other) == 0:
                line.done(other, stays=True)
        assert "so far" in visit.store["reached"]
        assert "Stopped after" in visit.store["reached"]
        return mine.spent_s

    monkeypatch.setattr(lab.time, "monotonic", lambda: now)
    monkeypatch.setattr(lab.st, "session_state", {})
    assert lab.BUDGET_S < spent(crowded=False) < lab.BUDGET_S + 2 * lab.SLICE_S
    assert lab.CROWDED_S < spent(crowded=True) < lab.CROWDED_S + 2 * lab.SLICE_S


def test_a_damaged_run_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise store.BadRun(f"{name}: model.safetensors is missing")

    monkeypatch.setattr(store, "load", broken)
    test = opened(CARDS["lr_range_test"])
    assert not test.exception
    assert "model.safetensors is missing" in words(test)


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
