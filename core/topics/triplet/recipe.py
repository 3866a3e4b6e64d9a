"""How the weights are made: one network per fold of the 449 cotton leaves, and what each fold's network can do.

make train TOPIC=triplet       five folds per variant, three minutes each on one core

A "seed" of this topic is a fold: the network of fold k has never seen the leaves of fold k, and its
scores are those of these leaves, so that mean and spread are over folds. Everything was chosen on folds
that were drawn otherwise (`folds(…, seed=1)`).
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core import augment, data, loop, nets, store
from core.topics.triplet import method
from core.topics.triplet.network import MultiHead

FOLDS = 5
# How many leaves of a class come from the first of the two collections, by their order in the data set.
FROM_FIRST = {"bacterial blight": 30, "healthy": 37, "curl virus": 0, "fusarium wilt": 0}
COMPARED = 64  # dimensions to which the trunk's features are reduced beside the head's


@dataclass(frozen=True)
class Recipe:
    """Every number that matters.

    dimensions, unit       of the map that the second head draws
    trunk                  the run whose trunk is where training starts; "" for random weights
    classify, attract      weights of cross-entropy and of the triplet loss
    mining, margin         of the triplet loss
    size                   side of a training picture in pixels, reduced from a part of a leaf of 128
    crop                   smallest share of the leaf's area that a crop keeps
    turn_degrees, colour   leaves turn by up to this much, and change brightness, contrast, saturation by this share
    average                decay per step of the running mean of the weights that is kept
    seeds                  folds
    """

    dimensions: int = 64
    unit: bool = True
    trunk: str = "photos/resnet"
    classify: float = 1.0
    attract: float = 1.0
    mining: method.Mining = "batch_hard"
    margin: float = 0.3
    epochs: int = 15
    batch: int = 64
    learning_rate: float = 0.02
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    size: int = 64
    crop: float = 0.2
    turn_degrees: float = 45.0
    colour: float = 0.2
    average: float = 0.95
    seeds: tuple[int, ...] = tuple(range(FOLDS))
    keep_weights: bool = True


RECIPES = {
    "embedding": Recipe(),
    "multi_head": Recipe(dimensions=2, unit=False, margin=1.0),
    "classes": Recipe(attract=0.0, keep_weights=False),
    "random": Recipe(mining="random", keep_weights=False),
    "scratch": Recipe(trunk="", keep_weights=False),
}


def folds(labels: Tensor, *, seed: int = 0) -> Tensor:
    """Which fold is each leaf held out in? Every class is spread evenly, (N,) int64 in 0 … FOLDS - 1."""
    generator = torch.Generator().manual_seed(loop.seed_of(seed, 40))
    fold = torch.empty_like(labels)
    for label in labels.unique():
        own = torch.nonzero(labels == label)[:, 0]
        fold[own[torch.randperm(len(own), generator=generator)]] = torch.arange(len(own)) % FOLDS
    return fold


def first_source(leaves: data.Examples) -> Tensor:
    """Which leaves come from the first of the two collections, (N,) bool."""
    found = torch.ones_like(leaves.labels, dtype=torch.bool)
    for name, count in FROM_FIRST.items():
        own = torch.nonzero(leaves.labels == leaves.classes.index(name))[:, 0]
        found[own[count:]] = False
    return found


def balanced(labels: Tensor) -> Tensor:
    """Places (M,) of examples in which all classes are as frequent as the most frequent one."""
    most = int(labels.bincount().max())
    own = [torch.nonzero(labels == label)[:, 0] for label in labels.unique()]
    return torch.cat([places.repeat(-(-most // len(places)))[:most] for places in own])


def augmented(batch: tuple[Tensor, ...], generator: torch.Generator, *, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """What the network trains on."""
    images, labels = batch
    images = augment.reframed(images, generator, size=recipe.size, crop=recipe.crop, turn_degrees=recipe.turn_degrees)
    images = augment.recoloured(images, generator, strength=recipe.colour)
    return images.contiguous(memory_format=torch.channels_last), labels


def build(recipe: Recipe, seed: int, classes: int) -> MultiHead:
    """The network as training starts: the trunk of another run or of the same shape, heads with random weights."""
    run = store.load(recipe.trunk or "photos/resnet")
    with torch.random.fork_rng():
        torch.manual_seed(loop.seed_of(seed))
        arguments = {**run.network, "classes": classes}
        network = MultiHead(dimensions=recipe.dimensions, unit=recipe.unit, **arguments)
    if recipe.trunk:
        learnt = run.fill(nets.ResNet(**run.network))
        for stage in learnt.stages:
            getattr(network.trunk, stage).load_state_dict(getattr(learnt, stage).state_dict())
    return network


def train(
    recipe: Recipe,
    *,
    seed: int,
    leaves: data.Examples | None = None,
    folder: Path | None = None,
    budget_s: float = float("inf"),
) -> tuple[MultiHead, loop.History]:
    """Train the network of one fold.

    seed     the fold that is held out; decides initial weights, order and augmentation, too
    leaves   cotton_disease by default
    folder   where a killed run is taken up again
    returns  the network in eval mode, its weights rounded to fp16, and its history
    """
    leaves = leaves or data.load("cotton_disease", "all")
    known = torch.nonzero(folds(leaves.labels) != seed)[:, 0]
    chosen = known[balanced(leaves.labels[known])]
    network = build(recipe, seed, len(leaves.classes)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        logits, points = network(images)
        value = recipe.classify * F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if recipe.attract:
            # From the stream that `fit` seeds anew with each epoch, so that a resumed run draws the same.
            generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
            value = value + recipe.attract * method.triplet_loss(
                points.float(), labels, margin=recipe.margin, mining=recipe.mining, generator=generator
            )
        return value

    history = loop.fit(
        network,
        (leaves.images[chosen], leaves.labels[chosen]),
        loss,
        optimizer=torch.optim.SGD(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, momentum=0.9, nesterov=True
        ),
        epochs=recipe.epochs,
        batch=recipe.batch,
        seed=seed,
        validate=lambda _: {},
        augment=partial(augmented, recipe=recipe),
        average=recipe.average,
        folder=folder,
        budget_s=budget_s,
    )
    return store.rounded(network), history


@torch.inference_mode()
def features(network: MultiHead, images: Tensor) -> Tensor:
    """What the trunk finds in leaves and in their mirror images, the mean of both: (N, C)."""
    parts = images.split(20)
    return torch.cat([(network.features(part) + network.features(part.flip(3))) / 2 for part in parts])


def told(apart: Tensor, labels: Tensor, known: Tensor) -> float:
    """Balanced accuracy of the nearest known point's label: 0.5 where it tells nothing of two. Shapes as in recall."""
    return method.recall_at(apart, labels, known, k=1, balanced=True)


