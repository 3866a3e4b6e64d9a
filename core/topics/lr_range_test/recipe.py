"""How the range tests and the trainings that judge them are measured.

    make train TOPIC=lr_range_test     one checkpoint, 20 range tests per batch size, full short trainings

About 8 minutes on one core, no data folder: the digits come with scikit-learn. The best rate of a
batch size is the one whose short trainings end with the lowest loss on held-out digits, mean of
three seeds. Expected with batches of 16, ten per rate: the line picks a rate within a factor of two
of the best in 12 of 20 tests, first against last in all: from fresh weights, with the same batches
for all rates, a jump of the loss misleads the line more than noise misleads the two ends.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from core import data, loop, store
from core.topics.lr_range_test import method
from core.topics.lr_range_test.method import BATCHES, MOST, RATES

REPEATS = 20
SEEDS = (0, 1, 2)  # of the full short trainings


@dataclass(frozen=True)
class Recipe:
    """Every number that matters.

    hidden  units between 64 pixels and 10 digits
    epochs  of a full short training, plain gradient descent, constant rate
    seeds   of the checkpoint: one, since every range test starts from it
    """

    hidden: int = 64
    epochs: int = 5
    seeds: tuple[int, ...] = (0,)
    keep_weights: bool = True


RECIPES = {"digits": Recipe()}


class Reader(nn.Module):
    """Reads a digit of 8 by 8 pixels.

    hidden  units of the one hidden layer
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def forward(self, images: Tensor) -> Tensor:
        """images (B, 64) in [0, 1] -> logits (B, 10)"""
        return self.body(images)


def cross_entropy(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The training loss."""
    return F.cross_entropy(network(images), labels)


def plain_descent(network: nn.Module, rate: float) -> torch.optim.Optimizer:
    """Gradient descent without momentum."""
    return torch.optim.SGD(network.parameters(), lr=rate)


def trials(network: Reader, *, rates: Sequence[float], batches: int, batch: int, seed: int) -> NDArray[np.float32]:
    """Batch losses of a range test, (rates, batches), inf after a blow-up; the checkpoint stays as it is."""
    network.requires_grad_(True)
    found = loop.range_test(
        network,
        data.small_digits("train"),
        cross_entropy,
        rates=rates,
        batches=batches,
        batch=batch,
        seed=seed,
        make_optimizer=plain_descent,
    )
    return np.nan_to_num([each.losses for each in found], nan=np.inf, posinf=np.inf).astype(np.float32)


def train(
    recipe: Recipe, *, seed: int, folder: Path | None = None, budget_s: float = float("inf")
) -> tuple[Reader, None]:
    """The checkpoint that every range test starts from: fresh weights, rounded to fp16; nothing is trained."""
    with torch.random.fork_rng():
        torch.manual_seed(loop.seed_of(seed))
        return store.rounded(Reader(recipe.hidden)), None


def range_tests(network: Reader, report: Callable[[str], None] = print) -> Tensor:
    """Batch losses of all range tests, (batch sizes, REPEATS, rates, MOST) float32; inf after a blow-up."""
    rates, losses = RATES.tolist(), np.full((len(BATCHES), REPEATS, len(RATES), MOST), np.inf, dtype=np.float32)
    for place, batch in enumerate(BATCHES):
        for repeat in range(REPEATS):
            losses[place, repeat] = trials(network, rates=rates, batches=MOST, batch=batch, seed=repeat)
        report(f"range tests with batches of {batch}")
    return torch.from_numpy(losses)


def short_trainings(network: Reader, *, epochs: int, report: Callable[[str], None] = print) -> Tensor:
    """Loss on held-out digits after a full short training, (batch sizes, rates, seeds) float32; inf after a blow-up."""
    images, labels = data.small_digits("train")
    unseen, truth = data.small_digits("test")
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.requires_grad_(True)
    ends = torch.full((len(BATCHES), len(RATES), len(SEEDS)), torch.inf)
    for place, batch in enumerate(BATCHES):
        for column, rate in enumerate(RATES):
            for row, seed in enumerate(SEEDS):
                network.load_state_dict(start)
                optimizer = plain_descent(network, float(rate))
                for epoch in range(epochs):
                    for chosen in loop.order(len(labels), batch, loop.seed_of(seed, 7, epoch)):
                        value = cross_entropy(network, images[chosen], labels[chosen])
                        optimizer.zero_grad(set_to_none=True)
                        value.backward()
                        optimizer.step()
                    if not torch.isfinite(value):
                        break
                with torch.inference_mode():
                    end = cross_entropy(network, unseen, truth)
                ends[place, column, row] = end.nan_to_num(torch.inf)
        report(f"short trainings with batches of {batch}")
    network.load_state_dict(start)
    return ends


def measure(network: Reader) -> dict[str, Tensor]:
    """Everything that the page shows: `losses` of the range tests, `ends` of the short trainings."""
    return {"losses": range_tests(network), "ends": short_trainings(network, epochs=RECIPES["digits"].epochs)}


def evaluate(network: Reader, *, seed: int) -> dict[str, float]:
    """Of 20 range tests with ten batches per rate, how many pick a rate within a factor of two of the best?

    returns for each batch size B: best_B (the best rate), line_B and ends_B (shares of hits)
    """
    found, scores = measure(network), {}
    for place, batch in enumerate(BATCHES):
        best = float(RATES[found["ends"][place].mean(dim=1).argmin()])
        losses = found["losses"][place, :, :, :10].double().numpy()
        scores[f"best_{batch}"] = best
        for name, falls in (("line", method.line_slopes(losses)), ("ends", method.end_drops(losses))):
            scores[f"{name}_{batch}"] = float(method.hit(RATES[method.picked(falls)], best).mean())
    return scores


def restore(run: store.Run) -> Reader:
    """The checkpoint of the stored run."""
    return run.fill(Reader(**run.network))


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of config.json that follow from the recipe alone."""
    return {
        "network": {"hidden": recipe.hidden},
        "classes": list("0123456789"),
        "preprocessing": {"size": [8, 8], "range": [0, 1], "channels": 1, "ink": "bright on dark"},
        "recipe": asdict(recipe),
        "data": [
            data.SMALL_DIGITS | {"use": "range tests and short trainings on 1,437 digits of 8x8 pixels, 360 held out"}
        ],
    }


def companions(network: Reader) -> dict[str, dict[str, Tensor]]:
    """What the page opens on, and a small input with its output."""
    images = data.small_digits("test")[0][-4:]
    with torch.inference_mode():
        output = network(images)
    return {"trials.safetensors": measure(network), "expected.safetensors": {"input": images, "output": output}}
