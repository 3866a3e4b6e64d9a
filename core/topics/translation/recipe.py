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
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from core import data, loop, store
from core.topics.translation import asking, bleu, corpus, decoding, method, scoring, words
from core.topics.translation.network import END, PAD, Translator, build

LONGEST = 100  # pieces of a training sentence; the few longer ones are left out
STORED = 100  # test sentences per direction that travel with the weights, and their translations
CHECKED_PIECES = 3  # of the sentence by which any copy of a network is checked
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


# Twenty megabytes for all of them: the two Transformers get the most, and three seeds.
LSTM = Recipe(kind="lstm", width=144, layers=(2, 2), pieces=4000, dropout=0.3, epochs=25, seeds=(0,))
ATTENTION = Recipe(kind="attention", width=160, layers=(1, 1), pieces=4000, dropout=0.3, epochs=25, seeds=(0,))
RECIPES = {
    "transformer": Recipe(pieces=5000, dropout=0.3, batch=128, epochs=45),
    "attention": ATTENTION,
    "lstm": LSTM,
    # Half and twice the width, for the question what size brings: they keep their scores alone.
    "small": Recipe(width=64, hidden=256, layers=(2, 2), pieces=5000, seeds=(0,), keep_weights=False),
    "large": Recipe(
        width=256, hidden=1024, pieces=5000, dropout=0.3, rate=1e-3, epochs=25, seeds=(0,), keep_weights=False
    ),
    "ctc": Recipe(kind="ctc", layers=(3, 2), pieces=4000, label_smoothing=0.0, seeds=(0,)),
    # Twice as many pairs as for German, each half as long.
    "transformer_zh": Recipe(direction="en-zh", dropout=0.3, batch=128, epochs=35),
    "attention_zh": replace(ATTENTION, direction="en-zh", pieces=6000, epochs=20, keep_weights=False),
    "lstm_zh": replace(LSTM, direction="en-zh", pieces=6000, epochs=20, keep_weights=False),
}


# ---- sentences


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
        return method.smoothed_loss(network(source, decoding.shifted(target)), target, smoothing=recipe.label_smoothing)


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
    examples: corpus.Corpus | None = None,
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
    examples = examples or corpus.corpus(recipe.direction)
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


evaluate = scoring.evaluate  # asked for by scripts, as is `restore` below


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
    found = scoring.translate(network, [first for first, _ in pairs])
    score = scoring.corpus_bleu(found, [second for _, second in pairs], recipe.direction)
    return {"validation_loss": float(torch.stack(parts).mean()), "validation_bleu": score}


# ---- what travels with the weights


def restore(run: store.Run) -> Translator:
    """The network of a stored run, frozen, with its `words` and `direction`."""
    return words.translator(run)


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of config.json that follow from the recipe and the training sentences."""
    source = data.PAIRS[corpus.SOURCES[recipe.direction]]
    uses = {
        "multi30k": "trained on 29,000 pairs, validated on 1,014, scored on the 1,000 of test2016",
        "cmn_eng": "trained on 61,535 pairs (train, and train_extra in simplified script), validated on 1,453, scored "
        "on 1,000",
    }
    return {
        "network": describe_network(recipe, len(learnt_words(recipe, corpus.corpus(recipe.direction).train))),
        "classes": recipe.direction.split("-"),
        "preprocessing": {
            "direction": recipe.direction,
            "pieces": "byte-pair encoding of both languages, tokenizer.json",
            "signature": scoring.signature(recipe.direction),
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
    examples, found = corpus.corpus(network.direction), scoring.measured(network)
    ways = {"beam": found.beam, "greedy": found.greedy, "memory": found.memory}
    rows = [
        {"source": source, "reference": true, **{name: texts[place] for name, texts in ways.items()}}
        for place, (source, true) in enumerate(examples.test[:STORED])
    ]
    counted = {
        name: torch.tensor(
            [
                bleu.counts(text, true, tokeniser=scoring.TOKENISERS[network.direction]).row()
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
