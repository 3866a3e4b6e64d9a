"""Where does a translator look? German to English, English to Chinese, from the LSTM to the Transformer.

gradio apps/translation.py
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from html import escape
from typing import Any

import gradio as gr

from core import draw, serve, store
from core.card import Refused, Value
from core.markup import Tile
from core.moves import Answer, Widgets
from core.page import Space
from core.topics.translation import asking, decoding, figures, method, network, published, words
from core.topics.translation.asking import Found, Settings
from core.topics.translation.card import CARD, CHINESE, EMPTY_PLACE, PUBLISHED, RUNS, SENTENCES, STEERED
from core.topics.translation.network import END, UNKNOWN, CTCTranslator, Translator
from core.topics.translation.tab_bleu import bleu_room
from core.widgets import sentence_input

CHOSEN = ("word", *(f"{end}{number}" for number in STEERED for end in ("at", "to")))  # what a chosen piece sets
EACH = 16  # so many pieces are shown one by one as they come, after them every so many
DRAWING = ("temperature", "top_k", "top_p", "seed")
TREE = ("width", "alpha")
# Title of a panel -> bar -> run and score. What counts words and what counts characters is not to be compared.
MEASURED = {
    "German to English, BLEU of words": {
        "Transformer": (RUNS["transformer"], "bleu"),
        "the same, greedy": (RUNS["transformer"], "bleu_greedy"),
        "Transformer of twice the width": ("translation/large", "bleu"),
        "Transformer of half the width": ("translation/small", "bleu"),
        "LSTM with attention": (RUNS["attention"], "bleu"),
        "all at once (CTC)": (RUNS["ctc"], "bleu"),
        "LSTM": (RUNS["lstm"], "bleu"),
        "translation memory": (RUNS["transformer"], "bleu_memory"),
    },
    "English to Chinese, BLEU of characters": {
        "Transformer": (CHINESE, "bleu"),
        "LSTM with attention": ("translation/attention_zh", "bleu"),
        "LSTM": ("translation/lstm_zh", "bleu"),
        "translation memory": (CHINESE, "bleu_memory"),
    },
}


@cache
def networks() -> dict[str, Translator]:
    """Run name -> network with its stored weights, shared by all visitors and never written to."""
    return {name: words.translator(store.load(name)) for name in (*RUNS.values(), CHINESE)}


@cache
def stored(run: str, file: str) -> Any:
    """What a run keeps as JSON."""
    return json.loads(store.load(run).path(file).read_text(encoding="utf-8"))


@cache
def sample(name: str, direction: str) -> tuple[str, str]:
    """A sample sentence, and what it means if it is German."""
    if name == "strongest":
        found = stored(RUNS["transformer"], "failure.json")
        # A network without a strong case has none that is stronger than this one.
        german, meaning = (found["sentence"], found["meaning"]) if found else SENTENCES["taxes"][:2]
        english = SENTENCES["taxes"][2]
    else:
        german, meaning, english = SENTENCES[name]
    return (german, meaning) if direction == "de-en" else (english, "")


def translator(values: Mapping[str, Value]) -> Translator:
    """The network that was chosen."""
    name = str(values["network"])
    if name in PUBLISHED:
        return published.SHELF.at_hand(PUBLISHED[name]).network
    return networks()[CHINESE if values["direction"] == "en-zh" else RUNS[name]]


def direction_of(values: Mapping[str, Value]) -> str:
    """From which language to which; a published network has its own."""
    name = str(values["network"])
    return PUBLISHED[name].direction if name in PUBLISHED else str(values["direction"])


def text_of(values: Mapping[str, Value], own: str, model: Translator) -> str:
    """The sentence, the visitor's own or a sample; raises Refused for what is none."""
    direction = direction_of(values)
    text = asking.tidied(own) if own else sample(str(values["sentence"]), direction)[0]
    if wrong := asking.complaint(text, direction):
        raise Refused(wrong)
    pieces = len(model.words.ids(text))
    if pieces > decoding.LIMIT:
        raise Refused(f"Expected a sentence of at most {decoding.LIMIT} pieces; this one has {pieces}.")
    return text


def settings_of(values: Mapping[str, Value]) -> Settings:
    """How the visitor wants it translated."""
    wanted = [(int(values[f"at{number}"]), int(values[f"to{number}"])) for number in STEERED]
    return Settings(
        decoding=str(values["decoding"]),
        width=int(values["width"]),
        alpha=float(values["alpha"]),
        temperature=float(values["temperature"]),
        top_k=int(values["top_k"]),
        top_p=float(values["top_p"]),
        seed=int(values["seed"]),
        wanted=tuple((at, to) for at, to in wanted if at),
    )


