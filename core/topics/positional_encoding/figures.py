"""The four figures of the page: the numbers, the dot product over distance, one pair turning, shuffled words."""

from functools import lru_cache
from html import escape

import torch
from torch import Tensor

from core import draw, store
from core.draw import Figure
from core.topics.positional_encoding import method
from core.topics.positional_encoding.card import PLACES, RUN

HEIGHT = 320
SIGNED = [[0, "#4a7fb0"], [0.5, "rgba(128,128,128,0.08)"], [1, draw.VERMILION]]
SENTENCE = ("the", "dog", "bit", "the", "old", "man")
PLACE = torch.arange(PLACES)


@lru_cache(maxsize=1)
def learnt() -> Tensor:
    """The table of the stored network, (64, 32) float64."""
    return store.load(RUN).tensors("model.safetensors")["places"].double()


def table(encoding: str, dim: int, base: float) -> Tensor:
    """What each position is told, (64, dim): what is added, or for rotary a vector of ones, turned."""
    if encoding == "learnt":
        return learnt()
    if encoding == "rotary":
        return method.rotary(torch.ones(PLACES, dim, dtype=torch.float64), PLACE, base=base)
    if encoding == "sinusoidal":
        return method.sinusoidal(PLACE, dim, base=base)
    return torch.zeros(PLACES, dim, dtype=torch.float64)


def reached(position: int, shift: int) -> int:
    """The position a shift further on; beyond the ends of the table, the last one."""
    return min(max(position + shift, 0), PLACES - 1)


def map_figure(encoded: Tensor, position: int, sentence: str) -> Figure:
    """All numbers: a column per position, a row per dimension."""
    figure = draw.figure(height=HEIGHT, sentence=sentence)
    reach = max(1.0, float(encoded.abs().max()))
    figure.add_heatmap(
        z=encoded.T.numpy(), x=PLACE.tolist(), y=list(range(encoded.shape[1])), colorscale=SIGNED,
        zmin=-reach, zmax=reach, colorbar={"thickness": 10, "tickfont": {"size": 13}, "len": 0.9},
        hovertemplate="position %{x}, dimension %{y}: %{z:.3f}<extra></extra>",
    )  # fmt: skip
    figure.add_shape(
        type="rect", x0=position - 0.5, x1=position + 0.5, y0=-0.5, y1=encoded.shape[1] - 0.5,
        line={"color": draw.VERMILION, "width": 2},
    )  # fmt: skip
    figure.update_layout(
        xaxis={"title": {"text": "position"}, "showgrid": False},
        yaxis={"title": {"text": "dimension"}, "showgrid": False, "autorange": "reversed"},
    )
    return figure


def distance_figure(encoded: Tensor, position: int, shift: int, sentence: str) -> Figure:
    """The dot product of one position with all others, over their distance; thin lines for other positions."""
    figure = draw.figure(height=HEIGHT, sentence=sentence)
    products = encoded @ encoded.T
    for other in (4, 20, 36, 52, position):
        mine, own = other == position, products[other, other].clamp_min(1e-12)
        figure.add_scatter(
            x=(PLACE - other).tolist(), y=(products[other] / own).tolist(), mode="lines+markers" if mine else "lines",
            line={"width": 2 if mine else 1, "color": draw.VERMILION if mine else draw.MID_TEXT},
            marker={"size": 5}, opacity=1 if mine else 0.6,
            hovertemplate=f"position {other} and one %{{x}} further: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    figure.add_shape(
        type="line",
        x0=shift,
        x1=shift,
        yref="paper",
        y0=0,
        y1=1,
        line={"color": draw.PETROL, "width": 1.5, "dash": "dot"},
    )
    figure.update_layout(
        xaxis={"title": {"text": "distance, in positions"}, "range": [-PLACES, PLACES]},
        yaxis={"title": {"text": "dot product, with itself = 1"}},
    )
    return figure


