"""The frame of a concept page in Streamlit: question, figure, controls, tour, formula, source, worksheet.

    lab.show(CARD, answer, functions=[method.adam])

draws a whole page from a card and one function from a state to an Answer. A run of the part that
changes is one answer: the state is kept per visitor, stands in the address, and every widget is made
from it. The figure is a component of our own (lab.js), since Streamlit's chart is built anew with
every change and flickers.
"""

import inspect
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import plotly
import streamlit as st
import torch
from streamlit.components import v1, v2

from core import draw, markup, store
from core.card import Card, Param, Value
from core.live import Job, Queue, advance
from core.markup import Tile

HERE = Path(__file__).resolve().parent
log = logging.getLogger("vitrine")
FLAGS = ("hide", "present")  # keys of the address that are no controls; `embed=true` is Streamlit's own
MENU = 4  # so many choices stand side by side; more of them become a menu
PAUSE_S = 0.4  # between two slices of a live run, in which the page hears its visitor
State = Mapping[str, Value]

FIGURE = """<div class="lab-figure"><div class="drawing" role="img"></div>
<div class="player" role="group" aria-label="Animation" hidden>
<button type="button" class="back" aria-label="One step back">‹</button>
<button type="button" class="play">Play</button>
<button type="button" class="forward" aria-label="One step on">›</button>
<input type="range" class="scrub" min="0" aria-label="Moment of the animation"><span class="moment"></span>
</div></div>"""


@dataclass(frozen=True)
class Answer:
    """What a page shows for one state.

    figure   as `draw.to_json` gives it
    tiles    the numbers under it, three to five
    numbers  name -> number, for the criteria of the tour
    table    HTML under the numbers, "" for none
    click    click(x, y) -> the controls that a click at this place of the figure changes
    idle     names of the controls that have no effect at this state
    """

    figure: Mapping[str, Any]
    tiles: Sequence[Tile]
    numbers: Mapping[str, float]
    table: str = ""
    click: Callable[[float, float], State] | None = None
    idle: Sequence[str] = ()


@dataclass(frozen=True)
class Live:
    """Work of seconds that a visitor starts by a button.

    label  of the button
    start  start(values) -> the parts of a `live.Job`
    """

    label: str
    start: Callable[[State], Iterator[tuple[float, str]]]


@st.cache_resource
def _queue() -> Queue:
    """One queue for all visitors of this process."""
    return Queue()


@st.cache_resource
def _one_thread() -> None:
    """The networks of these pages are small and their visitors many: threads would wait for each other."""
    torch.set_num_threads(1)


@st.cache_resource
def _component() -> Callable[..., Any]:
    """The figure's component, told to Streamlit once per process."""
    script = (HERE / "lab.js").read_text(encoding="utf-8")
    return v2.component("vitrine_figure", html=FIGURE, js=script, isolate_styles=False)


@st.cache_resource
def _plotly() -> str:
    """Where this server offers Plotly's script: Streamlit serves the folder of a declared component."""
    component = v1.declare_component("plotly_script", path=str(Path(plotly.__file__).parent / "package_data"))
    return f"component/{component.name}/plotly.min.js"


