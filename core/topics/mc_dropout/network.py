"""A small digit classifier whose only random part sits at the end.

The convolutions (the trunk) are deterministic; dropout acts on what they found and
once more before the last layer. So many random passes cost one trunk and many cheap
heads.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from core.nets import Staged


class DropoutCNN(Staged):
    """Three convolutions, then two linear layers with dropout before each.

    (B, 1, 28, 28) -> conv1 (B, 32, 14, 14) -> conv2 (B, 64, 7, 7) -> conv3 (B, 64, 7, 7)
                   -> flatten (B, 3136) -> dropout -> hidden (B, 128) -> dropout -> logits (B, 10)

    channels    of the three convolutions
    hidden      width of the layer between the two dropouts
    rate        share of units that dropout removes while training, in [0, 1)
    batch_norm  put batch normalisation after each convolution
    input       (B, 1, 28, 28) float32 in [0, 1], ink bright
    returns     (B, 10) float32 logits
    """

    stages = ("conv1", "conv2", "conv3")

    def __init__(
        self,
        *,
        channels: tuple[int, int, int] = (32, 64, 64),
        hidden: int = 128,
        rate: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"expected a dropout rate in [0, 1), got {rate}")
        first, second, third = channels
        self.rate = rate
        self.conv1 = self._stage(1, first, kernel=5, pool=True, batch_norm=batch_norm)
        self.conv2 = self._stage(first, second, kernel=3, pool=True, batch_norm=batch_norm)
        self.conv3 = self._stage(second, third, kernel=3, pool=False, batch_norm=batch_norm)
        self.hidden = nn.Linear(third * 7 * 7, hidden)
        self.logits = nn.Linear(hidden, 10)

    @staticmethod
    def _stage(inputs: int, outputs: int, *, kernel: int, pool: bool, batch_norm: bool) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2),
            nn.BatchNorm2d(outputs) if batch_norm else nn.Identity(),
            nn.ReLU(),
            nn.MaxPool2d(2) if pool else nn.Identity(),
        )

    def classify(self, features: Tensor) -> Tensor:
        thinned = F.dropout(features.flatten(1), self.rate, self.training)
        hidden = F.relu(self.hidden(thinned))
        return self.logits(F.dropout(hidden, self.rate, self.training))

    @property
    def mask_widths(self) -> tuple[int, int]:
        """How many units each of the two dropout layers acts on."""
        return self.hidden.in_features, self.logits.in_features

    def thinned(self, features: Tensor, masks: tuple[Tensor, Tensor]) -> Tensor:
        """The head with given units removed, for T masks and B pictures in one batch.

        features (B, C, h, w) from `features`
        masks    (T, 3136) and (T, 128), factors on the units of the two dropout layers
        returns  (T, B, 10) logits
        """
        first, second = masks
        flat = features.flatten(1)  # (B, 3136)
        # What ReLU left at 0 for every picture stays 0 under any mask: four fifths need no product.
        active = flat.amax(dim=0).nonzero()[:, 0]
        thinned = first[:, None, active] * flat[:, active]
        hidden = F.relu(F.linear(thinned, self.hidden.weight[:, active], self.hidden.bias))  # (T, B, 128)
        return self.logits(second[:, None] * hidden)
