"""What the page asks of a generator: features, nearest training faces, ranks, the way back from a picture."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core import nets
from core.topics.gan import method, walks

EYES = "photos/resnet"  # the run in whose features pictures are compared
HELD_OUT = 10  # every tenth face is never trained on
STEPS, RATE = 120, 0.08  # of the way back from a picture to its noise
REALISM = 0.1  # weight of the discriminator on that way
SCALES = (1, 4, 16)  # pixels that are averaged before two pictures are compared


def is_held_out(count: int) -> Tensor:
    """(count,) bool: every tenth picture is kept from training."""
    return torch.arange(count) % HELD_OUT == HELD_OUT - 1


def eyes(run: Any) -> nets.ResNet:
    """The network of the run EYES."""
    return run.fill(nets.ResNet(**run.network)).to(memory_format=torch.channels_last)


@torch.inference_mode()
def features(eyes: nets.ResNet, images: Tensor) -> Tensor:
    """By which numbers are pictures compared? (N, F): means over the last map of a network of photos.

    images  (N, C, H, W); grey ones are enlarged to 64 x 64
    It is not Inception, so these distances are not those that papers print.
    """
    if images.shape[1] == 1:
        images = F.interpolate(images, size=(64, 64), mode="bilinear").expand(-1, 3, -1, -1)
    return torch.cat([eyes.features(part).mean(dim=(2, 3)) for part in images.split(250)])


class Nearest(NamedTuple):
    """Of each picture: how far its nearest training pictures are, and which they are, (N, k) each."""

    distance: Tensor
    place: Tensor


def nearest(features: Tensor, training: Tensor, *, count: int = 1) -> Nearest:
    """The nearest training pictures in feature space by Euclidean distance, (N, F) and (M, F), the nearest first."""
    found = [torch.cdist(part, training).topk(count, largest=False) for part in features.split(500)]
    return Nearest(torch.cat([part.values for part in found]), torch.cat([part.indices for part in found]))


def unlike(pictures: Tensor, others: Tensor) -> Tensor:
    """How unlike are two pictures, in fine and in coarse?

    mean over s of  mean of (mean over s x s of x - mean over s x s of y)^2,   s = 1, 4, 16

    pictures, others  (N, C, H, W) in [0, 1]
    returns           (N,)
    """
    parts = [F.avg_pool2d(pictures - others, scale).square().mean(dim=(1, 2, 3)) for scale in SCALES]
    return torch.stack(parts).mean(dim=0)


def way_back(generator: Any, judge: Any, picture: Tensor) -> Iterator[tuple[Tensor, float]]:
    """Which noise would have become this picture? From the most alike of a sheet, by gradient descent.

    loss(z) = unlike(G(z), x) + REALISM * softplus(-D(G(z)))

    Alikeness alone finds smears that lie between all drawings; the discriminator keeps to what it takes for drawn,
    though it sees one picture here, and a batch in training.

    generator, judge  frozen; picture (C, H, W)
    yields            after each of STEPS steps the latent (L,), and how unlike the picture was before it
    source            Zhu et al. 2016, arXiv:1609.03552, section 4, where the discriminator has a say, too
    """
    with torch.inference_mode():
        sheet = walks.sheet(generator.latent, 0)
        start = sheet[unlike(generator(sheet), picture[None]).argmin()]
    told = 0.0

    def loss(latents: Tensor) -> Tensor:
        nonlocal told
        drawn = generator(latents)
        away = unlike(drawn, picture[None])[0]
        told = float(away.detach())
        return away + REALISM * F.softplus(-judge(drawn)).mean()

    # Also where a page has switched gradients off.
    with torch.inference_mode(False), torch.enable_grad():
        picture = picture.clone()
        steps = method.projected(loss, start.clone(), steps=STEPS, rate=RATE)
    while True:
        with torch.inference_mode(False), torch.enable_grad():
            step = next(steps, None)
        if step is None:
            return
        yield step, told


def ranks(scores: Tensor) -> Tensor:
    """Which rank has each score, (N,) int64, 1 for the largest?"""
    return scores.argsort(descending=True).argsort() + 1
