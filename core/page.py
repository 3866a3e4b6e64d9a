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

import inspect
import json
from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr

from core import draw, markup, store
from core.card import Param
from core.moves import UNPINNED, Answer, Moves
from core.serve import QUEUE_SIZE, SESSIONS
from core.widgets import control, figure_view

FETCHES = 8  # visitors per Space who may wait for the Hub at the same time


class Space(Moves):
    """One page: what `Moves` needs, laid out and wired."""

    def build(self) -> gr.Blocks:
        """The page as Gradio Blocks."""
        card, parts = self.card, self._parts
        runs = {score.run: store.load(score.run) for score in card.scores}
        run = runs.get(self.run) or store.load(self.run)
        self._first = load_first(card.slug, run) or self.last_answer(card.defaults())
        with gr.Blocks(title=card.question, analytics_enabled=False, delete_cache=(300, 600)) as demo:
            scored = runs[card.scores[0].run].score(card.scores[0].key)
            gr.HTML(markup.head(card, run, scored["mean"]), elem_id="head")
            parts["note"] = gr.HTML("", elem_id="note")
            if any(param.fetched for param in card.params):
                with gr.Row(elem_id="fetching", visible=False) as parts["fetching"]:
                    parts["progress"] = gr.HTML("")
                    parts["stop"] = gr.Button("Stop", size="sm", elem_id="stop")
                parts["wanted"] = gr.Textbox(visible="hidden")
                parts["arrived"] = gr.Textbox(visible="hidden")
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
        demo.state_session_capacity = SESSIONS
        return demo

    def _lay_out_input(self) -> None:
        card = self.card
        if card.sample:
            self._controls[card.sample] = control(card.param(card.sample))

    def _lay_out_controls(self) -> None:
        card = self.card
        rest = [param for param in card.params if param.name != card.sample]
        with gr.Group(elem_id="controls"):
            for param in rest:
                if param.main:
                    self._lay_out_control(param)
        with gr.Accordion("More controls", open=False, elem_id="more"):
            for param in rest:
                if not param.main:
                    self._lay_out_control(param)
        self._controls = {param.name: self._controls[param.name] for param in card.params}

    def _lay_out_control(self, param: Param) -> None:
        self._controls[param.name] = control(param)
        if param.play:
            classes = ["play", f"part-of-{param.name}"]
            button = gr.Button(f"Play {param.label}", size="sm", elem_id=f"play-{param.name}", elem_classes=classes)
            button.click(None, js=f"() => vitrine.play('{param.name}')")

    def _lay_out_answer(self) -> None:
        parts = self._parts
        parts["figure"] = figure_view("figure", self._first.drawn())
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
            parts["back"] = gr.Button(
                "Step back", size="sm", elem_id="tour-back", elem_classes="part-of-tour", interactive=False
            )
            parts["next"] = gr.Button("Next step", size="sm", elem_id="tour-next", elem_classes="part-of-tour")
            parts["pin"] = gr.Button("Pin as A", size="sm", elem_id="pin")
            parts["copy"] = gr.Button("Copy link", size="sm", elem_id="copy")
            parts["offer"] = gr.Button("Save", size="sm", elem_id="save-button")
            parts["reset"] = gr.Button("Reset", size="sm", elem_id="reset")
        parts["save"] = gr.HTML("", elem_id="save")

    def _lay_out_tabs(self, runs: Mapping[str, store.Run]) -> None:
        card, parts = self.card, self._parts
        with gr.Tab("How it works", id="how"):
            gr.HTML(f"<p>{escape(card.idea)}</p>")
            gr.Markdown(f"$$ {card.formula} $$", latex_delimiters=[{"left": "$$", "right": "$$", "display": True}])
            with gr.Row(equal_height=False):
                with gr.Column(min_width=300):
                    gr.HTML(markup.symbols(card))
                    gr.HTML(markup.papers(card))
                with gr.Column(min_width=300):
                    gr.HTML("<h3>Follow one number</h3><p>Click it in the figure, or choose here.</p>")
                    with gr.Row():
                        parts["pick"] = [control(param) for param in self.pick]
                        if self.clicked:  # the controls that a click sets say which number
                            parts["ask"] = gr.Button("The one that is chosen", size="sm", elem_id="ask")
                    parts["follow"] = gr.HTML("", elem_id="follow")
            for function in self.shown:
                gr.Code(inspect.getsource(function), language="python", label=function.__name__, interactive=False)
        for title, content in self.more.items():
            with gr.Tab(title, id=title.lower()):
                gr.HTML(content())
        for title, sheet in self.sheets.items():
            with gr.Tab(title, id=title.lower()):
                gr.HTML(f"<p>{escape((inspect.getdoc(sheet) or '').splitlines()[0])}</p>")
                with gr.Row(elem_classes="row-of-buttons"):
                    draw_it, stop = gr.Button("Start", size="sm"), gr.Button("Stop", size="sm")
                self._sheets[title] = draw_it, stop, gr.HTML(""), gr.HTML("")
        for title, room in self.rooms.items():
            with gr.Tab(title, id=title.lower()):
                room(self)
        with gr.Tab("Compare", id="compare"):
            parts["differences"] = gr.HTML(markup.notes([UNPINNED]), elem_id="differences")
            with gr.Row(equal_height=False):
                for side in ("a", "b"):
                    with gr.Column(min_width=300):
                        gr.HTML(f"<h3>{side.upper()}</h3>")
                        parts[f"figure_{side}"] = figure_view(f"figure-{side}")
                        parts[f"tiles_{side}"] = gr.HTML("")
        with gr.Tab("Scores", id="scores"):
            figure_view("measured", draw.to_text(draw.to_json(self.measured())))
            gr.HTML(markup.scores(card, runs))
        with gr.Tab("Worksheet", id="worksheet"):
            gr.HTML("<p>Print the questions for the class; the answers are apart.</p>")
            with gr.Row(elem_classes="row-of-buttons"):
                for kind, answers in (("questions", False), ("answers", True)):
                    document = json.dumps(markup.worksheet(card, answers=answers))
                    button = gr.Button(f"Print the {kind}", size="sm", elem_id=f"print-{kind}")
                    button.click(None, js=f"() => vitrine.printSheet({document})")

    def _wire(self, demo: gr.Blocks) -> None:
        card, parts = self.card, self._parts
        own = self._widgets.own
        controls = list(self._controls.values())
        state = [*controls, *([own] if own else [])]
        pinned = parts["pinned"]
        listed = [part for part in parts.values() if isinstance(part, gr.blocks.Block)]
        everything = [*listed, *parts["choices"], *controls, *self._widgets.extras, *([own] if own else [])]
        everything = list(dict.fromkeys(everything))
        common = {**self.common, "outputs": everything}
        # A move names what it fills and no more: each further output costs half a millisecond and memory.
        filled = ("figure", "tiles", "address", "note", "follow", "save", "figure_b", "tiles_b", "differences")
        shown = [*(parts[name] for name in filled), *self._widgets.extras]
        sample = [self._controls[card.sample]] if card.sample else []
        moved = {**common, "outputs": shown}
        if any(param.fetched for param in card.params):
            self._wire_fetch(state, shown, common)
        for name, component in self._controls.items():
            if card.param(name).fetched:
                continue
            handler = self.choose_sample if name == card.sample else self.move
            component.input(self.guarded(handler), [*state, pinned], **moved)
            if isinstance(component, gr.Slider):  # its reset button changes the value without an input event
                component.release(self.guarded(handler), [*state, pinned], **moved)
        if own:
            answer = [part for part in shown if part is not own]
            own.input(self.guarded(self.own_changed), [*state, pinned], **{**common, "outputs": [*answer, *sample]})
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
        parts["copy"].click(None, js="() => vitrine.copyLink('#copy')")
        parts["address"].change(None, parts["address"], js="(query) => vitrine.address(query)")
        parts["step"].change(None, parts["step"], js="(index) => vitrine.step(index)")
        follow = self.guarded(self.follow_number)
        if self.clicked:
            parts["ask"].click(follow, [*parts["pick"], *state], **common)
        for picker in parts["pick"]:
            picker.input(follow, [*parts["pick"], *state], **common)
            if isinstance(picker, gr.Slider):
                picker.release(follow, [*parts["pick"], *state], **common)  # the reset button, as above
        if self.clicked:
            outputs = [*shown, *(self._controls[name] for name in self.clicked([0, 0]))]
            picked = parts["figure"].select(
                self.guarded(self.click), [*state, pinned], **{**common, "outputs": outputs}
            )
        else:
            picked = parts["figure"].select(
                self.take_pick, None, parts["pick"], show_progress="hidden", api_visibility="private"
            )
        picked.then(follow, [*parts["pick"], *state], **{**common, "trigger_mode": None})
        for title, (draw_it, stop, progress, drawn) in self._sheets.items():
            asked = gr.Textbox(title, visible=False)
            drawing = draw_it.click(
                self.draw_sheet, [asked, *state], **{**common, **self.lane, "outputs": [drawn, progress]}
            )
            stop.click(
                lambda: "",
                None,
                progress,
                cancels=drawing,
                queue=False,
                show_progress="hidden",
                api_visibility="private",
            )
        opening = demo.load(self.guarded(self.open), None, **common)
        opening.then(None, js="() => vitrine.opened()")  # also after an error
        gr.api(self.endpoint(), api_name="answer", concurrency_id=card.slug, concurrency_limit=2)

    def _wire_fetch(self, state: list[Any], shown: list[Any], common: dict[str, Any]) -> None:
        """What comes from the Hub: asked for, brought in a lane of its own, stopped, and answered."""
        parts, fetched = self._parts, [self._controls[p.name] for p in self.card.params if p.fetched]
        lane = {"concurrency_id": f"{self.card.slug} fetch", "concurrency_limit": FETCHES}
        bringing = parts["wanted"].change(
            self.bring,
            parts["wanted"],
            **{**common, **lane, "outputs": [parts[name] for name in ("note", "progress", "fetching", "arrived")]},
        )
        parts["arrived"].change(
            self.guarded(self.arrive),
            [parts["arrived"], *state, parts["pinned"]],
            **{**common, "outputs": [*shown, *fetched]},
        )
        # Who chooses anew or goes elsewhere has changed his mind.
        quiet = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
        parts["stop"].click(self.stop, None, [parts["note"], parts["fetching"]], cancels=bringing, **quiet)
        for name in ("reset", "back", "next"):
            parts[name].click(self.waited, None, parts["fetching"], cancels=bringing, **quiet)
        for component in fetched:
            component.input(None, cancels=bringing)
            component.input(
                self.guarded(self.choose),
                [parts["address"], *state, parts["pinned"]],
                **{**common, "outputs": [*shown, *fetched, *(parts[n] for n in ("wanted", "progress", "fetching"))]},
            )


def load_first(slug: str, run: store.Run) -> Answer | None:
    """The precomputed answer that a page opens with, equal to the live one; scripts/pictures.py writes it.

    returns None where there is none, or where other weights than those of this run gave it
    """
    path = store.CHECKPOINTS / slug / "first.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if kept.get("weights") != run.config["files"]["model.safetensors"]:
        return None
    answer = kept["answer"]
    return Answer(**{**answer, "tiles": [markup.Tile(**tile) for tile in answer["tiles"]]})
