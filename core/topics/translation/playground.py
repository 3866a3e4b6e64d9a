"""BLEU taken apart: one sentence run by run, and systems ranked under each smoothing, as HTML for the page."""

import itertools
import json
from functools import cache
from html import escape

from core import store
from core.card import Refused
from core.topics.translation import bleu
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


@cache
def outputs(run: str) -> list[dict[str, str]]:
    """The stored test sentences of a run with their translations."""
    return json.loads(store.load(run).path("outputs.json").read_text(encoding="utf-8"))


def translated(place: int, system: str) -> tuple[str, str]:
    """One of the stored test sentences as a system translates it, and its reference; raises Refused for no such."""
    if system not in SYSTEMS:
        raise Refused(f"Translated by: expected one of {', '.join(SYSTEMS)}.")
    run, way = SYSTEMS[system]
    rows = outputs(run)
    if not isinstance(place, int) or not 0 <= place < len(rows):
        raise Refused(f"A test sentence: expected a number from 0 to {len(rows) - 1}.")
    return rows[place][way], rows[place]["reference"]


def scored(ours: str, true: str, smoothing: str) -> str:
    """One sentence's BLEU, its matches marked; raises Refused for an unknown smoothing."""
    if smoothing not in bleu.SMOOTHINGS:
        raise Refused(f"Smoothing: expected one of {', '.join(bleu.SMOOTHINGS)}.")
    found = bleu.counts(ours, true, tokeniser="13a")
    words_ = "".join(
        f"<span class='{'mark' if longest else 'none'}' title='in a shared run of {longest}' "
        f"style='border-bottom-width:{longest}px'>{escape(token)}</span> "
        for token, longest in bleu.marked(ours, true, tokeniser="13a")
    )
    score = bleu.bleu(found, smoothing=smoothing, effective=True)
    rows = "".join(
        f"<tr><th scope='row'>{n}</th><td>{matched} of {total}</td><td>{p:.1f} %</td></tr>"
        for n, (matched, total, p) in enumerate(zip(found.matched, found.total, score.precisions, strict=True), 1)
    )
    others = ", ".join(
        f"{name} {bleu.bleu(found, smoothing=name, effective=True).value:.2f}" for name in bleu.SMOOTHINGS
    )
    return (
        f"<p class='written'>{words_}</p><table class='plain'><caption>Runs of n words that the reference has</caption>"
        f"<tr><th scope='col'>n</th><th scope='col'>shared</th><th scope='col'>after smoothing</th></tr>{rows}</table>"
        f"<p>Brevity penalty {score.brevity:.3f} ({found.written} words against {found.true}). Sentence BLEU: "
        f"<b>{score.value:.2f}</b>. With each smoothing: {others}.</p>"
    )


@cache
def curves(system: str, mean: bool) -> dict[str, list[float]]:
    """Smoothing -> BLEU of the first 1, 2, 3 … test sentences, see `bleu.running`."""
    run, way = SYSTEMS[system]
    rows = store.load(run).tensors("counts.safetensors")[way].tolist()
    return {smoothing: bleu.running(rows, smoothing=smoothing, mean=mean) for smoothing in bleu.SMOOTHINGS}


@cache
def flips() -> str:
    """Where the smoothing decides which of two systems is better: the largest such test."""
    said = ""
    for mean, score in ((False, "BLEU of all together"), (True, "mean of the sentences' own BLEU")):
        found = (
            (flip, ours, theirs)
            for ours, theirs in itertools.combinations(SYSTEMS, 2)
            if (flip := bleu.find_flip(curves(ours, mean), curves(theirs, mean)))
        )
        flip, ours, theirs = max(found, key=lambda case: case[0].sentences, default=(None, "", ""))
        if flip:
            said += (
                f"<p>On the first {flip.sentences} test sentences the smoothing decides, by the {score}: with "
                f"{flip.ahead} “{ours}” is ahead of “{theirs}”, with {flip.behind} behind it.</p>"
            )
    return said or "<p>On these test sentences no smoothing changes which system is ahead.</p>"


def ranking(sentences: int) -> str:
    """BLEU of the first test sentences, together and in the mean, by system and smoothing; from 1 to all of them."""
    sentences = min(max(sentences, 1), len(curves(next(iter(SYSTEMS)), False)["none"]))
    head = "".join(f"<th scope='col'>{smoothing}</th>" for smoothing in bleu.SMOOTHINGS)
    tables = ""
    for mean, caption in (
        (False, f"BLEU of the first {sentences} test sentences together"),
        (True, f"Mean of the own BLEU of these {sentences} sentences"),
    ):
        lines = (
            f"<tr><th scope='row'>{system}</th>"
            + "".join(f"<td>{curve[sentences - 1]:.2f}</td>" for curve in curves(system, mean).values())
            + "</tr>"
            for system in SYSTEMS
        )
        tables += (
            f"<table class='scores'><caption>{caption}</caption><tr><th scope='col'>translated by</th>{head}</tr>"
            f"{''.join(lines)}</table>"
        )
    return tables
