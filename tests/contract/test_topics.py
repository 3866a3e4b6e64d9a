"""What every topic with a Space promises, generated from the cards: a new topic is tested by being there."""

import base64
import csv
import importlib
import io
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
import serving
import torch
from gradio_client import Client
from hub import Hub, asked_by_the_client
from PIL import Image, ImageDraw

from core import card as cards
from core import model_card, store
from core.card import Card, Param, Refused, Step, Value
from core.moves import Answer
from core.page import Space, load_first

ROOT = serving.ROOT
TOPICS = {slug: cards.load(slug).CARD for slug in cards.topics(surface="space")}
PROMISED_S = 0.150  # a slider's answer (product.md, promises); the tests allow three times that
STOP_S = 10.0
NOT_FOR_CONTROLS = {"hide", "embed", "present", "step", "picture"}  # keys of the address and of the API
LOOPBACK = ("127.0.0.1", "::1", "localhost")

every_topic = pytest.mark.parametrize("card", TOPICS.values(), ids=TOPICS)
every_param = pytest.mark.parametrize(
    ("card", "param"),
    [pytest.param(card, param, id=f"{slug}-{param.name}") for slug, card in TOPICS.items() for param in card.params],
)
every_step = pytest.mark.parametrize(
    ("card", "step"),
    [
        pytest.param(card, step, id=f"{slug}-{number}")
        for slug, card in TOPICS.items()
        for number, step in enumerate(card.tour, 1)
    ],
)


every_fetched = pytest.mark.parametrize(
    ("card", "param", "choice"),
    [
        pytest.param(card, param, choice, id=f"{slug}-{param.name}-{choice}")
        for slug, card in TOPICS.items()
        for param in card.params
        for choice in param.fetched
    ],
)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """A Hub that has nothing, and a machine that has nothing of it; yields what is asked of the Hub."""
    with Hub() as hub, asked_by_the_client(hub, tmp_path, monkeypatch):
        yield hub.requests


@pytest.fixture(scope="module", autouse=True)
def embedded() -> Iterator[None]:
    """The weights that come with the project, and no connection but to this machine, whatever a page does."""

    def guarded(self: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple) and address[0] not in LOOPBACK:
            raise AssertionError(f"a connection to {address}")
        return connect(self, address)

    connect = socket.socket.connect
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VITRINE_WEIGHTS", raising=False)
        patch.setattr(socket.socket, "connect", guarded)
        yield


def space_of(card: Card) -> Space:
    """The page of a topic, built once, under the guard above."""
    return importlib.import_module(f"apps.{card.slug}").space


def answer_of(card: Card, **values: Value) -> Answer:
    """The live answer at these values, defaults for the rest."""
    return space_of(card).last_answer(card.parse(values))


def runs_of(card: Card) -> dict[str, store.Run]:
    """The embedded runs of a topic, by name."""
    folders = sorted((store.CHECKPOINTS / card.slug).glob("*/config.json"))
    return {run.name: run for run in (store.load(f"{card.slug}/{path.parent.name}") for path in folders)}


def ends(param: Param) -> list[Value]:
    """The values of a control that are most likely to break an answer, without those that need the Hub."""
    if param.kind == "choice":
        return [choice for choice in param.choices if choice not in param.fetched]
    if param.kind == "flag":
        return [True, False]
    return [param.parse(param.low), param.parse(param.high), param.default]


def outside(param: Param) -> list[Any]:
    """Values that a control must refuse."""
    wrong: list[Any] = [None, "no such thing", [1]]
    if param.kind in ("number", "whole", "seed"):
        wrong += [param.low - 1, param.high + 1, float("nan"), float("inf"), True, "1e999"]
    if param.kind in ("whole", "seed"):
        wrong.append(param.low + 0.5)
    return wrong


