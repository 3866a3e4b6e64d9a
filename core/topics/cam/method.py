"""Where did the network look? Maps that say which places of a picture a score rests on.

Every map explains one number, the score of a picture b:

s[b] = sum over k of  target[b,k] * logit[b,k]

A target with a single 1 explains a class; with +1 and -1, why one class rather than another.
Symbols: x the picture, f the features of a stage (B, C, h, w), g = d s / d f. No map is
rescaled, so that two pictures stay comparable; enlarging and colouring are the page's job.
Nothing here writes to the network, and no answer depends on the other pictures of a batch.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# How many numbers go through a network at once: five photos of 224x224 pixels, which was quickest with one thread
# and with two. Ten are as quick, and with 25 what lies between the layers no longer fits the cache.
PICTURE_NUMBERS = 800_000
FEATURE_NUMBERS = 1_000_000


class Network(Protocol):
    """What the methods ask of a network: to stop after a stage, and to go on from there."""

    def features(self, images: Tensor, stage: str | None = None) -> Tensor: ...
    def head(self, features: Tensor, stage: str | None = None) -> Tensor: ...


class Pooled(Network, Protocol):
    """A network whose last stage is averaged over places and then weighted once, class by class."""

    @property
    def classifier(self) -> nn.Linear: ...


def score(logits: Tensor, target: Tensor) -> Tensor:
    """How much speaks for what is to be explained?

    s[b] = sum over k of  target[b,k] * logit[b,k]

    logits  (B, K); target (B, K) float32
    returns (B,)
    raises  ValueError if the shapes differ
    """
    if logits.shape != target.shape:
        raise ValueError(f"expected a target of {tuple(logits.shape)} like the logits, got {tuple(target.shape)}")
    return (logits * target).sum(dim=1)


def _derivative(run: Callable[[Tensor], Tensor], start: Tensor, target: Tensor) -> Tensor:
    """d s / d start with s = score(run(start), target), also where the caller has switched gradients off."""
    with torch.inference_mode(False), torch.enable_grad():
        start = start.detach().clone().requires_grad_()
        # A target made in inference mode could not be kept for the way back.
        return torch.autograd.grad(score(run(start), target.clone()).sum(), start)[0]


def _pixel_gradient(network: Network, images: Tensor, target: Tensor) -> Tensor:
    """d s / d x, (B, C, H, W)."""
    return _derivative(lambda x: network.head(network.features(x)), _fast(images), target)


def _pixel_gradients(network: Network, variants: Iterable[Tensor], target: Tensor) -> Iterator[Tensor]:
    """d s / d x for one variant of the pictures after the other; several share a pass."""
    variants = iter(variants)
    for first in variants:
        part = [first, *itertools.islice(variants, max(0, PICTURE_NUMBERS // first.numel() - 1))]
        yield from _pixel_gradient(network, torch.cat(part), target.repeat(len(part), 1)).chunk(len(part))


def _features_and_gradient(
    network: Network, images: Tensor, target: Tensor, stage: str | None
) -> tuple[Tensor, Tensor]:
    """f and g, both (B, C, h, w): up to the stage without a graph, then a graph through the head alone."""
    with torch.inference_mode():
        features = network.features(_fast(images), stage)
    return features, _derivative(lambda f: network.head(f, stage), features, target)


def _fast(images: Tensor) -> Tensor:
    """The same pictures, channels last in memory: convolutions run faster on them."""
    return images.contiguous(memory_format=torch.channels_last)


def _strongest(gradients: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W): the channel that matters most, whatever its sign."""
    return gradients.abs().amax(dim=1)


@torch.no_grad()
def gradient(network: Network, images: Tensor, target: Tensor) -> Tensor:
    """Which pixels would change the score fastest?

    map[b,i,j] = max over c of  | d s[b] / d x[b,c,i,j] |

    images  (B, C, H, W) float32 in [0, 1]
    target  (B, K) float32
    returns (B, H, W) float32, >= 0, logits per unit of brightness
    raises  ValueError if the target does not fit the logits
    source  Simonyan et al. 2013, arXiv:1312.6034, section 3.1
    """
    return _strongest(_pixel_gradient(network, images, target))