def evaluate(network: MultiHead, *, seed: int) -> dict[str, float]:
    """What the network of a fold can do, on the leaves of this fold.

    returns accuracy and accuracy_balanced of the classes; recall and recall_balanced, of the nearest among the
            leaves that it trained on, and silhouette, all in the head's map; the same of the trunk's features,
            reduced to COMPARED directions (`features_recall` …); and source_<class>, whether the nearest leaf of
            the same class is from the same collection (balanced accuracy, 0.5 if the map does not know)
    """
    leaves = data.load("cotton_disease", "all")
    held_out = folds(leaves.labels) == seed
    found = features(network, leaves.images)
    with torch.inference_mode():
        logits, points = network.heads(found)
    mean, directions = method.principal(found[~held_out], dimensions=COMPARED)
    asked, known = leaves.labels[held_out], leaves.labels[~held_out]
    right = logits[held_out].argmax(dim=1).eq(asked)
    result = {
        "accuracy": method.mean_over(right, asked, balanced=False),
        "accuracy_balanced": method.mean_over(right, asked, balanced=True),
    }
    for prefix, z in (("", points), ("features_", (found - mean) @ directions)):
        apart = method.distances(z[held_out], z[~held_out])
        among = method.distances(z[held_out], z[held_out])
        result |= {
            f"{prefix}recall": method.recall_at(apart, asked, known, k=1),
            f"{prefix}recall_balanced": method.recall_at(apart, asked, known, k=1, balanced=True),
            f"{prefix}silhouette": method.silhouette(among, asked),
        }
    first = first_source(leaves)
    for name in ("healthy", "bacterial blight"):
        own = leaves.labels == leaves.classes.index(name)
        apart = method.distances(points[own & held_out], points[own & ~held_out])
        result[f"source_{name.replace(' ', '_')}"] = told(apart, first[own & held_out], first[own & ~held_out])
    return result


def restore(run: store.Run) -> MultiHead:
    """The network of a stored run, frozen."""
    return run.fill(MultiHead(**run.network))


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of config.json that follow from the recipe alone."""
    source = data.SOURCES["cotton_disease"]
    trunk = store.load(recipe.trunk or "photos/resnet")
    return {
        "network": {
            **trunk.network, "classes": len(source.classes), "dimensions": recipe.dimensions, "unit": recipe.unit,
        },
        "classes": list(source.classes),
        "preprocessing": {"size": [128, 128], "range": [0, 1], "channels": 3, "crop": "the middle square"},
        "recipe": asdict(recipe),
        "uses": recipe.trunk,
        "uses_sha256": trunk.config["files"]["model.safetensors"] if recipe.trunk else "",
        "data": [
            {
                "name": source.name,
                "title": source.title,
                "use": "five folds: four train, the fifth is scored",
                "licence": source.licence,
                "origin": source.origin,
                "sha256": source.files,
            }
        ],
    }  # fmt: skip
