"""The figures of the page: where it looked, what else it considered, the beam's tree, and the scores."""

from collections.abc import Mapping, Sequence
from html import escape

from torch import Tensor

from core import draw
from core.draw import Figure
from core.topics.translation.decoding import Beam

HEIGHT = 330
# One colour that grows denser: a darker one would be stronger on white alone, and weaker on black.
RAMP = [[0, "rgba(43,130,134,0)"], [0.15, "rgba(43,130,134,0.25)"], [1, "rgba(43,130,134,1)"]]
# Behind words: pale up to LIKELY and dark from there on, since grey words cannot be read on what lies between.
LIKELY = 0.45
WORDS_RAMP = [
    [0, "rgba(43,130,134,0)"],
    [LIKELY, "rgba(43,130,134,0.22)"],
    [LIKELY, "rgba(32,107,111,0.85)"],
    [1, "rgba(32,107,111,1)"],
]
CUT = 14  # letters of a label; the whole word is in the hover


def plain(word: str) -> str:
    """A word as Plotly shows it to the letter: it reads tags and knows &lt;, but not &quot;."""
    return escape(word, quote=False)


def label(word: str) -> str:
    """A word as a tick, not too long."""
    return plain(word if len(word) <= CUT else word[: CUT - 1] + "…")


def attention_map(
    weights: Tensor,
    source: Sequence[str],
    target: Sequence[str],
    *,
    asked: int,
    hidden: int,
    picks: Sequence[list],
    hides: Sequence[list],
    sentence: str,
) -> Figure:
    """Rows of what is written, columns of what is read; dark is where it looked.

    weights  (T, S)
    asked    row that is asked about; hidden: column of the word that is hidden, -1 for none
    picks    what a click into a row says
    hides    what a click on the sign above a column says, for as many as have one
    """
    ticks = [f"<s>{label(word)}</s>" if place == hidden else label(word) for place, word in enumerate(source)]
    above = 30 + 5 * max(min(len(word), CUT) for word in source)  # they lean, and present mode enlarges them
    figure = draw.figure(height=max(HEIGHT, 48 + above + 24 * len(target)), sentence=sentence)
    looks = [
        [f"“{plain(there)}” looks at “{plain(here)}”: {p:.0%}" for here, p in zip(source, row, strict=True)]
        for there, row in zip(target, weights.tolist(), strict=True)
    ]
    signs = [f"{'show' if at == hidden else 'hide'} “{plain(word)}”" for at, word in enumerate(source[: len(hides)])]
    cells = {"zmin": 0, "zmax": 1, "colorscale": RAMP, "showscale": False, "hovertemplate": "%{text}<extra></extra>"}
    each = [[pick] * len(source) for pick in picks]
    figure.add_heatmap(z=weights.numpy(), xgap=1, ygap=1, customdata=each, text=looks, **cells)
    signs_look = {"texttemplate": "×", "textfont": {"color": draw.MID_TEXT}}
    figure.add_heatmap(z=[[0.0] * len(hides)], y=[-1], customdata=[hides], text=[signs], **signs_look, **cells)
    if 0 <= asked < len(target):
        row = {"x0": -0.5, "x1": len(source) - 0.5, "y0": asked - 0.5, "y1": asked + 0.5}
        figure.add_shape(type="rect", line={"color": draw.VERMILION, "width": 2}, **row)
    figure.update_layout(
        margin={"l": 110, "t": above, "b": 8, "r": 34},
        xaxis={
            "tickvals": list(range(len(source))),
            "ticktext": ticks,
            "side": "top",
            "tickangle": -40,
            "showgrid": False,
            "range": [-0.5, len(source) - 0.5],
        },
        yaxis={
            "tickvals": list(range(-1, len(target))),
            "ticktext": ["hide", *(label(word) for word in target)],
            "showgrid": False,
            "range": [len(target) - 0.5, -1.5],
        },
    )
    return figure


