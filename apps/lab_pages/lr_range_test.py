"""The page on the range test, alone: `streamlit run apps/lab_pages/lr_range_test.py`."""

from collections.abc import Iterator

import numpy as np

from core import draw, lab, loop, store
from core.lab import Answer, Live, State
from core.markup import Tile
from core.topics.lr_range_test import figures, method, recipe
from core.topics.lr_range_test.card import CARD, RUN
from core.topics.lr_range_test.method import BATCHES, RATES


def answer(values: State) -> Answer:
    """One stored range test, and what all twenty picked by either rule."""
    batch, count = int(values["batch"]), int(values["batches"])
    rule, repeat = str(values["rule"]), int(values["repeat"]) - 1
    stored = figures.stored()
    losses = stored.losses[BATCHES.index(batch), :, :, :count]
    best = stored.best(batch)
    picks = {name: RATES[method.picked(falls(losses))] for name, falls in figures.RULES.items()}
    hits = {name: int(method.hit(rates, best).sum()) for name, rates in picks.items()}
    mine = float(picks[rule][repeat])
    sentence = (
        f"Of 20 range tests the line picks a rate within a factor of two of the best {hits['line']} times, "
        f"the two ends {hits['ends']} times."
    )
    return Answer(
        figure=draw.to_json(figures.test_figure(losses[repeat], rule, picks, best, sentence)),
        tiles=[
            Tile("line", f"{hits['line']} of 20", "hits by the line"),
            Tile("ends", f"{hits['ends']} of 20", "hits by the two ends"),
            Tile("picked", f"{mine:.2g}", f"picked in test {repeat + 1}; the best is {best:.2g}"),
        ],
        numbers={"line": hits["line"], "ends": hits["ends"], "picked": mine, "best": best},
    )


def trained(values: State) -> Iterator[tuple[float, str]]:
    """The range test that is shown, trained anew on this machine, rate by rate."""
    batch, count, repeat = int(values["batch"]), int(values["batches"]), int(values["repeat"]) - 1
    network = recipe.restore(store.load(RUN))
    losses = np.empty((0, count))
    for rate in RATES.tolist():
        found = recipe.trials(network, rates=[rate], batches=count, batch=batch, seed=repeat)
        losses = np.concatenate([losses, found])
        told = f"Test {repeat + 1}, trained here: {len(losses)} rates, {count} batches of {batch} digits each"
        yield len(losses) / len(RATES), figures.live_table(told, RATES[: len(losses)], losses)


if __name__ == "__main__":
    lab.show(
        CARD,
        answer,
        functions=[loop.range_test, method.line_slopes, method.end_drops, method.blew_up, method.picked, method.hit],
        live=Live("Train it here", trained),
    )