@torch.no_grad()
def gradient_times_input(network: Network, images: Tensor, target: Tensor) -> Tensor:
    """What would each pixel add, if the network were linear?

    map[b,i,j] = sum over c of  x[b,c,i,j] * d s[b] / d x[b,c,i,j]

    images  (B, C, H, W) float32 in [0, 1]; black pixels get 0, whatever the network thinks of them
    target  (B, K) float32
    returns (B, H, W) float32, signed, logits
    raises  ValueError if the target does not fit the logits
    source  Shrikumar et al. 2016, arXiv:1605.01713, section 3.2
    """
    return (images * _pixel_gradient(network, images, target)).sum(dim=1)


@torch.no_grad()
def smooth_grad(
    network: Network,
    images: Tensor,
    target: Tensor,
    *,
    samples: int,
    sigma: float,
    generator: torch.Generator,
    kind: Literal["mean", "squared", "variance"] = "mean",
) -> Tensor:
    """Which pixels still matter when the picture is a little noisy?

    G_n          = d s / d x  at  x + sigma * (max x - min x) * e_n,   e_n ~ N(0, 1),   n = 1 .. N
    mean         M = | 1/N  sum over n of G_n |
    squared      M = 1/N  sum over n of G_n^2
    variance     M = 1/N  sum over n of G_n^2  -  (1/N  sum over n of G_n)^2
    map[b,i,j]   = max over c of  M[b,c,i,j]

    All pictures of a call see the same e_n, so that none depends on the others.

    images  (B, C, H, W) float32 in [0, 1]
    target  (B, K) float32
    samples N >= 1; sigma >= 0, as a share of each picture's range
    kind    which M
    returns (B, H, W) float32, >= 0; N = 1 and sigma = 0 give `gradient`
    raises  ValueError if samples, sigma or kind is out of range, or the target does not fit the logits
    source  Smilkov et al. 2017, arXiv:1706.03825, section 3; squared and variance: Hooker et al.
            2019, arXiv:1806.10758, section 2.3; Adebayo et al. 2018, arXiv:1810.03307, equation 3
    """
    if samples < 1 or sigma < 0 or kind not in ("mean", "squared", "variance"):
        raise ValueError(
            f"expected samples >= 1, sigma >= 0 and mean, squared or variance, got {samples}, {sigma} and {kind!r}"
        )
    noisy = _noisy(images, samples=samples, sigma=sigma, generator=generator)
    if kind == "variance":
        return _strongest(_variance(_pixel_gradients(network, noisy, target)))
    power = 2 if kind == "squared" else 1
    total = torch.zeros_like(images)
    for one in _pixel_gradients(network, noisy, target):
        total += one**power
    return _strongest(total / samples)


@torch.no_grad()
def smooth_grad_so_far(
    network: Network, images: Tensor, target: Tensor, *, samples: int, sigma: float, generator: torch.Generator
) -> Iterator[Tensor]:
    """How does SmoothGrad settle, as one noisy copy after the other joins the mean?

    yields  the map (B, H, W) of the first n copies, for n = 1 .. N; the last one is that of `smooth_grad`,
            as all others are with as many samples and a generator of the same seed
    """
    total = torch.zeros_like(images)
    noisy = _noisy(images, samples=samples, sigma=sigma, generator=generator)
    for count, one in enumerate(_pixel_gradients(network, noisy, target), 1):
        total += one
        yield _strongest(total / count)


def _noisy(images: Tensor, *, samples: int, sigma: float, generator: torch.Generator) -> Iterator[Tensor]:
    """x + sigma * (max x - min x) * e_n, one after the other."""
    spread = sigma * (images.amax(dim=(1, 2, 3), keepdim=True) - images.amin(dim=(1, 2, 3), keepdim=True))
    for _ in range(samples):
        yield images + spread * torch.randn(images.shape[1:], generator=generator, dtype=images.dtype)


def _variance(draws: Iterator[Tensor]) -> Tensor:
    """Mean square less squared mean, both seen from the first draw: nearly equal numbers would cancel otherwise."""
    origin = next(draws)
    count, total, squares = 1, torch.zeros_like(origin), torch.zeros_like(origin)
    for draw in draws:
        count += 1
        total += draw - origin
        squares += (draw - origin) ** 2
    return (squares / count - (total / count) ** 2).clamp_min(0)


