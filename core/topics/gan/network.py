"""Forgers and judges: the DCGAN of 2016, and residual ones that learn more from few pictures."""

from collections.abc import Mapping
from copy import deepcopy
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Net = TypeVar("Net", bound=nn.Module)


@torch.inference_mode()
def settled(generator: Net, latents: Tensor, labels: Tensor | None = None) -> Net:
    """A copy whose batch normalisation has the statistics of these latents for good.

    In training mode a picture depends on those that are made beside it. The copy makes of these latents what
    training mode makes of them, and gives any further latent the place that it would have among them.
    """
    # Only statistics are written: the weights stay those of all.
    copy = deepcopy(generator, {id(weight): weight for weight in generator.parameters()}).train()
    norms = [module for module in copy.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        # What training mode divides by counts all N values, what it keeps for later only N - 1.
        norm.register_forward_hook(_count_all)
    copy(latents, labels) if labels is not None else copy(latents)
    return copy.eval()


def _count_all(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    if norm.training and norm.running_var is not None:
        values = inputs[0].numel() // inputs[0].shape[1]
        norm.running_var.mul_((values - 1) / values)


class DCGenerator(nn.Module):
    """From noise to a picture by four or three transposed convolutions.

    z (B, latent) -> (B, w0, 4, 4) -> (B, w1, 8, 8) -> … -> (B, channels, size, size) in [0, 1]

    latent    numbers of noise
    widths    channels from 4 x 4 on; the size of the picture is 4 * 2^len(widths)
    channels  of the picture
    classes   if above 0, the class is given beside the noise, one-hot; classes in turn where none are given
    source    Radford, Metz and Chintala 2016, arXiv:1511.06434, section 3; Mirza and Osindero 2014,
              arXiv:1411.1784, for the class
    """

    def __init__(self, *, latent: int, widths: tuple[int, ...], channels: int, classes: int = 0) -> None:
        super().__init__()
        self.latent, self.classes = latent, classes
        self.begin = nn.Sequential(
            nn.ConvTranspose2d(latent + classes, widths[0], 4, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        rows: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            rows += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.rest = nn.Sequential(*rows, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1))
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0, 0.02)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.classes:
            labels = torch.arange(len(latents), device=latents.device) % self.classes if labels is None else labels
            latents = torch.cat([latents, F.one_hot(labels, self.classes).to(latents.dtype)], dim=1)
        return (self.rest(self.begin(latents[:, :, None, None])).tanh() + 1) / 2


class DCDiscriminator(nn.Module):
    """From a picture to a score by four or three convolutions that halve it; the mirror of DCGenerator.

    (B, channels, size, size) in [0, 1] -> scores (B,), any numbers

    widths   channels from the picture on
    norm     batch normalisation from the second convolution on, as in DCGAN; a gradient penalty forbids it, for it
             asks about one picture at a time (Gulrajani et al. 2017, arXiv:1704.00028, section 4)
    classes  if above 0, the class is given as further channels, one of them all ones
    """

    def __init__(self, *, widths: tuple[int, ...], channels: int, norm: bool, classes: int = 0) -> None:
        super().__init__()
        self.classes = classes
        rows: list[nn.Module] = [nn.Conv2d(channels + classes, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for inputs, outputs in pairwise(widths):
            rows.append(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not norm))
            rows += [nn.BatchNorm2d(outputs)] if norm else []
            rows.append(nn.LeakyReLU(0.2))
        self.row = nn.Sequential(*rows, nn.Conv2d(widths[-1], 1, 4))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.02)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        images = 2 * images - 1
        if self.classes:
            assert labels is not None
            planes = F.one_hot(labels, self.classes).to(images.dtype)[:, :, None, None]
            images = torch.cat([images, planes.expand(-1, -1, *images.shape[2:])], dim=1)
        return self.row(images).flatten()


class Rise(nn.Module):
    """A block that doubles a map's sides: shortcut(up(x)) + transposed convolution(relu(norm(x)))."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.norm(x))) + F.interpolate(self.shortcut(x), scale_factor=2)


class Excite(nn.Module):
    """Channels of a large map weighed by what a small, early one has: how coarse shapes steer fine ones.

    g = sigmoid( conv1x1( swish( conv4x4( mean of the small map over 4 x 4 places ) ) ) ),   returns g * large

    source  Liu et al. 2021, arXiv:2101.04775, equation 1 (skip-layer excitation of FastGAN)
    """

    def __init__(self, small: int, large: int) -> None:
        super().__init__()
        self.row = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), nn.Conv2d(small, large, 4), nn.SiLU(), nn.Conv2d(large, large, 1), nn.Sigmoid()
        )

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        return large * self.row(small)


class RiseGenerator(nn.Module):
    """From noise to a picture of 64 x 64 by residual blocks, with skip-layer excitation.

    z (B, latent) -> (B, w0, 4, 4) -> (B, w1, 8, 8) -> (B, w2, 16, 16) -> (B, w3, 32, 32) -> (B, w4, 64, 64)
                  -> (B, 3, 64, 64) in [0, 1]

    source  blocks as in Miyato et al. 2018, arXiv:1802.05957, figure 4; excitation see `Excite`
    """

    classes = 0  # none can be asked for

    def __init__(self, *, latent: int, widths: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        self.latent, self.width = latent, widths[0]
        self.begin = nn.Linear(latent, 16 * widths[0])
        self.rises = nn.ModuleList(Rise(i, o) for i, o in pairwise(widths))
        self.excite = nn.ModuleList([Excite(widths[0], widths[3]), Excite(widths[1], widths[4])])
        self.norm, self.end = nn.BatchNorm2d(widths[-1]), nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        maps = [self.begin(latents).view(-1, self.width, 4, 4)]
        for place, rise in enumerate(self.rises):
            risen = rise(maps[-1])
            maps.append(self.excite[place - 2](maps[place - 2], risen) if place >= 2 else risen)
        return (self.end(F.relu(self.norm(maps[-1]))).tanh() + 1) / 2


class Fall(nn.Module):
    """A block that halves a map's sides: shortcut(pool(x)) + convolution(leaky(x))."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv, self.shortcut = nn.Conv2d(inputs, outputs, 4, 2, 1), nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.leaky_relu(x, 0.2)) + self.shortcut(F.avg_pool2d(x, 2))


class FallDiscriminator(nn.Module):
    """From a picture of 64 x 64 to a score, by residual blocks; the last layers see how alike the batch is.

    (B, 3, 64, 64) in [0, 1] -> (B, w0, 32, 32) -> … -> (B, w3, 4, 4) -> with the spread over the batch -> (B,)

    held    spectral norm, which training needs; without, see `judge_of`
    source  Miyato et al. 2018, arXiv:1802.05957; spread over groups of four: Karras et al. 2018, arXiv:1710.10196
    """

    def __init__(self, *, widths: tuple[int, int, int, int], held: bool = True) -> None:
        super().__init__()
        self.begin = nn.Conv2d(3, widths[0], 4, 2, 1)
        self.falls = nn.Sequential(*(Fall(i, o) for i, o in pairwise(widths)))
        self.end = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.Conv2d(widths[-1] + 1, widths[-1], 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(widths[-1], 1, 4),
        )
        if held:
            for module in [module for module in self.modules() if isinstance(module, nn.Conv2d)]:
                spectral_norm(module)

    def forward(self, images: Tensor) -> Tensor:
        found = self.falls(self.begin(2 * images - 1))
        group = 4 if len(found) % 4 == 0 else 1
        spread = found.unflatten(0, (group, -1)).var(dim=0, unbiased=False).add(1e-8).sqrt().mean(dim=(1, 2, 3))
        plane = spread.repeat(group).view(-1, 1, 1, 1).expand(-1, 1, *found.shape[2:])
        return self.end(torch.cat([found, plane], dim=1)).flatten()


def plain(judge: FallDiscriminator) -> dict[str, Tensor]:
    """The weights of a judge as spectral norm leaves them, see `judge_of`."""
    judge.eval()  # in training mode each look at a weight would change it
    layers = {name: module for name, module in judge.named_modules() if isinstance(module, nn.Conv2d)}
    weights = {f"{name}.weight": layer.weight.detach().clone() for name, layer in layers.items()}
    biases = {f"{name}.bias": layer.bias.detach().clone() for name, layer in layers.items() if layer.bias is not None}
    return weights | biases


def judge_of(weights: Mapping[str, Tensor]) -> FallDiscriminator:
    """A judge with the weights that `plain` gives, frozen; gradients pass through it wherever it was made."""
    falls = (weights[f"falls.{number}.conv.weight"].shape[0] for number in range(3))
    with torch.inference_mode(False):
        widths = (weights["begin.weight"].shape[0], *falls)
        found = FallDiscriminator(widths=widths, held=False)  # type: ignore[arg-type]
        found.load_state_dict(weights)
        found.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # three quarters of the time
        return found.eval().requires_grad_(False)


def generator(*, residual: bool, **arguments: Any) -> DCGenerator | RiseGenerator:
    """A generator that has learnt nothing; `arguments` are those of its class."""
    return RiseGenerator(**arguments) if residual else DCGenerator(**arguments)


def stored(run: Any) -> Any:
    """The generator of a stored run, frozen."""
    return run.fill(generator(residual=run.config["recipe"]["residual"], **run.network))
