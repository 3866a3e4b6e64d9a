"""The page on the range test, alone: `streamlit run apps/lab_pages/lr_range_test.py`."""

import time

import numpy as np
import streamlit as st

from core import draw, lab, loop, store
from core.lab import Answer, State
from core.markup import Tile
from core.topics.lr_range_test import figures, method, recipe
from core.topics.lr_range_test.card import CARD, RUN
from core.topics.lr_range_test.method import BATCHES, RATES

BUDGET_S = 10.0  # a live run stops by itself


def answer(values: State) -> Answer:
    """One stored range test, and what all twenty picked by either rule."""
    batch, count = int(values["batch"]), int(values["batches"])
    rule, repeat = str(values["rule"]), int(values["repeat"])
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


@st.fragment
def live(values: State) -> None:
    """The range test that is shown, trained anew on this machine, with progress; any click ends it."""
    batch, count, repeat = int(values["batch"]), int(values["batches"]), int(values["repeat"])
    if not st.button(f"Train it here, at most {BUDGET_S:.0f} seconds", key="lr_range_test-live"):
        return
    bar = st.progress(0.0)
    st.button("Cancel", key="lr_range_test-cancel")  # Streamlit ends a run of the script when the next one begins
    network = recipe.restore(store.load(RUN))
    begun, losses = time.monotonic(), []
    for rate in RATES:
        if time.monotonic() - begun > BUDGET_S:
            break
        bar.progress(len(losses) / len(RATES), f"rate {rate:.2g}")
        found = recipe.trial(network, rate=float(rate), batches=count, batch=batch, seed=repeat)
        losses.append(np.nan_to_num(found.losses, nan=np.inf))
    bar.empty()
    st.html(figures.live_table(RATES[: len(losses)].tolist(), np.array(losses)))


if __name__ == "__main__":
    lab.show(
        CARD,
        answer,
        functions=[loop.range_test, method.line_slopes, method.end_drops, method.blew_up, method.picked, method.hit],
        below=live,
    )
