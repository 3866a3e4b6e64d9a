"""What training does to pictures: places, pixels and shares are checked one by one."""

import math

import torch

from core import augment


def test_reframing_crops_turns_and_mirrors_as_drawn():
    """On pictures whose pixels hold their own coordinates, the result says where each pixel came from."""
    count, side = 64, 33
    line = torch.linspace(-1, 1, side) * (side - 1) / side  # pixel centres, as grid_sample counts them
    ramp = torch.stack([line.expand(side, side), line[:, None].expand(side, side), torch.zeros(side, side)])
    found = augment.reframed(
        (0.5 + 0.5 * ramp).expand(count, -1, -1, -1),
        torch.Generator().manual_seed(0),
        size=33,
        crop=0.3,
        turn_degrees=20,
    )
    mirrors = 0
    for source in 2 * found - 1:
        right, down = source[:2, side // 2, side // 2].tolist()  # the crop's middle
        middle, reach = side // 2, side // 4  # far apart: the cubic of grid_sample does not keep ramps exactly
        span = line[middle + reach] - line[middle - reach]
        across = (source[:2, middle, middle + reach] - source[:2, middle, middle - reach]) / span
        along = (source[:2, middle + reach, middle] - source[:2, middle - reach, middle]) / span
        wide, high = float(across.norm()), float(along.norm())
        assert 0.5 * math.sqrt(0.3) < wide <= 1.01
        assert 0.5 * math.sqrt(0.3) < high <= 1.01
        assert wide * high >= 0.3 * 0.74, "a crop keeps its share of the area; a side that exceeds the photo is cut"
        assert abs(right) <= 1 - wide + 0.01
        assert abs(down) <= 1 - high + 0.01
        assert abs(math.degrees(math.atan2(float(across[1]), abs(float(across[0]))))) <= 20.5
        assert abs(float(across @ along)) < 0.02 * wide * high, "turned, not sheared"
        mirrors += float(across[0]) < 0
    assert 16 <= mirrors <= 48


def test_recolouring_by_nothing_changes_nothing():
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(augment.recoloured(images, torch.Generator(), strength=0.0), images)
    assert not torch.equal(augment.recoloured(images, torch.Generator(), strength=0.3), images)
