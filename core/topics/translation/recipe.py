"""How the weights are made.

make train TOPIC=translation

One core needs about two minutes per epoch; a GPU some seconds. Expected: 41 BLEU from German to English with a beam
of five (transformer); the config.json of each run has the figures. Chinese is learnt in simplified script: what part
of the training sentences is in traditional script is converted, for which opencc-python-reimplemented is needed.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from core import data, loop, store
from core.topics.translation import asking, bleu, decoding, method, words
from core.topics.translation.network import BEGIN, END, PAD, UNKNOWN, CTCTranslator, Translator, build

SOURCES = {"de-en": "multi30k", "en-zh": "cmn_eng"}
TOKENISERS = {"de-en": "13a", "en-zh": "zh"}
TESTS = {"de-en": "test2016", "en-zh": "test"}
LONGEST = 100  # pieces of a training sentence; the few longer ones are left out
STORED = 100  # test sentences per direction that travel with the weights, and their translations
BEAM = 5
CHECKED_PIECES = 3  # of the sentence by which any copy of a network is checked
CHECKED = 100  # test sentences on which beam and greedy are compared, and words are hidden
WATCHED = 200  # validation sentences that are translated after each epoch
POOL = 50  # batches among which sentences of like length are put together

# Sentences from outside the captions, with what they mean: on these the last step of the tour is found.
OUTSIDE = (
    ("Die Regierung erhöht die Steuern.", "The government raises the taxes."),
    ("Der Minister tritt morgen zurück.", "The minister resigns tomorrow."),
    ("Die Zinsen steigen seit Januar.", "Interest rates have been rising since January."),
    ("Das Gericht hat die Klage abgewiesen.", "The court has dismissed the lawsuit."),
    ("Die Inflation ist gesunken.", "Inflation has fallen."),
    ("Der Arzt verschreibt ein Medikament.", "The doctor prescribes a medicine."),
    ("Ich habe meinen Schlüssel vergessen.", "I have forgotten my key."),
    ("Wie spät ist es?", "What time is it?"),
    ("Die Demokratie braucht Vertrauen.", "Democracy needs trust."),
    ("Wir müssen die Miete bezahlen.", "We have to pay the rent."),
    ("Der Vertrag wurde gestern unterschrieben.", "The contract was signed yesterday."),
    ("Die Wahl findet im September statt.", "The election takes place in September."),
)


@dataclass(frozen=True)
class Recipe:
    """Every number that matters.

    kind             of network, a key of `network.KINDS`
    direction        "de-en" or "en-zh"
    width            of the embedding and of everything between layers
    layers           of encoder and decoder; recurrent networks take the first number
    heads, hidden    of attention, and numbers inside each layer's second part
    pieces, letters  see `words.learn`
    dropout          share of numbers that are left out
    label_smoothing  see `method.smoothed_loss`
    rate             peak of the learning rate of AdamW
    warm             share of the steps in which it rises
    weight_decay     of AdamW
    average          decay per step of the running mean of the weights, which is what is kept; 0 keeps the last
    epochs, batch    passes over the sentences, and how many of them at once
    seeds            runs behind mean and spread; the first one's weights are kept if keep_weights says so
    """

    kind: str = "transformer"
    direction: str = "de-en"
    width: int = 128
    layers: tuple[int, int] = (4, 4)
    heads: int = 4
    hidden: int = 512
    pieces: int = 6000
    letters: int = 4000
    dropout: float = 0.2
    label_smoothing: float = 0.1
    rate: float = 2e-3
    warm: float = 0.1
    weight_decay: float = 0.01
    average: float = 0.999
    epochs: int = 40
    batch: int = 96
    seeds: tuple[int, ...] = (0, 1, 2)
    keep_weights: bool = True


# Twenty megabytes for all of them: the two Transformers get the most.
LSTM = Recipe(kind="lstm", width=144, layers=(2, 2), pieces=4000, dropout=0.3, epochs=25)
ATTENTION = Recipe(kind="attention", width=160, layers=(1, 1), pieces=4000, dropout=0.3, epochs=25)
RECIPES = {
    "transformer": Recipe(pieces=5000, dropout=0.3, batch=128, epochs=45),
    "attention": ATTENTION,
    "lstm": LSTM,
    # Half the width, for the question what size brings: it keeps its scores alone.
    "small": Recipe(width=64, hidden=256, layers=(2, 2), pieces=5000, seeds=(0,), keep_weights=False),
    "ctc": Recipe(kind="ctc", layers=(3, 2), pieces=4000, label_smoothing=0.0, seeds=(0,)),
    # Twice as many pairs as for German, each half as long.
    "transformer_zh": Recipe(direction="en-zh", dropout=0.3, batch=128, epochs=35),
    "attention_zh": replace(ATTENTION, direction="en-zh", pieces=6000, epochs=20, keep_weights=False),
    "lstm_zh": replace(LSTM, direction="en-zh", pieces=6000, epochs=20, keep_weights=False),
}


# ---- sentences


@dataclass(frozen=True)
class Corpus:
    """Sentences and their translations, in three parts."""

    train: Sequence[tuple[str, str]]
    validation: Sequence[tuple[str, str]]
    test: Sequence[tuple[str, str]]


@cache
def corpus(direction: str) -> Corpus:
    """All sentences of a direction; raises data.MissingSource."""
    name = SOURCES[direction]
    train = data.pairs(name, "train")
    if direction == "en-zh":
        train = train + simplified(data.pairs(name, "train_extra"))
    return Corpus(train, data.pairs(name, "val"), data.pairs(name, TESTS[direction]))


def simplified(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same pairs with the Chinese in simplified script; what is simplified already stays as it is."""
    from opencc import OpenCC

    converter = OpenCC("t2s")
    return [(english, converter.convert(chinese)) for english, chinese in pairs]


