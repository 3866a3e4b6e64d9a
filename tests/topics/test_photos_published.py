"""The photo page with networks from the Hub: small ones in the place of the published ones, from a Hub of the tests."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from hub import Hub
from PIL import Image
from published import COMMIT, LABELS, MOBILENET, STAND_INS, files, mobilenet, tiny_hub

from apps import photos
from core import data, draw, imagenet
from core.card import PUBLISHED, Refused
from core.moves import Answer
from core.topics.photos import method

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with tiny_hub(tmp_path / "cache", monkeypatch) as hub:
        yield hub


def bring(name: str) -> list[str]:
    return list(imagenet.SHELF.fetch({"network": name}))


def answered(name: str, own: str = "", **values: Any) -> Answer:
    return photos.space.last_answer(photos.CARD.parse({"network": name, **values}), own)


def own_photo(width: int = 300, height: int = 200) -> Image.Image:
    """A picture of smooth colours with a few edges."""
    noise = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(3))
    smooth = torch.nn.functional.interpolate(noise[None], size=(height, width), mode="bicubic").clamp(0, 1)[0]
    return Image.fromarray((smooth * 255).byte().permute(1, 2, 0).numpy())


def url(picture: Image.Image) -> str:
    return draw.picture_url(np.asarray(picture))


def test_it_is_fetched_when_it_is_chosen_and_not_again(hub: Hub) -> None:
    with pytest.raises(Refused, match=r"Tiny is not on this machine\. Choose it again under Network; it has 1 MB\."):
        answered("resnet18")
    assert hub.requests == []
    said = bring("resnet18")
    assert all(re.fullmatch(r"Tiny: (Asking the Hub …|\d+ of \d+ MB)", words) for words in said[:-1])
    assert said[-1] == "Tiny is loaded (commit 0123456)."
    asked = len(hub.requests)
    assert bring("resnet18") == []
    answered("resnet18")
    assert len(hub.requests) == asked


def test_the_answer_is_the_networks_own(hub: Hub) -> None:
    bring("resnet18")
    loaded, picture = imagenet.SHELF.at_hand(STAND_INS["resnet18"]), own_photo()
    found = answered("resnet18", url(picture))
    with torch.inference_mode():
        logits = loaded.network(loaded.view(picture))[0]
    shares = logits.softmax(dim=0)
    first, second = shares.topk(2).indices.tolist()
    assert (found.numbers["answer"], found.numbers["second"]) == (f"thing {first}", f"thing {second}")
    assert found.numbers["confidence"] == pytest.approx(float(shares[first]), abs=1e-6)
    assert found.numbers["evidence"] == pytest.approx(float(logits.exp().sum().log()), abs=1e-5)
    assert found.numbers["many"] == sum(share > 0.01 for share in shares.tolist())
    assert not {"usual", "correct"} & found.numbers.keys(), "they belong to the small networks"
    assert [tile.name for tile in found.tiles] == ["answer", "second", "many"]
    assert found.tiles[2].caption == "of 12 classes have more than 1 %"
    assert [row["class"] for row in found.rows] == [label.split(",")[0] for label in LABELS]
    assert len(found.figure["data"][0]["x"]) == 5
    assert "160 by 160" in found.extras[1]


def test_changes_are_made_to_what_it_sees(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    bring("resnet18")
    loaded, picture = imagenet.SHELF.at_hand(STAND_INS["resnet18"]), own_photo()

    def seen(**values: Any) -> torch.Tensor:
        return photos.look(photos.CARD.parse({"network": "resnet18", **values}), url(picture))[2]

    view = loaded.view(picture)
    assert torch.equal(seen(), view)
    assert torch.equal(seen(turn=90), torch.rot90(view, 1, dims=(2, 3)))
    for tiles in ("2", "4", "8"):
        expected = method.shuffled(view, tiles=int(tiles), generator=torch.Generator().manual_seed(5))
        assert torch.equal(seen(tiles=tiles, seed=5), expected)
    grey = seen(grey=True)
    assert torch.equal(grey[:, 0], grey[:, 1])
    mirrored = answered("resnet18", url(picture), mirror=True).numbers["confidence"]
    with torch.inference_mode():
        assert mirrored == pytest.approx(float(method.flipped_too(loaded.network, view).max()), abs=1e-6)


def test_a_blur_takes_as_much_of_the_photo_away_whatever_the_side(hub: Hub) -> None:
    """A line that the blur spreads is as wide in both views, measured in shares of the photo."""
    bring("resnet18")
    line = np.zeros((384, 384, 3), np.uint8)
    line[:, 190:194] = 255

    def width(network: str) -> float:
        _, _, image = photos.look(photos.CARD.parse({"network": network, "blur": 2}), url(Image.fromarray(line)))
        row = image[0, 0, image.shape[2] // 2].double()
        place = torch.arange(len(row)).double()
        mean = (row * place).sum() / row.sum()
        return float(((row * (place - mean) ** 2).sum() / row.sum()).sqrt()) / len(row)

    crop = imagenet.SHELF.at_hand(STAND_INS["resnet18"]).crop
    assert width("resnet18") * crop == pytest.approx(width("resnet"), rel=0.05)


def test_two_visitors_with_different_networks_are_both_answered(hub: Hub) -> None:
    for name in STAND_INS:
        bring(name)
    expected = {name: answered(name).numbers for name in STAND_INS}
    assert expected["resnet18"] != expected["convnext"]
    hub.stop()
    asked, wrong = len(hub.requests), []

    def visit(name: str) -> None:
        for _ in range(5):
            if answered(name).numbers != pytest.approx(expected[name]):
                wrong.append(name)

    visitors = [threading.Thread(target=visit, args=(name,)) for name in (*STAND_INS, *STAND_INS)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert wrong == []
    assert len(hub.requests) == asked


def test_the_endpoint_answers_what_is_here_and_refuses_the_rest_in_words(hub: Hub) -> None:
    endpoint = photos.space.endpoint()
    with pytest.raises(gr.Error, match="Tiny is not on this machine"):
        endpoint(network="resnet18")
    bring("resnet18")
    found = endpoint(network="resnet18", photo="rocket")
    assert found["settings"]["network"] == "resnet18"
    assert found["numbers"] == pytest.approx(dict(answered("resnet18", photo="rocket").numbers))


def test_the_network_stays_as_it_was(hub: Hub) -> None:
    bring("resnet18")
    network = imagenet.SHELF.at_hand(STAND_INS["resnet18"]).network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    answered("resnet18", mirror=True, grey=True, blur=4, tiles="8")
    photos.follow(photos.CARD.parse({"network": "resnet18"}), "", ["1"])
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def numbers_in(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"[-+]?\d+\.\d+(?:e[-+]?\d+)?", text)]


@pytest.mark.parametrize("network", ["resnet", "resnet18"])
@pytest.mark.parametrize("rank", ["1", "3"])
def test_a_number_is_followed_to_the_bar_that_was_picked(hub: Hub, network: str, rank: str) -> None:
    bring("resnet18")
    steps = photos.follow(photos.CARD.parse({"network": network}), "", [rank])
    found = answered(network)
    row = sorted(found.rows, key=lambda row: row["share"])[-int(rank)]
    *_, together, softmax = steps
    parts, offset, logit = numbers_in(together)[:3]
    assert parts + offset == pytest.approx(logit, abs=0.011)
    assert logit == pytest.approx(row["logit"], abs=0.01)
    assert f"the logit of {row['class'].split(',')[0]} is" in together
    assert f"{row['share']:.1%}" in softmax
    *_, mean = photos.follow(photos.CARD.parse({"network": network, "mirror": True}), "", ["1"])
    assert f"{answered(network, mirror=True).numbers['confidence']:.1%}" in mean


def test_what_cannot_be_followed_is_said(hub: Hub) -> None:
    bring("convnext")
    steps = photos.follow(photos.CARD.parse({"network": "convnext"}), "", ["1"])
    assert "no map's part in a logit can be told" in steps[2]
    assert f"{answered('convnext').numbers['confidence']:.1%}" in steps[3]


def test_a_long_name_is_cut_where_it_would_not_fit(hub: Hub) -> None:
    long = [f"German short-haired pointer {number}" for number in range(5)]
    dogs = replace(STAND_INS["resnet18"], repository="timm/test_resnet.dogs")
    PUBLISHED["resnet18"] = dogs  # the fixture puts the list back
    hub.put(dogs.repository, COMMIT, files(dogs, num_classes=5, label_names=long))
    bring("resnet18")
    found = answered("resnet18")
    assert found.tiles[0].value == "German short-haire…"
    assert found.figure["layout"]["yaxis"]["ticktext"] == ["German short-haire…"] * 5
    assert found.numbers["answer"] in long
    assert found.figure["data"][0]["hovertext"][0].endswith(found.numbers["answer"])


def test_names_from_the_hub_are_escaped(hub: Hub) -> None:
    wild = replace(STAND_INS["resnet18"], repository="timm/test_resnet.wild")
    PUBLISHED["resnet18"] = wild  # the fixture puts the list back
    hub.put(wild.repository, COMMIT, files(wild, num_classes=5, label_names=["<img src=x>"] * 5))
    bring("resnet18")
    steps = photos.follow(photos.CARD.parse({"network": "resnet18"}), "", ["1"])
    assert "<img" not in " ".join(steps)


def run(code: str, folder: Path, **environment: str) -> list[float]:
    """The numbers that these lines print, in a process of their own."""
    told = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return numbers_in(done.stdout)


@pytest.mark.parametrize("own", [False, True])
def test_the_snippet_gives_the_same_answer(hub: Hub, tmp_path: Path, own: bool) -> None:
    name, published = "mobilenetv2", PUBLISHED["mobilenetv2"]  # the lines know the list, not this test's changes to it
    labels = [f"thing {number}" for number in range(8)]
    hub.put(published.repository, published.commit or COMMIT, files(published, num_classes=8, label_names=labels))
    bring(name)
    own_photo().save(tmp_path / "picture.png")
    picture = url(own_photo()) if own else ""
    values = photos.CARD.parse({"network": name, "blur": 1.5, "tiles": "4", "mirror": True, "photo": "rocket"})
    code = photos.snippet(values, picture)
    assert 1 < len(code.splitlines()) <= 8
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    printed = run(code, tmp_path, **environment)
    found = photos.space.last_answer(values, picture).numbers
    for key in ("confidence", "second_share", "evidence"):
        assert any(number == pytest.approx(found[key], abs=2e-4) for number in printed), key


@pytest.mark.data
def test_a_published_network_knows_its_photographs(hub: Hub) -> None:
    folder = data.root()
    if folder is None or not (folder / MOBILENET).is_file():
        pytest.skip(f"{MOBILENET} is not below VITRINE_DATA")
    published = PUBLISHED["mobilenetv2"]
    hub.put(published.repository, published.commit or COMMIT, mobilenet(folder)[1])
    bring("mobilenetv2")
    for file, name in (("n01443537_goldfish.jpg", "goldfish"), ("n04398044_teapot.jpg", "teapot")):
        picture = Image.open(folder / "imagenet_samples" / file).convert("RGB")
        found = answered("mobilenetv2", draw.jpeg_url(picture))
        assert found.numbers["answer"] == name
        assert found.numbers["confidence"] > 0.5
        assert len(found.rows) == 1000
        assert 0 < found.numbers["many"] < 20
