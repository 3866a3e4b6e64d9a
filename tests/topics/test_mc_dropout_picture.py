"""From a drawing or a photograph to MNIST's frame: where the digit lands, and what is no digit."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from skimage.filters import threshold_otsu
from torch import Tensor

from core import data, store
from core.topics.mc_dropout.picture import BOX, SIDE, framed, otsu, rotated

WIDTH, HEIGHT = 400, 300
PLACES = {"middle": (200, 150), "upper left": (95, 85), "lower right": (315, 220)}


def written(digit: str, place: tuple[int, int], *, size: float = 120) -> np.ndarray:
    """(H, W): 1 where the pen was, 0 elsewhere."""
    sheet = Image.new("L", (WIDTH, HEIGHT))
    font = ImageFont.load_default(size=size)
    ImageDraw.Draw(sheet).text(place, digit, fill=255, font=font, anchor="mm", stroke_width=3)
    return np.asarray(sheet, dtype=np.float32) / 255


def photo(pen: np.ndarray, *, paper: float = 0.8, ink: float = 0.25, gradient: float = 0.0, noise: float = 0.03):
    """A sheet in a light that falls off to the lower right, with the camera's noise."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    light = 1 - gradient * (0.75 * columns / WIDTH + 0.65 * rows / HEIGHT)
    grey = (paper + (ink - paper) * pen) * light + np.random.default_rng(0).normal(0, noise, pen.shape)
    return np.clip(grey, 0, 1).astype(np.float32)


def compressed(grey: np.ndarray, *, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray((grey * 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer), dtype=np.float32) / 255


def on_a_table(grey: np.ndarray) -> np.ndarray:
    """The dark table shows at all four sides of the sheet."""
    result = np.full_like(grey, 0.15)
    result[20:-15, 25:-20] = grey[20:-15, 25:-20]
    return result


def on_a_slanted_table(grey: np.ndarray) -> np.ndarray:
    """A corner of the table shows at the lower right, its edge at an angle."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.where(rows + 0.3 * columns > 400, np.float32(0.15), grey)


def shadowed(grey: np.ndarray) -> np.ndarray:
    """The hand that holds the telephone darkens one side."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (grey * (1 - 0.35 / (1 + np.exp(-(columns - 260 + 0.3 * rows) / 6)))).astype(np.float32)


SCENES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "scan": lambda pen: 1 - pen,
    "even light": photo,
    "uneven light": lambda pen: photo(pen, gradient=0.4),
    "noise": lambda pen: photo(pen, noise=0.08),
    "pencil": lambda pen: photo(pen, paper=0.75, ink=0.5, gradient=0.3, noise=0.02),
    "light on dark": lambda pen: photo(pen, paper=0.2, ink=0.85, gradient=0.3),
    "JPEG": lambda pen: compressed(photo(pen, gradient=0.3), quality=20),
    "table": lambda pen: compressed(on_a_table(photo(pen, gradient=0.2)), quality=50),
    "slanted table": lambda pen: compressed(on_a_slanted_table(photo(pen, gradient=0.2)), quality=50),
    "shadow": lambda pen: compressed(shadowed(photo(pen, gradient=0.1)), quality=60),
}


def centre(picture: Tensor) -> tuple[float, float]:
    """Row and column of the centre of mass."""
    shares = picture[0] / picture.sum()
    places = torch.arange(SIDE, dtype=torch.float32)
    return float(shares.sum(dim=1) @ places), float(shares.sum(dim=0) @ places)


def extent(picture: Tensor) -> int:
    """The longer side of the box around the ink."""
    rows, columns = torch.nonzero(picture[0] > 0.1, as_tuple=True)
    return int(max(rows.max() - rows.min(), columns.max() - columns.min())) + 1


def likeness(first: Tensor, second: Tensor) -> float:
    return float(np.corrcoef(first.flatten(), second.flatten())[0, 1])


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_a_digit_is_framed_as_mnist_does(scene: Callable, place: tuple[int, int]) -> None:
    for digit in "358":
        pen = written(digit, place)
        found, clean = framed(scene(pen)), framed(pen)
        assert found is not None
        assert clean is not None
        assert found.shape == (1, SIDE, SIDE)
        assert found.dtype == torch.float32
        assert 0 <= found.min() <= found.max() <= 1
        assert all(abs(middle - SIDE / 2) <= 1 for middle in centre(found))
        assert BOX - 2 <= extent(found) <= BOX
        assert likeness(found, clean) >= 0.85


