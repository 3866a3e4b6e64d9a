"""What happens when a visitor does something: the handlers behind every page.

A handler reads what the components sent, asks for the answer through the gate and within the
deadline, and returns updates by component. Nothing of a visitor is kept here: what must be
remembered (the own picture, the pinned answer, the tour's step) lives in the browser.
"""

import asyncio
import functools
import inspect
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from html import escape
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import gradio as gr

from core import draw, markup, store, upload
from core.card import Card, Param, Refused, Value, short
from core.serve import GATE, TURNS

DEADLINE_S = 10.0
CROWDED_S = 3.0  # of computing for a sheet, while others wait for their turn
SHEETS = 40  # visitors per Space who may draw sheets, turn by turn
SHEET_PATIENCE_S = 5.0  # for a slot; others have less
NOT_IN_LINK = "Your own {} is not part of the link."
LEFT_OUT = "The link was copied beside somebody's own {}, which no link carries: a sample stands in its place."
STOPPED = "Stopped. The former choice and its answer stay."
OWN_INPUTS = {"picture": "a picture as data:image/…;base64,…", "text": "a sentence"}
UNPINNED = "Pin an answer as A, then change anything."
log = logging.getLogger("vitrine")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer:
    """What a page shows for one state.

    figure   the main figure; its `meta` sentence is read aloud
    tiles    three to five numbers under it
    numbers  the same and more by name, for the tour's criteria, downloads and the API
    rows     the table behind the figure, for the CSV
    extras   values for the app's own widgets, in their order
    remark   a sentence for the visitor, about what cannot be shown
    idle     names of the controls that would not change it; "control=choice" for one choice of a control
    """

    figure: dict[str, Any]
    tiles: Sequence[markup.Tile]
    numbers: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    extras: Sequence[Any] = ()
    remark: str = ""
    idle: Sequence[str] = ()

    def drawn(self) -> str:
        """The figure as the browser gets it, which also greys the idle controls."""
        return draw.to_text({**self.figure, "idle": list(self.idle)})


@dataclass(frozen=True)
class Widgets:
    """An app's own widgets, laid out in the frame's input column.

    own     the component that holds the visitor's own input, its value with a key `own`, or None
    file    the button that uploads a file into `own`, or None
    extras  components that each answer fills
    longest_side  to which an uploaded picture is reduced, in pixels
    square  keep the middle square of an uploaded picture alone
    """

    own: gr.HTML | None = None
    file: gr.UploadButton | None = None
    extras: Sequence[gr.components.Component] = ()
    longest_side: int = 280
    square: bool = False


def nothing_to_fetch(_: Mapping[str, Value]) -> Generator[str, None, None]:
    """For pages that ask the Hub for nothing."""
    yield from ()


