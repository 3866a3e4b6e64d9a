"""The pictures of the page: a map over its photo, the curves beside it, sheets of many maps, the ranking."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core import draw
from core.draw import Figure
from core.topics.cam import checks
from core.topics.cam.case import Case

# Over a photo in grey, so that heat is told from a goldfish: transparent where the map is 0.
FOR, AGAINST = (213, 94, 0), (0, 114, 178)  # vermilion and blue of Okabe and Ito
SCALE = [
    [0, f"rgba{(*AGAINST, 1)}"], [0.5, f"rgba{(*AGAINST, 0)}"], [0.5, f"rgba{(*FOR, 0)}"], [1, f"rgba{(*FOR, 1)}"],
]  # fmt: skip
LARGEST = 112  # cells from top to bottom that a figure shows; finer maps are averaged


def strong(heat: Tensor) -> float:
    """The magnitude that gets the full colour, above that of 99 % of the values, as in SmoothGrad's paper.

    A single outlier among thousands of pixels would leave all others pale.
    """
    return max(float(heat.abs().flatten().quantile(0.99)), 1e-30)


def relative(heat: Tensor) -> Tensor:
    """A map in percent of its strong values, (h, w), within -100 and 100."""
    return (100 * heat / strong(heat)).clamp(-100, 100)


def grey_photo(image: Tensor) -> np.ndarray:
    """A photo (3, H, W) as it lies below a map: grey, its pixels visible, (H', W', 3) float."""
    grey = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0)
    larger = max(1, 256 // image.shape[1])
    return grey.repeat_interleave(larger, 0).repeat_interleave(larger, 1).expand(3, -1, -1).permute(1, 2, 0).numpy()


def painted(image: Tensor, heat: Tensor, *, strength: float) -> np.ndarray:
    """A map over its photo as a picture, (H', W', 3) float, as the main figure shows it smoothed."""
    below = grey_photo(image)
    share = checks.enlarged(relative(heat)[None], below.shape[:2])[0].numpy()[:, :, None] / 100
    alpha = strength * np.abs(share)
    return (1 - alpha) * below + alpha * np.where(share > 0, FOR, AGAINST) / 255


def reduced(heat: Tensor) -> Tensor:
    """A map as it travels, (h, w) with h at most LARGEST: the means of blocks, if it is finer."""
    return F.avg_pool2d(heat[None], math.ceil(heat.shape[0] / LARGEST))[0]


def looked(
    case: Case,
    heat: Tensor,
    curves: Mapping[str, checks.Curves],
    *,
    strength: float,
    smooth: bool,
    unit: str,
    covered: bool,
    sentence: str,
) -> Figure:
    """The map over the photo, and beside it what happens as its brightest pixels come and go.

    heat    (h, w), of any scale
    curves  "chance", and "map" unless it is empty: one picture each
    unit    of the map's values
    covered show the spot
    """
    image, named = case.image[0], case.name
    height, width = case.size
    rows, columns = heat.shape
    figure = draw.figure(height=290, sentence=sentence)
    figure.add_heatmap(
        z=heat.numpy(),
        x=100 * (np.arange(columns) + 0.5) / columns,
        y=100 * (np.arange(rows) + 0.5) / rows,
        colorscale=SCALE,
        zmin=-strong(heat),
        zmax=strong(heat),
        zsmooth="fast" if smooth else False,
        opacity=strength,
        showscale=False,
        hovertemplate=f"%{{z:.3g}} {unit}<extra></extra>",
    )
    figure.add_layout_image(
        source=draw.picture_url(grey_photo(image)),
        xref="x", yref="y", x=0, y=0, sizex=100, sizey=100, sizing="stretch", layer="below",
    )  # fmt: skip
    colours = f"<b>orange</b> speaks for {case.named}" + (", <b>blue</b> against" if float(heat.min()) < 0 else "")
    figure.add_annotation(
        text=colours if strength else "the photo without a map",
        xref="x domain", yref="y domain", x=0.5, y=-0.02, xanchor="center", yanchor="top", showarrow=False,
    )  # fmt: skip
    if covered:
        _add_spot(figure, case)
    _add_curves(figure, case, curves)
    hidden = {"visible": False, "showgrid": False}
    figure.update_layout(
        xaxis={**hidden, "range": [0, 100], "domain": [0, 0.5], "constrain": "domain",
               "scaleanchor": "y", "scaleratio": width / height},
        yaxis={**hidden, "range": [100, 0], "domain": [0, 1], "constrain": "domain", "constraintoward": "top"},
        xaxis2={"domain": [0.6, 1], "anchor": "y2", "range": [0, 100], "title": {"text": "pixels, brightest first (%)"},
                "tickvals": [0, 25, 50, 75, 100]},
        yaxis2={"domain": [0, 0.82], "anchor": "x2", "range": [0, 105], "title": {"text": f"share of {named} (%)"},
                "tickvals": [0, 50, 100]},
        margin={"l": 4},
    )  # fmt: skip
    # On a phone the curves stand below the photo.
    photo = min(0.62, 0.55 * height / width + 0.07)
    figure.layout["meta"]["narrow"] = {
        "height": 600,
        "xaxis": {"domain": [0, 1]},
        "yaxis": {"domain": [1 - photo, 1]},
        "xaxis2": {"domain": [0.14, 1]},
        "yaxis2": {"domain": [0, 0.86 - photo]},
    }
    return figure


def _add_spot(figure: Figure, case: Case) -> None:
    """The covered spot, in the photo's mean colour."""
    height, width = case.size
    top, bottom, left, right = case.box
    fill = "rgb({:.0f},{:.0f},{:.0f})".format(*(255 * case.image[0].mean(dim=(1, 2))).tolist())
    figure.add_shape(
        type="rect",
        x0=100 * left / width,
        x1=100 * right / width,
        y0=100 * top / height,
        y1=100 * bottom / height,
        fillcolor=fill,
        line={"color": "#ffffff", "width": 2},
    )


