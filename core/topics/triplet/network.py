"""One trunk, two heads: which disease is it, and where on the map does it lie?"""

from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from core import nets


class Heads(NamedTuple):
    """What the two heads say: logits (B, classes), and points z (B, D)."""

    logits: Tensor
    points: Tensor


class MultiHead(nets.ResNet):
    """A residual trunk whose features one head classifies and another embeds.

    f = mean over places of trunk(x),   logits = W f + b,   z = E(f), or E(f) / |E(f)| if `unit`

    dimensions  D of the map that the second head draws
    hidden      units of a layer with ReLU inside E; 0 for a linear E, which cannot fold many classes into a plane
    unit        put the points on the unit sphere, where no distance exceeds 2
    trunk       arguments of `nets.ResNet`
    input       (B, 3, H, W) float32 in [0, 1]
    returns     Heads
    """

    def __init__(self, *, dimensions: int, unit: bool, hidden: int = 0, **trunk: Any) -> None:
        super().__init__(**trunk)
        inputs = self.classifier.in_features
        self.embed: nn.Module = nn.Linear(hidden or inputs, dimensions)
        if hidden:
            self.embed = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), self.embed)
        self.unit = unit

    def pooled(self, images: Tensor) -> Tensor:
        """What the trunk has found, averaged over all places: (B, C)."""
        return self.features(images).mean(dim=(2, 3))

    def both_sides(self, images: Tensor) -> Tensor:
        """The mean of `pooled` of pictures and of their mirror images, which tells them apart slightly better."""
        return (self.pooled(images) + self.pooled(images.flip(3))) / 2

    def heads(self, pooled: Tensor) -> Heads:
        """From the pooled features (B, C) to logits and points."""
        points = self.embed(pooled)
        return Heads(self.classifier(pooled), F.normalize(points, dim=1) if self.unit else points)

    def classify(self, features: Tensor) -> Heads:  # type: ignore[override]
        return self.heads(features.mean(dim=(2, 3)))
