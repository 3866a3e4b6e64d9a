"""The door to torchvision, beside a torch that its compiled operators fit and beside one that they do not."""

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from core import vision

operators_missing = pytest.mark.skipif(
    vision.operators_load(), reason="torchvision's compiled operators load here, so nothing is missing"
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has imported nothing yet."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_datasets_transforms_and_models_work():
    pictures = vision.torchvision.datasets.FakeData(size=2, image_size=(3, 40, 40))
    image = vision.torchvision.transforms.functional.to_tensor(pictures[0][0])
    network = vision.torchvision.models.resnet18(weights=None, num_classes=4).eval()
    with torch.inference_mode():
        logits = network(vision.torchvision.transforms.Resize(32)(image)[None])
    assert logits.shape == (1, 4)


def test_transforms_version_two_works():
    from torchvision.transforms import v2

    assert v2.functional.horizontal_flip(torch.tensor([[[1.0, 2.0]]])).tolist() == [[[2.0, 1.0]]]


@operators_missing
def test_a_missing_operator_says_so():
    boxes, scores = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0])
    with pytest.raises(RuntimeError, match="custom C\\+\\+ ops"):
        vision.torchvision.ops.nms(boxes, scores, 0.5)
    with pytest.raises(NotImplementedError, match="torchvision::nms"):
        torch.ops.torchvision.nms(boxes, scores, 0.5)


def test_nothing_is_declared_where_the_operators_load(monkeypatch):
    monkeypatch.setattr(torch.library, "Library", lambda *_: pytest.fail("a library was opened"))
    # As on a machine where nobody has declared the operators before.
    monkeypatch.setattr(vision.torch, "ops", SimpleNamespace(torchvision=SimpleNamespace()))
    assert vision.declare_missing(True) == []


def test_nothing_is_declared_twice():
    assert vision.declare_missing(False) == []


@pytest.mark.parametrize(("fits", "expected"), [(True, True), (False, False)])
def test_operators_load_tries_the_library(monkeypatch, tmp_path, fits, expected):
    (tmp_path / "_C.cpython.so").touch()
    tried = []

    def load_library(path: str) -> None:
        tried.append(path)
        if not fits:
            raise OSError("undefined symbol")

    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    monkeypatch.setattr(torch.ops, "load_library", load_library)
    assert vision.operators_load() is expected
    assert tried == [str(tmp_path / "_C.cpython.so")]


def test_operators_do_not_load_without_torchvision(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert vision.operators_load() is False


@operators_missing
def test_the_bare_import_fails_and_ours_works_after_it():
    done = run(
        "try:\n"
        "    import torchvision\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
        "from core.vision import torchvision\n"
        "print(torchvision.models.resnet18.__name__)\n"
    )
    assert done.returncode == 0, done.stderr
    failure, works = done.stdout.splitlines()
    assert failure == "operator torchvision::nms does not exist"
    assert works == "resnet18"


def test_importing_again_is_harmless():
    done = run(
        "import importlib\n"
        "from core import vision\n"
        "import torchvision\n"
        "again = importlib.reload(vision)\n"
        "assert again.torchvision is torchvision\n"
        "assert torchvision.datasets.FakeData(size=1)[0][0].size == (224, 224)\n"
    )
    assert done.returncode == 0, done.stderr
