"""The landscapes: five formulas with their gradients, and a stored cut through the loss of a real network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

Array = NDArray[np.float64]
REACH = (-0.75, 1.75)  # of the cut: (0, 0) is the start, (1, 0) and (0, 1) are the two ends of training
RATES = np.arange(-40, 6) / 10  # powers of ten: the step sizes that the page offers


@dataclass(frozen=True)
class Surface:
    """One landscape.

    slope    points (..., 2) -> losses (...), gradients (..., 2)
    window   ((x low, x high), (y low, y high)) of the map
    lowest   the smallest loss, 0 for the formulas
    minima   where it is, for the map
    formula  as the page prints it
    """

    slope: Callable[[Array], tuple[Array, Array]]
    window: tuple[tuple[float, float], tuple[float, float]]
    lowest: float
    minima: tuple[tuple[float, float], ...]
    formula: str

    def place(self, share: Array) -> Array:
        """A point of the map from shares of its half width and half height, -1 to 1 each."""
        (left, right), (bottom, top) = self.window
        middle = np.array([left + right, bottom + top]) / 2
        return middle + share * np.array([right - left, top - bottom]) / 2

    def share(self, place: Array) -> Array:
        """The other way round; what lies outside the map goes to its edge."""
        (left, right), (bottom, top) = self.window
        middle = np.array([left + right, bottom + top]) / 2
        return np.clip((place - middle) / (np.array([right - left, top - bottom]) / 2), -1, 1)


def bowl(points: Array) -> tuple[Array, Array]:
    """f = (x^2 + y^2) / 2"""
    return (points**2).sum(axis=-1) / 2, points


def ravine(points: Array) -> tuple[Array, Array]:
    """f = (x^2 + 50 y^2) / 2"""
    steep = np.array([1.0, 50.0])
    return (steep * points**2).sum(axis=-1) / 2, steep * points


def rosenbrock(points: Array) -> tuple[Array, Array]:
    """f = (1 - x)^2 + 100 (y - x^2)^2"""
    x, y = points[..., 0], points[..., 1]
    bend = y - x**2
    gradient = np.stack([-2 * (1 - x) - 400 * x * bend, 200 * bend], axis=-1)
    return (1 - x) ** 2 + 100 * bend**2, gradient


def saddle(points: Array) -> tuple[Array, Array]:
    """f = x^2 / 2 - y^2 / 2 + y^4 / 16 + 1: flat in the middle, lowest at y = 2 and y = -2"""
    x, y = points[..., 0], points[..., 1]
    return x**2 / 2 - y**2 / 2 + y**4 / 16 + 1, np.stack([x, y**3 / 4 - y], axis=-1)


def beale(points: Array) -> tuple[Array, Array]:
    """f = sum over k = 1, 2, 3 of (c_k - x + x y^k)^2 with c = 1.5, 2.25, 2.625"""
    x, y = points[..., 0], points[..., 1]
    loss, along_x, along_y = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for power, constant in ((1, 1.5), (2, 2.25), (3, 2.625)):
        rest = constant - x + x * y**power
        loss = loss + rest**2
        along_x = along_x + 2 * rest * (y**power - 1)
        along_y = along_y + 2 * rest * x * power * y ** (power - 1)
    return loss, np.stack([along_x, along_y], axis=-1)


def cut(losses: Array, reach: tuple[float, float]) -> Surface:
    """A stored grid of losses as a landscape: a cubic spline gives the slope between its points.

    losses   (n, n) over a square, x along the second axis
    reach    lowest and highest coordinate of both axes
    returns  Surface; beyond the grid a wall rises, loss of the edge + distance^2 / 2, so that leaving never pays
    """
    line = np.linspace(*reach, len(losses))
    spline = RectBivariateSpline(line, line, losses.T)

    def slope(points: Array) -> tuple[Array, Array]:
        inside = np.clip(np.nan_to_num(points, nan=reach[1]), *reach)
        x, y = inside[..., 0], inside[..., 1]
        outside = np.nan_to_num(points, nan=reach[1]) - inside
        along = np.stack([spline.ev(x, y, dx=1), spline.ev(x, y, dy=1)], axis=-1)
        gradient = np.where(outside == 0, along, outside)
        return spline.ev(x, y) + (outside**2).sum(axis=-1) / 2, gradient

    fine = np.linspace(*reach, 4 * len(losses))
    between = spline(fine, fine)  # x along the first axis
    column, row = np.unravel_index(between.argmin(), between.shape)
    lowest = ((float(fine[column]), float(fine[row])),)
    return Surface(slope, (reach, reach), float(between.min()), lowest, "cross-entropy of a small network, in nat")


FORMULAS: Mapping[str, Surface] = {
    "bowl": Surface(bowl, ((-3, 3), (-3, 3)), 0, ((0, 0),), "½(x² + y²)"),
    "ravine": Surface(ravine, ((-3, 3), (-1.5, 1.5)), 0, ((0, 0),), "½(x² + 50 y²)"),
    "rosenbrock": Surface(rosenbrock, ((-2, 2), (-1, 3)), 0, ((1, 1),), "(1 − x)² + 100 (y − x²)²"),
    "saddle": Surface(saddle, ((-3, 3), (-3, 3)), 0, ((0, 2), (0, -2)), "½x² − ½y² + y⁴⁄16 + 1"),
    "beale": Surface(
        beale,
        ((-4.5, 4.5), (-4.5, 4.5)),
        0,
        ((3, 0.5),),
        "(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²",
    ),
}