def answer(values: Mapping[str, Value], own: str) -> Iterator[Answer]:
    """The translation as it is written, with what the view shows of it."""
    model = translator(values)
    found = None
    for longer in growing(values, own, model, mask=int(values["mask"])):
        # A figure takes longer to draw and send than a piece to find: of a long sentence only some are shown on the
        # way, and none while somebody else waits for a translation, too.
        if found and serve.GATE.alone and (len(found.written) <= EACH or len(found.written) % EACH == 0):
            yield said(values, own, model, found)
        found = longer
    yield said(values, own, model, found, translated(values, own, model, mask=0) if found.asked.hidden else found)


@lru_cache(maxsize=128)
def box(network: str, direction: str, text: str, mask: int, settings: Settings) -> list[Found]:
    """Where the translation of a sample lies once it is whole, for everybody who only looks at it in another way."""
    return []


def growing(values: Mapping[str, Value], own: str, model: Translator, *, mask: int) -> Iterator[Found]:
    """The translation as it is written, the whole one last; nothing else of a sample that was translated before."""
    text, settings = text_of(values, own, model), settings_of(values)
    name = str(values["network"])
    # A visitor's own sentence is kept nowhere; a published network may be another one tomorrow.
    kept = [] if own or name in PUBLISHED else box(name, str(values["direction"]), text, mask, settings)
    if kept:
        yield kept[0]
        return
    for found in asking.translations(model, asking.ask(model, text, mask=mask), settings):
        yield found
    if found.beam is None or not found.beam.late:  # what a busy moment cut short is found again
        kept.append(found)


def translated(values: Mapping[str, Value], own: str, model: Translator, *, mask: int) -> Found:
    """The whole translation."""
    [*_, last] = growing(values, own, model, mask=mask)
    return last


def said(values: Mapping[str, Value], own: str, model: Translator, found: Found, whole: Found | None = None) -> Answer:
    """What the page shows of a translation.

    whole  the one in which no word is hidden; None while it is still being written
    """
    shown = [piece for piece in found.written if piece.piece != END]
    target = spelled(model, found)
    part = part_of(values)
    weights = found.attention(**part)
    place = min(int(values["word"]), max(len(target), 1)) - 1
    numbers: dict[str, Any] = {
        "translation": found.text, "pieces": len(shown), **asking.numbers(found, **part),
    }  # fmt: skip
    tiles = [Tile("sure", f"{numbers['sure']:.0%}", "sure of its pieces, in the mean")]
    if isinstance(model, CTCTranslator):
        tiles.append(Tile("least", f"{numbers['least']:.0%}", f"sure of the least sure of {len(shown)} pieces"))
    else:
        tiles.append(Tile("log_p", f"{numbers['log_p']:.2f}", "log-probability of the whole"))
    source = [*(word.text for word in found.asked.words), "(end)"]
    if weights is not None and target:
        most = int(weights[place].argmax())
        numbers |= {"looks_at": source[most], "share": float(weights[place, most])}
        tiles.append(Tile("word", source[most], f"is where “{target[place]}” looked most, {weights[place, most]:.0%}"))
        tiles.append(Tile("spread", f"{numbers['spread']:.1f}", "words that each word looks at"))
    shown_text, meaning = sample(str(values["sentence"]), direction_of(values))
    meaning = "" if own else meaning
    if meaning:
        numbers["kept"] = method.kept(found.text, meaning)
    if whole is not None and found.asked.hidden:
        numbers["changed"] = asking.changed(spelled(model, whole), target)
        tiles.append(Tile("changed", f"{numbers['changed']:.0%}", "of the words went as one was hidden"))
    elif meaning:
        tiles.append(Tile("kept", f"{numbers['kept']:.0%}", "of the meaning's words"))
    if len(tiles) < 3:
        tiles.append(Tile("pieces", str(len(shown)), "pieces of words"))
    remark, figure = drawn(values, model, found, source=source, target=target, place=place)
    remarks = [*remarks_of(values, own, model, found, ended=whole is not None), remark]
    rows = table(model, found) or [{"piece": "", "probability": 0.0, "other": "", "other_probability": 0.0}]
    extras = [{"own": own, "shown": shown_text}, written(model, found, meaning, place)]
    idle = idle_of(values, model, found)
    return Answer(draw.to_json(figure), tiles, numbers, rows, extras, " ".join(filter(None, remarks)), idle)


