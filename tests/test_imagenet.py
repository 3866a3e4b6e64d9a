"""Published networks of photos: stages, the repository's own preparation, and files that do not fit."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub import Hub
from PIL import Image
from published import COMMIT, CONFIG, MOBILENET, TINY, fetched, files, held, load, mobilenet, module, small_hub
from safetensors.torch import save
from torch import Tensor, nn

from core import data, imagenet, store
from core import published as shelves
from core.card import PUBLISHED
from core.nets import folded, staged
from core.vision import torchvision

import timm  # isort: skip  (needs torchvision, which has its own door)

NO_NORM = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
TRANSFORMER = {"class_token": False, "global_pool": "avg", "dynamic_img_size": False}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with two small repositories, and nothing in memory."""
    with small_hub(tmp_path / "cache", monkeypatch) as hub:
        yield hub


def picture(width: int = 300, height: int = 200) -> Image.Image:
    noise = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.interpolate(noise[None], size=(height, width), mode="bicubic").clamp(0, 1)
    return torchvision.transforms.functional.to_pil_image(smooth[0])


# --- the list, and the stages ---


def test_the_list_is_short_and_its_networks_are_small() -> None:
    assert 3 <= len(PUBLISHED) <= 6
    for published in PUBLISHED.values():
        assert published.repository == f"timm/{published.repository.removeprefix('timm/')}"
        assert published.repository.split("/")[1].split(".")[0] == published.architecture
        assert published.megabytes <= shelves.LIMIT_MB


def test_a_commit_is_a_full_hash() -> None:
    for commit in ("main", COMMIT[:7], COMMIT.upper().replace("0", "A"), ""):
        with pytest.raises(ValueError, match="40 hexadecimal digits"):
            replace(TINY, commit=commit)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_listed_network_has_the_stages_and_the_size_that_are_listed(name: str) -> None:
    published = PUBLISHED[name]
    with torch.device("meta"):
        network = timm.create_model(published.architecture)
        wrapped = staged(network, **NO_NORM)
        side = network.default_cfg["input_size"][-1]
        maps = {stage: wrapped.features(torch.rand(1, 3, side, side), stage) for stage in wrapped.stages}
    assert wrapped.stages == published.stages
    assert all(found.dim() == 4 and found.shape[2] == found.shape[3] for found in maps.values())
    assert (wrapped.classifier is None) == (name == "convnext")
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()) / 1e6
    assert size == pytest.approx(published.megabytes, abs=0.15)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded(network.eval()).modules())


SMALL = {
    "resnet": ("test_resnet", {}, True),
    "mobilenet": ("test_efficientnet", {}, True),
    "convnext": ("test_convnext", {}, False),
    "transformer, normed before pooling": ("test_vit", {**TRANSFORMER, "fc_norm": False}, True),
    "transformer, normed after pooling": ("test_vit", TRANSFORMER, False),
}


@pytest.mark.parametrize("family", SMALL)
def test_every_stage_leads_to_the_same_logits(family: str) -> None:
    architecture, options, cam = SMALL[family]
    network = module(architecture, num_classes=3, **options)
    wrapped = staged(network, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.5)).eval()
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    normal = (images - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.25, 0.2, 0.5])[:, None, None]
    with torch.no_grad():
        logits = wrapped(images)
        torch.testing.assert_close(logits, network(normal), rtol=1e-5, atol=1e-5)
        for stage in wrapped.stages:
            features = wrapped.features(images, stage)
            before = features.clone()
            assert torch.equal(wrapped.head(features, stage), logits), stage
            assert torch.equal(features, before), f"{stage} is written to by the next one"
        last = wrapped.features(images)
        if cam:
            rebuilt = last.mean(dim=(2, 3)) @ wrapped.classifier.weight.T + wrapped.classifier.bias
            torch.testing.assert_close(rebuilt, logits, rtol=1e-5, atol=1e-5)
        else:
            assert wrapped.classifier is None


@pytest.mark.parametrize("family", SMALL)
def test_folded_norms_change_no_logit(family: str) -> None:
    architecture, options, _ = SMALL[family]
    network = module(architecture, num_classes=3, **options).eval()
    generator = torch.Generator().manual_seed(2)
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:  # as after a training
        norm.weight.data.uniform_(0.5, 2, generator=generator)
        norm.bias.data.normal_(0, 0.5, generator=generator)
        norm.running_mean.normal_(0, 0.5, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
    images = torch.rand(2, 3, 160, 160, generator=generator)
    with torch.no_grad():
        expected = network(images)
        torch.testing.assert_close(folded(network)(images), expected, rtol=1e-4, atol=1e-5)
    assert bool(norms) == (family in ("resnet", "mobilenet"))


def test_what_has_no_map_of_features_is_refused() -> None:
    with pytest.raises(ValueError, match="without class token"):
        staged(module("test_vit"), **NO_NORM)
    with pytest.raises(ValueError, match=r"expected a network among ResNet, .*, got Sequential"):
        staged(nn.Sequential(), **NO_NORM)


# --- from the Hub ---


def test_a_network_comes_from_the_hub(hub: Hub) -> None:
    assert not imagenet.SHELF.here(TINY)
    assert hub.requests == []
    before = torch.get_rng_state()
    steps = list(imagenet.SHELF.loading(TINY))
    assert torch.equal(torch.get_rng_state(), before)
    assert imagenet.SHELF.here(TINY)
    assert fetched(hub) == ["config.json", "model.safetensors"]
    assert steps[-1].done == steps[-1].total == len(hub.repositories[TINY.repository][COMMIT]["model.safetensors"])
    assert steps[-1].say() == "Tiny is loaded (commit 0123456)."
    loaded = steps[-1].loaded
    assert loaded.commit == COMMIT
    assert loaded.labels == ("cat", "dog", "teapot")
    assert not any(part.training for part in loaded.network.modules())
    assert not any(value.requires_grad or value.is_meta for value in loaded.network.state_dict().values())
    assert loaded.network.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    network = module("test_resnet", num_classes=3)
    images = loaded.view(picture())
    normal = (images - loaded.network.mean) / loaded.network.std
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(images), network(normal), rtol=1e-4, atol=1e-5)
    assert loaded.network.mean.flatten().tolist() == pytest.approx([0.5, 0.4, 0.3])