@torch.no_grad()
def integrated_gradients(network: Network, images: Tensor, target: Tensor, *, steps: int) -> Tensor:
    """What did each pixel add on the way from black to the picture?

    map[b,i,j] = sum over c of  x[b,c,i,j] * 1/m sum over k of  d s / d x  at  a_k x
    a_k        = (k + 1/2) / m,   k = 0 .. m - 1  (the midpoint rule)

    images   (B, C, H, W) float32 in [0, 1]
    target   (B, K) float32
    steps    m >= 1
    returns  (B, H, W) float32, signed, logits; its sum nears s(x) - s(black) as m grows
    raises   ValueError if steps is out of range, or the target does not fit the logits
    source   Sundararajan et al. 2017, arXiv:1703.01365, equations 1 and 3, proposition 1
    """
    if steps < 1:
        raise ValueError(f"expected steps >= 1, got {steps}")
    along = ((k + 0.5) / steps * images for k in range(steps))
    total = torch.zeros_like(images)
    for one in _pixel_gradients(network, along, target):
        total += one
    return (images * total / steps).sum(dim=1)


class _GuidedRectifiers(TorchFunctionMode):
    """Sees each call of a torch function in this thread, and marks the answers of those that are rectifiers."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        answer = func(*args, **kwargs)
        lowest = kwargs.get("min_val", kwargs.get("min", args[1] if len(args) > 1 else None))
        rectifies = func in _RECTIFIERS or (func in _BOUNDED and isinstance(lowest, int | float) and lowest == 0)
        if rectifies and answer.requires_grad:
            # The hook belongs to this answer's graph, and goes with it.
            answer.register_hook(lambda gradient: gradient.clamp_min(0))
        return answer


_RECTIFIERS = {F.relu, F.relu_, F.relu6, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
# With a lower bound of 0: ReLU6 is a hardtanh, and some networks clamp.
_BOUNDED = {F.hardtanh, F.hardtanh_, torch.clamp, torch.clamp_min, Tensor.clamp, Tensor.clamp_, Tensor.clamp_min}


@contextmanager
def guided_rectifiers() -> Iterator[None]:
    """What if only what speaks for the score went back through each ReLU?

    g_in = [input > 0] * [g_out > 0] * g_out   instead of   g_in = [input > 0] * g_out

    Holds for what this thread computes inside the `with`, for ReLU, ReLU6 and clamping at 0, as
    modules or functions. Networks are not touched; other threads see nothing of it.

    source  Springenberg et al. 2014, arXiv:1412.6806, figure 1
    """
    with _GuidedRectifiers():
        yield


def guided_backpropagation(network: Network, images: Tensor, target: Tensor) -> Tensor:
    """Which pixels speak for the score through units that all speak for it?

    map[b,i,j] = max over c of  | G[b,c,i,j] |,   G = d s / d x by the rule of `guided_rectifiers`

    images  (B, C, H, W) float32 in [0, 1]
    target  (B, K) float32
    returns (B, H, W) float32, >= 0
    raises  ValueError if the target does not fit the logits
    source  Springenberg et al. 2014, arXiv:1412.6806, section 3.4; Adebayo et al. 2018,
            arXiv:1810.03292: it shows edges, and hardly changes when the weights are drawn anew
    """
    with guided_rectifiers():
        return gradient(network, images, target)


@torch.no_grad()
def class_activation_map(network: Pooled, images: Tensor, target: Tensor) -> Tensor:
    """Which places voted for the class, and which against it?

    map[b,i,j] = sum over c of  ( sum over k of target[b,k] W[k,c] ) * f[b,c,i,j]

    images  (B, C, H, W) float32 in [0, 1]
    target  (B, K) float32
    returns (B, h, w) float32, signed, logits; its mean and the bias add up to the score
    raises  ValueError if the target does not fit the classifier
    source  Zhou et al. 2016, arXiv:1512.04150, equation 2
    """
    weight = network.classifier.weight
    if target.shape != (len(images), len(weight)):
        raise ValueError(f"expected a target of {(len(images), len(weight))}, got {tuple(target.shape)}")
    return _weighted(target @ weight, network.features(_fast(images)))


def _weighted(weights: Tensor, features: Tensor) -> Tensor:
    """sum over c of  weights[b,c] * features[b,c,i,j], (B, h, w)."""
    return torch.einsum("bc,bcij->bij", weights, features)


@torch.no_grad()
def channel_weights(
    network: Network, images: Tensor, target: Tensor, *, stage: str | None = None
) -> tuple[Tensor, Tensor]:
    """How much would the score gain if a channel were stronger everywhere?

    w[b,c] = mean over i,j of  g[b,c,i,j]

    returns f (B, C, h, w) and w (B, C); arguments and errors as of `grad_cam`
    source  Selvaraju et al. 2017, arXiv:1610.02391, equation 1
    """
    features, slope = _features_and_gradient(network, images, target, stage)
    return features, slope.mean(dim=(2, 3))


@torch.no_grad()
def grad_cam(network: Network, images: Tensor, target: Tensor, *, stage: str | None = None) -> Tensor:
    """Where did the network look to score this?

    w[b,c]     = mean over i,j of  g[b,c,i,j]
    map[b,i,j] = relu( sum over c of  w[b,c] * f[b,c,i,j] )

    images  (B, C, H, W) float32 in [0, 1]
    target  (B, K) float32
    stage   whose features; the last by default
    returns (B, h, w) float32, >= 0
    raises  ValueError if there is no such stage, or the target does not fit the logits
    source  Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2
    """
    features, weights = channel_weights(network, images, target, stage=stage)
    return _weighted(weights, features).relu()


@torch.no_grad()
def grad_cam_plus_plus(network: Network, images: Tensor, target: Tensor, *, stage: str | None = None) -> Tensor:
    """Where did it look, if a thing may stand in several places?

    alpha[b,c,i,j] = g^2 / ( 2 g^2 + g^3 * sum over p,q of f[b,c,p,q] ),   0 where g = 0
    w[b,c]         = sum over i,j of  alpha[b,c,i,j] * relu(g[b,c,i,j])
    map[b,i,j]     = relu( sum over c of  w[b,c] * f[b,c,i,j] )

    The paper's g is d exp(s) / d f = exp(s) g: a factor of the whole map, left out as it overflows.

    images  (B, C, H, W) float32 in [0, 1]
    target  (B, K) float32
    stage   whose features; the last by default
    returns (B, h, w) float32, >= 0
    raises  ValueError if there is no such stage, or the target does not fit the logits
    source  Chattopadhyay et al. 2018, arXiv:1710.11063, equations 10, 14 and 19
    """
    features, slope = _features_and_gradient(network, images, target, stage)
    # g^2 shortened, and relu(g) lets only g > 0 through, where features after a ReLU make the sum > 0.
    below = 2 + slope * features.sum(dim=(2, 3), keepdim=True)
    weights = torch.where((slope > 0) & (below != 0), slope / below, 0).sum(dim=(2, 3))
    return _weighted(weights, features).relu()


@torch.no_grad()
def layer_cam(network: Network, images: Tensor, target: Tensor, *, stage: str | None = None) -> Tensor:
    """Where did it look, if each place of a channel weighs for itself?

    map[b,i,j] = relu( sum over c of  relu(g[b,c,i,j]) * f[b,c,i,j] )

    images  (B, C, H, W) float32 in [0, 1]
    target  (B, K) float32
    stage   whose features; the last by default, but made for early ones
    returns (B, h, w) float32, >= 0
    raises  ValueError if there is no such stage, or the target does not fit the logits
    source  Jiang et al. 2021, doi:10.1109/TIP.2021.3089943, equations 5 to 7
    """
    features, slope = _features_and_gradient(network, images, target, stage)
    return (slope.relu() * features).sum(dim=1).relu()


@torch.no_grad()
def ablation_cam(network: Network, images: Tensor, target: Tensor, *, stage: str | None = None) -> Tensor:
    """What would the score lose without each channel?

    w[b,c]     = s(f)[b] - s(f with channel c set to 0)[b]
    map[b,i,j] = relu( sum over c of  w[b,c] * f[b,c,i,j] )

    The paper divides w by s(f): a factor of the whole map, which a score below 0 would turn over.

    images  (B, C, H, W) float32 in [0, 1]
    target  (B, K) float32
    stage   whose features; the last by default; its C channels cost C runs of the rest of the network
    returns (B, h, w) float32, >= 0
    raises  ValueError if there is no such stage, or the target does not fit the logits
    source  Desai and Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360, equations 5 and 6
    """
    features = network.features(_fast(images), stage)
    whole = score(network.head(features, stage), target)
    weights = []
    for channels in torch.arange(features.shape[1]).split(max(1, FEATURE_NUMBERS // features.numel())):
        without = features.repeat(len(channels), 1, 1, 1)  # (channels * B, C, h, w)
        without.unflatten(0, (len(channels), -1))[torch.arange(len(channels)), :, channels] = 0
        left = score(network.head(without, stage), target.repeat(len(channels), 1))
        weights.append(whole - left.unflatten(0, (len(channels), -1)))
    return _weighted(torch.cat(weights).T, features).relu()


@torch.no_grad()
def occlusion(
    network: Network, images: Tensor, target: Tensor, *, size: int, stride: int, fill: Tensor | float = 0.5
) -> Tensor:
    """What does the score lose when a patch is covered?

    drop[b,p]  = s(x)[b] - s(x with patch p filled)[b]
    map[b,i,j] = mean of drop[b,p] over the patches p that cover pixel i,j

    Patches of size x size pixels start every `stride` pixels; the last ones may reach over the edge.

    images  (B, C, H, W) float32 in [0, 1]
    target  (B, K) float32
    size    pixels; stride pixels, at most `size`, so that no pixel is left out
    fill    what covers a patch: a brightness, or pictures that fit `images`
    returns (B, H, W) float32, signed, logits
    raises  ValueError if size or stride is out of range, or the target does not fit the logits
    source  Zeiler and Fergus 2013, arXiv:1311.2901, section 4.2
    """
    height, width = images.shape[2:]
    if not 1 <= stride <= size <= min(height, width):
        raise ValueError(f"expected 1 <= stride <= size <= {min(height, width)}, got stride {stride} and size {size}")
    starts = itertools.product(range(0, height - size + stride, stride), range(0, width - size + stride, stride))
    patches = [(slice(top, top + size), slice(left, left + size)) for top, left in starts]
    cover = torch.as_tensor(fill, dtype=images.dtype).expand_as(images)
    whole = score(network.head(network.features(_fast(images))), target)
    total, count = images.new_zeros(len(images), height, width), images.new_zeros(height, width)
    at_once = max(1, PICTURE_NUMBERS // images.numel())
    for first in range(0, len(patches), at_once):
        part = patches[first : first + at_once]
        covered = images.repeat(len(part), 1, 1, 1, 1)  # (patches, B, C, H, W)
        for one, (rows, columns) in zip(covered, part, strict=True):
            one[:, :, rows, columns] = cover[:, :, rows, columns]
        left = score(network.head(network.features(_fast(covered.flatten(0, 1)))), target.repeat(len(part), 1))
        for drop, (rows, columns) in zip(whole - left.unflatten(0, (len(part), -1)), part, strict=True):
            total[:, rows, columns] += drop[:, None, None]
            count[rows, columns] += 1
    return total / count


@torch.no_grad()
def edges(images: Tensor) -> Tensor:
    """Where does brightness change? Asks no network, so whatever resembles it explains none.

    map[b,i,j] = sqrt( (S * x)^2 + (S^T * x)^2 ),   S = 1/8 [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]

    images  (B, C, H, W) float32 in [0, 1]; x is their mean over channels, its border repeated outwards
    returns (B, H, W) float32, >= 0, brightness per pixel
    source  Sobel and Feldman 1968; as a rival of maps: Adebayo et al. 2018, arXiv:1810.03292, section 5.1
    """
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=images.dtype) / 8
    grey = F.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across, down = F.conv2d(grey, torch.stack([sobel, sobel.T])[:, None]).unbind(dim=1)
    return torch.hypot(across, down)
