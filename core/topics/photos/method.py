"""From a picture to what the network says of it, and the changes that show what it goes by."""

from collections.abc import Callable

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor


def shuffled(images: Tensor, *, tiles: int, generator: torch.Generator) -> Tensor:
    """What if only the parts were left, and not their places?

    Cuts each picture into tiles x tiles pieces and puts them back in a random order, the same for
    all pictures of the call.
    images  (B, C, H, W), both sides divisible by `tiles`
    returns (B, C, H, W) with the same pixels
    raises  ValueError if the sides cannot be divided
    source  Brendel and Bethge 2019, arXiv:1904.00760, who classify by parts alone
    """
    batch, channels, height, width = images.shape
    if height % tiles or width % tiles:
        raise ValueError(f"expected sides that {tiles} divides, got {height} x {width}")
    rows, columns = height // tiles, width // tiles
    order = torch.randperm(tiles * tiles, generator=generator)
    cut = images.view(batch, channels, tiles, rows, tiles, columns).permute(0, 1, 2, 4, 3, 5)
    cut = cut.reshape(batch, channels, tiles * tiles, rows, columns)[:, :, order]
    cut = cut.view(batch, channels, tiles, tiles, rows, columns).permute(0, 1, 2, 4, 3, 5)
    return cut.reshape(batch, channels, height, width)


def changed(images: Tensor, *, turn: int, blur: float, grey: bool, tiles: int, generator: torch.Generator) -> Tensor:
    """The pictures with colour, sharpness, orientation or order of their parts taken away, in this order.

    images  (B, 3, H, W) in [0, 1]
    turn    degrees counter-clockwise, a multiple of 90
    blur    standard deviation of the Gaussian, in pixels
    grey    all three channels get their luminance, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)
    tiles   cut into tiles x tiles pieces and shuffle them; 1 leaves them in place
    returns (B, 3, H, W)
    """
    if grey:
        luminance = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)
        images = luminance.expand_as(images)
    if blur > 0:
        images = torch.from_numpy(gaussian_filter(images.numpy(), sigma=(0, 0, blur, blur), mode="nearest"))
    images = torch.rot90(images, turn // 90, dims=(2, 3))
    return shuffled(images, tiles=tiles, generator=generator) if tiles > 1 else images


def flipped_too(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Probabilities, the mean over each picture and its mirror image.

    p(y|x) = ( softmax(f(x))_y + softmax(f(mirror(x)))_y ) / 2
    returns (B, K)
    """
    return (network(images).softmax(dim=1) + network(images.flip(3)).softmax(dim=1)) / 2


def evidence(logits: Tensor) -> Tensor:
    """How much speaks for any of the classes at all? Low for things that were never learnt.

    E = log sum over y of exp(f_y), the negative energy
    logits  (B, K)
    returns (B,), unbounded, in the units of a logit
    source  Liu et al. 2020, arXiv:2010.03759, equation 4 with temperature 1
    """
    return logits.logsumexp(dim=1)


def auroc(known: Tensor, unknown: Tensor) -> float:
    """How often is a number higher for a photo of a learnt class than for one of a class never learnt?

    AUROC = ( pairs with known[i] > unknown[j] + half of those with known[i] = unknown[j] ) / (N * M)

    known   (N,), of photos of learnt classes
    unknown (M,), of the others
    returns 1 if the number tells them apart without a mistake, 0.5 if it tells nothing
    raises  ValueError if there is nothing to compare
    source  Mann and Whitney 1947; as a score of this kind, Hendrycks and Gimpel 2017, arXiv:1610.02136
    """
    if not len(known) or not len(unknown):
        raise ValueError(f"expected numbers of both kinds, got {len(known)} and {len(unknown)}")
    ordered = unknown.sort().values
    below, up_to = (torch.searchsorted(ordered, known, right=right) for right in (False, True))
    return float((below + up_to).double().mean() / (2 * len(unknown)))


def contributions(features: Tensor, weight: Tensor) -> Tensor:
    """What each channel of the last stage adds to one class's logit.

    part[c] = weight[c] * mean over h,w of feature[c,h,w];  logit = bias + sum over c of part[c]
    features (C, h, w)
    weight   (C,), the classifier's row of that class
    returns  (C,)
    """
    return weight * features.mean(dim=(1, 2))


def confusion(answers: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How often was each class taken for each other?

    answers, labels (N,) int64
    returns         (classes, classes) int64; row: what it is, column: what was answered
    """
    return torch.bincount(labels * classes + answers, minlength=classes * classes).view(classes, classes)