# --- files that do not fit ---


@pytest.mark.parametrize(
    ("leaf", "tensor", "message"),
    [
        ("fc.bias", None, "fc.bias is missing"),
        ("fc.extra", torch.zeros(1), "fc.extra is not part of the network"),
        ("fc.bias", torch.zeros(4), "fc.bias has shape (4,), the network expects (3,)"),
        ("fc.bias", torch.zeros(3).double(), "fc.bias has dtype torch.float64, the network expects torch.float32"),
    ],
)
def test_weights_that_do_not_fit_are_refused(hub: Hub, leaf: str, tensor: Tensor | None, message: str) -> None:
    weights = module("test_resnet", num_classes=3).state_dict() | {leaf: tensor}
    kept = {name: value for name, value in weights.items() if value is not None}
    hub.put(TINY.repository, COMMIT, files(TINY) | {"model.safetensors": save(kept)})
    with pytest.raises(store.BadRun) as refused:
        load(TINY)
    assert str(refused.value) == f"{TINY.repository}/model.safetensors: {message}"
    assert held() is None


def test_a_file_of_another_kind_is_refused(hub: Hub) -> None:
    hub.put(TINY.repository, COMMIT, files(TINY) | {"model.safetensors": b"no tensors here"})
    with pytest.raises(store.BadRun, match=r"model\.safetensors is damaged"):
        load(TINY)


def preparation(**changes: Any) -> dict[str, Any]:
    return {"pretrained_cfg": CONFIG["pretrained_cfg"] | changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet50"}, "architecture is 'resnet50', not 'test_resnet'"),
        ({"num_classes": None}, "num_classes or pretrained_cfg is missing"),
        ({"pretrained_cfg": None}, "num_classes or pretrained_cfg is missing"),
        ({"pretrained_cfg": {}}, "pretrained_cfg does not say how to prepare a picture (KeyError('input_size'))"),
        (preparation(interpolation="magic"), "pretrained_cfg does not say how to prepare a picture (ValueError"),
        (preparation(mean=[0.5]), "pretrained_cfg asks for a preparation that is not supported"),
        (preparation(crop_pct=0), "pretrained_cfg asks for a preparation that is not supported"),
        (preparation(crop_mode="border"), "pretrained_cfg asks for a preparation that is not supported"),
        ({"label_names": ["cat"]}, "label_names is no list of 3"),
        ({"label_names": None}, "label_names is missing, and 3 classes are not ImageNet's 1000"),
    ],
)
def test_a_strange_config_is_refused(hub: Hub, changes: dict[str, Any], message: str) -> None:
    hub.put(TINY.repository, COMMIT, files(TINY, **changes))
    with pytest.raises(store.BadRun) as refused:
        load(TINY)
    assert str(refused.value).startswith(f"{TINY.repository}/config.json: {message}")


# --- pictures ---


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (160, 160), (50, 90), (1, 1), (1000, 161)])
def test_the_view_is_the_one_that_timm_makes(hub: Hub, size: tuple[int, int]) -> None:
    from timm.data import create_transform

    loaded = load(TINY)
    photo = picture(*size)
    settings = CONFIG["pretrained_cfg"]
    transform = create_transform(
        tuple(settings["input_size"]),
        interpolation="bicubic",
        crop_pct=0.95,
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
    )
    view = loaded.view(photo)
    assert view.shape == (1, 3, 160, 160)
    assert view.dtype == torch.float32
    assert 0 <= view.min() <= view.max() <= 1
    torch.testing.assert_close(loaded.network.prepare(view)[0], transform(photo), rtol=0, atol=1e-5)
    pixels = torchvision.transforms.functional.to_tensor(photo)
    assert torch.equal(loaded.view(pixels), view)


def test_a_tensor_of_another_form_is_refused(hub: Hub) -> None:
    loaded = load(TINY)
    for wrong in (torch.rand(1, 3, 8, 8), torch.rand(1, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"expected \(3, H, W\) float, got"):
            loaded.view(wrong)
    assert loaded.view(Image.new("L", (20, 30))).shape == (1, 3, 160, 160)


# --- real weights ---


@pytest.mark.data
def test_a_published_mobilenet_classifies_photographs(hub: Hub) -> None:
    folder = data.root()
    if folder is None or not (folder / MOBILENET).is_file():
        pytest.skip(f"{MOBILENET} is not below VITRINE_DATA")
    published = PUBLISHED["mobilenetv2"]
    reference, contents = mobilenet(folder)
    hub.put(published.repository, published.commit or COMMIT, contents)
    loaded = load(published)
    assert loaded.labels[281] == "tabby, tabby cat"
    samples = folder / "imagenet_samples"
    with (samples / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = 0
    with torch.inference_mode():
        for begin in range(0, len(rows), 20):
            part = rows[begin : begin + 20]
            views = torch.cat([loaded.view(Image.open(samples / row["file"])) for row in part])
            logits = loaded.network(views)
            right += sum(
                int(found) == int(row["class_index"]) for found, row in zip(logits.argmax(1), part, strict=True)
            )
            if begin == 0:
                expected = reference(loaded.network.prepare(views))
                torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert len(rows) == 200
    assert right / len(rows) == pytest.approx(0.81, abs=0.011), right
