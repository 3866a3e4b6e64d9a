"""The figure of the page: batch losses of one range test, and what twenty of them picked."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core import draw, store
from core.draw import Figure
from core.topics.lr_range_test import method
from core.topics.lr_range_test.card import RUN
from core.topics.lr_range_test.method import BATCHES, RATES

Array = NDArray[np.float64]
RULES = {"line": method.line_slopes, "ends": method.end_drops}
LOWEST, CEILING = 0.3, 20.0  # the axis of losses; what lies outside is not drawn


@dataclass(frozen=True)
class Stored:
    """What was measured once.

    losses  (batch sizes, repeats, rates, batches) of the range tests
    ends    (batch sizes, rates) held-out loss after full short trainings, mean of three seeds
    """

    losses: Array
    ends: Array

    def best(self, batch: int) -> float:
        """The rate whose short trainings ended lowest, for a batch size."""
        return float(RATES[self.ends[BATCHES.index(batch)].argmin()])


@lru_cache(maxsize=1)
def stored() -> Stored:
    """The measurements of the stored run."""
    found = store.load(RUN).tensors("trials.safetensors")
    return Stored(found["losses"].double().numpy(), found["ends"].double().mean(dim=2).numpy())


def test_figure(losses: Array, rule: str, picks: dict[str, Array], best: float, sentence: str) -> Figure:
    """One range test at the left; at the right where all twenty picked.

    losses  (rates, batches) of the test that is shown
    rule    "line" or "ends": whose choice is drawn into the losses
    picks   rule -> (repeats,) picked rates
    best    the best rate known
    """
    figure = draw.figure(height=320, sentence=sentence)
    winner = int(method.picked(RULES[rule](losses)))
    steps = np.arange(losses.shape[1])
    shown = sorted({*range(0, len(RATES), 4), winner})
    for place in shown:
        mine = place == winner
        figure.add_scatter(
            x=steps.tolist(), y=kept(losses[place]), mode="lines+markers" if mine else "lines",
            line={"width": 1.5 if mine else 1, "color": draw.VERMILION if mine else draw.MID_TEXT},
            marker={"size": 5}, opacity=1 if mine else 0.55,
            hovertemplate=f"rate {RATES[place]:.2g}, batch %{{x}}: loss %{{y:.2f}}<extra></extra>",
        )  # fmt: skip
    mine = losses[winner]
    # What the rule sees: a straight line, which a logarithmic axis bends.
    slope = float(method.line_slopes(mine)) if rule == "line" else float(mine[-1] - mine[0]) / steps[-1]
    height = mine.mean() if rule == "line" else (mine[0] + mine[-1]) / 2
    figure.add_scatter(
        x=steps.tolist(), y=kept(height + slope * (steps - steps.mean())), mode="lines", hoverinfo="skip",
        line={"width": 3, "color": draw.PETROL, "dash": "dash"},
    )  # fmt: skip
    edges = np.log10(RATES)
    for row, (name, colour, symbol) in enumerate(
        (("line", draw.PETROL, "circle"), ("ends", draw.VERMILION, "diamond"))
    ):
        rates, counts = np.unique(picks[name], return_counts=True)
        figure.add_scatter(
            x=np.repeat(rates, counts).tolist(),
            y=[row + 0.07 + 0.045 * number for count in counts for number in range(count)],
            xaxis="x2", yaxis="y2", mode="markers", marker={"size": 7, "color": colour, "symbol": symbol},
            hovertemplate="picked %{x:.2g}<extra></extra>",
        )  # fmt: skip
    figure.add_shape(
        type="rect", xref="x2", yref="y2", x0=best / 2, x1=best * 2, y0=0, y1=2, line={"width": 0},
        fillcolor="rgba(128,128,128,0.22)", layer="below",
    )  # fmt: skip
    figure.update_layout(
        xaxis={
            "domain": [0, 0.47],
            "title": {"text": "batch; orange: the picked rate, dashed: its fall", "font": {"size": 13}},
        },
        yaxis={
            "title": {"text": "batch loss"}, "type": "log", "range": np.log10([LOWEST, CEILING]).tolist(),
            "tickvals": [0.5, 1, 2, 5, 10, 20],
        },
        xaxis2={
            "type": "log", "domain": [0.6, 1], "anchor": "y2", "range": [float(edges[0]) - 0.1, float(edges[-1]) + 0.1],
            "title": {"text": "picked rate; grey: within 2 × of the best", "font": {"size": 13}, "standoff": 6},
            "tickfont": {"size": 13}, "gridcolor": draw.GRID, "fixedrange": True, "exponentformat": "power", "dtick": 1,
        },
        yaxis2={
            "anchor": "x2", "range": [0, 2], "tickvals": [0.5, 1.5], "ticktext": ["line", "ends"], "fixedrange": True,
            "tickfont": {"size": 13}, "showgrid": False, "zeroline": False,
        },
        meta={
            "narrow": {
                "height": 470,
                "xaxis": {"domain": [0, 1]},
                "yaxis": {"domain": [0.56, 1]},
                "xaxis2": {"domain": [0, 1]},
                "yaxis2": {"domain": [0, 0.38]},
            }
        },
    )  # fmt: skip
    return figure


def kept(losses: Array) -> list[float | None]:
    """Losses as they can be drawn: nothing where they blew up."""
    return [float(loss) if LOWEST < loss < CEILING else None for loss in losses]


def live_table(told: str, rates: Array, losses: Array) -> str:
    """What a live run picked so far, by both rules.

    told    what was run
    rates   (tried,); losses (tried, batches)
    """
    lines, ends = method.line_slopes(losses), method.end_drops(losses)
    rows = "".join(
        f"<tr><th scope='row'>{label}</th><td>{rates[int(falls.argmin())]:.3g}</td></tr>"
        for label, falls in (("line through all batches", lines), ("first against last batch", ends))
    )
    return f"<table class='race'><caption>{told}</caption>{rows}</table>"
