"""How good are the maps? Nothing is trained: the network is that of the topic photos.

    make train TOPIC=cam       eight to fourteen minutes per draw on one core

Expected: CAM, Grad-CAM and Ablation-CAM put more than four fifths of their mass on the half that was
asked for, the gradients of pixels less than three fifths; guided backpropagation inserts best, and is
nearly the same when the top of the network has forgotten everything.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core import data, loop, nets, store
from core.topics.cam import checks
from core.topics.cam.maps import CHANCE, METHODS, Options, draw_map

CLASSES = data.SOURCES["photos20"].classes


@dataclass(frozen=True)
class Recipe:
    """Every number that matters.

    uses   the run whose network is explained
    pairs  two photos side by side, of classes that the network has among its first three
    photos test photos whose maps are inserted and deleted
    steps  of insertion and deletion
    blur   pixels; how far an inserted picture is blurred at first
    seeds  draws of pairs, photos and noise behind mean and spread
    """

    uses: str
    pairs: int = 200
    photos: int = 60
    steps: int = 8
    blur: float = 6.0
    seeds: tuple[int, ...] = (0,)
    keep_weights: bool = False


RECIPES = {"resnet": Recipe(uses="photos/resnet", seeds=(0, 1, 2)), "cbam": Recipe(uses="photos/cbam")}


def train(
    recipe: Recipe, *, seed: int, folder: Path | None = None, budget_s: float = float("inf")
) -> tuple[nets.ResNet, None]:
    """The stored network that is explained, frozen; there is no history, since nothing is trained here."""
    return restore(store.load(recipe.uses)), None


def restore(run: store.Run) -> nets.ResNet:
    """The network that a run of this topic explains, or that a run of photos holds."""
    run = store.load(run.config["uses"]) if "uses" in run.config else run
    return run.fill(nets.ResNet(**run.network))


def pairs(network: nets.ResNet, photos: data.Examples, *, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Two photos of different classes side by side, both of which the network has among its first three.

    returns pictures (count, 3, 64, 128), labels (count,) of the thing to be found, and where it is
            (count, 64, 128) bool: on the left in the first half of them, on the right in the others
    raises  ValueError if a thousand pictures per pair do not suffice
    """
    pictures: list[Tensor] = []
    labels: list[int] = []
    for _ in range(10 * count):
        if len(pictures) >= count:
            break
        left, right = torch.randint(len(photos.labels), (2, 100), generator=generator)
        both = torch.cat([photos.images[left], photos.images[right]], dim=3)
        first_three = network(both).topk(3).indices
        for place in range(100):
            asked, other = int(photos.labels[left[place]]), int(photos.labels[right[place]])
            if asked != other and {asked, other} <= set(first_three[place].tolist()):
                pictures.append(both[place])
                labels.append(asked if len(pictures) <= count // 2 else other)
    if len(pictures) < count:
        raise ValueError(f"expected {count} pairs with both classes among the first three, found {len(pictures)}")
    masks = torch.zeros(count, 64, 128, dtype=torch.bool)
    masks[: count // 2, :, :64] = True
    masks[count // 2 :, :, 64:] = True
    return torch.stack(pictures[:count]), torch.tensor(labels[:count]), masks


def evaluate(network: nets.ResNet, *, seed: int) -> dict[str, float]:
    """Which maps point at the thing, and which put first what the network needs?

    returns per method, and for a map of chance (`random`):
            pointing_<method>   share of the mass on the right half, mean over the pairs (chance: 0.5)
            insertion_<method>  area below the curve of the top class's probability (high is good)
            deletion_<method>   likewise (low is good)
            gain_<method>       insertion less deletion, less the same of a map of chance that is as fine
            drop_<method>       average drop (low is good)
            likeness_<method>   Spearman's correlation of the map's magnitude with that of a network whose
                                classifier and last stage are drawn anew (low is good)
    """
    recipe = RECIPES["resnet"]  # the numbers are the same for all variants
    photos = data.load("photos20", "test")
    generator = torch.Generator().manual_seed(loop.seed_of(seed, 30))
    with torch.inference_mode():
        pictures, labels, masks = pairs(network, photos, count=recipe.pairs, generator=generator)
        chosen = photos.images[torch.randperm(len(photos.images), generator=generator)[: recipe.photos]]
        answers = network(chosen).argmax(dim=1)
    ignorant = checks.randomised(network, ["classifier", network.stages[-1]], generator=generator)
    options = Options(seed=loop.seed_of(seed, 31))

    def drawn(network: nets.ResNet, images: Tensor, labels: Tensor) -> Tensor:
        """Maps of the method at hand, in batches."""
        parts = zip(images.split(20), labels.split(20), strict=True)
        return torch.cat([draw_map(name, network, part, one_hot(label), options) for part, label in parts])

    def areas(heats: Tensor) -> tuple[float, float]:
        """Mean insertion and mean deletion of the answers."""
        curves = checks.insertion_deletion(
            network, chosen, heats, steps=recipe.steps, blur=recipe.blur, generator=options.generator
        )
        both = (area.gather(1, answers[:, None]) for area in (curves.insertion_area, curves.deletion_area))
        insertion, deletion = (float(area.mean()) for area in both)
        return insertion, deletion

    result: dict[str, float] = {}
    chance: dict[tuple[int, ...], float] = {}
    for name in METHODS | CHANCE:
        on_pairs, on_photos = drawn(network, pictures, labels), drawn(network, chosen, answers)
        insertion, deletion = areas(on_photos)
        grain = on_photos.shape[1:]
        if grain not in chance:
            by_chance = areas(checks.random_map((len(chosen), *grain), generator=options.generator))
            chance[grain] = by_chance[0] - by_chance[1]
        result |= {
            f"pointing_{name}": float(checks.share_inside(checks.enlarged(on_pairs, (64, 128)), masks).mean()),
            f"insertion_{name}": insertion,
            f"deletion_{name}": deletion,
            f"gain_{name}": insertion - deletion - chance[grain],
            f"drop_{name}": float(checks.average_drop(network, chosen, on_photos, answers).mean()),
        }
        if name not in CHANCE:
            likeness = checks.spearman(on_photos.abs(), drawn(ignorant, chosen, answers).abs())
            result[f"likeness_{name}"] = float(likeness.mean())
    return result


def one_hot(labels: Tensor) -> Tensor:
    """Targets (B, 20) that explain one class each."""
    return F.one_hot(labels, len(CLASSES)).float()


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of config.json that follow from the recipe alone."""
    source = data.SOURCES["photos20"]
    return {
        "uses": recipe.uses,
        "uses_sha256": store.load(recipe.uses).config["files"]["model.safetensors"],
        "network": {},
        "classes": list(CLASSES),
        "preprocessing": {"size": [64, 64], "range": [0, 1], "channels": 3, "crop": "the middle square"},
        "recipe": asdict(recipe),
        "data": [
            {
                "name": source.name,
                "title": source.title,
                "use": f"{recipe.pairs} pairs and {recipe.photos} single photos of the test part, drawn per seed",
                "licence": source.licence,
                "origin": source.origin,
                "sha256": source.files,
            }
        ],
    }
