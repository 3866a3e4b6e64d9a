"""Sheets of pictures: what a generator makes of a sheet of noise, and of one place of it after a move."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.topics.gan import network, walks

AT_ONCE = 16  # pictures that a network works on together: with 64 their features leave the cache, which is slower


def made(maker: Any, latents: Tensor, labels: Tensor | None = None) -> Tensor:
    """Pictures of noise, (N, C, H, W); `labels` are heard by a conditional network alone, which needs them."""
    given = (latents, labels) if maker.classes and labels is not None else (latents,)
    with torch.inference_mode():
        return torch.cat([maker(*part) for part in zip(*(each.split(AT_ONCE) for each in given), strict=True)])


class Sheet(NamedTuple):
    """A sheet of noise and its pictures.

    latents   (64, L); labels (64,) the class of each, if any
    maker     a generator whose statistics are settled
    pictures  (64, C, H, W)
    """

    latents: Tensor
    labels: Tensor
    maker: Any
    pictures: Tensor


def sheet(generator: Any, seed: int, *, truncation: float, together: bool, neighbours: int = 0, face: int = 0) -> Sheet:
    """The sheet of a seed.

    together    batch normalisation takes its statistics from this sheet, as in training
    neighbours  which others stand around picture `face`: 0 for its own, else a number that names some
    """
    latents = walks.sheet(generator.latent, seed, truncation=truncation)
    if neighbours:
        others = walks.sheet(generator.latent, seed + 10_000 * neighbours, truncation=truncation)
        latents = walks.with_neighbours(latents, face, others)
    labels = torch.arange(walks.SHEET) % max(generator.classes, 1)
    given = (latents, labels) if generator.classes else (latents,)
    maker = network.settled(generator, *given) if together else generator
    return Sheet(latents, labels, maker, made(maker, latents, labels))


class Chosen(NamedTuple):
    """One picture of a sheet: its latent (L,), and both after all changes; pictures (C, H, W)."""

    latent: Tensor
    moved: Tensor
    before: Tensor
    after: Tensor


def chosen(
    sheet: Sheet, face: int, directions: Tensor, steps: Sequence[float], *, mixed: tuple[int, int] | None = None
) -> Chosen:
    """A picture of a sheet, and what becomes of it after steps along directions (K, L).

    mixed  the pictures B and C of A - B + C, which comes before the steps
    """
    own = moved = sheet.latents[face]
    if mixed:
        moved = walks.combined(own, *sheet.latents[list(mixed)])
    moved = walks.moved(moved, directions, steps)
    after = sheet.pictures[face]
    if not torch.equal(moved, own):
        after = made(sheet.maker, moved[None], sheet.labels[face][None])[0]
    return Chosen(own, moved, sheet.pictures[face], after)


def apart(picture: Tensor, other: Tensor) -> float:
    """Mean absolute difference of two pictures."""
    return float((picture - other).abs().mean())