def _add_curves(figure: Figure, case: Case, curves: Mapping[str, checks.Curves]) -> None:
    """Insertion and deletion, of the map and of chance."""
    shown = [("map", draw.PETROL, 3.0)] if "map" in curves else []
    for kind, colour, wide in (*shown, ("chance", draw.MID_TEXT, 1.5)):
        for change, dash in (("insertion", "solid"), ("deletion", "dash")):
            label = f"{kind}, {change}"
            figure.add_scatter(
                x=100 * curves[kind].shares.numpy(),
                y=100 * getattr(curves[kind], change)[0, :, case.label].numpy(),
                xaxis="x2",
                yaxis="y2",
                mode="lines",
                name=label,
                line={"color": colour, "dash": dash, "width": wide},
                hovertemplate=f"{label}: {case.name} %{{y:.0f}} % with %{{x:.0f}} % of the pixels<extra></extra>",
            )
    figure.add_annotation(
        text="<b>thick: this map</b>, thin: chance<br>solid: pixels in, dashed: pixels out",
        xref="x2 domain", yref="y2 domain", x=0, y=1.04, xanchor="left", yanchor="bottom", align="left",
        showarrow=False,
    )  # fmt: skip


def ranking(
    names: Sequence[str],
    *,
    pointing: Sequence[Mapping[str, float]],
    gain: Sequence[Mapping[str, float]],
    likeness: Sequence[Mapping[str, float]],
) -> Figure:
    """All methods by pointing, by insertion less deletion over chance, and by how much stays when the top forgets.

    names  of the methods; the others hold mean and spread for each
    """
    order = sorted(range(len(names)), key=lambda place: pointing[place]["mean"])
    best = max(range(len(names)), key=lambda place: gain[place]["mean"])
    figure = draw.figure(
        height=470,
        sentence=f"{names[order[-1]]} points best, {100 * pointing[order[-1]]['mean']:.0f} % of the mass on its half; "
        f"by insertion less deletion, {names[best]} is first.",
    )
    panels = (("", pointing, 100, 50.0), ("2", gain, 100, 0.0), ("3", likeness, 1, 0.0))
    for axis, entries, scale, chance in panels:
        figure.add_scatter(
            x=[scale * entries[place]["mean"] for place in order],
            y=[names[place] for place in order],
            xaxis=f"x{axis}",
            mode="markers",
            marker={"color": draw.PETROL, "size": 10},
            error_x={
                "type": "data",
                "array": [scale * entries[place]["spread"] for place in order],
                "color": draw.PETROL,
            },
            hovertemplate="%{y}: %{x:.3g} ± %{error_x.array:.2g}<extra></extra>",
        )
        figure.add_shape(
            type="line", xref=f"x{axis}", yref="paper", x0=chance, x1=chance, y0=0, y1=1,
            line={"color": draw.MID_TEXT, "dash": "dot"},
        )  # fmt: skip
        figure.add_annotation(
            x=chance, xref=f"x{axis}", y=1.0, yref="paper", yanchor="bottom", text="chance", showarrow=False
        )
    figure.update_layout(
        xaxis={"domain": [0, 0.3], "title": {"text": "pointing: on its half (%)"}},
        xaxis2={"domain": [0.35, 0.65], "anchor": "y", "title": {"text": "insertion less deletion, over chance"}},
        xaxis3={"domain": [0.7, 1], "anchor": "y", "title": {"text": "likeness without the top"}},
        yaxis={"automargin": True},
        margin={"t": 28},
    )
    return figure
