"""One question to a network: which picture, which class, which part of it, and what a cover does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.topics.cam.card import GUESSES

SPOT = 1 / 4  # side of what is covered, as a share of the picture's height


@dataclass(frozen=True)
class Case:
    """What is explained.

    image    (1, 3, H, W) float32 in [0, 1]
    known    the network as it was trained; network: with the weights that are left of it
    shares   (K,) of the network's classes, in its answer to the picture
    classes  names of its logits
    label    the class that is explained; other: the class rather than which, or None
    half     (1, H, W) bool, where the class is, if the picture is a pair and shows it
    spot     the middle of what may be covered, from the left and from the top, in percent
    """

    image: Tensor
    known: Any
    network: Any
    shares: Tensor
    classes: Sequence[str]
    label: int
    other: int | None
    half: Tensor | None
    spot: tuple[int, int]

    @property
    def name(self) -> str:
        """The class that is explained."""
        return self.classes[self.label]

    @property
    def named(self) -> str:
        """What is explained, in words."""
        return self.name + (f" rather than {self.classes[self.other]}" if self.other is not None else "")

    @property
    def target(self) -> Tensor:
        """(1, K): 1 for the class, -1 for the other; all 0 if they are the same."""
        target = torch.zeros(1, len(self.classes))
        target[0, self.label] += 1
        if self.other is not None:
            target[0, self.other] -= 1
        return target

    @property
    def size(self) -> tuple[int, int]:
        """H and W."""
        return self.image.shape[2], self.image.shape[3]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """What may be covered: top, bottom, left and right, in pixels, cut off at the picture's edges."""
        height, width = self.size
        reach = round(SPOT * height / 2)
        x, y = round(self.spot[0] * width / 100), round(self.spot[1] * height / 100)
        return max(0, y - reach), min(y + reach, height), max(0, x - reach), min(x + reach, width)

    def at_spot(self, heat: Tensor) -> tuple[int, int]:
        """Row and column of the spot's middle in a map, (h, w)."""
        x, y = self.spot
        height, width = heat.shape
        return min(y * height // 100, height - 1), min(x * width // 100, width - 1)

    @property
    def share(self) -> float:
        """The class's share of what the network says of the picture."""
        return float(self.shares[self.label])

    def share_of(self, image: Tensor) -> float:
        """The class's share of what the network says of another picture, (1, 3, H, W)."""
        return float(self.network(image)[0].softmax(dim=0)[self.label])

    def covered(self) -> Tensor:
        """The picture with the spot in its mean colour, (1, 3, H, W)."""
        image = self.image.clone()
        top, bottom, left, right = self.box
        image[:, :, top:bottom, left:right] = self.image.mean(dim=(2, 3), keepdim=True)
        return image


def chosen_class(chosen: str, classes: Sequence[str], logits: Tensor) -> int | None:
    """Which class does a menu mean?

    chosen  "first" … "fifth" guess, "none", or a class by name
    classes names of the logits; of ImageNet's, which list synonyms, the one that has the name among them,
            or ends with it ("African elephant"), and of several the one that the network rather sees
    logits  (K,)
    returns its place, None for "none"
    raises  ValueError if none of the classes has the name
    """
    if chosen in GUESSES:
        return int(logits.topk(len(GUESSES)).indices[GUESSES.index(chosen)])
    if chosen == "none":
        return None
    name = chosen.replace("_", " ")
    synonyms = [[word.strip().casefold() for word in label.split(",")] for label in classes]
    same = [place for place, words in enumerate(synonyms) if name in words]
    kinds = [place for place, words in enumerate(synonyms) if any(word.endswith(f" {name}") for word in words)]
    if not same and not kinds:
        raise ValueError(f"This network has no class called {name}.")
    return max(same or kinds, key=lambda place: float(logits[place]))


def half_of(label: str, shown: Sequence[str], size: tuple[int, int]) -> Tensor | None:
    """Where is the class in a pair? (1, H, W) bool; None if the picture is no pair, or does not show it.

    label  the class that is explained; shown: the classes from left to right
    """
    words = [word.strip().casefold() for word in label.split(",")]
    places = [place for place, name in enumerate(shown) if name in words]
    if len(shown) != 2 or not places:
        return None
    height, width = size
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, :, places[0] * width // 2 : (places[0] + 1) * width // 2] = True
    return mask
