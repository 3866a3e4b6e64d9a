"""Adversarial training: losses and distances beside hand-computed numbers, plain loops, scipy and torchmetrics."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from referees import library
from torch import Tensor

from core import data, loop
from core.topics.gan import asking, method, network, recipe, toy, walks

pytestmark = pytest.mark.usefixtures("one_thread")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


# ---- losses


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_those_of_the_papers(seed):
    real, forged = normal(7, seed=seed), normal(7, seed=seed + 10)
    x, g = real.tolist(), forged.tolist()

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    expected = {
        "non_saturating": (
            mean([-math.log(sigmoid(d)) for d in x]) + mean([-math.log(1 - sigmoid(d)) for d in g]),
            mean([-math.log(sigmoid(d)) for d in g]),
        ),
        "hinge": (mean([max(0, 1 - d) for d in x]) + mean([max(0, 1 + d) for d in g]), -mean(g)),
        "wasserstein": (mean(g) - mean(x), -mean(g)),
    }
    for name, values in expected.items():
        assert tuple(map(float, getattr(method, name)(real, forged))) == pytest.approx(values)


def test_a_sure_judge_leaves_the_generator_something_to_learn():
    """Where the judge is sure of the forgery, -log(1 - sigmoid) would be flat; the loss in use is steep."""
    score = torch.tensor([-20.0], requires_grad=True)
    method.non_saturating(torch.zeros(1), score).generator.backward()
    assert float(score.grad) == pytest.approx(-1, abs=1e-6)


def quadratic(x: Tensor) -> Tensor:
    """D(x) = sum of x^2 / 2, whose slope is x."""
    return x.flatten(1).square().sum(dim=1) / 2


def test_penalties_of_a_judge_whose_slope_is_known():
    real, forged = normal(6, 3, 4, 4), normal(6, 3, 4, 4, seed=1)
    r1 = sum(float(picture.square().sum()) for picture in real) / 6
    assert method.real_penalty(quadratic, real).item() == pytest.approx(r1)
    t = torch.rand(6, generator=generator(5))
    slow = 0.0
    for share, x, g in zip(t.double(), real, forged, strict=True):
        between = share * x + (1 - share) * g
        slow += (math.sqrt(float(between.square().sum())) - 1) ** 2 / 6
    assert method.gradient_penalty(quadratic, real, forged, generator=generator(5)).item() == pytest.approx(slow)


@pytest.mark.parametrize("which", ["gradient_penalty", "real_penalty"])
def test_penalties_derive_to_the_weights_of_the_judge(which):
    """The derivative of a derivative, beside differences of the penalty itself."""
    torch.manual_seed(0)
    judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    judge.double()
    real, forged = normal(5, 3, 2, 2), normal(5, 3, 2, 2, seed=1)

    def penalty() -> Tensor:
        if which == "real_penalty":
            return method.real_penalty(judge, real)
        return method.gradient_penalty(judge, real, forged, generator=generator())

    judge.zero_grad()
    penalty().backward()
    weight = judge[1].weight
    assert weight.grad is not None
    for place in ((0, 0), (3, 7), (7, 11)):
        step = 1e-5
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
            values.append(penalty().item())
            with torch.no_grad():
                weight[place] -= sign * step
        assert float(weight.grad[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-8)


# ---- the way between two latents


def test_an_arc_begins_and_ends_where_it_should_and_keeps_its_radius():
    start, end = normal(16), normal(16, seed=1)
    start, end = start / start.norm(), end / end.norm()
    path = method.slerp(start, end, torch.linspace(0, 1, 5, dtype=torch.float64))
    torch.testing.assert_close(path[0], start)
    torch.testing.assert_close(path[-1], end)
    torch.testing.assert_close(path.norm(dim=1), torch.ones(5, dtype=torch.float64))
    steps = (path[1:] - path[:-1]).norm(dim=1)
    torch.testing.assert_close(steps, steps[:1].expand(4), msg="equal shares are equal ways")
    by_hand = method.slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([1 / 3]))
    torch.testing.assert_close(by_hand, torch.tensor([[math.cos(math.pi / 6), math.sin(math.pi / 6)]]))


def test_ways_that_are_no_arcs():
    one = torch.tensor([3.0, 4.0])
    torch.testing.assert_close(method.slerp(one, 2 * one, torch.tensor([0.5])), 1.5 * one[None])
    with pytest.raises(ValueError, match="not opposite"):
        method.slerp(one, -one, torch.tensor([0.5]))


# ---- directions, and the way back from a picture


def test_directions_are_those_in_which_a_layer_answers_most():
    """Where y = W z the strongest directions are W's singular vectors, and a step moves y by its spread."""
    left, _ = torch.linalg.qr(normal(9, 9, seed=1))
    right, _ = torch.linalg.qr(normal(5, 5, seed=2))
    strengths = torch.tensor([5.0, 3.0, 1.0, 0.5, 0.1], dtype=torch.float64)
    weight = left[:, :5] * strengths @ right.T  # (9, 5)
    latents = normal(20_000, 5)
    found = method.directions(latents @ weight.T, latents, 2)
    for direction, expected in zip(found, right.T, strict=False):
        assert float(direction @ expected / direction.norm()) ** 2 == pytest.approx(1, abs=1e-2)
        assert float(direction.norm()) == pytest.approx(1, abs=0.03)
    activations = latents @ weight.T - (latents @ weight.T).mean(dim=0)
    axes = torch.linalg.eigh(activations.T @ activations).eigenvectors[:, -2:].flip(1)
    places = activations @ axes
    slow = torch.linalg.pinv(places) @ (latents - latents.mean(dim=0)) * places.std(dim=0)[:, None]
    torch.testing.assert_close(found * (found * slow).sum(dim=1, keepdim=True).sign(), slow)