def prepared(pairs: Sequence[tuple[str, str]], pieces: words.LearntWords) -> tuple[Tensor, Tensor]:
    """Pairs as two tables of pieces, END after each sentence, (N, S) and (N, T), padded."""
    sides = [pieces.many([pair[side] for pair in pairs]) for side in (0, 1)]
    fitting = [(s, t) for s, t in zip(*sides, strict=True) if max(len(s), len(t)) < LONGEST]
    return tuple(decoding.padded([[*pair[side], END] for pair in fitting]) for side in (0, 1))  # type: ignore[return-value]


def batches(lengths: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Indices of one epoch in full batches of sentences of like length, so that little of a batch is padding.

    Shuffled; what would not fill a batch is left out; then, within POOL batches, sorted; then the batches are shuffled.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(lengths), generator=generator)[: len(lengths) - len(lengths) % size]
    found: list[Tensor] = []
    for pool in shuffled.split(size * POOL):
        found += pool[lengths[pool].argsort(stable=True)].split(size)
    return iter([found[place] for place in torch.randperm(len(found), generator=generator).tolist()])


def trimmed(table: Tensor) -> Tensor:
    """Without the columns that are padding in every row."""
    return table[:, : int((table != PAD).sum(dim=1).max())]


# ---- training


def loss_of(network: Callable[..., Tensor], source: Tensor, target: Tensor, *, recipe: Recipe) -> Tensor:
    """The training loss of a batch; source (B, S) and target (B, T) with END, padded."""
    source, target = trimmed(source), trimmed(target)
    # In bfloat16 on a CPU the flash kernel's derivative is several times slower than plain products.
    with sdpa_kernel(SDPBackend.MATH) if source.device.type == "cpu" else nullcontext():
        if recipe.kind == "ctc":
            logits = network(source)
            slots = logits.shape[1] // source.shape[1] * (source != PAD).sum(dim=1)
            return method.ctc_loss(logits, slots, target.masked_fill(target == END, PAD))
        return method.smoothed_loss(network(source, shifted(target)), target, smoothing=recipe.label_smoothing)


