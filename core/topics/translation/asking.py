"""One sentence is asked about: is it one, how is it translated, and what does the translator say of itself?"""

import itertools
import math
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from core.topics.translation import decoding, method
from core.topics.translation.decoding import Beam, Written
from core.topics.translation.network import END, UNKNOWN, CTCTranslator, Translator
from core.topics.translation.words import UNSPACED, Word

LONGEST = 300  # characters of a sentence
LANGUAGES = {"de": "German", "en": "English", "zh": "Chinese"}
ALTERNATIVES = 5
PATIENCE_S = 4.0  # for a beam, which nothing is seen of until it is whole
# Frequent words that are none in the other language.
FREQUENT = {
    "de": {"der", "das", "ein", "eine", "einen", "und", "ist", "nicht", "ich", "auf", "mit", "dem", "sie", "wir"},
    "en": {"the", "a", "and", "is", "of", "to", "with", "on", "are", "my", "it", "you", "he", "this"},
}


@dataclass(frozen=True)
class Asked:
    """A sentence as the network gets it.

    text    as it was typed, tidied
    words   of it, with the places of their pieces
    ids     its pieces, END included; those of the hidden word are UNKNOWN
    hidden  number of the hidden word from 1, 0 for none
    """

    text: str
    words: tuple[Word, ...]
    ids: tuple[int, ...]
    hidden: int

    @property
    def columns(self) -> list[range]:
        """Which pieces make each word, the end of the sentence as the last one."""
        return [*(range(word.first, word.last + 1) for word in self.words), range(len(self.ids) - 1, len(self.ids))]


@dataclass(frozen=True)
class Settings:
    """How a translation is looked for; see `decoding`.

    wanted  (place, rank) from 1: at this place not the likeliest piece stands, but the one of this rank; of two for
            one place the last one counts
    """

    decoding: str = "greedy"
    width: int = 5
    alpha: float = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    wanted: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Found:
    """A translation so far.

    written  its pieces, the end included once it is reached
    text     what they make
    rows     which pieces make each of its words
    beam     the tree, if one was grown
    """

    asked: Asked
    written: tuple[Written, ...]
    text: str
    rows: list[range]
    beam: Beam | None = None

    @property
    def looked(self) -> tuple[int, int]:
        """How many layers and heads looked at the source; (0, 0) for a network without attention."""
        weights = self.written[0].weights if self.written else None
        return (0, 0) if weights is None else (weights.shape[0], weights.shape[1])

    def attention(self, layer: int = 0, head: int = 0) -> Tensor | None:
        """Where each word looked, (words, source words + 1), rows sum to 1; None if the network has no attention.

        layer, head  from 1; 0 for the mean over all
        """
        if not self.rows or self.written[0].weights is None:
            return None
        weights = torch.stack([piece.weights for piece in self.written if piece.weights is not None])  # (T, L, H, S)
        weights = weights.mean(dim=1) if layer == 0 else weights[:, min(layer, weights.shape[1]) - 1]
        weights = weights.mean(dim=1) if head == 0 else weights[:, min(head, weights.shape[1]) - 1]
        found = method.grouped(weights, self.rows, self.asked.columns)
        return found / found.sum(dim=1, keepdim=True)  # a mark before the sentence is no word of it

    @property
    def heads(self) -> Tensor | None:
        """Where each layer and head looked for each word, (L, H, words, source words + 1); None without attention."""
        if not self.rows or self.written[0].weights is None:
            return None
        weights = torch.stack([piece.weights for piece in self.written if piece.weights is not None], dim=2)
        return method.grouped(weights, self.rows, self.asked.columns)


def tidied(text: str) -> str:
    """Without signs that cannot be seen, one space between words."""
    plain = unicodedata.normalize("NFC", text)
    # A soft hyphen is dropped, since it stands inside a word; so is half a character; a line's end becomes a space.
    kept = (" " if unicodedata.category(c) == "Cc" else c for c in plain if unicodedata.category(c) not in ("Cf", "Cs"))
    return " ".join("".join(kept).split())


def complaint(text: str, direction: str) -> str:
    """What is wrong with a sentence as an input, in a sentence for the visitor; "" if nothing is."""
    language = LANGUAGES[direction[:2]]
    letters = [c for c in text if c.isalpha()]
    if not text:
        return f"Type a sentence in {language}, or choose a sample."
    if len(text) > LONGEST:
        return f"Expected at most {LONGEST} characters; got {len(text)}."
    if not letters:
        return f"There are no letters in it, only signs or digits. Type a sentence in {language}."
    foreign = sum(bool(UNSPACED.match(c)) or "LATIN" not in unicodedata.name(c, "") for c in letters)
    if 2 * foreign > len(letters):
        return f"This translator reads {language}; these letters are of another script."
    return ""


def other_language(text: str, direction: str) -> str:
    """A remark if a sentence seems to be in the other of the languages that are read, "" if not."""
    read, other = ("de", "en") if direction == "de-en" else ("en", "de")
    found = {"".join(filter(str.isalpha, word)) for word in text.lower().split()}
    if len(found & FREQUENT[other]) > len(found & FREQUENT[read]):
        return f"This looks like {LANGUAGES[other]}; the translator reads {LANGUAGES[read]}."
    return ""