def test_the_noise_behind_a_picture_is_found():
    torch.manual_seed(0)
    forger = torch.nn.Sequential(torch.nn.Linear(12, 40), torch.nn.Tanh(), torch.nn.Linear(40, 40)).double()
    for parameter in forger.parameters():
        parameter.requires_grad_(False)
    hidden = normal(12, seed=4)
    hidden *= 12**0.5 / hidden.norm()
    picture = forger(hidden[None])
    latents = list(
        method.projected(lambda z: (forger(z) - picture).square().mean(), normal(12, seed=5), steps=200, rate=0.1)
    )
    assert len(latents) == 200
    torch.testing.assert_close(latents[-1], hidden, atol=0.05, rtol=0)
    assert all(float(latent.norm()) == pytest.approx(12**0.5) for latent in latents)


# ---- distances between sets


@pytest.mark.parametrize("seed", range(4))
def test_frechet_agrees_with_scipy_and_torchmetrics(seed):
    linalg, fid = library("scipy.linalg"), library("torchmetrics.image.fid")
    first, second = normal(60, 12, seed=seed) @ normal(12, 12, seed=9), normal(50, 12, seed=seed + 20) + 0.3
    means = [x.mean(dim=0) for x in (first, second)]
    covs = [torch.cov(x.T) for x in (first, second)]
    root = linalg.sqrtm(covs[0].numpy() @ covs[1].numpy()).real
    expected = float((means[0] - means[1]).square().sum()) + np.trace(covs[0].numpy() + covs[1].numpy() - 2 * root)
    found = method.frechet(first, second)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found == pytest.approx(float(fid._compute_fid(means[0], covs[0], means[1], covs[1])), rel=1e-6)
    assert method.frechet(first, first) == pytest.approx(0, abs=1e-7)
    assert method.frechet(first, second) == pytest.approx(method.frechet(second, first))


