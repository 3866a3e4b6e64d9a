"""How the cut through a real loss is made, and how the last step of the tour was found.

    make train TOPIC=optimizers        one network of 2,410 weights twice, and a grid of losses

About 10 seconds on one core, no data folder: the digits come with scikit-learn. Expected: 91 % of
the held-out digits read correctly at both ends (other people wrote them). The plane of the cut goes
through the initial weights and the ends of two trainings, which differ in the order of their batches.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from core import data, loop, store
from core.topics.optimizers import method
from core.topics.optimizers.surfaces import FORMULAS, RATES, REACH

GRID = 61
PROBES = 7  # every tenth line of the grid is measured again by evaluate


@dataclass(frozen=True)
class Recipe:
    """Every number that matters.

    hidden         units between 64 pixels and 10 digits
    learning_rate  of plain gradient descent with momentum 0.9, constant
    seeds          one: the cut is a picture, not a score
    """

    hidden: int = 32
    epochs: int = 15
    batch: int = 32
    learning_rate: float = 0.1
    seeds: tuple[int, ...] = (0,)
    keep_weights: bool = True


RECIPES = {"cut": Recipe()}


class Corners(nn.Module):
    """The three points of weight space that span the cut, each a flat vector of weights.

    hidden  units of the network between 64 pixels and 10 digits
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10)).requires_grad_(False)
        count = sum(weight.numel() for weight in self.body.parameters())
        self.corners = nn.Parameter(torch.zeros(3, count), requires_grad=False)

    def logits(self, weights: Tensor, images: Tensor) -> Tensor:
        """What the network with these flat weights (count,) says to images (B, 64): (B, 10)."""
        named, place = {}, 0
        for name, weight in self.body.named_parameters():
            named[name] = weights[place : place + weight.numel()].view_as(weight)
            place += weight.numel()
        return functional_call(self.body, named, (images,))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the network at the first end."""
        return self.logits(self.corners[1], images)

    def place(self, x: float, y: float) -> Tensor:
        """The weights at a place of the plane."""
        start, first, second = self.corners
        return start + x * (first - start) + y * (second - start)


def train(
    recipe: Recipe, *, seed: int, folder: Path | None = None, budget_s: float = float("inf")
) -> tuple[Corners, None]:
    """Train the same initial network twice, with batches in another order.

    folder, budget_s  unused: it takes seconds
    returns           the three corners, rounded to fp16, and no history
    """
    images, labels = data.small_digits("train")
    with torch.random.fork_rng():
        torch.manual_seed(loop.seed_of(seed))
        corners = Corners(recipe.hidden)
    start = torch.cat([weight.flatten() for weight in corners.body.parameters()])
    found = [start]
    for number in (1, 2):
        weights = start.clone().requires_grad_()
        optimizer = torch.optim.SGD([weights], lr=recipe.learning_rate, momentum=0.9)
        for epoch in range(recipe.epochs):
            for chosen in loop.order(len(labels), recipe.batch, loop.seed_of(seed, number, epoch)):
                loss = F.cross_entropy(corners.logits(weights, images[chosen]), labels[chosen])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
        found.append(weights.detach())
    corners.corners.copy_(torch.stack(found))
    return store.rounded(corners).eval(), None


@torch.inference_mode()
def losses(corners: Corners, count: int) -> Tensor:
    """The training loss on a grid over the plane, (count, count), x along the second axis."""
    images, labels = data.small_digits("train")
    line = np.linspace(*REACH, count)
    rows = [
        [F.cross_entropy(corners.logits(corners.place(x, y), images), labels) for x in map(float, line)]
        for y in map(float, line)
    ]
    return torch.tensor(rows, dtype=torch.float32)


@torch.inference_mode()
def evaluate(corners: Corners, *, seed: int) -> dict[str, float]:
    """Accuracy on the held-out digits at both ends, and the losses of the cut on every tenth line.

    returns accuracy_first, accuracy_second, loss_lowest and loss_mean (nat, of the coarse grid)
    """
    images, labels = data.small_digits("test")
    coarse = losses(corners, PROBES)
    accuracies = [
        float(corners.logits(weights, images).argmax(dim=1).eq(labels).float().mean())
        for weights in corners.corners[1:]
    ]
    return {
        "accuracy_first": accuracies[0],
        "accuracy_second": accuracies[1],
        "loss_lowest": float(coarse.min()),
        "loss_mean": float(coarse.mean()),
    }


def restore(run: store.Run) -> Corners:
    """The corners of a stored run, frozen."""
    return run.fill(Corners(**run.network))


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of config.json that follow from the recipe alone."""
    return {
        "network": {"hidden": recipe.hidden},
        "classes": list("0123456789"),
        "preprocessing": {"size": [8, 8], "range": [0, 1], "channels": 1, "ink": "bright on dark"},
        "recipe": asdict(recipe),
        "data": [data.SMALL_DIGITS | {"use": "trained on 1,437 digits of 8x8 pixels, 360 held out"}],
    }


@torch.inference_mode()
def companions(corners: Corners) -> dict[str, dict[str, Tensor]]:
    """The grid that the page draws, and a small input with its output."""
    images = data.small_digits("test")[0][-4:]
    return {
        "cut.safetensors": {"losses": losses(corners, GRID)},
        "expected.safetensors": {"input": images, "output": corners(images)},
    }


def find_failure(*, steps: int = 100) -> tuple[str, float, float, float, float]:
    """From which start does Adam lose to momentum, though each has the best step size of the page for this start?

    Tries every formula and a grid of starts a twentieth of the map apart, with the page's defaults. Of the starts
    from which momentum ends at 0.01 or lower, takes the one from which Adam ends highest.
    returns  surface, start (shares of the map, x and y), and the best powers of ten of Adam and of momentum
    raises   ValueError if Adam ends below 0.1 wherever momentum ends below 0.01
    """
    line = np.arange(-9, 10) / 10
    starts = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    found: list[tuple[float, str, float, float, float, float]] = []
    for name, surface in FORMULAS.items():
        ends = {}
        for key in ("adam", "momentum"):
            walks = method.walk(key, surface.slope, surface.place(starts), rate=10.0 ** RATES[:, None], steps=steps)
            ends[key] = np.where(np.isfinite(walks.losses[-1]), walks.losses[-1], np.inf)
        for place in np.flatnonzero(ends["momentum"].min(axis=0) <= 0.01):
            rates = [float(RATES[ends[key][:, place].argmin()]) for key in ("adam", "momentum")]
            x, y = map(float, starts[place])
            found.append((float(ends["adam"][:, place].min()), name, x, y, rates[0], rates[1]))
    height, *answer = max(found)
    if height < 0.1:
        raise ValueError(f"Adam ends at {height:.3g} or lower wherever momentum ends at 0.01 or lower")
    return tuple(answer)  # type: ignore[return-value]