class Visit:
    """One visitor on one page: the state, the tour, and what Streamlit keeps of them between two runs.

    values  the state: a control that is hidden has its value here, too
    """

    def __init__(self, card: Card) -> None:
        self.card = card
        self.kept = st.session_state.setdefault(f"lab {card.slug}", {})

    def arrive(self) -> None:
        """Take the state from the address, where that is what the visitor changed; write it there, where not.

        A visitor's move runs the script before the browser's address has followed, so an address counts only if
        nothing was moved: at first, and when the visitor goes back or edits it. Every writing is a new entry in the
        browser's history. If opening a page made one, Back would lead to the same page, which would write again.
        """
        query, kept = st.query_params.to_dict(), self.kept
        moved = kept.pop("moved", False)
        trusted = kept.pop("trusted", False) or moved
        if "values" not in kept or (not trusted and query != kept.get("written")):
            values, kept["notes"] = self.card.read_address(query)
            steps = Param("step", "whole", 1, "Tour step", "", low=1, high=len(self.card.tour))
            step, note = steps.clamp(query.get("step", 1))
            kept["notes"] += [note] if note else []
            kept |= {"values": values, "step": int(step) - 1, "chosen": None}
            kept["flags"] = {name: query[name] for name in FLAGS if name in query}
        if moved:
            kept["written"] = self.query()  # before the writing: Streamlit may end a run there
            if self.query() != query:
                st.query_params.from_dict(self.query())
        elif not trusted:
            kept["written"] = query

    @property
    def values(self) -> dict[str, Value]:
        return self.kept["values"]

    @property
    def step(self) -> int:
        return self.kept["step"]

    @property
    def hidden(self) -> set[str]:
        return set(self.kept["flags"].get("hide", "").split(","))

    @property
    def present(self) -> bool:
        return self.kept["flags"].get("present") == "1"

    def change(self, **changes: Value) -> None:
        """Move controls; what does not fit is clamped, and said."""
        self.kept["moved"], self.kept["notes"] = True, []
        for name, raw in changes.items():
            self.values[name], note = self.card.param(name).clamp(raw)
            self.kept["notes"] += [note] if note else []

    def take(self, name: str) -> None:
        """A widget was moved."""
        value = st.session_state[self.key(name)]
        # A click on the chosen one of side-by-side choices takes the choice away; it stays.
        self.change(**{name: self.values[name] if value is None else value})

    def clicked(self, click: Callable[[float, float], State]) -> None:
        """A place of the figure was clicked."""
        if place := st.session_state[self.key("figure")].clicked:
            self.change(**click(*place))

    def go_to(self, step: int) -> None:
        """Go to a step of the tour; its controls are set with the visitor's answer, since they show the true one."""
        self.kept |= {"step": min(max(step, 0), len(self.card.tour) - 1), "chosen": None, "moved": True}

    def choose(self, choice: int) -> None:
        """Answer the question of the step, from its state."""
        self.kept["chosen"] = choice
        self.change(**self.card.parse(self.card.tour[self.step].set))

    def reset(self) -> None:
        """Back to the opening state."""
        self.kept |= {"step": 0, "chosen": None}
        self.change(**self.card.defaults())

    def begin(self, live: Live) -> None:
        """Start a live run with the state of this moment; a second click in a hurry starts no other."""
        if "job" not in self.kept:
            self.kept["job"] = Job(live.start(dict(self.values)))

    def end(self, why: str) -> None:
        """End it, if it has not ended by itself meanwhile; what it reached stays on the page."""
        if job := self.kept.pop("job", None):
            _queue().leave(job)
            self.kept["reached"] = job.html + (markup.notes([why]) if why else "")

    def key(self, name: str) -> str:
        """What a widget of this page is called in Streamlit."""
        return f"{self.card.slug}-{name}"

    def query(self) -> dict[str, str]:
        """What restores this page."""
        step = {"step": str(self.step + 1)} if self.step else {}
        return self.card.address(self.values) | self.kept["flags"] | step


def show(
    card: Card,
    answer: Callable[[State], Answer],
    *,
    functions: Sequence[Callable[..., Any]] = (),
    live: Live | None = None,
) -> None:
    """Draw the page of a card.

    answer     the answer at a state; quick, and the same for all visitors
    functions  whose source is shown
    live       work of seconds that stands under the figure
    """
    st.set_page_config(page_title=f"{card.question} · Vitrine", layout="wide", initial_sidebar_state="collapsed")
    _one_thread()
    present = st.query_params.get("present") == "1"
    st.html(style(present=present))
    if not st.context.is_embedded:
        st.html(head(card))
    body(card, answer, live)
    if not st.context.is_embedded and not present:
        more(card, functions)


@contextmanager
def said() -> Iterator[None]:
    """A run that cannot be read is said in words; the rest of the page goes on."""
    try:
        yield
    except store.BadRun as error:
        st.html(markup.notes([str(error)], error=True))