def test_frechet_of_fewer_pictures_than_features():
    """Covariances without full rank have roots, too."""
    first, second = normal(10, 40), normal(10, 40, seed=1) + 1
    assert method.frechet(first, second) >= 40 * 0.2
    assert method.frechet(first, first) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_distance_is_the_unbiased_mean_of_pairs(seed):
    first, second = normal(8, 5, seed=seed), normal(6, 5, seed=seed + 10)

    def kernel(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / 5 + 1) ** 3

    def among(x: Tensor) -> float:
        pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j]
        return sum(kernel(x[i], x[j]) for i, j in pairs) / len(pairs)

    between = sum(kernel(a, b) for a in first for b in second) / (len(first) * len(second))
    assert method.kernel_distance(first, second) == pytest.approx(among(first) + among(second) - 2 * between)


def test_the_kernel_distance_agrees_with_torchmetrics():
    poly_mmd = library("torchmetrics.image.kid").poly_mmd
    first, second = normal(40, 6), normal(40, 6, seed=1) + 0.5
    assert method.kernel_distance(first, second) == pytest.approx(float(poly_mmd(first, second)), rel=1e-6)


def test_precision_and_recall_by_a_plain_loop():
    real, forged = normal(30, 3), 0.6 * normal(25, 3, seed=1) + 0.4

    def covered(places: Tensor, members: Tensor) -> float:
        hits = 0
        for place in places:
            for i, member in enumerate(members):
                others = sorted(float((member - other).norm()) for j, other in enumerate(members) if j != i)
                if float((place - member).norm()) <= others[2]:
                    hits += 1
                    break
        return hits / len(places)

    found = method.precision_recall(real, forged)
    assert found == pytest.approx((covered(forged, real), covered(real, forged)))


def test_one_good_picture_is_precise_and_covers_little():
    real = normal(200, 4)
    forged = real[:1] + 1e-4 * normal(200, 4, seed=1)
    found = method.precision_recall(real, forged)
    assert found.precision == 1
    assert found.recall < 0.05
    with pytest.raises(ValueError, match="1 to 2 neighbours, got 3"):
        method.precision_recall(real[:3], forged)


# ---- networks


def test_pictures_have_the_size_and_range_that_they_should():
    torch.manual_seed(0)
    faces = network.DCGenerator(latent=10, widths=(16, 8, 8, 4), channels=3)
    digits = network.DCGenerator(latent=10, widths=(16, 8, 4), channels=1, classes=10)
    best = network.RiseGenerator(latent=10, widths=(16, 8, 8, 4, 4))
    labels = torch.arange(4)
    for pictures, shape in (
        (faces(torch.randn(4, 10)), (4, 3, 64, 64)),
        (digits(torch.randn(4, 10), labels), (4, 1, 32, 32)),
        (best(torch.randn(4, 10)), (4, 3, 64, 64)),
    ):
        assert pictures.shape == shape
        low, high = pictures.detach().aminmax()
        assert 0 <= float(low) < float(high) <= 1


def test_judges_score_each_picture_and_see_the_class():
    torch.manual_seed(0)
    plain = network.DCDiscriminator(widths=(4, 8, 8, 16), channels=3, norm=False).eval()
    images = torch.rand(8, 3, 64, 64)
    torch.testing.assert_close(plain(images)[:2], plain(images[:2]))
    asked = network.DCDiscriminator(widths=(4, 8, 16), channels=1, norm=True, classes=10).eval()
    digits = torch.rand(2, 1, 32, 32)
    assert not torch.equal(asked(digits, torch.tensor([1, 1])), asked(digits, torch.tensor([2, 2])))


def test_the_residual_judge_sees_how_alike_a_batch_is():
    torch.manual_seed(0)
    judge = network.FallDiscriminator(widths=(4, 8, 8, 16)).eval()
    image = torch.rand(1, 3, 64, 64)
    alike, mixed = image.expand(8, -1, -1, -1), torch.cat([image, torch.rand(7, 3, 64, 64)])
    assert not torch.allclose(judge(alike)[0], judge(mixed)[0], atol=1e-6)


