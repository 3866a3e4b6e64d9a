"""The frame of a Space: head, controls, address, tour, compare, downloads, errors, limits.

An app passes functions and its own widgets; the frame does the rest, for every topic alike:

    demo = page.Space(CARD, answer=answer, widgets=widgets, networks=networks, …).build()

How other topics sit in it:
    photographs with sliders   widgets() lays out `picture_input` and the overlay's picture;
                               answer() returns bars as figure and the heat map among `extras`
    an embedding map           answer() returns the map as figure, each point with customdata, so that
                               a click reaches follow(); the visitor's own photo is `own`
    sheets of generated faces  no own input: widgets() lays out the sheet, seed and walk are Params
    streamed translation       answer() is a generator that yields an Answer per token; the frame
                               shows each, until the deadline or the visitor's next move
"""

import functools
import inspect
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from core import draw, markup, store, upload
from core.card import Card, Param, Refused, Value
from core.serve import GATE, QUEUE_SIZE

DEADLINE_S = 10.0
log = logging.getLogger("vitrine")


@dataclass(frozen=True)
class Answer:
    """What a page shows for one state.

    figure   the main figure; its `meta` sentence is read aloud
    tiles    three to five numbers under it
    numbers  the same and more by name, for the tour's criteria, downloads and the API
    rows     the table behind the figure, for the CSV
    extras   values for the app's own widgets, in their order
    """

    figure: dict[str, Any]
    tiles: Sequence[markup.Tile]
    numbers: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    extras: Sequence[Any] = ()


@dataclass(frozen=True)
class Widgets:
    """An app's own widgets, laid out in the frame's input column.

    own     the component that holds the visitor's own input, its value with a key `own`, or None
    file    the button that uploads a file into `own`, or None
    extras  components that each answer fills
    """

    own: gr.HTML | None = None
    file: gr.UploadButton | None = None
    extras: Sequence[gr.components.Component] = ()


def figure_view(elem_id: str, value: dict[str, Any] | None = None) -> gr.HTML:
    """A place for a Plotly figure that is updated in place (gr.Plot builds a new one each time, which flickers)."""
    return gr.HTML(
        value,
        elem_id=elem_id,
        elem_classes="figure",
        html_template='<div class="vitrine-figure" role="img"></div>',
        head='<script src="/vitrine/plotly.min.js"></script><script src="/vitrine/page.js"></script>',
        js_on_load="vitrine.figure(element, props, trigger, watch)",
    )


def picture_input(label: str, shown: str) -> gr.HTML:
    """A canvas for drawing; what is pasted or dropped goes to `picture_button`.

    label  "Draw a digit"
    shown  data URL of the picture that it opens with
    value  {"own": data URL of the visitor's own picture or "", "shown": data URL of the sample}
    """
    return gr.HTML(
        {"own": "", "shown": shown},
        elem_id="canvas",
        html_template=(
            f'<div class="canvas"><figure><figcaption>{label}</figcaption><div class="board">'
            f'<canvas width="280" height="280" role="img" aria-label="{label}"></canvas>'
            '<button type="button" class="clear">Clear</button></div></figure></div>'
        ),
        head='<script src="/vitrine/page.js"></script>',
        js_on_load="vitrine.canvas(element, props, trigger, watch)",
    )


def picture_button() -> gr.UploadButton:
    """Takes a picture from a file or, on a phone, from the camera; `hide=upload` removes it."""
    return gr.UploadButton(
        "Upload or photograph", file_types=["image"], elem_id="upload", size="sm", elem_classes="part-of-upload"
    )


def control(param: Param) -> gr.components.Component:
    """The Gradio component of a Param."""
    common: dict[str, Any] = {
        "label": f"{param.label} ({param.unit})" if param.unit else param.label,
        "info": param.help,
        "elem_id": f"control-{param.name}",
        "elem_classes": "control",
    }
    if not param.help:
        common.pop("info")
    if param.kind in ("number", "whole"):
        default = float(param.default)
        return gr.Slider(param.low, param.high, default, step=param.step, buttons=["reset"], **common)
    if param.kind == "choice":
        return gr.Radio([(label, key) for key, label in param.choices.items()], value=param.default, **common)
    if param.kind == "flag":
        return gr.Checkbox(bool(param.default), **common)
    return gr.Number(int(param.default), minimum=param.low, maximum=param.high, precision=0, **common)


