"""A map that learns while one watches: a small head on features that stay as they are."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.topics.triplet import method

HIDDEN = 64


class Moment(NamedTuple):
    """The map after so many steps.

    step      from 0, before any training
    loss      of a fixed batch of the points that train
    distance  mean distance between them
    points    (N, 2), of all points
    """

    step: int
    loss: float
    distance: float
    points: Tensor


def head(inputs: int, *, generator: torch.Generator) -> nn.Sequential:
    """Two linear layers with a ReLU between, to two dimensions; weights as `nn.Linear` draws them, offsets 0."""
    first, last = nn.Linear(inputs, HIDDEN), nn.Linear(HIDDEN, 2)
    for layer in (first, last):
        nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.ReLU(), last)


def training(
    features: Tensor,
    labels: Tensor,
    known: Tensor,
    *,
    mining: method.Mining,
    margin: float,
    learning_rate: float,
    batch: int,
    steps: int,
    every: int,
    seed: int,
) -> Iterator[Moment]:
    """How does the map change while the triplet loss is followed?

    features      (N, C) float32, of all points; each feature is shifted and scaled to mean 0 and spread 1
    labels        (N,) int64; known (N,) bool: those that train, the others are only shown
    learning_rate of Adam; batch at most as many as train
    yields        a Moment at the start, and after every `every` steps
    raises        ValueError if the batch is larger than what trains
    """
    count = int(known.sum())
    if not 2 <= batch <= count:
        raise ValueError(f"expected a batch of 2 to {count}, got {batch}")
    generator = torch.Generator().manual_seed(seed)
    options = {"mining": mining, "margin": margin}
    # Also where a page has switched gradients off.
    with torch.inference_mode(False), torch.enable_grad():
        features = (features - features[known].mean(dim=0)) / features[known].std(dim=0).clamp_min(1e-6)
        network = head(features.shape[1], generator=generator)
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        mine, own = features[known], labels[known].clone()
        shown = torch.randperm(count, generator=generator)[:batch]
    for step in range(steps + 1):
        if step % every == 0:
            with torch.no_grad():
                points = network(features)
                # Draws of its own, so that looking does not change what is learnt.
                drawn = torch.Generator().manual_seed(seed)
                loss = method.triplet_loss(points[known][shown], own[shown], generator=drawn, **options)  # type: ignore[arg-type]
                apart = method.distances(points[known], points[known])
            yield Moment(step, float(loss), float(apart.sum()) / (count * (count - 1)), points)
        if step < steps:
            with torch.inference_mode(False), torch.enable_grad():
                chosen = torch.randperm(count, generator=generator)[:batch]
                loss = method.triplet_loss(network(mine[chosen]), own[chosen], generator=generator, **options)  # type: ignore[arg-type]
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