def part_of(values: Mapping[str, Value]) -> dict[str, int]:
    """Which layer and head is shown, from 1; 0 for the mean over all, which also stands where no map is shown."""
    shown = values["view"] == "attention"
    return {name: int(values[name]) if shown else 0 for name in ("layer", "head")}


def spelled(model: Translator, found: Found) -> list[str]:
    """The words of a translation."""
    pieces = [piece.piece for piece in found.written]
    return [model.words.text(pieces[row.start : row.stop]).strip() or " " for row in found.rows]


def idle_of(values: Mapping[str, Value], model: Translator, found: Found) -> list[str]:
    """The controls and choices that would not change this answer."""
    ctc = isinstance(model, CTCTranslator)
    idle = ["direction"] if values["network"] in PUBLISHED else []
    if values["direction"] == "en-zh" and values["network"] in RUNS:  # only one is there
        idle += [f"network={name}" for name in RUNS if name != "transformer"]
    if ctc:
        idle += ["decoding", *CHOSEN[1:]]
    if found.beam is None:
        idle += TREE
    if ctc or values["decoding"] != "sampling":
        idle += DRAWING
    layers, heads = found.looked
    shown = values["view"] == "attention"
    idle += [] if shown and layers > 1 else ["layer"]
    return idle if shown and heads > 1 else [*idle, "head"]


def table(model: Translator, found: Found) -> list[dict[str, Any]]:
    """A row for each piece, for the CSV, with the likeliest of all others."""
    rows = []
    for piece in found.written:
        other, p = next(found for found in asking.alternatives(piece, 2) if found[0] != piece.piece)
        rows.append(
            {
                "piece": named(model, piece.piece),
                "probability": float(f"{float(piece.log_p[piece.piece].exp()):.6g}"),
                "other": named(model, other),
                "other_probability": float(f"{p:.6g}"),
            }
        )
    return rows


def drawn(
    values: Mapping[str, Value], model: Translator, found: Found, *, source: list[str], target: list[str], place: int
) -> tuple[str, draw.Figure]:
    """The figure of the view that was chosen, and what has to be said if it is another."""
    hidden = found.asked.hidden
    hides = f" ({source[hidden - 1]} is hidden)" if hidden else ""
    sentence = f"{found.asked.text}{hides} — {found.text}"
    view, remark = str(values["view"]), ""
    if view == "tree" and found.beam is not None:
        pieces = [named(model, node.piece) for node in found.beam.nodes]
        return "", figures.tree(found.beam, pieces, f"{sentence}. The beam looked at {len(pieces)} pieces.")
    if view == "tree":
        remark = "No beam was followed, so there is no tree: shown is what else it considered."
    if view == "attention" and not model.weighing:
        remark = "An LSTM without attention looks nowhere: shown is what else it considered."
    weights = found.attention(**part_of(values))
    if view != "attention" or weights is None:
        return remark, choices(values, model, found, sentence)
    for name, count in zip(("layer", "head"), found.looked, strict=True):
        if int(values[name]) > count:
            remark += f"It has {count} {name}{'s' if count > 1 else ''}: shown is {name} {count}. "
    words_ = min(len(source) - 1, int(CARD.param("mask").high))
    return remark.strip(), figures.attention_map(
        weights,
        source,
        target,
        asked=place,
        hidden=hidden - 1,
        picks=[["word", min(row, int(CARD.param("word").high))] for row in range(1, len(target) + 1)],
        hides=[["mask", 0 if at == hidden else at] for at in range(1, words_ + 1)],
        sentence=sentence,
    )