def test_a_judge_keeps_its_opinion_without_spectral_norm():
    torch.manual_seed(0)
    judge = network.FallDiscriminator(widths=(4, 8, 8, 16))
    images = torch.rand(8, 3, 64, 64)
    judge(images)
    free = network.judge_of(network.plain(judge))
    torch.testing.assert_close(free(images), judge.eval()(images))


def test_in_training_mode_a_face_depends_on_its_neighbours():
    torch.manual_seed(0)
    faces = network.DCGenerator(latent=10, widths=(16, 8, 8, 4), channels=3)
    latents = torch.randn(8, 10)
    with torch.no_grad():
        alone, other = faces(latents)[:1], faces(torch.cat([latents[:1], 3 * latents[1:]]))[:1]
        assert not torch.allclose(alone, other)
        torch.testing.assert_close(faces.eval()(latents)[:1], faces(latents[:1]))


@pytest.mark.parametrize("residual", [False, True])
def test_a_settled_copy_makes_what_training_mode_makes(residual):
    torch.manual_seed(0)
    forger = (
        network.RiseGenerator(latent=10, widths=(16, 8, 8, 4, 4))
        if residual
        else network.DCGenerator(latent=10, widths=(16, 8, 8, 4), channels=3)
    ).eval()
    before = {name: tensor.clone() for name, tensor in forger.state_dict().items()}
    latents = torch.randn(8, 10)
    settled = network.settled(forger, latents)
    with torch.no_grad():
        together = settled(latents)
        torch.testing.assert_close(settled(latents[:3]), together[:3])
        assert not torch.allclose(forger(latents), together)
        for name, tensor in forger.state_dict().items():
            assert torch.equal(tensor, before[name])
        torch.testing.assert_close(forger.train()(latents), together, atol=1e-5, rtol=1e-4)


# ---- training

TINY = {
    "dcgan": recipe.Recipe(latent=6, widths=(8, 8, 4, 4), judge_widths=(4, 4, 8, 8), epochs=2, batch=16),
    "best": recipe.Recipe(
        residual=True, latent=6, widths=(8, 8, 8, 4, 4), judge_widths=(4, 4, 8, 8), game="hinge", norm=False,
        real_penalty=1.0, perturb=True, mirror=True, average=0.9, epochs=2, batch=16,
    ),
    "wgan_gp": recipe.Recipe(
        latent=6, widths=(8, 8, 4, 4), judge_widths=(4, 4, 8, 8), game="wasserstein", norm=False, turns=2,
        betas=(0.0, 0.9), gradient_penalty=10.0, epochs=2, batch=16,
    ),
    "digits": recipe.Recipe(
        source="mnist", latent=6, widths=(8, 8, 4), judge_widths=(4, 8, 8), conditional=True, epochs=2, batch=16
    ),
}  # fmt: skip


