"""Seven methods against torch.optim, schedules against torch's, landscapes against automatic differentiation."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from apps.lab_pages import optimizers as page
from core import data, store
from core.topics.optimizers import figures, method, recipe, surfaces
from core.topics.optimizers.card import CARD, NAMES, RUN

STEPS = 100
RATES = {
    "descent": 1e-3,
    "momentum": 1e-4,
    "nesterov": 1e-4,
    "adagrad": 0.3,
    "rmsprop": 0.01,
    "adam": 0.1,
    "adamw": 0.1,
}
SURFACES = [*surfaces.FORMULAS, "digits"]


def torch_optimizer(name: str, point: torch.Tensor, rate: float, *, beta: float, beta2: float, decay: float) -> Any:
    told: dict[str, Any] = {"lr": rate, "weight_decay": decay}
    return {
        "descent": lambda: torch.optim.SGD([point], **told),
        "momentum": lambda: torch.optim.SGD([point], momentum=beta, **told),
        "nesterov": lambda: torch.optim.SGD([point], momentum=beta, nesterov=True, **told),
        "adagrad": lambda: torch.optim.Adagrad([point], **told),
        "rmsprop": lambda: torch.optim.RMSprop([point], alpha=beta2, **told),
        "adam": lambda: torch.optim.Adam([point], betas=(beta, beta2), **told),
        "adamw": lambda: torch.optim.AdamW([point], betas=(beta, beta2), **told),
    }[name]()


def torch_walk(
    name: str,
    surface: surfaces.Surface,
    start: np.ndarray,
    rate: float,
    schedule: str = "constant",
    warm: int = 0,
    period: int = 30,
    patience: int = 10,
    beta: float = 0.9,
    beta2: float = 0.999,
    decay: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """The same walk by torch: places (STEPS + 1, 2) and step sizes (STEPS,)."""
    point = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch_optimizer(name, point, rate, beta=beta, beta2=beta2, decay=decay)
    followed: list[Any] = []
    if warm:
        followed.append(lr_scheduler.LinearLR(optimizer, start_factor=1 / (warm + 1), total_iters=warm))
    if schedule == "step":
        followed.append(lr_scheduler.StepLR(optimizer, period, gamma=method.FACTOR))
    if schedule == "cosine":
        followed.append(lr_scheduler.CosineAnnealingLR(optimizer, STEPS))
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, factor=method.FACTOR, patience=patience, eps=0)
    places, rates = [point.detach().numpy().copy()], []
    for _ in range(STEPS):
        loss, gradient = surface.slope(point.detach().numpy())
        point.grad = torch.from_numpy(np.ascontiguousarray(gradient))
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for one in followed:
            one.step()
        if schedule == "plateau":
            plateau.step(float(loss))
        places.append(point.detach().numpy().copy())
    return np.array(places), np.array(rates)


def agree(name: str, surface_name: str, **options: Any) -> None:
    surface = figures.surface(surface_name)
    start = surface.place(np.array([-0.5, 0.3]))
    ours = method.walk(name, surface.slope, start, rate=RATES[name], steps=STEPS, **options)
    places, rates = torch_walk(name, surface, start, RATES[name], **options)
    assert np.abs(places - start).max() > 1e-3, "it went somewhere"
    np.testing.assert_allclose(ours.points, places, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.rates, rates, rtol=1e-9)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", NAMES)
def test_every_method_walks_as_torch_does(name: str, surface: str) -> None:
    agree(name, surface)


@pytest.mark.parametrize("options", [{"beta": 0.5}, {"beta": 0.99, "beta2": 0.95}, {"decay": 0.1}, {"beta": 0.0}])
@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_a_method(name: str, options: dict[str, float]) -> None:
    if name == "nesterov" and options.get("beta") == 0:
        pytest.skip("torch refuses it; the next test says what it is")
    agree(name, "ravine", **options)


def test_without_memory_momentum_is_plain_descent() -> None:
    start, ways = np.array([1.0, 0.5]), ("descent", "momentum", "nesterov")
    walks = [method.walk(name, surfaces.ravine, start, rate=0.01, steps=30, beta=0.0).points for name in ways]
    np.testing.assert_array_equal(walks[0], walks[1])
    np.testing.assert_array_equal(walks[0], walks[2])


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": schedule, "warm": warm, "period": 20, "patience": 3}
        for schedule, warm in itertools.product(("constant", "step", "cosine", "plateau"), (0, 15))
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["descent", "adam", "rmsprop"])
def test_every_schedule(name: str, options: dict[str, Any]) -> None:
    agree(name, "rosenbrock", **options)


def test_the_plateau_schedule_did_fall() -> None:
    surface = surfaces.FORMULAS["ravine"]
    walk = method.walk(
        "adam", surface.slope, np.array([-2.0, 1.0]), rate=1.0, steps=STEPS, schedule="plateau", patience=3
    )
    assert walk.rates[-1] < walk.rates[0]


def test_walks_side_by_side_are_the_walks_alone() -> None:
    surface = surfaces.FORMULAS["saddle"]
    starts = surface.place(np.array([[0.1, 0.2], [-0.6, 0.9]]))
    rates = np.array([[0.01], [0.1], [0.3]])
    options: dict[str, Any] = {"steps": 40, "schedule": "plateau", "patience": 2, "warm": 5}
    together = method.walk("adam", surface.slope, starts, rate=rates, **options)
    assert together.points.shape == (41, 3, 2, 2)
    for row, column in itertools.product(range(3), range(2)):
        alone = method.walk("adam", surface.slope, starts[column], rate=float(rates[row, 0]), **options)
        np.testing.assert_allclose(together.points[:, row, column], alone.points, rtol=1e-12)
        np.testing.assert_allclose(together.rates[:, row, column], alone.rates, rtol=1e-12)


TORCH: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "bowl": lambda x, y: (x**2 + y**2) / 2,
    "ravine": lambda x, y: (x**2 + 50 * y**2) / 2,
    "rosenbrock": lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
    "saddle": lambda x, y: x**2 / 2 - y**2 / 2 + y**4 / 16 + 1,
    "beale": lambda x, y: (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2,
}


@pytest.mark.parametrize("name", surfaces.FORMULAS)
def test_a_landscape_has_the_slope_of_its_formula(name: str) -> None:
    surface = surfaces.FORMULAS[name]
    points = surface.place(np.random.default_rng(0).uniform(-1, 1, (50, 2)))
    leaves = torch.tensor(points, requires_grad=True)
    expected = TORCH[name](leaves[:, 0], leaves[:, 1])
    expected.sum().backward()
    losses, gradients = surface.slope(points)
    np.testing.assert_allclose(losses, expected.detach().numpy(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(gradients, leaves.grad.numpy(), rtol=1e-10, atol=1e-10)
    for minimum in surface.minima:
        loss, gradient = surface.slope(np.array(minimum, dtype=float))
        assert loss == pytest.approx(surface.lowest, abs=1e-12)
        assert np.abs(gradient).max() < 1e-12


def test_the_cut_has_the_slope_of_its_spline_and_a_wall_around_it() -> None:
    surface = figures.surface("digits")
    points = surface.place(np.array([[0.1, 0.2], [-0.7, 0.4], [1.3, -0.2], [-1.2, -1.4]]))
    _, gradients = surface.slope(points)
    for axis in (0, 1):
        shift = np.eye(2)[axis] * 1e-5
        difference = (surface.slope(points + shift)[0] - surface.slope(points - shift)[0]) / 2e-5
        inside = np.abs(surface.share(points)[:, axis]) < 1
        np.testing.assert_allclose(gradients[inside, axis], difference[inside], atol=1e-4)
    assert surface.slope(points * 9)[0].min() > surface.lowest


def test_the_cut_is_the_loss_of_the_stored_network() -> None:
    run = store.load(RUN)
    corners = recipe.restore(run)
    stored = run.tensors("cut.safetensors")["losses"]
    step = (recipe.GRID - 1) // (recipe.PROBES - 1)
    torch.testing.assert_close(stored[::step, ::step], recipe.losses(corners, recipe.PROBES), atol=1e-4, rtol=1e-4)


def test_a_place_and_its_share_of_the_map() -> None:
    for name in SURFACES:
        surface = figures.surface(name)
        shares = np.array([[-1, 1], [0, 0], [0.3, -0.8]], dtype=float)
        np.testing.assert_allclose(surface.share(surface.place(shares)), shares, atol=1e-12)
    assert surfaces.FORMULAS["bowl"].share(np.array([99.0, -99.0])).tolist() == [1, -1]


def test_the_last_step_was_found_by_the_script() -> None:
    last = CARD.tour[-1]
    assert recipe.find_failure() == ("beale", last.set["x"], last.set["y"], last.then["rate_a"], last.set["rate_b"])


def test_a_walk_that_blows_up_is_an_answer() -> None:
    answer = page.answer(CARD.parse({"surface": "beale", "a": "momentum", "rate_a": 0.5, "x": 1, "y": 1}))
    assert answer.numbers["loss_a"] == 1e9
    assert answer.tiles[0].value == "flew off"


def test_the_race_gives_every_method_its_best_step_size() -> None:
    table = page.answer(CARD.parse({"surface": "beale", "race": True})).table
    assert table.count("<tr") == 1 + len(NAMES)
    ends = np.array([[np.inf, np.inf, np.inf], [3.0, np.nan, 5.0], [4.0, 4.0, 4.0]])
    assert method.best_rate(ends) == 2


def test_two_epochs_lower_the_loss() -> None:
    small = recipe.Recipe(epochs=2, hidden=8)
    corners, _ = recipe.train(small, seed=1)
    images, labels = data.small_digits()
    before, after = (
        float(torch.nn.functional.cross_entropy(corners.logits(weights, images), labels))
        for weights in corners.corners[:2]
    )
    assert after < 0.8 * before


def test_a_method_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a method among"):
        method.walk("sgd", surfaces.bowl, np.zeros(2), rate=0.1, steps=1)


def test_small_and_large_losses_are_printed_to_be_read() -> None:
    assert [figures.rest(loss) for loss in (2e7, 1e-9, 0.0123, 4321.0, 3.4e-5)] == [
        "flew off", "< 10⁻⁸", "0.012", "4,321", "3.4 · 10⁻⁵",
    ]  # fmt: skip


def test_between_the_settings_a_lucky_step_lets_adam_win() -> None:
    step = CARD.tour[2]
    numbers = page.answer(CARD.parse({**step.set, "rate_a": 0.09})).numbers
    assert numbers["loss_a"] < numbers["loss_b"]
