"""Maps of where a network looked: each against a slow twin in float64, what it promises, and the field's libraries."""

import copy
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
import torch.nn.functional as F
from referees import library
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from core import nets
from core.topics.cam import checks, method

pytestmark = pytest.mark.usefixtures("one_thread")

# A referee in float64 agrees to rounding; finite differences lose half of the digits.
EXACT = {"rtol": 1e-9, "atol": 1e-11}
DIFFERENCES = {"rtol": 1e-5, "atol": 1e-7}
# grad-cam computes in float32 and adds 1e-7 to the largest value before it divides.
FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}

STAGES = nets.ResNet.stages


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, eval, frozen, with norms that do something: fresh ones pass everything on, or nothing."""
    draw = generator(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low in ((module.weight, 0.5), (module.bias, -0.5), (module.running_mean, -0.5)):
                values.data.uniform_(low, low + 1, generator=draw)
            module.running_var.uniform_(0.5, 1.5, generator=draw)
    return network.double().eval().requires_grad_(False)


def untrained(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return lively(make(), seed)


def small(seed: int = 0) -> nets.ResNet:
    return untrained(lambda: nets.ResNet(classes=5, widths=(8, 12, 16), blocks=(1, 1, 1)), seed)


class Plain(nets.Staged):
    """Two convolutions with a rectifier each, and a classifier: small enough to go back through by hand."""

    stages = ("first", "second")

    def __init__(self, rectifier: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), rectifier())
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), rectifier())
        self.classifier = nn.Linear(6, 5)

    def classify(self, features: Tensor) -> Tensor:
        return self.classifier(features.mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def network() -> nets.ResNet:
    return small()


def pictures(count: int = 2, size: int = 16, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, size, size, generator=generator(seed), dtype=torch.float64)


LABELS = torch.tensor([3, 1])
CLASS = F.one_hot(LABELS, 5).double()
DIFFERENCE = CLASS - F.one_hot(torch.tensor([0, 4]), 5)
TARGETS = pytest.mark.parametrize("target", [CLASS, DIFFERENCE], ids=["class", "difference"])
BY_STAGE = pytest.mark.parametrize("stage", STAGES)

# Every method with options that exercise it, called alike.
EVERY: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "gradient": method.gradient,
    "gradient_times_input": method.gradient_times_input,
    "smooth_grad": lambda n, x, t: method.smooth_grad(n, x, t, samples=3, sigma=0.2, generator=generator(7)),
    "integrated_gradients": lambda n, x, t: method.integrated_gradients(n, x, t, steps=5),
    "guided_backpropagation": method.guided_backpropagation,
    "class_activation_map": method.class_activation_map,
    "grad_cam": lambda n, x, t: method.grad_cam(n, x, t, stage=n.stages[1]),
    "grad_cam_plus_plus": lambda n, x, t: method.grad_cam_plus_plus(n, x, t, stage=n.stages[1]),
    "layer_cam": lambda n, x, t: method.layer_cam(n, x, t, stage=n.stages[1]),
    "ablation_cam": lambda n, x, t: method.ablation_cam(n, x, t, stage=n.stages[1]),
    "occlusion": lambda n, x, t: method.occlusion(n, x, t, size=5, stride=3),
}
EACH = pytest.mark.parametrize("explain", EVERY.values(), ids=EVERY.keys())
ASK_TWICE = [EVERY[name] for name in ("smooth_grad", "integrated_gradients", "ablation_cam", "occlusion")]
USES_HEAD = pytest.mark.parametrize("explain", [EVERY[name] for name in EVERY if name != "class_activation_map"])


# --- the slow twins


def slow_score(network: nn.Module, image: Tensor, target: Tensor) -> float:
    logits = network(image[None])[0].tolist()
    return sum(t * logit for t, logit in zip(target.tolist(), logits, strict=True))


def slow_derivative(run: Callable[[Tensor], Tensor], start: Tensor, target: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences for one picture or its features, (C, H, W)."""
    moves = step * torch.eye(start.numel(), dtype=start.dtype).view(-1, *start.shape)
    rise = run(start + moves) - run(start - moves)  # (C * H * W, K)
    return (rise @ target / (2 * step)).view(start.shape)


