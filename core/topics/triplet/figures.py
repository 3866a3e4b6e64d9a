"""The figures of the page: the map with its lines, distances from one leaf, a map that learns, the fold table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core import draw
from core.draw import Figure
from core.topics.triplet import asking, live
from core.topics.triplet.asking import Worst

# A ninth group is one that was not learnt: a visitor's own class, or a disease of another survey.
GLYPHS = ("●○", "■□", "◆◇", "✚✛", "✖✕", "▲△", "▼▽", "★☆", "✹✹")  # of a dot and of a ring, on maps that learn
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star", "hexagram")
COLOURS = (*draw.CATEGORIES, draw.VERMILION)
KEYS, KEYS_NARROW = 6, 3  # names of colours in a row below the map, and on a phone
KEY_GAP = "\u2003"  # wider than a space, which a browser would merge with the next
LINES = {"positive": (draw.PETROL, "solid"), "negative": (draw.VERMILION, "dash")}
ROWS = {"own": 1.0, "other": 0.0}  # heights of the two rows of distances


@dataclass(frozen=True)
class Leaf:
    """A leaf as the map shows it.

    number  its place on the sheet of all leaves; -1 for a picture that is not on it
    name    what it shows, "curl virus"
    group   of the colour that was asked for
    ring    held out, so that it counts
    """

    number: int
    name: str
    group: int
    ring: bool


def leaf_map(
    leaves: Sequence[Leaf],
    points: Tensor,
    groups: Sequence[str],
    *,
    anchor: Tensor,
    number: int,
    title: str,
    lines: Mapping[str, Sequence[int]],
    distances: Mapping[str, tuple[Tensor, Tensor]],
    rows: tuple[str, str],
    triplet: Worst | None,
    margin: float,
    focus: Tensor,
    sprite: Mapping[str, object],
    sentence: str,
) -> Figure:
    """All leaves in the plane, and beside it what the loss knows: distances from one of them.

    points     (N, 2) of `leaves`; anchor (2,) of the one that is asked about, called `title`; its number as Leaf's
    groups     names of the colours, in the order of Leaf.group
    lines      "positive" and "negative" -> places of leaves to which lines run from the anchor
    distances  "own" and "other" -> (distances, places of leaves) of the batch
    rows       what the two are called
    triplet    the one that is marked, with its margin
    focus      (N,) bool: those that are not dimmed; the axes fit them
    sprite     where the thumbnails are, for page.js
    """
    figure = draw.figure(height=302, sentence=sentence)
    _add_leaves(figure, leaves, points, groups, focus)
    for kind, ends in lines.items():
        colour, dash = LINES[kind]
        for place in ends:
            figure.add_scatter(
                mode="lines",
                x=[float(anchor[0]), float(points[place, 0])],
                y=[float(anchor[1]), float(points[place, 1])],
                line={"color": colour, "width": 2.5, "dash": dash},
                hoverinfo="skip",
            )
    figure.add_scatter(
        mode="markers",
        x=[float(anchor[0])],
        y=[float(anchor[1])],
        marker={"symbol": "star", "size": 17, "color": draw.VERMILION, "line": {"width": 1, "color": "#ffffff"}},
        hovertext=[escape(title)],
        hoverinfo="text",
        customdata=[[number]],
    )
    _add_distances(figure, distances, triplet, margin=margin)
    used = {group: groups[group] for group in sorted({leaf.group for leaf in leaves})}
    _lay_out(figure, torch.cat([points[focus], anchor[None]]), rows, used, sprite)
    return figure


def _add_leaves(figure: Figure, leaves: Sequence[Leaf], points: Tensor, groups: Sequence[str], focus: Tensor) -> None:
    """A mark for each leaf, filled or hollow, with its group's colour and shape."""
    faint = not bool(focus.all())
    for group, name in enumerate(groups):
        for ring in (False, True):
            own = [place for place, leaf in enumerate(leaves) if leaf.group == group and leaf.ring == ring]
            if not own:
                continue
            symbol = SYMBOLS[group]
            figure.add_scatter(
                mode="markers",
                x=points[own, 0].numpy(),
                y=points[own, 1].numpy(),
                marker={
                    "symbol": f"{symbol}-open" if ring else symbol,
                    "size": 9 if ring else 6,
                    "color": COLOURS[group],
                    "line": {"width": 1.8 if ring else 0},
                    "opacity": [1.0 if focus[place] else 0.12 for place in own] if faint else 0.9,
                },
                customdata=[[leaves[place].number] for place in own],
                hovertext=[escape(leaves[place].name) + (", held out" if ring else "") for place in own],
                hoverinfo="text",
                name=escape(name),
            )


