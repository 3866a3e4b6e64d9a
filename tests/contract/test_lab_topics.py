"""What every concept page promises, generated from the cards: a new page is tested by being there."""

import json
import socket
from html import escape
from typing import Any

import pytest
import torch
from labs import CARDS, ROOT, figure_of, opened, page_of, query_of, values_of

from core import card as cards
from core import lab, store
from core.card import Card, Param, Refused, Step, Value

every_page = pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
every_param = pytest.mark.parametrize(
    ("card", "param"),
    [pytest.param(card, param, id=f"{slug}-{param.name}") for slug, card in CARDS.items() for param in card.params],
)
every_step = pytest.mark.parametrize(
    ("card", "number"),
    [
        pytest.param(card, number, id=f"{slug}-{number + 1}")
        for slug, card in CARDS.items()
        for number in range(len(card.tour))
    ],
)


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No data folder, the weights that come with the project, and no connection but to this machine."""

    def guarded(self: socket.socket, address: Any) -> Any:
        assert not isinstance(address, tuple) or address[0] in ("127.0.0.1", "::1"), f"a connection to {address}"
        return connect(self, address)

    connect = socket.socket.connect
    monkeypatch.delenv("VITRINE_WEIGHTS", raising=False)
    monkeypatch.delenv("VITRINE_DATA", raising=False)
    monkeypatch.setattr(socket.socket, "connect", guarded)


def ends(param: Param) -> list[Value]:
    """The values of a control that are most likely to break an answer."""
    if param.kind == "choice":
        return list(param.choices)
    if param.kind == "flag":
        return [True, False]
    return [param.parse(param.low), param.parse(param.high), param.default]


def answer_of(card: Card, **values: Value) -> lab.Answer:
    return page_of(card).answer(card.parse(values))


@every_page
def test_its_files_are_there_under_one_name(card: Card) -> None:
    assert cards.load(card.slug).CARD is card
    for path in (
        f"core/topics/{card.slug}/method.py",
        f"apps/lab_pages/{card.slug}.py",
        f"tests/topics/test_{card.slug}.py",
    ):
        assert (ROOT / path).is_file(), path
    assert not (ROOT / "apps" / f"{card.slug}.py").exists(), "a concept page has no Space"
    folder = store.CHECKPOINTS / card.slug
    assert folder.is_dir() == (card.slug in cards.topics(room="recipe"))


@every_page
def test_its_card_is_complete(card: Card) -> None:
    texts = [card.family, card.question, card.claim, card.idea, card.formula, card.not_this, *card.symbols.values()]
    texts += [*card.tiles.values(), *card.limits, *(param.help for param in card.params)]
    texts += [text for step in card.tour for text in (step.ask, step.look, step.why, *step.choices)]
    assert all(text.strip() for text in texts)
    assert min(map(len, (card.symbols, card.tiles, card.limits, card.papers))) > 0
    assert len(card.tour) == 3
    assert all(step.holds for step in card.tour)
    assert not {param.name for param in card.params} & {"hide", "embed", "embed_options", "present", "step"}


@every_page
def test_its_runs_are_whole_small_and_of_named_data(card: Card) -> None:
    for path in sorted((store.CHECKPOINTS / card.slug).glob("*/config.json")):
        run = store.load(f"{card.slug}/{path.parent.name}")
        assert sum(run.path(file).stat().st_size for file in run.config["files"]) < 1e6
        assert {file.name for file in run.folder.iterdir()} - set(run.config["files"]) <= {"config.json", "README.md"}
        for source in run.config["data"]:
            assert source["licence"] in " ".join(card.data)
        if "expected.safetensors" in run.config["files"]:
            network = cards.load(card.slug, "recipe").restore(run)
            expected = run.tensors("expected.safetensors")
            with torch.inference_mode():
                output = network(expected["input"])
            torch.testing.assert_close(output, expected["output"], atol=1e-4, rtol=1e-4)
    for score in card.scores:
        assert store.load(score.run).score(score.key).keys() >= {"stored", "mean", "spread", "runs"}


@every_param
def test_ends_and_default_give_an_answer(card: Card, param: Param) -> None:
    for value in ends(param):
        answer = answer_of(card, **{param.name: value})
        assert answer.figure["layout"]["meta"]["sentence"]
        assert 3 <= len(answer.tiles) <= 5
        assert all(card.tiles[tile.name] and tile.value for tile in answer.tiles)
        json.dumps([answer.figure, dict(answer.numbers)], allow_nan=False)
        assert len(json.dumps(answer.figure)) < 400_000, "it travels with every move of a slider"


def shown(card: Card, **values: Value) -> tuple[Any, ...]:
    """All that a visitor sees of an answer."""
    answer = answer_of(card, **values)
    return answer.figure, dict(answer.numbers), list(answer.tiles), answer.table


def states_beside(card: Card, param: Param) -> tuple[list[dict[str, Value]], list[dict[str, Value]]]:
    """The opening state and those that differ in one choice; and some that differ in all. This control as it opens."""
    choices = [other for other in card.params if other.kind == "choice" and other is not param]
    single = [{other.name: value} for other in choices for value in other.choices]
    turns = [{other.name: list(other.choices)[turn % len(other.choices)] for other in choices} for turn in range(8)]
    return [{}, *single], turns


@every_param
def test_a_control_is_offered_where_it_has_an_effect_and_only_there(card: Card, param: Param) -> None:
    def changes(state: dict[str, Value]) -> bool:
        before = shown(card, **state)
        return any(shown(card, **state, **{param.name: value}) != before for value in ends(param))

    single, mixed = states_beside(card, param)
    for state in single:
        assert changes(state) == (param.name not in answer_of(card, **state).idle), state
    for state in mixed:
        assert param.name not in answer_of(card, **state).idle or not changes(state), state


@every_param
def test_values_outside_are_refused_and_the_address_restores_the_others(card: Card, param: Param) -> None:
    for wrong in (None, "no such thing", [1]):
        with pytest.raises(Refused, match="expected"):
            card.parse({param.name: wrong})
    for value in ends(param):
        values = card.parse({param.name: value})
        assert card.read_address(card.address(values)) == (values, [])


@every_step
def test_what_a_step_says_holds(card: Card, number: int) -> None:
    step: Step = card.tour[number]
    numbers = answer_of(card, **{**step.set, **step.then}).numbers
    for bound in step.holds:
        assert bound.holds(numbers), f"{bound.number} is {numbers[bound.number]}, not {bound.sign} {bound.limit}"


# ---- the page, as a visitor's browser runs it


def move(test: Any, card: Card, param: Param, value: Value) -> None:
    """Set one widget of the page, as a visitor would."""
    key = f"{card.slug}-{param.name}"
    if param.kind == "choice" and len(param.choices) <= lab.MENU:
        (widget,) = (group for group in test.button_group if group.key == key)
        widget.set_value(value)
    elif param.kind == "choice":
        test.selectbox(key).set_value(value)
    elif param.kind == "flag":
        test.toggle(key).set_value(value)
    elif param.kind == "seed":
        test.number_input(key).set_value(value)
    else:
        test.slider(key).set_value(value)
    test.run()


def awake(card: Card, param: Param) -> dict[str, Value]:
    """A state in which this control has an effect and can be moved."""
    choices = [{other.name: value} for other in card.params for value in ends(other)]
    return next(state for state in ({}, *choices) if param.name not in answer_of(card, **state).idle)


@every_page
def test_every_widget_goes_to_its_ends(card: Card) -> None:
    test = opened(card)
    assert not test.exception
    for param in card.params:
        if param.name in page_of(card).answer(values_of(test, card)).idle:
            test = opened(card, **card.address(card.parse(awake(card, param))))
        for value in ends(param):
            before = values_of(test, card)[param.name]
            move(test, card, param, value)
            assert not test.exception
            assert values_of(test, card)[param.name] == value
            assert value == before or query_of(test) == card.address(values_of(test, card))
            assert figure_of(test)["data"]


@every_page
def test_an_address_is_restored_with_its_figure(card: Card) -> None:
    state = card.parse(card.tour[-1].set)
    test = opened(card, **card.address(state))
    assert values_of(test, card) == state
    assert figure_of(test)["layout"]["meta"] == json.loads(
        json.dumps(page_of(card).answer(state).figure["layout"]["meta"])
    )
    assert query_of(test) == card.address(state)


@every_page
def test_two_visitors_are_apart(card: Card) -> None:
    param = next(param for param in card.params if param.main and param.kind != "flag")
    value = next(value for value in ends(param) if value != param.default)
    first, second = opened(card), opened(card)
    untouched = figure_of(second)
    move(first, card, param, value)
    second.run()
    assert values_of(second, card) == card.defaults()
    assert figure_of(second) == untouched
    assert values_of(first, card)[param.name] == value


def told(test: Any) -> str:
    """All HTML on the page."""
    return " ".join(part.proto.body for part in test.get("html"))


@every_page
def test_the_tour_asks_before_it_tells(card: Card) -> None:
    test = opened(card)
    for number, step in enumerate(card.tour):
        assert escape(step.why) not in told(test)
        test.button(f"{card.slug}-choice-{step.right}").click().run()
        assert not test.exception
        assert escape(step.why) in told(test)
        assert values_of(test, card) == card.parse(step.set)
        if step.then:
            test.button(f"{card.slug}-then").click().run()
            assert values_of(test, card) == card.parse({**step.set, **step.then})
        if number < len(card.tour) - 1:
            test.button(f"{card.slug}-next").click().run()
    test.button(f"{card.slug}-reset").click().run()
    assert values_of(test, card) == card.defaults()


@every_page
def test_the_source_on_the_page_is_the_modules_own(card: Card) -> None:
    own = [path.read_text(encoding="utf-8") for path in (ROOT / "core").glob("**/*.py")]
    shown = [block.value.strip() for block in opened(card).get("code")]
    assert shown
    assert all(text.startswith("def ") and any(text in source for source in own) for text in shown)
