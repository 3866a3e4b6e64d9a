"""The static site: every topic's question, tour and answers as files that any web server, or none, can show.

Answers are computed when the site is built, by the pages' own functions, and travel as data beside each
page. Everything is named relative to the page, so the site opens from a USB folder and asks nobody for anything.

    index.html                 the home page
    assets/                    styles, the script that shows answers, Plotly
    pictures/                  one per topic and theme
    <topic>/index.html         question, answer, tour, how it works, scores, papers
    <topic>/answers.js         the answers of the opening state and of each step
    <topic>/worksheet.html     to print, and worksheet-answers.html
    <topic>/network.onnx       where the topic's slice has browser.py and browser.js: what answers live, with
                               beside.json and browser.js; its runtime, assets/ort*, is loaded when first touched
"""

import base64
import io
import json
import re
import shutil
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from core import card as cards
from core import deploy, draw, graph, markup, npm, store
from core.card import Card, Step, Value
from core.imports import ROOT
from core.moves import Answer, Moves

HERE = Path(__file__).resolve().parent
SLICES = HERE / "topics"
WIDTH = 640  # of a picture on the home page, in pixels
QUALITY = 55  # of photographs in stored answers, 0 to 100: they are small, and nothing is computed from them
OF_A_RUN = re.compile(r"/vitrine/runs/(\w+/\w+)/(\w+)\.jpeg")
WHOLE = re.compile(r'(?<!\\)"data:image/[^"\\]+"')  # a picture that is a value of its own, not part of HTML
PHOTO = re.compile(r"data:image/jpeg;base64,([\w+/=]+)")
STYLES = ("apps/gallery.css", "core/page.css", "core/site.css")
SCRIPTS = ("core/page.js", "core/site.js")


def build(spaces: Mapping[str, Moves], home: str, folder: Path, *, runtime: Path | None = None) -> None:
    """Write the site into a folder, in place of what a former call wrote there.

    spaces  slug -> page
    home    the gallery's home page, with addresses as the gallery has them
    runtime where the packages for the browser lie, or are put once they are fetched; None: pages have no live part
    raises  npm.NotFetched if it cannot be fetched
    """
    living = {slug for slug in spaces if runtime and (SLICES / slug / "browser.py").is_file()}
    fetched = npm.files(runtime) if runtime and living else []
    deploy.clear(folder)
    assets = folder / "assets"
    assets.mkdir()
    whole = Path(str(files("plotly") / "package_data" / "plotly.min.js"))
    for path in fetched or [whole]:
        shutil.copyfile(path, assets / path.name)
    sheet = "\n".join([tokens(), *((ROOT / path).read_text(encoding="utf-8") for path in STYLES)])
    (assets / "site.css").write_text(sheet, encoding="utf-8")
    script = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in SCRIPTS)
    (assets / "site.js").write_text(script, encoding="utf-8")
    for slug in spaces:
        shrink_pictures(slug, folder / "pictures")
    (folder / "index.html").write_text(relative_home(home, spaces), encoding="utf-8")
    front = {"title": "Vitrine", "emoji": deploy.EMOJI, "sdk": "static", "license": "apache-2.0"}
    (folder / "README.md").write_text(deploy.readme(front, "The static site of Vitrine.\n"), encoding="utf-8")
    runtime_mb = sum(path.stat().st_size for path in assets.glob("ort*")) / 1e6
    for slug, space in spaces.items():
        write_topic(space, folder / slug, runtime_mb=runtime_mb if slug in living else None)


def tokens() -> str:
    """The colours, dark where the visitor's system is."""
    dark = draw.theme_css().split(".dark")[1]
    return f"{draw.theme_css()}\n@media (prefers-color-scheme: dark) {{ :root {dark} }}"


def shrink_pictures(slug: str, folder: Path) -> None:
    """A topic's pictures as the home page shows them, some 20 kB each."""
    folder.mkdir(exist_ok=True)
    for theme in ("light", "dark"):
        source = ROOT / "docs" / "pictures" / f"{slug}-{theme}.png"
        if source.is_file():
            with Image.open(source) as picture:
                whole = picture.convert("RGB")
                whole.thumbnail((WIDTH, 4 * WIDTH))
                whole.save(folder / f"{slug}-{theme}.webp", quality=82, method=6)