def turn_figure(encoded: Tensor, pair: int, position: int, shift: int, sentence: str) -> Figure:
    """One pair of dimensions at every position, with the arc from a position to the one a shift further."""
    points = encoded[:, 2 * pair : 2 * pair + 2]
    figure = draw.figure(height=HEIGHT, sentence=sentence)
    target = reached(position, shift)
    figure.add_scatter(
        x=points[:, 1].tolist(), y=points[:, 0].tolist(), mode="lines+markers", showlegend=False,
        marker={"size": 6, "color": draw.PETROL},
        line={"width": 0.7, "color": draw.MID_TEXT}, customdata=PLACE.tolist(),
        hovertemplate="position %{customdata}: (%{y:.3f}, %{x:.3f})<extra></extra>",
    )  # fmt: skip

    def arms(place: int) -> list[dict[str, list[float]]]:
        ends = (place, reached(place, shift))
        return [{"x": [0.0, float(points[end, 1])], "y": [0.0, float(points[end, 0])]} for end in ends]

    for arm, name, dash in zip(
        arms(position), (f"position {position}", f"position {target}"), ("solid", "dot"), strict=True
    ):
        figure.add_scatter(
            **arm, mode="lines+markers", name=name, showlegend=True, hoverinfo="skip",
            line={"width": 2.5, "color": draw.VERMILION, "dash": dash},
            marker={"size": [0, 12], "symbol": "diamond" if dash == "dot" else "circle", "color": draw.VERMILION},
        )  # fmt: skip
    for place in (*range(max(0, -shift), min(PLACES, PLACES - shift)), position):
        figure.add_frame(f"position {place}", (1, 2), arms(place))
    if not points.any():
        figure.add_annotation(x=0, y=0, text="nothing is told, so nothing turns", showarrow=False, yshift=24)
    reach = 1.15 * (float(points.abs().max()) or 1.0)
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "itemclick": False},
        margin={"t": 26},
        xaxis={"title": {"text": f"dimension {2 * pair + 1}"}, "range": [-reach, reach], "constrain": "domain"},
        yaxis={"title": {"text": f"dimension {2 * pair}"}, "range": [-reach, reach], "scaleanchor": "x"},
    )
    return figure


def shuffled(encoding: str, base: float, seed: int) -> tuple[Tensor, Tensor, list[int]]:
    """A layer's outputs for six words, and for the same words shuffled, both in the order of the sentence.

    returns  (6, 8), (6, 8), and where each place of the shuffled sentence took its word from
    """
    generator = torch.Generator().manual_seed(seed)
    vectors = {word: torch.randn(8, generator=generator, dtype=torch.float64) for word in dict.fromkeys(SENTENCE)}
    words = torch.stack([vectors[word] for word in SENTENCE])
    order = torch.randperm(len(SENTENCE), generator=generator)
    if order.tolist() == list(range(len(SENTENCE))):
        order = order.flip(0)
    places = torch.arange(len(SENTENCE))

    def layer(shown: Tensor) -> Tensor:
        if encoding == "rotary":
            turned = method.rotary(shown, places, base=base)
            return method.attention(turned, turned, shown)
        told = shown
        if encoding == "sinusoidal":
            told = shown + method.sinusoidal(places, 8, base=base)
        elif encoding == "learnt":
            told = shown + learnt()[: len(SENTENCE), :8]
        return method.attention(told, told, told)

    back = torch.empty_like(layer(words))
    back[order] = layer(words[order])
    return layer(words), back, order.tolist()


def shuffle_figure(before: Tensor, after: Tensor, order: list[int], sentence: str) -> Figure:
    """The first number of each word's output, in the sentence and in the shuffled one."""
    figure = draw.figure(height=HEIGHT, sentence=sentence)
    names = [f"{word} ({place + 1})" for place, word in enumerate(SENTENCE)]
    for outputs, name, symbol, colour, size in (
        (before, "in the sentence", "circle", draw.PETROL, 15),
        (after, "shuffled: " + " ".join(SENTENCE[place] for place in order), "diamond", draw.VERMILION, 8),
    ):
        figure.add_scatter(
            x=names, y=outputs[:, 0].tolist(), mode="markers", name=name, showlegend=True,
            marker={"size": size, "symbol": symbol, "color": colour},
            hovertemplate="%{x}: %{y}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "itemclick": False},
        margin={"t": 26},
        xaxis={"title": {"text": "word and its place in the sentence"}},
        yaxis={"title": {"text": "first number of its output"}},
    )
    return figure


def shuffle_table(before: Tensor, after: Tensor) -> str:
    """The same numbers with every digit that double precision has."""
    rows = "".join(
        f"<tr{'' if one == other else ' class=this'}><th scope='row'>{escape(word)}</th>"
        f"<td>{one!r}</td><td>{other!r}</td><td>{'same' if one == other else 'differs'}</td></tr>"
        for word, one, other in zip(SENTENCE, before[:, 0].tolist(), after[:, 0].tolist(), strict=True)
    )
    return (
        "<table class='race'><caption>First number of each word's output, to the last digit</caption><tr>"
        "<th scope='col'>word</th><th scope='col'>in the sentence</th><th scope='col'>shuffled</th>"
        f"<th scope='col'></th></tr>{rows}</table>"
    )
