"""Every method by its name, with the options that a page or an experiment sets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from core import nets
from core.topics.cam import checks, method


@dataclass(frozen=True)
class Options:
    """What the methods need beside network, pictures and target; each takes what it knows.

    stage    whose features the class activation maps look at; the last if None
    samples  noisy copies that SmoothGrad averages, steps of integrated gradients
    sigma    SmoothGrad's noise, as a share of the picture's range
    kind     what SmoothGrad takes of its gradients
    seed     of noise and of the map of chance
    """

    stage: str | None = None
    samples: int = 25
    sigma: float = 0.15
    kind: Literal["mean", "squared", "variance"] = "mean"
    seed: int = 0

    @property
    def generator(self) -> torch.Generator:
        """A new one, so that the same options draw the same noise."""
        return torch.Generator().manual_seed(self.seed)


Draw = Callable[[Any, Tensor, Tensor, Options], Tensor]


def _smooth_grad(network: Any, images: Tensor, target: Tensor, options: Options) -> Tensor:
    """In bfloat16 where that is quicker: its rounding is far below the noise."""
    return method.smooth_grad(
        nets.quick(network), images, target,
        samples=options.samples, sigma=options.sigma, generator=options.generator, kind=options.kind,
    )  # fmt: skip


def _occlusion(network: Any, images: Tensor, target: Tensor, options: Options) -> Tensor:
    """Patches of a quarter of the shorter side, an eighth apart; covered with the picture's mean colour."""
    side = min(images.shape[2:])
    fill = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    return method.occlusion(network, images, target, size=side // 4, stride=side // 8, fill=fill)


# Those that need the features of a stage, and those that come in pixels.
OF_FEATURES: dict[str, Draw] = {
    "cam": lambda network, images, target, _: method.class_activation_map(network, images, target),
    "grad_cam": lambda network, images, target, o: method.grad_cam(network, images, target, stage=o.stage),
    "grad_cam_plus_plus": lambda network, images, target, o: method.grad_cam_plus_plus(
        network, images, target, stage=o.stage
    ),
    "layer_cam": lambda network, images, target, o: method.layer_cam(network, images, target, stage=o.stage),
    "ablation_cam": lambda network, images, target, o: method.ablation_cam(network, images, target, stage=o.stage),
}
OF_PIXELS: dict[str, Draw] = {
    "gradient": lambda network, images, target, _: method.gradient(network, images, target),
    "gradient_times_input": lambda network, images, target, _: method.gradient_times_input(network, images, target),
    "smooth_grad": _smooth_grad,
    "integrated_gradients": lambda network, images, target, o: method.integrated_gradients(
        network, images, target, steps=o.samples
    ),
    "occlusion": _occlusion,
    "guided_backpropagation": lambda network, images, target, _: method.guided_backpropagation(network, images, target),
    "edges": lambda network, images, target, _: method.edges(images),
}
CHANCE: dict[str, Draw] = {
    "random": lambda network, images, target, o: checks.random_map(
        (len(images), 8, 8 * images.shape[3] // images.shape[2]), generator=o.generator
    )
}
METHODS = OF_FEATURES | OF_PIXELS
PER_BRIGHTNESS = ("gradient", "smooth_grad", "guided_backpropagation")


def unit(name: str, options: Options) -> str:
    """What a map's values are measured in."""
    if name in PER_BRIGHTNESS:
        squared = name == "smooth_grad" and options.kind != "mean"
        return "(logits per unit of brightness)²" if squared else "logits per unit of brightness"
    return {"edges": "of brightness per pixel", "ablation_cam": "logits x feature"}.get(name, "logits")


def draw_map(name: str, network: Any, images: Tensor, target: Tensor, options: Options) -> Tensor:
    """The map of one method, at its own resolution.

    name    a key of METHODS, or "random"
    images  (B, C, H, W) float32 in [0, 1]; target (B, K) float32
    returns (B, h, w) float32
    raises  ValueError for an unknown name
    """
    if name not in METHODS | CHANCE:
        raise ValueError(f"expected one of {sorted(METHODS | CHANCE)}, got {name!r}")
    return (METHODS | CHANCE)[name](network, images, target, options)