def shifted(target: Tensor) -> Tensor:
    """What stands before each piece of a batch (B, T), BEGIN first."""
    return torch.cat([torch.full_like(target[:, :1], BEGIN), target[:, :-1]], dim=1)


def describe_network(recipe: Recipe, pieces: int) -> dict[str, Any]:
    """The arguments of `network.build`."""
    options: dict[str, Any] = {"kind": recipe.kind, "pieces": pieces, "width": recipe.width, "dropout": recipe.dropout}
    if recipe.kind in ("lstm", "attention"):
        return options | {"layers": recipe.layers[0]}
    return options | {"layers": list(recipe.layers), "heads": recipe.heads, "hidden": recipe.hidden}


def learnt_words(recipe: Recipe, pairs: Sequence[tuple[str, str]]) -> words.LearntWords:
    """The pieces of both languages of the training sentences."""
    return words.learn((sentence for pair in pairs for sentence in pair), pieces=recipe.pieces, letters=recipe.letters)


def train(
    recipe: Recipe,
    *,
    seed: int,
    examples: Corpus | None = None,
    folder: Path | None = None,
    budget_s: float = float("inf"),
    report: Callable[[str], None] = print,
) -> tuple[Translator, loop.History]:
    """Train one translator.

    seed      decides initial weights, order and dropout
    examples  `corpus` of the recipe's direction by default
    folder    where a killed run is taken up again
    returns   the network in eval mode, its weights rounded to fp16, with its `words` and `direction`; its history
    """
    examples = examples or corpus(recipe.direction)
    pieces = learnt_words(recipe, examples.train)
    sentences, held_out = prepared(examples.train, pieces), prepared(examples.validation, pieces)
    lengths = torch.stack([(table != PAD).sum(dim=1) for table in sentences]).amax(dim=0)
    with torch.random.fork_rng():
        torch.manual_seed(loop.seed_of(seed))
        network = build(**describe_network(recipe, len(pieces)))
    network.words, network.direction = pieces, recipe.direction
    history = loop.fit(
        network,
        sentences,
        partial(loss_of, recipe=recipe),
        optimizer=torch.optim.AdamW(
            network.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
        ),
        epochs=recipe.epochs,
        batch=recipe.batch,
        seed=seed,
        batches=partial(batches, lengths, recipe.batch),
        validate=partial(validated, held_out=held_out, pairs=examples.validation[:WATCHED], recipe=recipe),
        warm=recipe.warm,
        clip=1.0,
        average=recipe.average,
        folder=folder,
        budget_s=budget_s,
        # Packed recurrent layers have no bfloat16 on a CPU that would be faster.
        mixed_precision=torch.cuda.is_available() or recipe.kind in ("transformer", "ctc"),
        report=report,
    )
    return store.rounded(network), history


@torch.inference_mode()
def validated(
    network: Translator, *, held_out: tuple[Tensor, Tensor], pairs: Sequence[tuple[str, str]], recipe: Recipe
) -> loop.Row:
    """Loss on the validation sentences, the mean over hundreds of them, and BLEU of the first, decoded greedily."""
    device = network.embedding.weight.device
    plain = replace(recipe, label_smoothing=0.0)
    parts = [
        loss_of(network, *(table[chosen].to(device) for table in held_out), recipe=plain)
        for chosen in torch.arange(len(held_out[0])).split(100)
    ]
    found = translate(network, [first for first, _ in pairs])
    counted = bleu.together(
        bleu.counts(text, true, tokeniser=TOKENISERS[recipe.direction])
        for text, (_, true) in zip(found, pairs, strict=True)
    )
    return {"validation_loss": float(torch.stack(parts).mean()), "validation_bleu": bleu.bleu(counted).value}