@st.fragment
@said()
def body(card: Card, answer: Callable[[State], Answer], live: Live | None) -> None:
    """All that changes when a visitor moves something; the rest of the page is not sent again."""
    visit = Visit(card)
    visit.arrive()
    found = answer(visit.values)
    if visit.kept["notes"]:
        st.html(markup.notes(visit.kept["notes"]))
    with st.container(key="lab-columns"):
        wide, narrow = st.columns([3, 2], gap="medium")  # the figure first, as on a phone; lab.css puts it at the right
    with wide, st.container(key="lab-answer"):
        figure(visit, found)
        st.html(markup.tiles(card, found.tiles) + (f"<div class='scrolls'>{found.table}</div>" if found.table else ""))
        if live:
            running = "job" in visit.kept
            st.fragment(work, run_every=PAUSE_S if running else None)(visit, live, running=running)
        if "tour" not in visit.hidden:
            tour(visit)
    with narrow:
        controls(visit, found.idle)


@said()
def work(visit: Visit, live: Live, *, running: bool) -> None:
    """The button of a live run; while it runs, one slice of it, its progress, and a button that ends it.

    running  it ran when the page was drawn, and so this part is drawn anew by itself
    """
    if running and (job := visit.kept.get("job")):
        try:
            why = advance(_queue(), job)
        except Exception as error:
            ticket = uuid.uuid4().hex[:8]
            log.error("a live run failed: %s on %s", ticket, visit.card.slug, exc_info=error)
            why = f"Something broke here; what was reached is shown. The log has it as {ticket}."
        if why is not None:
            visit.end(why)
    job = visit.kept.get("job")
    if running != (job is not None):
        visit.kept["trusted"] = True  # the state counts, not the address that this part was asked with
        st.rerun()
    if job is None:
        st.button(live.label, key=visit.key("live"), on_click=visit.begin, args=(live,))
        st.html(visit.kept.get("reached", "<p></p>"))
        return
    st.progress(job.share, f"Waiting for your turn, number {job.ahead} in the queue." if job.ahead else "Training here")
    st.button("Cancel", key=visit.key("cancel"), on_click=visit.end, args=("Cancelled; what was reached is shown.",))
    st.html(job.html or "<p></p>")


def style(*, present: bool) -> str:
    """The tokens and rules of the page, in the theme that the visitor's browser shows."""
    dark = st.context.theme.type == "dark"
    tokens = "".join(f"--vitrine-{name}:{pair[dark]};" for name, pair in draw.TOKENS.items())
    larger = "html{font-size:140%;} header,.lab-head .claim{display:none;}" if present else ""
    rules = (HERE / "lab.css").read_text(encoding="utf-8")
    scheme = "dark" if dark else "light"
    return f"<style>:root{{color-scheme:{scheme};{tokens}--vitrine-area:{draw.PETROL};}}{rules}{larger}</style>"


def head(card: Card) -> str:
    """Family, question and claim."""
    return (
        f"<div class='lab-head'><p class='kicker'>{markup.escape(card.family)}</p>"
        f"<h1>{markup.escape(card.question)}</h1><p class='claim'>{markup.escape(card.claim)}</p></div>"
    )


def figure(visit: Visit, found: Answer) -> None:
    """The figure, updated in place."""
    click = found.click
    _component()(
        key=visit.key("figure"),
        data={"figure": found.figure, "plotly": _plotly(), "clickable": click is not None},
        on_clicked_change=lambda: visit.clicked(click) if click else None,
    )


def controls(visit: Visit, idle: Sequence[str]) -> None:
    """A widget per control of the card, the main ones first, the others folded."""
    shown = [param for param in visit.card.params if param.name not in visit.hidden]
    for param in shown:
        if param.main:
            widget(visit, param, disabled=param.name in idle)
    folded = [param for param in shown if not param.main]
    if folded and not visit.present:
        with st.expander("More controls"):
            for param in folded:
                widget(visit, param, disabled=param.name in idle)
    if "reset" not in visit.hidden:
        st.button("Reset", on_click=visit.reset, key=visit.key("reset"))


