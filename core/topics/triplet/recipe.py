"""How the weights are made: one network per fold of the 449 cotton leaves, and what each fold's network can do.

make train TOPIC=triplet       five folds per variant, four minutes each on one core

A "seed" of this topic is a fold: the network of fold k has never seen the leaves of fold k, and its
scores are those of these leaves, so that mean and spread are over folds. Everything was chosen on folds
that were drawn otherwise (`folds(…, seed=1)`), of the same leaves. The variant on Omniglot has no folds:
its alphabets are apart, and its seeds are three runs.

Expected: recall@1 of three in four (embedding); the config.json of each run has the figures.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core import augment, data, loop, nets, store
from core.topics.triplet import asking, method
from core.topics.triplet.card import BOTH_SOURCES, COLUMNS, THUMBNAIL
from core.topics.triplet.network import Heads, MultiHead

FOLDS = 5
# How many leaves of a class come from the first of the two collections, by their order in the data set.
FROM_FIRST = {"bacterial blight": 30, "healthy": 37, "curl virus": 0, "fusarium wilt": 0}
COMPARED = 64  # dimensions to which the trunk's features are reduced beside the head's
OTHERS = 50  # leaves of each class of another survey that the page shows


@dataclass(frozen=True)
class Recipe:
    """Every number that matters.

    source                 what is learnt: cotton_disease, or omniglot
    dimensions, unit       of the map that the second head draws
    hidden                 units inside the second head
    trunk                  the run whose trunk is where training starts; "" for random weights
    classify, attract      weights of cross-entropy and of the triplet loss
    mining, margin         of the triplet loss
    mined                  share of batches whose triplets are mined; the others take random ones, without which hard
                           mining in two dimensions draws all points together
    batch                  leaves; or characters, of each of which `drawings` are taken
    size                   side of a training picture in pixels, reduced from a part of a leaf of 128
    crop                   smallest share of the picture's area that a crop keeps
    turn_degrees, colour   pictures turn by up to this much, and change brightness, contrast, saturation by this share
    average                decay per step of the running mean of the weights that is kept
    seeds                  folds
    """

    source: str = "cotton_disease"
    dimensions: int = 64
    unit: bool = True
    hidden: int = 0
    trunk: str = "photos/resnet"
    classify: float = 1.0
    attract: float = 1.0
    mining: method.Mining = "batch_hard"
    margin: float = 0.3
    mined: float = 1.0
    epochs: int = 15
    batch: int = 64
    drawings: int = 4
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
    "multi_head": Recipe(dimensions=2, unit=False, hidden=64, margin=1.0, mined=0.2),
    "classes": Recipe(attract=0.0, keep_weights=False),
    "random": Recipe(mining="random", keep_weights=False),
    "scratch": Recipe(trunk="", keep_weights=False),
    "omniglot": Recipe(
        source="omniglot", trunk="", classify=0.0, mining="semi_hard", epochs=30, batch=32, size=32, crop=0.7,
        turn_degrees=15.0, learning_rate=0.05, seeds=(0, 1, 2), keep_weights=False,
    ),
}  # fmt: skip


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
    """What a network of leaves trains on."""
    images, labels = batch
    images = augment.reframed(images, generator, size=recipe.size, crop=recipe.crop, turn_degrees=recipe.turn_degrees)
    images = augment.recoloured(images, generator, strength=recipe.colour)
    return images.contiguous(memory_format=torch.channels_last), labels


def drawn(batch: tuple[Tensor, ...], generator: torch.Generator, *, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """What a network of characters trains on: some drawings of each, never mirrored, for that is another character.

    batch   (B, 20, 1, 32, 32) the drawings of B characters, and their labels (B,)
    returns (B * drawings, 3, size, size) and labels
    """
    images, labels = batch
    chosen = torch.rand(images.shape[:2], generator=generator).argsort(dim=1)[:, : recipe.drawings]
    pictures = images[torch.arange(len(images))[:, None], chosen].flatten(0, 1).expand(-1, 3, -1, -1)
    pictures = augment.reframed(
        pictures, generator, size=recipe.size, crop=recipe.crop, turn_degrees=recipe.turn_degrees, mirror=False
    )
    return pictures.contiguous(memory_format=torch.channels_last), labels.repeat_interleave(recipe.drawings)


def build(recipe: Recipe, seed: int, classes: int) -> MultiHead:
    """The network as training starts: the trunk of another run or of the same shape, heads with random weights."""
    run = store.load(recipe.trunk or "photos/resnet")
    with torch.random.fork_rng():
        torch.manual_seed(loop.seed_of(seed))
        arguments = {**run.network, "classes": classes}
        network = MultiHead(dimensions=recipe.dimensions, unit=recipe.unit, hidden=recipe.hidden, **arguments)
    if recipe.trunk:
        learnt = run.fill(nets.ResNet(**run.network))
        for stage in learnt.stages:
            getattr(network, stage).load_state_dict(getattr(learnt, stage).state_dict())
    return network


def material(recipe: Recipe, seed: int, examples: data.Examples | None) -> tuple[tuple[Tensor, Tensor], Callable]:
    """What `loop.fit` goes through, each class as often as every other, and how it changes a batch of it."""
    if recipe.source == "omniglot":
        characters = framed_characters("background")
        by_character = characters.images.unflatten(0, (-1, 20))
        return (by_character, torch.arange(len(by_character))), drawn
    examples = examples or data.load("cotton_disease", "all")
    known = torch.nonzero(folds(examples.labels) != seed)[:, 0]
    chosen = known[balanced(examples.labels[known])]
    return (examples.images[chosen], examples.labels[chosen]), augmented


def framed_characters(split: str) -> data.Examples:
    """Omniglot with a margin, 32 x 32 pixels, so that the trunk can halve them; twenty drawings after one another."""
    examples = data.load("omniglot", split)
    return replace(examples, images=F.pad(examples.images, (2, 2, 2, 2)))


def train(
    recipe: Recipe,
    *,
    seed: int,
    examples: data.Examples | None = None,
    folder: Path | None = None,
    budget_s: float = float("inf"),
) -> tuple[MultiHead, loop.History]:
    """Train the network of one fold.

    seed      the fold that is held out; decides initial weights, order and augmentation, too
    examples  what the recipe's source holds, by default
    folder    where a killed run is taken up again, and where the moments for the page's replay are left
    returns   the network in eval mode, its weights rounded to fp16, and its history
    """
    chosen, change = material(recipe, seed, examples)
    classes = int(chosen[1].max()) + 1
    network = build(recipe, seed, classes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # The page replays the training of the first fold alone.
    replayed = folder and recipe.keep_weights and seed == recipe.seeds[0]
    leaves = (examples or data.load(recipe.source, "all")).images if replayed else None

    def loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        logits, points = network(images)
        value = recipe.classify * F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if recipe.attract:
            # From the stream that `fit` seeds anew with each epoch, so that a resumed run draws the same.
            generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
            mined = recipe.mined == 1 or torch.rand((), generator=generator) < recipe.mined
            mining = recipe.mining if mined else "random"
            value = value + recipe.attract * method.triplet_loss(
                points.float(), labels, margin=recipe.margin, mining=mining, generator=generator
            )
        return value

    history = loop.fit(
        network,
        chosen,
        loss,
        optimizer=torch.optim.SGD(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, momentum=0.9, nesterov=True
        ),
        epochs=recipe.epochs,
        batch=recipe.batch,
        seed=seed,
        validate=lambda _: {},
        augment=partial(change, recipe=recipe),
        average=recipe.average,
        folder=folder,
        watch=partial(moment, leaves=leaves) if leaves is not None else None,
        budget_s=budget_s,
    )
    return store.rounded(network), history


def pooled(network: MultiHead, images: Tensor) -> Tensor:
    """What the trunk finds in pictures and in their mirror images, the mean of both: (N, C)."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        return torch.cat([network.both_sides(part.to(device)) for part in images.split(20)]).cpu()


