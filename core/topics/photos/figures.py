"""The figures of the page: the first five answers, and the confusion matrix."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from core import draw
from core.draw import Figure

LONGEST_NAME = 19  # letters


def brief(name: str) -> str:
    """A class's name, cut to what fits beside a bar and into a tile."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def bars(probabilities: Tensor, classes: Sequence[str], sentence: str) -> Figure:
    """The five largest shares as bars, the first in the colour of this one; a click says which of the five it hit.

    probabilities (K,)
    """
    top = probabilities.topk(5)
    names = [classes[place] for place in top.indices]
    shares = (100 * top.values).numpy()
    figure = draw.figure(height=246, sentence=sentence)
    figure.add_bar(
        x=shares,
        y=list(range(5)),
        orientation="h",
        marker={"color": [draw.VERMILION, *[draw.PETROL] * 4]},
        customdata=[[str(rank)] for rank in range(1, 6)],
        hovertext=[f"{share:.1f} % {name}" for name, share in zip(names, shares, strict=True)],
        hoverinfo="text",
        text=[f"{share:.0f} %" if share >= 0.5 else "< 1 %" for share in shares],
        textposition="outside",
        cliponaxis=False,
    )
    figure.update_layout(
        xaxis={"range": [0, 112], "tickvals": [0, 25, 50, 75, 100], "title": {"text": "share (%)"}},
        # Names stand where the bars are, so that bars move and names change, but never both jump.
        yaxis={
            "range": [4.6, -0.6],
            "tickvals": list(range(5)),
            "ticktext": [brief(name) for name in names],
            "showgrid": False,
        },
        margin={"l": 140},
        bargap=0.35,
    )
    return figure


def confusion_matrix(counts: Tensor, classes: Sequence[str]) -> Figure:
    """How often each class of the test photos was taken for each other, in percent of its row."""
    shares = 100 * counts / counts.sum(dim=1, keepdim=True)
    right = shares.diagonal()
    weakest = int(right.argmin())
    figure = draw.figure(
        height=640,
        sentence=f"Confusion matrix of the test photos: {float(right.mean()):.0f} % on the diagonal; "
        f"{classes[weakest]} is recognised least, {float(right[weakest]):.0f} %.",
    )
    figure.add_heatmap(
        z=shares.numpy(),
        x=list(classes),
        y=list(classes),
        colorscale=[[0, "rgba(43,130,134,0)"], [0.02, "rgba(43,130,134,0.15)"], [0.1, "rgba(43,130,134,0.5)"],
                    [1, "rgba(23,85,88,1)"]],
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate="%{z:.0f} % of %{y} are taken for %{x}<extra></extra>",
    )  # fmt: skip
    for row, column in np.argwhere(shares.numpy() >= 4).tolist():
        figure.add_annotation(
            x=classes[column],
            y=classes[row],
            text=f"{shares[row, column]:.0f}",
            showarrow=False,
            font={"size": 13, **({"color": "#ffffff"} if row == column else {})},
        )
    figure.update_layout(
        xaxis={"title": {"text": "what the network said (%)"}, "tickangle": -60, "showgrid": False},
        yaxis={"title": {"text": "what it was"}, "autorange": "reversed", "showgrid": False},
        margin={"l": 150, "b": 150},
    )
    return figure
