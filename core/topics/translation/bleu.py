"""BLEU, from the letters to the number, equal to sacreBLEU's.

source  Papineni et al. 2002; Post 2018, arXiv:1804.08771; Chen and Cherry 2014 for the smoothing
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

ORDER = 4
VISIBLE = 0.05  # a smaller difference of BLEU is none that anybody reports
SMOOTHINGS = {"none": None, "floor": 0.1, "add-k": 1.0, "exp": None}  # and the value that each takes
LOG_ZERO = -9_999_999_999.0  # what sacreBLEU takes for log 0; a mean over four orders stays 0 to all digits

# mteval-v13a: signs stand alone, points and commas too unless they are inside a number.
RULES = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
# sacreBLEU's list of what counts as a Chinese character. Two of its ranges were meant to lie beyond U+FFFF; as they
# are written they mean U+2001 to U+2A6D and U+2F81 to U+2FA1, and the same sentences must give the same score.
CHINESE = re.compile(
    "[\u3400-\u4db5\u4e00-\u9fbb\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\u2001-\u2a6d\u2f81-\u2fa1\uff00-\uffef"
    "\u2e80-\u2eff\u3000-\u303f\u31c0-\u31ef\u2f00-\u2fdf\u2ff0-\u2fff\u3100-\u312f\u31a0-\u31bf\ufe10-\ufe1f"
    "\ufe30-\ufe4f\u3200-\u33ff]"
)


@dataclass(frozen=True)
class Counts:
    """What BLEU needs to know of one sentence, or of many: counts simply add up.

    matched, total  n-grams of the hypothesis that the reference has, and all of them, n = 1 … 4
    written, true   tokens of the hypothesis and of the reference
    """

    matched: tuple[int, ...]
    total: tuple[int, ...]
    written: int
    true: int

    def row(self) -> list[int]:
        """Ten numbers, as counts.safetensors holds them."""
        return [*self.matched, *self.total, self.written, self.true]


@dataclass(frozen=True)
class Score:
    """BLEU and its parts.

    value       0 to 100
    precisions  in percent, after smoothing
    brevity     penalty for being shorter than the reference, 1 for none
    """

    value: float
    precisions: tuple[float, ...]
    brevity: float


def tokens_13a(text: str) -> list[str]:
    """The tokens of a text that has spaces, as mteval-v13a and sacreBLEU cut them."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for escape, sign in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(escape, sign)
    return _ruled(f" {text} ")


def tokens_zh(text: str) -> list[str]:
    """The tokens of a Chinese text: each character one, the rest as `tokens_13a` cuts it."""
    return _ruled(CHINESE.sub(r" \g<0> ", text.strip()))


def _ruled(text: str) -> list[str]:
    for pattern, spaced in RULES:
        text = pattern.sub(spaced, text)
    return text.split()


TOKENISERS: dict[str, Callable[[str], list[str]]] = {"13a": tokens_13a, "zh": tokens_zh}


def ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """All runs of `order` tokens, counted."""
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def counts(hypothesis: str, reference: str, *, tokeniser: str) -> Counts:
    """Which n-grams of the hypothesis does the reference have?

    Each counts at most as often as it occurs in the reference: "the the the" matches "the" once.
    """
    written, true = (TOKENISERS[tokeniser](text) for text in (hypothesis, reference))
    found = [(ngrams(written, order), ngrams(true, order)) for order in range(1, ORDER + 1)]
    return Counts(
        tuple((ours & theirs).total() for ours, theirs in found),
        tuple(ours.total() for ours, _ in found),
        len(written),
        len(true),
    )


def together(parts: Iterable[Counts | Sequence[int]]) -> Counts:
    """The counts of many sentences, from those of each or from their rows."""
    rows = [part.row() if isinstance(part, Counts) else part for part in parts]
    sums = [sum(column) for column in zip(*rows, strict=True)] if rows else [0] * (2 * ORDER + 2)
    return Counts(tuple(sums[:ORDER]), tuple(sums[ORDER : 2 * ORDER]), sums[-2], sums[-1])


