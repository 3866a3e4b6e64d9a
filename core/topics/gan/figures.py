"""The figures of the page: a sheet and the chosen picture, a walk, distances, a training, players in the plane."""

import base64
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from core import draw
from core.draw import Figure
from core.topics.gan import toy

ROW = 8  # pictures in a row of a sheet
HEIGHT = 330  # of a figure, in pixels
LARGE = 192  # side of an enlarged picture, in pixels
STRIP = 9  # pictures along a walk
TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]  # of a logarithmic axis, each in full
REAL_COLOUR = "#3b3f46"  # real points, on a field that is light in dark mode, too
BLANK = {"visible": False, "showgrid": False}


def joined(pictures: Tensor, columns: int) -> np.ndarray:
    """Pictures (N, C, H, W) in [0, 1] as one, rows of `columns`, (H', W', 3) uint8."""
    rows = [torch.cat(list(row), dim=2) for row in pictures.split(columns)]
    whole = torch.cat(rows, dim=1).expand(3, -1, -1)
    return (whole.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def enlarged(picture: Tensor) -> str:
    """Data URL of one picture (C, H, W), its pixels visible."""
    times = max(1, LARGE // picture.shape[-1])
    return draw.jpeg_url(joined(picture[None], columns=1).repeat(times, axis=0).repeat(times, axis=1))


def jpeg_url(jpeg: bytes) -> str:
    """Data URL of a JPEG."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _put(
    figure: Figure, url: str, *, x: float, y: float, side: float, axis: str = "", high: float | None = None
) -> None:
    """A picture with its upper left corner at (x, y) of the axes, `side` wide."""
    figure.add_layout_image(
        source=url, xref=f"x{axis}", yref=f"y{axis}", x=x, y=y, sizex=side, sizey=high or side, sizing="stretch",
        layer="below",
    )  # fmt: skip


def _pair(figure: Figure, shown: Sequence[tuple[str, str]], *, axis: str = "2") -> None:
    """Pictures side by side from the corner of the axes on, (data URL, words below) each."""
    for place, (url, words) in enumerate(shown):
        _put(figure, url, x=1.1 * place, y=0, side=1, axis=axis)
        figure.add_annotation(
            text=words, xref=f"x{axis}", yref=f"y{axis}", x=1.1 * place + 0.5, y=1.03, xanchor="center", yanchor="top",
            showarrow=False,
        )  # fmt: skip


def sheet(
    url: str,
    order: Sequence[int],
    said: Sequence[str],
    chosen: int,
    shown: Sequence[tuple[str, str]],
    *,
    sentence: str,
) -> Figure:
    """A sheet of 64 at the left, and at the right the chosen picture, as drawn and as changed.

    url     of the whole sheet, pictures in this `order` of their numbers
    said    of each place of the sheet, in its order, for whoever points at it
    chosen  number of the picture with a frame
    shown   (data URL, words) of one or two pictures
    """
    figure = draw.figure(height=HEIGHT, sentence=sentence)
    _put(figure, url, x=0, y=0, side=ROW)
    figure.add_scatter(
        mode="markers",
        x=[place % ROW + 0.5 for place in range(len(order))],
        y=[place // ROW + 0.5 for place in range(len(order))],
        marker={"symbol": "square", "size": 34, "color": "rgba(0,0,0,0)"},
        customdata=[[number] for number in order],
        hovertext=list(said),
        hoverinfo="text",
    )
    row, column = divmod(list(order).index(chosen), ROW)
    figure.add_shape(
        type="rect", x0=column, x1=column + 1, y0=row, y1=row + 1, line={"color": draw.VERMILION, "width": 3}
    )
    _beside(figure, shown)
    return figure


def _beside(figure: Figure, shown: Sequence[tuple[str, str]]) -> None:
    """One or two large pictures at the right of a square; on a phone below it."""
    _pair(figure, shown)
    figure.update_layout(
        margin={"l": 4, "r": 4, "t": 6, "b": 4},
        xaxis={**BLANK, "range": [0, ROW], "domain": [0, 0.46], "constrain": "domain", "constraintoward": "left"},
        yaxis={**BLANK, "range": [ROW, 0], "scaleanchor": "x", "constrain": "domain", "constraintoward": "top"},
        xaxis2={**BLANK, "range": [0, 2.1], "domain": [0.5, 1], "anchor": "y2", "constrain": "domain"},
        yaxis2={**BLANK, "range": [1.22, -0.02], "anchor": "x2", "scaleanchor": "x2", "constrain": "domain"},
        meta={
            "narrow": {
                "height": 590,
                "xaxis": {"domain": [0, 1]},
                "yaxis": {"domain": [0.38, 1]},
                "xaxis2": {"domain": [0, 1]},
                "yaxis2": {"domain": [0, 0.36]},
            }
        },
    )


def walk(strip: Tensor, here: str, mixture: str, position: float, stops: Sequence[float], *, sentence: str) -> Figure:
    """Pictures along a walk above, and below where one is on it, beside the two ends laid over each other.

    strip    (STRIP, C, H, W); stops are their places from 0 to 1 where a chosen picture lies
    """
    figure = draw.figure(height=HEIGHT, sentence=sentence)
    _put(figure, draw.jpeg_url(joined(strip, STRIP)), x=0, y=0, side=STRIP, high=1)
    at = 0.5 + position * (STRIP - 1)
    figure.add_scatter(
        mode="markers", x=[at], y=[1.12], marker={"symbol": "triangle-up", "size": 13, "color": draw.VERMILION},
        hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        mode="markers", x=[0.5 + stop * (STRIP - 1) for stop in stops], y=[1.12] * len(stops), hoverinfo="skip",
        marker={"symbol": "circle", "size": 7, "color": draw.PETROL},
    )  # fmt: skip
    _pair(figure, ((here, "here on the walk"), (mixture, "the ends laid over each other")))
    figure.update_layout(
        margin={"l": 4, "r": 4, "t": 6, "b": 4},
        xaxis={**BLANK, "range": [0, STRIP], "domain": [0, 1]},
        yaxis={**BLANK, "range": [1.3, 0], "domain": [0.7, 1]},
        xaxis2={**BLANK, "range": [0, 2.1], "domain": [0.15, 0.85], "anchor": "y2", "constrain": "domain"},
        yaxis2={**BLANK, "range": [1.2, 0], "domain": [0, 0.68], "anchor": "x2", "scaleanchor": "x2",
                "constrain": "domain"},
        meta={
            "narrow": {
                "height": 290,
                "yaxis": {"domain": [0.8, 1]},
                "xaxis2": {"domain": [0, 1]},
                "yaxis2": {"domain": [0, 0.76]},
            }
        },
    )  # fmt: skip
    return figure


def copies(
    forged: Tensor, held_out: Tensor, own: float | None, neighbours: Sequence[tuple[str, str]], *, sentence: str
) -> Figure:
    """Two histograms of distances to the nearest training picture, the chosen one's marked.

    forged, held_out  (N,) distances as multiples of the median of the latter
    own               of the chosen picture
    neighbours        (data URL, words) of the chosen picture, and of training pictures where the data is at hand
    """
    figure = draw.figure(height=HEIGHT, sentence=sentence)
    top = float(torch.cat([forged, held_out, torch.tensor([own or 0.0])]).max())
    edges = torch.linspace(0, top, 41)
    middles = ((edges[1:] + edges[:-1]) / 2).numpy()

    def shares(values: Tensor) -> np.ndarray:
        return (100 * torch.histogram(values, edges).hist / len(values)).numpy()

    figure.add_bar(
        x=middles, y=shares(forged), marker={"color": draw.PETROL, "opacity": 0.65}, width=float(edges[1]),
        hovertemplate="its own: %{y:.1f} % at %{x:.2f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=middles, y=shares(held_out), mode="lines", line={"shape": "hvh", "color": draw.VERMILION, "width": 2.5},
        hovertemplate="unseen real ones: %{y:.1f} % at %{x:.2f}<extra></extra>",
    )  # fmt: skip
    words = [
        (f'<span style="color:{draw.PETROL}">■ its pictures</span>', 0.98),
        (f'<span style="color:{draw.VERMILION}">□ unseen real ones</span>', 0.9),
        ("0 would be a copy", 0.82),
    ]
    for text, y in words:
        figure.add_annotation(text=text, x=0, y=y, yref="y domain", xanchor="left", yanchor="top", showarrow=False)
    if own is not None:
        figure.add_shape(
            type="line", x0=own, x1=own, y0=0, y1=1, yref="y domain",
            line={"color": draw.VERMILION, "width": 2, "dash": "dot"},
        )  # fmt: skip
        figure.add_annotation(
            text="the chosen one", x=own, y=1, yref="y domain", yanchor="bottom", showarrow=False, xanchor="center"
        )
    _pair(figure, neighbours)
    figure.update_layout(
        margin={"t": 22, "b": 40},
        bargap=0,
        xaxis={
            "range": [0, 1.02 * top],
            "domain": [0, 0.6] if neighbours else [0, 1],
            "title": {"text": "distance to the nearest training picture (1: median of unseen ones)"},
        },
        yaxis={"title": {"text": "share (%)"}, "rangemode": "tozero"},
        xaxis2={**BLANK, "range": [0, 2.1], "domain": [0.64, 1], "anchor": "y2", "constrain": "domain"},
        yaxis2={**BLANK, "range": [1.2, 0], "anchor": "x2", "scaleanchor": "x2", "constrain": "domain"},
        meta={
            "narrow": {
                "height": 500 if neighbours else HEIGHT,
                "xaxis": {"domain": [0, 1], "title": {"text": "distance to the nearest one"}},
                "yaxis": {"domain": [0.45, 1] if neighbours else [0, 1]},
                "xaxis2": {"domain": [0, 1]},
                "yaxis2": {"domain": [0, 0.33]},
            }
        },
    )
    return figure


def epochs(url: str, history: Sequence[Mapping[str, float]], epoch: int, *, sentence: str) -> Figure:
    """What the same 16 numbers of noise became after an epoch, and beside it both losses and the distance."""
    figure = draw.figure(height=HEIGHT, sentence=sentence)
    _put(figure, url, x=0, y=0, side=4)
    at = [row["epoch"] for row in history]
    lines = (
        ("frechet", "2", draw.PETROL, "solid", "distance"),
        ("discriminator", "3", draw.VERMILION, "solid", "L of D"),
        ("generator", "3", draw.MID_TEXT, "dash", "L of G"),
    )
    for key, axis, colour, dash, name in lines:
        values = [row[key] for row in history]
        figure.add_scatter(
            mode="lines", x=at, y=values, xaxis="x2", yaxis=f"y{axis}", line={"color": colour, "dash": dash},
            hovertemplate=f"{name} %{{y:.3g}} after epoch %{{x}}<extra></extra>",
        )  # fmt: skip
        if key != "frechet":
            figure.add_annotation(
                text=name, xref="x2", yref=f"y{axis}", x=at[-1], y=values[-1], xanchor="right", yanchor="bottom",
                showarrow=False, font={"color": colour},
            )  # fmt: skip
    for axis in ("2", "3"):
        figure.add_shape(
            type="line", xref="x2", yref=f"y{axis} domain", x0=epoch, x1=epoch, y0=0, y1=1,
            line={"color": draw.MID_TEXT, "width": 1, "dash": "dot"},
        )  # fmt: skip
    figure.update_layout(
        margin={"l": 4, "r": 10, "t": 8, "b": 38},
        xaxis={**BLANK, "range": [0, 4], "domain": [0, 0.46], "constrain": "domain", "constraintoward": "left"},
        yaxis={**BLANK, "range": [4, 0], "scaleanchor": "x", "constrain": "domain", "constraintoward": "top"},
        xaxis2={"domain": [0.56, 1], "anchor": "y3", "range": [0, at[-1] + 0.5], "title": {"text": "epoch"}},
        yaxis2={"domain": [0.55, 1], "anchor": "x2", "type": "log", "title": {"text": "d²"}, "tickvals": TICKS},
        yaxis3={"domain": [0, 0.45], "anchor": "x2", "title": {"text": "losses"}, "nticks": 5},
        meta={
            "narrow": {
                "height": 620,
                "xaxis": {"domain": [0, 1]},
                "yaxis": {"domain": [0.46, 1]},
                "xaxis2": {"domain": [0.14, 1]},
                "yaxis2": {"domain": [0.24, 0.42]},
                "yaxis3": {"domain": [0, 0.18]},
            }
        },
    )
    return figure


def found(picture: str, drawing: str, losses: Sequence[float], *, sentence: str) -> Figure:
    """A picture, what the network makes of the noise that was found for it, and how the search went."""
    figure = draw.figure(height=HEIGHT, sentence=sentence)
    _pair(figure, ((picture, "the picture"), (drawing, "what it can draw")), axis="")
    figure.add_scatter(
        mode="lines", xaxis="x2", yaxis="y2", x=list(range(1, len(losses) + 1)), y=[100 * loss**0.5 for loss in losses],
        line={"color": draw.PETROL}, hovertemplate="%{y:.1f} % unlike after step %{x}<extra></extra>",
    )  # fmt: skip
    figure.update_layout(
        xaxis2={"domain": [0.72, 1], "anchor": "y2", "title": {"text": "step"}},
        yaxis2={"title": {"text": "unlike (%)"}, "rangemode": "tozero", "anchor": "x2", "domain": [0.1, 1]},
        margin={"l": 4, "b": 34},
        xaxis={**BLANK, "range": [0, 2.1], "domain": [0, 0.62], "constrain": "domain"},
        yaxis={**BLANK, "range": [1.2, 0], "scaleanchor": "x", "constrain": "domain"},
        meta={
            "narrow": {
                "height": 420,
                "xaxis": {"domain": [0, 1]},
                "yaxis": {"domain": [0.46, 1]},
                "xaxis2": {"domain": [0.16, 1]},
                "yaxis2": {"domain": [0, 0.36]},
            }
        },
    )  # fmt: skip
    return figure


def distances(rows: Sequence[tuple[str, float]]) -> Figure:
    """How far is each set of pictures from real ones, as multiples of the floor?

    rows  (name, multiple), the nearest first
    """
    figure = draw.figure(height=60 + 34 * len(rows), sentence="Fréchet distances as multiples of the floor")
    names = [name for name, _ in rows]
    values = [value for _, value in rows]
    figure.add_bar(
        orientation="h", y=names, x=values, marker={"color": draw.PETROL}, text=[f"{value:.3g}" for value in values],
        textposition="outside", cliponaxis=False, hovertemplate="%{y}: %{x:.3g} floors<extra></extra>",
    )  # fmt: skip
    figure.update_layout(
        margin={"l": 150, "r": 60},
        xaxis={"type": "log", "title": {"text": "Fréchet distance, multiples of the floor (log scale)"}},
        yaxis={"autorange": "reversed"},
    )
    return figure


def plane(moment: toy.Moment | None, real: Tensor, title: str) -> str:
    """Players in the plane: the discriminator's field, real points, forged ones and where they would go.

    moment  None before a game has begun: real points alone
    returns it as `draw.to_text` gives it
    """
    step = moment.step if moment else 0
    figure = draw.figure(height=360, sentence=f"{title} after {step} steps")
    line = np.linspace(-toy.REACH, toy.REACH, toy.GRID)
    field = moment.field if moment else torch.zeros(toy.GRID, toy.GRID)
    reach = float(field.abs().max()) or 1.0
    figure.add_heatmap(
        z=field.numpy(), x=line, y=line, zmin=-reach, zmax=reach, zsmooth="fast", showscale=False,
        colorscale=[[0, "#77b2d3"], [0.5, "#faf8f4"], [1, "#e8a675"]],
        hovertemplate="D = %{z:.2f}<extra></extra>",
    )  # fmt: skip
    dots = [(real, REAL_COLOUR, "circle-open", 5)]
    losses = []
    if moment:
        some = slice(0, 60)
        longest = moment.arrows.norm(dim=1).max().clamp_min(1e-9)
        tips = moment.forged[some] + 0.25 * moment.arrows[some] / longest
        ways = torch.stack([moment.forged[some], tips, torch.full_like(tips, torch.nan)], dim=1).flatten(0, 1)
        gaps = [[None if value != value else value for value in column] for column in ways.T.tolist()]
        ink = {"color": draw.PETROL, "width": 1}
        figure.add_scatter(mode="lines", x=gaps[0], y=gaps[1], line=ink, hoverinfo="skip")
        dots.append((moment.forged, draw.PETROL, "circle", 4))
        told = (("D", moment.discriminator), ("G", moment.generator))
        losses = [f"L of {name} {value:.2f}" for name, value in told if value == value]  # nan before its first step
    for points, colour, symbol, size in dots:
        figure.add_scatter(
            mode="markers", x=points[:, 0].numpy(), y=points[:, 1].numpy(), hoverinfo="skip",
            marker={"color": colour, "symbol": symbol, "size": size},
        )  # fmt: skip
    axis = {"range": [-toy.REACH, toy.REACH], "showgrid": False, "visible": True}
    axis |= {"showticklabels": False, "ticks": "", "showline": True, "mirror": True, "constrain": "domain"}
    figure.update_layout(
        margin={"l": 4, "r": 4, "t": 44, "b": 4},
        xaxis=axis,
        yaxis={**axis, "scaleanchor": "x"},
        annotations=[
            {
                "text": f"<b>{title}</b>, step {step}<br>{', '.join(losses) or 'before any step'}",
                "xref": "paper", "yref": "paper", "x": 0.5, "y": 1, "yanchor": "bottom", "showarrow": False,
            }
        ],
    )  # fmt: skip
    return draw.to_text(draw.to_json(figure))
