"""One leaf or picture is asked about: which triplets has it in a batch, and what is the map worth?"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.topics.triplet import method

NEAREST = 5  # leaves amid which a new point lies where a map has no rule for it


class Worst(NamedTuple):
    """The triplet of an anchor with the largest loss: two places, and their distances from the anchor."""

    positive: int
    negative: int
    near: float
    far: float


class Mined(NamedTuple):
    """What a batch says of an anchor.

    places    (B,) of the batch's leaves
    apart     (B,) their distances from the anchor
    triplets  how many were mined for this anchor, and their mean loss (0 for none)
    worst     one of them, None for none
    """

    places: Tensor
    apart: Tensor
    triplets: int
    loss: float
    worst: Worst | None


def mined(
    anchor: Tensor,
    label: int,
    points: Tensor,
    labels: Tensor,
    places: Tensor,
    *,
    kind: method.Distance,
    mining: method.Mining,
    margin: float,
    generator: torch.Generator,
) -> Mined:
    """Which triplets does this anchor have among the leaves at `places`, itself not among them?

    anchor  (D,) and its label; points (N, D), labels (N,) of all leaves; places (B,)
    """
    together = torch.cat([anchor[None], points[places]])
    apart = method.distances(together[:1], together, kind=kind)
    found = method.mine(
        apart,
        torch.cat([torch.tensor([label]), labels[places]]),
        mining=mining,
        margin=margin,
        generator=generator,
    )
    positive, negative = found.positive, found.negative
    losses = method.triplet_losses(apart[0, positive], apart[0, negative], margin=margin)
    if not len(losses):
        return Mined(places, apart[0, 1:], 0, 0.0, None)
    p, n = (ends[losses.argmax()] for ends in (positive, negative))
    worst = Worst(int(places[p - 1]), int(places[n - 1]), float(apart[0, p]), float(apart[0, n]))
    return Mined(places, apart[0, 1:], len(losses), float(losses.mean()), worst)


def scores(points: Tensor, labels: Tensor, rings: Tensor, *, kind: method.Distance) -> dict[str, float]:
    """Recall@1 of the rings among the others, and their silhouette.

    points  (N, D); labels (N,); rings (N,) bool: held out
    """
    apart = method.distances(points, points, kind=kind)
    return {
        "recall": method.recall_at(apart[rings][:, ~rings], labels[rings], labels[~rings], k=1),
        "silhouette": method.silhouette(apart[rings][:, rings], labels[rings]),
    }


def collection_told(points: Tensor, first: Tensor, rings: Tensor, *, kind: method.Distance) -> float:
    """Does the nearest leaf tell which collection a ring is from? Balanced accuracy, 0.5 if it does not.

    points  (N, D), all of one class; first, rings (N,) bool
    """
    apart = method.distances(points[rings], points[~rings], kind=kind)
    return method.recall_at(apart, first[rings], first[~rings], k=1, balanced=True)


def source_scores(
    points: Tensor, labels: Tensor, first: Tensor, rings: Tensor, *, both: Sequence[int], kind: method.Distance
) -> list[float]:
    """`collection_told` of each class that both collections have, `both`; shapes as there, all (N, …)."""
    return [
        collection_told(points[own], first[own], rings[own], kind=kind) for own in (labels == label for label in both)
    ]


def among_nearest(apart: Tensor, places: Tensor) -> Tensor:
    """Where a new point belongs on a map that has no rule for it: amid its nearest, the nearer the closer.

    apart   (M, N) distances of M new points from the N known ones
    places  (N, 2) of those on the map
    returns (M, 2)
    """
    nearest = apart.topk(NEAREST, dim=1, largest=False)
    weight = (1 / nearest.values.clamp_min(1e-6))[:, :, None]
    return (places[nearest.indices] * weight).sum(dim=1) / weight.sum(dim=1)
