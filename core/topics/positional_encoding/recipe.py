"""How the learnt table of places is made, and what the same network reads without one.

    make train TOPIC=positional_encoding     two variants, one seed each

About a minute on one core, no data folder: the digits come with scikit-learn, 64 pixels row by
row. Without places a digit is a bag of grey levels, and most digits are misread. Only the network
with the learnt table keeps its weights.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core import data, loop, store
from core.topics.positional_encoding.network import PixelReader


@dataclass(frozen=True)
class Recipe:
    """Every number that matters.

    encoding      how the network is told where a pixel stands
    learning_rate peak of the warm cosine, AdamW
    """

    encoding: str
    epochs: int = 20
    batch: int = 64
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2
    seeds: tuple[int, ...] = (0,)
    keep_weights: bool = False


RECIPES = {"learnt": Recipe("learnt", keep_weights=True), "none": Recipe("none")}


def digits(split: str = "all") -> tuple[Tensor, Tensor]:
    """scikit-learn's digits as (N, 64) grey levels 0 to 16 with their labels."""
    pixels, labels = data.small_digits(split)
    return (16 * pixels).long(), labels


def cross_entropy(network: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
    """The training loss."""
    return F.cross_entropy(network(pixels), labels)


def train(
    recipe: Recipe, *, seed: int, folder: Path | None = None, budget_s: float = float("inf")
) -> tuple[PixelReader, loop.History]:
    """Train one network from scratch; arguments and result as in every recipe."""
    pixels, labels = digits("train")
    with torch.random.fork_rng():
        torch.manual_seed(loop.seed_of(seed))
        network = PixelReader(recipe.encoding)
    history = loop.fit(
        network,
        (pixels, labels),
        cross_entropy,
        optimizer=torch.optim.AdamW(
            [weight for weight in network.parameters() if weight.requires_grad],
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        ),
        epochs=recipe.epochs,
        batch=recipe.batch,
        seed=seed,
        # Of the training digits: nothing is chosen by it.
        validate=lambda trained: {"loss": cross_entropy(trained, pixels[:256], labels[:256]).item()},
        folder=folder,
        budget_s=budget_s,
        mixed_precision=False,
    )
    return store.rounded(network), history


@torch.inference_mode()
def evaluate(network: PixelReader, *, seed: int) -> dict[str, float]:
    """Accuracy on the 360 held-out digits, and on the same digits with their pixels shuffled, all in one way."""
    pixels, labels = digits("test")
    shuffle = torch.randperm(64, generator=torch.Generator().manual_seed(loop.seed_of(seed, 1)))

    def right(shown: Tensor) -> float:
        return float(network(shown).argmax(dim=1).eq(labels).float().mean())

    return {"accuracy": right(pixels), "accuracy_shuffled": right(pixels[:, shuffle])}


def restore(run: store.Run) -> PixelReader:
    """The network of a stored run, frozen."""
    return run.fill(PixelReader(**run.network))


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of config.json that follow from the recipe alone."""
    return {
        "network": {"encoding": recipe.encoding},
        "classes": list("0123456789"),
        "preprocessing": {"size": [8, 8], "range": [0, 16], "channels": 1, "ink": "bright on dark"},
        "recipe": asdict(recipe),
        "data": [data.SMALL_DIGITS | {"use": "trained on 1,437 digits of 8x8 pixels, scored on 360"}],
    }


@torch.inference_mode()
def companions(network: PixelReader) -> dict[str, dict[str, Tensor]]:
    """A small input and its output."""
    pixels = digits()[0][-4:]
    return {"expected.safetensors": {"input": pixels, "output": network(pixels)}}
