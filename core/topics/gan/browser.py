"""What of this topic runs in a browser without a server: the best generator as one graph, and noise of some sheets."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from core import store
from core.graph import packed
from core.topics.gan import walks
from core.topics.gan.card import BEST, NAMED

SEEDS, PICTURES, SLIDERS = 10, 16, 2  # sheets, pictures of each, and directions that a page has


def graph(networks: Mapping[str, nn.Module]) -> tuple[nn.Module, dict[str, Tensor], list[str]]:
    """What is exported: the generator for one picture at a time, its noise (1, L), and the output's name."""
    generator = networks[BEST]
    return generator, {"latent": torch.zeros(1, generator.latent)}, ["picture"]  # type: ignore[call-overload]


def beside() -> dict[str, Any]:
    """What the script needs beside the graph: noise and directions as float32, and what the directions do."""
    directions = store.load(BEST).tensors("directions.safetensors")["directions"].float()[:SLIDERS]
    length = directions.shape[1]
    return {
        "length": length,
        "sheets": [packed(walks.sheet(length, seed)[:PICTURES].numpy()) for seed in range(SEEDS)],
        "directions": packed(directions.numpy()),
        "named": NAMED[:SLIDERS],
    }
