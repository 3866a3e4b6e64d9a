"""The figures of the page: votes, doubt over the whole turn, and the stored experiment."""

import math

import numpy as np
import torch
from torch import Tensor

from core import draw
from core.draw import Figure
from core.store import Run
from core.topics.mc_dropout import method

ANGLES = torch.arange(-180, 181, 10)
LN10 = math.log(10)
PASSES = (1, 2, 5, 10, 20, 50, 100)  # of the stored experiment


def votes_figure(votes: Tensor, top: int, sentence: str) -> Figure:
    """One dot per pass and digit, the mean as a grey bar; the first digit in the colour of this one."""
    figure = draw.figure(height=246, sentence=sentence)
    passes = len(votes)
    # A fixed, even spread: dots must not jump sideways while a slider moves.
    spread = (np.arange(passes) * 0.618034 % 1 - 0.5) * 0.5
    others = [digit for digit in range(10) if digit != top]
    # Two traces, not one per digit: the browser draws them in two thirds of the time.
    for digits, colour, symbol in ((others, draw.PETROL, "circle"), ([top], draw.VERMILION, "diamond")):
        figure.add_scatter(
            x=np.concatenate([digit + spread for digit in digits]),
            y=votes[:, digits].T.flatten().numpy(),
            mode="markers",
            marker={"size": 6, "opacity": 0.55, "color": colour, "symbol": symbol},
            customdata=[[t + 1, digit] for digit in digits for t in range(passes)],
            hovertemplate="pass %{customdata[0]} gives %{customdata[1]} a probability of %{y:.2f}<extra></extra>",
        )
    figure.add_scatter(
        x=list(range(10)),
        y=votes.mean(dim=0).numpy(),
        mode="markers",
        marker={"symbol": "line-ew", "size": 26, "line": {"width": 3, "color": draw.MID_TEXT}},
        hovertemplate="%{x}: mean probability %{y:.2f}<extra></extra>",
    )
    figure.update_layout(
        xaxis={
            "range": [-0.6, 9.6],
            "tickvals": list(range(10)),
            "title": {"text": "digit; a dot is one pass, a bar their mean"},
            "showgrid": False,
        },
        yaxis={"range": [-0.03, 1.03], "title": {"text": "probability"}, "tickvals": [0, 0.5, 1]},
    )
    return figure


def add_curve(figure: Figure, curve: Tensor, degrees: float) -> None:
    """Below the votes, the doubt at every angle, from the same thinned networks; a line where the picture is now."""
    doubts = {
        "picture ambiguous": method.expected_entropy(curve) / LN10 * 100,
        "model unsure": method.mutual_information(curve) / LN10 * 100,
    }
    for (name, doubt), colour in zip(doubts.items(), (draw.PETROL_LIGHT, draw.PETROL), strict=True):
        figure.add_scatter(
            x=ANGLES.numpy(),
            y=doubt.numpy(),
            xaxis="x2",
            yaxis="y2",
            mode="lines",
            stackgroup="doubt",
            line={"width": 1, "color": colour},
            hovertemplate=f"turned by %{{x}}°: %{{y:.0f}} % {name}<extra></extra>",
        )
    figure.add_shape(
        type="line", xref="x2", yref="y2", x0=degrees, x1=degrees, y0=0, y1=100,
        line={"color": draw.VERMILION, "width": 2, "dash": "dot"},
    )  # fmt: skip
    figure.update_layout(
        yaxis={"domain": [0.46, 1], "title": {"text": "probability"}},
        xaxis={"anchor": "y", "title": {"text": ""}},
        xaxis2={"range": [-185, 185], "tickvals": [-180, -90, 0, 90, 180], "ticksuffix": "°", "anchor": "y2"},
        yaxis2={"range": [0, 100], "title": {"text": "doubt (%)"}, "domain": [0, 0.3], "tickvals": [0, 50, 100]},
    )


def experiment(plain: Run, batch_norm: Run) -> Figure:
    """The classic experiment, ten runs: error, NLL and ECE against the number of passes, beside dropout off."""
    figure = draw.figure(
        height=640,
        sentence="Error, negative log-likelihood and calibration error against the number of passes; "
        "dotted lines show dropout off; with and without batch norm.",
    )
    rows = (("error", "error (%)", 100), ("nll", "NLL (nat)", 1), ("ece", "ECE (%)", 100))
    styles = (
        (plain, "no batch norm", draw.PETROL, "circle"),
        (batch_norm, "batch norm", draw.VERMILION, "diamond"),
    )
    for place, (key, title, scale) in enumerate(rows):
        number = str(place + 1) if place else ""  # Plotly calls the first axes x and y
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        for run, label, colour, symbol in styles:
            entries = [run.score(f"{key}_mc{count}") for count in PASSES]
            figure.add_scatter(
                x=PASSES,
                y=[entry["mean"] * scale for entry in entries],
                error_y={"array": [entry["spread"] * scale for entry in entries], "thickness": 1},
                mode="lines+markers",
                line={"color": colour},
                marker={"symbol": symbol, "size": 8},
                hovertemplate=f"{label}, %{{x}} passes: {title} %{{y:.4g}}<extra></extra>",
                **axes,
            )
            off = run.score(f"{key}_off")["mean"] * scale
            figure.add_scatter(
                x=[1, 100],
                y=[off, off],
                mode="lines",
                line={"color": colour, "dash": "dot"},
                hovertemplate=f"{label}, dropout off: {title} {off:.4g}<extra></extra>",
                **axes,
            )
        bottom = 0.72 - 0.36 * place
        figure.layout[f"xaxis{number}"] = {
            "type": "log", "tickvals": PASSES, "anchor": f"y{number}", "showgrid": False,
            "title": {"text": "passes T; dotted: dropout off" if place == 2 else ""},
        }  # fmt: skip
        figure.layout[f"yaxis{number}"] = {
            "title": {"text": title}, "domain": [bottom, bottom + 0.27], "rangemode": "tozero",
        }  # fmt: skip
    for (_, label, colour, symbol), x in zip(styles, (0.02, 0.3), strict=True):
        sign = {"circle": "●", "diamond": "◆"}[symbol]
        figure.add_annotation(
            x=x, y=1.03, xref="paper", yref="paper", text=f"{sign} {label}", showarrow=False, font={"color": colour}
        )
    figure.update_layout(margin={"t": 30})
    return figure