def slow_gradients(network: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    return torch.stack([slow_derivative(network, *one) for one in zip(images, target, strict=True)])


def slow_slopes(network: nn.Module, features: Tensor, target: Tensor, stage: str) -> Tensor:
    def head(values: Tensor) -> Tensor:
        return network.head(values, stage)

    return torch.stack([slow_derivative(head, *one) for one in zip(features, target, strict=True)])


def slow_strongest(gradients: Tensor) -> Tensor:
    return torch.tensor(np.abs(gradients.numpy()).max(axis=1))


def slow_weighted(weights: list[list[float]], features: Tensor) -> Tensor:
    batch, channels, height, width = features.shape
    result = torch.zeros(batch, height, width, dtype=features.dtype)
    for b, c, i, j in itertools.product(range(batch), range(channels), range(height), range(width)):
        result[b, i, j] += weights[b][c] * features[b, c, i, j]
    return result


@TARGETS
def test_gradient_is_the_slope_of_the_score(network, target):
    images = pictures(size=8)
    slow = slow_gradients(network, images, target)
    torch.testing.assert_close(method.gradient(network, images, target), slow_strongest(slow), **DIFFERENCES)
    product = (slow * images).sum(dim=1)
    torch.testing.assert_close(method.gradient_times_input(network, images, target), product, **DIFFERENCES)


@pytest.mark.parametrize("kind", ["mean", "squared", "variance"])
def test_smooth_grad_is_the_average_over_noisy_copies(network, kind):
    images = pictures(size=8) * torch.tensor([1, 0.3])[:, None, None, None]
    draws = generator(5)
    noises = [torch.randn(3, 8, 8, generator=draws, dtype=torch.float64) for _ in range(4)]
    slow = []
    for noise in noises:
        noisy = torch.stack([image + 0.2 * (image.max() - image.min()) * noise for image in images])
        slow.append(slow_gradients(network, noisy, CLASS).numpy())
    expected = {
        "mean": np.mean(slow, axis=0),
        "squared": np.mean(np.square(slow), axis=0),
        "variance": np.var(slow, axis=0),
    }
    found = method.smooth_grad(network, images, CLASS, samples=4, sigma=0.2, generator=generator(5), kind=kind)
    torch.testing.assert_close(found, slow_strongest(torch.tensor(expected[kind])), **DIFFERENCES)


def test_one_sample_without_noise_is_the_plain_gradient(network):
    images = pictures()
    plain = method.gradient(network, images, CLASS)
    assert torch.equal(method.smooth_grad(network, images, CLASS, samples=1, sigma=0, generator=generator()), plain)
    options = {"samples": 1, "sigma": 0.5, "generator": generator()}
    assert not method.smooth_grad(network, images, CLASS, **options, kind="variance").any()


def test_small_variances_survive_float32(network):
    single, images = copy.deepcopy(network).float(), pictures(1).float()
    options = {"samples": 9, "sigma": 1e-5, "kind": "variance"}
    precise = method.smooth_grad(network, images.double(), CLASS[:1], generator=generator(), **options)
    found = method.smooth_grad(single, images, CLASS[:1].float(), generator=generator(), **options)
    assert precise.max() < 1e-4
    assert found.max() < 1e-4


def test_integrated_gradients_sum_up_the_way(network):
    images = pictures(size=8)
    slow = sum(slow_gradients(network, place * images, DIFFERENCE) / 3 for place in (1 / 6, 3 / 6, 5 / 6))
    found = method.integrated_gradients(network, images, DIFFERENCE, steps=3)
    torch.testing.assert_close(found, (images * slow).sum(dim=1), **DIFFERENCES)


def test_integrated_gradients_are_complete(network):
    images = pictures()
    gain = ((network(images) - network(torch.zeros_like(images))) * DIFFERENCE).sum(dim=1)
    errors = []
    for steps in (4, 400):
        found = method.integrated_gradients(network, images, DIFFERENCE, steps=steps)
        errors.append((found.sum(dim=(1, 2)) - gain).abs().max().item())
    assert errors[1] < min(1e-3 * gain.abs().max().item(), errors[0])


def test_guided_backpropagation_by_hand():
    network, images = untrained(Plain), pictures(size=8)
    first = F.conv2d(images, network.first[0].weight, network.first[0].bias, padding=1)
    second = F.conv2d(first.relu(), network.second[0].weight, network.second[0].bias, padding=1)
    back = (DIFFERENCE @ network.classifier.weight)[:, :, None, None].expand_as(second) / 64
    back = back.clamp_min(0) * (second > 0)
    back = F.conv_transpose2d(back, network.second[0].weight, padding=1).clamp_min(0) * (first > 0)
    back = F.conv_transpose2d(back, network.first[0].weight, padding=1)
    found = method.guided_backpropagation(network, images, DIFFERENCE)
    torch.testing.assert_close(found, slow_strongest(back), **EXACT)
    assert not torch.allclose(found, method.gradient(network, images, DIFFERENCE))


class Rectifier(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        return self.function(values)


RECTIFIERS = [
    F.relu,
    lambda x: F.relu(x, inplace=True),
    F.relu_,
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
    F.relu6,
    nn.ReLU6(),
    nn.ReLU6(inplace=True),
    lambda x: torch.clamp(x, 0, 6),
    lambda x: torch.clamp(x, min=0),
    lambda x: x.clamp(min=0, max=6),
    lambda x: x.clamp_min(0),
    lambda x: F.hardtanh(x, min_val=0, max_val=6),
]


@pytest.mark.parametrize("function", RECTIFIERS)
def test_every_spelling_of_a_rectifier_is_guided(function):
    expected = method.guided_backpropagation(untrained(Plain), pictures(size=8), DIFFERENCE)
    network = untrained(lambda: Plain(lambda: Rectifier(function)))
    assert torch.equal(method.guided_backpropagation(network, pictures(size=8), DIFFERENCE), expected)


@pytest.mark.parametrize("function", [nn.GELU(), nn.LeakyReLU(), nn.Hardtanh(), lambda x: x.clamp(-1, 1)])
def test_other_functions_are_left_alone(function):
    network = untrained(lambda: Plain(lambda: Rectifier(function)))
    plain = method.gradient(network, pictures(size=8), DIFFERENCE)
    assert torch.equal(method.guided_backpropagation(network, pictures(size=8), DIFFERENCE), plain)


@TARGETS
def test_class_activation_map_weighs_channels_as_the_classifier_does(network, target):
    images = pictures()
    found = method.class_activation_map(network, images, target)
    weights = [
        [sum(t * w for t, w in zip(row, column, strict=True)) for column in network.classifier.weight.T.tolist()]
        for row in target.tolist()
    ]
    torch.testing.assert_close(found, slow_weighted(weights, network.features(images)), **EXACT)
    scores = found.mean(dim=(1, 2)) + target @ network.classifier.bias
    torch.testing.assert_close(scores, (network(images) * target).sum(dim=1), **EXACT)


@TARGETS
def test_grad_cam_of_the_last_stage_is_the_positive_part_of_cam(network, target):
    images = pictures(size=64)
    cam = method.class_activation_map(network, images, target)
    for stage in (None, "stage3"):
        found = method.grad_cam(network, images, target, stage=stage)
        torch.testing.assert_close(found * (8 * 8), cam.clamp_min(0), **EXACT)


@BY_STAGE
@TARGETS
def test_maps_from_features_and_slopes(network, stage, target):
    images = pictures(size=8)
    features = network.features(images, stage)
    slopes = slow_slopes(network, features, target, stage)
    batch, channels = features.shape[:2]
    rows = range(batch)

    mean = [[sum(slope.flatten().tolist()) / slope.numel() for slope in slopes[b]] for b in rows]
    plus = [[0.0] * channels for _ in rows]
    for b, c in itertools.product(rows, range(channels)):
        mass = sum(features[b, c].flatten().tolist())
        for g in slopes[b, c].flatten().tolist():
            below = 2 * g**2 + mass * g**3
            plus[b][c] += (g**2 / below if below else 0) * max(g, 0)
    expected = {
        method.grad_cam: slow_weighted(mean, features),
        method.grad_cam_plus_plus: slow_weighted(plus, features),
        method.layer_cam: sum(slopes[:, c].clamp_min(0) * features[:, c] for c in range(channels)),
    }
    for explain, slow in expected.items():
        found = explain(network, images, target, stage=stage)
        torch.testing.assert_close(found, slow.clamp_min(0), **DIFFERENCES, msg=explain.__name__)


@BY_STAGE
@TARGETS
def test_ablation_cam_leaves_out_channel_after_channel(network, stage, target, monkeypatch):
    monkeypatch.setattr(method, "FEATURE_NUMBERS", 5000)  # several parts, the last one shorter
    images = pictures()
    features = network.features(images, stage)
    weights = []
    for b, image in enumerate(images):
        row = []
        for c in range(features.shape[1]):
            without = features[b : b + 1].clone()
            without[:, c] = 0
            left = network.head(without, stage)[0] @ target[b]
            row.append(slow_score(network, image, target[b]) - float(left))
        weights.append(row)
    found = method.ablation_cam(network, images, target, stage=stage)
    torch.testing.assert_close(found, slow_weighted(weights, features).clamp_min(0), **EXACT)


@pytest.mark.parametrize(("size", "stride"), [(5, 3), (4, 4), (6, 6), (16, 1)])
@pytest.mark.parametrize("fill", [0.5, 1 - pictures()], ids=["grey", "picture"])
def test_occlusion_covers_patch_after_patch(network, size, stride, fill):
    images = pictures()
    total, count = torch.zeros(2, 16, 16, dtype=torch.float64), torch.zeros(16, 16)
    for top, left in itertools.product(range(0, 16 - size + stride, stride), repeat=2):
        patch = slice(top, min(16, top + size)), slice(left, min(16, left + size))
        count[patch] += 1
        for b in range(2):
            covered = images[b].clone()
            covered[:, *patch] = fill if isinstance(fill, float) else fill[b][:, *patch]
            drop = slow_score(network, images[b], CLASS[b]) - slow_score(network, covered, CLASS[b])
            total[b][patch] += drop
    found = method.occlusion(network, images, CLASS, size=size, stride=stride, fill=fill)
    torch.testing.assert_close(found, total / count, **EXACT)


def test_edges_are_sobels():
    images = pictures(size=9)
    grey = images.mean(dim=1).numpy()
    slow = [np.hypot(*(scipy.ndimage.sobel(one, axis=axis, mode="nearest") / 8 for axis in (0, 1))) for one in grey]
    torch.testing.assert_close(method.edges(images), torch.tensor(np.stack(slow)), **EXACT)
    ramp = torch.arange(8.0).expand(1, 3, 8, 8)
    assert method.edges(ramp)[0, 4].tolist() == [0.5, 1, 1, 1, 1, 1, 1, 0.5]  # the border has a step on one side only


def test_a_network_small_enough_for_a_pencil():
    """Logits: relu(x), and 0, for a single pixel of a single channel; so s = x where x > 0."""

    class Pencil(nets.Staged):
        stages = ("only",)

        def __init__(self) -> None:
            super().__init__()
            self.only = nn.ReLU()
            self.classifier = nn.Linear(1, 2, bias=False)
            self.classifier.weight.data = torch.tensor([[2.0], [-3.0]])
            self.requires_grad_(False)

        def classify(self, features: Tensor) -> Tensor:
            return self.classifier(features.mean(dim=(2, 3)))

    pencil, image = Pencil(), torch.tensor([[[[0.5, 1.0]]]])
    first, second = torch.tensor([[1.0, 0]]), torch.tensor([[0, 1.0]])
    # s = 2 (0.5 + 1) / 2 for the first class, and -3 (0.5 + 1) / 2 for the second
    assert method.gradient(pencil, image, first).tolist() == [[[1, 1]]]
    assert method.gradient(pencil, image, second).tolist() == [[[1.5, 1.5]]]
    assert method.guided_backpropagation(pencil, image, second).tolist() == [[[0, 0]]]
    assert method.gradient_times_input(pencil, image, second).tolist() == [[[-0.75, -1.5]]]
    assert method.integrated_gradients(pencil, image, second, steps=3).tolist() == [[[-0.75, -1.5]]]
    assert method.class_activation_map(pencil, image, second).tolist() == [[[-1.5, -3]]]
    assert method.grad_cam(pencil, image, first).tolist() == [[[0.5, 1]]]
    assert method.grad_cam(pencil, image, second).tolist() == [[[0, 0]]]
    assert method.layer_cam(pencil, image, first).tolist() == [[[0.5, 1]]]
    assert method.ablation_cam(pencil, image, first).tolist() == [[[0.75, 1.5]]]
    # alpha = 1 / (2 + 1 * 1.5), twice
    torch.testing.assert_close(method.grad_cam_plus_plus(pencil, image, first), image[0] * 2 / 3.5)
    assert method.occlusion(pencil, image, first, size=1, stride=1, fill=0).tolist() == [[[0.5, 1]]]


# --- what all of them promise


@EACH
def test_no_answer_depends_on_the_other_pictures_nor_on_how_many_fit_in_a_pass(network, explain, monkeypatch):
    images = pictures()
    together = explain(network, images, DIFFERENCE)
    for b in range(2):
        alone = explain(network, images[b : b + 1], DIFFERENCE[b : b + 1])
        torch.testing.assert_close(alone[0], together[b], **EXACT)
    for numbers in (1, 2000):
        monkeypatch.setattr(method, "PICTURE_NUMBERS", numbers)
        monkeypatch.setattr(method, "FEATURE_NUMBERS", numbers)
        torch.testing.assert_close(explain(network, images, DIFFERENCE), together, **EXACT)


@EACH
def test_maps_are_plain_tensors_also_in_inference_mode(network, explain):
    expected = explain(network, pictures(), CLASS)
    assert not expected.requires_grad
    assert not expected.is_inference()
    with torch.no_grad():
        assert torch.equal(explain(network, pictures(), CLASS), expected)
    with torch.inference_mode():
        assert torch.equal(explain(network, pictures() + 0, CLASS + 0), expected)
    # A network that still learns is not frozen; its gradients are none of our business.
    learner = copy.deepcopy(network).requires_grad_()
    torch.testing.assert_close(explain(learner, pictures().requires_grad_(), CLASS), expected, **EXACT)
    assert all(weight.grad is None for weight in learner.parameters())


@EACH
def test_oblong_pictures_have_oblong_maps(network, explain):
    images = torch.rand(1, 3, 16, 32, dtype=torch.float64, generator=generator(3))
    found = explain(network, images, CLASS[:1])
    assert found.shape[2] == 2 * found.shape[1]
    assert found.isfinite().all()


def state(network: nn.Module) -> list[object]:
    """Everything that a careless method could leave behind, in the network or in the thread."""
    hooks = [
        (name, attribute, len(hooked))
        for name, module in network.named_modules()
        for attribute, hooked in vars(module).items()
        if "hook" in attribute and isinstance(hooked, dict)
    ]
    weights = [(name, value.tolist()) for name, value in network.state_dict(keep_vars=True).items()]
    flags = [
        (name, weight.requires_grad, weight.grad, weight._backward_hooks) for name, weight in network.named_parameters()
    ]
    modes = [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), len(_get_current_function_mode_stack())]
    training = [module.training for module in network.modules()]
    return [hooks, weights, flags, modes, training, list(vars(network)), torch.get_rng_state().tolist()]


@EACH
def test_nothing_is_left_behind(network, explain):
    images, target = pictures(), CLASS.clone()
    before = state(network)
    explain(network, images, target)
    assert state(network) == before
    assert torch.equal(images, pictures())
    assert torch.equal(target, CLASS)
    assert not images.requires_grad
    assert not target.requires_grad


@USES_HEAD
@pytest.mark.parametrize("good_calls", [0, 1])
def test_nothing_is_left_behind_by_a_head_that_fails(explain, good_calls, monkeypatch):
    network = small()
    before = state(network)
    calls = itertools.count()

    def failing(features: Tensor) -> Tensor:
        if next(calls) >= good_calls:
            raise RuntimeError("a head that fails")
        return nets.ResNet.classify(network, features)

    monkeypatch.setattr(method, "PICTURE_NUMBERS", 1)
    with monkeypatch.context() as patched:
        patched.setattr(network, "classify", failing)
        failure = pytest.raises(RuntimeError, match="a head that fails")
        with failure if good_calls == 0 or explain in ASK_TWICE else nullcontext():
            explain(network, pictures(), CLASS)
    assert state(network) == before
    plain = method.gradient(network, pictures(), CLASS)
    assert torch.equal(plain, method.gradient(small(), pictures(), CLASS))


def test_threads_share_one_network(network):
    """Eleven methods at once, guided backpropagation beside plain gradients among them, answer as one by one."""
    alone = {name: explain(network, pictures(), CLASS) for name, explain in EVERY.items()}
    start = threading.Barrier(len(EVERY))

    def repeat(name: str) -> bool:
        start.wait()
        return all(torch.equal(EVERY[name](network, pictures(), CLASS), alone[name]) for _ in range(5))

    with ThreadPoolExecutor(len(EVERY)) as pool:
        assert all(pool.map(repeat, EVERY))


def test_a_guided_thread_guides_no_other(network):
    plain = method.gradient(network, pictures(), CLASS)
    with method.guided_rectifiers(), ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(method.gradient, network, pictures(), CLASS).result()
        here = method.gradient(network, pictures(), CLASS)
    assert torch.equal(elsewhere, plain)
    assert torch.equal(here, method.guided_backpropagation(network, pictures(), CLASS))
    assert not torch.allclose(here, plain)
    assert torch.equal(method.gradient(network, pictures(), CLASS), plain)


def test_the_generator_decides(network):
    def drawn(seed: int) -> Tensor:
        return method.smooth_grad(network, pictures(), CLASS, samples=2, sigma=0.1, generator=generator(seed))

    first = drawn(3)
    assert torch.equal(drawn(3), first)
    assert not torch.equal(drawn(4), first)


@EACH
def test_a_target_that_does_not_fit_is_refused(network, explain):
    for target in (CLASS[:1], CLASS[:, :4], CLASS[:, :1]):
        with pytest.raises(ValueError, match="expected a target of"):
            explain(network, pictures(), target)


@pytest.mark.parametrize(
    ("explain", "options", "message"),
    [
        (method.smooth_grad, {"samples": 0, "sigma": 0.1, "generator": generator()}, "samples >= 1"),
        (method.smooth_grad, {"samples": 1, "sigma": -0.1, "generator": generator()}, "sigma >= 0"),
        (method.smooth_grad, {"samples": 1, "sigma": 0, "generator": generator(), "kind": "median"}, "'median'"),
        (method.integrated_gradients, {"steps": 0}, "steps >= 1"),
        (method.occlusion, {"size": 3, "stride": 4}, "stride 4 and size 3"),
        (method.occlusion, {"size": 17, "stride": 4}, "size <= 16"),
        (method.occlusion, {"size": 4, "stride": 0}, "1 <= stride"),
        (method.grad_cam, {"stage": "stage9"}, "expected a stage"),
        (method.ablation_cam, {"stage": "stage9"}, "expected a stage"),
    ],
)
def test_options_out_of_range_are_refused(network, explain, options, message):
    with pytest.raises(ValueError, match=message):
        explain(network, pictures(), CLASS, **options)


# --- the field's libraries


def test_captum_agrees_on_gradients(network):
    attr, images, labels = library("captum.attr"), pictures(), LABELS
    asked = images.clone().requires_grad_()
    saliency = attr.Saliency(network).attribute(asked, target=labels)
    torch.testing.assert_close(method.gradient(network, images, CLASS), saliency.amax(dim=1), **EXACT)
    product = attr.InputXGradient(network).attribute(asked, target=labels).detach()
    torch.testing.assert_close(method.gradient_times_input(network, images, CLASS), product.sum(dim=1), **EXACT)
    integrated = attr.IntegratedGradients(network).attribute(images, target=labels, n_steps=7, method="riemann_middle")
    found = method.integrated_gradients(network, images, CLASS, steps=7)
    # Captum keeps its step sizes in float32.
    torch.testing.assert_close(found, integrated.sum(dim=1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "name"), [("mean", "smoothgrad"), ("squared", "smoothgrad_sq"), ("variance", "vargrad")]
)
def test_captum_agrees_on_smooth_grad_given_the_same_noise(network, kind, name):
    attr, images = library("captum.attr"), pictures(1)
    draws, deviation = generator(9), 0.15 * float(images.max() - images.min())

    def noise(_: float, deviations: Tensor) -> Tensor:
        return deviations * torch.randn(3, 16, 16, generator=draws, dtype=torch.float64)

    with patch.object(torch, "normal", noise):
        tunnel = attr.NoiseTunnel(attr.Saliency(network)).attribute(
            images, nt_type=name, nt_samples=6, nt_samples_batch_size=1, stdevs=deviation, target=3, abs=False
        )
    found = method.smooth_grad(network, images, CLASS[:1], samples=6, sigma=0.15, generator=generator(9), kind=kind)
    torch.testing.assert_close(found, tunnel.abs().amax(dim=1), rtol=1e-8, atol=1e-10)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_captum_agrees_on_guided_backpropagation():
    """Captum needs rectifiers that are modules, so this asks the plain network."""
    attr, network, images = library("captum.attr"), untrained(Plain), pictures()
    guided = attr.GuidedBackprop(network).attribute(images.clone().requires_grad_(), target=LABELS)
    found = method.guided_backpropagation(network, images, CLASS)
    torch.testing.assert_close(found, guided.detach().abs().amax(dim=1), **EXACT)


@BY_STAGE
def test_captum_agrees_on_grad_cam_and_ablation(network, stage):
    attr, images = library("captum.attr"), pictures()
    asked = images.clone().requires_grad_()
    cam = attr.LayerGradCam(network, getattr(network, stage)).attribute(asked, target=LABELS, relu_attributions=True)
    found = method.grad_cam(network, images, CLASS, stage=stage)
    torch.testing.assert_close(found, cam.detach()[:, 0], **EXACT)

    features = network.features(images, stage)
    channels = torch.arange(features.shape[1])[None, :, None, None].expand(1, *features.shape[1:])
    ablation = attr.FeatureAblation(lambda f: network.head(f, stage))
    weights = ablation.attribute(features, target=LABELS, feature_mask=channels)[:, :, 0, 0]
    expected = torch.einsum("bc,bcij->bij", weights.double(), features).relu()
    # Captum keeps its drops in float32.
    torch.testing.assert_close(method.ablation_cam(network, images, CLASS, stage=stage), expected, **FLOAT32)


@pytest.mark.parametrize(("size", "stride"), [(5, 3), (4, 4)])
def test_captum_agrees_on_occlusion(network, size, stride):
    attr, images = library("captum.attr"), pictures()
    shapes = {"sliding_window_shapes": (3, size, size), "strides": (3, stride, stride)}
    drops = attr.Occlusion(network).attribute(images, target=LABELS, baselines=0.5, **shapes)
    found = method.occlusion(network, images, CLASS, size=size, stride=stride)
    torch.testing.assert_close(found, drops[:, 0].double(), **FLOAT32)


@BY_STAGE
def test_torchcam_agrees(network, stage):
    """Not on Grad-CAM++: torchcam divides a copy of its alpha, and weighs with g^2 alone."""
    methods, images = library("torchcam.methods"), pictures()
    ways = {"GradCAM": method.grad_cam, "LayerCAM": method.layer_cam}
    for name, explain in ways.items():
        learner = copy.deepcopy(network).requires_grad_()
        with getattr(methods, name)(learner, stage) as extractor:
            (expected,) = extractor(class_idx=LABELS.tolist(), scores=learner(images), normalized=False)
        torch.testing.assert_close(explain(network, images, CLASS, stage=stage), expected, **EXACT)


def test_torchcam_agrees_on_cam(network):
    methods, images = library("torchcam.methods"), pictures()
    with methods.CAM(copy.deepcopy(network), "stage3", "classifier") as extractor:
        extractor.model(images)
        (expected,) = extractor(class_idx=LABELS.tolist(), normalized=False)
    found = method.class_activation_map(network, images, CLASS)
    torch.testing.assert_close(found, expected, **EXACT)


@BY_STAGE
@pytest.mark.parametrize(
    ("name", "explain"),
    [
        ("GradCAM", method.grad_cam),
        ("GradCAMPlusPlus", method.grad_cam_plus_plus),
        ("LayerCAM", method.layer_cam),
        ("AblationCAM", method.ablation_cam),
    ],
)
def test_grad_cam_the_library_agrees(network, stage, name, explain):
    """It stretches each map to [0, 1] and enlarges it, so ours goes through the same."""
    package = library("pytorch_grad_cam")
    to_class = library("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    scaled = library("pytorch_grad_cam.utils.image").scale_cam_image
    network, images = copy.deepcopy(network), pictures()
    if name == "GradCAMPlusPlus":
        network.classifier.weight.mul_(1e6)  # small slopes drown in the 1e-6 that the library adds to a denominator
    learner = copy.deepcopy(network).requires_grad_()
    # Its Ablation-CAM divides by the score, which must not be negative for the maps to agree.
    labels = network(images).argmax(dim=1)
    target = F.one_hot(labels, 5).double()
    assert (network(images).amax(dim=1) > 0).all()
    with getattr(package, name)(model=learner, target_layers=[getattr(learner, stage)]) as cam:
        expected = cam(input_tensor=images, targets=[to_class(label) for label in labels.tolist()])
    found = scaled(scaled(explain(network, images, target, stage=stage).numpy(), (16, 16)))
    np.testing.assert_allclose(found, expected, **FLOAT32)


# --- the numbers beside a map


@pytest.mark.parametrize("at_once", [1, 800_000])
def test_insertion_and_deletion_go_pixel_by_pixel(network, monkeypatch, at_once):
    monkeypatch.setattr(checks, "PICTURE_NUMBERS", at_once)
    images, steps = pictures(size=8), 7
    maps = torch.randperm(64, generator=generator(4)).view(1, 8, 8).repeat(2, 1, 1).double()
    maps[1] = maps[1].flip(0)
    found = checks.insertion_deletion(network, images, maps, steps=steps, blur=1, generator=generator())
    blank = checks.blurred(images, sigma=1)
    for b in range(2):
        places = sorted(itertools.product(range(8), range(8)), key=lambda place: -maps[b][place])
        inserted, deleted = [], []
        for k in range(steps + 1):
            more, less = blank[b].clone(), images[b].clone()
            for i, j in places[: 64 * k // steps]:
                more[:, i, j], less[:, i, j] = images[b, :, i, j], blank[b, :, i, j]
            inserted.append(network(more[None]).softmax(dim=1)[0].detach().numpy())
            deleted.append(network(less[None]).softmax(dim=1)[0].detach().numpy())
        np.testing.assert_allclose(found.insertion[b], inserted, **EXACT)
        np.testing.assert_allclose(found.deletion[b], deleted, **EXACT)
        np.testing.assert_allclose(found.insertion_area[b], np.trapezoid(inserted, dx=1 / steps, axis=0), **EXACT)
        np.testing.assert_allclose(found.deletion_area[b], np.trapezoid(deleted, dx=1 / steps, axis=0), **EXACT)
    assert found.shares.tolist() == pytest.approx([k / steps for k in range(steps + 1)])


def test_ties_follow_the_generator_not_the_reading_order(network):
    def area(seed: int) -> float:
        flat = torch.zeros(1, 8, 8, dtype=torch.float64)
        options = {"steps": 8, "blur": 1.0, "generator": generator(seed)}
        return checks.insertion_deletion(network, pictures(1, size=8), flat, **options).insertion_area[0, 0].item()

    assert area(1) == area(1)
    assert area(1) != area(2)


def test_a_map_from_within_ranks_better_than_chance():
    """The score is the brightness of one corner: the map that knows the corner wins."""

    class Corner(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            bright = 20 * images[:, :, :2, :2].mean(dim=(1, 2, 3))
            return torch.stack([bright, 10 - bright], dim=1)

    images = torch.zeros(1, 3, 8, 8)
    images[:, :, :2, :2] = 1
    knowing = images[:, 0]
    chance = checks.random_map((1, 8, 8), generator=generator(2))
    best, other = (
        checks.insertion_deletion(Corner(), images, maps, steps=16, blur=2.0, generator=generator())
        for maps in (knowing, chance)
    )
    assert best.insertion_area[0, 0] > other.insertion_area[0, 0] + 0.05
    assert best.deletion_area[0, 0] < other.deletion_area[0, 0] - 0.05


@pytest.mark.parametrize("sigma", [0.7, 1, 2.4])
def test_blurred_is_a_gaussian(sigma):
    images = pictures(size=12)
    slow = scipy.ndimage.gaussian_filter(images.numpy(), sigma, axes=(2, 3), mode="mirror", radius=round(3 * sigma))
    torch.testing.assert_close(checks.blurred(images, sigma=sigma), torch.tensor(slow), **EXACT)


def test_average_drop_by_hand(network):
    images = pictures(size=8)
    maps = torch.rand(2, 4, 4, generator=generator(1), dtype=torch.float64) - 0.5
    found = checks.average_drop(network, images, maps, LABELS)
    large = F.interpolate(maps[:, None], size=8, mode="bilinear")[:, 0]
    for b in range(2):
        mask = (large[b] - large[b].min()) / (large[b].max() - large[b].min())
        whole, left = (network(x[None]).softmax(dim=1)[0, LABELS[b]].item() for x in (images[b], images[b] * mask))
        assert found[b].item() == pytest.approx(max(0, whole - left) / whole)
    flat = checks.average_drop(network, images, torch.ones(2, 4, 4, dtype=torch.float64), LABELS)
    nothing = checks.average_drop(network, images, torch.zeros(2, 4, 4, dtype=torch.float64), LABELS)
    assert torch.equal(flat, nothing)


def test_share_inside_by_hand():
    maps = torch.tensor([[[1.0, 3], [-5, 0]], [[-1, 0], [0, -2]]])
    masks = torch.tensor([[[False, True], [True, False]]] * 2)
    assert checks.share_inside(maps, masks).tolist() == [0.75, 0]


def test_spearman_is_scipys():
    maps, others = (checks.random_map((3, 5, 6), generator=generator(seed)) for seed in (1, 2))
    maps[0, 2:] = 0  # ties
    found = checks.spearman(maps, others)
    for b in range(3):
        assert found[b].item() == pytest.approx(scipy.stats.spearmanr(maps[b].flatten(), others[b].flatten()).statistic)
    assert checks.spearman(maps, maps.exp()).tolist() == pytest.approx([1, 1, 1])
    assert checks.spearman(torch.ones(1, 2, 2), others[:1, :2, :2]).tolist() == [0]


def test_random_maps_come_from_the_generator():
    one, same, other = (checks.random_map((2, 3, 4), generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (2, 3, 4)
    assert 0 <= one.min() <= one.max() < 1


@pytest.mark.parametrize("names", [(), ("classifier",), ("classifier", "stage3"), ("classifier", *STAGES)])
def test_randomised_forgets_the_given_stages_only(network, names):
    before = state(network)
    fresh = checks.randomised(network, names, generator=generator(1))
    again = checks.randomised(network, names, generator=generator(1))
    assert state(network) == before
    for name, _ in network.named_children():
        kept, drawn, redrawn = (dict(one.get_submodule(name).named_parameters()) for one in (network, fresh, again))
        for weight in kept:
            assert torch.equal(drawn[weight], redrawn[weight])
            assert torch.equal(drawn[weight], kept[weight]) == (name not in names), f"{name}.{weight}"
            assert not drawn[weight].requires_grad
            assert drawn[weight].data_ptr() != kept[weight].data_ptr()
    assert fresh(pictures()).isfinite().all()
    with torch.inference_mode():
        inside = checks.randomised(network, names, generator=generator(1))
    assert torch.equal(method.gradient(inside, pictures(), CLASS), method.gradient(fresh, pictures(), CLASS))


def test_maps_that_depend_on_weights_change_when_they_are_forgotten(network):
    images = pictures(size=64)
    fresh = checks.randomised(network, ["classifier", "stage3"], generator=generator(1))
    alike = checks.spearman(method.grad_cam(network, images, CLASS), method.grad_cam(fresh, images, CLASS))
    assert (alike.abs() < 0.9).all()


def test_checks_refuse_what_does_not_fit(network):
    images, maps = pictures(size=8), torch.zeros(2, 8, 8, dtype=torch.float64)
    options = {"steps": 4, "blur": 1, "generator": generator()}
    refused: list[tuple[str, Callable[[], object]]] = [
        ("1 to 64 steps", lambda: checks.insertion_deletion(network, images, maps, **options | {"steps": 65})),
        ("2 maps", lambda: checks.insertion_deletion(network, images, maps[:1], **options)),
        ("3 sigma", lambda: checks.insertion_deletion(network, images, maps, **options | {"blur": 4})),
        ("sigma > 0", lambda: checks.blurred(images, sigma=0)),
        ("one map and one label per picture", lambda: checks.average_drop(network, images, maps, LABELS[:1])),
        ("one map and one label per picture", lambda: checks.average_drop(network, images, maps[:1], LABELS)),
        ("masks of", lambda: checks.share_inside(maps, maps[:1] > 0)),
        ("of one shape", lambda: checks.spearman(maps, maps[:1])),
        ("'stage9'", lambda: checks.randomised(network, ["stage9"], generator=generator())),
    ]
    for message, call in refused:
        with pytest.raises(ValueError, match=message):
            call()
    network = untrained(Plain)
    network.first.add_module("norm", nn.LayerNorm(3))
    with pytest.raises(ValueError, match="got LayerNorm"):
        checks.randomised(network, ["first"], generator=generator())