def both_heads(network: MultiHead, images: Tensor) -> Heads:
    """Logits and points of pictures, from features that are the mean over both mirror images."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        return Heads(*(part.cpu() for part in network.heads(pooled(network, images).to(device))))


def moment(network: MultiHead, *, leaves: Tensor) -> dict[str, Tensor]:
    """What the page's replay needs of one epoch."""
    logits, points = both_heads(network, leaves)
    return {"logits": logits.half(), "points": points.half()}


def histogram(images: Tensor) -> Tensor:
    """How often each of 8 x 8 x 8 colours occurs, as the square root of its share, (N, 512)."""
    level = (images * 8).long().clamp(max=7)
    colour = (level[:, 0] * 64 + level[:, 1] * 8 + level[:, 2]).flatten(1)
    cells = colour + 512 * torch.arange(len(images))[:, None]
    return (cells.flatten().bincount(minlength=512 * len(images)).view(-1, 512) / colour.shape[1]).sqrt()


def simple_points(images: Tensor) -> dict[str, Tensor]:
    """What the map is compared with: pixels of pictures of 32, colours, and the trunk as it was learnt from photos."""
    run = store.load("photos/resnet")
    trunk = MultiHead(dimensions=1, unit=False, **run.network)
    trunk.load_state_dict(run.tensors("model.safetensors"), strict=False)
    return {
        "pixels": F.interpolate(images, size=(32, 32), mode="bilinear", antialias=True).flatten(1),
        "colours": histogram(images),
        "photos": pooled(trunk.eval(), images),
    }


