"""The words of a page as HTML: pure functions from a card, a run or an answer to a string.

Everything that is shown passes `escape`, also what the project wrote itself.
"""

import base64
import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from core import draw
from core.card import Card, Score, Value
from core.store import Run

ADDRESS = "{{address}}"  # the browser puts the page's own address here when a worksheet is printed


@dataclass(frozen=True)
class Tile:
    """One number under the figure.

    name     key in the card's `tiles`, where its one-sentence explanation stands
    value    as it is shown, unit included
    caption  a few words
    parts    (label, share) pairs for a bar under the value
    """

    name: str
    value: str
    caption: str = ""
    parts: Sequence[tuple[str, float]] = ()


def head(card: Card, run: Run, mean: float) -> str:
    """Family, question and claim; at the right score, weights, model card and paper.

    run   whose weights the page uses
    mean  of the card's first score
    """
    first, paper = card.scores[0], card.papers[0]
    source = "embedded" if run.source == "embedded" else f"from the Hub, {run.source}"
    others = "; others from the Hub on request" if any(param.fetched for param in card.params) else ""
    return f"""
<div class="vitrine-head">
  <div>
    <p class="kicker"><a href="/" title="All topics">Vitrine</a> · {escape(card.family)}</p>
    <h1>{escape(card.question)}</h1>
    <p class="claim">{escape(card.claim)}</p>
  </div>
  <p class="meta">{escape(first.label)}: {first.say(mean)}<br>
    weights {escape(source)}, {run.megabytes:.1f} MB{others}<br>
    <a href="/vitrine/models/{escape(run.name)}" target="_blank">model card</a> ·
    <a href="{escape(paper.url)}" target="_blank" rel="noopener">paper</a>
    {f'<br><span class="warn">{escape(run.note)}</span>' if run.note else ""}
  </p>
</div>"""


def tiles(card: Card, shown: Sequence[Tile]) -> str:
    """The row of numbers; each explains itself on hover, on focus and to screen readers."""
    cells = []
    for tile in shown:
        help_text = escape(card.tiles[tile.name])
        long = " long" if len(tile.value) > 8 else ""  # words get smaller type than numbers
        bar = draw.split_bar(tile.parts) if tile.parts else ""
        caption = f"<span class='caption'>{escape(tile.caption)}</span>" if tile.caption else ""
        cells.append(
            f"<div class='tile' tabindex='0' data-name='{escape(tile.name)}'>"
            f"<span class='value{long}'>{escape(tile.value)}</span>{bar}{caption}"
            f"<span class='help' role='tooltip'>{help_text}</span></div>"
        )
    return f"<div class='tiles' role='group' aria-label='The answer in numbers'>{''.join(cells)}</div>"


def sight(url: str, description: str) -> str:
    """What the network gets, enlarged with its pixels visible.

    url          data URL of the picture
    description  for those who cannot see it
    """
    return (
        f'<div class="seen"><figure><figcaption>The network sees</figcaption><img src="{url}" '
        f'alt="{escape(description)}, as the network gets it"></figure></div>'
    )


def picture(url: str, caption: str) -> str:
    """One picture of a sheet, with words below."""
    return f'<figure><img src="{url}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'


def notes(sentences: Sequence[str], *, error: bool = False) -> str:
    """What the page has to say to the visitor, announced to screen readers; empty if nothing."""
    if not sentences:
        return ""
    role = "alert" if error else "status"
    return f"<p class='note{' error' if error else ''}' role='{role}'>{escape(' '.join(sentences))}</p>"


def progress(sentence: str) -> str:
    """How far something is that takes its time; not announced, for it changes several times a second."""
    return f"<p class='note'>{escape(sentence)}</p>"


def tour(card: Card, index: int, chosen: int | None) -> str:
    """One step: the question, and after a choice what to watch and why."""
    step = card.tour[index]
    text = f"<p class='ask'><b>Tour {index + 1} of {len(card.tour)}</b> {escape(step.ask)}</p>"
    if chosen is None:
        return text
    verdict = "Correct." if chosen == step.right else f"The answer: {escape(step.choices[step.right])}."
    return (
        f"{text}<p class='said'>You said: {escape(step.choices[chosen])}. {verdict}</p>"
        f"<p>{escape(step.look)}</p><p>{escape(step.why)}</p>"
    )


def with_subscripts(text: str) -> str:
    """Text with x_t and x_{t+1} as the formula has them."""
    return re.sub(r"(?<=\w)_(?:\{([^}]+)\}|(\w)\b)", lambda found: f"<sub>{found[1] or found[2]}</sub>", escape(text))


def symbols(card: Card) -> str:
    """Every symbol of the formula, named."""
    rows = "".join(
        f"<tr><th scope='row'>{with_subscripts(name)}</th><td>{with_subscripts(text)}</td></tr>"
        for name, text in card.symbols.items()
    )
    return f"<table class='plain'><caption>Symbols</caption>{rows}</table>"


def papers(card: Card) -> str:
    """The sources, linked."""
    rows = "".join(
        f"<li><a href='{escape(paper.url)}' target='_blank' rel='noopener'>{escape(paper.title)}</a>, "
        f"{escape(paper.authors)} {paper.year}</li>"
        for paper in card.papers
    )
    return f"<h3>Read</h3><ul>{rows}</ul><h3>What this is not</h3><p>{escape(card.not_this)}</p>"


