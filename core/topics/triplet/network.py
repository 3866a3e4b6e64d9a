"""One trunk, two heads: which disease is it, and where on the map does it lie?"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from core import nets


class MultiHead(nn.Module):
    """A residual trunk whose features one head classifies and another embeds.

    f = mean over places of trunk(x),   logits = W f + b,   z = E f, or E f / |E f| if `unit`

    dimensions  D of the map that the second head draws
    unit        put the points on the unit sphere, where no distance exceeds 2
    trunk       arguments of `nets.ResNet`
    input       (B, 3, H, W) float32 in [0, 1]
    returns     logits (B, classes) and points z (B, D)
    """

    def __init__(self, *, dimensions: int, unit: bool, **trunk: Any) -> None:
        super().__init__()
        self.trunk = nets.ResNet(**trunk)
        self.embed = nn.Linear(self.trunk.classifier.in_features, dimensions)
        self.unit = unit

    def features(self, images: Tensor) -> Tensor:
        """What the trunk has found, averaged over all places: (B, C)."""
        return self.trunk.features(images).mean(dim=(2, 3))

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """From the trunk's features (B, C) to logits and points."""
        points = self.embed(features)
        return self.trunk.classifier(features), F.normalize(points, dim=1) if self.unit else points

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.heads(self.features(images))