def bleu(found: Counts, *, smoothing: str = "exp", effective: bool = False) -> Score:
    """How much of the reference's wording does the hypothesis have?

    BLEU = 100 * B * exp( mean over n = 1 … 4 of  log p[n] )
    p[n] = matched[n] / total[n]
    B    = min(1, exp(1 - true / written))

    found      counts of one sentence, or of all together (not a mean over sentences)
    smoothing  what becomes of p[n] where nothing matches, unless no word does, for which BLEU is 0 anyhow:
               none   0, and BLEU is 0
               floor  0.1 / total[n]
               add-k  1 is added to matched[n] and total[n] for n > 1, everywhere
               exp    1 / (2^k * total[n]) for the k-th such n
    effective  orders longer than the sentence do not count; sacreBLEU's way with single sentences
    raises     ValueError for an unknown smoothing
    source     Papineni et al. 2002, section 2.3; Chen and Cherry 2014, methods 1 to 3
    """
    if smoothing not in SMOOTHINGS:
        raise ValueError(f"expected one of {sorted(SMOOTHINGS)}, got {smoothing!r}")
    k = SMOOTHINGS[smoothing]
    brevity = 1.0
    if found.written < found.true:
        brevity = math.exp(1 - found.true / found.written) if found.written else 0.0
    precisions, orders, halved = [0.0] * ORDER, ORDER, 1.0
    if not any(found.matched):
        return Score(0.0, tuple(precisions), brevity)
    for n, (matched, total) in enumerate(zip(found.matched, found.total, strict=True)):
        add = k if smoothing == "add-k" and n and k is not None else 0.0
        if total + add == 0:
            break
        if effective:
            orders = n + 1
        if matched + add:
            precisions[n] = 100 * (matched + add) / (total + add)
        elif smoothing == "exp":
            halved *= 2
            precisions[n] = 100 / (halved * total)
        elif smoothing == "floor" and k is not None:
            precisions[n] = 100 * k / total
    logs = [math.log(p) if p else LOG_ZERO for p in precisions[:orders]]
    return Score(brevity * math.exp(sum(logs) / orders), tuple(precisions), brevity)


def running(rows: Sequence[Sequence[int]], *, smoothing: str, mean: bool = False) -> list[float]:
    """BLEU of the first 1, 2, 3 … sentences.

    rows  of counts, sentence by sentence, see `Counts.row`
    mean  of the sentences' own BLEU, in which each counts the same, however long; not BLEU of all together
    """
    if not mean:
        sums = itertools.accumulate(rows, lambda total, row: [a + b for a, b in zip(total, row, strict=True)])
        return [bleu(together([total]), smoothing=smoothing).value for total in sums]
    values = (bleu(together([row]), smoothing=smoothing, effective=True).value for row in rows)
    return [total / number for number, total in enumerate(itertools.accumulate(values), 1)]


def marked(hypothesis: str, reference: str, *, tokeniser: str) -> list[tuple[str, int]]:
    """Each token of the hypothesis, and the longest matched n-gram (0 to 4) that it is part of.

    An n-gram that the hypothesis has more often than the reference is marked at its first occurrences.
    """
    written, true = (TOKENISERS[tokeniser](text) for text in (hypothesis, reference))
    longest = [0] * len(written)
    for order in range(1, ORDER + 1):
        left = ngrams(true, order)
        for start in range(len(written) - order + 1):
            run = tuple(written[start : start + order])
            if left[run] > 0:
                left[run] -= 1
                longest[start : start + order] = [order] * order
    return list(zip(written, longest, strict=True))


@dataclass(frozen=True)
class Flip:
    """A test on which the smoothing decides which of two systems is better.

    sentences       so many, from the first on
    ahead, behind   a smoothing that puts the first system ahead, and one that puts it behind
    """

    sentences: int
    ahead: str
    behind: str


def find_flip(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]) -> Flip | None:
    """On how many sentences does the smoothing still decide which of two systems is better?

    first, second  smoothing -> BLEU of the first 1, 2, 3 … sentences, see `running`
    returns        the largest such test on which both differ by more than VISIBLE, since large ones are trusted; None
                   if there is none
    """
    for place in reversed(range(len(first["none"]))):
        gaps = {name: first[name][place] - second[name][place] for name in SMOOTHINGS}
        ahead, behind = max(gaps, key=gaps.__getitem__), min(gaps, key=gaps.__getitem__)
        if gaps[ahead] > VISIBLE and gaps[behind] < -VISIBLE:
            return Flip(place + 1, ahead, behind)
    return None