def _lay_out(
    figure: Figure, shown: Tensor, rows: tuple[str, str], groups: Mapping[int, str], sprite: Mapping[str, object]
) -> None:
    """Map at the left, distances at the right, what the colours stand for below; on a phone one below the other.

    shown   (N, 2) places that the map's axes fit
    groups  of leaves on the map -> what they are called
    """
    low, high = shown.amin(dim=0), shown.amax(dim=0)
    middle, reach = (low + high) / 2, 0.54 * (high - low).clamp_min(1e-3)
    plain = {"showgrid": False, "showticklabels": False, "title": {"text": ""}}
    beside = {
        "anchor": "y2",
        "side": "top",
        "domain": [0.72, 1],
        "rangemode": "tozero",
        "nticks": 5,
        "title": {"text": "distance from it", "standoff": 2},
    }
    heights = {
        "anchor": "x2",
        "tickvals": list(ROWS.values()),
        "ticktext": list(rows),
        "range": [-0.75, 1.75],
        "showgrid": False,
    }
    words = figure.layout.get("annotations", [])
    figure.update_layout(
        xaxis={**plain, "range": [float(middle[0] - reach[0]), float(middle[0] + reach[0])], "domain": [0, 0.6]},
        yaxis={**plain, "range": [float(middle[1] - reach[1]), float(middle[1] + reach[1])]},
        xaxis2=beside,
        yaxis2={**heights, "domain": [0, 0.82]},
        margin={"l": 4, "t": 4, "b": 52},
        annotations=[*words, _key_below(groups, y=0, in_row=KEYS)],
        meta={
            "sprite": dict(sprite),
            "narrow": {
                "height": 600,
                "xaxis": {"domain": [0, 1]},
                "yaxis": {"domain": [0.46, 1]},
                "xaxis2": {"domain": [0.2, 1]},
                "yaxis2": {"domain": [0.15, 0.37]},
                "annotations": [*words, _key_below(groups, y=0.11, in_row=KEYS_NARROW)],
            },
        },
    )


def _entry(group: int, name: str) -> str:
    """A colour's mark and name, as both HTML and Plotly take it."""
    return f'<span style="color:{COLOURS[group]}">{GLYPHS[group][0]}</span> {escape(name)}'


def _key_below(groups: Mapping[int, str], *, y: float, in_row: int) -> dict[str, Any]:
    """What the colours stand for as one text: Plotly's own legend takes a third of the time of drawing."""
    entries = [_entry(group, name) for group, name in groups.items()]
    rows = [KEY_GAP.join(entries[first : first + in_row]) for first in range(0, len(entries), in_row)]
    return {
        "text": "<br>".join(rows),
        "align": "left",
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": y,
        "xanchor": "left",
        "yanchor": "top",
    }


def _add_distances(
    figure: Figure,
    distances: Mapping[str, tuple[Tensor, Tensor]],
    triplet: Worst | None,
    *,
    margin: float,
) -> None:
    """Two rows of dots, one for each leaf of the batch: how far from the anchor, and which two the loss takes."""
    for row, (apart, places) in distances.items():
        # Dots of a row are spread in height, each always by the same amount, so that they can be told apart.
        spread = (places.double() * 0.618034 % 1 - 0.5) * 0.7
        figure.add_scatter(
            mode="markers",
            xaxis="x2",
            yaxis="y2",
            x=apart.numpy(),
            y=(ROWS[row] + spread).numpy(),
            marker={"size": 5, "color": draw.PETROL if row == "own" else draw.MID_TEXT, "opacity": 0.65},
            customdata=[[place] for place in places.tolist()],
            hovertemplate="%{x:.3g}<extra></extra>",
        )
    if not triplet:
        return
    figure.add_shape(
        type="rect", xref="x2", yref="y2 domain", x0=triplet.near, x1=triplet.near + margin, y0=0, y1=1,
        fillcolor="rgba(43,130,134,0.16)", line={"width": 0}, layer="below",
    )  # fmt: skip
    figure.add_annotation(
        xref="x2", yref="y2 domain", x=triplet.near + margin / 2, y=0, yanchor="bottom", text="margin", showarrow=False
    )
    for row, kind, value in (("own", "positive", triplet.near), ("other", "negative", triplet.far)):
        figure.add_scatter(
            mode="markers",
            xaxis="x2",
            yaxis="y2",
            x=[value],
            y=[ROWS[row]],
            marker={"symbol": "diamond", "size": 13, "color": LINES[kind][0], "line": {"width": 1, "color": "#ffffff"}},
            hovertext=[f"its {kind}, at {value:.3g}"],
            hoverinfo="text",
        )


def extent(points: Tensor) -> float:
    """The longer side of the box that holds these points, (N, 2)."""
    return float((points.amax(dim=0) - points.amin(dim=0)).max())


