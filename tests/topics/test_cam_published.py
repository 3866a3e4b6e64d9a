"""The page of maps with networks from the Hub: small ones in the place of the published ones."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hub import Hub
from published import COMMIT, LABELS, files, tiny_hub

from apps import cam
from core import imagenet
from core.card import PUBLISHED, Refused
from core.moves import Answer
from core.topics.cam import maps, method
from core.topics.cam.card import CARD, METHODS

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with tiny_hub(tmp_path / "cache", monkeypatch) as hub:
        for name in ("resnet18", "convnext"):
            list(imagenet.SHELF.fetch({"network": name}))
        yield hub


def answered(network: str, **values: Any) -> Answer:
    return cam.space.last_answer(CARD.parse({"network": network, **values}))


@pytest.mark.parametrize("name", METHODS)
def test_a_map_is_the_published_networks_own(hub: Hub, name: str) -> None:
    values = CARD.parse({"network": "resnet18", "method": name, "n": 2})
    case = cam.look(values, "")
    loaded = imagenet.SHELF.at_hand(PUBLISHED["resnet18"])
    assert case.network is loaded.network
    assert case.size == (loaded.side, loaded.side)
    assert case.classes == tuple(label.split(",")[0] for label in LABELS)
    expected = maps.draw_map(
        name, loaded.network, case.image, case.target, maps.Options(stage="layer4", samples=2, sigma=0.15)
    )
    assert torch.equal(cam.draw_map(values, case), expected)
    found = answered("resnet18", method=name, n=2)
    assert found.numbers["explained"] == case.name
    assert len(found.figure["data"][0]["z"]) <= 112, "finer maps are averaged before they travel"


@pytest.mark.parametrize(("stage", "layer"), [("last", "layer4"), ("late", "layer3"), ("early", "layer1")])
def test_layers_are_counted_from_the_last(hub: Hub, stage: str, layer: str) -> None:
    values = CARD.parse({"network": "resnet18", "stage": stage})
    case = cam.look(values, "")
    torch.testing.assert_close(
        cam.draw_map(values, case), method.grad_cam(case.network, case.image, case.target, stage=layer)
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"method": "cam"}, "CAM needs a mean over places"),
        ({"method": "guided_backpropagation"}, "Next has none"),
        ({"method": "grad_cam_plus_plus"}, "Next has none"),
        ({"method": "ablation_cam", "stage": "early"}, "only the last layer"),
        ({"method": "smooth_grad", "n": 26}, "n is at most 25"),
        ({"forgotten": "1"}, "in the two small networks only"),
        ({"target": "lion"}, "no class called lion"),
    ],
)
def test_what_a_network_does_not_have_is_said(hub: Hub, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=re.escape(sentence)):
        answered("convnext", **values)


def test_the_sheet_says_which_methods_a_network_does_not_have(hub: Hub) -> None:
    sheet = list(cam.all_methods(CARD.parse({"network": "convnext", "n": 1}), ""))[-1]
    assert sheet.count("<img") == len(METHODS) - 3
    assert sheet.count("<figure>") == len(METHODS)
    assert "has none. Take Grad-CAM." in sheet
    with pytest.raises(Refused, match="no class called lion"):
        list(cam.all_methods(CARD.parse({"network": "convnext", "target": "lion"}), ""))


def test_a_pair_is_seen_as_wide_as_two(hub: Hub) -> None:
    case = cam.look(CARD.parse({"network": "resnet18", "photo": "lion_goldfish"}), "")
    assert case.size[1] == 2 * case.size[0]
    assert 0 < float(answered("resnet18", photo="lion_goldfish", cover=True).numbers["covered"]) < 1


def test_the_snippet_gives_the_same_answer(hub: Hub, tmp_path: Path) -> None:
    published = PUBLISHED["mobilenetv2"]  # the lines know the list, not this test's changes to it
    hub.put(published.repository, published.commit or COMMIT, files(published, num_classes=12, label_names=LABELS))
    list(imagenet.SHELF.fetch({"network": "mobilenetv2"}))
    values = CARD.parse({"network": "mobilenetv2", "photo": "lion_goldfish", "against": "second"})
    code, numbers = cam.snippet(values, ""), cam.answer(values, "").numbers
    assert len(code.splitlines()) <= 8
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", done.stdout)]
    assert printed == pytest.approx([numbers["share"], numbers["largest"], numbers["drop"]], rel=1e-3, abs=1e-5)