@dataclass
class Space:
    """One page.

    answer    answer(values, own) -> Answer, or a generator of them; own is "" or the visitor's input
    widgets   widgets(first) lays out the app's own widgets in the input column
    networks  networks() -> anything; loads the weights once, raises BadRun if they cannot be used
    run       the run whose source and size the head shows
    shown     the functions whose source How it works shows
    follow    follow(values, own, pick) -> steps (HTML) that follow one number, the one that was picked
    pick      the Params that say which number; a click in the figure sets them from its customdata
    measured  measured() -> a figure of the stored experiment for Scores, or None
    snippet   snippet(values) -> at most eight lines of Python that give the same answer
    """

    card: Card
    answer: Callable[[dict[str, Value], str], Answer | Iterator[Answer]]
    widgets: Callable[[Answer], Widgets]
    networks: Callable[[], Any]
    run: str
    shown: Sequence[Callable]
    follow: Callable[[dict[str, Value], str, list[Value]], list[str]]
    pick: Sequence[Param]
    measured: Callable[[], go.Figure]
    snippet: Callable[[Mapping[str, Value]], str]
    deadline_s: float = DEADLINE_S
    _parts: dict[str, Any] = field(default_factory=dict)

    # ---- what a visitor's move does

    def read(self, raw: Sequence[Any]) -> tuple[dict[str, Value], str]:
        """Values and own input from what the components sent; raises Refused."""
        names = [param.name for param in self.card.params]
        sent = dict(zip(names, raw, strict=False))
        own = ((raw[len(names)] or {}).get("own") or "") if len(raw) > len(names) and self._widgets.own else ""
        if self.card.sample and sent[self.card.sample] is None:
            sent.pop(self.card.sample)  # nothing is chosen while the visitor's own input is shown
        return self.card.parse(sent), own

    def answers(self, values: dict[str, Value], own: str) -> Iterator[Answer]:
        """One answer or a stream of them, through the gate and within the deadline."""
        end = time.monotonic() + self.deadline_s
        with GATE.enter():
            result = self.answer(values, own)
            if isinstance(result, Answer):
                yield result
                return
            for part in result:
                yield part
                if time.monotonic() > end:
                    raise Refused(f"Stopped after {self.deadline_s:g} seconds; what was reached so far is shown.")

    def last_answer(self, values: dict[str, Value], own: str = "") -> Answer:
        """The answer, or the last of a stream."""
        *_, last = self.answers(values, own)
        return last

    def fill(self, answer: Answer, values: dict[str, Value], own: str, pinned: Any = None) -> dict[Any, Any]:
        """The answer as updates of components."""
        parts = self._parts
        query = {name: text for name, text in self.card.address(values).items() if not (own and name == self.card.sample)}
        updates = {
            parts["figure"]: answer.figure,
            parts["tiles"]: markup.tiles(self.card, answer.tiles),
            parts["address"]: "&".join(f"{name}={text}" for name, text in query.items()),
            parts["note"]: markup.notes(["Your own picture is not part of the link."]) if own else "",
            **dict(zip(self._widgets.extras, answer.extras, strict=True)),
        }
        if pinned:
            words = self.card.differences(pinned["values"], values)
            if own != pinned["own"]:
                words.append("another picture")
            updates[parts["figure_b"]] = answer.figure
            updates[parts["tiles_b"]] = updates[parts["tiles"]]
            updates[parts["differences"]] = markup.notes([". ".join(words) + "."] if words else ["A and B are the same."])
        return updates

    def guarded(self, handler: Callable) -> Callable:
        """A handler whose errors become one sentence on the page, while the former answer stays."""

        def sentence(error: Exception) -> dict[Any, Any]:
            if isinstance(error, (Refused, store.BadRun)):
                text = str(error)
            else:
                ticket = uuid.uuid4().hex[:8]
                log.exception("unexpected error %s on %s", ticket, self.card.slug)
                text = f"Something broke here; the former answer stays. The log has it as {ticket}."
            return {self._parts["note"]: markup.notes([text], error=True)}

        if inspect.isgeneratorfunction(handler):

            @functools.wraps(handler)  # Gradio reads the signature to see who wants the request
            def run(*raw: Any) -> Iterator[Any]:
                try:
                    yield from handler(*raw)
                except Exception as error:  # noqa: BLE001  the one place that turns the unexpected into a sentence
                    yield sentence(error)
        else:

            @functools.wraps(handler)
            def run(*raw: Any) -> Any:
                try:
                    return handler(*raw)
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
        picture, remarks = upload.read_file(path, longest_side=280)
        own = draw.jpeg_url(picture)
        values, _ = self.read(raw)
        for answer in self.answers(values, own):
            updates = self.fill(answer, values, own, raw[-1])
            widget = self._widgets.own
            shown = updates[widget]["shown"] if widget in updates else ""
            yield updates | {
                widget: {"own": own, "shown": shown},
                self._parts["note"]: markup.notes([*remarks, "Your own picture is not part of the link."]),
            } | self.set_sample(None)

    def own_changed(self, *raw: Any) -> Iterator[dict[Any, Any]]:
        """The visitor drew: no sample is chosen any more, and the canvas is left as it is."""
        for updates in self.move(*raw):
            updates.pop(self._widgets.own, None)
            yield updates | self.set_sample(None)

    def set_sample(self, value: Value | None) -> dict[Any, Any]:
        return {self._controls[self.card.sample]: gr.update(value=value)} if self.card.sample else {}

    def set_controls(self, values: Mapping[str, Value]) -> dict[Any, Any]:
        return {self._controls[name]: value for name, value in values.items()}

    def open(self, request: gr.Request) -> dict[Any, Any]:
        """The page was opened: restore what its address says, and say what is wrong with the weights."""
        query = dict(request.query_params) if request else {}
        self.networks()
        if not {param.name for param in self.card.params} & query.keys() and "step" not in query:
            return {self._parts["note"]: ""}
        values, remarks = self.card.read_address(query)
        index = int(query["step"]) - 1 if query.get("step", "").isdigit() else 0
        index = index if 0 <= index < len(self.card.tour) else 0
        answer = self.last_answer(values)
        updates = self.fill(answer, values, "") | self.set_controls(values) | self.show_step(index, None)
        return updates | {self._parts["note"]: markup.notes(remarks)}

    def reset(self) -> dict[Any, Any]:
        """Back to the opening state; the visitor's own input is gone."""
        values, parts = self.card.defaults(), self._parts
        updates = self.fill(self._first, values, "") | self.set_controls(values) | self.show_step(0, None)
        return updates | {
            parts["pinned"]: None,
            parts["figure_a"]: None,
            parts["tiles_a"]: "",
            parts["figure_b"]: None,
            parts["tiles_b"]: "",
            parts["differences"]: markup.notes(["Pin an answer as A, then change anything."]),
            parts["save"]: gr.update(visible=False),
        }

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

    def pin(self, figure: Any, tiles: str, *raw: Any) -> dict[Any, Any]:
        """Keep this answer as A; it lives in the visitor's browser, not here."""
        values, own = self.read(raw)
        parts = self._parts
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
        return {self._parts["follow"]: "<ol class='follow'>" + "".join(f"<li><span>{s}</span></li>" for s in steps) + "</ol>"}

    def offer(self, *raw: Any) -> dict[Any, Any]:
        """Lay out the downloads of the present answer."""
        values, own = self.read(raw)
        answer = self.last_answer(values, own)
        text = markup.downloads(self.card, values, answer.numbers, answer.rows, self.snippet(values))
        return {self._parts["save"]: gr.update(value=text, visible=True)}

    def endpoint(self) -> Callable:
        """The public endpoint `/answer`: the card's Params as typed arguments, and a picture as data URL."""
        kinds = {"number": float, "whole": int, "seed": int, "flag": bool, "choice": str}

        def answer(*sent: Any, **named: Any) -> dict[str, Any]:
            bound = signature.bind(*sent, **named)
            bound.apply_defaults()
            own = bound.arguments.pop("picture", "")
            try:
                values = self.card.parse(bound.arguments)
                return {"settings": values, "numbers": dict(self.last_answer(values, own).numbers)}
            except (Refused, store.BadRun) as error:
                raise gr.Error(str(error), print_exception=False) from None

        keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [
            inspect.Parameter(param.name, keyword, default=param.default, annotation=kinds[param.kind])
            for param in self.card.params
        ]
        if self._widgets.own:
            parameters.append(inspect.Parameter("picture", keyword, default="", annotation=str))
        signature = inspect.Signature(parameters, return_annotation=dict)
        answer.__signature__ = signature  # type: ignore[attr-defined]
        answer.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": dict}
        answer.__doc__ = f"{self.card.question} " + " ".join(f"{p.name}: {p.help}" for p in self.card.params)
        return answer

    # ---- layout

    def build(self) -> gr.Blocks:
        """The page as Gradio Blocks."""
        card, parts = self.card, self._parts
        runs = {score.run: store.load(score.run) for score in card.scores}
        run = runs.get(self.run) or store.load(self.run)
        self._first = load_first(card.slug) or self.last_answer(card.defaults())
        with gr.Blocks(title=card.question, analytics_enabled=False, delete_cache=(300, 600)) as demo:
            gr.HTML(markup.head(card, run, run.note), elem_id="head")
            parts["note"] = gr.HTML("", elem_id="note")
            with gr.Row(elem_id="columns", equal_height=False):
                with gr.Column(scale=2, min_width=300, elem_classes="column"):
                    with gr.Column(elem_id="input-part"):
                        self._widgets = self.widgets(self._first)
                        self._lay_out_input()
                    self._lay_out_controls()
                with gr.Column(scale=3, min_width=300, elem_classes="column"), gr.Column(elem_id="answer-part"):
                    self._lay_out_answer()
            with gr.Tabs(elem_id="tabs") as parts["tabs"]:
                self._lay_out_tabs(runs)
            parts["address"] = gr.Textbox(visible="hidden", elem_id="address")
            parts["pinned"] = gr.JSON(None, visible="hidden")
            parts["step"] = gr.Number(0, visible="hidden", precision=0)
            self._wire(demo)
        demo.queue(max_size=QUEUE_SIZE, default_concurrency_limit=2)
        return demo

    def _lay_out_input(self) -> None:
        card = self.card
        self._controls: dict[str, Any] = {}
        if card.sample:
            self._controls[card.sample] = control(card.param(card.sample))

    def _lay_out_controls(self) -> None:
        card = self.card
        rest = [param for param in card.params if param.name != card.sample]
        with gr.Group(elem_id="controls"):
            for param in rest:
                if param.main:
                    self._controls[param.name] = control(param)
        with gr.Accordion("More controls", open=False, elem_id="more"):
            for param in rest:
                if not param.main:
                    self._controls[param.name] = control(param)
        self._controls = {param.name: self._controls[param.name] for param in card.params}

    def _lay_out_answer(self) -> None:
        parts = self._parts
        parts["figure"] = figure_view("figure", self._first.figure)
        parts["tiles"] = gr.HTML(markup.tiles(self.card, self._first.tiles), elem_id="tiles")
        with gr.Column(elem_id="tour", elem_classes="part-of-tour"):
            step = self.card.tour[0]
            parts["tour"] = gr.HTML(markup.tour(self.card, 0, None), elem_id="tour-text")
            with gr.Row(elem_classes="row-of-buttons"):
                parts["choices"] = [
                    gr.Button(
                        step.choices[place] if place < len(step.choices) else "",
                        visible=place < len(step.choices),
                        size="sm",
                        elem_id=f"choice-{place}",
                    )
                    for place in range(4)
                ]
        with gr.Row(elem_id="actions", elem_classes="row-of-buttons"):
            parts["back"] = gr.Button("Step back", size="sm", elem_id="tour-back", interactive=False)
            parts["next"] = gr.Button("Next step", size="sm", elem_id="tour-next")
            parts["pin"] = gr.Button("Pin as A", size="sm", elem_id="pin")
            parts["copy"] = gr.Button("Copy link", size="sm", elem_id="copy")
            parts["offer"] = gr.Button("Save", size="sm", elem_id="save-button")
            parts["reset"] = gr.Button("Reset", size="sm", elem_id="reset")
        parts["save"] = gr.HTML("", visible=False, elem_id="save")

    def _lay_out_tabs(self, runs: Mapping[str, store.Run]) -> None:
        card, parts = self.card, self._parts
        with gr.Tab("How it works", id="how"):
            gr.Markdown(f"$$ {card.formula} $$", latex_delimiters=[{"left": "$$", "right": "$$", "display": True}])
            with gr.Row(equal_height=False):
                with gr.Column(min_width=300):
                    gr.HTML(markup.symbols(card))
                    gr.HTML(markup.papers(card))
                with gr.Column(min_width=300):
                    gr.HTML("<h3>Follow one number</h3><p>Click a dot in the figure, or choose here.</p>")
                    with gr.Row():
                        parts["pick"] = [control(param) for param in self.pick]
                    parts["follow"] = gr.HTML("", elem_id="follow")
            for function in self.shown:
                gr.Code(inspect.getsource(function), language="python", label=function.__name__, interactive=False)
        with gr.Tab("Compare", id="compare"):
            parts["differences"] = gr.HTML(markup.notes(["Pin an answer as A, then change anything."]), elem_id="differences")
            with gr.Row(equal_height=False):
                for side in ("a", "b"):
                    with gr.Column(min_width=300):
                        gr.HTML(f"<h3>{side.upper()}</h3>")
                        parts[f"figure_{side}"] = figure_view(f"figure-{side}")
                        parts[f"tiles_{side}"] = gr.HTML("")
        with gr.Tab("Scores", id="scores"):
            figure_view("measured", draw.to_json(self.measured()))
            gr.HTML(markup.scores(card, runs))
        with gr.Tab("Worksheet", id="worksheet"):
            gr.HTML("<p>Print the questions for the class; the answers are apart.</p>")
            with gr.Row(elem_classes="row-of-buttons"):
                for kind, answers in (("questions", False), ("answers", True)):
                    sheet = json.dumps(markup.worksheet(card, link=f"/{card.slug}/", answers=answers))
                    button = gr.Button(f"Print the {kind}", size="sm", elem_id=f"print-{kind}")
                    button.click(None, js=f"() => vitrine.printSheet({sheet})")

    def _wire(self, demo: gr.Blocks) -> None:
        card, parts = self.card, self._parts
        own = self._widgets.own
        controls = list(self._controls.values())
        state = [*controls, *([own] if own else [])]
        pinned = parts["pinned"]
        listed = [part for part in parts.values() if isinstance(part, gr.blocks.Block)]
        everything = [*listed, *parts["choices"], *controls, *self._widgets.extras, *([own] if own else [])]
        everything = list(dict.fromkeys(everything))
        common: dict[str, Any] = {
            "outputs": everything,
            "show_progress": "hidden",
            "trigger_mode": "always_last",
            "concurrency_id": card.slug,
            "concurrency_limit": 2,
            "api_visibility": "private",
        }
        for name, component in self._controls.items():
            handler = self.choose_sample if name == card.sample else self.move
            component.input(self.guarded(handler), [*state, pinned], **common)
            if isinstance(component, gr.Slider):  # its reset button changes the value without an input event
                component.release(self.guarded(handler), [*state, pinned], **common)
        if own:
            own.input(self.guarded(self.own_changed), [*state, pinned], **common)
        if own and (button := self._widgets.file):
            button.upload(self.guarded(self.take_file), [button, *state, pinned], **common)
        for place, button in enumerate(parts["choices"]):
            choice = gr.Number(place, visible=False, precision=0)
            button.click(self.guarded(self.predict), [parts["step"], choice, pinned], **common)
        back = self.guarded(lambda step, pinned: self.go_to_step(step - 1, pinned))
        onward = self.guarded(lambda step, pinned: self.go_to_step(step + 1, pinned))
        parts["back"].click(back, [parts["step"], pinned], **common)
        parts["next"].click(onward, [parts["step"], pinned], **common)
        parts["pin"].click(self.guarded(self.pin), [parts["figure"], parts["tiles"], *state], **common)
        parts["offer"].click(self.guarded(self.offer), state, **common)
        parts["reset"].click(self.guarded(self.reset), None, **common)
        parts["copy"].click(None, js="() => vitrine.copyLink()")
        parts["address"].change(None, parts["address"], js="(query) => vitrine.address(query)")
        follow = self.guarded(self.follow_number)
        for picker in parts["pick"]:
            picker.change(follow, [*parts["pick"], *state], **common)
        parts["figure"].select(self.take_pick, None, parts["pick"], show_progress="hidden", api_visibility="private")
        demo.load(self.guarded(self.open), None, **common)
        gr.api(self.endpoint(), api_name="answer", concurrency_id=card.slug, concurrency_limit=2)

    def take_pick(self, event: gr.EventData) -> list[Value]:
        """A dot of the figure was clicked: its customdata says which number."""
        sent = event._data.get("pick") if isinstance(event._data, dict) else None
        sent = sent if isinstance(sent, list) else []
        return [param.clamp(value)[0] for param, value in zip(self.pick, [*sent, *[None] * len(self.pick)], strict=False)]


def load_first(slug: str) -> Answer | None:
    """The precomputed answer that a page opens with, equal to the live one; scripts/pictures.py writes it."""
    path = store.CHECKPOINTS / slug / "first.json"
    if not path.is_file():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Answer(**{**kept, "tiles": [markup.Tile(**tile) for tile in kept["tiles"]]})