def pictures(name: str, count: int = 48) -> data.Examples:
    """Something to train on where no faces are at hand: squares of random colours and places."""
    channels, side = (1, 32) if name == "digits" else (3, 64)
    images = torch.zeros(count, channels, side, side)
    rng = generator(3)
    for image in images:
        top, left = torch.randint(0, side // 2, (2,), generator=rng).tolist()
        image[:, top : top + side // 3, left : left + side // 3] = torch.rand(channels, 1, 1, generator=rng)
    return data.Examples(images, torch.arange(count) % 10, tuple("0123456789"))


@pytest.mark.parametrize("name", TINY)
def test_a_run_that_was_cut_ends_like_one_that_was_not(name, tmp_path):
    asked, examples, silent = replace(TINY[name], rate=0.02), pictures(name), lambda line: None
    whole, history = recipe.train(asked, seed=1, examples=examples, folder=tmp_path / "whole", report=silent)
    cut = tmp_path / "cut"
    recipe.train(replace(asked, epochs=1), seed=1, examples=examples, folder=cut, report=silent)
    _, late = recipe.train(asked, seed=1, examples=examples, folder=cut, budget_s=0.0, report=silent)
    assert len(late.rows) == 1
    rest, ended = recipe.train(asked, seed=1, examples=examples, folder=cut, report=silent)
    assert len(ended.rows) == len(history.rows) == 2
    for leaf, tensor in whole.state_dict().items():
        torch.testing.assert_close(rest.state_dict()[leaf], tensor, msg=leaf)
    other, _ = recipe.train(asked, seed=2, examples=examples, report=silent)
    assert not torch.equal(next(other.parameters()), next(whole.parameters()))
    sheets = loop.moments(tmp_path / "whole")["sheets"]
    assert sheets.shape == (3, recipe.JPEG_BYTES)
    assert not torch.equal(sheets[0], sheets[-1])
    assert all(math.isfinite(value) for row in history.rows for value in row.values())


def test_the_epoch_of_the_least_distance_is_kept(monkeypatch):
    """The distance is said to be 1, then 3: what is returned is what one epoch alone returns."""
    asked, examples, silent = replace(TINY["dcgan"], rate=0.02), pictures("dcgan"), lambda line: None
    told = iter((1.0, 3.0, 1.0))
    monkeypatch.setattr(method, "frechet", lambda *_: next(told))
    kept, _ = recipe.train(asked, seed=1, examples=examples, report=silent)
    first, _ = recipe.train(replace(asked, epochs=1), seed=1, examples=examples, report=silent)
    for leaf, tensor in first.state_dict().items():
        assert torch.equal(kept.state_dict()[leaf], tensor), leaf


def test_what_the_judge_sees_is_changed_and_lets_derivatives_pass():
    images = torch.rand(6, 3, 64, 64, generator=generator()).requires_grad_()
    first = recipe.perturbed(images, generator(1))
    assert first.shape == images.shape
    assert not torch.equal(first, recipe.perturbed(images, generator(2)))
    assert torch.equal(first, recipe.perturbed(images, generator(1)))
    blank = (first == 0.5).all(dim=1).float().mean(dim=(1, 2))
    assert bool((blank > 0.05).all() and (blank < 0.5).all())
    first.sum().backward()
    assert bool((images.grad.flatten(1) != 0).float().mean(dim=1).gt(0.4).all())


def test_every_tenth_face_is_held_out():
    kept = asking.is_held_out(10_000)
    assert int(kept.sum()) == 1_000
    assert torch.nonzero(kept)[:3, 0].tolist() == [9, 19, 29]


def test_a_generator_learns_what_is_bright():
    """Real pictures are bright above and dark below, with some noise; sixty steps are enough to forge that."""
    images = torch.zeros(64, 1, 32, 32)
    images[:, :, :16] = 1
    images = (images + 0.05 * torch.randn(images.shape, generator=generator())).clamp(0, 1)
    asked = recipe.Recipe(
        source="mnist", latent=4, widths=(16, 16, 8), judge_widths=(8, 16, 16), rate=5e-3, judge_rate=1e-3, epochs=15,
        batch=16,
    )  # fmt: skip
    examples = data.Examples(images, torch.zeros(64, dtype=torch.long), ("half",))
    forger, _ = recipe.train(asked, seed=0, examples=examples, report=lambda line: None)
    forged = recipe.sampled(forger, 64, seed=1)
    assert float((forged - images.mean(dim=0)).abs().mean()) < 0.1


def test_scores_tell_real_pictures_from_noise(monkeypatch):
    """The generator of this test hands out real pictures, or noise; the sets are random features' stand-ins."""
    real = torch.rand(200, 8, generator=generator())
    monkeypatch.setattr(recipe, "COMPARED", 80)
    monkeypatch.setattr(recipe, "features", lambda images: images.flatten(1)[:, :8])
    ends = {
        "first": real[:80],
        "second": real[80:160],
        "blurred": 0.5 * real[80:160] + 0.25,
        "noise": 3 * torch.rand(80, 8, generator=generator(1)),
        "training": real[:160],
        "held_out": real[160:],
    }
    monkeypatch.setattr(recipe, "sets", lambda source: ends)

    class Forger(torch.nn.Module):
        latent, source, classes, reach = 4, "anime_faces", 0, 1.0

        def __init__(self) -> None:
            super().__init__()
            self.place = torch.nn.Parameter(torch.zeros(1))

        def forward(self, latents: Tensor) -> Tensor:
            return torch.rand(len(latents), 1, 2, 4, generator=generator(7)) * self.reach

    forger = Forger().eval()
    good = recipe.evaluate(forger, seed=0)
    forger.reach = 3.0
    bad = recipe.evaluate(forger, seed=0)
    assert good["frechet_floor"] < good["frechet_blurred"] < good["frechet_noise"]
    assert good["frechet"] < good["frechet_blurred"] < bad["frechet"]
    assert good["precision"] > 0.8 > 0.3 > bad["precision"]
    assert bad["nearest"] > 1.5 * good["nearest_held_out"]
    assert good.keys() == bad.keys() >= {"kernel_together", "recall_together"}


def test_an_independent_network_reads_what_was_asked_for():
    """Real digits in the place of forged ones: nine in ten and more are read as what they are."""
    digits = data.digits()
    places = [int(torch.nonzero(digits.labels == n % 10)[n // 10, 0]) for n in range(200)]
    forged = torch.nn.functional.pad(digits.images[places], (2,) * 4)

    class Forger:
        classes = 10

    found = recipe.read(forged, Forger())
    assert found["agreed"] > 0.9
    assert found["modes"] == 10
    empty = recipe.read(torch.zeros(50, 1, 32, 32), Forger())
    assert empty["modes"] == 1
    assert empty["rarest"] == 0


@pytest.mark.parametrize("name", ["dcgan", "best", "digits"])
def test_what_travels_with_the_weights(name, monkeypatch):
    torch.manual_seed(0)
    asked = TINY[name]
    forger = recipe.forger(asked).eval()
    forger.judged_by = network.plain(recipe.judge(asked)) if asked.residual else {}
    ends = {"training": torch.rand(40, 8, generator=generator()), "held_out": torch.rand(20, 8, generator=generator(1))}
    monkeypatch.setattr(recipe, "sets", lambda source: ends)
    monkeypatch.setattr(recipe, "features", lambda images: images.flatten(1)[:, :8])
    monkeypatch.setattr(recipe, "strangers", lambda side: torch.rand(2, 3, side, side, generator=generator(2)))
    files = recipe.companions(forger)
    expected = files["expected.safetensors"]
    with torch.no_grad():
        torch.testing.assert_close(forger(expected["input"]), expected["output"])
    assert files["directions.safetensors"]["directions"].shape == (recipe.DIRECTIONS, 6)
    assert files["nearest.safetensors"]["forged"].shape == (recipe.UNKNOWN,)
    assert ("judge.safetensors" in files) == asked.residual
    if asked.residual:
        kept = files["training.safetensors"]
        torch.testing.assert_close(kept["features"] * kept["scale"], ends["training"], atol=0.003, rtol=0)
        found = files["photos.safetensors"]
        assert found["latents"].shape == (2, 6)
        assert found["curves"].shape == (2, asking.STEPS)
        assert (found["curves"][:, -1] < found["curves"][:, 0]).all()


@pytest.mark.parametrize("name", ["dcgan", "best", "digits"])
def test_the_first_layer_is_what_it_says(name):
    torch.manual_seed(0)
    forger = recipe.forger(TINY[name]).eval()
    latents, heard = torch.randn(3, 6), []
    layer = forger.begin if name == "best" else forger.begin[0]
    layer.register_forward_hook(lambda module, inputs, output: heard.append(output.flatten(1)))
    with torch.no_grad():
        forger(latents, *([torch.zeros(3, dtype=torch.long)] if name == "digits" else []))
    found = recipe.first_layer(forger, latents)
    torch.testing.assert_close(found - found[0], heard[0] - heard[0][0], atol=1e-5, rtol=1e-4)


# ---- sheets and ways


def test_a_sheet_is_its_seed_s():
    sheet = walks.sheet(5, 3)
    assert torch.equal(sheet, walks.sheet(5, 3))
    assert not torch.equal(sheet, walks.sheet(5, 4))
    torch.testing.assert_close(walks.sheet(5, 3, truncation=0.5), sheet / 2)
    other = walks.with_neighbours(sheet, 7, walks.sheet(5, 9))
    assert (other == sheet).all(dim=1).nonzero().flatten().tolist() == [7]


def test_a_walk_passes_its_stops_in_equal_times():
    stops = walks.sheet(12, 0)[:3]
    path = walks.along(stops, torch.tensor([0.0, 0.25, 0.5, 1.0]))
    torch.testing.assert_close(path[[0, 2, 3]], stops)
    torch.testing.assert_close(path[1], method.slerp(stops[0], stops[1], torch.tensor([0.5]))[0])


def test_steps_and_sums_of_noise():
    latent, directions = torch.tensor([3.0, 4.0]), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    torch.testing.assert_close(walks.moved(latent, directions, [0.5, -1.0]), torch.tensor([3.5, 2.0]))
    torch.testing.assert_close(walks.moved(latent, directions, [2.0]), torch.tensor([5.0, 4.0]))
    sum_of = walks.combined(latent, torch.tensor([3.0, 0.0]), torch.tensor([0.0, -2.0]))
    torch.testing.assert_close(sum_of, torch.tensor([0.0, 5.0]))


# ---- what the page asks


def test_pictures_are_unlike_by_a_plain_loop():
    first, second = torch.rand(2, 1, 3, 16, 16, generator=generator())
    total = 0.0
    for scale in asking.SCALES:
        parts = []
        for channel in range(3):
            for top in range(0, 16, scale):
                for left in range(0, 16, scale):
                    square = (0, channel, slice(top, top + scale), slice(left, left + scale))
                    parts.append(float(first[square].mean() - second[square].mean()) ** 2)
        total += sum(parts) / len(parts) / len(asking.SCALES)
    assert float(asking.unlike(first, second)) == pytest.approx(total, rel=1e-4)
    assert float(asking.unlike(first, first)) == 0


def test_the_nearest_are_those_of_a_plain_loop():
    own, training = torch.rand(7, 5, generator=generator()), torch.rand(30, 5, generator=generator(1))
    found = asking.nearest(own, training, count=2)
    for row, picture in enumerate(own):
        apart = sorted((float((picture - other).norm()), place) for place, other in enumerate(training))
        assert found.place[row].tolist() == [place for _, place in apart[:2]]
        assert found.distance[row].tolist() == pytest.approx([far for far, _ in apart[:2]], abs=1e-3)


def test_the_best_score_has_rank_one():
    assert asking.ranks(torch.tensor([0.1, 3.0, -2.0])).tolist() == [2, 1, 3]


def test_a_way_back_ends_nearer_and_leaves_the_generator_alone():
    torch.manual_seed(0)
    forger = network.RiseGenerator(latent=10, widths=(8, 8, 8, 4, 4)).eval().requires_grad_(False)
    weights = network.plain(network.FallDiscriminator(widths=(4, 4, 8, 8)))
    before = {name: tensor.clone() for name, tensor in forger.state_dict().items()}
    with torch.inference_mode():
        picture = torch.rand(3, 64, 64, generator=generator())
        judge = network.judge_of(weights)  # gradients have to pass although it is made here
        way = list(asking.way_back(forger, judge, picture))
    assert len(way) == asking.STEPS
    assert way[-1][1] < way[0][1]
    assert way[-1][1] == pytest.approx(float(asking.unlike(forger(way[-2][0][None]), picture[None])), rel=1e-4)
    for name, tensor in forger.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in [*forger.parameters(), *judge.parameters()])


def test_on_the_way_back_the_judge_has_a_say():
    class Forger:
        latent = 10

        def __call__(self, latents):
            return latents[:, :3, None, None].sigmoid().expand(-1, -1, 64, 64)

    def brightness(judge):
        *_, (latent, _) = asking.way_back(Forger(), judge, torch.full((3, 64, 64), 0.5))
        return float(Forger()(latent[None]).mean())

    neutral = brightness(lambda images: 0 * images.mean(dim=(1, 2, 3)))
    assert neutral == pytest.approx(0.5, abs=0.02)
    assert brightness(lambda images: -5 * images.mean(dim=(1, 2, 3))) < neutral - 0.05


# ---- players in the plane

FAIR, UNEQUAL = toy.Setting(False, 1e-3, 1e-3, 1), toy.Setting(False, 5e-3, 5e-4, 1)


def test_arrows_point_where_the_score_rises():
    game = toy.Game(toy.ring, FAIR, seed=0)
    for _ in range(20):
        game.round()
    look = game.look()
    for place in range(5):
        for axis in range(2):
            step = torch.zeros(2)
            step[axis] = 1e-3
            with torch.no_grad():
                rise = game.score(look.forged[None, place] + step) - game.score(look.forged[None, place] - step)
            assert float(rise) / 2e-3 == pytest.approx(float(look.arrows[place, axis]), abs=2e-2)


def test_looking_changes_nothing_and_a_seed_is_a_game():
    first, second = (toy.Game(toy.moons, toy.Setting(True, 1e-3, 1e-3, 3), seed=4) for _ in range(2))
    for _ in range(5):
        first.look()
        first.round()
        second.round()
    assert torch.equal(first.look().forged, second.look().forged)
    assert first.losses == second.losses
    other = toy.Game(toy.moons, FAIR, seed=5)
    assert not torch.equal(other.look().forged, first.look().forged)


def test_a_step_of_one_player_leaves_the_other_alone():
    game = toy.Game(toy.ring, FAIR, seed=0)
    for step, own, other in (("judge_step", "judge", "generator"), ("generator_step", "generator", "judge")):
        before = {name: [p.clone() for p in getattr(game, name).parameters()] for name in (own, other)}
        getattr(game, step)()
        assert all(torch.equal(p, q) for p, q in zip(before[other], getattr(game, other).parameters(), strict=True))
        assert not all(torch.equal(p, q) for p, q in zip(before[own], getattr(game, own).parameters(), strict=True))


def test_the_field_has_its_corners_where_the_picture_has_them():
    game = toy.Game(toy.ring, FAIR, seed=0)
    look = game.look()
    with torch.no_grad():
        corner = game.score(torch.tensor([[toy.REACH, -toy.REACH]]))
    assert float(look.field[0, -1]) == pytest.approx(float(corner), abs=1e-5)


def test_points_of_a_visitor_are_what_is_imitated():
    own = torch.tensor([[1.0, 1.0], [-1.0, 0.5]])
    drawn = toy.around(own)(500, generator())
    assert float(torch.cdist(drawn, own).amin(dim=1).max()) < 0.25


@pytest.mark.parametrize(("setting", "low", "high"), [(FAIR, 6, 8), (UNEQUAL, 0, 3)], ids=["fair", "unequal"])
def test_heaps_are_found_at_equal_rates_and_lost_at_unequal_ones(setting, low, high):
    game = toy.Game(toy.ring, setting, seed=1)
    for _ in range(900):
        game.round()
    assert low <= toy.covered(game.look().forged) <= high


def test_heaps_that_are_hit_are_counted():
    angle = torch.arange(3) * (torch.pi / 4)
    three = torch.stack([angle.cos(), angle.sin()], dim=1).repeat(20, 1)
    assert toy.covered(three) == 3
    assert toy.covered(torch.zeros(50, 2)) == 0
