"""What a translator can do, on the test sentences of its direction."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from core import loop
from core.topics.translation import bleu, corpus, decoding, method
from core.topics.translation.network import BEGIN, END, PAD, UNKNOWN, CTCTranslator, Translator

TOKENISERS = {"de-en": "13a", "en-zh": "zh"}
BEAM = 5
CHECKED = 100  # test sentences on which beam and greedy are compared, and words are hidden


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
    test = corpus.corpus(network.direction).test
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
    examples = corpus.corpus(network.direction)
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


def signature(direction: str) -> str:
    """What sacreBLEU calls these settings."""
    return f"nrefs:1|case:mixed|eff:no|tok:{TOKENISERS[direction]}|smooth:exp|version:2.6.0"


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
        said = decoding.allowed(network(source, decoding.shifted(target))).argmax(dim=-1)
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
