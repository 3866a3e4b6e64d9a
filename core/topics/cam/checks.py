"""How far can a map be believed? Numbers to put beside it.

None of them proves a map right; each catches one way of being wrong. A map of chance
(`random_map`) says what the numbers are worth on this picture.
"""

import copy
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeVar

import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor, nn

from core.topics.cam.method import PICTURE_NUMBERS

Asked = Callable[[Tensor], Tensor]  # pictures (B, C, H, W) to logits (B, K)


class Layered(Protocol):
    """A network that names its parts, from the bottom to the top."""

    @property
    def stages(self) -> tuple[str, ...]: ...


Kind = TypeVar("Kind", bound=Layered)


class Curves(NamedTuple):
    """Probability of every class as pixels come and go.

    shares     (steps + 1,) share of pixels inserted or deleted, from 0 to 1
    insertion  (B, steps + 1, K) probability at each share; a good map makes it rise early
    deletion   (B, steps + 1, K) likewise; a good map makes it fall early
    """

    shares: Tensor
    insertion: Tensor
    deletion: Tensor

    @property
    def insertion_area(self) -> Tensor:
        """(B, K) in [0, 1], below the curve: high is good."""
        return torch.trapezoid(self.insertion, self.shares, dim=1)

    @property
    def deletion_area(self) -> Tensor:
        """(B, K) in [0, 1]: low is good."""
        return torch.trapezoid(self.deletion, self.shares, dim=1)


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h, w) -> (B, *size), bilinear, so that each value spreads around the middle of its cell."""
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def blurred(images: Tensor, *, sigma: float) -> Tensor:
    """What is left of a picture without detail?

    blurred = x * G,   G a Gaussian of `sigma` pixels, cut off at 3 sigma; the border mirrors

    images  (B, C, H, W) float32
    sigma   pixels, > 0, less than a third of the shorter side
    returns (B, C, H, W)
    raises  ValueError if sigma is out of range
    """
    radius = max(1, round(3 * sigma))
    if sigma <= 0 or radius >= min(images.shape[2:]):
        raise ValueError(f"expected sigma > 0 and 3 sigma within {tuple(images.shape[2:])} pixels, got {sigma}")
    bell = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=images.dtype) / sigma) ** 2)
    bell = (bell / bell.sum()).expand(images.shape[1], 1, 1, -1)  # one filter per channel
    padded = F.pad(images, (radius,) * 4, mode="reflect")
    rows = F.conv2d(padded, bell, groups=images.shape[1])
    return F.conv2d(rows, bell.transpose(2, 3), groups=images.shape[1])


def _probabilities(network: Asked, images: Tensor) -> Tensor:
    """softmax( network(x) ), (B, K)."""
    return network(images.contiguous(memory_format=torch.channels_last)).softmax(dim=1)


@torch.no_grad()
def insertion_deletion(
    network: Asked, images: Tensor, maps: Tensor, *, steps: int, blur: float, generator: torch.Generator
) -> Curves:
    """Do the pixels that a map puts first decide?

    With H W k/steps pixels, those with the highest values first, at each k = 0 .. steps
    insertion[b,k] = p( · | those of x, the others of blurred x )
    deletion[b,k]  = p( · | those of blurred x, the others of x )
    area           = sum over k of  1/2 (curve[k] + curve[k+1]) / steps

    images    (B, C, H, W) float32 in [0, 1]
    maps      (B, h, w); enlarged to the picture if they are smaller
    steps     >= 1, at most H W
    blur      pixels, the sigma of `blurred`; removing so little that the class still shows says nothing
    generator decides among pixels of equal value, alike for all pictures of a call
    returns   `Curves`
    raises    ValueError if steps is out of range or the batch sizes differ
    source    Petsiuk et al. 2018, arXiv:1806.07421, section 3.2 and algorithm 1; there deleted pixels take one colour
    """
    batch, _, height, width = images.shape
    pixels = height * width
    if not 1 <= steps <= pixels or len(maps) != batch:
        raise ValueError(f"expected 1 to {pixels} steps and {batch} maps, got {steps} and {len(maps)}")
    # Where values tie, reading order would favour the top of the picture.
    shuffled = torch.randperm(pixels, generator=generator)
    values = enlarged(maps, (height, width)).flatten(1)[:, shuffled]
    order = shuffled[values.argsort(dim=1, descending=True, stable=True)]  # (B, pixels), best first
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(pixels).expand(batch, -1))
    rank = rank.view(batch, 1, height, width)
    blank = blurred(images, sigma=blur)

    # Nothing inserted is everything deleted: the ends are asked once.
    empty, whole = _probabilities(network, torch.cat([blank, images])).unflatten(0, (2, 1, batch))
    points = torch.arange(steps + 1)
    insertion, deletion = [empty], [whole]
    for part in points[1:-1].split(max(1, PICTURE_NUMBERS // (2 * images.numel()))) if steps > 1 else ():
        first = rank < (part * pixels).div(steps, rounding_mode="floor")[:, None, None, None, None]
        # (2 * part * B, C, H, W): some inserted, as many deleted
        mixed = torch.cat([torch.where(first, *pair) for pair in ((images, blank), (blank, images))]).flatten(0, 1)
        inserted, deleted = _probabilities(network, mixed).unflatten(0, (2, len(part), batch))
        insertion.append(inserted)
        deletion.append(deleted)
    inserted, deleted = (
        torch.cat(curve).transpose(0, 1) for curve in ([*insertion, whole], [*deletion, empty])
    )  # (B, steps + 1, K)
    return Curves(points.to(images.dtype) / steps, inserted, deleted)


@torch.no_grad()
def average_drop(network: Asked, images: Tensor, maps: Tensor, labels: Tensor) -> Tensor:
    """How much of the probability goes when only what the map shows is left?

    drop[b] = max(0, y - y_masked) / y,   y = p( label | x ),   y_masked = p( label | x * M )

    M is the map, enlarged and stretched to [0, 1]; a map that is the same everywhere leaves nothing.
    images  (B, C, H, W) float32 in [0, 1]
    maps    (B, h, w)
    labels  (B,) int64
    returns (B,) in [0, 1], low is good; the paper's figure is 100 times the mean over pictures
    raises  ValueError if the batch sizes differ
    source  Chattopadhyay et al. 2018, arXiv:1710.11063, section 5.1.1
    """
    if not len(maps) == len(images) == len(labels):
        raise ValueError(
            f"expected one map and one label per picture, got {len(maps)} maps, {len(labels)} labels "
            f"and {len(images)} pictures"
        )
    large = enlarged(maps, (images.shape[2], images.shape[3]))
    low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    mask = torch.where(high > low, (large - low) / (high - low), 0)
    probabilities = _probabilities(network, torch.cat([images, images * mask[:, None]]))
    whole, masked = probabilities.gather(1, labels.repeat(2)[:, None])[:, 0].chunk(2)
    return (whole - masked).clamp_min(0) / whole


def share_inside(maps: Tensor, masks: Tensor) -> Tensor:
    """How much of what the map shows lies on the thing?

    share[b] = sum over i,j inside of relu(map)  /  sum over i,j of relu(map)

    maps    (B, H, W)
    masks   (B, H, W) bool, True on the thing; its mean is the share that chance would reach
    returns (B,) in [0, 1]; 0 for a map that is nowhere positive
    raises  ValueError if the shapes differ
    source  Wang et al. 2020, arXiv:1910.01279, section 4.3 (energy-based pointing game)
    """
    if maps.shape != masks.shape:
        raise ValueError(f"expected masks of {tuple(maps.shape)} like the maps, got {tuple(masks.shape)}")
    positive = maps.relu()
    whole = positive.sum(dim=(1, 2))
    return torch.where(whole > 0, (positive * masks).sum(dim=(1, 2)) / whole, 0)


def random_map(shape: tuple[int, int, int], *, generator: torch.Generator) -> Tensor:
    """What does a map that knows nothing score? Uniform in [0, 1), (B, h, w) float32."""
    return torch.rand(shape, generator=generator)


def spearman(maps: Tensor, others: Tensor) -> Tensor:
    """Do two maps put the places in the same order?

    rho[b] = correlation of rank(map[b]) and rank(other[b]),   equal values share their mean rank

    maps    (B, h, w); others (B, h, w)
    returns (B,) float64 in [-1, 1]; 0 where a map is the same everywhere and so has no order
    raises  ValueError if the shapes differ
    source  Spearman 1904; for maps: Adebayo et al. 2018, arXiv:1810.03292, section 4
    """
    if maps.shape != others.shape:
        raise ValueError(f"expected maps of one shape, got {tuple(maps.shape)} and {tuple(others.shape)}")
    a, b = (torch.from_numpy(rankdata(each.detach().flatten(1).numpy(), axis=1)) for each in (maps, others))
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    length = (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    return torch.where(length > 0, (a * b).sum(dim=1) / length, 0)


@torch.no_grad()
def randomised(network: Kind, stages: Iterable[str], *, generator: torch.Generator) -> Kind:
    """Does a map change when the network forgets what it learned?

    A copy whose given stages have fresh weights: W ~ N(0, 2 / inputs), b = 0, norms as before
    training. Cascading from the top: ("classifier",), ("classifier", "stage3"), and so on.

    stages  names among `network.stages`, or "classifier"
    returns a network of the same kind; the given one stays as it is
    raises  ValueError if a name is unknown, or a stage holds weights that this cannot draw
    source  Adebayo et al. 2018, arXiv:1810.03292, section 4.1; He et al. 2015, arXiv:1502.01852, equation 10
    """
    known, names = (*network.stages, "classifier"), tuple(stages)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"expected stages among {known}, got {unknown}")
    with torch.inference_mode(False):
        fresh = copy.deepcopy(network)
        for name in names:
            for module in getattr(fresh, name).modules():
                _draw(module, generator)
    return fresh


def _draw(module: nn.Module, generator: torch.Generator) -> None:
    """Give this module's own weights, not those of its parts, new values."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        # A gain of 1 even where training starts from 0: the layers before it are to be seen.
        module.reset_parameters()
    elif next(module.parameters(recurse=False), None) is not None:
        raise ValueError(f"expected convolutions, linear layers and batch norms, got {type(module).__name__}")
