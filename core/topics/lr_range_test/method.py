"""How the batch losses of a range test become a choice: by a line through all of them, or by the two ends.

The trials themselves, a few batches per learning rate from the same weights, are made by
`core.loop.range_test`, which trains with them elsewhere in the project.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
RATES = 10.0 ** (np.arange(-20, 9) * 0.15)  # 0.001 to 15.8, neighbours a factor of 1.4 apart
BATCHES = (4, 8, 16, 32)  # digits in a batch
MOST = 40  # batches per rate; fewer are the first ones of these
DIVERGED = 4.0  # times the first loss: more than that counts as a blow-up


def line_slopes(losses: Array) -> Array:
    """How fast did the loss fall, by a line through every batch?

    slope = sum over k of (k - mean k) (loss[k] - mean loss)  /  sum over k of (k - mean k)^2

    losses   (..., K) batch losses, K >= 2
    returns  (...) loss per batch; negative means learning; +inf where `blew_up`
    source   least squares; Gauss 1809
    """
    centred = np.arange(losses.shape[-1]) - (losses.shape[-1] - 1) / 2
    slopes = np.nan_to_num(losses, posinf=1e9) @ centred / (centred**2).sum()
    return np.where(blew_up(losses), np.inf, slopes)


def end_drops(losses: Array) -> Array:
    """How far did the loss fall, by the first and the last batch alone?

    drop = loss[K - 1] - loss[0]

    losses   (..., K) batch losses
    returns  (...) negative means learning; +inf where `blew_up`, so that only the comparison differs
    """
    return np.where(blew_up(losses), np.inf, losses[..., -1] - losses[..., 0])


def blew_up(losses: Array) -> NDArray[np.bool_]:
    """Did a loss stop being finite, or rise above four times the first one?

    losses   (..., K)
    returns  (...)
    """
    return ~np.isfinite(losses).all(axis=-1) | (
        np.nan_to_num(losses, nan=np.inf).max(axis=-1) > DIVERGED * losses[..., 0]
    )


def picked(falls: Array) -> NDArray[np.intp]:
    """Which learning rate wins: the one with the most negative slope or drop.

    falls    (..., R) one per learning rate
    returns  (...) index of a rate; the smallest rate if several are equal
    """
    return falls.argmin(axis=-1)


def hit(rates: Array, best: float, factor: float = 2.0) -> NDArray[np.bool_]:
    """Is a rate within this factor of the best one?

    1 / factor <= rate / best <= factor
    """
    # A hair of slack: on a grid of powers of ten a ratio of exactly two is never exact.
    return np.abs(np.log(rates / best)) <= np.log(factor) + 1e-9
