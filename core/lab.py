"""The frame of a concept page in Streamlit: question, figure, controls, tour, formula, source, worksheet.

    lab.show(CARD, answer, functions=[method.adam])

draws a whole page from a card and one function from a state to an Answer. A run of the script
is one answer: the state is kept per visitor, stands in the address, and every widget is made from
it. The figure is a component of our own (lab.js), since Streamlit's chart is built anew with every
change and flickers.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import plotly
import streamlit as st
from streamlit.components import v1, v2

from core import draw, markup
from core.card import Card, Param, Value
from core.markup import Tile

HERE = Path(__file__).resolve().parent
FLAGS = ("hide", "present")  # keys of the address that are no controls; `embed=true` is Streamlit's own
MENU = 4  # so many choices stand side by side; more of them become a menu
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
    """

    figure: Mapping[str, Any]
    tiles: Sequence[Tile]
    numbers: Mapping[str, float]
    table: str = ""
    click: Callable[[float, float], State] | None = None
    idle: Sequence[str] = field(default_factory=tuple)


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
        self.store = st.session_state.setdefault(f"lab {card.slug}", {})
        query = st.query_params.to_dict()
        # A visitor's move runs the script before the browser's address has followed, so an address counts
        # only if nothing was moved: at first, and when the visitor goes back or edits it.
        self.moved = self.store.pop("moved", False)
        if "values" not in self.store or (not self.moved and query != self.store.get("written")):
            values, self.store["notes"] = card.read_address(query)
            steps = Param("step", "whole", 1, "Tour step", "", low=1, high=len(card.tour))
            step, note = steps.clamp(query.get("step", 1))
            self.store["notes"] += [note] if note else []
            self.store |= {"values": values, "step": int(step) - 1, "chosen": None}
            self.store["flags"] = {name: query[name] for name in FLAGS if name in query}
            if "step" in query:
                self.store["values"] = card.parse(card.tour[self.step].set)

    @property
    def values(self) -> dict[str, Value]:
        return self.store["values"]

    @property
    def step(self) -> int:
        return self.store["step"]

    @property
    def hidden(self) -> set[str]:
        return set(self.store["flags"].get("hide", "").split(","))

    @property
    def present(self) -> bool:
        return self.store["flags"].get("present") == "1"

    def change(self, **changes: Value) -> None:
        """Move controls; what does not fit is clamped, and said."""
        self.store["moved"], self.store["notes"] = True, []
        for name, raw in changes.items():
            self.values[name], note = self.card.param(name).clamp(raw)
            self.store["notes"] += [note] if note else []

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
        """Go to a step of the tour and set its controls."""
        self.store |= {"step": min(max(step, 0), len(self.card.tour) - 1), "chosen": None}
        self.change(**self.card.parse(self.card.tour[self.step].set))

    def choose(self, choice: int) -> None:
        """Answer the question of the step, from its state."""
        self.store["chosen"] = choice
        self.change(**self.card.parse(self.card.tour[self.step].set))

    def reset(self) -> None:
        """Back to the opening state."""
        self.store |= {"step": 0, "chosen": None}
        self.change(**self.card.defaults())

    def key(self, name: str) -> str:
        """What a widget of this page is called in Streamlit."""
        return f"{self.card.slug}-{name}"

    def write_address(self) -> str:
        """Put the state into the browser's address once the visitor has moved something; returns the query.

        Every writing is a new entry in the browser's history. If opening a page made one, Back would lead to the
        same page, which would write again.
        """
        query, found = self.card.address(self.values) | self.store["flags"], st.query_params.to_dict()
        self.store["written"] = query if self.moved else found  # before the writing: Streamlit may end a run there
        if self.moved and query != found:
            st.query_params.from_dict(query)
        return urlencode(query)


def show(
    card: Card,
    answer: Callable[[State], Answer],
    *,
    functions: Sequence[Callable[..., Any]] = (),
    below: Callable[[State], None] | None = None,
) -> None:
    """Draw the page of a card.

    answer     the answer at a state; quick, and the same for all visitors
    functions  whose source is shown
    below      what the page itself puts under the figure, such as a live run
    """
    st.set_page_config(page_title=f"{card.question} · Vitrine", layout="wide", initial_sidebar_state="collapsed")
    visit = Visit(card)
    query = visit.write_address()
    found = answer(visit.values)
    st.html(style(present=visit.present))
    if not st.context.is_embedded:
        st.html(head(card))
    if visit.store["notes"]:
        st.html(markup.notes(visit.store["notes"]))
    with st.container(key="lab-columns"):
        right, left = st.columns([3, 2], gap="medium")
    with right, st.container(key="lab-answer"):
        figure(visit, found)
        st.html(markup.tiles(card, found.tiles) + (f"<div class='scrolls'>{found.table}</div>" if found.table else ""))
        if below:
            below(visit.values)
        if "tour" not in visit.hidden:
            tour(visit)
    with left:
        controls(visit, found.idle)
    if not st.context.is_embedded and not visit.present:
        more(card, functions, f"{st.context.url or ''}?{query}")


def style(*, present: bool) -> str:
    """The tokens and rules of the page, in the theme that the visitor's browser shows."""
    dark = (
        "<style>:root{color-scheme:dark;}" if st.context.theme.type == "dark" else "<style>:root{color-scheme:light;}"
    )
    place = 1 if st.context.theme.type == "dark" else 0
    tokens = "".join(f"--vitrine-{name}:{pair[place]};" for name, pair in draw.TOKENS.items())
    larger = "html{font-size:140%;} header,.lab-head .claim{display:none;}" if present else ""
    rules = (HERE / "lab.css").read_text(encoding="utf-8")
    return f"{dark}:root{{{tokens}--vitrine-area:{draw.PETROL};}}{rules}{larger}</style>"


def head(card: Card) -> str:
    """Family, question and claim."""
    return (
        f"<div class='lab-head'><p class='kicker'>{card.family}</p><h1>{card.question}</h1>"
        f"<p class='claim'>{card.claim}</p></div>"
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
        st.slider(label, float(param.low), float(param.high), step=float(param.step), **told)


def tour(visit: Visit) -> None:
    """One step: the question with its choices, then what to watch and why."""
    chosen = visit.store["chosen"]
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


def more(card: Card, functions: Sequence[Callable[..., Any]], address: str) -> None:
    """How it works, the source, and the worksheet."""
    works, code, sheet = st.tabs(["How it works", "The code", "Worksheet"])
    with works:
        st.markdown(card.idea)
        st.latex(card.formula)
        st.html(markup.symbols(card))
        st.html(markup.papers(card))
        limits = "".join(f"<li>{markup.escape(limit)}</li>" for limit in card.limits)
        st.html(f"<h3>Where it is weak</h3><ul>{limits}</ul>")
    with code:
        st.markdown("What the figure is drawn with, as it runs.")
        for function in functions:
            st.code(inspect.getsource(function), language="python")
    with sheet:
        st.markdown("The questions of the tour to print, with the address of this page; apart from it, the answers.")
        for label, answers in (("Worksheet", False), ("Answers", True)):
            page = markup.worksheet(card, answers=answers).replace(markup.ADDRESS, markup.escape(address))
            st.download_button(label, page, f"{card.slug}-{label.lower()}.html", "text/html", on_click="ignore")
