"""From a network that knows the next piece to a whole sentence: greedy, drawn, or with a beam."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from core.topics.translation import method
from core.topics.translation.network import BEGIN, END, PAD, UNKNOWN, CTCTranslator, Reading, Translator, chosen

LIMIT = 200  # pieces of a sentence, and of a translation
NEVER = [PAD, BEGIN, UNKNOWN]  # pieces that no translation has
Choose = Callable[[Tensor], int]


class Written(NamedTuple):
    """One piece of a translation.

    piece    its number
    log_p    (V,) log-probabilities of everything that could have stood here
    weights  (L, H, S) where the network looked; None for networks that do not
    """

    piece: int
    log_p: Tensor
    weights: Tensor | None


class Node(NamedTuple):
    """One piece in the tree that a beam grows.

    parent  place of the node before it, -1 for a first piece
    piece   its number
    log_p   sum of the log-probabilities from the root to it, nat
    depth   how many pieces the sentence has with it
    kept    it goes on, one of the `width` best of its round that do; or it is an end among the `width` best
    """

    parent: int
    piece: int
    log_p: float
    depth: int
    kept: bool


@dataclass(frozen=True)
class Beam:
    """What a beam found.

    nodes     all that were looked at and are worth showing, parents before children
    finished  places of END nodes, the best first by log-probability over length penalty; of open beginnings if none
              had ended before limit or time were reached
    best      the pieces of the best one, without END
    score     its log-probability divided by the length penalty
    late      the time was up before the search was over
    """

    nodes: tuple[Node, ...]
    finished: tuple[int, ...]
    best: tuple[int, ...]
    score: float
    late: bool

    @property
    def pieces(self) -> tuple[int, ...]:
        """The pieces of the best one, END included unless limit or time cut it off."""
        return (*self.best, END) if self.nodes[self.finished[0]].piece == END else self.best


def limit_of(source: Sequence[int]) -> int:
    """After how many pieces a translation is ended: nothing that was learnt is twice as long and ten pieces more."""
    return min(2 * len(source) + 10, LIMIT)


def padded(sentences: Sequence[Sequence[int]], *, device: torch.device | None = None) -> Tensor:
    """Sentences of different lengths as one table, (B, S) int64, padded at the end."""
    longest = max(map(len, sentences))
    rows = [[*sentence, *[PAD] * (longest - len(sentence))] for sentence in sentences]
    return torch.tensor(rows, dtype=torch.long, device=device)


def shifted(target: Tensor) -> Tensor:
    """What stands before each piece of a batch (B, T), BEGIN first."""
    return torch.cat([torch.full_like(target[:, :1], BEGIN), target[:, :-1]], dim=1)


def best_piece(log_p: Tensor) -> int:
    """The likeliest."""
    return int(log_p.argmax())


def sampler(generator: torch.Generator, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Choose:
    """Draws each piece from the likeliest ones; see `method.likeliest`."""
    return lambda log_p: method.drawn(
        method.likeliest(log_p, temperature=temperature, top_k=top_k, top_p=top_p), generator
    )


@torch.inference_mode()
def write(
    network: Translator,
    source: Sequence[int],
    *,
    choose: Choose = best_piece,
    limit: int | None = None,
    weigh: bool = True,
) -> Iterator[Written]:
    """Translate one sentence, piece by piece, as they come.

    source  pieces of the sentence, END included
    choose  picks from the log-probabilities
    limit   pieces after which it is ended, `limit_of` the source by default
    yields  Written, the last one END unless the limit was reached
    """
    reading = network.read(padded([source]))
    past, piece = network.begin(reading), BEGIN
    for _ in range(limit_of(source) if limit is None else limit):
        logits, past, weights = network.step(torch.tensor([[piece]]), reading, past, weigh=weigh and network.weighing)
        log_p = allowed(logits[0, -1]).log_softmax(dim=-1)
        piece = choose(log_p)
        yield Written(piece, log_p, None if weights is None else weights[0, :, :, 0])
        if piece == END:
            return


@torch.inference_mode()
def retold(network: Translator, source: Sequence[int], pieces: Sequence[int]) -> list[Written]:
    """What the network says at each place of a translation that is known already, all places at once.

    source  pieces of the sentence, END included; pieces: those of the translation, at least one
    """
    reading = network.read(padded([source]))
    given = torch.tensor([[BEGIN, *pieces[:-1]]])
    logits, _, weights = network.step(given, reading, network.begin(reading), weigh=network.weighing)
    log_p = allowed(logits[0]).log_softmax(dim=-1)
    looked = [None] * len(pieces) if weights is None else weights[0].unbind(dim=2)
    return [Written(*said) for said in zip(pieces, log_p, looked, strict=True)]


def allowed(logits: Tensor) -> Tensor:
    """Logits with nothing for what no translation has."""
    logits = logits.float().clone()
    logits[..., NEVER] = -torch.inf
    return logits


@torch.inference_mode()
def greedy(
    network: Translator, sources: Sequence[Sequence[int]], *, limit: int = LIMIT, exactly: int | None = None
) -> list[list[int]]:
    """Translate several sentences at once, always with the likeliest piece; without END.

    exactly  write so many pieces, no END among them: for measurements of speed
    """
    source = padded(sources, device=network.embedding.weight.device)
    reading = network.read(source)
    past = network.begin(reading)
    pieces = source.new_full((len(sources), 1), BEGIN)
    barred = torch.tensor(NEVER if exactly is None else [*NEVER, END], device=source.device)
    found, running = [], torch.ones(len(sources), dtype=torch.bool, device=source.device)
    for _ in range(limit if exactly is None else exactly):
        logits, past, _ = network.step(pieces, reading, past)
        pieces = logits[:, -1].index_fill_(1, barred, -torch.inf).argmax(dim=1, keepdim=True)
        found.append(pieces)
        if exactly is None:
            running &= pieces[:, 0] != END
            if not running.any():
                break
    return [row[: row.index(END)] if END in row else row for row in torch.cat(found, dim=1).tolist()]


@torch.inference_mode()
def fill(network: CTCTranslator, sources: Sequence[Sequence[int]], *, weigh: bool = False) -> list[list[Written]]:
    """Translate without a before and after: what each sentence's slots say, collapsed.

    returns for each sentence its pieces, each with the log-probabilities of the first slot that says it
    """
    source = padded(sources, device=network.embedding.weight.device)
    logits, _, weights = network.fill(source, weigh=weigh)
    log_p = logits.float()
    log_p[..., [BEGIN, END, UNKNOWN]] = -torch.inf  # PAD is the blank
    log_p = log_p.log_softmax(dim=-1)
    found = []
    for row, sentence in enumerate(sources):
        slots = network.stretch * len(sentence)
        best = log_p[row, :slots].argmax(dim=-1).tolist()
        found.append(
            [
                Written(best[s], log_p[row, s], None if weights is None else weights[row, :, :, s, : len(sentence)])
                for s in method.collapsed(best, blank=PAD)
            ]
        )
    return found


@torch.inference_mode()
def beam(
    network: Translator,
    source: Sequence[int],
    *,
    width: int,
    alpha: float = 1.0,
    limit: int | None = None,
    prefix: Sequence[int] = (),
    until: float = math.inf,
) -> Beam:
    """Follow the `width` likeliest beginnings at once, and end with the best whole sentence.

    score(sentence) = sum of log p / length_penalty(pieces, alpha)

    width   1 is greedy
    alpha   see `method.length_penalty`
    limit   pieces after which it is ended, `limit_of` the source by default
    prefix  pieces that every sentence begins with
    until   the moment, by time.monotonic(), after which no further piece is looked at
    returns Beam; raises ValueError for a width below 1
    source  Graves 2012, arXiv:1211.3711; Wu et al. 2016, arXiv:1609.08144 for the penalty
    """
    if width < 1:
        raise ValueError(f"width: expected at least 1, got {width}")
    limit = limit_of(source) if limit is None else limit
    reading = network.read(padded([source]))
    nodes, places, score = begun(network, reading, prefix)
    past = network.begin(reading)
    tokens = torch.tensor([[BEGIN, *prefix]])
    several: Reading = reading
    finished: list[int] = []
    late = False
    while True:
        logits, past, _ = network.step(tokens, several, past)
        log_p = allowed(logits[:, -1]).log_softmax(dim=-1)
        total = score[:, None] + log_p
        best = total.flatten().topk(min(2 * width, total.numel()))
        going: list[int] = []
        rows: list[int] = []
        for rank, (value, place) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            if value == -torch.inf:
                break
            row, piece = divmod(place, log_p.shape[1])
            parent = places[row]
            depth = nodes[parent].depth + 1 if parent >= 0 else 1
            ends = piece == END
            keep = rank < width if ends else len(going) < width
            nodes.append(Node(parent, piece, value, depth, keep))
            if ends and keep:
                finished.append(len(nodes) - 1)
            elif keep:
                going.append(len(nodes) - 1)
                rows.append(row)
        places = going
        if len(finished) >= width or not going or nodes[going[0]].depth >= limit:
            break
        if late := time.monotonic() > until:
            break
        score = torch.tensor([nodes[place].log_p for place in going])
        if several.states.shape[0] != len(going):
            several = reading.repeated(len(going))
        past = chosen(past, torch.tensor(rows))
        tokens = torch.tensor([[nodes[place].piece] for place in going])

    def worth(place: int) -> float:
        return nodes[place].log_p / method.length_penalty(nodes[place].depth, alpha)

    # A sentence that limit or time cut off is better than none.
    ranked = sorted(finished, key=worth, reverse=True) or sorted(places, key=worth, reverse=True)
    return Beam(tuple(nodes), tuple(ranked), path(nodes, ranked[0]), worth(ranked[0]), late)


def begun(network: Translator, reading: Reading, prefix: Sequence[int]) -> tuple[list[Node], list[int], Tensor]:
    """The trunk of the tree, which a prefix makes: nodes, where it ends, and its log-probability."""
    if not prefix:
        return [], [-1], torch.zeros(1)
    tokens = torch.tensor([[BEGIN, *prefix[:-1]]])
    logits = network.step(tokens, reading, network.begin(reading)).logits
    log_p = allowed(logits[0]).log_softmax(dim=-1)[torch.arange(len(prefix)), torch.tensor(prefix)].cumsum(dim=0)
    nodes = [
        Node(place - 1, piece, value, place + 1, True)
        for place, (piece, value) in enumerate(zip(prefix, log_p.tolist(), strict=True))
    ]
    return nodes, [len(nodes) - 1], log_p[-1:]


def path(nodes: Sequence[Node], place: int) -> tuple[int, ...]:
    """The pieces from the root to a node, without END."""
    pieces = []
    while place >= 0:
        pieces.append(nodes[place].piece)
        place = nodes[place].parent
    return tuple(piece for piece in reversed(pieces) if piece != END)
