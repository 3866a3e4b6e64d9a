"""Two small players in the plane, where everything that they do can be seen."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.topics.gan import method

HIDDEN, NOISE = 64, 2  # width of both networks; numbers of noise
BATCH, SHOWN = 128, 200  # points of a step; forged points that are shown
GRID = 25  # places of the discriminator's field from side to side
REACH = 1.5  # the field goes from -REACH to REACH
PENALTY = 1.0  # weight of the gradient penalty: the plane's distances are smaller than a picture's


def ring(count: int, generator: torch.Generator) -> Tensor:
    """(count, 2): eight small heaps on a circle."""
    angle = torch.randint(0, 8, (count,), generator=generator) * (torch.pi / 4)
    middle = torch.stack([angle.cos(), angle.sin()], dim=1)
    return middle + 0.05 * torch.randn(count, 2, generator=generator)


def moons(count: int, generator: torch.Generator) -> Tensor:
    """(count, 2): two half circles that reach into each other."""
    angle = torch.pi * torch.rand(count, generator=generator)
    lower = torch.rand(count, generator=generator) < 0.5
    upper_moon = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], dim=1)
    points = torch.where(lower[:, None], -upper_moon, upper_moon)
    return 0.8 * points + 0.05 * torch.randn(count, 2, generator=generator)


def around(points: Tensor) -> Callable[[int, torch.Generator], Tensor]:
    """Points that a visitor has set (N, 2), each blurred a little."""

    def drawn(count: int, generator: torch.Generator) -> Tensor:
        chosen = points[torch.randint(0, len(points), (count,), generator=generator)]
        return chosen + 0.04 * torch.randn(count, 2, generator=generator)

    return drawn


class Setting(NamedTuple):
    """How two players learn.

    wasserstein        losses of WGAN-GP in place of the first GAN's
    rate, judge_rate   learning rates of Adam
    turns              steps of the discriminator for each of the generator
    """

    wasserstein: bool
    rate: float
    judge_rate: float
    turns: int


class Moment(NamedTuple):
    """What there is to see after so many steps.

    step            of the generator
    forged          (SHOWN, 2); arrows (SHOWN, 2): where each would move to please the discriminator
    field           (GRID, GRID) the discriminator's scores, rows from the lowest y
    discriminator, generator  the last losses, nan before the first step
    """

    step: int
    forged: Tensor
    arrows: Tensor
    field: Tensor
    discriminator: float
    generator: float


class Game:
    """A generator and a discriminator of three layers, and the points that one of them has to imitate."""

    def __init__(self, draw: Callable[[int, torch.Generator], Tensor], setting: Setting, *, seed: int) -> None:
        self.draw, self.setting, self.step = draw, setting, 0
        self.rng = torch.Generator().manual_seed(seed)
        self.losses = {"discriminator": float("nan"), "generator": float("nan")}
        self.shown = torch.randn(SHOWN, NOISE, generator=self.rng)
        with torch.inference_mode(False), torch.enable_grad():
            self.generator, self.judge = layers(NOISE, 2, self.rng), layers(2, 1, self.rng)
            betas = (0.5, 0.9)
            self.optimizers = {
                "generator": torch.optim.Adam(self.generator.parameters(), lr=setting.rate, betas=betas),
                "judge": torch.optim.Adam(self.judge.parameters(), lr=setting.judge_rate, betas=betas),
            }

    def score(self, points: Tensor) -> Tensor:
        """(N, 2) -> (N,)"""
        return self.judge(points).flatten()

    def judge_step(self) -> None:
        """The discriminator learns from one batch."""
        with torch.inference_mode(False), torch.enable_grad():
            real = self.draw(BATCH, self.rng)
            forged = self.generator(torch.randn(BATCH, NOISE, generator=self.rng)).detach()
            game = method.wasserstein if self.setting.wasserstein else method.non_saturating
            loss = game(self.score(real), self.score(forged)).discriminator
            self.losses["discriminator"] = float(loss.detach())
            if self.setting.wasserstein:
                loss = loss + PENALTY * method.gradient_penalty(self.score, real, forged, generator=self.rng)
            self._learn("judge", loss)

    def generator_step(self) -> None:
        """The generator learns from what the discriminator says of one batch."""
        with torch.inference_mode(False), torch.enable_grad():
            scores = self.score(self.generator(torch.randn(BATCH, NOISE, generator=self.rng)))
            game = method.wasserstein if self.setting.wasserstein else method.non_saturating
            loss = game(scores, scores).generator
            self.losses["generator"] = float(loss.detach())
            self._learn("generator", loss)
        self.step += 1

    def round(self) -> None:
        """The discriminator's turns, then the generator's."""
        for _ in range(self.setting.turns):
            self.judge_step()
        self.generator_step()

    def _learn(self, player: str, loss: Tensor) -> None:
        for optimizer in self.optimizers.values():  # a player's loss derives to the other's weights, too
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[player].step()

    def look(self) -> Moment:
        """What there is to see now; looking changes nothing."""
        with torch.inference_mode(False), torch.enable_grad():
            forged = self.generator(self.shown).detach().requires_grad_()
            [slope] = torch.autograd.grad(self.score(forged).sum(), forged)
        line = torch.linspace(-REACH, REACH, GRID)
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        with torch.no_grad():
            field = self.score(torch.stack([columns.flatten(), rows.flatten()], dim=1)).view(GRID, GRID)
        return Moment(self.step, forged.detach(), slope, field, **self.losses)


def layers(inputs: int, outputs: int, generator: torch.Generator) -> nn.Sequential:
    """Three linear layers with leaky ReLUs between, weights as `nn.Linear` draws them, offsets 0."""
    found = [nn.Linear(inputs, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, outputs)]
    for layer in found:
        nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(found[0], nn.LeakyReLU(0.2), found[1], nn.LeakyReLU(0.2), found[2])


def covered(forged: Tensor, *, near: float = 0.2, least: float = 0.05) -> int:
    """How many of the ring's eight heaps have a share of at least `least` of the forged points (N, 2) within `near`?

    An even share is 1/8; a cloud over the whole field has less than 0.02 there.
    """
    angle = torch.arange(8) * (torch.pi / 4)
    middles = torch.stack([angle.cos(), angle.sin()], dim=1)
    shares = (torch.cdist(middles, forged) <= near).float().mean(dim=1)
    return int((shares >= least).sum())


class Match:
    """The first GAN against WGAN-GP: two games of one visitor, on the same points and from the same weights.

    points  that the visitor has set, (x, y) each
    games   the two, once started
    """

    def __init__(self) -> None:
        self.points: list[list[float]] = []
        self.games: list[Game] = []
        self._key: tuple[object, ...] = ()

    def start(self, kind: str, rates: tuple[float, float], seed: int) -> None:
        """Begin anew.

        kind    "ring", "moons" or "yours"
        rates   learning rates of generator and discriminator
        raises  ValueError for fewer than two points of one's own
        """
        if kind == "yours" and len(self.points) < 2:
            raise ValueError("expected at least two points")
        draw = around(torch.tensor(self.points)) if kind == "yours" else {"ring": ring, "moons": moons}[kind]
        settings = [Setting(wasserstein, *rates, turns=3 if wasserstein else 1) for wasserstein in (False, True)]
        self.games = [Game(draw, setting, seed=seed) for setting in settings]
        self._key = self._key_of(kind, rates, seed)

    def ready(self, kind: str, rates: tuple[float, float], seed: int) -> None:
        """Begin if nothing has begun, or if something else is asked for now."""
        if self._key != self._key_of(kind, rates, seed):
            self.start(kind, rates, seed)

    def looks(self) -> list[Moment]:
        """Both games as they stand; the critic's field has mean 0.

        A critic's score has no zero of its own: what counts is where it is higher than elsewhere.
        """
        first, critic = (game.look() for game in self.games)
        return [first, critic._replace(field=critic.field - critic.field.mean())]

    def _key_of(self, kind: str, rates: tuple[float, float], seed: int) -> tuple[object, ...]:
        return kind, rates, seed, *([tuple(point) for point in self.points] if kind == "yours" else [])