def choices_map(
    rows: Sequence[Sequence[tuple[str, float]]],
    stands: Sequence[int],
    *,
    picks: Sequence[Sequence[list]] | None,
    sentence: str,
) -> Figure:
    """For each place of the translation the likeliest pieces, and how likely they are; a click takes one.

    rows    for each place (piece, probability), the likeliest first
    stands  for each place which of them stands there, -1 if none of them does
    picks   for each place and rank what a click says; None if none can be taken
    """
    figure = draw.figure(height=max(HEIGHT, 60 + 26 * len(rows)), sentence=sentence)
    ranks = len(rows[0]) if rows else 0
    promise = "; click to go on from it" if picks else ""
    figure.add_heatmap(
        z=[[p for _, p in row] for row in rows],
        zmin=0,
        zmax=1,
        colorscale=WORDS_RAMP,
        showscale=False,
        xgap=2,
        ygap=1,
        customdata=picks,
        text=[[f"“{plain(piece)}” {p:.1%}{promise}" for piece, p in row] for row in rows],
        hovertemplate="%{text}<extra></extra>",
    )
    for place, row in enumerate(rows):
        for rank, (piece, p) in enumerate(row):
            stays = rank == stands[place]
            colour = draw.VERMILION if stays and rank else draw.MID_TEXT
            figure.add_annotation(
                x=rank,
                y=place,
                text=f"<b>{label(piece)}</b>" if stays else label(piece),
                showarrow=False,
                captureevents=False,
                font={"size": 13, "color": "#ffffff" if p > LIKELY else colour},
            )
    figure.update_layout(
        margin={"l": 34, "t": 34, "b": 8},
        xaxis={
            "tickvals": list(range(ranks)),
            "ticktext": ["likeliest", "second", "third", "fourth", "fifth"][:ranks],
            "side": "top",
            "showgrid": False,
            "range": [-0.5, ranks - 0.5],
        },
        yaxis={
            "tickvals": list(range(len(rows))),
            "ticktext": [str(place + 1) for place in range(len(rows))],
            "showgrid": False,
            "range": [len(rows) - 0.5, -0.5],
        },
    )
    return figure


