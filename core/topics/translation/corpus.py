"""The sentences of a direction and their translations, in three parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from core import data

SOURCES = {"de-en": "multi30k", "en-zh": "cmn_eng"}
TESTS = {"de-en": "test2016", "en-zh": "test"}


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
