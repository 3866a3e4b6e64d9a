"""The figure of the page: the map with two walks, and their losses step by step."""

from functools import lru_cache
from html import escape

import numpy as np
from numpy.typing import NDArray

from core import draw, store
from core.draw import Figure
from core.topics.optimizers import method, surfaces
from core.topics.optimizers.card import NAMES, RUN
from core.topics.optimizers.surfaces import RATES, REACH

GRID = 60  # points of the map across
FRAMES = 50  # at most so many moments of the animation
FLOOR = 1e-8  # losses below are drawn there
CEILING = 1e6  # a walk that ends higher has left
RACE_RATES = RATES[::5]  # ten powers of ten
RACE_STARTS = np.stack(np.meshgrid(*[np.linspace(-0.9, 0.9, 7)] * 2), axis=-1).reshape(-1, 2)
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
LOOKS = ((draw.PETROL, "circle", "solid"), (draw.VERMILION, "diamond", "dot"))  # of A and of B
GREYS = [[0, "rgba(128,128,128,0.5)"], [1, "rgba(128,128,128,0)"]]


@lru_cache(maxsize=1)
def stored_cut() -> surfaces.Surface:
    """The cut through the loss of a real network, from the run that holds it."""
    losses = store.load(RUN).tensors("cut.safetensors")["losses"].double().numpy()
    return surfaces.cut(losses, REACH)


def surface(name: str) -> surfaces.Surface:
    """A landscape by its name in the card."""
    return stored_cut() if name == "digits" else surfaces.FORMULAS[name]


@lru_cache(maxsize=8)
def heights(name: str) -> tuple[list[float], list[float], list[list[float]]]:
    """The map of a landscape: x, y, and the power of ten of the height above its lowest place."""
    chosen = surface(name)
    (left, right), (bottom, top) = chosen.window
    x, y = np.linspace(left, right, GRID), np.linspace(bottom, top, GRID)
    loss, _ = chosen.slope(np.stack(np.meshgrid(x, y), axis=-1))
    above = loss - chosen.lowest
    return x.tolist(), y.tolist(), np.round(np.log10(above + 0.01 * np.median(above)), 3).tolist()


def rest(loss: float) -> str:
    """A loss as it is printed: two digits, or that it is too small to tell, or that the walk has left."""
    if loss >= CEILING:
        return "flew off"
    if loss < FLOOR:
        return "< 10⁻⁸"
    if loss >= 0.001:
        return f"{loss:.2g}" if loss < 100 else f"{loss:,.0f}"
    digits, power = f"{loss:.1e}".split("e")
    return f"{digits} · 10⁻{str(-int(power)).translate(RAISED)}"


def drawn(values: NDArray[np.float64], low: float, high: float) -> list[float]:
    """Numbers kept within what can be drawn; a walk that blew up stays at the edge."""
    return np.clip(np.nan_to_num(values, nan=high, posinf=high, neginf=low), low, high).tolist()