def ask(network: Translator, text: str, *, mask: int = 0) -> Asked:
    """Cut a sentence into pieces, and hide one of its words.

    mask  number of the word from 1; 0, or one that the sentence does not have, hides none
    """
    words, ids = network.words.split(text), network.words.ids(text)
    hidden = mask if 0 < mask <= len(words) else 0
    if hidden:
        word = words[hidden - 1]
        ids[word.first : word.last + 1] = [UNKNOWN] * (word.last + 1 - word.first)
    return Asked(text, tuple(words), (*ids, END), hidden)


def found_of(network: Translator, asked: Asked, written: Sequence[Written], beam: Beam | None = None) -> Found:
    """A translation, its pieces made words."""
    pieces = [piece.piece for piece in written if piece.piece != END]
    return Found(asked, tuple(written), network.words.text(pieces), network.words.groups(pieces), beam)


def translations(network: Translator, asked: Asked, settings: Settings) -> Iterator[Found]:
    """The translation as it grows: after each piece, or once where all come together."""
    if isinstance(network, CTCTranslator):
        yield found_of(network, asked, decoding.fill(network, [asked.ids], weigh=True)[0])
        return
    if settings.decoding == "beam":
        beam, pieces = grown(network, asked, settings)
        yield found_of(network, asked, decoding.retold(network, asked.ids, pieces), beam)
        return
    base: decoding.Choose = decoding.best_piece
    if settings.decoding == "sampling":
        generator = torch.Generator().manual_seed(settings.seed)
        base = decoding.sampler(generator, temperature=settings.temperature, top_k=settings.top_k, top_p=settings.top_p)
    written = []
    for piece in decoding.write(network, asked.ids, choose=chooser(base, settings.wanted)):
        written.append(piece)
        yield found_of(network, asked, written)


def grown(network: Translator, asked: Asked, settings: Settings) -> tuple[Beam | None, Sequence[int]]:
    """What a beam finds, and its pieces; no beam if the sentence's end was chosen.

    A chosen piece stands at its place in the sentence that the beam had found without it, and the beam is grown
    anew from there; a place behind that sentence's end, or the most that is written, is left alone.
    """
    search = partial(
        decoding.beam,
        network,
        asked.ids,
        width=settings.width,
        alpha=settings.alpha,
        until=time.monotonic() + PATIENCE_S,
    )
    found = search()
    for place, rank in sorted(dict(settings.wanted).items()):
        if place > min(len(found.pieces), decoding.limit_of(asked.ids) - 1):
            break
        there = decoding.retold(network, asked.ids, found.pieces[:place])[-1]
        prefix = [*found.pieces[: place - 1], int(there.log_p.topk(rank).indices[-1])]
        if prefix[-1] == END:
            return None, prefix
        found = search(prefix=prefix)
    return found, found.pieces


def translation(network: Translator, asked: Asked, settings: Settings) -> Found:
    """The whole translation."""
    [*_, last] = translations(network, asked, settings)
    return last


def chooser(base: decoding.Choose, wanted: Sequence[tuple[int, int]]) -> decoding.Choose:
    """Like `base`, but at the wanted places the piece of the wanted rank."""
    ranks, places = dict(wanted), itertools.count(1)

    def choose(log_p: Tensor) -> int:
        rank = ranks.get(next(places), 0)
        return int(log_p.topk(rank).indices[-1]) if rank else base(log_p)

    return choose


def numbers(found: Found, *, layer: int = 0, head: int = 0) -> dict[str, float]:
    """What the translator says of its translation.

    layer, head  whose attention is measured, from 1; 0 for the mean over all
    returns nat     mean surprise per piece, -log p; of no pieces at all, all four are 0
            log_p   log-probability of the whole translation
            sure    geometric mean of the pieces' probabilities, exp(-nat)
            least   probability of the piece of which it was least sure
            spread  words of the source over which a word's attention is spread, exp of its entropy, in the mean
    """
    log_p = [float(piece.log_p[piece.piece]) for piece in found.written]
    if not log_p:
        return dict.fromkeys(("nat", "log_p", "sure", "least"), 0.0)
    nat = -sum(log_p) / len(log_p)
    said = {"nat": nat, "log_p": sum(log_p), "sure": math.exp(-nat), "least": math.exp(min(log_p))}
    weights = found.attention(layer, head)
    if weights is not None:
        said["spread"] = float(method.entropy(weights).exp().mean())
    return said


def alternatives(piece: Written, count: int = ALTERNATIVES) -> list[tuple[int, float]]:
    """The likeliest pieces of a place, and their probabilities."""
    top = piece.log_p.topk(count)
    return list(zip(top.indices.tolist(), top.values.exp().tolist(), strict=True))


def changed(first: Sequence[str], second: Sequence[str]) -> float:
    """The share of the first translation's words that the second one has not, 0 to 1, in whatever order."""
    left = list(second)
    for word in first:
        if word in left:
            left.remove(word)
    return (len(first) - (len(second) - len(left))) / max(len(first), 1)
