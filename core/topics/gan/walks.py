"""Sheets of noise, and the ways from one face to another."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.topics.gan import method

SHEET = 64  # faces on a sheet


def sheet(length: int, seed: int, *, truncation: float = 1.0) -> Tensor:
    """The noise of a sheet, (SHEET, length): normal numbers times `truncation`.

    truncation  below 1 all faces come nearer to the middle: fewer fail, and fewer differ
    source      Brock et al. 2019, arXiv:1809.11096, section 3.1, who draw again what is too far out
    """
    return truncation * torch.randn(SHEET, length, generator=torch.Generator().manual_seed(seed))


def with_neighbours(own: Tensor, place: int, others: Tensor) -> Tensor:
    """The same noise at one place of a sheet (SHEET, L), all others exchanged."""
    return torch.cat([others[:place], own[place : place + 1], others[place + 1 :]])


def moved(latent: Tensor, directions: Tensor, steps: Sequence[float]) -> Tensor:
    """Noise (L,) after steps along directions (K, L), in their own lengths."""
    return latent + torch.tensor(list(steps), dtype=latent.dtype) @ directions[: len(steps)]


def along(stops: Tensor, shares: Tensor) -> Tensor:
    """Noise on the arcs from the first of these stops (K, L) to the last, all arcs taking equal time.

    shares  (T,) from 0, the first stop, to 1, the last
    returns (T, L)
    raises  ValueError for stops that lie opposite each other, see `method.slerp`
    """
    arcs = len(stops) - 1
    found = torch.empty(len(shares), stops.shape[1], dtype=stops.dtype)
    which = (shares * arcs).long().clamp(0, arcs - 1)
    for arc in range(arcs):
        own = which == arc
        found[own] = method.slerp(stops[arc], stops[arc + 1], shares[own] * arcs - arc)
    return found


def combined(first: Tensor, less: Tensor, more: Tensor) -> Tensor:
    """A - B + C, as long as A: (L,) each.

    source  Radford et al. 2016, arXiv:1511.06434, section 6.3.2, who take means of three faces each
    """
    found = first - less + more
    return found * first.norm() / found.norm().clamp_min(1e-9)
