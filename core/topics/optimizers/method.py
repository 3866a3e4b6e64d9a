"""Seven ways to walk downhill, the schedules of their step size, and a walk with any of them.

All functions work on arrays of points (..., 2), so that one walk, or a race from a hundred
starts at ten step sizes, is the same code. The rules are those of torch.optim, which the tests
use as their referee.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Memory = dict[str, Array]  # what a method keeps from step to step; empty before the first one
Slope = Callable[[Array], tuple[Array, Array]]  # points (..., 2) -> losses (...), gradients (..., 2)


def gradient_descent(point: Array, gradient: Array, memory: Memory, *, rate: Array, **_: float) -> tuple[Array, Memory]:
    """Where does one step straight downhill lead?

    x <- x - rate * g

    point, gradient  (..., 2)
    rate             (..., 1)
    returns          the new point, and what the method remembers: nothing
    source           Cauchy 1847
    """
    return point - rate * gradient, memory


def momentum(
    point: Array, gradient: Array, memory: Memory, *, rate: Array, beta: float, **_: float
) -> tuple[Array, Memory]:
    """Where does a heavy ball roll, which keeps a share of its speed?

    v <- beta * v + g
    x <- x - rate * v

    arguments and returns as in `gradient_descent`; beta in [0, 1)
    source  Polyak 1964; Sutskever et al. 2013
    """
    speed = beta * memory.get("speed", 0.0) + gradient
    return point - rate * speed, {"speed": speed}


def nesterov(
    point: Array, gradient: Array, memory: Memory, *, rate: Array, beta: float, **_: float
) -> tuple[Array, Memory]:
    """Where does the ball roll if it also looks one stretch ahead?

    v <- beta * v + g
    x <- x - rate * (g + beta * v)

    arguments and returns as in `momentum`
    source  Nesterov 1983, in the form of Sutskever et al. 2013
    """
    speed = beta * memory.get("speed", 0.0) + gradient
    return point - rate * (gradient + beta * speed), {"speed": speed}


def adagrad(point: Array, gradient: Array, memory: Memory, *, rate: Array, **_: float) -> tuple[Array, Memory]:
    """Where does a step lead that shrinks in directions which were steep so far?

    s <- s + g^2                       per coordinate
    x <- x - rate * g / (sqrt(s) + 1e-10)

    arguments and returns as in `gradient_descent`
    source  Duchi, Hazan and Singer 2011
    """
    squares = memory.get("squares", 0.0) + gradient**2
    return point - rate * gradient / (np.sqrt(squares) + 1e-10), {"squares": squares}


def rmsprop(
    point: Array, gradient: Array, memory: Memory, *, rate: Array, beta2: float, **_: float
) -> tuple[Array, Memory]:
    """Like Adagrad, but it forgets: where does a step lead that is scaled by the recent steepness?

    s <- beta2 * s + (1 - beta2) * g^2
    x <- x - rate * g / (sqrt(s) + 1e-8)

    arguments and returns as in `gradient_descent`; beta2 in [0, 1)
    source  Tieleman and Hinton 2012, lecture 6.5
    """
    squares = beta2 * memory.get("squares", 0.0) + (1 - beta2) * gradient**2
    return point - rate * gradient / (np.sqrt(squares) + 1e-8), {"squares": squares}


def adam(
    point: Array, gradient: Array, memory: Memory, *, rate: Array, beta: float, beta2: float, step: int, **_: float
) -> tuple[Array, Memory]:
    """Where does a step lead that has momentum, and is scaled by the recent steepness of each coordinate?

    m <- beta  * m + (1 - beta)  * g
    s <- beta2 * s + (1 - beta2) * g^2
    x <- x - rate * m / (1 - beta^t) / (sqrt(s / (1 - beta2^t)) + 1e-8)

    step     t - 1: 0 at the first step
    arguments and returns as in `gradient_descent`
    source  Kingma and Ba 2015, arXiv:1412.6980, algorithm 1
    """
    mean = beta * memory.get("mean", 0.0) + (1 - beta) * gradient
    squares = beta2 * memory.get("squares", 0.0) + (1 - beta2) * gradient**2
    unbiased_mean = mean / (1 - beta ** (step + 1))
    unbiased_squares = squares / (1 - beta2 ** (step + 1))
    return point - rate * unbiased_mean / (np.sqrt(unbiased_squares) + 1e-8), {"mean": mean, "squares": squares}


METHODS: Mapping[str, Callable[..., tuple[Array, Memory]]] = {
    "descent": gradient_descent,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adam,  # with the weight decay of `take_step` beside the step, not inside the gradient
}


def take_step(
    name: str, point: Array, gradient: Array, memory: Memory, *, rate: Array, decay: float, **options: float
) -> tuple[Array, Memory]:
    """One step of a method, with weight decay.

    g <- g + decay * x                 before the step, so that it is scaled and remembered like the rest
    x <- x * (1 - rate * decay)        AdamW: beside the step, so that it is not

    name     a key of METHODS
    options  beta, beta2 and step, as the methods take them
    returns  the new point, and the method's memory
    source   Loshchilov and Hutter 2019, arXiv:1711.05101
    """
    if name == "adamw":
        return adam(point * (1 - rate * decay), gradient, memory, rate=rate, **options)  # type: ignore[arg-type]
    return METHODS[name](point, gradient + decay * point, memory, rate=rate, **options)


def warm_up(step: int, warm: int) -> float:
    """Which share of its height has the step size reached, rising in a line over `warm` steps?

    share = (step + 1) / (warm + 1)    while step < warm, then 1
    """
    return min(1.0, (step + 1) / (warm + 1))


def scheduled(step: int, schedule: str, *, steps: int, period: int) -> float:
    """Which share of the step size is left at this step?

    constant  1
    step      0.3 ^ floor(step / period)
    cosine    (1 + cos(pi * step / steps)) / 2
    plateau   1 here: it depends on the losses, and `Plateau` follows them
    """
    if schedule == "step":
        return FACTOR ** (step // period)
    return (1 + float(np.cos(np.pi * step / steps))) / 2 if schedule == "cosine" else 1.0


FACTOR = 0.3  # what the step size is multiplied with by `step` and `plateau`


@dataclass
class Plateau:
    """Lowers the step size when the loss has not fallen for a while.

    A loss counts as better if it is below 0.9999 times the best one. After more than `patience`
    steps in a row without a better one the share is multiplied with 0.3, and counting begins anew.
    source  torch.optim.lr_scheduler.ReduceLROnPlateau
    """

    patience: int
    best: Array = field(default_factory=lambda: np.array(np.inf))
    waited: Array = field(default_factory=lambda: np.array(0))
    share: Array = field(default_factory=lambda: np.array(1.0))

    def see(self, losses: Array) -> None:
        """Take note of the losses (...) at the points where a step was taken."""
        better = losses < self.best * (1 - 1e-4)
        self.best = np.where(better, losses, self.best)
        self.waited = np.where(better, 0, self.waited + 1)
        enough = self.waited > self.patience
        self.share = np.where(enough, self.share * FACTOR, self.share)
        self.waited = np.where(enough, 0, self.waited)


@dataclass(frozen=True)
class Walk:
    """A walk, or many side by side.

    points  (steps + 1, ..., 2), the start first
    losses  (steps + 1, ...)
    rates   (steps, ...), the step size at each step
    """

    points: Array
    losses: Array
    rates: Array


def walk(
    name: str,
    slope: Slope,
    start: Array,
    *,
    rate: Array | float,
    steps: int,
    beta: float = 0.9,
    beta2: float = 0.999,
    decay: float = 0.0,
    schedule: str = "constant",
    warm: int = 0,
    period: int = 30,
    patience: int = 10,
) -> Walk:
    """Where does a method go from here, step by step?

    name      a key of METHODS
    slope     losses and gradients of the surface
    start     (..., 2)
    rate      (...) the step size, before schedule and warm-up
    schedule  constant, step, cosine or plateau
    returns   Walk; where a walk blew up, losses and points are inf or nan
    raises    ValueError for a method or schedule of another name
    """
    if name not in METHODS or schedule not in ("constant", "step", "cosine", "plateau"):
        raise ValueError(f"expected a method among {', '.join(METHODS)} and a known schedule, got {name}, {schedule}")
    memory: Memory = {}
    point = np.broadcast_to(start, np.broadcast_shapes(start.shape, (*np.shape(rate), 1))).astype(float)
    plateau = Plateau(patience)
    points, losses, rates = [point], [], []
    with np.errstate(all="ignore"):  # who steps too far leaves the numbers; that is part of the lesson
        for step in range(steps):
            loss, gradient = slope(point)
            share = warm_up(step, warm) * scheduled(step, schedule, steps=steps, period=period)
            current = rate * share * plateau.share * np.ones(point.shape[:-1])
            point, memory = take_step(
                name,
                point,
                gradient,
                memory,
                rate=current[..., None],
                decay=decay,
                beta=beta,
                beta2=beta2,
                step=step,
            )
            if schedule == "plateau":
                plateau.see(loss)
            points.append(point)
            losses.append(loss)
            rates.append(current)
        losses.append(slope(point)[0])
    return Walk(np.stack(points), np.stack(losses), np.stack(rates))


def best_rate(ends: Array) -> int:
    """At which step size did the walks end lowest?

    ends     (rates, ...) losses at the end; the median over starts decides
    returns  index into the first axis; the smallest one if all blew up
    """
    heights = np.where(np.isfinite(ends), ends, np.inf).reshape(len(ends), -1)
    return int(np.argmin(np.median(heights, axis=1)))
