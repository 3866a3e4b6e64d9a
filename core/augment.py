"""What training does to pictures, so that no epoch shows the same twice.

Each function changes every picture of a batch in a way of its own, drawn from the generator.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(count,) float32 in [low, high)."""
    return low + (high - low) * torch.rand(count, generator=generator)


def reframed(
    images: Tensor, generator: torch.Generator, *, size: int, crop: float, turn_degrees: float, mirror: bool = True
) -> Tensor:
    """Crop, turn and mirror each photo in its own way, in one bicubic sampling (a bilinear one would blur).

    images  (B, 3, H, W); places outside are mirrored in
    crop    a crop keeps a share of the area uniform in [crop, 1], its sides' ratio within 3:4 and 4:3
    mirror  half of them, left to right
    returns (B, 3, size, size)
    """
    count = len(images)
    area = uniform(count, crop, 1, generator)
    ratio = (uniform(count, -1, 1, generator) * torch.tensor(4 / 3).log()).exp()
    wide, high = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    turn = uniform(count, -turn_degrees, turn_degrees, generator).deg2rad()
    facing = torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1 if mirror else torch.ones(count)
    right, down = ((1 - side) * uniform(count, -1, 1, generator) for side in (wide, high))
    top = torch.stack([wide * turn.cos() * facing, -high * turn.sin(), right], dim=1)
    bottom = torch.stack([wide * turn.sin() * facing, high * turn.cos(), down], dim=1)
    grid = F.affine_grid(torch.stack([top, bottom], dim=1), [count, 3, size, size], align_corners=False)
    found = F.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return found.clamp(0, 1)


def recoloured(images: Tensor, generator: torch.Generator, *, strength: float) -> Tensor:
    """Change brightness, contrast and saturation of each photo by factors uniform in 1 ± strength."""
    factors = uniform(3 * len(images), 1 - strength, 1 + strength, generator).view(3, -1, 1, 1, 1)
    images = images * factors[0]
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + factors[1] * (images - mean)
    grey = images.mean(dim=1, keepdim=True)
    return (grey + factors[2] * (images - grey)).clamp(0, 1)
