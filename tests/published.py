"""Repositories as the Hub has them for published networks: small ones from a seed, and MobileNetV2's own weights."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hub import Hub, asked_by_the_client
from safetensors.torch import load_file, save
from torch import Tensor, nn

from core import imagenet
from core import published as shelves
from core.card import PUBLISHED, PublishedImageNet
from core.vision import torchvision

import timm  # isort: skip  (needs torchvision, which has its own door)

COMMIT = "0123456789" * 4
MOBILENET = "weights/mobilenet_v2.safetensors"  # below VITRINE_DATA
LABELS = [f"thing {number}, also called {number}" for number in range(12)]
STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")
TINY = PublishedImageNet("timm/test_resnet.tiny", COMMIT, "Tiny", 1.3, architecture="test_resnet", stages=STAGES)
OTHER = PublishedImageNet(
    "timm/test_efficientnet.other",
    COMMIT,
    "Other",
    1.2,
    architecture="test_efficientnet",
    stages=("stem", *(f"blocks{number}" for number in range(1, 6)), "conv_head"),
)
STAND_INS = {
    "resnet18": TINY,
    "convnext": PublishedImageNet(
        "timm/test_convnext.tiny",
        COMMIT,
        "Next",
        1.1,
        architecture="test_convnext",
        stages=("stem", *(f"stage{n}" for n in range(1, 5))),
    ),
}
CONFIG: dict[str, Any] = {
    "architecture": "test_resnet",
    "num_classes": 3,
    "label_names": ["cat", "dog", "teapot"],
    "pretrained_cfg": {
        "input_size": [3, 160, 160],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.25, 0.2, 0.5],
    },
}


def module(architecture: str, **options: Any) -> Any:
    """timm's own network, with weights and running statistics from a seed, and logits between -4 and 4."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(architecture, **options).eval()
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
        *_, last = (part for part in network.modules() if isinstance(part, nn.Linear))
        with torch.no_grad():
            largest = network(torch.rand(4, 3, 160, 160)).abs().max()
            for parameter in last.parameters():
                parameter.mul_(4 / largest)
        return network


def files(published: PublishedImageNet, **changes: Any) -> dict[str, bytes]:
    """A repository: config.json (None takes a leaf away) and weights; `changes` to config.json."""
    config = CONFIG | {"architecture": published.architecture} | changes
    config = {leaf: value for leaf, value in config.items() if value is not None}
    weights = module(published.architecture, num_classes=config.get("num_classes") or 3).state_dict()
    return {"config.json": json.dumps(config).encode(), "model.safetensors": save(weights)}


def renamed(theirs: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """torchvision's MobileNetV2 in timm's names: the same layers in the same order."""
    ours = network.state_dict()
    counters = {name: torch.tensor(0) for name in ours if name.endswith("num_batches_tracked")}
    tensors = [value for name, value in theirs.items() if not name.endswith("num_batches_tracked")]
    names = [name for name in ours if name not in counters]
    assert [value.shape for value in tensors] == [ours[name].shape for name in names]
    return dict(zip(names, tensors, strict=True)) | counters


def mobilenet(folder: Path) -> tuple[nn.Module, dict[str, bytes]]:
    """torchvision's MobileNetV2 with its own weights, and the repository that holds it in timm's names."""
    reference = torchvision.models.mobilenet_v2().eval()
    reference.load_state_dict(load_file(folder / MOBILENET))
    weights = renamed(reference.state_dict(), timm.create_model("mobilenetv2_100"))
    settings = {
        "input_size": [3, 224, 224],
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    config = {"architecture": "mobilenetv2_100", "num_classes": 1000, "pretrained_cfg": settings}
    return reference, {"config.json": json.dumps(config).encode(), "model.safetensors": save(weights)}


@contextmanager
def empty_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub without repositories, and nothing in memory."""
    monkeypatch.setattr(shelves, "_held", None)
    monkeypatch.setattr(shelves, "_job", None)
    with Hub() as hub, asked_by_the_client(hub, cache, monkeypatch):
        yield hub


@contextmanager
def small_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with TINY and OTHER."""
    with empty_hub(cache, monkeypatch) as hub:
        for published in (TINY, OTHER):
            hub.put(published.repository, COMMIT, files(published))
        yield hub


@contextmanager
def tiny_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with small networks in the place of two published ones."""
    with empty_hub(cache, monkeypatch) as hub:
        for name, published in STAND_INS.items():
            monkeypatch.setitem(PUBLISHED, name, published)
            hub.put(published.repository, COMMIT, files(published, num_classes=len(LABELS), label_names=LABELS))
        yield hub


def load(published: PublishedImageNet, **options: Any) -> imagenet.Loaded:
    """The network, once it is loaded."""
    [*_, last] = imagenet.SHELF.loading(published, **options)
    assert last.loaded
    return last.loaded


def held() -> Any:
    """Which network is in memory."""
    return shelves._held.published if shelves._held else None


def fetched(hub: Hub) -> list[str]:
    """The files whose content was asked for."""
    return [line.rpartition("/")[2] for line in hub.requests if line.startswith("GET")]
