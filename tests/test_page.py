"""The frame of a page: what a visitor's moves do, and what goes wrong in words; then the real page over HTTP."""

import asyncio
import base64
import inspect
import io
import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from torch import nn

from core import draw, moves, serve, store
from core.card import Bound, Card, Paper, Param, Refused, Score, Step
from core.markup import Tile
from core.moves import Answer, Widgets
from core.page import Space
from core.widgets import sentence_input

OWN = "data:image/png;base64,AAAA"
CARD = Card(
    slug="toy",
    family="Toys",
    question="How far?",
    claim="It counts.",
    sample="start",
    params=(
        Param("start", "choice", "one", "Start", "Where it begins.", choices={"one": "from 1", "ten": "from 10"}),
        Param("n", "whole", 2, "Count", "More counts further.", low=0, high=9),
        Param("loud", "flag", False, "Loud", "Says it loudly.", main=False),
    ),
    papers=(Paper("On Counting", "Nobody", 2000, "https://example.org/"),),
    scores=(Score("toy/plain", "error", "error", percent=True),),
    tour=(
        Step("More?", ("yes", "no"), 0, {"n": 3}, "Look.", "Because.", holds=(Bound("sum", "==", 4),)),
        Step("And then?", ("yes", "no", "both"), 2, {"n": 1}, "Look.", "Because.", then={"n": 9, "start": "ten"}),
        Step("Wrong?", ("yes", "no"), 1, {"n": 0, "loud": True}, "Look.", "Because."),
    ),
    formula="s = a + n",
    symbols={"s": "the sum"},
    idea="Two words.",
    verdict="It is fair.",
    not_this="It is no proof.",
    tiles={"sum": "Start plus count, s = a + n."},
    limits=("It counts to 19.",),
    data=("none",),
    command="make evaluate TOPIC=toy",
)
WRONG = RuntimeError("a secret path")


def count(values: dict[str, Any], own: str) -> Answer:
    """The sum as every part of an answer; the visitor's own input counts as 100."""
    total = values["n"] + (100 if own else {"one": 1, "ten": 10}[values["start"]])
    figure = {"data": [{"y": [total]}], "layout": {"height": 100, "meta": {"sentence": f"The sum is {total}."}}}
    canvas = {"own": own, "shown": f"sample {values['start']}"}
    return Answer(figure, [Tile("sum", str(total))], {"sum": total}, [{"sum": total}], [canvas])


def streamed(values: dict[str, Any], own: str) -> Iterator[Answer]:
    for n in range(values["n"] + 1):
        yield count({**values, "n": n}, own)


def widgets(first: Answer) -> Widgets:
    canvas = gr.HTML({"own": "", "shown": first.extras[0]["shown"]})
    return Widgets(own=canvas, file=gr.UploadButton("Upload"), extras=[canvas])


def build(card: Card = CARD, **options: Any) -> Space:
    space = Space(
        card=card,
        answer=count,
        widgets=widgets,
        networks=lambda: {},
        run="toy/plain",
        shown=[count],
        follow=lambda values, own, pick: [f"pick {pick[0]} of {values['n']}"],
        pick=[Param("place", "whole", 1, "Place", "Which.", low=1, high=5)],
        measured=lambda: draw.figure(height=10, sentence="measured"),
        snippet=lambda values, own: f"print({values['n']})",
        **options,
    )
    space.build()
    return space


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Space, Space]:
    """The toy's page, and one with engines from the Hub, over a stored run that holds the toy's score."""
    config: dict[str, Any] = {
        "network": {},
        "classes": [],
        "preprocessing": {},
        "recipe": {},
        "scores": {"error": {"stored": 0.1, "mean": 0.1, "spread": 0.0, "runs": 1}},
        "data": [],
        "measured": {"commit": "0"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "CHECKPOINTS", tmp_path_factory.mktemp("checkpoints"))
        patch.delenv("VITRINE_WEIGHTS", raising=False)
        store.save("toy/plain", config=config, network=nn.Linear(1, 1))
        return build(), build(DISTANT, fetch=fetch)


@pytest.fixture
def space(pages: tuple[Space, Space]) -> Space:
    """The toy's page."""
    return pages[0]


@pytest.fixture
def broken(space: Space, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], Space]:
    """The page, with an answer that raises."""

    def breaking(error: Exception) -> Space:
        def answer(*_: object) -> Answer:
            raise error

        monkeypatch.setattr(space, "answer", answer)
        return space

    return breaking


def state(*, start: str | None = "one", n: Any = 2, loud: Any = False, own: str = "") -> list[Any]:
    """What the page's components send."""
    return [start, n, loud, {"own": own, "shown": ""}]


def moved(space: Space, handler: Callable, *sent: Any) -> dict[str, Any]:
    """The last updates of a handler, by the name of the part; controls and the canvas by theirs."""
    result = space.guarded(handler)(*sent)
    updates = list(result)[-1] if inspect.isgenerator(result) else result
    named = {part: name for name, part in space._parts.items() if isinstance(part, gr.blocks.Block)}
    named |= {part: name for name, part in space._controls.items()} | {space._widgets.own: "canvas"}
    named |= {button: f"choice {place}" for place, button in enumerate(space._parts["choices"])}
    return {named[part]: value for part, value in updates.items()}


def sentence(updates: dict[str, Any]) -> str:
    """What the note says, as plain words."""
    return unescape(re.sub(r"<[^>]+>", "", updates["note"]))


