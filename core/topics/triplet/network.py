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

    f = mean over places of trunk(x),   logits = W f + b,   z = E f, or E f / |E f| if `unit`

    dimensions  D of the map that the second head draws
    unit        put the points on the unit sphere, where no distance exceeds 2
    trunk       arguments of `nets.ResNet`
    input       (B, 3, H, W) float32 in [0, 1]
    returns     Heads
    """

    def __init__(self, *, dimensions: int, unit: bool, **trunk: Any) -> None:
        super().__init__(**trunk)
        self.embed = nn.Linear(self.classifier.in_features, dimensions)
        self.unit = unit

    def pooled(self, images: Tensor) -> Tensor:
        """What the trunk has found, averaged over all places: (B, C)."""
        return self.features(images).mean(dim=(2, 3))

    def heads(self, pooled: Tensor) -> Heads:
        """From the pooled features (B, C) to logits and points."""
        points = self.embed(pooled)
        return Heads(self.classifier(pooled), F.normalize(points, dim=1) if self.unit else points)

    def classify(self, features: Tensor) -> Heads:  # type: ignore[override]
        return self.heads(features.mean(dim=(2, 3)))
