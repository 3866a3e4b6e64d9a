"""Building blocks that two topics share, and networks whose weights a second topic loads.

A network here is a row of named `stages`; `features(x, stage)` runs up to and including one,
`head(f, stage)` runs the rest, and `head(features(x, s), s) == network(x)` for every stage. So a
method that looks inside asks for what it needs, and hooks nothing.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Kind = TypeVar("Kind", bound=nn.Module)


class Staged(nn.Module):
    """A network that runs stage after stage, and then classifies.

    stages      names of its modules, in the order in which they run
    prepare     what happens to a picture before the first stage: nothing, unless overridden
    classify    from the last stage's output to logits; each network has its own
    """

    stages: tuple[str, ...]

    def prepare(self, images: Tensor) -> Tensor:
        """From pictures in [0, 1] to what the first stage gets."""
        return images

    def classify(self, features: Tensor) -> Tensor:
        """From the output of the last stage to (B, classes) logits."""
        raise NotImplementedError

    def features(self, images: Tensor, stage: str | None = None) -> Tensor:
        """What the network has found up to and including `stage`, the last by default: (B, C, h, w)."""
        found = self.prepare(images)
        for name in self.stages[: self._count(stage)]:
            found = getattr(self, name)(found)
        return found

    def head(self, features: Tensor, stage: str | None = None) -> Tensor:
        """From the output of `stage`, the last by default, to (B, classes) logits."""
        for name in self.stages[self._count(stage) :]:
            features = getattr(self, name)(features)
        return self.classify(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))

    def _count(self, stage: str | None) -> int:
        """How many stages there are up to and including `stage`."""
        if stage is not None and stage not in self.stages:
            raise ValueError(f"expected a stage among {self.stages}, got {stage!r}")
        return len(self.stages) if stage is None else self.stages.index(stage) + 1


def framed(picture: np.ndarray, *, size: int = 64) -> Tensor:
    """The middle square of a picture, reduced to what the network takes.

    picture (H, W, 3) uint8
    size    side in pixels; a picture that is smaller is enlarged
    returns (3, size, size) float32 in [0, 1], each pixel the mean of those that it stands for
    """
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    square = torch.from_numpy(picture[top : top + side, left : left + side].copy())
    pixels = square.permute(2, 0, 1)[None].float() / 255
    resized = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return resized[0].clamp(0, 1)


class CBAM(nn.Module):
    """Which channels, and then which places, deserve attention?

    channel[b,c]   = sigmoid( mlp(mean over h,w of f)[b,c] + mlp(max over h,w of f)[b,c] )
    g              = channel * f
    place[b,1,h,w] = sigmoid( conv7x7( [mean over c of g; max over c of g] ) )
    returns          place * g, (B, C, h, w)

    channels   C
    reduction  the hidden layer of the mlp has C / reduction units
    source     Woo et al. 2018, arXiv:1807.06521, equations 1 to 3
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(4, channels // reduction)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, features: Tensor) -> Tensor:
        channel = self.mlp(features.mean(dim=(2, 3))) + self.mlp(features.amax(dim=(2, 3)))
        refined = features * channel.sigmoid()[:, :, None, None]
        place = torch.cat([refined.mean(dim=1, keepdim=True), refined.amax(dim=1, keepdim=True)], dim=1)
        return refined * self.norm(self.conv(place)).sigmoid()


class Residual(nn.Module):
    """relu( shortcut(x) + attention(norm2(conv2(relu(norm1(conv1(x)))))) ), the basic block.

    source  He et al. 2016, arXiv:1512.03385, figure 2; the shortcut of a block that halves the
            picture averages before its 1x1 convolution, so that no pixel is skipped (He et al.
            2019, arXiv:1812.01187, figure 2c)
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, attention: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.attention = CBAM(outputs) if attention else nn.Identity()
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
        )
        # At the start each block passes its input on, which lets deep networks learn sooner.
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.shortcut(x) + self.attention(self.norm2(self.conv2(inner))))


class ResNet(Staged):
    """A small residual network that ends in global average pooling.

    (B, 3, 64, 64) -> stem (B, 64, 32, 32) -> stage1 (B, 64, 32, 32) -> stage2 (B, 128, 16, 16)
                   -> stage3 (B, 240, 8, 8) -> mean over places (B, 240) -> logits (B, classes)

    classes    number of logits
    widths     channels of the three stages, here (64, 128, 240); the stem has as many as the first
    blocks     residual blocks per stage
    attention  end each block's inner path with CBAM
    early      channels of a convolution in the stem before the one that halves the picture; 0 for none
               (He et al. 2019, arXiv:1812.01187, figure 2b, has three in the stem)
    input      (B, 3, H, W) float32 in [0, 1]; normalised inside, by `mean` and `std` per channel
    returns    (B, classes) float32 logits
    source     He et al. 2016, arXiv:1512.03385; pooling as in Lin et al. 2014, arXiv:1312.4400
    """

    stages = ("stem", "stage1", "stage2", "stage3")

    def __init__(
        self,
        *,
        classes: int,
        widths: tuple[int, int, int],
        blocks: tuple[int, int, int],
        attention: bool = False,
        early: int = 0,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        whole = [nn.Conv2d(3, early, 3, padding=1, bias=False), nn.BatchNorm2d(early), nn.ReLU()] if early else []
        inputs = widths[0]
        halving = nn.Conv2d(early or 3, inputs, 3, stride=2, padding=1, bias=False)
        self.stem = nn.Sequential(*whole, halving, nn.BatchNorm2d(inputs), nn.ReLU())
        for place, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            row = []
            for block in range(count):
                stride = 2 if place > 0 and block == 0 else 1
                row.append(Residual(inputs, width, stride=stride, attention=attention))
                inputs = width
            self.add_module(f"stage{place + 1}", nn.Sequential(*row))
        self.classifier = nn.Linear(inputs, classes)

    def prepare(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std

    def classify(self, features: Tensor) -> Tensor:
        return self.classifier(features.mean(dim=(2, 3)))


class DropoutCNN(Staged):
    """A small digit classifier: three convolutions, then two linear layers with dropout before each.

    The convolutions (the trunk) are deterministic, so many random passes cost one trunk and many cheap heads.

    (B, 1, 28, 28) -> conv1 (B, 32, 14, 14) -> conv2 (B, 64, 7, 7) -> conv3 (B, 64, 7, 7)
                   -> flatten (B, 3136) -> dropout -> hidden (B, 128) -> dropout -> logits (B, 10)

    channels    of the three convolutions
    hidden      width of the layer between the two dropouts
    rate        share of units that dropout removes while training, in [0, 1)
    batch_norm  put batch normalisation after each convolution
    input       (B, 1, 28, 28) float32 in [0, 1], ink bright
    returns     (B, 10) float32 logits
    """

    stages = ("conv1", "conv2", "conv3")

    def __init__(
        self,
        *,
        channels: tuple[int, int, int] = (32, 64, 64),
        hidden: int = 128,
        rate: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"expected a dropout rate in [0, 1), got {rate}")
        first, second, third = channels
        self.rate = rate
        self.conv1 = self._stage(1, first, kernel=5, pool=True, batch_norm=batch_norm)
        self.conv2 = self._stage(first, second, kernel=3, pool=True, batch_norm=batch_norm)
        self.conv3 = self._stage(second, third, kernel=3, pool=False, batch_norm=batch_norm)
        self.hidden = nn.Linear(third * 7 * 7, hidden)
        self.logits = nn.Linear(hidden, 10)

    @staticmethod
    def _stage(inputs: int, outputs: int, *, kernel: int, pool: bool, batch_norm: bool) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2),
            nn.BatchNorm2d(outputs) if batch_norm else nn.Identity(),
            nn.ReLU(),
            nn.MaxPool2d(2) if pool else nn.Identity(),
        )

    def classify(self, features: Tensor) -> Tensor:
        thinned = F.dropout(features.flatten(1), self.rate, self.training)
        hidden = F.relu(self.hidden(thinned))
        return self.logits(F.dropout(hidden, self.rate, self.training))

    @property
    def mask_widths(self) -> tuple[int, int]:
        """How many units each of the two dropout layers acts on."""
        return self.hidden.in_features, self.logits.in_features

    def thinned(self, features: Tensor, masks: tuple[Tensor, Tensor]) -> Tensor:
        """The head with given units removed, for T masks and B pictures in one batch.

        features (B, C, h, w) from `features`
        masks    (T, 3136) and (T, 128), factors on the units of the two dropout layers
        returns  (T, B, 10) logits
        """
        first, second = masks
        flat = features.flatten(1)  # (B, 3136)
        # What ReLU left at 0 for every picture stays 0 under any mask: four fifths need no product.
        active = flat.amax(dim=0).nonzero()[:, 0]
        thinned = first[:, None, active] * flat[:, active]
        hidden = F.relu(F.linear(thinned, self.hidden.weight[:, active], self.hidden.bias))  # (T, B, 128)
        return self.logits(second[:, None] * hidden)


class Quick:
    """A network asked in bfloat16: what it finds comes in float32, right to about three digits."""

    def __init__(self, network: Staged) -> None:
        self.network = network

    def features(self, images: Tensor, stage: str | None = None) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.network.features(images, stage).float()

    def head(self, features: Tensor, stage: str | None = None) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.network.head(features, stage).float()

    def __call__(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def quick(network: Staged) -> Staged | Quick:
    """The same network, twice as fast where it can be: for what is the mean of many passes, or one of many.

    Only a ResNet on a processor with units for bfloat16 becomes `Quick`: convolutions of one channel each, as in
    MobileNets, would be slower by far.
    """
    return Quick(network) if bfloat16_units() and isinstance(network, ResNet) else network


def bfloat16_units() -> bool:
    """Does this processor compute in bfloat16? Others have to take it apart, which is slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def folded(network: Kind) -> Kind:
    """Put each batch normalisation into the convolution before it: the same answers in fewer steps.

    w' = w gamma / sigma,   b' = (b - mean) gamma / sigma + beta

    network  in eval mode; it is changed
    returns  the same object; convolution and normalisation are one where they are registered one after the other
    """
    with torch.inference_mode(False):
        for parent in list(network.modules()):
            for (place, conv), (after, norm) in pairwise(list(parent.named_children())):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(parent, place, fuse_conv_bn_eval(conv, norm))
                    setattr(parent, after, getattr(norm, "act", nn.Identity()))  # timm's norms bring their ReLU
    return network


class ImageNet(Staged):
    """A published network as a row of stages, and global average pooling.

    logits = linear( neck( mean over h,w of features(x) ) )

    stages      name -> module; each answers with a map (B, C, h, w)
    neck        what sits between pooling and the linear layer; (B, C, 1, 1) to (B, C) or (B, C, 1, 1)
    linear      the last layer
    classifier  the linear layer if the neck does nothing, so that CAM in the sense of Zhou et al.
                2016 exists (arXiv:1512.04150, equation 2); None otherwise
    mean, std   three numbers each, of the pictures that the network was trained on
    input       (B, 3, S, S) float32 in [0, 1], as `Loaded.view` makes it; normalised inside
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        neck: nn.Module,
        linear: nn.Linear,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.stages = tuple(stages)
        for name, module in stages.items():
            self.add_module(name, module)
        self.neck, self.linear = neck, linear
        self.classifier = linear if isinstance(neck, nn.Identity) else None
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def prepare(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std

    def classify(self, features: Tensor) -> Tensor:
        return self.linear(self.neck(features.mean(dim=(2, 3), keepdim=True)).flatten(1))


class Patches(nn.Module):
    """Each patch of a picture as a vector, with its place added: (B, 3, S, S) -> (B, C, h, w)."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.embed, self.place, self.norm = transformer.patch_embed, transformer.pos_embed, transformer.norm_pre

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.norm(self.embed(images) + self.place)
        return tokens.transpose(1, 2).unflatten(2, self.embed.grid_size)


class OnTokens(nn.Module):
    """Runs modules on the places of a map as on a sentence: (B, C, h, w) -> (B, h w, C) -> (B, C, h, w)."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*modules)

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.inner(features.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).unflatten(2, features.shape[2:])


Parts = tuple[dict[str, nn.Module], nn.Module, nn.Linear]


def _resnet(network: Any) -> Parts:
    stem = nn.Sequential(network.conv1, network.bn1, network.act1, network.maxpool)
    layers = {f"layer{number}": getattr(network, f"layer{number}") for number in (1, 2, 3, 4)}
    return {"stem": stem, **layers}, nn.Identity(), network.fc


def _mobilenet(network: Any) -> Parts:
    blocks = {f"blocks{number}": block for number, block in enumerate(network.blocks, start=1)}
    stem, last = nn.Sequential(network.conv_stem, network.bn1), nn.Sequential(network.conv_head, network.bn2)
    return {"stem": stem, **blocks, "conv_head": last}, nn.Identity(), network.classifier


def _convnext(network: Any) -> Parts:
    stages = {f"stage{number}": stage for number, stage in enumerate(network.stages, start=1)}
    return {"stem": network.stem, **stages}, network.head.norm, network.head.fc


def _transformer(network: Any) -> Parts:
    tokens = network.cls_token is not None or network.reg_token is not None
    if tokens or network.global_pool != "avg" or network.dynamic_img_size:
        raise ValueError(
            "expected a transformer for one size of picture, without class token and registers, "
            "that ends in average pooling"
        )
    quarter = max(1, len(network.blocks) // 4)
    groups = [network.blocks[begin : begin + quarter] for begin in range(0, len(network.blocks), quarter)]
    blocks = {f"blocks{number}": OnTokens(*group) for number, group in enumerate(groups, start=1)}
    stages = {"patches": Patches(network), **blocks, "norm": OnTokens(network.norm)}
    after = isinstance(network.fc_norm, nn.Identity)
    return stages, network.fc_norm if after else nn.Sequential(nn.Flatten(1), network.fc_norm), network.head


FAMILIES: dict[str, Callable[[Any], Parts]] = {
    "ResNet": _resnet,
    "EfficientNet": _mobilenet,
    "ConvNeXt": _convnext,
    "VisionTransformer": _transformer,
}


def staged(network: nn.Module, *, mean: tuple[float, ...], std: tuple[float, ...]) -> ImageNet:
    """The same network, in stages; they share their parameters. Raises ValueError for an unknown family."""
    family = type(network).__name__
    if family not in FAMILIES:
        raise ValueError(f"expected a network among {', '.join(FAMILIES)}, got {family}")
    stages, neck, linear = FAMILIES[family](network)
    return ImageNet(stages, neck, linear, mean=mean, std=std)