def height(figure: str) -> list[int]:
    """Where the first trace of a figure stands, as the browser is told."""
    return json.loads(figure)["data"][0]["y"]


def shown(updates: dict[str, Any]) -> int:
    (first,) = height(updates["figure"])
    return first


# ---- answers, and what goes wrong


def test_a_move_fills_figure_numbers_and_address(space: Space) -> None:
    updates = moved(space, space.move, *state(n=5), None)
    assert shown(updates) == 6
    assert ">6<" in updates["tiles"]
    assert updates["address"] == "start=one&n=5&loud=0"
    assert updates["note"] == ""


def test_the_unexpected_becomes_a_sentence_with_an_id_that_the_log_has(
    broken: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    space = broken(WRONG)
    with caplog.at_level(logging.ERROR, logger="vitrine"):
        updates = moved(space, space.move, *state(), None)
    assert list(updates) == ["note"], "the former answer stays"
    ticket = re.search(r"The log has it as ([0-9a-f]{8})\.", sentence(updates))
    assert ticket
    assert "secret" not in updates["note"]
    assert "role='alert'" in updates["note"]
    assert ticket[1] in caplog.text
    assert "a secret path" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("error", [Refused("Draw a digit."), store.BadRun("toy/plain/model.safetensors is missing")])
def test_what_was_foreseen_is_said_as_it_is(
    broken: Callable, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    space = broken(error)
    updates = moved(space, space.move, *state(), None)
    assert list(updates) == ["note"]
    assert sentence(updates) == str(error)
    assert caplog.text == ""


def test_a_sentence_is_escaped(broken: Callable) -> None:
    space = broken(Refused("<img src=x onerror=alert(1)>"))
    assert "<img" not in moved(space, space.move, *state(), None)["note"]


@pytest.mark.parametrize("n", [-1, 10, 2.5, float("nan"), "many", None, [1]])
def test_values_outside_are_refused_with_their_range(space: Space, n: Any) -> None:
    updates = moved(space, space.move, *state(n=n), None)
    assert list(updates) == ["note"]
    assert "Count: expected a whole number from 0 to 9" in sentence(updates)


def test_a_stream_shows_each_part(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "answer", streamed)
    parts = list(space.guarded(space.move)(*state(n=3), None))
    assert [height(part[space._parts["figure"]]) for part in parts] == [[1], [2], [3], [4]]


def test_a_stream_stops_at_the_deadline_and_keeps_what_it_reached(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(values: dict[str, Any], own: str) -> Iterator[Answer]:
        while True:
            time.sleep(0.01)
            yield count(values, own)

    monkeypatch.setattr(space, "answer", endless)
    monkeypatch.setattr(space, "deadline_s", 0.1)
    begin = time.monotonic()
    parts = list(space.guarded(space.move)(*state(), None))
    assert time.monotonic() - begin < 2
    assert all(space._parts["figure"] in part for part in parts[:-1])
    assert list(parts[-1]) == [space._parts["note"]]
    assert "Stopped after 0.1 seconds" in parts[-1][space._parts["note"]]


def test_a_stream_that_breaks_keeps_what_it_reached(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(values: dict[str, Any], own: str) -> Iterator[Answer]:
        yield count(values, own)
        raise WRONG

    monkeypatch.setattr(space, "answer", breaking)
    first, last = space.guarded(space.move)(*state(), None)
    assert space._parts["figure"] in first
    assert list(last) == [space._parts["note"]]


# ---- the gate


def test_no_more_than_the_slots_are_used_and_the_others_are_told() -> None:
    gate = serve.Gate(slots=2, waiting=3, patience_s=0.3)
    inside, most, busy = 0, 0, []
    lock = threading.Lock()

    def visit() -> None:
        nonlocal inside, most
        try:
            with gate.enter():
                with lock:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.5)
                with lock:
                    inside -= 1
        except Refused as error:
            busy.append(str(error))

    threads = [threading.Thread(target=visit) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2
    # Two were served; three waited longer than their patience, and seven found no place to wait.
    assert len(busy) == 10
    assert all(text.startswith("Busy") for text in busy)
    assert gate.alone
    with gate.enter():
        assert gate.alone
        with gate.enter():
            assert not gate.alone


def test_a_busy_page_says_so_and_keeps_its_answer(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = serve.Gate(slots=1, waiting=0, patience_s=0.05)
    monkeypatch.setattr(moves, "GATE", gate)
    with gate.enter():
        updates = moved(space, space.move, *state(), None)
        assert list(updates) == ["note"]
        assert sentence(updates).startswith("Busy")
    assert shown(moved(space, space.move, *state(), None)) == 3


def test_slots_are_free_again_after_errors_streams_and_visitors_who_left(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "GATE", serve.Gate(slots=1, waiting=0, patience_s=0.05))

    def breaking(*_: object) -> Answer:
        raise WRONG

    for answer in (breaking, streamed):
        monkeypatch.setattr(space, "answer", answer)
        for _ in range(3):
            list(space.guarded(space.move)(*state(), None))
    left = space.guarded(space.move)(*state(), None)
    next(left)
    left.close()
    monkeypatch.setattr(space, "answer", count)
    assert shown(moved(space, space.move, *state(), None)) == 3


def test_a_slot_is_free_before_the_answer_is_sent(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "GATE", serve.Gate(slots=1, waiting=0, patience_s=0.05))
    slow_reader = space.answers(CARD.defaults(), "")
    next(slow_reader)
    assert shown(moved(space, space.move, *state(n=4), None)) == 5


def test_interleaved_streams_do_not_mix(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "GATE", serve.Gate(slots=2, waiting=0, patience_s=0.05))
    monkeypatch.setattr(space, "answer", streamed)
    first = space.guarded(space.move)(*state(start="one", n=3), None)
    second = space.guarded(space.move)(*state(start="ten", n=3), None)
    figure, address = space._parts["figure"], space._parts["address"]
    for number, (one, ten) in enumerate(zip(first, second, strict=True)):
        assert height(one[figure]) == [1 + number]
        assert height(ten[figure]) == [10 + number]
        assert one[address].startswith("start=one")
        assert ten[address].startswith("start=ten")


def test_visitors_at_the_same_time_get_their_own_answers(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "GATE", serve.Gate(slots=4, waiting=100, patience_s=5))

    def slow(values: dict[str, Any], own: str) -> Answer:
        time.sleep(0.002)
        return count(values, own)

    monkeypatch.setattr(space, "answer", slow)
    wrong: list[int] = []

    def visit(n: int) -> None:
        wrong.extend(n for _ in range(10) if shown(moved(space, space.move, *state(n=n), None)) != n + 1)

    threads = [threading.Thread(target=visit, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---- the visitor's own input


def test_own_input_beats_the_sample_and_stays_out_of_the_link(space: Space) -> None:
    updates = moved(space, space.move, *state(start=None, own=OWN), None)
    assert shown(updates) == 102
    assert updates["address"] == "n=2&loud=0"
    assert sentence(updates) == "Your own picture is not part of the link."
    linked = moved(space, space.open, SimpleNamespace(query_params={"n": "2", "loud": "0"}))
    assert shown(linked) == shown(moved(space, space.move, *state(n=2), None))
    assert "a sample stands in its place" in sentence(linked)


def test_drawing_leaves_the_canvas_alone_and_unchooses_the_sample(space: Space) -> None:
    updates = moved(space, space.own_changed, *state(start="ten", own=OWN), None)
    assert shown(updates) == 102
    assert "canvas" not in updates
    assert updates["start"] is None


def test_choosing_a_sample_drops_the_own_input(space: Space) -> None:
    updates = moved(space, space.choose_sample, *state(start="ten", own=OWN), None)
    assert shown(updates) == 12
    assert updates["canvas"] == {"own": "", "shown": "sample ten"}
    assert updates["address"].startswith("start=ten")


def png(mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (300, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_uploaded_file_goes_to_the_browser_and_is_deleted(space: Space, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(png("RGBA"))
    updates = moved(space, space.take_file, str(path), *state(), None)
    assert not path.exists()
    assert shown(updates) == 102
    head, _, body = updates["canvas"]["own"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(body))).size == (280, 187)
    assert updates["start"] is None
    assert "Transparent parts are white" in sentence(updates)
    assert "not part of the link" in sentence(updates)


def test_a_file_that_is_refused_is_deleted_too(space: Space, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_text("no picture")
    updates = moved(space, space.take_file, str(path), *state(), None)
    assert list(updates) == ["note"]
    assert "not a picture" in sentence(updates)
    assert not path.exists()


# ---- address, reset, tour


def opened(space: Space, **query: str) -> dict[str, Any]:
    return moved(space, space.open, SimpleNamespace(query_params=query))


def test_a_plain_address_keeps_the_first_answer(space: Space) -> None:
    assert opened(space) == {"note": ""}
    assert opened(space, hide="upload", embed="1", present="1") == {"note": ""}


def test_an_address_is_restored(space: Space) -> None:
    updates = opened(space, start="ten", n="7", loud="1")
    assert shown(updates) == 17
    assert (updates["start"], updates["n"], updates["loud"]) == ("ten", 7, True)
    assert updates["address"] == "start=ten&n=7&loud=1"
    assert updates["note"] == ""


def test_wrong_values_in_an_address_are_clamped_and_said(space: Space) -> None:
    updates = opened(space, start="eleven", n="70", loud="<b>")
    assert shown(updates) == 10
    for part in ("Start: expected one of one, ten", "from 0 to 9; got '70'. Using 9", "Loud: expected 1 or 0"):
        assert part in sentence(updates)
    assert "<b>" not in updates["note"]


@pytest.mark.parametrize(
    ("step", "index", "words"),
    [("2", 1, ""), ("7", 2, "from 1 to 3"), ("0", 0, "from 1 to 3"), ("²", 0, "'²'"), ("9" * 5000, 2, "from 1 to 3")],
    ids=["second", "beyond", "before", "superscript", "long"],
)
def test_an_address_may_name_a_step(space: Space, step: str, index: int, words: str) -> None:
    updates = opened(space, step=step)
    assert updates["step"] == index
    assert updates["n"] == CARD.tour[index].set["n"]
    assert words in sentence(updates)
    assert bool(words) == bool(updates["note"])


def test_controls_in_an_address_beat_those_of_its_step(space: Space) -> None:
    updates = opened(space, step="2", n="5")
    assert (updates["step"], updates["n"], shown(updates)) == (1, 5, 6)


def test_weights_that_cannot_be_used_are_said(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    def networks() -> dict[str, Any]:
        raise store.BadRun("toy/plain/model.safetensors is damaged")

    monkeypatch.setattr(space, "networks", networks)
    assert sentence(opened(space)) == "toy/plain/model.safetensors is damaged"


def test_reset_brings_back_the_opening_state(space: Space) -> None:
    updates = moved(space, space.reset)
    assert shown(updates) == 3
    assert {name: updates[name] for name in CARD.defaults()} == CARD.defaults()
    assert updates["canvas"]["own"] == ""
    assert (updates["pinned"], updates["step"], updates["note"], updates["follow"]) == (None, 0, "", "")
    assert (updates["figure_a"], updates["figure_b"]) == (None, None)


def test_the_tour_asks_before_it_shows(space: Space) -> None:
    begun = moved(space, space.go_to_step, 1, None)
    assert (shown(begun), begun["step"]) == (2, 1)
    assert "Because" not in begun["tour"]
    assert [begun[f"choice {place}"]["visible"] for place in range(4)] == [True, True, True, False]
    told = moved(space, space.predict, 1, 0, None)
    assert shown(told) == 19
    assert (told["start"], told["n"], told["loud"]) == ("ten", 9, False)
    assert "The answer: both." in told["tour"]
    assert "Because" in told["tour"]
    assert not any(told[f"choice {place}"]["visible"] for place in range(4))


def test_a_right_prediction_is_confirmed_and_nothing_moves_without_then(space: Space) -> None:
    told = moved(space, space.predict, 0, 0, None)
    assert "Correct." in told["tour"]
    assert "figure" not in told


@pytest.mark.parametrize(("asked", "index"), [(-1, 0), (0, 0), (2, 2), (3, 2)])
def test_the_tour_ends_at_its_ends(space: Space, asked: int, index: int) -> None:
    updates = moved(space, space.go_to_step, asked, None)
    assert updates["step"] == index
    assert updates["back"]["interactive"] == (index > 0)
    assert updates["next"]["interactive"] == (index < 2)


# ---- what has to come from the Hub first


ENGINE = Param(
    "engine", "choice", "here", "Engine", "", choices={"here": "a", "far": "b", "gone": "c"}, fetched=("far", "gone")
)
DISTANT = replace(CARD, params=(*CARD.params, ENGINE))
ENDED: list[str] = []


def fetch(chosen: Mapping[str, Any]) -> Generator[str, None, None]:
    """An engine that comes in two steps, and one that does not come."""
    try:
        yield f"{chosen['engine']}: 1 of 2 MB"
        if chosen["engine"] == "gone":
            raise Refused("The Hub did not deliver it.")
        yield f"{chosen['engine']} is loaded."
    finally:
        ENDED.append(str(chosen["engine"]))


@pytest.fixture
def distant(pages: tuple[Space, Space]) -> Space:
    """The toy's page, with engines that come from the Hub."""
    return pages[1]


def distant_state(*, n: int = 2, engine: str = "here") -> list[Any]:
    return ["one", n, False, engine, {"own": "", "shown": ""}]


def wanted(space: Space, engine: str) -> str:
    """What the browser is told to ask for, after a choice."""
    return moved(space, space.choose, "", *distant_state(engine=engine), None)["wanted"]


def told(space: Space, updates: dict[Any, Any], place: str = "note") -> str:
    return sentence({"note": updates[space._parts[place]]})


def test_the_former_choice_and_its_answer_stay_until_the_new_one_is_here(distant: Space) -> None:
    updates = moved(distant, distant.choose, "start=one&n=5&engine=here", *distant_state(n=5, engine="far"), None)
    assert set(updates) == {"engine", "wanted", "progress", "fetching"}
    assert updates["engine"] == "here"
    assert updates["fetching"]["visible"] is True
    both = moved(distant, distant.choose, "n=5&engine=far", *distant_state(n=5, engine="gone"), None)
    assert both["engine"] == "far"
    assert wanted(distant, "far") != wanted(distant, "far"), "the browser would not notice"


def test_a_choice_that_is_at_hand_is_answered_at_once(distant: Space) -> None:
    updates = moved(distant, distant.choose, "", *distant_state(n=5, engine="here"), None)
    assert shown(updates) == 6
    assert updates["fetching"]["visible"] is False


def test_what_is_brought_is_told_step_by_step_and_then_answered(distant: Space) -> None:
    parts = distant._parts
    first, second, last = distant.bring(wanted(distant, "far"))
    assert told(distant, first, "progress") == "far: 1 of 2 MB"
    assert told(distant, second, "progress") == "far is loaded."
    assert set(first) == set(second) == {parts["progress"]}, "nothing that could come too late"
    assert last[parts["fetching"]]["visible"] is False
    updates = moved(distant, distant.arrive, last[parts["arrived"]], *distant_state(n=7), None)
    assert shown(updates) == 8, "the other controls as they are by then"
    assert updates["engine"] == "far"
    assert updates["address"].endswith("engine=far")
    assert sentence(updates) == "far is loaded."


def test_what_does_not_come_is_one_sentence(distant: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, last = distant.bring(wanted(distant, "gone"))
    assert set(last) == {distant._parts["note"], distant._parts["fetching"]}
    assert told(distant, last) == "The Hub did not deliver it."
    assert last[distant._parts["fetching"]]["visible"] is False

    def breaking(_: object) -> Generator[str, None, None]:
        raise WRONG
        yield

    monkeypatch.setattr(distant, "fetch", breaking)
    (last,) = distant.bring(wanted(distant, "far"))
    assert "The log has it as" in told(distant, last)
    assert "secret" not in told(distant, last)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ('{"chosen": {"engine": "none"}, "remarks": []}', "expected one of here, far, gone; got 'none'"),
        ('{"chosen": {"none": 1}, "remarks": []}', "no control called 'none'"),
        ("[]", "The log has it as"),
        ("", "The log has it as"),
    ],
)
def test_what_no_page_asks_for_is_refused(distant: Space, sent: str, words: str) -> None:
    (last,) = distant.bring(sent)
    assert words in told(distant, last)


def test_who_cancels_ends_what_was_on_its_way(distant: Space) -> None:
    ENDED.clear()
    visit = distant.bring(wanted(distant, "far"))
    next(visit)
    visit.close()
    assert ENDED == ["far"]
    updates = moved(distant, distant.stop)
    assert sentence(updates).startswith("Stopped.")
    assert updates["fetching"]["visible"] is False


def test_who_waits_for_the_hub_takes_no_place_from_others(distant: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "GATE", serve.Gate(slots=1, waiting=0, patience_s=0.05))
    visits = [distant.bring(wanted(distant, "far")) for _ in range(3)]
    for visit in visits:
        next(visit)
    assert shown(moved(distant, distant.move, *distant_state(n=4), None)) == 5


def test_an_address_is_answered_with_what_is_here_until_the_rest_has_come(distant: Space) -> None:
    updates = opened(distant, n="70", engine="far")
    assert (shown(updates), updates["n"], updates["engine"]) == (10, 9, "here")
    *_, last = distant.bring(updates["wanted"])
    arrived = moved(distant, distant.arrive, last[distant._parts["arrived"]], *distant_state(n=9), None)
    assert arrived["engine"] == "far"
    assert sentence(arrived).startswith("far is loaded. Count: expected a whole number from 0 to 9; got '70'.")
    assert "wanted" not in opened(distant, n="7")


def test_a_page_that_needs_no_hub_has_nothing_of_this(space: Space) -> None:
    assert not {"stop", "fetching", "progress", "wanted", "arrived"} & space._parts.keys()


def test_a_figure_travels_as_json_that_every_browser_reads() -> None:
    figure = draw.figure(height=10, sentence="gaps")
    figure.add_scatter(x=np.array([1.0, np.nan]), y=[math.inf, 1 / 3])
    (trace,) = json.loads(draw.to_text(draw.to_json(figure)), parse_constant=pytest.fail)["data"]
    assert (trace["x"], trace["y"]) == ([1, None], [None, 0.33333])


# ---- compare, follow, take away


def test_b_follows_and_differs_from_a_in_words(space: Space) -> None:
    figure = json.dumps({"layout": {"meta": {"sentence": "two < three"}}})
    held = moved(space, space.pin, figure, "<b>a</b>", *state())
    pinned = held["pinned"]
    assert "two &lt; three" in held["tiles_a"]
    assert "<b>a</b>" in held["tiles_a"]
    updates = moved(space, space.move, *state(n=5, own=OWN), json.loads(json.dumps(pinned)))
    assert updates["figure_b"] == updates["figure"]
    assert json.loads(updates["figure"])["layout"]["meta"]["sentence"] in updates["tiles_b"]
    assert "figure_a" not in updates
    words = re.sub(r"<[^>]+>", "", updates["differences"])
    assert words == "Count: 2 in A, 5 in B. another picture."
    same = moved(space, space.move, *state(), pinned)
    assert "A and B are the same." in same["differences"]


def test_a_number_is_followed_and_its_place_checked(space: Space) -> None:
    assert "pick 3 of 2" in moved(space, space.follow_number, 3, *state())["follow"]
    assert "from 1 to 5" in sentence(moved(space, space.follow_number, 9, *state()))


@pytest.mark.parametrize(("sent", "place"), [([4], 4), ([99], 5), (["x"], 1), ([], 1), (None, 1), ("4", 1)])
def test_a_click_in_the_figure_picks_within_the_range(space: Space, sent: Any, place: int) -> None:
    assert space.take_pick(SimpleNamespace(_data={"pick": sent})) == {space._parts["pick"][0]: place}


@pytest.mark.parametrize(("sent", "total"), [([7], 8), ([2.0, "more"], 3)])
def test_a_click_sets_controls_and_is_answered(
    space: Space, monkeypatch: pytest.MonkeyPatch, sent: list[Any], total: int
) -> None:
    monkeypatch.setattr(space, "clicked", lambda pick: {"n": pick[0]})
    updates = moved(space, partial(space.click, SimpleNamespace(_data={"pick": sent})), *state(), None)
    assert shown(updates) == total
    assert updates["n"] == sent[0]
    assert "n=" + str(int(sent[0])) in updates["address"]


@pytest.mark.parametrize("sent", [[99], ["much"], [], None])
def test_a_click_outside_the_range_leaves_the_answer(space: Space, monkeypatch: pytest.MonkeyPatch, sent: Any) -> None:
    monkeypatch.setattr(space, "clicked", lambda pick: {"n": pick[0] if pick else None})
    updates = moved(space, partial(space.click, SimpleNamespace(_data={"pick": sent})), *state(), None)
    assert list(updates) == ["note"]
    assert "from 0 to 9" in sentence(updates)


def three_parts(values: dict[str, Any], own: str) -> Iterator[str]:
    for part in range(3):
        yield f"{values['n']} {own} part {part}"


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Its result, from a thread of its own: Playwright leaves an event loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def drawn(space: Space, *raw: Any) -> list[str]:
    """Everything that a sheet shows, in its order."""

    async def collect() -> list[str]:
        return [html async for html, _ in space.draw_sheet("Sheet", *raw)]

    return run(collect())


def test_a_sheet_grows_part_by_part(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "sheets", {"Sheet": three_parts})
    assert drawn(space, *state(n=4, own=OWN)) == [f"4 {OWN} part {part}" for part in range(3)]


def test_a_sheet_stops_at_the_deadline_and_keeps_what_it_has(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "sheets", {"Sheet": three_parts})
    monkeypatch.setattr(space, "deadline_s", 0.0)
    _, second, last = drawn(space, *state())
    assert last.startswith(second)
    assert "Stopped after 0 seconds" in last
    monkeypatch.setattr(space, "sheets", {"Sheet": lambda values, own: iter(["whole"])})
    assert drawn(space, *state()) == ["whole"], "nothing was left to stop"


def test_a_sheet_that_breaks_keeps_what_it_has_and_says_so(
    space: Space, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaking(values: dict[str, Any], own: str) -> Iterator[str]:
        yield "the first part"
        raise WRONG

    monkeypatch.setattr(space, "sheets", {"Sheet": breaking})
    first, last = drawn(space, *state())
    assert first == "the first part"
    assert last.startswith(first)
    assert "The log has it as" in last
    assert "secret" not in last
    (refused,) = drawn(space, *state(n=99))
    assert "from 0 to 9" in refused


def test_a_sheet_lets_others_in_between_its_parts(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "sheets", {"Sheet": three_parts})
    monkeypatch.setattr(moves, "GATE", serve.Gate(slots=1, waiting=0, patience_s=0.05))

    async def look_in_between() -> None:
        sheet = space.draw_sheet("Sheet", *state())
        await anext(sheet)
        assert shown(moved(space, space.move, *state(n=4), None)) == 5
        await sheet.aclose()

    run(look_in_between())


def test_sheets_take_turns_in_order_and_say_who_waits(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three at once: all are whole, part by part in turn; with others waiting the time is short."""

    def slow(values: dict[str, Any], own: str) -> Iterator[str]:
        for part in range(3):
            time.sleep(0.02)
            order.append((values["n"], part))
            yield f"part {part}"

    async def draw(number: int) -> list[tuple[str, str]]:
        return [part async for part in space.draw_sheet("Sheet", *state(n=number))]

    async def all_at_once() -> list[list[tuple[str, str]]]:
        return await asyncio.gather(*(draw(number) for number in range(3)))

    order: list[tuple[int, int]] = []
    monkeypatch.setattr(moves, "TURNS", serve.Turns())
    monkeypatch.setattr(space, "sheets", {"Sheet": slow})
    found = run(all_at_once())
    assert order == [(number, part) for part in range(3) for number in range(3)]
    assert [shown[-1] for shown in found] == [("part 2", "")] * 3
    assert [len(shown) for shown in found] == [3, 4, 4], "who has to wait is told so once"
    assert ["number 1 in" in found[1][0][1], "number 2 in" in found[2][0][1]] == [True, True]
    order.clear()
    monkeypatch.setattr(moves, "TURNS", serve.Turns())  # another loop
    monkeypatch.setattr(moves, "CROWDED_S", 0.01)
    *_, (last, _) = run(all_at_once())[0]
    assert "since others are waiting" in last


def test_a_crowd_that_has_left_stops_nobody(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is short while others wait, and long again when they have gone."""
    turns = serve.Turns()
    monkeypatch.setattr(moves, "TURNS", turns)
    monkeypatch.setattr(moves, "CROWDED_S", -1.0)
    monkeypatch.setattr(space, "sheets", {"Sheet": three_parts})

    async def draw() -> list[str]:
        shown = []
        async for html, _ in space.draw_sheet("Sheet", *state()):
            shown.append(html)
            turns.waiting = len(shown) == 1  # seen by the second part alone
        return shown

    assert run(draw())[-1].endswith("part 2")


def test_a_cancelled_part_is_waited_for_before_the_next_visitor_computes(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, most = 0, 0

    def slow(values: dict[str, Any], own: str) -> Iterator[str]:
        nonlocal inside, most
        for part in range(2):
            inside += 1
            most = max(most, inside)
            time.sleep(0.1)
            inside -= 1
            yield f"part {part}"

    async def draw() -> list[tuple[str, str]]:
        return [part async for part in space.draw_sheet("Sheet", *state())]

    async def cancel_the_first() -> list[tuple[str, str]]:
        first = asyncio.create_task(draw())
        await asyncio.sleep(0.03)
        second = asyncio.create_task(draw())
        await asyncio.sleep(0.03)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    monkeypatch.setattr(moves, "TURNS", serve.Turns())
    monkeypatch.setattr(space, "sheets", {"Sheet": slow})
    assert run(cancel_the_first())[-1] == ("part 1", "")
    assert most == 1


def test_a_room_of_an_app_hears_the_state_and_its_own_inputs(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    wired: dict[str, Any] = {}

    def event(handler: Any, inputs: list, outputs: list, **options: Any) -> None:
        wired.update(handler=handler, inputs=inputs, outputs=outputs, **options)

    def sums(values: dict[str, Any], own: str, more: int) -> Iterator[dict[Any, Any]]:
        yield {"said": "so far"}
        if more > 5:
            raise Refused("Too much.")
        yield {"said": f"{values['n']} {own} {more}"}

    space.listen(event, sums, ["more"], ["said"])
    assert wired["inputs"][0] == "more"
    assert len(wired["inputs"]) == 1 + len(state())
    note = space._parts["note"]
    assert wired["outputs"] == ["said", note]
    first, last = wired["handler"](3, *state(n=4, own=OWN))
    assert (first["said"], last) == ("so far", {"said": f"4 {OWN} 3", note: ""})
    *_, refused = wired["handler"](9, *state())
    assert "Too much." in refused[note]
    (refused,) = wired["handler"](3, *state(n=99))
    assert "from 0 to 9" in refused[note]


def saved(space: Space, *sent: Any) -> tuple[str, dict[str, bytes]]:
    """The offer as HTML, and what its links hold, by file name."""
    markup = moved(space, space.offer, *sent)["save"]
    links = re.findall(r"download='([^']+)' href='data:[^,]+,([^']+)'", markup)
    return markup, {name: base64.b64decode(body) for name, body in links}


def test_what_can_be_taken_away_is_the_present_answer(space: Space) -> None:
    markup, files = saved(space, *state(n=4))
    assert files["toy.csv"].decode() == "sum\n5\n"
    assert json.loads(files["toy.json"]) == {
        "topic": "toy",
        "settings": {"start": "one", "n": 4, "loud": False},
        "numbers": {"sum": 5},
    }
    assert "<code>print(4)</code>" in markup


def test_an_own_picture_is_taken_away_instead_of_a_sample_that_it_is_not(space: Space) -> None:
    _, files = saved(space, *state(start=None, own=OWN))
    assert json.loads(files["toy.json"])["settings"] == {"n": 2, "loud": False}
    assert files["picture.png"] == base64.b64decode("AAAA")


def test_the_public_endpoint_is_typed_and_documented(space: Space) -> None:
    endpoint = space.endpoint()
    kinds = {name: (p.annotation, p.default) for name, p in inspect.signature(endpoint).parameters.items()}
    assert kinds == {"start": (str, "one"), "n": (int, 2), "loud": (bool, False), "picture": (str, "")}
    assert "n: More counts further." in (endpoint.__doc__ or "")
    assert endpoint(n=5) == {"settings": {"start": "one", "n": 5, "loud": False}, "numbers": {"sum": 6}}
    assert endpoint("ten", picture=OWN)["settings"] == {"n": 2, "loud": False}


def test_the_visitors_own_input_may_be_a_text(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "input", "text")
    endpoint = space.endpoint()
    assert list(inspect.signature(endpoint).parameters) == ["start", "n", "loud", "text"]
    assert endpoint(text="a dog")["numbers"] == {"sum": 102}
    with pytest.raises(gr.Error, match="text: expected a sentence; got 5"):
        endpoint(text=5)
    updates = moved(space, space.move, *state(start=None, own="a dog"), None)
    assert sentence(updates) == "Your own text is not part of the link."
    field = sentence_input("A sentence", "a cat", longest=30, keys="äß")
    assert field.value == {"own": "", "shown": "a cat"}
    assert 'maxlength="30"' in field.html_template
    assert field.html_template.count("<button") == 2


def test_the_endpoint_never_shows_the_unexpected(broken: Callable, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = broken(WRONG).endpoint()
    with pytest.raises(gr.Error, match="The log has it as") as caught:
        endpoint()
    assert "secret" not in str(caught.value)
    assert "a secret path" in caplog.text


# ---- the real page over HTTP


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The MC dropout page, served by this process on a port of this machine."""
    from apps.mc_dropout import CARD as SERVED
    from apps.mc_dropout import demo

    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, **serve.settings(SERVED))
    yield address
    demo.close(verbose=False)


@pytest.fixture(scope="module")
def client(url: str) -> Client:
    return Client(url, verbose=False)


def test_the_endpoint_answers(client: Client) -> None:
    found = client.predict(digit="seven", rotate=0, T=20, api_name="/answer")
    assert found["settings"]["digit"] == "seven"
    assert found["numbers"]["answer"] == 7
    assert found["numbers"]["passes"] == 20


def test_the_endpoint_takes_a_picture(client: Client) -> None:
    canvas = np.full((140, 140), 255, dtype=np.uint8)
    canvas[20:120, 60:75] = 0
    found = client.predict(picture=draw.picture_url(canvas), rotate=0, api_name="/answer")
    assert found["numbers"]["answer"] == 1
    assert "digit" not in found["settings"]
    assert "correct" not in found["numbers"]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"rotate": 500}, "from -180 to 180; got 500"),
        ({"rotate": "much"}, "from -180 to 180; got 'much'"),
        ({"T": 0}, "whole number from 1 to 200; got 0"),
        ({"T": 1.5}, "whole number from 1 to 200; got 1.5"),
        ({"T": None}, "whole number from 1 to 200; got None"),
        ({"T": 10**400}, "whole number from 1 to 200"),
        ({"rate": 1}, "from 0 to 0.9; got 1"),
        ({"curve": "maybe"}, "expected 1 or 0; got 'maybe'"),
        ({"digit": "eleven"}, "expected one of three, "),
        ({"mode": {"a": 1}}, "expected one of mc, off, twin"),
        ({"seed": [1]}, "from 0 to 9999; got [1]"),
        ({"picture": 5}, "expected a picture as data:image"),
        ({"picture": "data:image/png;base64,AAAA"}, "not a picture that can be read"),
        ({"picture": "data:image/png;base64," + base64.b64encode(png()[:60]).decode()}, "damaged"),
        ({"picture": "data:image/png;base64," + base64.b64encode(png()).decode()}, "The paper is empty"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_bad_values_are_refused_in_words(client: Client, sent: dict[str, Any], words: str) -> None:
    with pytest.raises(AppError) as caught:
        client.predict(**sent, api_name="/answer")
    assert words in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert ".py" not in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have_are_refused(url: str, number: str) -> None:
    # The client refuses to send them; another program may not.
    body = f'{{"data": ["three", {number}, 50, 0.5, false, "mc", 0, ""]}}'
    headers = {"content-type": "application/json"}
    begun = httpx.post(f"{url}gradio_api/call/answer", content=body, headers=headers)
    assert begun.status_code == 200
    told = httpx.get(f"{url}gradio_api/call/answer/{begun.json()['event_id']}", timeout=20).text
    assert told.startswith("event: error")
    assert "from -180 to 180" in told


def test_the_documented_endpoint_is_the_only_one(client: Client) -> None:
    assert list(client.view_api(return_format="dict", print_info=False)["named_endpoints"]) == ["/answer"]
    for name in ("/move", "/take_file", "/open", "/predict", "/pin"):
        with pytest.raises(ValueError, match="Cannot find a function"):
            client.predict(api_name=name)


def test_the_served_page_says_what_it_is_and_asks_nobody_else(url: str) -> None:
    page = httpx.get(url).text
    assert page.count("<title>") == 1
    assert "<title>How sure is the network? · Vitrine</title>" in page
    for name in ("title", "description", "site_name"):
        assert page.count(f'<meta property="og:{name}"') == 1
    loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']([^\"']+)", page)
    assert loaded
    assert [address for address in loaded if "//" in address and not address.startswith(url)] == []
    for address in (f"{url}vitrine/page.js", f"{url}vitrine/plotly.min.js", f"{url}vitrine/models/mc_dropout/nothing"):
        assert httpx.get(address).status_code == (404 if "nothing" in address else 200)


def test_a_path_cannot_leave_the_model_cards(url: str) -> None:
    for path in ("..%2F..%2Fcore/store", "../../core", "mc_dropout%2F..%2F../x"):
        assert httpx.get(f"{url}vitrine/models/{path}").status_code == 404


def test_pictures_of_a_run_are_served_and_nothing_else_of_it(url: str) -> None:
    answer = httpx.get(f"{url}vitrine/runs/triplet/embedding/leaves.jpeg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.content == (store.CHECKPOINTS / "triplet" / "embedding" / "leaves.jpeg").read_bytes()
    for path in (
        "triplet/embedding/model.safetensors",
        "triplet/embedding/config.json",
        "triplet/embedding/nobody.jpeg",
        "triplet/nobody/leaves.jpeg",
        "triplet/embedding/..%2Fleaves.jpeg",
        "..%2Ftriplet/embedding/leaves.jpeg",
    ):
        assert httpx.get(f"{url}vitrine/runs/{path}").status_code == 404


def upload(url: str, content: bytes) -> tuple[str, str]:
    """Upload as the page does; returns the answer's note, and where the file lay."""
    config = httpx.get(f"{url}config").json()
    (event,) = (
        entry for entry in config["dependencies"] if entry["targets"][:1] and entry["targets"][0][1] == "upload"
    )
    (path,) = httpx.post(f"{url}gradio_api/upload", files={"files": ("digit.png", content)}).json()
    file = {"path": path, "orig_name": "digit.png", "meta": {"_type": "gradio.FileData"}}
    data = [file, "three", 50, 50, 0.5, False, "mc", 0, {"own": "", "shown": ""}, None]
    session = {"fn_index": event["id"], "session_hash": str(time.monotonic())}
    httpx.post(f"{url}gradio_api/queue/join", json={"data": data, **session})
    note = config_order(config, "note", event)
    with httpx.stream("GET", f"{url}gradio_api/queue/data", params=session, timeout=20) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") in ("process_generating", "process_completed") and message["output"].get("data"):
                return message["output"]["data"][note], path
    raise AssertionError("the page did not answer")


def config_order(config: dict[str, Any], elem_id: str, event: dict[str, Any]) -> int:
    """At which place of an event's outputs the component with this id stands."""
    (component,) = (part["id"] for part in config["components"] if part["props"].get("elem_id") == elem_id)
    return event["outputs"].index(component)


def test_nothing_of_an_upload_stays_on_the_server(url: str) -> None:
    canvas = np.full((140, 140), 255, dtype=np.uint8)
    canvas[20:120, 60:75] = 0
    digit = base64.b64decode(draw.picture_url(canvas).partition(",")[2])
    for content, words in ((digit, "not part of the link"), (b"no picture", "not a picture")):
        note, path = upload(url, content)
        assert words in note
        assert not Path(path).exists()


def test_networks_are_as_they_were_after_many_answers() -> None:
    from apps.mc_dropout import networks, space

    before = {
        name: {leaf: value.clone() for leaf, value in net.state_dict().items()} for name, net in networks().items()
    }
    for mode in ("mc", "off", "twin"):
        space.last_answer(space.card.parse({"mode": mode, "curve": True}))
    for name, network in networks().items():
        assert not network.training
        assert all(torch.equal(before[name][leaf], value) for leaf, value in network.state_dict().items())
