"""What a visitor may send, what an address restores, and which cards are refused."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import card
from core.card import Bound, Card, Param, Refused, Score, Step

NUMBER = Param("rotate", "number", 0.5, "Turn", "Turns it.", low=-180, high=180.5, unit="°")
WHOLE = Param("T", "whole", 50, "Passes", "More passes, less noise.", low=1, high=200, step=1, unit="passes")
CHOICE = Param("digit", "choice", "three", "Digit", "Another picture.", choices={"three": "a 3", "v1.0": "version 1.0"})
FLAG = Param("dropout", "flag", True, "Dropout", "Switches it on.")
SEED = Param("seed", "seed", 0, "Seed", "Other random numbers.")
PARAMS = (NUMBER, WHOLE, CHOICE, FLAG, SEED)
STEP = Step(ask="What happens?", choices=("this", "that"), right=1, set={"T": 1}, look="There.", why="Because.")


def make(**changes: Any) -> Card:
    """A small card, with changes."""
    parts: dict[str, Any] = {
        "slug": "toy",
        "family": "Toys",
        "question": "Does it answer?",
        "claim": "It does.",
        "params": PARAMS,
        "papers": (),
        "scores": (),
        "tour": (STEP, STEP, STEP),
        "formula": "y = x",
        "symbols": {"x": "input", "y": "answer"},
        "idea": "Heads and tails.",
        "verdict": "It is fair.",
        "not_this": "No oracle.",
        "tiles": {"answer": "y = x"},
        "limits": (),
        "data": (),
        "command": "make evaluate TOPIC=toy",
        "sample": "digit",
    }
    return Card(**parts | changes)


TOY = make()

# --- one value ---


@pytest.mark.parametrize(
    ("param", "raw", "value"),
    [
        (NUMBER, -180, -180.0),
        (NUMBER, 180.5, 180.5),
        (NUMBER, "180.5", 180.5),
        (NUMBER, " 1e2 ", 100.0),
        (NUMBER, "-0.125", -0.125),
        (WHOLE, 1, 1),
        (WHOLE, 200, 200),
        (WHOLE, 7.0, 7),
        (WHOLE, "7.0", 7),
        (CHOICE, "three", "three"),
        (CHOICE, "v1.0", "v1.0"),
        (FLAG, True, True),
        (FLAG, False, False),
        (FLAG, "1", True),
        (FLAG, "0", False),
        (FLAG, "true", True),
        (FLAG, "false", False),
        (FLAG, 1, True),
        (FLAG, 0.0, False),
        (SEED, 0, 0),
        (SEED, "9999", 9999),
    ],
)
def test_what_fits_is_taken(param: Param, raw: object, value: card.Value) -> None:
    for taken in (param.parse(raw), param.clamp(raw)[0]):
        assert taken == value
        assert type(taken) is type(value)
    assert param.clamp(raw)[1] == ""


@pytest.mark.parametrize(
    ("param", "raw", "nearest"),
    [
        (NUMBER, -180.001, -180.0),
        (NUMBER, "181", 180.5),
        (NUMBER, math.inf, 180.5),
        (NUMBER, "-inf", -180.0),
        (NUMBER, "1e999", 180.5),
        (NUMBER, "9" * 1_000_000, 180.5),
        (WHOLE, 0, 1),
        (WHOLE, 201, 200),
        (WHOLE, "-inf", 1),
        (WHOLE, 10**30, 200),
        (SEED, -1, 0),
        (SEED, 10_000, 9999),
    ],
)
def test_what_lies_outside_is_refused_or_clamped_to_the_nearest_end(
    param: Param, raw: object, nearest: card.Value
) -> None:
    with pytest.raises(Refused, match=f"^{param.label}: expected a (whole )?number from ") as refused:
        param.parse(raw)
    assert f"from {param.low:g} to {param.high:g}; got " in str(refused.value)
    value, note = param.clamp(raw)
    assert value == nearest
    assert type(value) is type(nearest)
    assert note == str(refused.value)


NONSENSE = (
    math.nan,
    "nan",
    "",
    " ",
    "ten",
    "0x10",
    "5;drop",
    None,
    [1],
    {"a": 1},
    b"\xff",
    1j,
    10**400,
    "x" * 1_000_000,
)


@pytest.mark.parametrize("param", PARAMS, ids=lambda param: param.kind)
@pytest.mark.parametrize("raw", NONSENSE, ids=lambda raw: card.short(raw)[:12])
def test_nonsense_is_refused_or_becomes_the_default(param: Param, raw: object) -> None:
    with pytest.raises(Refused, match=f"^{param.label}: expected ") as refused:
        param.parse(raw)
    value, note = param.clamp(raw)
    assert value == param.default
    assert note == str(refused.value)
    assert len(note) < 120
    assert note.endswith(".")


@pytest.mark.parametrize(
    ("param", "raw"),
    [
        (NUMBER, True),
        (WHOLE, False),
        (SEED, True),
        (WHOLE, 1.5),
        (WHOLE, "2.5"),
        (SEED, 0.1),
        (CHOICE, "Three"),
        (CHOICE, "a 3"),
        (CHOICE, 0),
        (CHOICE, True),
        (FLAG, 2),
        (FLAG, "yes"),
        (FLAG, "True"),
    ],
)
def test_a_value_of_another_kind_is_refused(param: Param, raw: object) -> None:
    with pytest.raises(Refused, match=f"^{param.label}: expected "):
        param.parse(raw)
    assert param.clamp(raw)[0] == param.default


def test_the_sentence_names_what_is_allowed() -> None:
    with pytest.raises(Refused, match=r"^Digit: expected one of three, v1\.0; got 'four'\.$"):
        CHOICE.parse("four")
    with pytest.raises(Refused, match=r"^Passes: expected a whole number from 1 to 200; got 0\.$"):
        WHOLE.parse(0)
    with pytest.raises(Refused, match=r"^Dropout: expected 1 or 0; got 'maybe'\.$"):
        FLAG.parse("maybe")


@pytest.mark.parametrize(
    "parts",
    [
        {"kind": "integer"},
        {"name": "two words"},
        {"name": ""},
        {"name": "1st"},
        {"name": "größe"},
        {"kind": "choice"},
        {"choices": {"a": "A"}},
        {"kind": "choice", "choices": {"a": "A"}, "default": "b"},
        {"kind": "choice", "choices": {"a": "A"}, "default": "a", "fetched": ("b",)},
        {"kind": "choice", "choices": {"a": "A", "b": "B"}, "default": "a", "fetched": ("a",)},
        {"fetched": ("a",)},
        {"default": 2.0},
        {"default": math.nan},
        {"default": "one"},
        {"low": 1.0, "high": 0.0},
        {"kind": "whole", "default": 0.5},
        {"kind": "seed", "default": -1},
        {"kind": "flag", "default": "yes"},
    ],
)
def test_a_control_that_does_not_fit_is_refused(parts: dict[str, Any]) -> None:
    sound: dict[str, Any] = {"name": "x", "kind": "number", "default": 0.5, "label": "X", "help": "More x."}
    Param(**sound)
    with pytest.raises(ValueError, match=r"expected|belong"):
        Param(**sound | parts)


def test_a_default_becomes_a_value_of_its_kind() -> None:
    assert Param("on", "flag", "0", "On", "Switches.").default is False
    assert type(Param("x", "number", 1, "X", "More x.").default) is float
    assert type(Param("n", "whole", 1.0, "N", "More n.", step=0.01).default) is int


def test_a_seed_has_its_own_range() -> None:
    assert (SEED.low, SEED.high, SEED.step) == (0, card.SEED_HIGH, 1)


@pytest.mark.parametrize(
    ("param", "value", "said"),
    [
        (NUMBER, 40.0, "40°"),
        (NUMBER, 0.1 + 0.2, "0.3°"),
        (WHOLE, 200, "200 passes"),
        (CHOICE, "v1.0", "version 1.0"),
        (FLAG, True, "on"),
        (FLAG, False, "off"),
        (SEED, 7, "7"),
    ],
)
def test_a_visitor_reads(param: Param, value: card.Value, said: str) -> None:
    assert param.say(value) == said


def test_what_was_sent_is_cut_to_fit_a_sentence() -> None:
    assert card.short("three") == "'three'"
    assert len(card.short("x" * 1000)) <= 40


# --- a whole state ---

STATES = st.fixed_dictionaries(
    {
        "rotate": st.floats(-180, 180.5),
        "T": st.integers(1, 200),
        "digit": st.sampled_from(["three", "v1.0"]),
        "dropout": st.booleans(),
        "seed": st.integers(0, card.SEED_HIGH),
    }
)


@settings(deadline=None)  # a busy machine may pause in any example
@given(STATES)
def test_an_address_restores_the_state(values: dict[str, card.Value]) -> None:
    address = TOY.address(values)
    assert all(isinstance(text, str) for text in address.values())
    assert TOY.read_address(address) == (values, [])
    assert TOY.parse(address) == values


def test_an_address_is_readable() -> None:
    assert TOY.address(TOY.defaults() | {"rotate": 40.0, "dropout": False}) == {
        "rotate": "40",
        "T": "50",
        "digit": "three",
        "dropout": "0",
        "seed": "0",
    }


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*(param.name for param in PARAMS), "hide", "embed"]), st.text()))
def test_no_address_breaks_a_page(query: dict[str, str]) -> None:
    values, notes = TOY.read_address(query)
    assert TOY.parse(values) == values
    assert len(notes) <= len(query)


def test_an_address_says_what_it_changed() -> None:
    values, notes = TOY.read_address({"T": "1000", "digit": "four", "hide": "upload", "seed": "7"})
    assert values == TOY.defaults() | {"T": 200, "seed": 7}
    assert notes == [
        "Passes: expected a whole number from 1 to 200; got '1000'. Using 200 passes.",
        "Digit: expected one of three, v1.0; got 'four'. Using a 3.",
    ]


def test_a_state_is_filled_up_with_defaults() -> None:
    assert TOY.parse({}) == TOY.defaults() == {"rotate": 0.5, "T": 50, "digit": "three", "dropout": True, "seed": 0}
    assert TOY.parse({"T": "7"}) == TOY.defaults() | {"T": 7}
    with pytest.raises(Refused, match="Passes: expected a whole number from 1 to 200; got 0"):
        TOY.parse({"T": 0})
    with pytest.raises(Refused, match=r"no control called 'turn'; there are rotate, T, digit, dropout, seed"):
        TOY.parse({"turn": 1})


def test_differences_in_words() -> None:
    first = TOY.defaults()
    assert TOY.differences(first, first) == []
    assert TOY.differences(first, first | {"T": 200, "dropout": False, "digit": "v1.0", "rotate": 40.0}) == [
        "Turn: 0.5° in A, 40° in B",
        "Passes: 50 passes in A, 200 passes in B",
        "Digit: a 3 in A, version 1.0 in B",
        "Dropout: on in A, off in B",
    ]


# --- the card ---


@pytest.mark.parametrize(
    ("sign", "held"), [(">=", [False, True, True]), ("<=", [True, True, False]), ("==", [False, True, False])]
)
def test_a_bound(sign: str, held: list[bool]) -> None:
    bound = Bound("doubt", sign, 0.5)
    assert [bound.holds({"doubt": value, "other": 9}) for value in (0.4, 0.5, 0.6)] == held
    assert not bound.holds({"doubt": math.nan})
    with pytest.raises(KeyError):
        bound.holds({"other": 1})


@pytest.mark.parametrize("sign", [">", "=", "", "≥"])
def test_a_bound_with_another_sign_is_refused(sign: str) -> None:
    with pytest.raises(ValueError, match="expected >=, <= or =="):
        Bound("doubt", sign, 0.5)


@pytest.mark.parametrize(
    ("choices", "right"), [((), 0), (("one",), 0), (tuple("abcde"), 0), (("one", "two"), 2), (("one", "two"), -1)]
)
def test_a_step_needs_predictions_and_a_right_one(choices: tuple[str, ...], right: int) -> None:
    with pytest.raises(ValueError, match="expected two to four choices, and one of them right"):
        Step(ask="What?", choices=choices, right=right, set={}, look="", why="")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": "Is this one word too many now?"}, "more than six words"),
        ({"params": (*PARAMS, SEED)}, "different names"),
        ({"tour": (STEP, STEP)}, "three to five tour steps"),
        ({"tour": (STEP,) * 6}, "three to five tour steps"),
        ({"sample": "picture"}, "sample control 'picture' is not among"),
        ({"params": PARAMS[1:], "tour": (Step("?", ("a", "b"), 0, {"rotate": 1}, "", ""),) * 3}, "no control called"),
        ({"tour": (STEP, STEP, Step("?", ("a", "b"), 0, {"T": 0}, "", ""))}, "from 1 to 200; got 0"),
        ({"tour": (STEP, STEP, Step("?", ("a", "b"), 0, {}, "", "", then={"digit": "four"}))}, "got 'four'"),
    ],
)
def test_a_card_that_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_card_finds_its_controls() -> None:
    assert TOY.param("T") is WHOLE
    with pytest.raises(Refused, match="no control called 't'"):
        TOY.param("t")


def test_a_score_in_words() -> None:
    assert Score("toy/plain", "error", "test error", percent=True).say(0.0042) == "0.42 %"
    assert Score("toy/plain", "auroc", "AUROC", digits=3).say(0.98765) == "0.988"
    assert Score("toy/plain", "kernel", "kernel distance", digits=3).say(-0.0001) == "0.000"


# --- the topics ---


def test_topics_are_the_folders() -> None:
    folders = Path(card.__file__).parent / "topics"
    assert card.topics() == sorted(path.parent.name for path in folders.glob("*/card.py"))
    assert card.topics()


def test_a_room_is_loaded_by_name() -> None:
    slug = card.topics()[0]
    assert card.load(slug, "method").__name__ == f"core.topics.{slug}.method"


@pytest.mark.parametrize("slug", ["", "nothing", "..", "os", f"{card.topics()[0]}.method", "x" * 1000])
def test_a_topic_that_is_not_there_is_refused(slug: str) -> None:
    with pytest.raises(Refused, match="There is no topic called "):
        card.load(slug)


def test_a_card_needs_the_standard_library_only() -> None:
    count = "import sys; before = set(sys.modules); import core.card; print(*set(sys.modules) - before)"
    result = subprocess.run(
        [sys.executable, "-c", count], capture_output=True, text=True, check=True, cwd=Path(card.__file__).parent.parent
    )
    imported = {name.partition(".")[0] for name in result.stdout.split()}
    assert imported - sys.stdlib_module_names == {"core"}