def translate(network: Translator, sentences: Sequence[str]) -> list[str]:
    """Many sentences, each piece the likeliest one; sentences of like length together."""
    sources = [[*ids, END] for ids in network.words.many(sentences)]
    order = sorted(range(len(sources)), key=lambda place: len(sources[place]))
    found = [""] * len(sources)
    for first in range(0, len(order), 100):
        part = order[first : first + 100]
        asked = [sources[place] for place in part]
        if isinstance(network, CTCTranslator):
            written = [[piece.piece for piece in sentence] for sentence in decoding.fill(network, asked)]
        else:
            written = decoding.greedy(network, asked, limit=decoding.limit_of(asked[-1]))
        for place, ids in zip(part, written, strict=True):
            found[place] = network.words.text(ids)
    return found


# ---- measuring


def evaluate(network: Translator, *, seed: int) -> dict[str, float]:
    """What the translator can do, on the test sentences.

    returns bleu, chrf      with a beam of BEAM, length penalty 1 (CTC: all slots at once)
            bleu_greedy     the likeliest piece each time
            likelier        share of CHECKED sentences of which a beam, without length penalty, finds one that is at
                            least as likely as the greedy one
            bleu_forced     the likeliest piece each time after the true beginning (teacher forcing), as many as the
                            true translation has, so that nothing is charged for a wrong length
            accuracy_forced share of pieces that are the true one after the true beginning
            bleu_short, bleu_long    the third of the sentences with the fewest, and with the most source words
            bleu_memory, chrf_memory the translation of the most similar training sentence
            turned, turned_other     share of words that change if the source word that they attended to most, or
                                     another one, is hidden
    """
    found = measured(network)
    test = corpus(network.direction).test
    true = [second for _, second in test]
    result = {
        "bleu": corpus_bleu(found.beam, true, network.direction),
        "chrf": chrf(found.beam, true),
        "bleu_greedy": corpus_bleu(found.greedy, true, network.direction),
        "bleu_memory": corpus_bleu(found.memory, true, network.direction),
        "chrf_memory": chrf(found.memory, true),
    }
    order = sorted(range(len(test)), key=lambda place: len(test[place][0].split()))
    third = len(test) // 3
    for name, part in {"short": order[:third], "long": order[-third:]}.items():
        result[f"bleu_{name}"] = corpus_bleu([found.beam[p] for p in part], [true[p] for p in part], network.direction)
    if not isinstance(network, CTCTranslator):
        result |= forced(network, test) | {"likelier": likelier(network, [first for first, _ in test[:CHECKED]])}
    if network.weighing and not isinstance(network, CTCTranslator):
        result |= turned(network, [first for first, _ in test[:CHECKED]], seed=seed)
    return result


@dataclass(frozen=True)
class Translations:
    """Translations of all test sentences, by three ways."""

    beam: list[str]
    greedy: list[str]
    memory: list[str]


@lru_cache(maxsize=1)  # scores and companions ask for the same
def measured(network: Translator) -> Translations:
    """Translate the test sentences of the network's direction."""
    examples = corpus(network.direction)
    sentences = [first for first, _ in examples.test]
    greedy = translate(network, sentences)
    best = greedy
    if not isinstance(network, CTCTranslator):
        best = [
            network.words.text(decoding.beam(network, [*ids, END], width=BEAM, alpha=1.0).best)
            for ids in network.words.many(sentences)
        ]
    return Translations(best, greedy, memory(examples.train, sentences))


def memory(train: Sequence[tuple[str, str]], sentences: Sequence[str]) -> list[str]:
    """The baseline: the translation that stands beside the most similar training sentence.

    Similar is the cosine between bags of words, in which rare ones weigh more.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", sublinear_tf=True)
    table = known.fit_transform([first for first, _ in train])
    nearest = np.asarray((known.transform(list(sentences)) @ table.T).argmax(axis=1)).ravel()
    return [train[place][1] for place in nearest.tolist()]


def corpus_bleu(found: Sequence[str], true: Sequence[str], direction: str) -> float:
    """sacreBLEU with its default settings, of all sentences together."""
    rows = (bleu.counts(*pair, tokeniser=TOKENISERS[direction]) for pair in zip(found, true, strict=True))
    return bleu.bleu(bleu.together(rows)).value


def chrf(found: Sequence[str], true: Sequence[str]) -> float:
    """sacreBLEU's chrF2."""
    from sacrebleu.metrics import CHRF

    return CHRF().corpus_score(list(found), [list(true)]).score


