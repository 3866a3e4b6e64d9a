"""What training does to pictures, so that no epoch shows the same twice.

Each function changes every picture of a batch in a way of its own, drawn from the generator.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(count,) float32 in [low, high)."""
    return low + (high - low) * torch.rand(count, generator=generator)


def reframed(images: Tensor, generator: torch.Generator, *, size: int, crop: float, turn_degrees: float) -> Tensor:
    """Crop, turn and mirror each photo in its own way, in one bicubic sampling (a bilinear one would blur).

    images  (B, 3, H, W); places outside are mirrored in
    crop    a crop keeps a share of the area uniform in [crop, 1], its sides' ratio within 3:4 and 4:3
    returns (B, 3, size, size)
    """
    count = len(images)
    area = uniform(count, crop, 1, generator)
    ratio = (uniform(count, -1, 1, generator) * torch.tensor(4 / 3).log()).exp()
    wide, high = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    turn = uniform(count, -turn_degrees, turn_degrees, generator).deg2rad()
    mirror = torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1
    right, down = ((1 - side) * uniform(count, -1, 1, generator) for side in (wide, high))
    top = torch.stack([wide * turn.cos() * mirror, -high * turn.sin(), right], dim=1)
    bottom = torch.stack([wide * turn.sin() * mirror, high * turn.cos(), down], dim=1)
    grid = F.affine_grid(torch.stack([top, bottom], dim=1), [count, 3, size, size], align_corners=False)
    found = F.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return found.clamp(0, 1)


def cut(images: Tensor, generator: torch.Generator, *, size: int) -> Tensor:
    """A square of `size` from a random place of each photo, mirrored or not, its pixels as they were.

    images  (B, 3, H, W), both sides at least `size`
    returns (B, 3, size, size)
    """
    count, _, height, width = images.shape
    top = torch.randint(0, height - size + 1, (count, 1), generator=generator) + torch.arange(size)
    left = torch.randint(0, width - size + 1, (count, 1), generator=generator) + torch.arange(size)
    mirror = torch.randint(0, 2, (count, 1), generator=generator).bool()
    left = torch.where(mirror, left.flip(1), left)
    return images[torch.arange(count)[:, None, None], :, top[:, :, None], left[:, None, :]].permute(0, 3, 1, 2)


def recoloured(images: Tensor, generator: torch.Generator, *, strength: float) -> Tensor:
    """Change brightness, contrast and saturation of each photo by factors uniform in 1 ± strength."""
    factors = uniform(3 * len(images), 1 - strength, 1 + strength, generator).view(3, -1, 1, 1, 1)
    images = images * factors[0]
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + factors[1] * (images - mean)
    grey = images.mean(dim=1, keepdim=True)
    return (grey + factors[2] * (images - grey)).clamp(0, 1)


def mixed(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend each photo with another of the batch (mixup), or paste a part of the other in (CutMix), half and half.

    share[b] is uniform in [0, 1]; target = share * own + (1 - share) * other, CutMix's share
    being the area that stays.
    targets (B, K) probabilities
    source  Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899
    """
    count, _, height, width = images.shape
    other = torch.randperm(count, generator=generator)
    share = uniform(count, 0, 1, generator)
    side = (1 - share).sqrt()
    row, column = (uniform(count, 0, 1, generator) * length for length in (height, width))
    rows = (torch.arange(height) - row[:, None]).abs() < side[:, None] * height / 2  # (B, H)
    columns = (torch.arange(width) - column[:, None]).abs() < side[:, None] * width / 2
    pasted = (rows[:, :, None] & columns[:, None, :]).float()  # (B, H, W)
    paste = torch.rand(count, generator=generator) < 0.5
    weight = torch.where(paste[:, None, None], 1 - pasted, share[:, None, None])  # of the photo's own pixels
    own = weight.mean(dim=(1, 2))[:, None]
    weight = weight[:, None]
    return weight * images + (1 - weight) * images[other], own * targets + (1 - own) * targets[other]
