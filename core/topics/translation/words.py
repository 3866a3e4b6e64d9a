"""Sentences as pieces of words, and back to the letter.

Pieces are learnt from the training sentences of both languages together (byte-pair encoding: Sennrich et
al. 2016, arXiv:1508.07909); Chinese is cut into its characters, since it writes no spaces.
"""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from core.topics.translation.network import UNKNOWN, Translator, build

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]  # in the order of the network's PAD, BEGIN, END, UNKNOWN
SPACE = "▁"  # stands for a space, so that no space is lost
SHOWN_UNKNOWN = "⁇"
LONGEST_TERM = 4  # characters of a Chinese word that the glossary knows
# What begins without a space before it: Chinese characters and the signs that stand among them.
UNSPACED = re.compile(r"[\u2e80-\u303f\u3100-\u9fff\uf900-\ufaff\uff00-\uffef]")
COHESION = 0.015
PARTICLES = set("的了吗着吧呢地得")  # they carry grammar, for which English has no word
LETTERS = re.compile(r"[^\W_]")


@dataclass(frozen=True)
class Word:
    """A word of a sentence.

    text         as it stands there, "Regierung"
    first, last  its pieces, last one included
    known        all its letters occur in the training sentences
    """

    text: str
    first: int
    last: int
    known: bool


class Words(ABC):
    """The pieces of two languages."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def ids(self, text: str) -> list[int]:
        """The pieces' numbers; a letter that no training sentence has is UNKNOWN."""

    @abstractmethod
    def piece(self, number: int) -> str:
        """One piece, a leading space written as ▁, an unknown one as ⁇."""

    @abstractmethod
    def split(self, text: str) -> list[Word]:
        """The words of a sentence as it was typed, with the places of their pieces."""

    def shown(self, number: int) -> str:
        """One piece as a figure writes it: a word's first piece as it is, a later one after a dot."""
        piece = self.piece(number)
        if piece.startswith(SPACE):
            return piece.removeprefix(SPACE) or "(space)"
        return f"·{piece}" if LETTERS.match(piece) and not UNSPACED.match(piece) else piece

    def text(self, ids: Iterable[int]) -> str:
        """The sentence that these pieces make; ⁇ where one is unknown."""
        text = "".join(self.piece(number) for number in ids if number >= UNKNOWN)
        return text.removeprefix(SPACE).replace(SPACE, " ")

    def groups(self, ids: Sequence[int]) -> list[range]:
        """Which pieces make a word together: places in `ids`, special ones each by itself."""
        begins: list[int] = []
        former = ""
        for place, number in enumerate(ids):
            piece = self.piece(number) if number >= UNKNOWN else ""
            letters = LETTERS.match(piece) and LETTERS.match(former[-1:]) and not UNSPACED.search(former + piece)
            # A space that is a piece of its own goes with what follows.
            if place == 0 or not piece or not (letters or former == SPACE):
                begins.append(place)
            former = piece
        return [range(first, last) for first, last in zip(begins, [*begins[1:], len(ids)], strict=False)]