@pytest.mark.parametrize("size", [60, 120, 250])
def test_size_does_not_matter(size: float) -> None:
    small, clean = framed(1 - written("5", PLACES["middle"], size=size)), framed(written("5", PLACES["middle"]))
    assert small is not None
    assert clean is not None
    assert likeness(small, clean) >= 0.85


def drawn_at(top: int, left: int) -> Tensor | None:
    """A 3 of 84 pixels on a canvas of 280, as the network would see it."""
    canvas = np.ones((280, 280), dtype=np.float32)
    canvas[top : top + 84, left : left + 84] -= data.drawn("3", size=84)[0].numpy()
    return framed(canvas)


@pytest.mark.parametrize("corner", [(6, 6), (6, 180), (180, 6), (180, 180)])
def test_a_digit_drawn_in_a_corner_lands_in_the_middle(corner: tuple[int, int]) -> None:
    found, central = drawn_at(*corner), drawn_at(98, 98)
    assert found is not None
    assert central is not None
    assert all(abs(middle - SIDE / 2) <= 1 for middle in centre(found))
    assert likeness(found, central) >= 0.98


def test_a_stroke_that_leaves_the_canvas_counts_though_a_speck_lies_inside() -> None:
    canvas = np.ones((280, 280), dtype=np.float32)
    canvas[0:200, 130:150] = 0
    canvas[240:243, 30:33] = 0
    found = framed(canvas)
    assert found is not None
    assert extent(found) == BOX


def test_specks_are_left_out() -> None:
    pen = written("3", PLACES["middle"])
    speckled = pen.copy()
    speckled[20:24, 380:384] = 1
    clean, found = framed(1 - pen), framed(1 - speckled)
    assert clean is not None
    assert found is not None
    assert likeness(found, clean) >= 0.99


@pytest.mark.parametrize(
    "grey",
    [
        np.ones((280, 280)),
        np.zeros((280, 280)),
        np.full((1, 1), 0.5),
        np.ones((1, 300)),
        photo(np.zeros((HEIGHT, WIDTH)), gradient=0.5),
        on_a_table(photo(np.zeros((HEIGHT, WIDTH)), gradient=0.2)),
    ],
    ids=["white", "black", "one pixel", "one line", "uneven light", "table"],
)
def test_an_empty_page_has_no_digit(grey: np.ndarray) -> None:
    assert framed(grey.astype(np.float32)) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_is_otsus(seed: int) -> None:
    chance = np.random.default_rng(seed)
    values = np.concatenate([chance.normal(0.2, 0.05, 700), chance.normal(0.7, 0.1, 300)])
    # Both name a place of the same histogram; equal splits may be told apart by a bin.
    assert otsu(values) == pytest.approx(threshold_otsu(values), abs=2 * np.ptp(values) / 256)


def test_a_turn_by_nothing_changes_nothing() -> None:
    digit = data.drawn("3")
    torch.testing.assert_close(rotated(digit, torch.tensor([0.0]))[0], digit)


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_quarter_turns_go_counter_clockwise(quarters: int) -> None:
    digit = data.drawn("7")
    turned = rotated(digit, torch.tensor([90.0 * quarters]))[0]
    torch.testing.assert_close(turned, torch.rot90(digit, quarters, dims=(1, 2)), atol=1e-4, rtol=0)


def test_turning_back_gives_the_digit_again() -> None:
    digit = data.drawn("3")
    back = rotated(rotated(digit, torch.tensor([35.0]))[0], torch.tensor([-35.0]))[0]
    assert likeness(back, digit) >= 0.97


def test_many_angles_are_many_single_turns() -> None:
    digit, angles = data.drawn("5"), torch.tensor([-120.0, 15.0, 77.5])
    together = rotated(digit, angles)
    assert together.shape == (3, 1, SIDE, SIDE)
    for turned, angle in zip(together, angles, strict=True):
        torch.testing.assert_close(turned, rotated(digit, angle[None])[0])


@pytest.mark.parametrize("name", ["three", "five_or_six", "four_or_nine", "seven"])
def test_an_enlarged_mnist_digit_comes_back_as_it_was(name: str) -> None:
    """MNIST puts the centre of mass at index 14, not at the middle of the picture, 13.5."""
    digit = store.load("mc_dropout/dropout").tensors("samples.safetensors")[name].numpy() / 255
    found = framed(1 - np.kron(digit, np.ones((8, 8))))
    assert found is not None
    assert np.corrcoef(found.numpy().ravel(), digit.ravel())[0, 1] > 0.95
