"""BLEU taken apart: one sentence run by run, and systems ranked under each smoothing, as HTML for the page."""

import itertools
from collections.abc import Mapping, Sequence
from html import escape

from core.topics.translation import bleu

Curves = dict[bool, dict[str, list[float]]]


def scored(ours: str, true: str, smoothing: str) -> str:
    """One sentence's BLEU, its matches marked; raises ValueError for an unknown smoothing."""
    found = bleu.counts(ours, true, tokeniser="13a")
    words_ = "".join(
        f"<span class='{'mark' if longest else 'none'}' title='in a shared run of {longest}' "
        f"style='border-bottom-width:{longest}px'>{escape(token)}</span> "
        for token, longest in bleu.marked(ours, true, tokeniser="13a")
    )
    score = bleu.bleu(found, smoothing=smoothing, effective=True)
    rows = "".join(
        f"<tr><th scope='row'>{n}</th><td>{matched} of {total}</td>"
        f"<td>{f'{p:.1f} %' if total else 'does not count'}</td></tr>"
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


def curves(rows: Sequence[Sequence[int]]) -> Curves:
    """BLEU of a system on the first 1, 2, 3 … sentences: in the mean or not -> smoothing -> `bleu.running`.

    rows  of counts, sentence by sentence, see `bleu.Counts.row`
    """
    return {
        mean: {smoothing: bleu.running(rows, smoothing=smoothing, mean=mean) for smoothing in bleu.SMOOTHINGS}
        for mean in (False, True)
    }


def flips(systems: Mapping[str, Curves]) -> str:
    """Where the smoothing decides which of two systems is better: the largest such test, for either way to sum up."""
    said = ""
    for mean, score in ((False, "BLEU of all together"), (True, "mean of the sentences' own BLEU")):
        found = (
            (flip, ours, theirs)
            for ours, theirs in itertools.combinations(systems, 2)
            if (flip := bleu.find_flip(systems[ours][mean], systems[theirs][mean]))
        )
        flip, ours, theirs = max(found, key=lambda case: case[0].sentences, default=(None, "", ""))
        if flip:
            compared = ", ".join(
                f"{against(systems[ours][mean], systems[theirs][mean], smoothing, flip.sentences)} with {smoothing}"
                for smoothing in (flip.ahead, flip.behind)
            )
            said += (
                f"<p>On the first {flip.sentences} test sentences the smoothing decides which is better, by the "
                f"{score}: “{ours}” against “{theirs}” has {compared}.</p>"
            )
    return said or "<p>On these test sentences no smoothing changes which system is ahead.</p>"


def against(ours: Mapping[str, list[float]], theirs: Mapping[str, list[float]], smoothing: str, sentences: int) -> str:
    """Two systems' BLEU on so many sentences."""
    return f"{ours[smoothing][sentences - 1]:.2f} against {theirs[smoothing][sentences - 1]:.2f}"


def ranking(systems: Mapping[str, Curves], sentences: int) -> str:
    """BLEU of so many sentences, from the first on, together and in the mean, by system and smoothing."""
    head = "".join(f"<th scope='col'>{smoothing}</th>" for smoothing in bleu.SMOOTHINGS)
    tables = ""
    for mean, caption in (
        (False, f"BLEU of the first {sentences} test sentences together"),
        (True, f"Mean of the own BLEU of these {sentences} sentences"),
    ):
        lines = (
            f"<tr><th scope='row'>{system}</th>"
            + "".join(f"<td>{curve[sentences - 1]:.2f}</td>" for curve in found[mean].values())
            + "</tr>"
            for system, found in systems.items()
        )
        tables += (
            f"<table class='scores'><caption>{caption}</caption><tr><th scope='col'>translated by</th>{head}</tr>"
            f"{''.join(lines)}</table>"
        )
    return tables