class LearntWords(Words):
    """Pieces that `learn` found."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # a visitor who types "</s>" means these letters

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def write(self) -> bytes:
        """What `read` takes: tokenizer.json."""
        return self.tokenizer.to_str().encode()

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(spaced(text)).ids

    def many(self, texts: Sequence[str]) -> list[list[int]]:
        """The `ids` of many sentences."""
        return [found.ids for found in self.tokenizer.encode_batch([spaced(text) for text in texts])]

    def piece(self, number: int) -> str:
        return SHOWN_UNKNOWN if number == UNKNOWN else str(self.tokenizer.id_to_token(number))

    def split(self, text: str) -> list[Word]:
        given = spaced(text)
        found = self.tokenizer.encode(given)
        words = []
        for group in self.groups(found.ids):
            first, last = found.offsets[group[0]][0], found.offsets[group[-1]][1]
            known = UNKNOWN not in found.ids[group[0] : group[-1] + 1]
            words.append(Word(given[first:last].strip() or " ", group[0], group[-1], known))
        return words


def spaced(text: str) -> str:
    """The text with a space before its first word, so that a word has the same pieces wherever it stands."""
    return text if UNSPACED.match(text) or not text else f" {text}"


def learn(sentences: Iterable[str], *, pieces: int, letters: int) -> LearntWords:
    """Which runs of letters occur so often that they are worth a piece of their own?

    Begin with single letters; join the pair of neighbours that occurs most often; repeat until there are enough.

    sentences  of both languages
    pieces     size of the vocabulary, the four special ones included
    letters    how many different letters and characters it knows, the most frequent ones; others are unknown
    source     Sennrich, Haddow and Birch 2016, arXiv:1508.07909
    """
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[UNKNOWN]))
    # Chinese characters, signs and digits stay single; a space goes with the word after it.
    alone = Regex(r"[\x{2E80}-\x{303F}\x{3100}-\x{9FFF}\x{F900}-\x{FAFF}\x{FF00}-\x{FFEF}]|\p{P}|[0-9]")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=True),
            pre_tokenizers.Split(alone, "isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, special_tokens=SPECIAL, limit_alphabet=letters, show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(map(spaced, sentences), trainer)
    return LearntWords(tokenizer)


def read(content: bytes | str) -> LearntWords:
    """The pieces that a run carries, from its tokenizer.json."""
    return LearntWords(Tokenizer.from_str(content.decode() if isinstance(content, bytes) else content))


def translator(run: Any) -> Translator:
    """The network of a stored run, frozen, with its `words` and `direction`."""
    found = run.fill(build(**run.network))
    found.words = read(run.path("tokenizer.json").read_bytes())
    found.direction = run.config["preprocessing"]["direction"]
    return found


# ---- what Chinese words mean


def terms(sentence: str) -> set[str]:
    """All runs of one to four Chinese characters in a sentence."""
    runs = re.findall(r"[\u3400-\u9fff]+", sentence)
    return {
        run[first : first + length]
        for run in runs
        for length in range(1, LONGEST_TERM + 1)
        for first in range(len(run) - length + 1)
    }


def meaning(pairs: Iterable[tuple[str, str]], *, fewest: int, least: float) -> dict[str, str]:
    """Which English word goes with which Chinese one?

    dice = 2 * sentences with both / (sentences with the one + sentences with the other)

    Only runs of characters that hold together count as words: wherever one is cut in two,
    sentences with it^2 / (with the left part * with the right part) >= COHESION.

    pairs   (English, Chinese)
    fewest  sentences in which a Chinese word must occur
    least   dice below which it gets no gloss, since it would be a guess
    returns Chinese -> English, as it is mostly written inside sentences; of a run of characters and a part of it
            that mean the same, only the one that goes with the word more closely
    source  Dice 1945, Ecology 26(3)
    """
    ours: Counter[str] = Counter()
    theirs: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    written: Counter[str] = Counter()
    sentences = []
    for english, chinese in pairs:
        found = re.findall(r"[A-Za-z]+(?:'[a-z]+)?", english)
        written.update(found[1:])
        sentences.append(({word.lower() for word in found}, terms(chinese)))
        ours.update(sentences[-1][1])
        theirs.update(sentences[-1][0])
    held = {
        term
        for term, count in ours.items()
        if count >= fewest
        and term not in PARTICLES
        and all(count**2 >= COHESION * ours[term[:cut]] * ours[term[cut:]] for cut in range(1, len(term)))
    }
    for english_words, chinese_words in sentences:
        both.update((term, word) for term in chinese_words & held for word in english_words)
    best: dict[str, tuple[float, str]] = {}
    for (term, word), count in both.items():
        best[term] = max(best.get(term, (0.0, "")), (2 * count / (ours[term] + theirs[word]), word))
    kept = {term: found for term, found in best.items() if found[0] >= least}
    for term in sorted(kept, key=lambda term: (-len(term), term)):
        dice, word = kept.get(term, (0.0, ""))
        parts = [part for part in terms(term) - {term} if part in kept and kept[part][1] == word]
        if any(kept[part][0] > dice for part in parts):
            kept.pop(term, None)
        else:
            for part in parts:
                del kept[part]
    return {
        term: max((word, word.capitalize(), word.upper()), key=written.__getitem__)
        for term, (_, word) in sorted(kept.items())
    }


def glossed(sentence: str, glossary: Mapping[str, str]) -> list[tuple[str, str]]:
    """A Chinese sentence in words, each with its English gloss or "": the longest known word first."""
    found, place = [], 0
    while place < len(sentence):
        for length in range(LONGEST_TERM, 0, -1):
            term = sentence[place : place + length]
            if term in glossary or length == 1:
                break
        found.append((term, glossary.get(term, "")))
        place += len(term)
    return found