def close(first: Any, second: Any, within: float = 1e-4) -> bool:
    """Are two JSON values the same, numbers to four digits or as near as `within` says, pictures to one level?"""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(close(first[key], second[key], within) for key in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(close(*pair, within) for pair in zip(first, second, strict=True))
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return first == pytest.approx(second, rel=within, abs=min(within, 1e-3))
    if first != second and all(str(value).startswith("data:image/") for value in (first, second)):
        ours, theirs = pixels(first), pixels(second)
        return ours.shape == theirs.shape and abs(ours - theirs).mean() <= 1
    return first == second


def pixels(address: str) -> np.ndarray:
    """The picture of a data address, (H, W, 3) int64, 0 to 255."""
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


# ---- the slice and its card


@every_topic
def test_its_files_are_there_under_one_name(card: Card) -> None:
    slug = card.slug
    assert cards.load(slug).CARD is card, "the folder, and the card's own slug"
    for path in (
        *(f"core/topics/{slug}/{room}.py" for room in ("card", "method", "recipe")),
        f"apps/{slug}.py",
        f"tests/topics/test_{slug}.py",
    ):
        assert (ROOT / path).is_file(), path
    assert runs_of(card)


@every_topic
def test_its_card_is_complete(card: Card) -> None:
    texts = {
        "family": card.family,
        "question": card.question,
        "claim": card.claim,
        "formula": card.formula,
        "not_this": card.not_this,
        "idea": card.idea,
        "verdict": card.verdict,
        "command": card.command,
    }
    texts |= {f"symbol {name}": text for name, text in card.symbols.items()}
    texts |= {f"tile {name}": text for name, text in card.tiles.items()}
    texts |= {f"limit {place}": text for place, text in enumerate(card.limits)}
    texts |= {f"data {place}": text for place, text in enumerate(card.data)}
    for place, paper in enumerate(card.papers):
        texts |= {f"paper {place}, title": paper.title, f"paper {place}, authors": paper.authors}
        assert paper.url.startswith("https://")
        assert 1900 < paper.year < 2100
    for place, step in enumerate(card.tour):
        texts |= {f"step {place}, {name}": getattr(step, name) for name in ("ask", "look", "why")}
        texts |= {f"step {place}, choice {index}": choice for index, choice in enumerate(step.choices)}
    texts |= {f"label of {param.name}": param.label for param in card.params}
    # The pictures of the sample control speak for themselves.
    texts |= {f"help of {param.name}": param.help for param in card.params if param.name != card.sample}
    assert [name for name, text in texts.items() if not text.strip()] == []
    assert min(map(len, (card.symbols, card.tiles, card.limits, card.data, card.papers, card.scores))) > 0


@every_topic
def test_its_controls_have_names_of_their_own(card: Card) -> None:
    names = [param.name for param in card.params]
    assert not set(names) & NOT_FOR_CONTROLS
    assert len({name.lower() for name in names}) == len(names), "the API's clients may not tell T from t"
    if card.sample:
        assert card.param(card.sample).kind == "choice"
        assert 4 <= len(card.param(card.sample).choices) <= 8


@every_topic
def test_the_last_step_has_a_criterion(card: Card) -> None:
    assert card.tour[-1].holds


@every_topic
def test_every_data_set_behind_the_weights_is_named_with_its_licence(card: Card) -> None:
    notes = " ".join(card.data)
    for run in runs_of(card).values():
        for source in run.config["data"]:
            # "MNIST handwritten digits" is the MNIST of the note.
            assert source["title"].split()[0] in notes
            assert source["licence"] in notes


@every_topic
def test_model_cards_are_what_the_script_writes(card: Card) -> None:
    for name, run in runs_of(card).items():
        assert (run.folder / "README.md").read_text(encoding="utf-8") == model_card.text(card, run), name


@every_topic
def test_every_score_is_one_that_was_measured(card: Card) -> None:
    for score in card.scores:
        for key in filter(None, (score.key, score.baseline)):
            entry = store.load(score.run).score(key)
            assert entry.keys() >= {"stored", "mean", "spread", "runs"}


# ---- weights


@every_topic
def test_every_run_reproduces_its_stored_output(card: Card) -> None:
    """`networks()` gives run name -> network, so that a test can ask one without knowing the topic."""
    networks = space_of(card).networks()
    with_weights = {name for name, run in runs_of(card).items() if run.megabytes}
    assert with_weights <= set(networks), "a run that no page loads does not belong here"
    for name in with_weights:
        expected = store.load(name).tensors("expected.safetensors")
        with torch.inference_mode():
            output = networks[name](expected["input"])
        if isinstance(output, tuple):  # of several heads
            output = torch.cat(output, dim=1)
        torch.testing.assert_close(output, expected["output"], atol=1e-4, rtol=1e-4)


@every_topic
def test_a_run_that_uses_another_measured_the_weights_that_are_there(card: Card) -> None:
    for run in runs_of(card).values():
        if "uses" in run.config:
            weights = store.load(run.config["uses"]).config["files"]["model.safetensors"]
            assert run.config["uses_sha256"] == weights, f"make train TOPIC={card.slug} measures {run.name} again"


@every_topic
def test_every_file_of_a_run_is_whole_and_listed(card: Card) -> None:
    for run in runs_of(card).values():
        for file in run.config["files"]:
            run.path(file)
        unlisted = {path.name for path in run.folder.iterdir()} - set(run.config["files"])
        assert unlisted <= {"config.json", "README.md"}
        assert run.megabytes <= 5.3


# ---- answers


@every_param
def test_ends_and_default_give_an_answer(card: Card, param: Param) -> None:
    for value in ends(param):
        answer = answer_of(card, **{param.name: value})
        assert answer.rows
        assert answer.figure["layout"]["meta"]["sentence"]
        assert all(number == number for number in answer.numbers.values() if isinstance(number, float)), "a NaN"
        json.dumps([answer.figure, dict(answer.numbers)], allow_nan=False)


@every_fetched
def test_what_comes_from_the_hub_is_asked_for_by_nothing_but_its_choice(
    card: Card, param: Param, choice: str, nobody: list[str]
) -> None:
    """Where it is not on this machine, an answer is refused with what to do, and nobody is asked for it."""
    with pytest.raises(Refused, match=rf"Choose it again under {param.label}"):
        answer_of(card, **{param.name: choice})
    space = space_of(card)
    (*_, chosen) = space.choose("", *state_of(space, **{param.name: choice}), None)
    assert chosen[space._controls[param.name]] == param.default, "what is here stays until it has come"
    assert nobody == []


@every_fetched
def test_a_hub_that_is_gone_is_one_sentence(card: Card, param: Param, choice: str, nobody: list[str]) -> None:
    space = space_of(card)
    *_, last = space.bring(space.want({param.name: choice})[space._parts["wanted"]])
    assert nobody != []
    assert space._parts["arrived"] not in last
    assert "The Hub did not deliver" in last[space._parts["note"]]


@every_param
def test_values_outside_are_refused_with_what_was_expected(card: Card, param: Param) -> None:
    for wrong in outside(param):
        with pytest.raises(Refused, match="expected"):
            card.parse({param.name: wrong})


@every_param
def test_the_address_restores_a_value(card: Card, param: Param) -> None:
    for value in [*ends(param), *param.fetched]:
        values = card.parse({param.name: value})
        assert card.read_address(card.address(values)) == (values, [])


@every_topic
def test_three_to_five_numbers_are_shown_and_each_is_explained(card: Card) -> None:
    for step in (None, *card.tour):
        answer = answer_of(card, **({**step.set, **step.then} if step else {}))
        assert 3 <= len(answer.tiles) <= 5
        for tile in answer.tiles:
            assert card.tiles[tile.name]
            assert tile.value


def forget(card: Card) -> None:
    """Empty the caches in which an app keeps answers; networks, in caches without bounds, stay."""
    for part in vars(importlib.import_module(f"apps.{card.slug}")).values():
        if hasattr(part, "cache_parameters") and part.cache_parameters()["maxsize"]:
            part.cache_clear()


@every_param
def test_a_control_without_effect_has_none(card: Card, param: Param) -> None:
    """A page greys controls that would not change its answer; it may not grey any other."""
    for state in ({}, *({**step.set, **step.then} for step in card.tour)):
        before = answer_of(card, **state)
        single = [name.partition("=")[2] for name in before.idle if name.startswith(f"{param.name}=")]
        assert set(single) <= set(param.choices or ())
        for value in [*single, *(ends(param) if param.name in before.idle else [])]:
            after = answer_of(card, **{**state, param.name: value})
            assert dict(after.numbers) == dict(before.numbers)
            assert after.rows == before.rows
            assert [(tile.name, tile.value) for tile in after.tiles] == [
                (tile.name, tile.value) for tile in before.tiles
            ]


@every_topic
def test_the_same_state_gives_the_same_answer(card: Card) -> None:
    first = answer_of(card)
    forget(card)
    second = answer_of(card)
    assert first.numbers == second.numbers
    assert first.figure == second.figure


@every_topic
def test_the_first_answer_is_the_live_one(card: Card) -> None:
    first = load_first(card.slug, store.load(space_of(card).run))
    assert first, "first.json is absent or of other weights; make pictures writes it"
    live = answer_of(card)
    within = 0.02  # another processor rounds otherwise, and an area under a curve of ranks jumps where two ranks tie
    assert close(dict(first.numbers), dict(live.numbers), within)
    assert [(tile.name, tile.value, tile.caption) for tile in first.tiles] == [
        (tile.name, tile.value, tile.caption) for tile in live.tiles
    ]
    assert close([list(tile.parts) for tile in first.tiles], [list(tile.parts) for tile in live.tiles], within)
    assert close(first.figure, json.loads(json.dumps(live.figure)), within)
    assert close(list(first.extras), json.loads(json.dumps(live.extras)), within)
    assert list(first.idle) == list(live.idle)


@pytest.mark.alone
@every_topic
def test_an_answer_keeps_its_promise(card: Card) -> None:
    def measure() -> float:
        forget(card)
        begin = time.perf_counter()
        answer_of(card)
        return time.perf_counter() - begin

    answer_of(card)
    assert statistics.median(measure() for _ in range(7)) <= 3 * PROMISED_S


# ---- tour


@every_step
def test_a_tour_step_works_and_changes_the_answer(card: Card, step: Step) -> None:
    before, begun, found = answer_of(card), answer_of(card, **step.set), answer_of(card, **{**step.set, **step.then})
    assert card.parse(step.set) == card.defaults() or begun.figure != before.figure
    assert not step.then or found.figure != begun.figure
    assert step.then or begun.figure != before.figure


@every_step
def test_what_a_tour_step_says_holds(card: Card, step: Step) -> None:
    numbers = answer_of(card, **{**step.set, **step.then}).numbers
    for bound in step.holds:
        assert bound.holds(numbers), f"{bound.number} is {numbers[bound.number]}, not {bound.sign} {bound.limit}"


@every_topic
def test_a_prediction_is_asked_before_anything_is_given_away(card: Card) -> None:
    space = space_of(card)
    for index, step in enumerate(card.tour):
        begun = space.go_to_step(index, None)
        assert step.why not in unescape(begun[space._parts["tour"]])
        told = space.predict(index, step.right, None)
        assert step.why in unescape(told[space._parts["tour"]])


# ---- compare, take away


def state_of(space: Space, *, own: str = "", **values: Value) -> list[Any]:
    """What the page's components send."""
    sent = [*space.card.parse(values).values()]
    return [*sent, {"own": own, "shown": ""}] if space._widgets.own else sent


def other(card: Card) -> tuple[Param, Value]:
    """A control, and a value that is not its default."""
    param = next(param for param in card.params if param.name != card.sample and param.main)
    return param, next(value for value in ends(param) if value != param.default)


@every_topic
def test_two_answers_can_be_compared(card: Card) -> None:
    space = space_of(card)
    param, value = other(card)
    pinned = space.pin(answer_of(card).drawn(), "", *state_of(space))[space._parts["pinned"]]
    (*_, updates) = space.move(*state_of(space, **{param.name: value}), json.loads(json.dumps(pinned)))
    words = unescape(updates[space._parts["differences"]])
    assert f"{param.label}: {param.say(param.default)} in A, {param.say(value)} in B" in words
    assert updates[space._parts["figure_b"]] == updates[space._parts["figure"]]


def offered(space: Space, state: list[Any]) -> tuple[dict[str, bytes], str]:
    """The files that Save offers, by name, and the lines of Python."""
    markup = space.offer(*state)[space._parts["save"]]
    links = re.findall(r"download='([^']+)' href='data:[^,]+,([^']+)'", markup)
    (code,) = re.findall(r"<pre><code>(.*?)</code></pre>", markup, flags=re.DOTALL)
    return {name: base64.b64decode(body) for name, body in links}, unescape(code)


@every_topic
def test_the_downloads_hold_the_answer(card: Card) -> None:
    space = space_of(card)
    param, value = other(card)
    files, _ = offered(space, state_of(space, **{param.name: value}))
    answer = answer_of(card, **{param.name: value})
    saved = json.loads(files[f"{card.slug}.json"])
    assert (saved["topic"], saved["settings"][param.name]) == (card.slug, value)
    assert close(saved["numbers"], dict(answer.numbers))
    rows = list(csv.DictReader(io.StringIO(files[f"{card.slug}.csv"].decode())))
    assert len(rows) == len(answer.rows)
    assert list(rows[0]) == list(answer.rows[0])


def run_snippet(code: str, folder: Path) -> list[float]:
    """The numbers that the lines print, run in a folder that holds what was saved, beside nothing else."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [float(text) for text in re.findall(r"-?\d+\.?\d*(?:e[+-]?\d+)?", done.stdout)]


def assert_says_the_same(printed: list[float], answer: Answer) -> None:
    """At least three of the answer's fractional numbers, or all if there are fewer, are among those printed."""
    main = [value for value in answer.numbers.values() if isinstance(value, float)]
    found = [value for value in main if any(value == pytest.approx(number, abs=2e-4) for number in printed)]
    assert len(found) >= min(3, len(main)), f"{answer.numbers} against {printed}"


@every_topic
def test_the_snippet_gives_the_same_answer_in_at_most_eight_lines(card: Card, tmp_path: Path) -> None:
    space = space_of(card)
    _, code = offered(space, state_of(space))
    assert 1 < len(code.splitlines()) <= 8
    assert "gradio" not in code
    assert "apps" not in code, "it needs no page"
    assert_says_the_same(run_snippet(code, tmp_path), answer_of(card))


def own_picture() -> str:
    """A thick stroke and a bow, drawn on white, as a canvas sends it."""
    sheet = Image.new("RGBA", (280, 280), "white")
    pen = ImageDraw.Draw(sheet)
    pen.line([(80, 60), (190, 60), (120, 220)], fill=(29, 36, 48), width=22, joint="curve")
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@every_topic
def test_the_snippet_reads_the_visitors_own_picture(card: Card, tmp_path: Path) -> None:
    space = space_of(card)
    if not (space._widgets.own and space._widgets.file):
        pytest.skip(f"{card.slug} takes no picture of the visitor's own")
    own = own_picture()
    files, code = offered(space, state_of(space, own=own))
    assert card.sample not in json.loads(files[f"{card.slug}.json"])["settings"]
    assert len(code.splitlines()) <= 8
    (picture,) = (name for name in files if name.startswith("picture."))
    assert picture in code
    (tmp_path / picture).write_bytes(files[picture])
    assert_says_the_same(run_snippet(code, tmp_path), space.last_answer(card.defaults(), own))


@every_topic
def test_how_it_works_follows_a_number_to_its_end(card: Card) -> None:
    space = space_of(card)
    for place in (0, -1):
        ends = [tuple(param.choices) or (param.low, param.high) for param in space.pick]
        picked = [param.parse(end[place]) for param, end in zip(space.pick, ends, strict=True)]
        updates = space.follow_number(*picked, *state_of(space))
        assert updates[space._parts["follow"]].count("<li>") >= 3


@every_topic
def test_the_page_is_built_of_the_cards_controls(card: Card) -> None:
    space = space_of(card)
    assert list(space._controls) == [param.name for param in card.params]
    assert all(isinstance(component, gr.components.Component) for component in space._controls.values())


def test_the_guard_stops_what_would_leave_this_machine() -> None:
    with socket.socket() as outside_socket, pytest.raises(AssertionError, match="a connection to"):
        outside_socket.connect(("192.0.2.1", 80))


# ---- a process of its own


def children_of(pid: int) -> list[int]:
    """The processes that this one started, from /proc."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(text) for text in children.read_text().split()] if children.is_file() else []


@pytest.mark.slow
@every_topic
def test_its_app_starts_answers_and_stops(card: Card, tmp_path: Path) -> None:
    port, log = serving.free_port(), tmp_path / "log"
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_TEMP_DIR": str(tmp_path / "uploads"),
    }
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, f"apps/{card.slug}.py"], cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}/"
        begin = time.monotonic()
        while time.monotonic() - begin < serving.START_S and process.poll() is None:
            try:
                httpx.get(url, timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert process.poll() is None, log.read_text()
        found = Client(url, verbose=False).predict(api_name="/answer")
        assert close(found["numbers"], dict(answer_of(card).numbers))
        children = children_of(process.pid)
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)
        assert time.monotonic() - begin <= STOP_S
        assert process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM), log.read_text()
        assert [child for child in children if Path(f"/proc/{child}").exists()] == []
        assert "Traceback" not in log.read_text(), log.read_text()
        with socket.socket() as probe:
            # A page that keeps something per visitor holds a connection open, which lingers when the server ends it.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        shutil.rmtree(tmp_path / "uploads", ignore_errors=True)