def widget(visit: Visit, param: Param, *, disabled: bool) -> None:
    """The widget of one control, which shows the visit's value."""
    key, value = visit.key(param.name), visit.values[param.name]
    # Only what the visitor did not move himself is set: a value that comes back late would undo his next move.
    if st.session_state.get(key) != value:
        st.session_state[key] = value
    label = f"{param.label}, {param.unit}" if param.unit else param.label
    told: dict[str, Any] = {
        "key": key,
        "help": param.help,
        "disabled": disabled,
        "on_change": visit.take,
        "args": (param.name,),
    }
    if param.kind == "choice" and len(param.choices) <= MENU:
        st.segmented_control(label, list(param.choices), format_func=param.choices.__getitem__, **told)
    elif param.kind == "choice":
        st.selectbox(label, list(param.choices), format_func=param.choices.__getitem__, **told)
    elif param.kind == "flag":
        st.toggle(label, **told)
    elif param.kind == "seed":
        st.number_input(label, 0, int(param.high), step=1, **told)
    elif param.kind == "whole":
        st.slider(label, int(param.low), int(param.high), step=int(param.step), **told)
    else:
        digits = max(0, -Decimal(str(param.step)).as_tuple().exponent)  # type: ignore[operator]
        st.slider(label, float(param.low), float(param.high), step=float(param.step), format=f"%.{digits}f", **told)


def tour(visit: Visit) -> None:
    """One step: the question with its choices, then what to watch and why."""
    chosen = visit.kept["chosen"]
    step = visit.card.tour[visit.step]
    with st.container(key="lab-tour"):
        st.html(f"<div class='tour'>{markup.tour(visit.card, visit.step, chosen)}</div>")
        with st.container(horizontal=True, gap="small"):
            if chosen is None:
                for index, choice in enumerate(step.choices):
                    st.button(choice, key=visit.key(f"choice-{index}"), on_click=visit.choose, args=(index,))
            elif step.then:
                st.button("Set it", key=visit.key("then"), on_click=visit.change, kwargs=dict(step.then))
            arrows = ("left", "right") if visit.present else (None, None)
            if visit.step > 0:
                st.button(
                    "Back", key=visit.key("back"), on_click=visit.go_to, args=(visit.step - 1,), shortcut=arrows[0]
                )
            if visit.step < len(visit.card.tour) - 1:
                st.button(
                    "Next", key=visit.key("next"), on_click=visit.go_to, args=(visit.step + 1,), shortcut=arrows[1]
                )


@said()
def more(card: Card, functions: Sequence[Callable[..., Any]]) -> None:
    """How it works, the source, the scores, and the worksheet."""
    works, code, measured, sheet = st.tabs(["How it works", "The code", "Scores and data", "Worksheet"])
    with works:
        st.markdown(card.idea)
        st.latex(card.formula)
        st.html(markup.symbols(card))
        st.html(markup.papers(card))
    with code:
        st.markdown("What the figure is drawn with, as it runs.")
        for function in functions:
            st.code(inspect.getsource(function), language="python")
    with measured:
        runs = {score.run: store.load(score.run) for score in card.scores}
        st.html(f"<div class='scrolls plain'>{markup.scores(card, runs)}</div>")
    with sheet:
        st.markdown("The questions of the tour to print, with the address of this page; apart from it, the answers.")
        visit, place = Visit(card), st.context.url or ""

        def printed(*, answers: bool) -> str:
            address = f"{place}?{urlencode(visit.query())}"  # as it is when the button is pressed
            return markup.worksheet(card, answers=answers).replace(markup.ADDRESS, markup.escape(address))

        for label, answers in (("Worksheet", False), ("Answers", True)):
            name, content = f"{card.slug}-{label.lower()}.html", partial(printed, answers=answers)
            st.download_button(label, content, name, "text/html", on_click="ignore")
