"""The tab in which BLEU is taken apart."""

import json
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import gradio as gr

from core import store
from core.card import Refused, Value
from core.page import Space
from core.topics.translation import bleu, playground
from core.topics.translation.card import RUNS

# Who translated the test sentences that BLEU is taken apart with -> run and way.
SYSTEMS = {
    "Transformer, beam": (RUNS["transformer"], "beam"),
    "Transformer, greedy": (RUNS["transformer"], "greedy"),
    "LSTM with attention": (RUNS["attention"], "beam"),
    "all at once (CTC)": (RUNS["ctc"], "beam"),
    "LSTM": (RUNS["lstm"], "beam"),
    "translation memory": (RUNS["transformer"], "memory"),
}
TESTED = 1000  # sentences


@cache
def outputs(run: str) -> list[dict[str, str]]:
    """The test sentences that travel with a run: source, reference, and what each way made of them."""
    rows: list[dict[str, str]] = json.loads(store.load(run).path("outputs.json").read_text(encoding="utf-8"))
    return rows


@cache
def curves() -> dict[str, playground.Curves]:
    """BLEU of each system on the first 1, 2, 3 … test sentences."""
    return {
        system: playground.curves(store.load(run).tensors("counts.safetensors")[way].tolist())
        for system, (run, way) in SYSTEMS.items()
    }


def test_sentence(place: Any, system: str) -> tuple[str, str]:
    """One of the stored test sentences as a system translates it, and its reference; raises Refused for no such."""
    if system not in SYSTEMS:
        raise Refused(f"Translated by: expected one of {', '.join(SYSTEMS)}.")
    run, way = SYSTEMS[system]
    rows = outputs(run)
    if not isinstance(place, int) or not 0 <= place < len(rows):
        raise Refused(f"A test sentence: expected a number from 0 to {len(rows) - 1}.")
    return rows[place][way], rows[place]["reference"]


def scored(ours: str, true: str, smoothing: str) -> str:
    """One sentence's BLEU in HTML; raises Refused for an unknown smoothing."""
    if smoothing not in bleu.SMOOTHINGS:
        raise Refused(f"Smoothing: expected one of {', '.join(bleu.SMOOTHINGS)}.")
    return playground.scored(str(ours)[:500], str(true)[:500], smoothing)


def bleu_room(space: Space) -> None:
    """The tab in which BLEU is taken apart."""
    system = next(iter(SYSTEMS))
    first = test_sentence(0, system)
    gr.HTML(
        "<p>BLEU counts shared wordings. Edit either sentence: what is found in the reference is underlined, the "
        "stronger the longer the shared run of words.</p>"
    )
    names = [(row["source"][:70], place) for place, row in enumerate(outputs(RUNS["transformer"]))]
    with gr.Row():
        chosen = gr.Dropdown(names, value=0, label="A test sentence", elem_id="bleu-sentence")
        by = gr.Dropdown(list(SYSTEMS), value=system, label="Translated by", elem_id="bleu-system")
    with gr.Row():
        hypothesis = gr.Textbox(first[0], label="Translation", max_length=500, elem_id="bleu-hypothesis")
        reference = gr.Textbox(first[1], label="Reference", max_length=500, elem_id="bleu-reference")
    with gr.Row():
        smoothing = gr.Radio(list(bleu.SMOOTHINGS), value="exp", label="Smoothing", elem_id="bleu-smoothing")
        count = gr.Slider(1, TESTED, TESTED, step=1, label="Test sentences", buttons=["reset"], elem_id="bleu-count")
    gr.HTML(playground.flips(curves()))
    said = gr.HTML(scored(*first, "exp"), elem_id="bleu-said")
    many = gr.HTML(playground.ranking(curves(), TESTED), elem_id="bleu-many")

    def take(values: dict[str, Value], _: str, place: int, name: str, way: str) -> Iterator[dict[Any, Any]]:
        ours, true = test_sentence(place, name)
        yield {hypothesis: ours, reference: true, said: scored(ours, true, way)}

    def score(values: dict[str, Value], _: str, ours: str, true: str, way: str) -> Iterator[dict[Any, Any]]:
        yield {said: scored(ours, true, way)}

    def sum_up(values: dict[str, Value], _: str, sentences: float) -> Iterator[dict[Any, Any]]:
        yield {many: playground.ranking(curves(), min(max(int(sentences), 1), TESTED))}

    # One listener for all that changes the same output: its answers come in the order in which they were asked for.
    for events, handler, needed, changed in (
        ([chosen.input, by.input], take, [chosen, by, smoothing], [hypothesis, reference, said]),
        ([hypothesis.change, reference.change, smoothing.input], score, [hypothesis, reference, smoothing], [said]),
        ([count.input, count.release], sum_up, [count], [many]),
    ):
        space.listen(partial(gr.on, events), handler, needed, changed)