def all_scores(points: Tensor, labels: Tensor, held_out: Tensor, prefix: str = "") -> dict[str, float]:
    """Recall@1 of the held-out leaves among the others, balanced recall@1, and silhouette of the held-out ones."""
    result = asking.scores(points, labels, held_out, kind="euclidean")
    apart = method.distances(points[held_out], points[~held_out])
    result["recall_balanced"] = method.recall_at(apart, labels[held_out], labels[~held_out], k=1, balanced=True)
    return {f"{prefix}{name}": value for name, value in result.items()}


def evaluate(network: MultiHead, *, seed: int) -> dict[str, float]:
    """What the network of a fold can do, on the leaves of this fold; or of Omniglot, on alphabets never seen.

    returns accuracy and accuracy_balanced of the classes; recall, recall_balanced and silhouette (see `all_scores`) of
            the head's map; of the trunk's features, reduced to COMPARED directions (`features_recall` …); of
            what knows nothing of leaves (`pixels_recall` …, `majority_recall`); source_<class>, whether the nearest
            leaf of the same class is from the same collection (balanced accuracy, 0.5 if the map does not know); and
            survey_recall, how often a healthy or blighted leaf of another survey has a neighbour of its name
    """
    if network.classifier.out_features != len(data.SOURCES["cotton_disease"].classes):
        return evaluate_characters(network)
    leaves = data.load("cotton_disease", "all")
    held_out = folds(leaves.labels) == seed
    found = pooled(network, leaves.images)
    with torch.inference_mode():
        logits, points = network.heads(found)
    mean, directions = method.principal(found[~held_out], dimensions=COMPARED)
    of_rings, known = leaves.labels[held_out], leaves.labels[~held_out]
    right = logits[held_out].argmax(dim=1).eq(of_rings)
    result = {
        "accuracy": method.mean_over(right, of_rings, balanced=False),
        "accuracy_balanced": method.mean_over(right, of_rings, balanced=True),
        **all_scores(points, leaves.labels, held_out),
        **all_scores((found - mean) @ directions, leaves.labels, held_out, "features_"),
        "majority_recall": method.mean_over(of_rings == known.mode().values, of_rings, balanced=False),
    }
    for name, simple in simple_points(leaves.images).items():
        result |= all_scores(simple, leaves.labels, held_out, f"{name}_")
    both = [leaves.classes.index(name) for name in BOTH_SOURCES]
    told = asking.source_scores(points, leaves.labels, first_source(leaves), held_out, both=both, kind="euclidean")
    result |= {f"source_{name.replace(' ', '_')}": score for name, score in zip(BOTH_SOURCES, told, strict=True)}
    survey, labels = other_leaves()
    named = labels < len(leaves.classes)
    apart = method.distances(both_heads(network, survey[named]).points, points[~held_out])
    return result | {"survey_recall": method.recall_at(apart, labels[named], known, k=1)}


def evaluate_characters(network: MultiHead) -> dict[str, float]:
    """Recall@1 among 13,180 drawings of 659 characters whose alphabets were never seen, and that of their pixels."""
    unseen = framed_characters("evaluation")
    with torch.inference_mode():
        points = torch.cat([network(part.expand(-1, 3, -1, -1)).points for part in unseen.images.split(100)])
    result = {}
    for name, z in (("recall", points), ("pixels_recall", unseen.images.flatten(1))):
        hits = []
        for rows in torch.arange(len(z)).split(1000):
            apart = torch.cdist(z[rows], z)
            apart[torch.arange(len(rows)), rows] = torch.inf  # not itself
            hits.append(len(rows) * method.recall_at(apart, unseen.labels[rows], unseen.labels, k=1))
        result[name] = sum(hits) / len(z)
    return result


def other_leaves() -> tuple[Tensor, Tensor]:
    """Some leaves of another survey, and their classes: two of cotton_disease, and a third, numbered after those."""
    survey, known = data.load("leaf_disease", "all"), data.SOURCES["cotton_disease"].classes
    generator = torch.Generator().manual_seed(loop.seed_of(0, 41))
    own = [torch.nonzero(survey.labels == label)[:, 0] for label in range(len(survey.classes))]
    chosen = torch.cat([places[torch.randperm(len(places), generator=generator)[:OTHERS]] for places in own])
    numbers = torch.tensor([known.index(name) if name in known else len(known) for name in survey.classes])
    return survey.images[chosen], numbers[survey.labels[chosen]]


