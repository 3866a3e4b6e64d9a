"""The page on positional encodings, alone: `streamlit run apps/lab_pages/positional_encoding.py`."""

from core import draw, lab
from core.lab import Answer, State
from core.markup import Tile
from core.topics.positional_encoding import figures, method
from core.topics.positional_encoding.card import CARD, PLACES


def answer(values: State) -> Answer:
    """One of the four figures, and what a shift and a shuffle do to this encoding."""
    encoding, view = str(values["encoding"]), str(values["view"])
    position, shift, dim, base = (
        int(values["position"]),
        int(values["shift"]),
        int(values["dim"]),
        10.0 ** float(values["base"]),
    )
    encoded = figures.table(encoding, dim, base)
    pair = min(int(values["pair"]), encoded.shape[1] // 2 - 1)
    apart = figures.reached(position, shift) - position
    products = encoded[position] @ encoded[[position, position + apart]].T
    numbers = {
        "same": float(products[1] / products[0].clamp_min(1e-12)),
        "error": method.rotation_error(encoded, shift),
        "spread": method.product_spread(encoded, shift),
    }
    before, after, order = figures.shuffled(encoding, base, int(values["seed"]))
    numbers["difference"] = float((before - after).abs().max())
    name = CARD.param("encoding").say(encoding)
    table = ""
    if view == "map":
        figure = figures.map_figure(encoded, position, f"The {name} encoding of {PLACES} positions.")
    elif view == "distance":
        sentence = f"Position {position} and the one {apart} further have a dot product of {numbers['same']:.2f}."
        figure = figures.distance_figure(encoded, position, shift, sentence)
    elif view == "turn":
        sentence = f"Pair {pair} of the {name} encoding, at position {position} and {apart} further."
        figure = figures.turn_figure(encoded, pair, position, shift, sentence)
    else:
        sentence = f"Outputs of six words and of the same words shuffled differ by at most {numbers['difference']:.2g}."
        figure = figures.shuffle_figure(before, after, order, sentence)
        table = figures.shuffle_table(before, after)
    effect = {
        "dim": encoding != "learnt",
        "base": encoding not in ("learnt", "none"),
        "pair": view == "turn" and encoding != "none",
        "seed": view == "shuffle" or encoding != "none",
    }
    told = encoding != "none"  # of nothing there is nothing to say
    cut = "" if apart == shift else "; the table ends"
    return Answer(
        figure=draw.to_json(figure),
        tiles=[
            Tile("same", f"{numbers['same']:.2f}" if told else "–", f"dot product, {apart} places apart{cut}"),
            Tile("error", f"{100 * numbers['error']:.0f} %" if told else "–", "missed, if a shift is taken for a turn"),
            Tile("spread", f"{numbers['spread']:.2f}" if told else "–", "difference between positions"),
            Tile("difference", f"{numbers['difference']:.2g}", "change when words are shuffled"),
        ],
        numbers=numbers,
        table=table,
        idle=[name for name, used in effect.items() if not used],
    )


if __name__ == "__main__":
    lab.show(
        CARD,
        answer,
        functions=[
            method.sinusoidal,
            method.rotary,
            method.attention,
            method.shift_rotation,
            method.best_rotation,
            method.rotation_error,
            method.product_spread,
        ],
    )