def race_figure(name: str, walks: tuple[method.Walk, method.Walk], labels: tuple[str, str], sentence: str) -> Figure:
    """The map with both walks at the left, their losses at the right; the animation moves four marks."""
    chosen = surface(name)
    figure = draw.figure(height=300, sentence=sentence)
    x, y, z = heights(name)
    figure.add_contour(
        x=x, y=y, z=z, colorscale=GREYS, showscale=False, ncontours=16, contours={"coloring": "heatmap"},
        hoverinfo="skip",
        line={"width": 0.6, "color": draw.MID_TEXT},
    )  # fmt: skip
    low_x, low_y = zip(*chosen.minima, strict=True)
    figure.add_scatter(
        x=low_x, y=low_y, mode="markers", showlegend=False,
        marker={"symbol": "x-thin", "size": 12, "line": {"width": 2.5, "color": draw.MID_TEXT}},
        hovertemplate="lowest place, x %{x:.2f}, y %{y:.2f}<extra></extra>",
    )  # fmt: skip
    steps = len(walks[0].losses) - 1
    (left, right), (bottom, top) = chosen.window
    margins = (right - left, top - bottom)
    places, curves = [], []
    for walk, label, (colour, symbol, dash) in zip(walks, labels, LOOKS, strict=True):
        places.append((
            drawn(walk.points[:, 0], left - 2 * margins[0], right + 2 * margins[0]),
            drawn(walk.points[:, 1], bottom - 2 * margins[1], top + 2 * margins[1]),
        ))  # fmt: skip
        curves.append(drawn(walk.losses, FLOOR, CEILING))
        figure.add_scatter(
            x=places[-1][0], y=places[-1][1], mode="lines+markers", name=label, showlegend=False,
            line={"width": 1.6, "color": colour, "dash": dash}, marker={"size": 4, "symbol": symbol},
            customdata=curves[-1],
            hovertemplate=f"{label}: x %{{x:.3f}}, y %{{y:.3f}}, loss %{{customdata:.3g}}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=list(range(steps + 1)), y=curves[-1], xaxis="x2", yaxis="y2", mode="lines", showlegend=False,
            line={"width": 1.8, "color": colour, "dash": dash},
            hovertemplate=f"{label}, step %{{x}}: loss %{{y:.3g}}<extra></extra>",
        )  # fmt: skip
    first_mark = len(figure.data)

    def marks(step: int) -> list[dict[str, list[float]]]:
        return [
            mark
            for (across, up), losses in zip(places, curves, strict=True)
            for mark in ({"x": [across[step]], "y": [up[step]]}, {"x": [float(step)], "y": [losses[step]]})
        ]

    for number, mark in enumerate(marks(steps)):
        colour, symbol, _ = LOOKS[number // 2]
        figure.add_scatter(
            **mark, mode="markers", name=labels[number // 2], showlegend=number % 2 == 0, hoverinfo="skip",
            marker={"size": 13, "symbol": symbol, "color": colour, "line": {"width": 1.5, "color": "#ffffff"}},
            **({"xaxis": "x2", "yaxis": "y2"} if number % 2 else {}),
        )  # fmt: skip
    shown = sorted({round(step) for step in np.linspace(0, steps, min(FRAMES, steps) + 1)})
    for step in shown:
        figure.add_frame(f"step {step}", range(first_mark, first_mark + 4), marks(step))
    start = walks[0].points[0]
    figure.add_annotation(x=start[0], y=start[1], text="start", showarrow=False, yshift=12, font={"size": 13})
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "itemclick": False, "itemdoubleclick": 0},
        margin={"t": 26},
        hovermode="closest",
        dragmode=False,
        xaxis={"range": [left, right], "domain": [0, 0.62], "showgrid": False, "title": {"text": "x"}},
        yaxis={"range": [bottom, top], "showgrid": False, "title": {"text": "y"}},
        xaxis2={
            "domain": [0.73, 1], "anchor": "y2", "range": [0, 1.06 * steps], "gridcolor": draw.GRID, "fixedrange": True,
            "tickfont": {"size": 13}, "title": {"text": "step", "font": {"size": 13}, "standoff": 6},
            "zeroline": False,
        },
        yaxis2={
            "type": "log", "anchor": "x2", "gridcolor": draw.GRID, "fixedrange": True, "exponentformat": "power",
            "tickfont": {"size": 13}, "title": {"text": "loss", "font": {"size": 13}, "standoff": 2}, "nticks": 6,
        },
        meta={
            "narrow": {
                "height": 460,
                "xaxis": {"domain": [0, 1]},
                "yaxis": {"domain": [0.42, 1]},
                "xaxis2": {"domain": [0, 1]},
                "yaxis2": {"domain": [0, 0.27], "nticks": 3},
            }
        },
    )  # fmt: skip
    return figure


@lru_cache(maxsize=32)
def race(name: str, steps: int, options: tuple[tuple[str, float | str], ...]) -> str:
    """Every method from 49 starts, each at the best of ten step sizes, as a table; the lowest median is marked.

    options  what `method.walk` takes beside method, slope, start, rate and steps
    """
    chosen = surface(name)
    starts = chosen.place(RACE_STARTS)
    goal = 0.01 * float(np.median(chosen.slope(starts)[0] - chosen.lowest))
    found = []
    for key in NAMES:
        walks = method.walk(
            key,
            chosen.slope,
            starts,
            rate=10.0 ** RACE_RATES[:, None],
            steps=steps,
            **dict(options),  # type: ignore[arg-type]
        )
        best = method.best_rate(walks.losses[-1])
        above = np.where(np.isfinite(walks.losses[-1][best]), walks.losses[-1][best], np.inf) - chosen.lowest
        found.append((float(np.median(above)), float(np.mean(above <= goal)), float(10.0 ** RACE_RATES[best]), key))
    lowest = min(found)[0]

    def name_of(key: str) -> str:
        return NAMES[key] + (", with decay 0 the same as Adam" if key == "adamw" and not dict(options)["decay"] else "")

    rows = "".join(
        f"<tr{' class=this' if median == lowest else ''}><th scope='row'>{escape(name_of(key))}"
        f"{', lowest' if median == lowest else ''}</th><td>{rate:.2g}</td><td>{rest(median)}</td>"
        f"<td>{100 * share:.0f} %</td></tr>"
        for median, share, rate, key in found
    )
    return (
        f"<table class='race'><caption>{len(RACE_STARTS)} starts, {steps} steps; each method at the best of "
        f"{len(RACE_RATES)} step sizes, the same for all its starts</caption><tr><th scope='col'>method</th>"
        f"<th scope='col'>step size</th><th scope='col'>median loss above the lowest</th>"
        f"<th scope='col'>starts that got below {goal:.2g}</th></tr>{rows}</table>"
    )