def remarks_of(values: Mapping[str, Value], own: str, model: Translator, found: Found, *, ended: bool) -> list[str]:
    """What has to be said about the input."""
    remarks = []
    if values["direction"] == "en-zh" and values["network"] in RUNS and values["network"] != "transformer":
        remarks.append("From English to Chinese only the Transformer is here.")
    if unknown := dict.fromkeys(word.text for word in found.asked.words if not word.known):
        remarks.append(f"Unknown to it: {', '.join(unknown)}.")
    if strange := asking.other_language(found.asked.text, direction_of(values)):
        remarks.append(strange)
    if int(values["mask"]) > len(found.asked.words):
        remarks.append(f"The sentence has {len(found.asked.words)} words: none is hidden.")
    steers = ended and not isinstance(model, CTCTranslator)
    if steers and any(int(values[f"at{number}"]) > len(found.written) for number in STEERED):
        remarks.append(f"It has {len(found.written)} pieces: what was chosen behind them is not there.")
    if found.beam is not None and found.beam.late:
        remarks.append(f"The beam was stopped after {asking.PATIENCE_S:g} seconds: this is the best it had.")
    if values["sentence"] == "strongest" and not own and direction_of(values) == "en-zh":
        remarks.append("Confident mistakes were looked for in German alone; this is an ordinary sentence.")
    return remarks


def choices(values: Mapping[str, Value], model: Translator, found: Found, sentence: str) -> draw.Figure:
    """What else could have stood at each place; a click takes it, except where all are written at once."""
    wanted = [(int(values[f"at{number}"]), int(values[f"to{number}"])) for number in STEERED]
    greedy = values["decoding"] == "greedy"
    rows, picks, stands = [], [], []
    for place, piece in enumerate(found.written, 1):
        likeliest = asking.alternatives(piece)
        rows.append([(named(model, number), p) for number, p in likeliest])
        stands.append(next((rank for rank, (number, _) in enumerate(likeliest) if number == piece.piece), -1))
        word = next((row for row, part in enumerate(found.rows, 1) if place - 1 in part), len(found.rows))
        asked = min(max(word, 1), int(CARD.param("word").high))
        picks.append(
            [
                ["choice", asked, *itertools.chain.from_iterable(steered(wanted, place, rank, greedy=greedy))]
                for rank in range(1, asking.ALTERNATIVES + 1)
            ]
        )
    takes = not isinstance(model, CTCTranslator)
    return figures.choices_map(rows, stands, picks=picks if takes else None, sentence=sentence)


def named(model: Translator, number: int) -> str:
    """A piece as the figure writes it."""
    return {END: "(end)", network.PAD: "(none)"}.get(number) or model.words.shown(number)


def steered(wanted: Sequence[tuple[int, int]], place: int, rank: int, *, greedy: bool) -> list[tuple[int, int]]:
    """The choices, (place, rank), after one more: what was chosen before that place stays, what came after it is void.

    A fourth choice, and one behind the last place that a control can name, changes nothing. Where the likeliest
    piece stands anyhow, choosing it only takes a former choice back.
    """
    kept = [(at, to) for at, to in wanted if 0 < at < place]
    if len(kept) == len(STEERED) or place > CARD.param("at1").high:
        return list(wanted)
    if rank > 1 or not greedy:
        kept.append((place, rank))
    return kept + [(EMPTY_PLACE, 1)] * (len(STEERED) - len(kept))


def clicked(pick: list) -> dict[str, Value]:
    """What a click in the figure sets: the word that is asked about or hidden, or a piece that shall stand there."""
    match pick:
        case ["word" | "mask" as name, number]:
            return {name: number}
        case ["choice", *numbers] if len(numbers) == len(CHOSEN):
            return dict(zip(CHOSEN, numbers, strict=True))
        case [0, 0]:
            return {name: CARD.param(name).default for name in ("mask", *CHOSEN)}
    return {}


def written(model: Translator, found: Found, meaning: str, place: int) -> str:
    """The translation as a sentence: Chinese with glosses, English with the word that is asked about underlined."""
    if model.direction == "en-zh":
        glossary = stored(CHINESE, "glossary.json")
        body = "".join(
            f"<ruby>{escape(term)}<rt>{escape(gloss)}</rt></ruby>" if gloss else escape(term)
            for term, gloss in words.glossed(found.text, glossary)
        )
        return f"<p class='written' lang='zh' role='status'>{body}</p>"
    pieces = [piece.piece for piece in found.written]
    parts = []
    for index, row in enumerate(found.rows):
        word = model.words.text([UNKNOWN, *pieces[row.start : row.stop]])[1:]  # with the space before it
        gap = " " if word.startswith(" ") else ""
        text = escape(word.strip())
        parts.append(gap + (f"<span class='mark'>{text}</span>" if index == place else text))
    means = f"<p class='small'>It means: {escape(meaning)}</p>" if meaning else ""
    return f"<p class='written' lang='en' role='status'>{''.join(parts).strip()}</p>{means}"