def tree(beam: Beam, pieces: Sequence[str], sentence: str) -> Figure:
    """All beginnings that the beam followed, from left to right; those that it gave up are hollow.

    pieces  the piece of each node
    """
    figure = draw.figure(height=HEIGHT, sentence=sentence)
    nodes = beam.nodes
    best = set()
    place = beam.finished[0] if beam.finished else -1
    while place >= 0:
        best.add(place)
        place = nodes[place].parent
    # Each round's nodes one below the other, the likeliest on top.
    height: dict[int, float] = {}
    for depth in range(1, max((node.depth for node in nodes), default=0) + 1):
        level = sorted((p for p, node in enumerate(nodes) if node.depth == depth), key=lambda p: -nodes[p].log_p)
        height |= {p: float(rank) for rank, p in enumerate(level, 1)}
    for chosen, colour, width in ((False, draw.GRID, 1), (True, draw.VERMILION, 2)):
        xs: list[float | None] = []
        ys: list[float | None] = []
        for place, node in enumerate(nodes):
            if node.parent >= 0 and (place in best) == chosen:
                xs += [nodes[node.parent].depth, node.depth, None]
                ys += [height[node.parent], height[place], None]
        figure.add_scatter(x=xs, y=ys, mode="lines", line={"color": colour, "width": width}, hoverinfo="skip")
    figure.add_scatter(
        x=[node.depth for node in nodes],
        y=[height[place] for place in range(len(nodes))],
        mode="markers+text" if len(nodes) <= 150 else "markers",
        text=[label(piece) if node.kept else "" for piece, node in zip(pieces, nodes, strict=True)],
        textposition="top center",
        textfont={"size": 11},
        marker={
            "size": 8,
            "symbol": ["circle" if node.kept else "circle-open" for node in nodes],
            "color": [draw.VERMILION if place in best else draw.PETROL for place in range(len(nodes))],
        },
        hovertext=[
            f"{plain(piece)}: log-probability so far {node.log_p:.2f}{'' if node.kept else ', given up'}"
            for piece, node in zip(pieces, nodes, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    figure.update_layout(
        xaxis={"title": {"text": "piece"}, "dtick": 2},
        yaxis={"title": {"text": "rank in its round"}, "autorange": "reversed", "tick0": 1, "dtick": 2},
    )
    return figure


def heads(layers: Tensor, names: tuple[Sequence[str], Sequence[str]]) -> str:
    """All layers and heads, each as a small map, in HTML.

    layers  (L, H, T, S); names: of the words read and of those written
    """
    source, target = names
    parts = []
    for layer, row in enumerate(layers, 1):
        for head, weights in enumerate(row, 1):
            height, width = weights.shape
            cells = "".join(
                f'<rect x="{s}" y="{t}" width="1" height="1" fill-opacity="{share:.2f}">'
                f"<title>{escape(target[t])} looks at {escape(source[s])}: {share:.0%}</title></rect>"
                for t, line in enumerate(weights.tolist())
                for s, share in enumerate(line)
                if share >= 0.02
            )
            parts.append(
                f'<figure><svg class="cells" viewBox="0 0 {width} {height}" role="img" '
                f'aria-label="layer {layer}, head {head}">{cells}</svg>'
                f"<figcaption>layer {layer}, head {head}</figcaption></figure>"
            )
    return f"<div class='photos four'>{''.join(parts)}</div>"


def compared(panels: Mapping[str, Mapping[str, tuple[Mapping[str, float], bool]]]) -> Figure:
    """BLEU of everything that was compared, one bar each, in panels that are not to be compared with each other.

    panels  title -> bar -> (score as config.json has it, whether it is the baseline, which is grey)
    """
    said = (
        f"{title}: " + ", ".join(f"{name} {score['mean']:.1f}" for name, (score, _) in bars.items()) + "."
        for title, bars in panels.items()
    )
    lines = sum(len(bars) + 2 for bars in panels.values())
    figure = draw.figure(height=60 + 28 * lines, sentence=" ".join(said))
    top = 1.0
    for number, (title, bars) in enumerate(panels.items(), 1):
        axis = "" if number == 1 else str(number)
        bottom = top - len(bars) / lines
        figure.add_bar(
            x=[score["mean"] for score, _ in bars.values()],
            y=list(bars),
            xaxis=f"x{axis}",
            yaxis=f"y{axis}",
            orientation="h",
            marker={"color": [draw.MID_TEXT if baseline else draw.PETROL for _, baseline in bars.values()]},
            error_x={
                "array": [score["spread"] for score, _ in bars.values()],
                "color": draw.MID_TEXT,
                "thickness": 2,
            },
            hovertemplate="%{y}: BLEU %{x:.2f}<extra></extra>",
        )
        figure.add_scatter(  # not the bars' own text, which the error bars would cross
            x=[score["mean"] + score["spread"] for score, _ in bars.values()],
            y=list(bars),
            xaxis=f"x{axis}",
            yaxis=f"y{axis}",
            mode="text",
            text=[f" {score['mean']:.1f}" for score, _ in bars.values()],
            textposition="middle right",
            textfont={"color": draw.MID_TEXT},
            cliponaxis=False,
            hoverinfo="skip",
        )
        figure.update_layout(
            **{
                f"xaxis{axis}": {"title": {"text": title}, "rangemode": "tozero", "anchor": f"y{axis}"},
                f"yaxis{axis}": {
                    "autorange": "reversed", "showgrid": False, "domain": [bottom, top], "anchor": f"x{axis}",
                },
            }
        )  # fmt: skip
        top = bottom - 2 / lines
    figure.update_layout(margin={"l": 210, "r": 40})
    return figure
