"""What training and decoding compute, as pure functions on logits and log-probabilities."""

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# English words that carry little of a sentence's meaning.
EMPTY = {
    "a", "an", "the", "of", "to", "in", "on", "at", "and", "is", "are", "was", "were", "be", "been", "has", "have",
    "had", "by", "for", "with", "it", "its", "this", "that", "my", "i", "we",
}  # fmt: skip


def smoothed_loss(logits: Tensor, target: Tensor, *, smoothing: float, padding: int = 0) -> Tensor:
    """How surprised is the network by the true next pieces, if it is not to be too sure?

    loss = mean over t of  -(1 - e) * log p[t, target[t]]  -  e * mean over v of log p[t, v]

    logits     (…, V); target (…) int64
    smoothing  e, the share of the target that is spread over all V pieces
    padding    the target that does not count
    returns    scalar, nat per piece
    source     Szegedy et al. 2016, arXiv:1512.00567, section 7
    """
    flat = logits.flatten(0, -2).float()
    return F.cross_entropy(flat, target.flatten(), ignore_index=padding, label_smoothing=smoothing)


def length_penalty(length: int, alpha: float) -> float:
    """By what is a beam's log-probability divided, so that short sentences do not always win?

    penalty = ((5 + length) / 6) ^ alpha

    length   pieces written, the end included
    alpha    0: none; 1: nearly the mean per piece
    source   Wu et al. 2016, arXiv:1609.08144, equation 14
    """
    return float(((5 + length) / 6) ** alpha)


def likeliest(logits: Tensor, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """From which pieces is the next one drawn, and with which probability?

    p = softmax(logits / temperature); keep the k largest; of those the fewest that hold top_p of the mass

    logits       (V,)
    temperature  below 1 sharper, above 1 flatter
    top_k        0 keeps all
    top_p        1 keeps all; the largest is always kept
    returns      (V,) probabilities that sum to 1, zero for what is left out
    source       Fan et al. 2018, arXiv:1805.04833 (k); Holtzman et al. 2020, arXiv:1904.09751 (p)
    """
    p = (logits.float() / temperature).softmax(dim=-1)
    if not top_k and top_p == 1:
        return p  # without sorting thousands of pieces
    ordered, places = p.sort(descending=True, stable=True)
    if top_k:
        ordered[top_k:] = 0
        ordered = ordered / ordered.sum()
    if top_p < 1:
        before = ordered.cumsum(dim=0) - ordered  # mass of the likelier ones
        ordered[(before >= top_p) & (torch.arange(len(p)) > 0)] = 0
    return torch.zeros_like(p).scatter(0, places, ordered / ordered.sum())


def drawn(probabilities: Tensor, generator: torch.Generator) -> int:
    """One piece, drawn with these probabilities."""
    return int(torch.multinomial(probabilities, 1, generator=generator))


def collapsed(best: Sequence[int], *, blank: int = 0) -> list[int]:
    """Which of CTC's slots say something? Repetitions count once, blanks not at all: of a a _ a b it is 0, 3, 4.

    source  Graves et al. 2006, Connectionist Temporal Classification, section 3.1
    """
    return [slot for slot, piece in enumerate(best) if piece != blank and (slot == 0 or piece != best[slot - 1])]


def ctc_loss(logits: Tensor, slots: Tensor, target: Tensor, *, padding: int = 0) -> Tensor:
    """How surprised is a network that fills slots by a sentence, over all ways in which they could say it?

    logits   (B, N, V); slots (B,) how many of the N are no padding
    target   (B, T) int64, padded
    returns  scalar, nat per piece; sentences that do not fit into their slots do not count
    source   Graves et al. 2006
    """
    log_p = logits.float().log_softmax(dim=-1).transpose(0, 1)
    lengths = (target != padding).sum(dim=1)
    # Between two pieces that are the same there must be a blank.
    doubled = ((target[:, 1:] == target[:, :-1]) & (target[:, 1:] != padding)).sum(dim=1)
    fits = lengths + doubled <= slots
    loss = F.ctc_loss(log_p, target, slots, lengths, blank=padding, reduction="none", zero_infinity=True)
    return loss.sum() / lengths[fits].sum().clamp_min(1)


def entropy(weights: Tensor) -> Tensor:
    """Over how many words is attention spread? exp of it is a number of words.

    H = -sum over s of  w[s] log w[s]

    weights  (…, S), rows sum to 1
    returns  (…), nat
    """
    return -torch.special.xlogy(weights, weights).sum(dim=-1)


def grouped(weights: Tensor, rows: Sequence[range], columns: Sequence[range]) -> Tensor:
    """Attention between words, from that between pieces.

    A word is looked at as much as all its pieces are together; a word looks as its pieces do in the mean.

    weights  (…, T, S); rows, columns: which pieces make a word
    returns  (…, rows, columns), rows sum to what they summed to
    """
    summed = torch.stack([weights[..., part.start : part.stop].sum(dim=-1) for part in columns], dim=-1)
    return torch.stack([summed[..., part.start : part.stop, :].mean(dim=-2) for part in rows], dim=-2)


def content(text: str) -> set[str]:
    """The words that carry an English sentence's meaning, cut to five letters: raise, raises and raised are one."""
    return {word[:5] for word in re.findall(r"[a-z]+", text.lower()) if word not in EMPTY}


def kept(translation: str, meaning: str) -> float:
    """How much of the meaning's words does a translation have?

    kept = words of both / words of the meaning,  those that carry meaning alone

    returns 0 to 1; a good translation in other words gets less than 1
    """
    wanted = content(meaning)
    return len(wanted & content(translation)) / max(len(wanted), 1)
