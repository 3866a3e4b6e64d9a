"""Figures and pictures in the one style.

Colours are tokens with a light and a dark value; figures use mid-tones that read in both,
so a page needs no second figure when the visitor's system changes its mind.
"""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

# name -> (light, dark)
TOKENS = {
    "paper": ("#faf8f4", "#15181d"),
    "card": ("#ffffff", "#1b1f26"),
    "ink": ("#1d2430", "#e8e6e1"),
    "line": ("#e7e2d8", "#2e343d"),
    "subdued": ("#5d6470", "#a9aeb8"),
    "petrol": ("#175558", "#7fbcbd"),
    "vermilion": ("#b0461f", "#e08a66"),
}
PETROL, PETROL_LIGHT, VERMILION = "#2b8286", "#7fbcbd", "#c8633b"
# Okabe and Ito's colours for categories, grey in place of their black, which a dark page would hide.
CATEGORIES = ("#e69f00", "#56b4e9", "#009e73", "#808790", "#0072b2", "#d55e00", "#cc79a7", "#b8a900")
MID_TEXT, GRID = "#808790", "rgba(128,128,128,0.25)"


class Figure:
    """What Plotly's script draws, as plain dicts.

    Plotly's own Python objects check every property, which takes 50 ms for 500 dots: several
    times what the answer itself takes, and with every move of a slider.

    data    traces, as Plotly's reference describes them
    layout  axes, margins, shapes, annotations
    frames  the moments of an animation, in order; `data` shows the last one
    """

    def __init__(self, layout: dict[str, Any]) -> None:
        self.data: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []
        self.layout = layout

    def add_scatter(self, **trace: Any) -> None:
        """Add dots, or a line through them."""
        self.data.append({"type": "scatter", **trace})

    def add_bar(self, **trace: Any) -> None:
        """Add bars."""
        self.data.append({"type": "bar", **trace})

    def add_heatmap(self, **trace: Any) -> None:
        """Add a matrix as coloured cells."""
        self.data.append({"type": "heatmap", **trace})

    def add_contour(self, **trace: Any) -> None:
        """Add a matrix as lines of equal height."""
        self.data.append({"type": "contour", **trace})

    def add_frame(self, name: str, traces: Sequence[int], data: Sequence[Mapping[str, Any]]) -> None:
        """Add a moment of an animation: what changes in which traces; `name` is shown beside the buttons."""
        self.frames.append({"name": name, "traces": list(traces), "data": list(data)})

    def add_shape(self, **shape: Any) -> None:
        """Add a line or a box at places of the axes."""
        self.layout.setdefault("shapes", []).append(shape)

    def add_layout_image(self, **image: Any) -> None:
        """Add a picture at places of the axes."""
        self.layout.setdefault("images", []).append(image)

    def add_annotation(self, **annotation: Any) -> None:
        """Add words."""
        self.layout.setdefault("annotations", []).append(annotation)

    def update_layout(self, **changes: Any) -> None:
        """Change parts of the layout; what is not named stays, also inside an axis."""
        _merge(self.layout, changes)


def _merge(old: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(old.get(key), dict):
            _merge(old[key], value)
        else:
            old[key] = value


def figure(*, height: int, sentence: str) -> Figure:
    """An empty figure in the project's style.

    height    in pixels; the width is the page's
    sentence  what the figure says, read aloud instead of it
    """
    axis = {
        "gridcolor": GRID,
        "linecolor": MID_TEXT,
        "zeroline": False,
        "tickfont": {"size": 13},
        "title": {"font": {"size": 13}, "standoff": 6},
        "fixedrange": True,
    }
    return Figure(
        {
            "template": {"layout": {"xaxis": axis, "yaxis": axis}},
            "height": height,
            "margin": {"l": 56, "r": 10, "t": 12, "b": 38},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": MID_TEXT},
            "hoverlabel": {"font": {"size": 13}},
            "showlegend": False,
            "meta": {"sentence": sentence},
        }
    )


def to_json(fig: Figure) -> dict[str, Any]:
    """A figure as plain JSON values, numbers rounded to five digits: a slider sends one with every move.

    What is no finite number becomes null, which Plotly leaves out; JSON has no other word for it.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, float):  # first, for most values are
            return float(f"{value:.5g}") if math.isfinite(value) else None
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, np.ndarray):
            return plain(value.tolist())
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return plain(value.item()) if isinstance(value, np.generic) else value

    return plain({"data": fig.data, "layout": fig.layout} | ({"frames": fig.frames} if fig.frames else {}))


def to_text(figure: Mapping[str, Any]) -> str:
    """What `to_json` gave, as the text that `widgets.figure_view` takes."""
    return json.dumps(figure, separators=(",", ":"))


def picture_url(pixels: np.ndarray, *, ink_dark: bool = False) -> str:
    """A picture as a data URL, for an <img> or a canvas.

    pixels    (H, W) or (H, W, 3), float in [0, 1] or uint8
    ink_dark  show bright ink on dark ground as dark ink on white paper
    """
    values = pixels if pixels.dtype == np.uint8 else (np.clip(pixels, 0, 1) * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(255 - values if ink_dark else values).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def jpeg_url(picture: Image.Image | np.ndarray) -> str:
    """A photo as a data URL, some 10 kB at 280 pixels, small enough to travel with every move of a slider.

    picture  or its pixels, (H, W, 3) uint8
    """
    buffer = io.BytesIO()
    whole = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    whole.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def split_bar(parts: Sequence[tuple[str, float]]) -> str:
    """A bar of the whole width of which each part takes its share, the second one hatched.

    parts   (label, share in [0, 1]); shown with their labels, so that colour is not all that tells them apart
    returns HTML
    """
    pieces = "".join(
        f'<span class="part part-{index}" style="width:{100 * share:.1f}%"></span>'
        for index, (_, share) in enumerate(parts)
    )
    keys = "".join(
        f'<span class="key"><span class="swatch part-{index}"></span>{label}</span>'
        for index, (label, _) in enumerate(parts)
    )
    return f'<span class="bar">{pieces}</span><span class="keys">{keys}</span>'


def theme_css() -> str:
    """The tokens as CSS custom properties, `--vitrine-paper` …, for light and for dark."""
    light = "".join(f"--vitrine-{name}:{pair[0]};" for name, pair in TOKENS.items())
    dark = "".join(f"--vitrine-{name}:{pair[1]};" for name, pair in TOKENS.items())
    fixed = f"--vitrine-area:{PETROL};--vitrine-area-light:{PETROL_LIGHT};"
    return f":root{{{light}{fixed}}}\n.dark{{{dark}}}\n"