@torch.inference_mode()
def forced(network: Translator, pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """How well does a translator write that need not go on from its own words? Scores of `evaluate` about that."""
    pieces, texts = network.words, []
    right = count = 0
    for first in range(0, len(pairs), 100):
        part = pairs[first : first + 100]
        source, target = (
            decoding.padded([[*ids, END] for ids in pieces.many([pair[side] for pair in part])]) for side in (0, 1)
        )
        said = decoding.allowed(network(source, shifted(target))).argmax(dim=-1)
        real = target != PAD
        right += int(((said == target) & real).sum())
        count += int(real.sum())
        lengths = real.sum(dim=1).tolist()
        texts += [pieces.text(row[: n - 1]) for row, n in zip(said.tolist(), lengths, strict=True)]
    true = [second for _, second in pairs]
    return {"bleu_forced": corpus_bleu(texts, true, network.direction), "accuracy_forced": right / count}


def likelier(network: Translator, sentences: Sequence[str]) -> float:
    """How often does a beam of BEAM find a sentence that is at least as likely as the greedy one?"""
    found = 0
    for sentence in sentences:
        source = [*network.words.ids(sentence), END]
        greedy = sum(float(piece.log_p[piece.piece]) for piece in decoding.write(network, source, weigh=False))
        found += decoding.beam(network, source, width=BEAM, alpha=0.0).score >= greedy - 1e-4
    return found / len(sentences)


@torch.inference_mode()
def turned(network: Translator, sentences: Sequence[str], *, seed: int) -> dict[str, float]:
    """How often does a word change if the source word that it attended to most is hidden, and if another is?

    Hidden means: its pieces are UNKNOWN. What stands before the word in the translation stays, and it counts as
    changed if another first piece is the likeliest now.
    """
    generator = torch.Generator().manual_seed(loop.seed_of(seed, 30))
    changed = {"turned": 0, "turned_other": 0}
    count = 0
    for sentence in sentences:
        ids = network.words.ids(sentence)
        columns = [range(word.first, word.last + 1) for word in network.words.split(sentence)]
        written = list(decoding.write(network, [*ids, END]))
        target = [piece.piece for piece in written if piece.piece != END]
        if len(columns) < 3 or not target:
            continue
        looked = torch.stack([piece.weights.mean(dim=(0, 1)) for piece in written if piece.weights is not None])
        for row in network.words.groups(target):
            weights = method.grouped(looked[row.start : row.start + 1], [range(1)], columns)[0]
            most = int(weights.argmax())
            other = (most + 1 + int(torch.randint(len(columns) - 1, (), generator=generator))) % len(columns)
            cases = []
            for place in (most, other):
                masked = list(ids)
                masked[columns[place].start : columns[place].stop] = [UNKNOWN] * len(columns[place])
                cases.append([*masked, END])
            given = torch.tensor([[BEGIN, *target[: row.start]]] * 2)
            said = decoding.allowed(network(decoding.padded(cases), given)[:, -1]).argmax(dim=-1)
            for name, piece in zip(changed, said.tolist(), strict=True):
                changed[name] += piece != target[row.start]
            count += 1
    return {name: value / max(count, 1) for name, value in changed.items()}


# ---- what travels with the weights


def restore(run: store.Run) -> Translator:
    """The network of a stored run, frozen, with its `words` and `direction`."""
    return words.translator(run)


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of config.json that follow from the recipe and the training sentences."""
    source = data.PAIRS[SOURCES[recipe.direction]]
    uses = {
        "multi30k": "trained on 29,000 pairs, validated on 1,014, scored on the 1,000 of test2016",
        "cmn_eng": "trained on 61,535 pairs (train, and train_extra in simplified script), validated on 1,453, scored "
        "on 1,000",
    }
    return {
        "network": describe_network(recipe, len(learnt_words(recipe, corpus(recipe.direction).train))),
        "classes": recipe.direction.split("-"),
        "preprocessing": {
            "direction": recipe.direction,
            "pieces": "byte-pair encoding of both languages, tokenizer.json",
            "signature": "nrefs:1|case:mixed|eff:no|tok:" + TOKENISERS[recipe.direction] + "|smooth:exp|version:2.6.0",
            "signature_chrf": "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0",
        },
        "recipe": asdict(recipe),
        "data": [
            {
                "name": source.name,
                "title": source.title,
                "use": uses[source.name],
                "licence": source.licence,
                "origin": source.origin,
                "sha256": source.files,
            }
        ],
    }


def companions(network: Translator) -> dict[str, dict[str, Tensor] | bytes]:
    """The files that travel with the weights, by name.

    tokenizer.json        the pieces
    expected.safetensors  a small input and its output, so that any copy can be checked without data
    outputs.json          the first STORED test sentences with reference and translations (beam, greedy, memory)
    counts.safetensors    n-gram counts of all test sentences by each way, (N, 10), see `bleu.Counts.row`
    failure.json          the strongest case among OUTSIDE, of a translator from German, or null; the page shows the
                          Transformer's
    glossary.json         of a translator into Chinese: what Chinese words mean
    """
    examples, found = corpus(network.direction), measured(network)
    ways = {"beam": found.beam, "greedy": found.greedy, "memory": found.memory}
    rows = [
        {"source": source, "reference": true, **{name: texts[place] for name, texts in ways.items()}}
        for place, (source, true) in enumerate(examples.test[:STORED])
    ]
    counted = {
        name: torch.tensor(
            [
                bleu.counts(text, true, tokeniser=TOKENISERS[network.direction]).row()
                for text, (_, true) in zip(texts, examples.test, strict=True)
            ],
            dtype=torch.int16,
        )
        for name, texts in ways.items()
    }
    # A few pieces are enough: CTC's logits of a whole sentence would take a quarter of a megabyte.
    asked = decoding.padded([[*network.words.ids(examples.test[0][0])[:CHECKED_PIECES], END]])
    with torch.inference_mode():
        expected = {"input": asked, "output": network(asked)}
    files: dict[str, dict[str, Tensor] | bytes] = {
        "tokenizer.json": network.words.write(),
        "expected.safetensors": expected,
        "outputs.json": as_json(rows),
        "counts.safetensors": counted,
    }
    if network.direction == "de-en":
        files["failure.json"] = as_json(find_failure(network))
    else:
        files["glossary.json"] = as_json(words.meaning(examples.train, fewest=5, least=0.35))
    return files


def as_json(value: Any) -> bytes:
    """JSON that a reader of Chinese can read."""
    return (json.dumps(value, ensure_ascii=False, indent=0) + "\n").encode()


def find_failure(network: Translator) -> dict[str, Any] | None:
    """Which sentence from outside the captions is most surely mistranslated?

    returns the sentence, its meaning, the translation, `kept` (at most 0.4) and `sure`, the geometric mean of the
            pieces' probabilities (at least 0.3); None if there is none
    """
    cases = []
    for sentence, meaning in OUTSIDE:
        found = asking.translation(network, asking.ask(network, sentence), asking.Settings())
        cases.append(
            {
                "sentence": sentence,
                "meaning": meaning,
                "translation": found.text,
                "kept": method.kept(found.text, meaning),
                "sure": asking.numbers(found)["sure"],
            }
        )
    wrong = [case for case in cases if case["kept"] <= 0.4 and case["sure"] >= 0.3]  # type: ignore[operator]
    return max(wrong, key=lambda case: case["sure"], default=None)  # type: ignore[arg-type, return-value]