@dataclass
class Moves:
    """One page's handlers, and what they need to know of the topic.

    answer    answer(values, own) -> Answer, or a generator of them; own is "" or the visitor's input
    widgets   widgets(first) lays out the app's own widgets in the input column
    networks  networks() -> run name -> network; loads the weights once, raises BadRun if they cannot be used
    run       the run whose source and size the head shows
    shown     the functions whose source How it works shows
    follow    follow(values, own, pick) -> steps (HTML) that follow one number, the one that was picked
    pick      the Params that say which number; a click in the figure sets them from its customdata
    measured  measured() -> a figure of the stored experiment for Scores, or None
    snippet   snippet(values, own) -> at most eight lines of Python that give the same answer
    more      title of a further tab -> its content in HTML
    sheets    title of a further tab -> what it draws when asked: sheet(values, own) yields HTML, each time
              with more of it, for what takes longer than a move of a slider may; its docstring's first
              line stands above it
    rooms     title of a further tab -> what lays it out: room(space) may call `listen`
    clicked   clicked(pick) -> controls that a click in the figure sets
    fetch     fetch(chosen) brings the choices that a Param names as `fetched`, by the Param's name: sentences on
              how far it is, none where they are at hand; closing it cancels. It runs outside the gate
    """

    card: Card
    answer: Callable[[dict[str, Value], str], Answer | Iterator[Answer]]
    widgets: Callable[[Answer], Widgets]
    networks: Callable[[], Mapping[str, Any]]
    run: str
    shown: Sequence[Callable]
    follow: Callable[[dict[str, Value], str, list[Value]], list[str]]
    pick: Sequence[Param]
    measured: Callable[[], draw.Figure]
    snippet: Callable[[Mapping[str, Value], str], str]
    more: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    sheets: Mapping[str, Callable[[dict[str, Value], str], Iterator[str]]] = field(default_factory=dict)
    rooms: Mapping[str, Callable[[Any], None]] = field(default_factory=dict)
    clicked: Callable[[list[Any]], Mapping[str, object]] | None = None
    fetch: Callable[[Mapping[str, Value]], Generator[str, None, None]] = nothing_to_fetch
    input: str = "picture"
    deadline_s: float = DEADLINE_S
    # Filled while the page is laid out: the frame's components, the controls, the app's own, the first answer.
    _parts: dict[str, Any] = field(default_factory=dict, init=False)
    _controls: dict[str, Any] = field(default_factory=dict, init=False)
    _widgets: Widgets = field(default_factory=Widgets, init=False)
    _sheets: dict[str, Any] = field(default_factory=dict, init=False)
    _first: Answer = field(init=False)

    # ---- what a visitor's move does

    def read(self, raw: Sequence[Any]) -> tuple[dict[str, Value], str]:
        """Values and own input from what the components sent; raises Refused."""
        names = [param.name for param in self.card.params]
        sent = dict(zip(names, raw, strict=False))
        held = raw[len(names)] if len(raw) > len(names) and self._widgets.own else None
        own = held.get("own") if isinstance(held, dict) else ""
        own = own if isinstance(own, str) else ""
        if self.card.sample and sent[self.card.sample] is None:
            sent.pop(self.card.sample)  # nothing is chosen while the visitor's own input is shown
        return self.card.parse(sent), own

    def answers(self, values: dict[str, Value], own: str) -> Iterator[Answer]:
        """One answer or a stream of them, through the gate; a stream ends at the deadline."""
        end = time.monotonic() + self.deadline_s
        with GATE.enter():
            result = self.answer(values, own)
            if not isinstance(result, Answer):
                for part in result:
                    yield part
                    if time.monotonic() > end:
                        raise Refused(f"Stopped after {self.deadline_s:g} seconds; what was reached so far is shown.")
                return
        yield result

    def last_answer(self, values: dict[str, Value], own: str = "") -> Answer:
        """The answer, or the last of a stream."""
        reached: list[Answer] = []
        try:
            for answer in self.answers(values, own):
                reached = [answer]
        except Refused:
            if not reached:
                raise
        return reached[0]

    def fill(
        self, answer: Answer, values: dict[str, Value], own: str, pinned: Any = None, remarks: Sequence[str] = ()
    ) -> dict[Any, Any]:
        """The answer as updates of components; `remarks` are said with it."""
        parts = self._parts
        query = self.settings(self.card.address(values), own)
        updates = {
            parts["figure"]: answer.drawn(),
            parts["tiles"]: markup.tiles(self.card, answer.tiles),
            parts["address"]: "&".join(f"{name}={text}" for name, text in query.items()),
            parts["note"]: markup.notes(
                [
                    *remarks,
                    *([answer.remark] if answer.remark else []),
                    *([NOT_IN_LINK.format(self.input)] if own else []),
                ]
            ),
            parts["follow"]: "",  # what was laid out for the former answer is no longer true
            parts["save"]: "",
            **dict(zip(self._widgets.extras, answer.extras, strict=True)),
        }
        # Values, not gr.update, and emptied rather than left out: for both, Gradio builds
        # a new component with every move and keeps it as long as the session lasts.
        figure_b, tiles_b, differences = None, "", UNPINNED
        if pinned:
            words = self.card.differences(pinned["values"], values)
            if own != pinned["own"]:
                words.append(f"another {self.input}")
            figure_b, tiles_b = updates[parts["figure"]], told(answer.figure, updates[parts["tiles"]])
            differences = ". ".join(words) + "." if words else "A and B are the same."
        return updates | {
            parts["figure_b"]: figure_b,
            parts["tiles_b"]: tiles_b,
            parts["differences"]: markup.notes([differences]),
        }

    def explain(self, error: Exception) -> str:
        """An error as a sentence for the visitor; what nobody foresaw goes to the log under an id."""
        if isinstance(error, (Refused, store.BadRun)):
            return str(error)
        ticket = uuid.uuid4().hex[:8]
        log.error("unexpected error %s on %s", ticket, self.card.slug, exc_info=error)
        return f"Something broke here; the former answer stays. The log has it as {ticket}."

    def guarded(self, handler: Callable) -> Callable:
        """A handler whose errors become one sentence on the page, while the former answer stays."""

        def sentence(error: Exception) -> dict[Any, Any]:
            return {self._parts["note"]: markup.notes([self.explain(error)], error=True)}

        if inspect.isgeneratorfunction(handler) and inspect.isgeneratorfunction(self.answer):

            @functools.wraps(handler)  # Gradio reads the signature to see who wants the request
            def run(*raw: Any) -> Iterator[Any]:
                try:
                    yield from handler(*raw)
                except Exception as error:  # noqa: BLE001  nothing may reach a visitor as a stack trace
                    yield sentence(error)
        else:

            @functools.wraps(handler)
            def run(*raw: Any) -> Any:
                try:
                    result = handler(*raw)
                    # As a stream, a single answer would be sent and drawn twice.
                    return [*result][-1] if inspect.isgenerator(result) else result
                except Exception as error:  # noqa: BLE001  as above
                    return sentence(error)

        return run

    def move(self, *raw: Any) -> Iterator[dict[Any, Any]]:
        """A control was moved, or the visitor's own input changed."""
        values, own = self.read(raw)
        for answer in self.answers(values, own):
            yield self.fill(answer, values, own, raw[-1])

    def choose_sample(self, *raw: Any) -> Iterator[dict[Any, Any]]:
        """A sample was chosen: the visitor's own input gives way to it."""
        values, _ = self.read(raw)
        for answer in self.answers(values, ""):
            yield self.fill(answer, values, "", raw[-1])

    def take_file(self, path: str, *raw: Any) -> Iterator[dict[Any, Any]]:
        """A picture was uploaded: reduced to a small one that lives in the visitor's browser alone."""
        with GATE.enter():  # decoding fifty megapixels takes memory: not for many at once
            widgets = self._widgets
            picture, remarks = upload.read_file(path, longest_side=widgets.longest_side, square=widgets.square)
        own = draw.jpeg_url(picture)
        values, _ = self.read(raw)
        for answer in self.answers(values, own):
            updates = self.fill(answer, values, own, raw[-1], remarks)
            widget = self._widgets.own
            shown = updates[widget]["shown"] if widget in updates else ""
            yield updates | {widget: {"own": own, "shown": shown}} | self.set_sample(None)

    def own_changed(self, *raw: Any) -> Iterator[dict[Any, Any]]:
        """The visitor drew: no sample is chosen any more, and the canvas is left as it is."""
        for updates in self.move(*raw):
            updates.pop(self._widgets.own, None)
            yield updates | self.set_sample(None)

    def set_sample(self, value: Value | None) -> dict[Any, Any]:
        return {self._controls[self.card.sample]: value} if self.card.sample else {}

    def set_controls(self, values: Mapping[str, Value]) -> dict[Any, Any]:
        return {self._controls[name]: value for name, value in values.items()}

    def open(self, request: gr.Request) -> dict[Any, Any]:
        """The page was opened: restore what its address says, and say what is wrong with the weights."""
        query = dict(request.query_params) if request else {}
        self.networks()
        named = {param.name for param in self.card.params} & query.keys()
        if not named and "step" not in query:
            return {self._parts["note"]: ""}
        values, remarks = self.card.read_address(query)
        steps = Param("step", "whole", 1, "Tour step", "", low=1, high=len(self.card.tour))
        step, remark = steps.clamp(query.get("step", 1))
        index = int(step) - 1
        remarks += [remark] if remark else []
        if self.card.sample and named == {param.name for param in self.card.params} - {self.card.sample}:
            remarks.append(LEFT_OUT.format(self.input))
        if not named:
            values = self.card.parse(self.card.tour[index].set)
        wanted = self.fetched(values)
        values |= {name: self.card.param(name).default for name in wanted}  # until they are here
        answer = self.last_answer(values)
        updates = self.fill(answer, values, "", remarks=remarks) | self.set_controls(values)
        return updates | self.show_step(index, None) | self.want(wanted, remarks)

    def reset(self) -> dict[Any, Any]:
        """Back to the opening state; the visitor's own input is gone."""
        values, parts = self.card.defaults(), self._parts
        updates = self.fill(self._first, values, "") | self.set_controls(values) | self.show_step(0, None)
        return updates | {
            parts["pinned"]: None,
            parts["figure_a"]: None,
            parts["tiles_a"]: "",
        }

    # ---- what has to come from the Hub first

    def fetched(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The choices in this state that come from the Hub, by the control's name."""
        return {param.name: values[param.name] for param in self.card.params if values[param.name] in param.fetched}

    def want(self, chosen: Mapping[str, Value], remarks: Sequence[str] = ()) -> dict[Any, Any]:
        """Have the browser ask `bring` for these choices; `remarks` are said once they are here."""
        if not chosen:
            return {}
        parts = self._parts
        asked = {"chosen": chosen, "remarks": [*remarks], "id": uuid.uuid4().hex}  # no two are equal
        return {parts["wanted"]: json.dumps(asked), parts["progress"]: "", parts["fetching"]: gr.update(visible=True)}

    def choose(self, shown: str, *raw: Any) -> Iterator[dict[Any, Any]]:
        """A choice of a control that offers things from the Hub.

        shown  the address of the answer on the page: its choice stays until the new one is here
        """
        values, _ = self.read(raw)
        if wanted := self.fetched(values):
            former, _ = self.card.read_address(dict(parse_qsl(shown)))
            yield self.set_controls({name: former[name] for name in wanted}) | self.want(wanted)
        else:
            for updates in self.move(*raw):
                yield updates | self.waited()

    def bring(self, wanted: str) -> Iterator[dict[Any, Any]]:
        """What is wanted comes from the Hub: how far it is, then word for `arrive`. Closing it cancels.

        How far it is has a place of its own: after a cancellation the browser may still show one such
        sentence, which would be the last word in the note.
        """
        parts = self._parts
        try:
            asked, said = json.loads(wanted), ""
            with closing(self.fetch(self.fetched(self.card.parse(asked["chosen"])))) as sentences:
                for said in sentences:
                    yield {parts["progress"]: markup.progress(said)}
            asked["remarks"] = [*([said] if said else []), *asked["remarks"]]
            yield {parts["arrived"]: json.dumps(asked)} | self.waited()
        except Exception as error:  # noqa: BLE001  as in `guarded`, but told as a stream
            yield {parts["note"]: markup.notes([self.explain(error)], error=True)} | self.waited()

    def arrive(self, arrived: str, *raw: Any) -> Iterator[dict[Any, Any]]:
        """What was wanted is here: the answer to it, with the other controls as they are by now."""
        values, own = self.read(raw)
        asked = json.loads(arrived)
        chosen = self.fetched(self.card.parse(asked["chosen"]))
        for answer in self.answers(values | chosen, own):
            yield self.fill(answer, values | chosen, own, raw[-1], asked["remarks"]) | self.set_controls(chosen)

    def stop(self) -> dict[Any, Any]:
        """The visitor pressed Stop; the browser has ended the event that ran `bring`."""
        return {self._parts["note"]: markup.notes([STOPPED])} | self.waited()

    def waited(self) -> dict[Any, Any]:
        """Nothing is on its way any more."""
        return {self._parts["fetching"]: gr.update(visible=False)}

    # ---- tour

    def show_step(self, index: int, chosen: int | None) -> dict[Any, Any]:
        step, parts = self.card.tour[index], self._parts
        buttons = {
            button: gr.update(
                value=step.choices[place] if place < len(step.choices) else "",
                visible=chosen is None and place < len(step.choices),
            )
            for place, button in enumerate(parts["choices"])
        }
        return buttons | {
            parts["tour"]: markup.tour(self.card, index, chosen),
            parts["step"]: index,
            parts["back"]: gr.update(interactive=index > 0),
            parts["next"]: gr.update(interactive=index + 1 < len(self.card.tour)),
        }

    def go_to_step(self, index: int, pinned: Any) -> dict[Any, Any]:
        """Begin a step: its settings, everything else at the defaults, the question open again."""
        index = min(max(int(index), 0), len(self.card.tour) - 1)
        values = self.card.parse(self.card.tour[index].set)
        updates = self.fill(self.last_answer(values), values, "", pinned)
        return updates | self.set_controls(values) | self.show_step(index, None)

    def predict(self, index: int, chosen: int, pinned: Any) -> dict[Any, Any]:
        """The visitor has predicted: say what to watch and why, and move on to the discovery."""
        step = self.card.tour[min(max(int(index), 0), len(self.card.tour) - 1)]
        updates = self.show_step(self.card.tour.index(step), chosen)
        if step.then:
            values = self.card.parse({**step.set, **step.then})
            updates |= self.fill(self.last_answer(values), values, "", pinned) | self.set_controls(values)
        return updates

    # ---- compare, follow, take away

    def pin(self, figure: str, tiles: str, *raw: Any) -> dict[Any, Any]:
        """Keep this answer as A; it lives in the visitor's browser, not here."""
        values, own = self.read(raw)
        parts, tiles = self._parts, told(json.loads(figure), tiles)
        return {
            parts["pinned"]: {"values": values, "own": own},
            parts["figure_a"]: figure,
            parts["tiles_a"]: tiles,
            parts["figure_b"]: figure,
            parts["tiles_b"]: tiles,
            parts["differences"]: markup.notes(["Pinned. Change anything: B follows."]),
            parts["tabs"]: gr.update(selected="compare"),
        }

    def follow_number(self, *raw: Any) -> dict[Any, Any]:
        """Step by step from the input to the number that was picked."""
        picked = [param.parse(value) for param, value in zip(self.pick, raw, strict=False)]
        values, own = self.read(raw[len(picked) :])
        with GATE.enter():
            steps = self.follow(values, own, picked)
        return {
            self._parts["follow"]: "<ol class='follow'>"
            + "".join(f"<li><span>{s}</span></li>" for s in steps)
            + "</ol>"
        }

    def offer(self, *raw: Any) -> dict[Any, Any]:
        """Lay out the downloads of the present answer."""
        values, own = self.read(raw)
        answer = self.last_answer(values, own)
        settings = self.settings(values, own)
        picture = markup.file_link("Your picture", upload.file_name(own), own) if own.startswith("data:image/") else ""
        with GATE.enter():  # it may ask the network which class is meant
            snippet = self.snippet(values, own)
        text = markup.downloads(self.card, settings, answer.numbers, answer.rows, snippet, picture)
        return {self._parts["save"]: text}

    def settings(self, values: Mapping[str, Value], own: str) -> dict[str, Value]:
        """The values that the answer depends on: the visitor's own input takes the sample's place."""
        return {name: value for name, value in values.items() if not (own and name == self.card.sample)}

    def endpoint(self) -> Callable:
        """The public endpoint `/answer`: the card's Params as typed arguments, and the visitor's own input."""
        kinds = {"number": float, "whole": int, "seed": int, "flag": bool, "choice": str}

        def answer(*sent: Any, **named: Any) -> dict[str, Any]:
            bound = signature.bind(*sent, **named)
            bound.apply_defaults()
            own = bound.arguments.pop(self.input, "")
            try:
                values = self.card.parse(bound.arguments)
                if not isinstance(own, str):
                    raise Refused(f"{self.input}: expected {OWN_INPUTS[self.input]}; got {short(own)}.")
                return {
                    "settings": self.settings(values, own),
                    "numbers": dict(self.last_answer(values, own).numbers),
                }
            except Exception as error:  # noqa: BLE001  as in `guarded`
                raise gr.Error(self.explain(error), print_exception=False) from None

        keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [
            inspect.Parameter(param.name, keyword, default=param.default, annotation=kinds[param.kind])
            for param in self.card.params
        ]
        if self._widgets.own:
            parameters.append(inspect.Parameter(self.input, keyword, default="", annotation=str))
        signature = inspect.Signature(parameters, return_annotation=dict)
        answer.__signature__ = signature  # type: ignore[attr-defined]
        answer.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": dict}
        answer.__doc__ = f"{self.card.question} " + " ".join(f"{p.name}: {p.help}" for p in self.card.params)
        return answer

    def take_pick(self, event: gr.EventData) -> dict[Any, Any]:
        """A dot of the figure was clicked: its customdata says which number."""
        sent = [*picked(event), *[None] * len(self.pick)]
        return {
            component: param.clamp(value)[0]
            for component, param, value in zip(self._parts["pick"], self.pick, sent, strict=False)
        }

    def click(self, event: gr.EventData, *raw: Any) -> Iterator[dict[Any, Any]]:
        """A place of the figure was clicked, which sets controls."""
        values, own = self.read(raw)
        changes = self.clicked(picked(event)) if self.clicked else {}
        changed = {name: self.card.param(name).parse(value) for name, value in changes.items()}
        if self.card.sample in changed:  # the visitor's own input gives way to it
            own = ""
        for answer in self.answers(values | changed, own):
            yield self.fill(answer, values | changed, own, raw[-1]) | self.set_controls(changed)

    async def draw_sheet(self, title: str, *raw: Any) -> AsyncIterator[tuple[Any, str]]:
        """A sheet was asked for: what there is of it so far, until it is whole or its time is up.

        yields  HTML, and beside it how long it takes until something comes
        """
        html = ""
        try:
            values, own = self.read(raw)
            async for part, waiting in self.in_turns(self.sheets[title](values, own)):
                html = part or html
                yield html, markup.progress(waiting) if waiting else ""
        except Exception as error:  # noqa: BLE001  as in `guarded`
            yield html + markup.notes([self.explain(error)], error=True), ""

    async def in_turns(self, parts: Iterator[Result]) -> AsyncIterator[tuple[Result | None, str]]:
        """Work that takes seconds, part by part, in turn with that of other visitors.

        yields  a part and ""; or None and what there is to wait for
        raises  Refused when its time is up and there is more to come
        """
        spent_s, late = 0.0, False

        def compute() -> tuple[Result | None, float]:
            with GATE.enter(patience_s=SHEET_PATIENCE_S):  # anew for each part, so that others come in between
                begin = time.monotonic()
                return next(parts, None), time.monotonic() - begin

        if TURNS.taken:
            yield None, f"Waiting for your turn, number {TURNS.waiting + 1} in the queue."
        while True:
            async with TURNS.turn():
                part, seconds = await uninterrupted(asyncio.to_thread(compute))
                crowded = TURNS.waiting > 0
            if part is None:
                return
            spent_s += seconds
            yield part, ""
            limit_s = CROWDED_S if crowded else self.deadline_s
            if late and spent_s > limit_s:
                why = ", since others are waiting" if crowded else ""
                raise Refused(f"Stopped after {spent_s:.0f} seconds{why}; what was reached so far is shown.")
            late = spent_s > limit_s  # one part more tells whether this one was the last

    def listen(
        self,
        event: Callable,
        handler: Callable[..., Iterator[Mapping[Any, Any]]],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        *,
        long: bool = False,
        pause_s: float = 0.0,
    ) -> Any:
        """Wire an event of an app's own tab.

        handler  handler(values, own, *inputs) -> updates by component, which are among `outputs`, each part
                 computed inside the gate, so that others come in between
        long     it takes seconds: visitors take turns, part by part
        pause_s  between such parts, outside the turn: a browser draws only so many a second
        returns  what an event that `cancels` it names
        """
        note = self._parts["note"]

        def parts_of(raw: Sequence[Any]) -> Iterator[Mapping[Any, Any]]:
            values, own = self.read(raw[len(inputs) :])
            return handler(values, own, *raw[: len(inputs)])

        def run(*raw: Any) -> Iterator[Mapping[Any, Any]]:
            try:
                parts = parts_of(raw)
                while True:
                    with GATE.enter():
                        part = next(parts, None)
                    if part is None:
                        return
                    yield {note: "", **part}
            except Exception as error:  # noqa: BLE001  as in `guarded`
                yield {note: markup.notes([self.explain(error)], error=True)}

        async def take_turns(*raw: Any) -> AsyncIterator[Mapping[Any, Any]]:
            try:
                async for part, waiting in self.in_turns(parts_of(raw)):
                    yield {note: markup.progress(waiting) if waiting else "", **(part or {})}
                    await asyncio.sleep(pause_s)
            except Exception as error:  # noqa: BLE001  as in `guarded`
                yield {note: markup.notes([self.explain(error)], error=True)}

        held = [self._widgets.own] if self._widgets.own else []
        wiring = {**self.common, **(self.lane if long else {}), "outputs": [*outputs, note]}
        return event(take_turns if long else run, [*inputs, *self._controls.values(), *held], **wiring)

    @property
    def lane(self) -> dict[str, Any]:
        """How events are wired that take seconds: beside the quick ones, in turns of their own."""
        return {"concurrency_id": f"{self.card.slug} sheet", "concurrency_limit": SHEETS}

    @property
    def common(self) -> dict[str, Any]:
        """What all events of a page are wired with."""
        return {
            "show_progress": "hidden",
            "trigger_mode": "always_last",
            "concurrency_id": self.card.slug,
            "concurrency_limit": 2,
            "api_visibility": "private",
        }


def told(figure: Mapping[str, Any], tiles: str) -> str:
    """A compared answer's tiles with the figure's sentence, since what else the page says is that of B alone."""
    return f"<p class='small'>{escape(figure['layout']['meta']['sentence'])}</p>{tiles}"


async def uninterrupted(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of work in a thread, which cannot be stopped: who cancels it still waits until it is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def picked(event: gr.EventData) -> list[Any]:
    """What the browser says was clicked: a dot's customdata, or a place in the figure's own units."""
    sent = event._data.get("pick") if isinstance(event._data, dict) else None
    return sent if isinstance(sent, list) else []
