"""A map that learns while one watches: a small head on features that stay as they are."""

import time
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
    trains: Tensor,
    *,
    mining: method.Mining,
    margin: float,
    learning_rate: float,
    batch: int,
    steps: int,
    every: int,
    seed: int,
    patience_s: float = float("inf"),
) -> Iterator[Moment]:
    """How does the map change while the triplet loss is followed?

    features      (N, C) float32, of all points; each feature is shifted and scaled to mean 0 and spread 1
    labels        (N,) int64; trains (N,) bool: which of them do, the others are only shown
    learning_rate of Adam; batch at most as many as train
    yields        a Moment at the start, after every `every` steps, and whenever `patience_s` seconds have passed
    raises        ValueError, when the first Moment is asked for, unless the batch is from 2 to what trains
    """
    count = int(trains.sum())
    if not 2 <= batch <= count:
        raise ValueError(f"expected a batch of 2 to {count}, got {batch}")
    generator = torch.Generator().manual_seed(seed)
    options = {"mining": mining, "margin": margin}
    # Also where a page has switched gradients off.
    with torch.inference_mode(False), torch.enable_grad():
        features = (features - features[trains].mean(dim=0)) / features[trains].std(dim=0).clamp_min(1e-6)
        network = head(features.shape[1], generator=generator)
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        mine, own = features[trains], labels[trains].clone()
        shown = torch.randperm(count, generator=generator)[:batch]
    shown_at = time.monotonic()
    for step in range(steps + 1):
        if step % every == 0 or step == steps or time.monotonic() - shown_at > patience_s:
            with torch.no_grad():
                points = network(features)
                # Draws of its own, so that looking does not change what is learnt.
                drawn = torch.Generator().manual_seed(seed)
                loss = method.triplet_loss(points[trains][shown], own[shown], generator=drawn, **options)  # type: ignore[arg-type]
                apart = method.distances(points[trains], points[trains])
            yield Moment(step, float(loss), float(apart.sum()) / (count * (count - 1)), points)
            shown_at = time.monotonic()
        if step < steps:
            with torch.inference_mode(False), torch.enable_grad():
                chosen = torch.randperm(count, generator=generator)[:batch]
                loss = method.triplet_loss(network(mine[chosen]), own[chosen], generator=generator, **options)  # type: ignore[arg-type]
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