def follow(values: Mapping[str, Value], own: str, pick: list[Value]) -> list[str]:
    """The first piece of the word that is asked about, from the sentence to its probability."""
    model = translator(values)
    found = translated(values, own, model, mask=int(values["mask"]))
    asked = found.asked
    if not found.rows:
        return ["The network wrote no word.", "So there is no piece to follow.", "Choose another sentence."]
    place = found.rows[min(int(values["word"]), len(found.rows)) - 1].start
    piece = found.written[place]
    before = model.words.text([former.piece for former in found.written[:place]])
    (first, p), (second, q) = asking.alternatives(piece, 2)
    log_p = float(piece.log_p[piece.piece])
    steps = [
        f"The sentence has {len(asked.words)} words, {len(asked.ids)} pieces with its end.",
    ]
    if isinstance(model, CTCTranslator):
        steps.append("All pieces are written at once: none hears of another.")
    else:
        steps.append(f"Written before: “{escape(before)}”." if before else "Nothing is written yet.")
    if piece.weights is not None:
        looked = piece.weights.mean(dim=(0, 1))
        most = int(looked.argmax())
        name = "the end" if most == len(asked.ids) - 1 else f"“{escape(named(model, asked.ids[most]))}”"
        steps.append(f"All layers and heads together look at {name} most, {float(looked[most]):.0%}.")
    return [
        *steps,
        f"Softmax over {len(piece.log_p):,} pieces: “{escape(named(model, first))}” {p:.1%}, "
        f"“{escape(named(model, second))}” {q:.1%}, all others {max(0.0, 1 - p - q):.1%}.",
        f"Piece {place + 1} is “{escape(named(model, piece.piece))}”: log p = {log_p:.3f}, "
        f"p = <b>{float(piece.log_p[piece.piece].exp()):.1%}</b>.",
    ]


def snippet(values: Mapping[str, Value], own: str) -> str:
    """Eight lines of Python that give the same numbers."""
    name = str(values["network"])
    if name in PUBLISHED:
        load = f"""from core.topics.translation import asking, card, published
*_, last = published.SHELF.loading(card.PUBLISHED["{name}"]); model = last.loaded.network"""
    else:
        run = CHINESE if values["direction"] == "en-zh" else RUNS[name]
        load = f"""from core import store
from core.topics.translation import asking, words
model = words.translator(store.load("{run}"))"""
    text = text_of(values, own, translator(values))
    return f"""{load}
asked = asking.ask(model, {text!r}, mask={values["mask"]})
found = asking.translation(model, asked, asking.{settings_of(values)!r})
print(found.text, asking.numbers(found, {", ".join(f"{name}={number}" for name, number in part_of(values).items())}))"""


def heads(values: dict[str, Value], own: str) -> Iterator[str]:
    """Where each layer and head looked: rows are written words, columns read ones; hover names them."""
    model = translator(values)
    found = translated(values, own, model, mask=int(values["mask"]))
    if found.heads is None:
        yield f"<p>{'It wrote no word.' if model.weighing else 'This network has no attention.'}</p>"
        return
    source = [*(word.text for word in found.asked.words), "(end)"]
    yield f"<p>{escape(found.text)}</p>" + figures.heads(found.heads, (source, spelled(model, found)))


def measured() -> draw.Figure:
    """BLEU of everything that was compared, from the stored runs."""
    return figures.compared(
        {
            title: {bar: (store.load(run).score(key), key.endswith("_memory")) for bar, (run, key) in bars.items()}
            for title, bars in MEASURED.items()
        }
    )


def widgets(first: Answer) -> Widgets:
    """The input column: the sentence, and what became of it. What is too long fits in, for it is refused in words."""
    view = sentence_input("The sentence", first.extras[0]["shown"], longest=2 * asking.LONGEST, keys="äöüß")
    result = gr.HTML(first.extras[1], elem_id="written")
    return Widgets(own=view, extras=[view, result])


space = Space(
    card=CARD,
    answer=answer,
    widgets=widgets,
    networks=networks,
    run=RUNS["transformer"],
    shown=[network.attention_weights, network.additive_scores, method.length_penalty, method.likeliest],
    follow=follow,
    pick=(),
    measured=measured,
    snippet=snippet,
    sheets={"All heads": heads},
    rooms={"BLEU": bleu_room},
    fetch=published.SHELF.fetch,
    clicked=clicked,
    input="text",
)
demo = space.build()

if __name__ == "__main__":
    serve.launch(demo, CARD)