def learning_map(points: Tensor, groups: Tensor, rings: Tensor, caption: str, *, reach: float) -> str:
    """One moment of a map that learns, as HTML that is quick to make and to draw; colours and shapes as on the map.

    points  (N, 2); groups (N,) numbers of colours; rings (N,) bool: held out
    reach   the side of the part of the plane that is shown, around the middle of the points
    """
    middle = (points.amin(dim=0) + points.amax(dim=0)) / 2
    places = (94 * (points - middle) / reach + 50).tolist()
    dots = "".join(
        f'<text x="{x:.1f}" y="{100 - y:.1f}" fill="{COLOURS[group]}">{GLYPHS[group][ring]}</text>'
        for (x, y), group, ring in zip(places, groups.tolist(), rings.long().tolist(), strict=True)
    )
    return (
        f'<figure><svg viewBox="0 0 100 100" role="img" aria-label="{escape(caption)}" font-size="4" '
        f'text-anchor="middle" dominant-baseline="central">{dots}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def loss_curve(curve: Sequence[tuple[int, float]], *, margin: float, last: int, top: float) -> str:
    """How the loss came down, or stopped at the margin, as HTML.

    curve  steps and losses so far; last, the step at which it will end
    top    the loss at the upper edge
    """
    step, loss = curve[-1]
    line = " ".join(f"{100 * at / last:.1f},{60 - 60 * min(value / top, 1):.1f}" for at, value in curve)
    height = 60 - 60 * margin / top
    return (
        f'<figure><svg viewBox="-2 -2 104 64" role="img" aria-label="loss {loss:.3f} after {step} steps">'
        f'<line x1="0" x2="100" y1="{height:.1f}" y2="{height:.1f}" stroke="{draw.VERMILION}" stroke-dasharray="3 2"/>'
        f'<text x="100" y="{height - 2:.1f}" text-anchor="end" font-size="5" fill="currentColor">margin</text>'
        f'<line x1="0" x2="100" y1="60" y2="60" stroke="{draw.MID_TEXT}" stroke-width=".5"/>'
        f'<polyline points="{line}" fill="none" stroke="{draw.PETROL}" stroke-width="1.6"/></svg>'
        f"<figcaption>loss {loss:.3f} after {step} of {last} steps</figcaption></figure>"
    )


def key(names: Sequence[str]) -> str:
    """What colours and shapes stand for, as HTML."""
    return (
        "<p class='keys'>"
        + "".join(f"<span class='key'>{_entry(place, name)}</span>" for place, name in enumerate(names))
        + "</p>"
    )


def learning_maps(
    features: Tensor,
    labels: Tensor,
    rings: Tensor,
    settings: Sequence[Mapping[str, Any]],
    titles: Sequence[str],
    names: Sequence[str],
) -> Iterator[tuple[str, live.Moment]]:
    """Maps that learn in turn, each from its own settings, on one scale, with their losses.

    features, labels, rings  of all leaves, see `live.training`; those that are no rings train
    settings                 options of `live.training`; titles, one for each; names of the classes
    yields                   HTML of them all, and the moment that is new in it
    """
    begun = [live.training(features, labels, ~rings, **options) for options in settings]
    curves: list[list[tuple[int, float]]] = [[] for _ in settings]
    latest: list[live.Moment | None] = [None for _ in settings]
    widest = 0.0  # at the start: a map that shrinks is seen to do so
    under_way = list(range(len(settings)))
    while under_way:
        for place in list(under_way):
            moment = next(begun[place], None)
            if moment is None:
                under_way.remove(place)
                continue
            curves[place].append((moment.step, moment.loss))
            latest[place] = moment
            if moment.step == 0:
                widest = max(widest, extent(moment.points))
            reach = max(widest, *(extent(other.points) for other in latest if other))
            top = max(1.6 * settings[0]["margin"], *(1.05 * loss for curve in curves for _, loss in curve))
            drawn = [
                learning_map(shown.points, labels, rings, _described(title, shown, labels, rings), reach=reach)
                + loss_curve(curve, margin=options["margin"], last=options["steps"], top=top)
                for shown, curve, options, title in zip(latest, curves, settings, titles, strict=True)
                if shown
            ]
            yield f"{key(names)}<div class='photos four'>{''.join(drawn)}</div>", moment


def _described(title: str, moment: live.Moment, labels: Tensor, rings: Tensor) -> str:
    """A moment of a map that learns, in words."""
    recall = asking.scores(moment.points, labels, rings, kind="euclidean")["recall"]
    return f"{title}: recall@1 {recall:.0%}, mean distance {moment.distance:.3g}"


def recalls(names: Sequence[str], scores: Sequence[Mapping[str, float]]) -> Figure:
    """Recall@1 of each way to measure closeness, with its spread over folds."""
    means = 100 * np.array([score["mean"] for score in scores])
    spreads = 100 * np.array([score["spread"] for score in scores])
    best = int(means.argmax())
    figure = draw.figure(
        height=60 + 30 * len(names),
        sentence="Recall@1: " + ", ".join(f"{name} {mean:.0f} %" for name, mean in zip(names, means, strict=True)),
    )
    figure.add_bar(
        x=means,
        y=list(names),
        orientation="h",
        marker={"color": [draw.VERMILION if place == best else draw.PETROL for place in range(len(names))]},
        error_x={"type": "data", "array": spreads, "color": draw.MID_TEXT},
        hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
    )
    figure.update_layout(
        xaxis={"range": [0, 100], "title": {"text": "nearest leaf has the same disease (%), mean and spread of folds"}},
        yaxis={"autorange": "reversed", "showgrid": False},
        margin={"l": 220},
        bargap=0.35,
    )
    return figure