def restore(run: store.Run) -> MultiHead:
    """The network of a stored run, frozen."""
    return run.fill(MultiHead(**run.network))


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of config.json that follow from the recipe alone."""
    uses = {
        "cotton_disease": "five folds: four train, the fifth is scored",
        "leaf_disease": "150 leaves of another survey, for the score survey_recall; they train nothing",
        "omniglot": "964 characters of 30 alphabets train, 659 of 20 others are scored",
    }
    uses = {name: use for name, use in uses.items() if (name == "omniglot") == (recipe.source == "omniglot")}
    trunk = store.load(recipe.trunk or "photos/resnet")
    characters = recipe.source == "omniglot"
    classes = () if characters else data.SOURCES[recipe.source].classes
    return {
        "network": {
            **trunk.network,
            "classes": len(classes) or 964,
            "dimensions": recipe.dimensions,
            "unit": recipe.unit,
            "hidden": recipe.hidden,
        },
        "classes": list(classes),
        "preprocessing": {
            "size": [32, 32] if characters else [128, 128], "range": [0, 1], "channels": 3, "crop": "the middle square",
        },
        "recipe": asdict(recipe),
        "trunk": {"run": recipe.trunk, "sha256": trunk.config["files"]["model.safetensors"] if recipe.trunk else ""},
        "data": [
            {
                "name": source.name,
                "title": source.title,
                "use": uses[source.name],
                "licence": source.licence,
                "origin": source.origin,
                "sha256": source.files,
            }
            for source in (data.SOURCES[name] for name in uses)
        ],
    }  # fmt: skip


def companions(network: MultiHead) -> dict[str, dict[str, Tensor] | bytes]:
    """The files that travel with the weights, by name; the replay of the training comes to them.

    expected.safetensors  a small input and its output, so that any copy can be checked without data
    map.safetensors       points of the 150 others (150, D), and tsne (449, 2) of the 449 leaves if D > 2
    leaves.safetensors    of the 449 leaves and 150 others: label (599,), 8 for a disease that was not learnt; of the
                          449: fold, first (from the first collection); frozen (449, C) float16, what the trunk
                          found before it saw a leaf; and mistake, a place (see `find_failure`)
    leaves.jpeg           the 599 leaves in rows of COLUMNS, THUMBNAIL pixels each
    """
    leaves, (survey, survey_labels) = data.load("cotton_disease", "all"), other_leaves()
    small = torch.stack([data.drawn(shape, 64).expand(3, -1, -1) for shape in ("3", "ring")])
    with torch.inference_mode():
        output = torch.cat(network(small), dim=1)
    found = both_heads(network, leaves.images)
    files: dict[str, dict[str, Tensor] | bytes] = {"expected.safetensors": {"input": small, "output": output.clone()}}
    plane = {"others": both_heads(network, survey).points.half()}
    if found.points.shape[1] == 2:
        return files | {"map.safetensors": plane}
    return files | {
        "map.safetensors": {**plane, "tsne": flattened(found.points)},
        "leaves.safetensors": {
            "label": torch.cat([leaves.labels, survey_labels]),
            "fold": folds(leaves.labels),
            "first": first_source(leaves),
            "mistake": torch.tensor(find_failure(*found, leaves.labels, folds(leaves.labels) == 0)),
            "frozen": simple_points(leaves.images)["photos"].half(),
        },
        "leaves.jpeg": sheet(torch.cat([leaves.images, survey])),
    }


def find_failure(logits: Tensor, points: Tensor, labels: Tensor, held_out: Tensor) -> int:
    """Which held-out leaf is misread most surely, by the classifier, with a neighbour of that wrong disease, too?

    logits, points  (N, K) and (N, D); labels (N,), held_out (N,) bool
    raises          ValueError if there is none
    """
    probability, answer = logits.softmax(dim=1).max(dim=1)
    nearest = method.distances(points, points[~held_out]).argmin(dim=1)
    both = held_out & (answer != labels) & (labels[~held_out][nearest] == answer)
    if not both.any():
        raise ValueError(f"none of {int(held_out.sum())} held-out leaves is misread by both heads alike")
    return int((probability * both).argmax())


def flattened(points: Tensor) -> Tensor:
    """Where t-SNE puts these points in the plane, (N, 2)."""
    from sklearn.manifold import TSNE

    return torch.from_numpy(TSNE(random_state=0, init="pca", perplexity=30).fit_transform(points.double().numpy()))


def sheet(images: Tensor) -> bytes:
    """All pictures, reduced, in rows of COLUMNS, as one JPEG."""
    import io

    from PIL import Image

    small = F.interpolate(images, size=(THUMBNAIL, THUMBNAIL), mode="bilinear", antialias=True).clamp(0, 1)
    blank = torch.ones(-len(small) % COLUMNS, 3, THUMBNAIL, THUMBNAIL)
    grid = torch.cat([small, blank]).unflatten(0, (-1, COLUMNS)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    buffer = io.BytesIO()
    Image.fromarray((grid * 255).round().byte().numpy()).save(buffer, "JPEG", quality=72)
    return buffer.getvalue()