def relative_home(home: str, spaces: Mapping[str, Moves]) -> str:
    """The gallery's home page with addresses that hold in a folder."""
    home = re.sub(r"/vitrine/pictures/([\w-]+)\.png", r"pictures/\1.webp", home)
    for slug in spaces:
        home = home.replace(f"href='/{slug}/'", f"href='{slug}/index.html'")
    return home


def states(card: Card) -> list[dict[str, Value]]:
    """The opening state, then for each step the one it begins with and the one of its discovery."""
    found = [card.defaults()]
    for step in card.tour:
        found += [card.parse(step.set), card.parse({**step.set, **step.then})]
    return found


def said(card: Card, values: Mapping[str, Value]) -> str:
    """A state in words: what differs from the opening state."""
    changed = [param for param in card.params if values[param.name] != card.param(param.name).default]
    return ". ".join(f"{param.label}: {param.say(values[param.name])}" for param in changed) or "The opening settings"


def shown(card: Card, answer: Answer, values: Mapping[str, Value]) -> dict[str, Any]:
    """An answer as the page's script shows it."""
    return {
        "figure": answer.figure,
        "tiles": markup.tiles(card, answer.tiles),
        "input": "".join(widget(extra) for extra in answer.extras),
        "settings": f"{said(card, values)}.",
        "remark": answer.remark,
        "sentence": answer.figure["layout"]["meta"]["sentence"],
    }


def widget(value: Any) -> str:
    """What an app's own widget would show: the input as a picture or as a sentence, or HTML as it is."""
    given = value.get("shown") if isinstance(value, dict) else ""
    if given:
        picture = given.startswith("data:")
        return f'<img class="input" src="{escape(given)}" alt="The input">' if picture else f"<p>{escape(given)}</p>"
    return value if isinstance(value, str) else ""


def write_topic(space: Moves, folder: Path, *, runtime_mb: float | None) -> None:
    """One topic's page, its answers, its sheets to print, and what answers live."""
    card = space.card
    folder.mkdir()
    answers = [shown(card, space.last_answer(values), values) for values in states(card)]
    told_as = [json.dumps(answer, ensure_ascii=False, separators=(",", ":")) for answer in answers]
    kept = list(dict.fromkeys(told_as))  # several steps begin at the opening state
    data = f"[{','.join(kept)}]"
    for run, file in set(OF_A_RUN.findall(data)):
        (folder / f"{file}.webp").write_bytes(lighter(store.load(run).path(f"{file}.jpeg").read_bytes()))
    data = OF_A_RUN.sub(r"\2.webp", data)
    data = PHOTO.sub(lambda found: as_url(lighter(base64.b64decode(found[1]))), data)
    pictures = list(dict.fromkeys(WHOLE.findall(data)))  # several answers show the same one
    data = WHOLE.sub(lambda found: f"pictures[{pictures.index(found[0])}]", data)
    tour = json.dumps([told(step) for step in card.tour], ensure_ascii=False)
    places = [kept.index(text) for text in told_as]
    script = (
        f"const pictures = [{','.join(pictures)}];\nconst kept = {data};\n"
        f"vitrine.show({{answers: {places}.map((place) => kept[place]), tour: {tour}, measured: {measured(space)}}});\n"
    )
    (folder / "answers.js").write_text(script, encoding="utf-8")
    live_mb = 0.0 if runtime_mb is None else runtime_mb + write_network(space, folder)
    (folder / "index.html").write_text(page(space, answers[0], live_mb=live_mb), encoding="utf-8")
    for name, answered in (("worksheet", False), ("worksheet-answers", True)):
        sheet = markup.worksheet(card, answers=answered).replace(markup.ADDRESS, "")
        (folder / f"{name}.html").write_text(sheet, encoding="utf-8")


def lighter(jpeg: bytes) -> bytes:
    """A photograph as WebP, about half as large."""
    with Image.open(io.BytesIO(jpeg)) as picture, io.BytesIO() as out:
        picture.save(out, "webp", quality=QUALITY, method=6)
        return out.getvalue()


