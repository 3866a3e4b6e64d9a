"""How the weights are made.

make train TOPIC=photos       up to three hours per run on one core, 25 minutes for a short one

Expected: seven of eight test photos right (resnet); the config.json of each run has the figures.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core import augment, data, loop, nets, store
from core.topics.photos import method
from core.vision import torchvision

CLASSES = data.SOURCES["photos20"].classes
# Validation photos for the page, by their place among the 1,000.
SAMPLES = {"lion": 508, "school_bus": 752, "goldfish": 308, "lighthouse": 458, "espresso": 205}
# The classes of imagenet_samples that were learnt, under ImageNet's names: the photos of all others are of
# classes never learnt. By class, not by sight: a tabby and a Labrador retriever are among the others.
LEARNT = {
    "black widow", "bullet train", "Egyptian cat", "African elephant", "espresso",
    "golden retriever", "goldfish", "jellyfish", "koala", "beacon",
    "lion", "monarch", "orange", "king penguin", "pizza",
    "school bus", "seashore", "sports car", "teapot", "viaduct",
}  # fmt: skip
STRONG = torchvision.transforms.TrivialAugmentWide()
VALIDATION = 50  # photos of each class, cut from the training part; every choice is made on them


@dataclass(frozen=True)
class Recipe:
    """Every number that matters.

    widths, blocks   channels and residual blocks of the three stages
    attention        CBAM at the end of each residual block
    early            channels of a further convolution before the picture is halved; 0 for none
    sizes            sides of a training batch in pixels, one drawn for each: fewer than 64 cost less; where photos are
                     only cut (see sharp), they show less of them, as large as it is
    sharp            share of batches whose photos are only shifted, cut and mirrored before they are recoloured: any
                     resampling blurs, and a network that has seen nothing else misreads photos as they are
    shift            those photos are extended by so many mirrored pixels on each side before a square is cut
    crop             smallest share of the photo's area that a random crop keeps
    turn_degrees     photos turn by up to this much, each way
    colour           brightness, contrast and saturation change by up to this share
    strong           share of batches in which, in place of `colour`, each photo gets one of thirteen changes of
                     random strength or none, among them shears, turns of up to 135 degrees and fewer tones
                     (TrivialAugment: Müller and Hutter 2021, arXiv:2103.10158)
    mix              share of batches whose photos are blended (mixup) or pasted into each other (CutMix)
    label_smoothing  share of the target spread over all classes
    teachers         names of the runs whose shares for the changed photo, in the mean, make half of the target
                     (Hinton et al. 2015, arXiv:1503.02531; Beyer et al. 2022, arXiv:2106.05237: they see what the
                     network sees)
    all_photos       the validation photos train, too: for a last run, after every choice was made
    average          decay per step of the running mean of the weights that is kept; 0 keeps the last
    seeds            runs behind mean and spread; the first one's weights are kept
    """

    widths: tuple[int, int, int] = (48, 112, 240)
    blocks: tuple[int, int, int] = (1, 2, 2)
    attention: bool = False
    early: int = 0
    epochs: int = 60
    batch: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    sizes: tuple[int, ...] = (64,)
    sharp: float = 0.75
    shift: int = 6
    crop: float = 0.5
    turn_degrees: float = 10.0
    colour: float = 0.2
    strong: float = 0.0
    mix: float = 0.6
    label_smoothing: float = 0.05
    teachers: tuple[str, ...] = ()
    all_photos: bool = False
    average: float = 0.995
    seeds: tuple[int, ...] = (0, 1, 2)
    keep_weights: bool = True


# Full trainings that the stored networks teach: scores only, the page keeps what learnt from labels alone.
TAUGHT = Recipe(sizes=(48, 64), teachers=("photos/resnet", "photos/cbam"), seeds=(0,), keep_weights=False)
# Half as many epochs again, stronger changes and smaller squares.
STRONGER = Recipe(epochs=90, sizes=(48, 64), strong=0.6, seeds=(0,), keep_weights=False)
# A quarter of the epochs, enough to tell what helps, and one change each.
SHORT = Recipe(epochs=16, seeds=(0,), keep_weights=False)
RECIPES = {
    "resnet": Recipe(),
    "cbam": Recipe(attention=True, seeds=(0,)),
    "taught_long": TAUGHT,
    "strong": STRONGER,
    "strong_all": replace(STRONGER, all_photos=True),
    # More layers before each halving, most of all before the first, for hardly more parameters.
    "deeper_all": replace(
        STRONGER, early=32, widths=(64, 128, 224), blocks=(2, 2, 2), all_photos=True, seeds=(0, 1, 2), keep_weights=True
    ),
    "all_photos": replace(TAUGHT, all_photos=True),
    "short": SHORT,
    "no_mixing": replace(SHORT, mix=0.0),
    "taught": replace(SHORT, teachers=("photos/resnet",)),
    "no_average": replace(SHORT, average=0.0),
    "all_resampled": replace(SHORT, sharp=0.0),
    "none_resampled": replace(SHORT, sharp=1.0),
}


# What is taken away from the test photos, to see what the network goes by.
CHANGES: dict[str, dict[str, Any]] = {
    "grey": {"grey": True},
    "upside_down": {"turn": 180},
    "blurred": {"blur": 1.5},
    "tiles2": {"tiles": 2},
    "tiles4": {"tiles": 4},
    "tiles8": {"tiles": 8},
}
UNCHANGED = {"turn": 0, "blur": 0.0, "grey": False, "tiles": 1}


def cut(images: Tensor, generator: torch.Generator, *, size: int) -> Tensor:
    """A square of `size` from a random place of each photo, mirrored or not, its pixels as they were.

    images  (B, 3, H, W), both sides at least `size`
    returns (B, 3, size, size)
    """
    count, _, height, width = images.shape
    top = torch.randint(0, height - size + 1, (count, 1), generator=generator) + torch.arange(size)
    left = torch.randint(0, width - size + 1, (count, 1), generator=generator) + torch.arange(size)
    mirror = torch.randint(0, 2, (count, 1), generator=generator).bool()
    left = torch.where(mirror, left.flip(1), left)
    return images[torch.arange(count)[:, None, None], :, top[:, :, None], left[:, None, :]].permute(0, 3, 1, 2)


def mixed(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend each photo with another of the batch (mixup), or paste a part of the other in (CutMix), half and half.

    share[b] is uniform in [0, 1]; target = share * own + (1 - share) * other, CutMix's share
    being the area that stays.
    targets (B, K) probabilities
    source  Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899
    """
    count, _, height, width = images.shape
    other = torch.randperm(count, generator=generator)
    share = augment.uniform(count, 0, 1, generator)
    side = (1 - share).sqrt()
    row, column = (augment.uniform(count, 0, 1, generator) * length for length in (height, width))
    rows = (torch.arange(height) - row[:, None]).abs() < side[:, None] * height / 2  # (B, H)
    columns = (torch.arange(width) - column[:, None]).abs() < side[:, None] * width / 2
    pasted = (rows[:, :, None] & columns[:, None, :]).float()  # (B, H, W)
    paste = torch.rand(count, generator=generator) < 0.5
    weight = torch.where(paste[:, None, None], 1 - pasted, share[:, None, None])  # of the photo's own pixels
    own = weight.mean(dim=(1, 2))[:, None]
    weight = weight[:, None]
    return weight * images + (1 - weight) * images[other], own * targets + (1 - own) * targets[other]


