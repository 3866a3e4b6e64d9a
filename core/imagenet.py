"""Networks that others trained on ImageNet, as timm published them, with the preparation that their configs state."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from core import published, store
from core.card import PUBLISHED, PublishedImageNet
from core.nets import ImageNet, folded, staged


@dataclass(frozen=True)
class Loaded:
    """A network in memory: frozen, in eval mode, shared by all visitors.

    commit         where in its repository's history it comes from
    labels         what each logit stands for
    side           of the square picture that it gets, in pixels
    crop           share of the shorter side that this square keeps, above 0 and at most 1
    interpolation  "bicubic", "bilinear" …, how the picture is reduced
    """

    published: PublishedImageNet
    commit: str
    network: ImageNet
    labels: tuple[str, ...]
    side: int
    crop: float
    interpolation: str

    @property
    def names(self) -> tuple[str, ...]:
        """The first of each label's synonyms: "tabby" of "tabby, tabby cat"."""
        return tuple(label.split(",")[0] for label in self.labels)

    def view(self, picture: Image.Image | Tensor) -> Tensor:
        """What of this picture does the network see?

        shorter side -> floor(side / crop), then the square of `side` in the middle

        picture  RGB, or (3, H, W) float in [0, 1] (rounded to 256 levels, as in a file)
        returns  (1, 3, side, side) float32 in [0, 1], what the network expects
        raises   ValueError for any other tensor
        """
        from core.vision import torchvision

        functional = torchvision.transforms.functional
        if isinstance(picture, Tensor):
            if picture.dim() != 3 or picture.shape[0] != 3 or not picture.is_floating_point():
                raise ValueError(f"expected (3, H, W) float, got {tuple(picture.shape)} {picture.dtype}")
            image = functional.to_pil_image((picture.clamp(0, 1) * 255).round().byte())
        else:
            image = picture.convert("RGB")
        mode = torchvision.transforms.InterpolationMode(self.interpolation)
        reduced = functional.resize(image, math.floor(self.side / self.crop), mode)
        return functional.to_tensor(functional.center_crop(reduced, self.side))[None]


def build(asked: PublishedImageNet, commit: str, files: published.Files) -> Loaded:
    """The network, once everything about its two files fits; raises BadRun, naming file and leaf, if it does not."""
    from core.vision import torchvision  # noqa: I001  (timm imports it, so it has to come first)
    import timm

    name = f"{asked.repository}/config.json"
    config = store.json_object(files["config.json"], name)
    if config.get("architecture") != asked.architecture:
        raise store.BadRun(f"{name}: architecture is {config.get('architecture')!r}, not {asked.architecture!r}")
    classes, settings = config.get("num_classes"), config.get("pretrained_cfg")
    if not isinstance(classes, int) or not isinstance(settings, dict):
        raise store.BadRun(f"{name}: num_classes or pretrained_cfg is missing")
    try:
        side, crop = int(settings["input_size"][-1]), float(settings["crop_pct"])
        mean, std = (tuple(float(value) for value in settings[leaf]) for leaf in ("mean", "std"))
        mode = torchvision.transforms.InterpolationMode(settings["interpolation"]).value
    except (LookupError, TypeError, ValueError) as error:
        raise store.BadRun(f"{name}: pretrained_cfg does not say how to prepare a picture ({error!r})") from error
    if settings.get("crop_mode", "center") != "center" or not 0 < crop <= 1 or len(mean) != 3 or len(std) != 3:
        raise store.BadRun(f"{name}: pretrained_cfg asks for a preparation that is not supported")
    # Without memory and random numbers of its own: both come with the file.
    with torch.device("meta"):
        network = timm.create_model(asked.architecture, pretrained=False, num_classes=classes)
    name = f"{asked.repository}/{published.WEIGHTS}"
    stored = store.tensors(files[published.WEIGHTS], name)
    store.check_leaves(stored, network.state_dict(), name)
    network.load_state_dict(stored, assign=True)
    whole = staged(folded(network.float().eval()), mean=mean, std=std)
    if whole.stages != asked.stages:
        raise ValueError(f"{asked.architecture}: expected stages {asked.stages}, found {whole.stages}")
    frozen = whole.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = _labels(config, classes, f"{asked.repository}/config.json")
    return Loaded(asked, commit, frozen, labels, side, crop, mode)


def _labels(config: Mapping[str, Any], classes: int, name: str) -> tuple[str, ...]:
    """The names in the repository's own config.json, or those of ImageNet's classes that timm brings."""
    names = config.get("label_names")
    if names is None:
        from timm.data import ImageNetInfo

        if classes != 1000:
            raise store.BadRun(f"{name}: label_names is missing, and {classes} classes are not ImageNet's 1000")
        known = ImageNetInfo()  # reads three files
        return tuple(known.index_to_description(number) for number in range(classes))
    if not isinstance(names, list) or len(names) != classes:
        raise store.BadRun(f"{name}: label_names is no list of {classes}")
    described = config.get("label_descriptions") or {}
    return tuple(str(described.get(label, label)) for label in names)


SHELF = published.Shelf(PUBLISHED, build)