def as_url(webp: bytes) -> str:
    """A picture inside a page."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def write_network(space: Moves, folder: Path) -> float:
    """What answers live: the graph, what its script needs beside it, and the script; returns MB of the first two."""
    room = cards.load(space.card.slug, "browser")
    module, example, outputs = room.graph(space.networks())
    graph.export(module, example, outputs, folder / "network.onnx")
    (folder / "beside.json").write_text(json.dumps(room.beside()), encoding="utf-8")
    shutil.copyfile(SLICES / space.card.slug / "browser.js", folder / "browser.js")
    return sum((folder / name).stat().st_size for name in ("network.onnx", "beside.json")) / 1e6


def measured(space: Moves) -> str:
    """The figure of the stored experiment, as JSON."""
    return draw.to_text(draw.to_json(space.measured()))


def told(step: Step) -> dict[str, Any]:
    """What the script needs to know of a step."""
    return {
        "ask": step.ask,
        "choices": step.choices,
        "right": step.right,
        "look": step.look,
        "why": step.why,
    }


def tour(card: Card) -> str:
    """The whole tour as text, for those who read without a script: questions, and answers folded."""
    return "".join(
        f"<li><p>{escape(step.ask)}</p><details><summary>{escape(' / '.join(step.choices))}</summary>"
        f"<p><b>{escape(step.choices[step.right])}</b></p><p>{escape(step.why)}</p></details></li>"
        for step in card.tour
    )


def formula(card: Card) -> str:
    """The card's formula as MathML, which browsers draw without a library; each part may go to a line of its own."""
    from latex2mathml.converter import convert

    plain = card.formula.replace(r"\;", " ").replace(r"\arg", r"\operatorname{arg}")  # the converter knows neither
    parts = [convert(part.strip(), display="block") for part in plain.split(r"\qquad")]
    return "".join(f"<div>{part}</div>" for part in parts)


def page(space: Moves, first: Mapping[str, Any], *, live_mb: float) -> str:
    """A topic's page; what changes with the tour has a place with an id.

    live_mb  what its live part loads; 0 for a page without one
    """
    script = '<script src="browser.js" defer></script>' if live_mb else ""
    live = f'<div id="live" data-megabytes="{live_mb:.0f}"></div><p id="loading" class="small" role="status"></p>'
    card = space.card
    runs = {score.run: store.load(score.run) for score in card.scores}
    score = card.scores[0]
    line = f"{score.label}: {markup.score_cell(score, runs[score.run].score(score.key))}"
    sources = "".join(
        f"<li><b>{markup.with_subscripts(symbol)}</b> {markup.with_subscripts(meaning)}</li>"
        for symbol, meaning in card.symbols.items()
    )
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>{escape(card.question)} · Vitrine</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="description" content="{escape(card.claim)}">
<link rel="icon" href="data:,"><link rel="stylesheet" href="../assets/site.css">
<script src="../assets/plotly.min.js" defer></script><script src="../assets/site.js" defer></script>
<script src="answers.js" defer></script>{script}</head><body><main class="topic">
<p class="kicker"><a href="../index.html">Vitrine</a> · {escape(card.family)}</p>
<h1>{escape(card.question)}</h1><p class="claim">{escape(card.claim)}</p>
<div class="exhibit">
<div class="given"><div id="input">{first["input"]}</div>
<p id="settings" class="small">{escape(first["settings"])}</p>
{live if live_mb else ""}</div>
<div class="answer"><div id="figure" class="figure"><div class="vitrine-figure" role="img"></div></div>
<div id="tiles">{first["tiles"]}</div><p id="remark" class="small"></p></div></div>
<section id="tour"><noscript><ol>{tour(card)}</ol></noscript>
<div id="step" aria-live="polite"></div><p class="row-of-buttons"><button id="back">Step back</button>
<button id="next">Next step</button></p><p class="small">Where a step speaks of a control, this page shows the
answer that it leads to.</p></section>
<section><h2>How it works</h2><p>{escape(card.idea)}</p><div class="formula">{formula(card)}</div>
<ul class="symbols">{sources}</ul>{markup.papers(card)}</section>
<section><h2>Scores</h2><p class="small">{escape(line)}</p>
<div id="measured" class="figure"><div class="vitrine-figure" role="img"></div></div>
{markup.scores(card, runs)}</section>
<section><h2>Worksheet</h2><p><a href="worksheet.html">Questions to print</a> ·
<a href="worksheet-answers.html">the answers</a></p></section>
<p class="small">The answers on this page are real, computed when it was written. With Vitrine itself, which runs on a
laptop, every control moves, and your own pictures are answered.</p>
</main></body></html>"""
