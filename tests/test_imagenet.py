"""Published networks on request: stages, the repository's own preparation, and a Hub that fails in every way."""

import csv
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hub import Hub, asked_by_the_client
from PIL import Image
from published import COMMIT, CONFIG, MOBILENET, files, mobilenet, module
from safetensors.torch import save
from torch import Tensor, nn

from core import data, imagenet, store
from core import hub as fetching
from core import published as shelves
from core.card import PUBLISHED, PublishedImageNet, Refused
from core.nets import folded, staged
from core.vision import torchvision

import timm  # isort: skip  (needs torchvision, which has its own door)

LATER = "abcdefabcd" * 4
SLACK_S = 1.5  # what a busy machine may add to a budget
LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4")
TINY = PublishedImageNet("timm/test_resnet.tiny", COMMIT, "Tiny", 1.3, architecture="test_resnet", stages=LAYERS)
OTHER = PublishedImageNet(
    "timm/test_efficientnet.other",
    COMMIT,
    "Other",
    1.2,
    architecture="test_efficientnet",
    stages=("stem", *(f"blocks{number}" for number in range(1, 6)), "conv_head"),
)
NO_NORM = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
TRANSFORMER = {"class_token": False, "global_pool": "avg", "dynamic_img_size": False}


def load(published: PublishedImageNet, **options: Any) -> imagenet.Loaded:
    [*_, last] = imagenet.SHELF.loading(published, **options)
    assert last.loaded
    return last.loaded


def held() -> PublishedImageNet | None:
    return shelves._held.published if shelves._held else None