def augmented(batch: tuple[Tensor, ...], generator: torch.Generator, *, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """What the network trains on: photos changed as the recipe says, targets as probabilities.

    generator  draws all changes but the strong ones, which come from torch's global generator
    """
    images, labels = batch
    targets = F.one_hot(labels, len(CLASSES)).float()
    size = recipe.sizes[int(torch.randint(len(recipe.sizes), (), generator=generator))]
    if torch.rand((), generator=generator) < recipe.sharp:
        images = cut(F.pad(images, (recipe.shift,) * 4, mode="reflect"), generator, size=size)
    else:
        images = augment.reframed(images, generator, size=size, crop=recipe.crop, turn_degrees=recipe.turn_degrees)
    if recipe.strong and torch.rand((), generator=generator) < recipe.strong:
        images = torch.stack([STRONG(image) for image in (images * 255).round().byte()]) / 255
    else:
        images = augment.recoloured(images, generator, strength=recipe.colour)
    if torch.rand((), generator=generator) < recipe.mix:
        images, targets = mixed(images, targets, generator)
    return images.contiguous(memory_format=torch.channels_last), targets


def parts(examples: data.Examples) -> tuple[Tensor, Tensor]:
    """Which training photos train, and which validate: indices, 50 of each class drawn once for all seeds."""
    generator = torch.Generator().manual_seed(20)
    shuffled = torch.randperm(len(examples.labels), generator=generator)
    by_class = [shuffled[examples.labels[shuffled] == label] for label in range(len(examples.classes))]
    train, held_out = ([part[VALIDATION:] for part in by_class], [part[:VALIDATION] for part in by_class])
    return torch.cat(train), torch.cat(held_out)


def cross_entropy(
    network: nn.Module, images: Tensor, targets: Tensor, *, label_smoothing: float, teachers: Sequence[nn.Module] = ()
) -> Tensor:
    """The training loss, of targets that are probabilities; the teachers' mean makes half of them."""
    if teachers:
        with torch.no_grad():
            shares = [teacher(images).float().softmax(dim=1) for teacher in teachers]
            targets = (targets + torch.stack(shares).mean(dim=0)) / 2
    return F.cross_entropy(network(images), targets, label_smoothing=label_smoothing)


def batched_logits(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Logits, (N, 20), in batches that fit the cache."""
    with torch.inference_mode():
        return torch.cat([network(part) for part in images.split(100)])


def options_of(recipe: Recipe) -> dict[str, Any]:
    """What builds the network, as config.json keeps it."""
    return {
        "classes": len(CLASSES),
        "widths": recipe.widths,
        "blocks": recipe.blocks,
        "attention": recipe.attention,
        "early": recipe.early,
    }


def build(recipe: Recipe, seed: int) -> nets.ResNet:
    """The network with its initial weights."""
    with torch.random.fork_rng():
        torch.manual_seed(loop.seed_of(seed))
        return nets.ResNet(**options_of(recipe))


def train(
    recipe: Recipe,
    *,
    seed: int,
    examples: data.Examples | None = None,
    folder: Path | None = None,
    budget_s: float = float("inf"),
) -> tuple[nets.ResNet, loop.History]:
    """Train one network from scratch.

    seed      decides initial weights, order and augmentation
    examples  training photos, of which `parts` keeps 50 a class for validation, unless `all_photos`; photos20 by
              default
    folder    where a killed run is taken up again
    returns   the network in eval mode, its weights rounded to fp16, and its history
    """
    examples = examples or data.load("photos20", "train")
    chosen, held_out = parts(examples)
    if recipe.all_photos:
        chosen = torch.cat([chosen, held_out])
    validation = examples.images[held_out], examples.labels[held_out]
    network = build(recipe, seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teachers = [restore(store.load(name)).to(device) for name in recipe.teachers]

    def validate(network: nn.Module) -> loop.Row:
        if recipe.all_photos:
            return {}
        logits = batched_logits(network, validation[0].to(next(network.parameters()).device)).cpu()
        error = logits.argmax(dim=1).ne(validation[1]).float().mean()
        return {"validation_error": float(error), "validation_nll": float(F.cross_entropy(logits, validation[1]))}

    history = loop.fit(
        network,
        (examples.images[chosen], examples.labels[chosen]),
        partial(cross_entropy, label_smoothing=recipe.label_smoothing, teachers=teachers),
        optimizer=torch.optim.SGD(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, momentum=0.9, nesterov=True
        ),
        epochs=recipe.epochs,
        batch=recipe.batch,
        seed=seed,
        validate=validate,
        augment=partial(augmented, recipe=recipe),
        average=recipe.average,
        folder=folder,
        budget_s=budget_s,
    )
    return store.rounded(network), history


def nearest(images: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """The simple baseline: the class of the training photo with the least squared distance, as probabilities.

    images, labels (N, 3, H, W) and (N,); asked (M, 3, H, W)
    returns        (M, 20), one-hot
    """
    known = images.flatten(1)
    distance = known.square().sum(dim=1) - 2 * asked.flatten(1) @ known.T  # (M, N), up to a constant per row
    return F.one_hot(labels[distance.argmin(dim=1)], len(CLASSES)).float()


def unlearnt() -> Tensor:
    """Photos of classes that were never learnt, reduced as a visitor's, (180, 3, 64, 64)."""
    examples = data.load("imagenet_samples", "test")
    kept = [image for image, name in zip(examples.images, examples.classes, strict=True) if name not in LEARNT]
    pixels = ((image * 255).round().byte().permute(1, 2, 0).numpy() for image in kept)
    return torch.stack([nets.framed(picture) for picture in pixels])


def evaluate(network: nets.ResNet, *, seed: int) -> dict[str, float]:
    """What the network can do, on the 1,000 test photos.

    returns accuracy, with the mirror image (`accuracy_flipped`), of the first five, NLL (nat) and ECE;
            accuracy of changed photos (`accuracy_grey` …, see CHANGES); of the validation photos, on which
            every choice was made (see `all_photos` for a network that learnt them); and of a simple baseline,
            the class of the nearest training photo by its pixels (`accuracy_nearest`, the same for every network);
            and AUROC of the evidence and of the largest share for telling the test photos from 180 of classes
            never learnt (`auroc_evidence`, `auroc_share`)
    """
    train, test = data.load("photos20", "train"), data.load("photos20", "test")
    chosen, held_out = parts(train)

    def accuracy(probabilities: Tensor, labels: Tensor = test.labels) -> float:
        return float(probabilities.argmax(dim=1).eq(labels).float().mean())

    logits = batched_logits(network, test.images)
    probabilities = logits.softmax(dim=1)
    flipped = batched_logits(partial(method.flipped_too, network), test.images)
    first_five = logits.topk(5).indices.eq(test.labels[:, None]).any(dim=1)
    result = {
        "accuracy": accuracy(probabilities),
        "accuracy_flipped": accuracy(flipped),
        "accuracy_first_five": float(first_five.float().mean()),
        "nll": float(F.cross_entropy(logits, test.labels)),
        "accuracy_validation": accuracy(batched_logits(network, train.images[held_out]), train.labels[held_out]),
        "accuracy_nearest": accuracy(nearest(train.images[chosen], train.labels[chosen], test.images)),
    }
    unknown = batched_logits(network, unlearnt())
    result["auroc_evidence"] = method.auroc(method.evidence(logits), method.evidence(unknown))
    result["auroc_share"] = method.auroc(probabilities.amax(dim=1), unknown.softmax(dim=1).amax(dim=1))
    for name, change in CHANGES.items():
        generator = torch.Generator().manual_seed(loop.seed_of(seed, 20))
        images = method.changed(test.images, **{**UNCHANGED, **change}, generator=generator)
        result[f"accuracy_{name}"] = accuracy(batched_logits(network, images))
    return result


def restore(run: store.Run) -> nets.ResNet:
    """The network of a stored run, frozen."""
    return run.fill(nets.ResNet(**run.network))


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of config.json that follow from the recipe alone."""
    uses = {
        "photos20": "trained on 9,000 photos, with those of accuracy_validation, scored on the 1,000 test photos"
        if recipe.all_photos
        else "trained on 8,000 photos, validated on 1,000, scored on the 1,000 test photos",
        "imagenet_samples": "180 photos of classes never learnt, for the scores auroc_…; nothing was chosen by them",
    }
    return {
        "network": options_of(recipe),
        "classes": list(CLASSES),
        "preprocessing": {"size": [64, 64], "range": [0, 1], "channels": 3, "crop": "the middle square"},
        "recipe": asdict(recipe),
        "data": [
            {
                "name": source.name,
                "title": source.title,
                "use": uses[source.name],
                "licence": source.licence,
                "origin": source.origin,
                "sha256": source.files | ({"all pictures": source.pictures} if source.pictures else {}),
            }
            for source in (data.SOURCES[name] for name in uses)
        ],
    }  # fmt: skip


@torch.inference_mode()
def companions(network: nets.ResNet) -> dict[str, dict[str, Tensor]]:
    """The files that travel with the weights, by name.

    expected.safetensors  a small input and its output, so that any copy can be checked without data
    samples.safetensors   what `samples` returns, with the network of the recipe "resnet"
    """
    plain = network.state_dict().keys() == build(RECIPES["resnet"], 0).state_dict().keys()  # one's samples serve all
    images = torch.stack([data.drawn(shape, 64).expand(3, -1, -1) for shape in ("3", "ring", "scribble", "cross")])
    images = images * torch.tensor([1.0, 0.7, 0.4])[:, None, None]
    files = {"expected.safetensors": {"input": images, "output": batched_logits(network, images)}}
    return files | ({"samples.safetensors": samples(network)} if plain else {})


def find_failure(logits: Tensor, labels: Tensor) -> int:
    """Which of these photos is misread most surely, with no less evidence than a quarter of all?

    logits, labels (N, K) and (N,), of validation photos, which no score of the page uses
    returns        its place, with probability >= 0.9
    raises         ValueError if there is none
    """
    evidence = method.evidence(logits)
    probability, answer = logits.softmax(dim=1).max(dim=1)
    counts = (answer != labels) & (probability >= 0.9) & (evidence >= evidence.quantile(0.25))
    if not counts.any():
        raise ValueError(f"none of {len(labels)} photos is misread with a probability of 0.9 and usual evidence")
    return int((probability * counts).argmax())


def samples(network: nets.ResNet) -> dict[str, Tensor]:
    """The pictures of the page and what it shows about the test photos.

    returns <name>             (64, 64, 3) uint8, the validation photos of SAMPLES, and `mistake` (see `find_failure`),
                               each with `<name>_label`
            classes            (20, 3, 64, 64, 3) uint8, the first three test photos of each class
            confusion          (20, 20) int64, of the test photos
            mistakes           (12, 64, 64, 3) uint8, the test photos that were misread most confidently, with
                               mistakes_label, mistakes_answer (12,) int64, mistakes_probability (12,)
            evidence           (101,) percentiles of `method.evidence` over the validation photos
    """
    train, test = data.load("photos20", "train"), data.load("photos20", "test")
    _, held_out = parts(train)

    def stored(images: Tensor) -> Tensor:
        return (images * 255).round().to(torch.uint8).movedim(-3, -1).contiguous()

    logits = batched_logits(network, train.images[held_out])
    evidence = method.evidence(logits)
    places = {**SAMPLES, "mistake": find_failure(logits, train.labels[held_out])}
    probability, answer = batched_logits(network, test.images).softmax(dim=1).max(dim=1)
    wrong = torch.nonzero(answer != test.labels)[:, 0]
    worst = wrong[probability[wrong].argsort(descending=True)[:12]]
    per_class = torch.stack([torch.nonzero(test.labels == label)[:3, 0] for label in range(len(CLASSES))])
    return {
        **{name: stored(train.images[held_out[place]]) for name, place in places.items()},
        **{f"{name}_label": train.labels[held_out[place]] for name, place in places.items()},
        "classes": stored(test.images[per_class]),
        "confusion": method.confusion(answer, test.labels, len(CLASSES)),
        "mistakes": stored(test.images[worst]),
        "mistakes_label": test.labels[worst],
        "mistakes_answer": answer[worst],
        "mistakes_probability": probability[worst],
        "evidence": evidence.quantile(torch.linspace(0, 1, 101)),
    }
