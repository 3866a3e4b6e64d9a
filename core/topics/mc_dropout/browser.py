"""What of this topic runs in a browser without a server: the network as one graph, and the masks of one seed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core import store
from core.graph import packed
from core.nets import DropoutCNN
from core.topics.mc_dropout import method
from core.topics.mc_dropout.card import CARD, RUN

PASSES, SEED = 50, 0


class Turning(nn.Module):
    """Turn a picture, and ask the thinned networks about it.

    picture (1, 1, 28, 28) float32 in [0, 1]; degrees (1,), counter-clockwise
    first, second  (T, 3136) and (T, 128), factors on the units of the two dropout layers
    returns the turned picture (1, 1, 28, 28), and (T, 10) probabilities
    """

    across: Tensor
    down: Tensor

    def __init__(self, network: DropoutCNN) -> None:
        super().__init__()
        self.network = network
        side = torch.arange(-27, 28, 2) / 28  # the middles of 28 pixels, in [-1, 1]
        self.register_buffer("across", side.expand(28, 28).clone())
        self.register_buffer("down", side[:, None].expand(28, 28).clone())

    def forward(self, picture: Tensor, degrees: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        angle = degrees * (torch.pi / 180)
        across = angle.cos() * self.across - angle.sin() * self.down
        down = angle.sin() * self.across + angle.cos() * self.down
        turned = F.grid_sample(picture, torch.stack([across, down], dim=-1)[None], align_corners=False)
        flat = self.network.features(turned).flatten(1)  # (1, 3136)
        hidden = F.relu(self.network.hidden(first * flat))  # (T, 128)
        return turned, self.network.logits(second * hidden).softmax(dim=-1)


def masks() -> tuple[Tensor, Tensor]:
    """The masks that the page draws for its opening state."""
    generator = torch.Generator().manual_seed(SEED)
    rate = float(CARD.defaults()["rate"])
    return method.keep_masks(DropoutCNN().mask_widths, passes=PASSES, rate=rate, generator=generator)


def graph(networks: Mapping[str, DropoutCNN]) -> tuple[nn.Module, dict[str, Tensor], list[str]]:
    """What is exported: a module, an example of each input by name, and the names of its outputs."""
    first, second = masks()
    example = {"picture": torch.rand(1, 1, 28, 28), "degrees": torch.tensor([30.0]), "first": first, "second": second}
    return Turning(networks[RUN]).eval(), example, ["turned", "votes"]


def beside() -> dict[str, Any]:
    """What the script needs beside the graph: the masks, one bit a unit, and the sample pictures, one byte a pixel."""
    samples = store.load(RUN).tensors("samples.safetensors")
    choices = CARD.param("digit").choices
    return {
        "passes": PASSES,
        "keep": 1 - float(CARD.defaults()["rate"]),
        "masks": [packed(np.packbits(mask.numpy() > 0)) for mask in masks()],
        "samples": {label: packed(samples[name].numpy()) for name, label in choices.items()},
    }