def fetched(hub: Hub) -> list[str]:
    """The files whose content was asked for."""
    return [line.rpartition("/")[2] for line in hub.requests if line.startswith("GET")]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with two small repositories, and nothing in memory."""
    monkeypatch.setattr(shelves, "_held", None)
    monkeypatch.setattr(shelves, "_job", None)
    with Hub() as hub, asked_by_the_client(hub, tmp_path / "cache", monkeypatch):
        for published in (TINY, OTHER):
            hub.put(published.repository, COMMIT, files(published))
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


# --- a Hub that works ---


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


def test_progress_is_said_in_megabytes() -> None:
    assert shelves.Progress().say() == "Asking the Hub …"
    assert shelves.Progress(12_300_000, 46_800_000).say() == "12 of 47 MB"


def test_a_network_in_memory_is_not_loaded_again(hub: Hub) -> None:
    first = load(TINY)
    asked = len(hub.requests)
    assert load(TINY) is first
    assert len(hub.requests) == asked


def test_files_in_the_cache_need_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    load(TINY)
    hub.stop()
    monkeypatch.setattr(shelves, "_held", None)
    asked = len(hub.requests)
    assert imagenet.SHELF.here(TINY)
    assert load(TINY).commit == COMMIT
    monkeypatch.setattr(shelves, "_held", None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load(TINY).commit == COMMIT
    assert len(hub.requests) == asked


def test_without_a_commit_the_first_download_decides(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    open_ended = replace(TINY, commit=None)
    assert not imagenet.SHELF.here(open_ended)
    assert load(open_ended).commit == COMMIT
    hub.put(TINY.repository, LATER, files(TINY))
    monkeypatch.setattr(shelves, "_held", None)
    assert imagenet.SHELF.here(open_ended)
    assert load(open_ended).commit == COMMIT


def test_another_network_takes_the_place_of_the_first(hub: Hub) -> None:
    first = weakref.ref(load(TINY).network)
    assert load(OTHER).network.stages == OTHER.stages
    assert held() == OTHER
    gc.collect()
    assert first() is None
    assert load(TINY).published == TINY


def test_loading_disturbs_no_other_thread(hub: Hub) -> None:
    # The network is laid out on torch's `meta` device, which must stay that thread's own affair.
    visitor, devices = imagenet.SHELF.loading(TINY), set()
    for _ in visitor:
        devices.add(torch.zeros(1).device.type)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(load, OTHER)
        while not done.done():
            devices.add(torch.zeros(1).device.type)
    assert devices == {"cpu"}


def test_visitors_who_ask_at_once_share_one_download(hub: Hub) -> None:
    barrier = threading.Barrier(8)

    def visit(_: int) -> imagenet.Loaded:
        barrier.wait()
        return load(TINY)

    with ThreadPoolExecutor(8) as pool:
        networks = list(pool.map(visit, range(8)))
    assert all(loaded is networks[0] for loaded in networks)
    assert fetched(hub) == ["config.json", "model.safetensors"]


def test_what_is_on_this_machine_is_at_hand_without_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(TINY)
    assert imagenet.SHELF.at_hand(TINY) is loaded
    load(OTHER)
    hub.stop()
    asked = len(hub.requests)
    first = weakref.ref(imagenet.SHELF.at_hand(OTHER).network)
    again = imagenet.SHELF.at_hand(TINY)
    assert (again.commit, again.labels) == (COMMIT, loaded.labels)
    assert held() == TINY
    gc.collect()
    assert first() is None, "one network in memory"
    assert len(hub.requests) == asked


def test_what_is_not_here_is_refused_with_what_to_do(hub: Hub) -> None:
    load(OTHER)
    with pytest.raises(Refused, match=r"^Tiny is not on this machine\. Choose it again under Network; it has 1 MB\.$"):
        imagenet.SHELF.at_hand(TINY)
    assert held() == OTHER
    assert not any(TINY.repository in line for line in hub.requests)


def test_what_is_at_hand_waits_for_no_download(hub: Hub) -> None:
    load(TINY)
    load(replace(OTHER, commit=None))  # displaces it
    hub.put(OTHER.repository, LATER, files(OTHER))
    hub.faults["model.safetensors"] = "slow"
    visitor = imagenet.SHELF.loading(replace(OTHER, commit=LATER))
    next(visitor)
    begin = time.monotonic()
    assert imagenet.SHELF.at_hand(TINY).published == TINY
    assert time.monotonic() - begin < 2 * SLACK_S
    visitor.close()


def test_a_network_that_many_need_is_read_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    load(TINY)
    load(OTHER)
    build, built = imagenet.SHELF.build, []
    monkeypatch.setattr(imagenet.SHELF, "build", lambda *files: built.append(files) or build(*files))
    with ThreadPoolExecutor(8) as pool:
        networks = list(pool.map(lambda _: imagenet.SHELF.at_hand(TINY), range(8)))
    assert all(loaded is networks[0] for loaded in networks)
    assert len(built) == 1


def test_damaged_files_on_this_machine_come_anew(hub: Hub) -> None:
    load(TINY)
    load(OTHER)
    path = fetching.cached(TINY.repository, "model.safetensors", COMMIT)
    assert path
    path.write_bytes(b"damaged")
    with pytest.raises(store.BadRun, match="damaged"):
        imagenet.SHELF.at_hand(TINY)
    assert held() == OTHER
    assert not imagenet.SHELF.here(TINY)
    assert load(TINY).published == TINY


# --- a Hub that does not ---


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("fault", ["missing", "truncated", "reset"])
def test_a_fault_is_one_sentence_and_the_former_network_stays(hub: Hub, fault: str, file: str) -> None:
    load(OTHER)
    hub.faults[file] = fault
    with pytest.raises(Refused) as refused:
        load(TINY)
    sentence = str(refused.value)
    assert sentence.startswith(f"The Hub did not deliver {TINY.repository} ({file}: ")
    assert sentence.endswith("The network in use stays as it was.")
    assert "\n" not in sentence
    assert held() == OTHER
    hub.faults.clear()
    assert load(TINY).published == TINY


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model.safetensors", "model.safetensors is damaged: its sha256 is not the one that the Hub states"),
        ("config.json", "config.json is damaged: "),
    ],
)
def test_other_bytes_are_noticed_and_not_kept(hub: Hub, file: str, message: str) -> None:
    load(OTHER)
    hub.faults[file] = "wrong"
    with pytest.raises(store.BadRun) as refused:
        load(TINY)
    assert str(refused.value).startswith(f"{TINY.repository}/{message}")
    assert held() == OTHER
    hub.faults.clear()
    assert load(TINY).published == TINY


def test_a_large_file_is_refused_before_it_is_downloaded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "LIMIT_MB", 1)
    with pytest.raises(Refused, match=r"model\.safetensors: it has 2 MB, at most 1 MB are loaded"):
        load(TINY)
    assert fetched(hub) == ["config.json"]


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


def test_a_slow_hub_is_left_after_the_budget(hub: Hub) -> None:
    load(OTHER)
    hub.faults["model.safetensors"] = "slow"
    begin = time.monotonic()
    with pytest.raises(Refused, match=r"\(it is not complete after 0\.5 s\)"):
        load(TINY, budget_s=0.5)
    assert time.monotonic() - begin < 0.5 + SLACK_S
    assert held() == OTHER


def test_a_silent_hub_is_left_sooner(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "ANSWER_S", 0.5)
    hub.faults["config.json"] = "slow"
    begin = time.monotonic()
    with pytest.raises(Refused, match=r"\(no answer\)"):
        load(TINY)
    assert time.monotonic() - begin < 0.5 + SLACK_S


def test_no_hub_is_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    load(OTHER)
    hub.stop()
    begin = time.monotonic()
    with pytest.raises(Refused, match=rf"The Hub did not deliver {TINY.repository} \(.*config\.json"):
        load(TINY)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Refused, match="The Hub did not deliver"):
        load(TINY)
    assert time.monotonic() - begin < shelves.ANSWER_S + SLACK_S
    assert held() == OTHER


def test_progress_is_counted_where_the_client_downloads_through_xet() -> None:
    from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

    told = []

    class Bar(fetching.Counter):
        def tell(self, done: int, total: int) -> None:
            told.append((done, total))

    options: Any = {"reconstruction_desc": "", "total": 50, "log_level": 0, "tqdm_class": Bar}
    with XetDownloadProgressReporter(**options) as reporter:
        for done in (20, 50):
            report = SimpleNamespace(
                total_bytes=50,
                total_bytes_completed=done,
                total_transfer_bytes_completed=done,
                total_bytes_completion_rate=1.0,
                total_transfer_bytes_completion_rate=1.0,
            )
            reporter.update_progress(report)
    assert told == [(20, 50), (50, 50)]


# --- visitors who leave, and visitors who wait ---


def test_who_cancels_ends_the_download(hub: Hub) -> None:
    hub.faults["model.safetensors"] = "slow"
    visitor = imagenet.SHELF.loading(TINY)
    while not fetched(hub)[1:]:
        assert next(visitor).loaded is None
    visitor.close()
    hub.faults.clear()
    for thread in threading.enumerate():
        if thread.name == "hub download":
            thread.join(timeout=10)
    assert held() is None
    assert not imagenet.SHELF.here(TINY)
    assert load(TINY).published == TINY


def test_one_who_cancels_does_not_end_it_for_another(hub: Hub) -> None:
    hub.faults["model.safetensors"] = "slow"
    first, second = imagenet.SHELF.loading(TINY), imagenet.SHELF.loading(TINY)
    next(first)
    next(second)
    first.close()
    hub.faults.clear()
    [*_, last] = second
    assert last.loaded
    assert fetched(hub) == ["config.json", "model.safetensors"]


def test_another_network_waits_for_its_turn(hub: Hub) -> None:
    hub.faults["model.safetensors"] = "slow"
    first = imagenet.SHELF.loading(TINY)
    next(first)
    with pytest.raises(Refused, match=r"Another network is still being loaded\. Ask for Other again"):
        load(OTHER, budget_s=0.3)
    second = imagenet.SHELF.loading(OTHER)
    assert next(second).say() == "Asking the Hub …"
    first.close()
    hub.faults.clear()
    [*_, last] = second
    assert last.loaded.published == OTHER


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