def score_cell(score: Score, entry: Mapping[str, float]) -> str:
    """Mean with spread where there are several runs: "0.45 % ± 0.03"."""
    text = score.say(entry["mean"])
    if entry["runs"] > 1:
        text += f" ± {score.say(entry['spread']).removesuffix(' %')}"
    return text


def scores(card: Card, runs: Mapping[str, Run]) -> str:
    """The table of measured scores: held-out data, seeds, spread, baseline, and the command that repeats them."""
    rows = []
    for score in card.scores:
        run = runs[score.run]
        entry = run.score(score.key)
        stored = score.say(entry["stored"]) if run.repeatable else "not kept"
        beside = score_cell(score, run.score(score.baseline)) if score.baseline else ""
        cells = (score_cell(score, entry), stored, beside, str(entry["runs"]))
        # On a phone a cell breaks before its spread, and nowhere else.
        numbers = "".join(f"<td>{re.sub(' (?!±)', '&nbsp;', cell)}</td>" for cell in cells)
        rows.append(f"<tr><th scope='row'>{escape(score.label)}</th>{numbers}</tr>")
    limits = "".join(f"<li>{escape(limit)}</li>" for limit in card.limits)
    licences = "".join(f"<li>{escape(licence)}</li>" for licence in card.data)
    first = runs[card.scores[0].run]
    measured, kept = first.config["measured"], "; only the first run's weights are kept" if first.megabytes else ""
    return f"""
<p>{escape(card.verdict)}</p>
<table class='scores'><caption>Measured on held-out data: mean ± standard deviation over runs</caption>
<tr><th scope='col'>score</th><th scope='col'>mean</th><th scope='col'>these weights</th>
<th scope='col'>baseline</th><th scope='col'>runs</th></tr>{"".join(rows)}</table>
<p>Measured again by <code>{escape(card.command)}</code>; first at commit {escape(measured["commit"])}. The
spread is over runs{kept}.</p>
<h3>Where it is weak</h3><ul>{limits}</ul><h3>Data and licences</h3><ul>{licences}</ul>"""


def worksheet(card: Card, *, answers: bool) -> str:
    """A page to print: the tour's questions with room to write, or their answers; a document of its own."""
    items = []
    for number, step in enumerate(card.tour, 1):
        choices = "".join(
            f"<li>{'☑' if answers and index == step.right else '☐'} {escape(choice)}</li>"
            for index, choice in enumerate(step.choices)
        )
        minutes = f"<p class='time'>{step.minutes:g} minutes alone, {4.5 * step.minutes:.0f} in class</p>"
        below = (
            f"<p>{escape(step.look)}</p><p>{escape(step.why)}</p>"
            if answers
            else "<p class='lines'></p><div class='axes'></div>"
        )
        items.append(
            f"<section><h2>{number}. {escape(step.ask)}</h2><ul>{choices}</ul>{below}"
            f"{minutes if answers else ''}</section>"
        )
    kind = "Answers" if answers else "Worksheet"
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>{escape(card.question)} · {kind}</title><style>
body{{font:12pt/1.45 system-ui,sans-serif;max-width:40rem;margin:1.5rem auto;color:#1d2430;background:#fff}}
h1{{font-size:18pt;margin:0}}h2{{font-size:13pt;margin:1.2rem 0 .3rem}}ul{{list-style:none;padding:0;margin:.3rem 0}}
section{{break-inside:avoid}}.lines{{height:3.2rem;border-bottom:1px solid #999;margin:0 0 .6rem}}
.axes{{width:60%;height:6rem;border-left:2px solid #333;border-bottom:2px solid #333;margin:.6rem 0 .6rem 1rem}}
.time,.link{{color:#5d6470;font-size:10pt}}</style></head><body>
<p class="link">Vitrine · {escape(card.family)} · {kind}</p><h1>{escape(card.question)}</h1>
<p>{escape(card.claim)}</p><p class="link">{ADDRESS}</p>{"" if answers else "<p>Name:</p>"}
{"".join(items)}</body></html>"""


def file_link(label: str, filename: str, url: str) -> str:
    """A link that saves what its data URL holds, so that no file stays on the server."""
    return f"<a class='save' download='{escape(filename)}' href='{escape(url)}'>{escape(label)}</a>"


def data_link(label: str, filename: str, mime: str, content: str) -> str:
    """A link that saves text as a file."""
    return file_link(label, filename, f"data:{mime};base64,{base64.b64encode(content.encode()).decode()}")


def downloads(
    card: Card,
    settings: Mapping[str, Value],
    numbers: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    snippet: str,
    picture: str = "",
) -> str:
    """Everything that can be taken away: picture, numbers, and the lines of Python that give the same answer.

    picture  a `file_link` to the visitor's own picture, which the lines read
    """
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    whole = json.dumps({"topic": card.slug, "settings": dict(settings), "numbers": dict(numbers)}, indent=1)
    return f"""<div class='downloads'>
<button class='save' onclick="vitrine.saveFigure('{card.slug}')">Picture (PNG)</button>
{data_link("Numbers (CSV)", f"{card.slug}.csv", "text/csv", table.getvalue())}
{data_link("Settings and numbers (JSON)", f"{card.slug}.json", "application/json", whole)}
{picture}
<p>The same answer in Python, from the project's folder:</p><pre><code>{escape(snippet)}</code></pre></div>"""
