"""Four ways to tell attention where a word stands, and what attention does without any."""

import math

import torch
from torch import Tensor


def frequencies(dim: int, *, base: float = 10_000.0) -> Tensor:
    """How fast does each pair of dimensions turn, in radians per position?

    w[i] = base^(-2 i / dim)    for i = 0 … dim / 2 - 1

    dim      an even number of dimensions
    returns  (dim / 2,) float64, from 1 down to almost 1 / base
    raises   ValueError if dim is odd
    source   Vaswani et al. 2017, arXiv:1706.03762, section 3.5
    """
    if dim % 2:
        raise ValueError(f"expected an even number of dimensions, got {dim}")
    return base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def sinusoidal(positions: Tensor, dim: int, *, base: float = 10_000.0) -> Tensor:
    """Which pattern is added to the word at each position?

    e[p, 2 i]     = sin(p w[i])
    e[p, 2 i + 1] = cos(p w[i])

    positions  (P,)
    returns    (P, dim) float64 in [-1, 1]
    source     Vaswani et al. 2017, section 3.5
    """
    angles = positions.double()[:, None] * frequencies(dim, base=base)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def shift_rotation(shift: float, frequency: float) -> Tensor:
    """Which matrix turns the pair of any position into the pair `shift` positions on?

    (sin((p + k) w))   ( cos(k w)  sin(k w)) (sin(p w))
    (cos((p + k) w)) = (-sin(k w)  cos(k w)) (cos(p w))        whatever p is

    returns  (2, 2) float64
    """
    angle = shift * frequency
    return torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64)


def best_rotation(before: Tensor, after: Tensor) -> Tensor:
    """Which rotation brings these pairs closest to those, in the mean of squares?

    angle = atan2(sum of b x a, sum of b . a)

    before, after  (N, 2)
    returns        (2, 2) in the sense of `shift_rotation`
    source         Kabsch 1976, in two dimensions
    """
    across = (before[:, 1] * after[:, 0] - before[:, 0] * after[:, 1]).sum()
    along = (before * after).sum()
    return shift_rotation(float(torch.atan2(across, along)), 1.0)


def pairs_apart(encoded: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """All positions that have one a shift further on, and those: two (N, dim) from (P, dim)."""
    places = torch.arange(max(0, -shift), min(len(encoded), len(encoded) - shift))
    return encoded[places], encoded[places + shift]


def rotation_error(encoded: Tensor, shift: int) -> float:
    """If one rotation per pair is taken for a shift, how far does it miss?

    error = mean over p of |R e[p] - e[p + k]|  /  sqrt(mean over p of |e[p]|^2),   pair by pair, R the best rotation

    encoded  (P, dim)
    returns  0 if a shift is a rotation; 0 of an empty encoding, too
    """
    before, after = pairs_apart(encoded, shift)
    missed = [
        before[:, [i, i + 1]] @ best_rotation(before[:, [i, i + 1]], after[:, [i, i + 1]]).T - after[:, [i, i + 1]]
        for i in range(0, encoded.shape[1], 2)
    ]
    return float(torch.cat(missed, dim=1).norm(dim=1).mean() / (encoded**2).sum(dim=1).mean().clamp_min(1e-12).sqrt())


def product_spread(encoded: Tensor, shift: int) -> float:
    """How much does the dot product of two positions a shift apart depend on where they are?

    spread = standard deviation over p of e[p] . e[p + k]  /  mean over p of |e[p]|^2

    encoded  (P, dim)
    returns  0 if only the distance counts; 0 of an empty encoding, too
    """
    before, after = pairs_apart(encoded, shift)
    return float((before * after).sum(dim=1).std(correction=0) / (encoded**2).sum(dim=1).mean().clamp_min(1e-12))


def rotary(vectors: Tensor, positions: Tensor, *, base: float = 10_000.0) -> Tensor:
    """How does RoPE write a position into a query or a key, without adding anything?

    (x[2 i], x[2 i + 1]) is turned by the angle p w[i]; so q at p and k at p' meet with a dot product
    that knows p - p' alone.

    vectors    (..., P, dim)
    positions  (P,)
    returns    (..., P, dim), each vector as long as before
    source     Su et al. 2021, arXiv:2104.09864, equations 14 to 16
    """
    angles = positions.double()[:, None] * frequencies(vectors.shape[-1], base=base)
    cos, sin = angles.cos().to(vectors.dtype), angles.sin().to(vectors.dtype)
    even, odd = vectors[..., 0::2], vectors[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What does each word take from all words, itself included?

    a[p, r]   = exp(q[p] . k[r] / sqrt(dim)) / sum over s of exp(q[p] . k[s] / sqrt(dim))
    out[p]    = sum over r of a[p, r] v[r]

    All sums over words are rounded once, at their end (math.fsum): so not even the last digit can
    depend on the order in which the words come.

    queries, keys, values  (P, dim) float64; a few words, for it is slow
    returns                (P, dim) float64
    source                 Vaswani et al. 2017, equation 1
    """
    places = range(len(queries))
    rows = []
    for query in queries.tolist():
        # Each product is summed along its own dimensions, which no shuffle of words touches.
        logits = [math.fsum(a * b for a, b in zip(query, key, strict=True)) for key in keys.tolist()]
        weights = [math.exp((logit - max(logits)) / math.sqrt(len(query))) for logit in logits]
        total = math.fsum(weights)
        columns = values.T.tolist()
        rows.append([math.fsum(weights[place] * column[place] for place in places) / total for column in columns])
    return torch.tensor(rows, dtype=torch.float64)
