"""MC dropout: each formula against a slow twin in plain Python, what the idea promises, and the field's libraries."""

import copy
import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score
from torch import Tensor

from core import data, loop
from core.nets import DropoutCNN
from core.topics.mc_dropout import method, recipe

pytestmark = pytest.mark.usefixtures("one_thread")

# A referee in float64 agrees to rounding; what runs through the network is float32.
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_votes(seed: int, passes: int, pictures: int, classes: int, sharpness: float) -> Tensor:
    """(T, B, C) float64; a sharpness of 300 leaves probabilities of exactly 0 and 1."""
    scores = torch.randn(passes, pictures, classes, dtype=torch.float64, generator=generator(seed))
    return (sharpness * scores).softmax(dim=-1)


many_votes = st.builds(
    random_votes,
    seed=st.integers(0, 2**32),
    passes=st.integers(1, 7),
    pictures=st.integers(1, 4),
    classes=st.integers(2, 6),
    sharpness=st.floats(0.1, 300),
)
# No deadline: the first call of a test imports things, and a busy machine is no bug.
often = settings(max_examples=50, deadline=None)


def random_labels(seed: int, count: int, classes: int) -> Tensor:
    return torch.randint(classes, (count,), generator=generator(seed))


@pytest.fixture(scope="module")
def digits() -> data.Examples:
    examples = data.digits()
    return data.Examples(examples.images[:600], examples.labels[:600], examples.classes)


def untrained(seed: int = 0, **options: object) -> DropoutCNN:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DropoutCNN(**options).eval()


@pytest.fixture(scope="module")
def network(digits) -> DropoutCNN:
    """A network that has met digits for 90 steps: mostly right, and unsure."""
    network = untrained()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    loop.fit(
        network,
        (digits.images, digits.labels),
        recipe.cross_entropy,
        optimizer=optimizer,
        epochs=5,
        batch=32,
        seed=0,
        validate=lambda _: {},
        report=lambda _: None,
    )
    network.zero_grad()
    return network.requires_grad_(False)


def torch_uncertainty() -> ModuleType:
    """torch_uncertainty's classification metrics.

    They import torchmetrics, which imports torchvision, which needs core.vision first where
    its operators do not load. The package's own __init__ also wants a training framework
    that none of the metrics use, so the package is entered by its folders.
    """
    importlib.import_module("core.vision")
    root = importlib.util.find_spec("torch_uncertainty").submodule_search_locations[0]
    packages = {}
    for name, folder in (("torch_uncertainty", root), ("torch_uncertainty.metrics", f"{root}/metrics")):
        packages[name] = ModuleType(name)
        packages[name].__path__ = [folder]
    with patch.dict(sys.modules, packages):
        return importlib.import_module("torch_uncertainty.metrics.classification")


def torchmetrics() -> ModuleType:
    importlib.import_module("core.vision")  # for the same reason
    return importlib.import_module("torchmetrics")


# --- the slow twins: the docstrings' formulas, in plain Python


def slow_entropy(distribution: list[float]) -> float:
    return -sum(p * math.log(p) for p in distribution if p > 0)


def slow_mean(votes: list[list[list[float]]]) -> list[list[float]]:
    passes, pictures, classes = len(votes), len(votes[0]), len(votes[0][0])
    return [[sum(votes[t][b][y] for t in range(passes)) / passes for y in range(classes)] for b in range(pictures)]


def slow_expected_entropy(votes: list[list[list[float]]]) -> list[float]:
    return [sum(slow_entropy(vote[b]) for vote in votes) / len(votes) for b in range(len(votes[0]))]


def slow_variation_ratio(votes: list[list[list[float]]]) -> list[float]:
    result = []
    for b in range(len(votes[0])):
        tops = [vote[b].index(max(vote[b])) for vote in votes]
        result.append(1 - max(tops.count(top) for top in tops) / len(votes))
    return result


def slow_calibration_error(probabilities: list[list[float]], labels: list[int], bins: int) -> float:
    total = 0.0
    for m in range(bins):
        inside = []
        for row, label in zip(probabilities, labels, strict=True):
            confidence = max(row)
            last = m == bins - 1 and confidence >= 1
            if m / bins <= confidence < (m + 1) / bins or last:
                inside.append((confidence, row.index(confidence) == label))
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            confidence = sum(value for value, _ in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


def slow_auroc(negatives: list[float], positives: list[float]) -> float:
    wins = sum((positive > negative) + (positive == negative) / 2 for positive in positives for negative in negatives)
    return wins / len(positives) / len(negatives)


def slow_nll(probabilities: list[list[float]], labels: list[int]) -> float:
    return -sum(math.log(row[label]) for row, label in zip(probabilities, labels, strict=True)) / len(labels)


def slow_head(network: DropoutCNN, found: list[float], masks: tuple[list[float], list[float]]) -> list[float]:
    """One picture through one thinned head: units times factors, linear, relu, the same again, softmax."""
    hidden_weight, hidden_bias = network.hidden.weight.tolist(), network.hidden.bias.tolist()
    logit_weight, logit_bias = network.logits.weight.tolist(), network.logits.bias.tolist()
    kept = [mask * value for mask, value in zip(masks[0], found, strict=True)]
    hidden = [
        max(0.0, bias + sum(w * value for w, value in zip(row, kept, strict=True)))
        for row, bias in zip(hidden_weight, hidden_bias, strict=True)
    ]
    kept = [mask * value for mask, value in zip(masks[1], hidden, strict=True)]
    logits = [
        bias + sum(w * value for w, value in zip(row, kept, strict=True))
        for row, bias in zip(logit_weight, logit_bias, strict=True)
    ]
    highest = max(logits)
    powers = [math.exp(logit - highest) for logit in logits]
    return [power / sum(powers) for power in powers]


# --- method: masks and votes


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_masks_follow_their_formula(rate):
    first, second = method.keep_masks((30, 20), passes=5, rate=rate, generator=generator(3))
    draws = generator(3)
    for mask, width in ((first, 30), (second, 20)):
        assert mask.shape == (5, width)
        assert mask.dtype == torch.float32
        words = torch.empty(5, -(-width // 4), dtype=torch.int64).random_(-(2**63), None, generator=draws).tolist()
        # Bit by bit: unit i is decided by the 16 bits at place i mod 4 of word i // 4, as a signed number.
        for row, kept in zip(words, mask.tolist(), strict=True):
            for unit, factor in enumerate(kept):
                bits = (row[unit // 4] >> 16 * (unit % 4)) & 0xFFFF
                signed = bits - 0x10000 if bits >= 0x8000 else bits
                uniform = (signed + 0x8000) / 0x10000
                assert factor == pytest.approx(1 / (1 - rate) if uniform < round((1 - rate) * 0x10000) / 0x10000 else 0)


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5, 0.95])
def test_masks_meet_their_rate(rate):
    first, second = method.keep_masks((3136, 128), passes=300, rate=rate, generator=generator(1))
    for mask in (first, second):
        share = mask.eq(0).double().mean().item()
        assert abs(share - rate) < 4 * (rate * (1 - rate) / mask.numel()) ** 0.5 + 1 / 65_536


def test_masks_remove_their_share_and_keep_the_mean():
    first, _ = method.keep_masks((400, 1), passes=500, rate=0.3, generator=generator(0))
    # 200,000 draws: three standard deviations of the share are 0.003.
    assert first.eq(0).float().mean().item() == pytest.approx(0.3, abs=0.003)
    assert first.mean().item() == pytest.approx(1, abs=0.005)
    # Units and passes are independent of each other.
    for table in (first, first.T):
        correlations = torch.corrcoef(table[:100]).fill_diagonal_(0)
        assert correlations.abs().max() < 0.3
        assert correlations.mean().abs() < 0.01


@pytest.mark.parametrize(("passes", "rate"), [(0, 0.5), (-1, 0.5), (1, 1.0), (1, -0.1), (1, math.nan)])
def test_passes_and_rates_out_of_range_are_refused(passes, rate):
    with pytest.raises(ValueError, match=f"expected passes >= 1 and a rate in .* got {passes} and {rate}"):
        method.keep_masks((3, 2), passes=passes, rate=rate, generator=generator(0))
    with pytest.raises(ValueError, match="expected passes"):
        method.monte_carlo(untrained(), torch.zeros(1, 1, 28, 28), passes=passes, rate=rate, generator=generator(0))


@given(seed=st.integers(0, 2**32), passes=st.integers(1, 3), pictures=st.integers(1, 3), rate=st.floats(0, 0.9))
@settings(max_examples=15, deadline=None)
def test_monte_carlo_is_the_slow_head_once_per_pass_and_picture(seed, passes, pictures, rate):
    network = untrained(channels=(2, 3, 2), hidden=5)
    images = torch.rand(pictures, 1, 28, 28, generator=generator(seed))
    with torch.inference_mode():
        votes = method.monte_carlo(network, images, passes=passes, rate=rate, generator=generator(seed))
        found = network.features(images).flatten(1).tolist()
    first, second = method.keep_masks((98, 5), passes=passes, rate=rate, generator=generator(seed))
    by_hand = [
        [slow_head(network, found[b], (first[t].tolist(), second[t].tolist())) for b in range(pictures)]
        for t in range(passes)
    ]
    torch.testing.assert_close(votes, torch.tensor(by_hand), rtol=1e-5, atol=1e-6)


def votes_of(network: DropoutCNN, images: Tensor, *, passes: int = 20, rate: float = 0.5, seed: int = 0) -> Tensor:
    with torch.inference_mode():
        return method.monte_carlo(network, images, passes=passes, rate=rate, generator=generator(seed))


def test_votes_are_distributions(network, digits):
    votes = votes_of(network, digits.images[:6])
    assert votes.shape == (20, 6, 10)
    assert votes.min() >= 0
    torch.testing.assert_close(votes.sum(dim=-1), torch.ones(20, 6))


def test_without_dropout_every_pass_is_the_network(network, digits):
    votes = votes_of(network, digits.images[:6], passes=4, rate=0)
    with torch.inference_mode():
        expected = network(digits.images[:6]).softmax(dim=-1)
    torch.testing.assert_close(votes, expected.expand(4, -1, -1), rtol=0, atol=1e-6)
    assert method.variation_ratio(votes).tolist() == [0] * 6


def test_the_seed_decides_the_votes(network, digits):
    once, again, other = (votes_of(network, digits.images[:6], seed=seed) for seed in (4, 4, 5))
    assert torch.equal(once, again)
    assert not torch.allclose(once, other, atol=1e-3)
    assert len({tuple(vote.flatten().tolist()) for vote in once}) == len(once)


def test_nobody_else_s_random_numbers_matter_or_change(network, digits):
    torch.rand(3)
    before = torch.get_rng_state()
    once = votes_of(network, digits.images[:2])
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(votes_of(network, digits.images[:2]), once)


def test_another_picture_in_the_batch_changes_no_answer(network, digits):
    five = votes_of(network, digits.images[:5])
    four = votes_of(network, digits.images[:4])
    alone = votes_of(network, digits.images[2:3])
    torch.testing.assert_close(five[:, :4], four, rtol=0, atol=1e-6)
    torch.testing.assert_close(five[:, 2:3], alone, rtol=0, atol=1e-6)


def test_monte_carlo_leaves_the_network_as_it_was(network, digits):
    before = copy.deepcopy(network.state_dict())
    votes_of(network, digits.images[:3])
    assert not network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_cached_trunk_answers_as_full_copies_would(network, digits):
    """The votes of T heads on one trunk have the distribution of T full passes in training mode."""
    with torch.inference_mode():
        doubt = method.entropy(network(digits.images).softmax(dim=-1))
    image = digits.images[doubt.argmax()][None]
    passes = 600

    def full_copies(rate: float) -> Tensor:
        training = copy.deepcopy(network).train()
        training.rate = rate
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(11)
            return training(image.expand(passes, -1, -1, -1)).softmax(dim=-1)

    cached = votes_of(network, image, passes=passes, seed=12)[:, 0]
    classes = cached.mean(dim=0).topk(5).indices.tolist()

    def p_values(copies: Tensor) -> list[float]:
        return [ks_2samp(cached[:, label].numpy(), copies[:, label].numpy()).pvalue for label in classes]

    # Five tests at this level raise a false alarm on one machine in 200, and then on each run.
    assert min(p_values(full_copies(0.5))) > 0.001
    # They would notice: at another rate the distributions differ.
    assert min(p_values(full_copies(0.25))) < 1e-9


# --- method: what the votes say


@given(votes=many_votes)
@often
def test_summaries_of_votes_against_their_slow_twins(votes):
    plain = votes.tolist()
    mean = slow_mean(plain)
    total = [slow_entropy(row) for row in mean]
    expected = slow_expected_entropy(plain)
    for function, by_hand in (
        (method.predictive_mean, mean),
        (method.predictive_entropy, total),
        (method.expected_entropy, expected),
        (method.mutual_information, [max(0, h - e) for h, e in zip(total, expected, strict=True)]),
    ):
        torch.testing.assert_close(function(votes), torch.tensor(by_hand, dtype=torch.float64), **EXACT)
    entropies = [[slow_entropy(row) for row in vote] for vote in plain]
    torch.testing.assert_close(method.entropy(votes), torch.tensor(entropies, dtype=torch.float64), **EXACT)
    torch.testing.assert_close(method.variation_ratio(votes), torch.tensor(slow_variation_ratio(plain)))


@given(votes=many_votes)
@often
def test_doubt_is_the_sum_of_its_two_parts(votes):
    total, expected = method.predictive_entropy(votes), method.expected_entropy(votes)
    information = method.mutual_information(votes)
    torch.testing.assert_close(total, expected + information, **EXACT)
    assert (information >= 0).all()
    assert (total <= math.log(votes.shape[-1]) + 1e-12).all()
    ratio = method.variation_ratio(votes)
    assert (ratio >= 0).all()
    assert (ratio <= 1 - 1 / votes.shape[-1] + 1e-6).all()


@given(votes=many_votes)
@often
def test_one_pass_cannot_contradict_itself(votes):
    for one in (votes[:1], votes[:1].float()):
        assert method.mutual_information(one).tolist() == [0] * votes.shape[1]
        assert method.variation_ratio(one).tolist() == [0] * votes.shape[1]


@pytest.mark.parametrize("passes", [3, 7, 50])
def test_passes_that_agree_leave_no_negative_doubt_by_rounding(passes):
    votes = random_votes(0, 1, 500, 10, 2.0).float().expand(passes, -1, -1)
    assert (method.predictive_entropy(votes) < method.expected_entropy(votes)).any()  # the rounding is there
    information = method.mutual_information(votes)
    assert (information >= 0).all()
    assert information.max() < 1e-6


def test_two_sure_passes_that_disagree_by_hand():
    # One pass is sure of class 0, the other of class 1: no doubt inside a pass, ln 2 between them.
    votes = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert method.predictive_mean(votes).tolist() == [[0.5, 0.5]]
    assert method.predictive_entropy(votes).item() == pytest.approx(0.6931472)
    assert method.expected_entropy(votes).item() == 0
    assert method.mutual_information(votes).item() == pytest.approx(0.6931472)
    assert method.variation_ratio(votes).item() == 0.5


def test_passes_that_agree_to_be_unsure_by_hand():
    # All passes say (3/4, 1/4): H = 2 ln 2 - 3/4 ln 3 = 0.5623351, all of it inside each pass.
    votes = torch.tensor([0.75, 0.25]).expand(6, 1, 2)
    assert method.predictive_entropy(votes).item() == pytest.approx(0.5623351)
    assert method.expected_entropy(votes).item() == pytest.approx(0.5623351)
    assert method.mutual_information(votes).item() == pytest.approx(0, abs=1e-7)


def test_variation_ratio_by_hand():
    # Tops 0, 0, 1, 2, 0: three of five agree.
    votes = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 2, 0]), 3).float()[:, None]
    assert method.variation_ratio(votes).item() == pytest.approx(0.4)


# --- method: calibration, likelihood, temperature, AUROC


@given(votes=many_votes, bins=st.integers(1, 20), seed=st.integers(0, 99))
@often
def test_scores_against_their_slow_twins(votes, bins, seed):
    probabilities = votes.flatten(0, 1)
    labels = random_labels(seed, *probabilities.shape)
    plain = probabilities.tolist(), labels.tolist()
    ours = method.calibration_error(probabilities, labels, bins=bins)
    assert ours.item() == pytest.approx(slow_calibration_error(*plain, bins), abs=1e-12)
    likely = 0.999 * probabilities + 0.001 / probabilities.shape[1]  # ln 0 has a test of its own
    assert method.negative_log_likelihood(likely, labels).item() == pytest.approx(slow_nll(likely.tolist(), plain[1]))


def test_calibration_error_by_hand():
    # Two bins. [0, 1/2): confidence 0.4, wrong. [1/2, 1]: confidences 0.5, 0.9 and 1, one of three right.
    # ECE = 1/4 |0 - 0.4| + 3/4 |1/3 - 0.8| = 0.1 + 0.35
    probabilities = torch.tensor([[0.4, 0.3, 0.3], [0.5, 0.25, 0.25], [0.05, 0.9, 0.05], [0.0, 0.0, 1.0]])
    labels = torch.tensor([1, 2, 1, 0])
    assert method.calibration_error(probabilities, labels, bins=2).item() == pytest.approx(0.45)


def test_calibration_error_of_one_who_knows_and_of_one_who_boasts():
    sure = torch.eye(4)
    assert method.calibration_error(sure, torch.arange(4)).item() == 0
    assert method.calibration_error(sure, (torch.arange(4) + 1) % 4).item() == 1
    with pytest.raises(ValueError, match="got 4 rows and 3 labels"):
        method.calibration_error(sure, torch.arange(3))


def test_likelihood_by_hand_and_at_zero():
    probabilities = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    assert method.negative_log_likelihood(probabilities, torch.tensor([0, 0])).item() == pytest.approx(1.0397208)
    impossible = method.negative_log_likelihood(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert impossible.isfinite()
    assert impossible > 80


@pytest.mark.parametrize("tau", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(tau):
    honest = 2 * torch.randn(20_000, 10, dtype=torch.float64, generator=generator(1))
    labels = torch.multinomial(honest.softmax(dim=-1), 1, generator=generator(2))[:, 0]
    found = method.fit_temperature(honest * tau, labels)
    assert found == pytest.approx(tau, rel=0.03)


def test_the_temperature_is_the_best_of_a_fine_grid():
    logits = 3 * torch.randn(300, 5, dtype=torch.float64, generator=generator(3))
    labels = random_labels(4, 300, 5)
    labels[:200] = logits[:200].argmax(dim=-1)
    grid = [0.1 * 1.01**step for step in range(463)]  # 0.1 … 10
    slow = min(grid, key=lambda tau: slow_nll((logits / tau).softmax(dim=-1).tolist(), labels.tolist()))
    assert method.fit_temperature(logits, labels) == pytest.approx(slow, rel=0.01)


@given(
    negatives=st.lists(st.integers(0, 6), min_size=1, max_size=12),
    positives=st.lists(st.integers(0, 6), min_size=1, max_size=12),
)
@often
def test_auroc_against_its_slow_twin_and_scikit_learn(negatives, positives):
    """Small whole numbers, so that ties are common."""
    ours = method.auroc(torch.tensor(negatives), torch.tensor(positives))
    assert ours == pytest.approx(slow_auroc(negatives, positives), abs=1e-12)
    truth = [0] * len(negatives) + [1] * len(positives)
    assert ours == pytest.approx(roc_auc_score(truth, negatives + positives), abs=1e-12)


def test_auroc_by_hand():
    # Of six pairs the positive is higher in four and equal in one: 4.5 / 6.
    assert method.auroc(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 4.0])) == pytest.approx(4.5 / 6)


# --- the field's libraries as referees


def test_torchmetrics_agrees():
    library = torchmetrics()
    probabilities = random_votes(0, 40, 50, 10, 2.0).flatten(0, 1)
    labels = torch.multinomial(probabilities, 1, generator=generator(1))[:, 0]
    for bins in (5, 15):
        referee = library.CalibrationError(task="multiclass", num_classes=10, n_bins=bins, norm="l1")
        ours = method.calibration_error(probabilities, labels, bins=bins)
        assert ours.item() == pytest.approx(referee(probabilities, labels).item(), abs=1e-6)
    negatives, positives = probabilities[:900, 0], probabilities[900:, 0].sqrt()
    referee = library.AUROC(task="binary")
    truth = torch.cat([torch.zeros(900), torch.ones(1100)]).long()
    expected = referee(torch.cat([negatives, positives]), truth).item()
    assert method.auroc(negatives, positives) == pytest.approx(expected, abs=1e-6)


def test_torch_uncertainty_agrees():
    library = torch_uncertainty()
    votes = random_votes(2, 30, 200, 10, 1.5)
    by_picture = votes.transpose(0, 1)  # (B, T, C), the library's order
    for metric, inputs, ours in (
        (library.MutualInformation, by_picture, method.mutual_information(votes)),
        (library.Entropy, by_picture, method.expected_entropy(votes)),
        (library.Entropy, method.predictive_mean(votes), method.predictive_entropy(votes)),
    ):
        referee = metric(reduction="none")
        referee.update(inputs)
        torch.testing.assert_close(referee.compute(), ours, **EXACT)

    mean = method.predictive_mean(votes)
    labels = random_labels(3, 200, 10)
    referee = library.CalibrationError(task="multiclass", num_classes=10, num_bins=15)
    expected = referee(mean, labels).item()
    assert method.calibration_error(mean, labels).item() == pytest.approx(expected, abs=1e-6)
    expected = library.CategoricalNLL()(mean, labels).item()
    assert method.negative_log_likelihood(mean, labels).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `VariationRatio` will save all predictions")
def test_torch_uncertainty_agrees_on_the_variation_ratio_where_the_mean_has_the_same_top():
    """The library counts votes against the top of the mean, the thesis against the most frequent vote."""
    votes = random_votes(4, 30, 200, 10, 1.5)
    referee = torch_uncertainty().VariationRatio(probabilistic=False, reduction="none")
    referee.update(votes)
    theirs, ours = referee.compute(), method.variation_ratio(votes)
    same_top = method.predictive_mean(votes).argmax(dim=-1) == votes.argmax(dim=-1).mode(dim=0).values
    assert 50 < same_top.sum() < 200
    torch.testing.assert_close(ours[same_top], theirs[same_top])
    assert (ours <= theirs + 1e-6).all()


# --- network


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("stage", DropoutCNN.stages)
def test_head_of_features_is_the_network(stage, batch_norm):
    network = untrained(batch_norm=batch_norm)
    images = torch.rand(3, 1, 28, 28, generator=generator(0))
    with torch.inference_mode():
        logits = network(images)
        assert logits.shape == (3, 10)
        torch.testing.assert_close(network.head(network.features(images, stage), stage), logits, rtol=0, atol=0)


def test_each_stage_has_the_shape_that_is_written():
    images = torch.zeros(2, 1, 28, 28)
    network = untrained()
    shapes = [tuple(network.features(images, stage).shape[1:]) for stage in network.stages]
    assert shapes == [(32, 14, 14), (64, 7, 7), (64, 7, 7)]
    assert network.mask_widths == (3136, 128)
    assert sum(parameter.numel() for parameter in network.parameters()) < 2_600_000


def test_thinned_with_masks_of_ones_is_the_head():
    network = untrained()
    images = torch.rand(3, 1, 28, 28, generator=generator(0))
    with torch.inference_mode():
        masks = torch.ones(2, 3136), torch.ones(2, 128)
        logits = network.thinned(network.features(images), masks)
        torch.testing.assert_close(logits, network(images).expand(2, -1, -1), rtol=0, atol=1e-6)


def test_dropout_acts_in_training_mode_only():
    network = untrained()
    images = torch.rand(2, 1, 28, 28, generator=generator(0))
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)
        assert torch.equal(network(images), network(images))
        network.train()
        assert not torch.equal(network(images), network(images))


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_a_network_with_an_impossible_rate_is_refused(rate):
    with pytest.raises(ValueError, match=r"expected a dropout rate in \[0, 1\), got"):
        DropoutCNN(rate=rate)


@pytest.mark.parametrize("part", ["features", "head"])
def test_an_unknown_stage_is_refused(part):
    with pytest.raises(ValueError, match=r"expected a stage among .*'conv1', 'conv2', 'conv3'.*, got 'conv4'"):
        getattr(untrained(), part)(torch.zeros(1, 1, 28, 28), "conv4")


# --- recipe


@pytest.mark.parametrize("reach", [0, 1, 3])
def test_shifted_against_a_slow_loop(reach):
    images = torch.rand(5, 1, 6, 9, generator=generator(0))
    moved = recipe.shifted(images, generator(1), reach=reach)
    draws = torch.randint(0, 2 * reach + 1, (2, 5, 1, 1), generator=generator(1)).flatten(1).tolist()
    by_hand = torch.zeros_like(images)
    for b in range(5):
        down, right = draws[0][b] - reach, draws[1][b] - reach
        for row in range(6):
            for column in range(9):
                if 0 <= row + down < 6 and 0 <= column + right < 9:
                    by_hand[b, 0, row, column] = images[b, 0, row + down, column + right]
    assert torch.equal(moved, by_hand)


def test_shifts_are_uniform_and_each_picture_has_its_own():
    dot = torch.zeros(9000, 1, 5, 5)
    dot[:, 0, 2, 2] = 1
    places = recipe.shifted(dot, generator(0), reach=1).sum(dim=0)[0]
    assert places.sum() == 9000
    assert places[1:4, 1:4].sum() == 9000
    assert (places[1:4, 1:4] / 1000 - 1).abs().max() < 0.12  # four standard deviations


SHORT = recipe.Recipe(epochs=2, batch=32)


@pytest.fixture(scope="module")
def few_digits(digits) -> data.Examples:
    return data.Examples(digits.images[:360], digits.labels[:360], digits.classes)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_training_lowers_the_loss_and_a_killed_run_ends_the_same(monkeypatch, tmp_path, few_digits, batch_norm):
    short = replace(SHORT, batch_norm=batch_norm)
    before = torch.get_rng_state()
    whole, history = recipe.train(short, seed=3, examples=few_digits)
    losses = [row["loss"] for row in history.rows]
    assert losses[1] < losses[0]
    assert list(history.rows[0]) == ["epoch", "seconds", "loss", "validation_error", "validation_nll"]
    assert torch.equal(torch.get_rng_state(), before)

    def save_and_die(*arguments: object) -> None:
        save_state(*arguments)
        raise KeyboardInterrupt

    save_state = loop.save_state
    with monkeypatch.context() as context:
        context.setattr(loop, "save_state", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            recipe.train(short, seed=3, examples=few_digits, folder=tmp_path)
    resumed, resumed_history = recipe.train(short, seed=3, examples=few_digits, folder=tmp_path)
    assert [row["loss"] for row in resumed_history.rows] == losses
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_a_network_is_left_ready_and_rounded_as_it_will_be_stored(few_digits):
    network, history = recipe.train(SHORT, seed=0, examples=few_digits, budget_s=-1)  # no time for an epoch
    assert history.rows == []
    assert not network.training
    assert all(torch.equal(tensor, tensor.half().float()) for tensor in network.state_dict().values())
    other, _ = recipe.train(SHORT, seed=1, examples=few_digits, budget_s=-1)
    assert not torch.equal(network.conv1[0].weight, other.conv1[0].weight)


def test_parts_of_a_hundred_pictures_meet_networks_of_their_own(network, digits):
    votes = recipe.votes_in_parts(network, digits.images[:130], passes=3, seed=7)
    draws = generator(7)
    with torch.inference_mode():
        by_hand = [
            method.monte_carlo(network, part, passes=3, rate=0.5, generator=draws)
            for part in (digits.images[:100], digits.images[100:130])
        ]
    assert torch.equal(votes, torch.cat(by_hand, dim=1))


@pytest.fixture
def stand_in_data(monkeypatch, digits) -> SimpleNamespace:
    """Digits in place of MNIST, digits upside down and inverted in place of Fashion-MNIST."""
    foreign = data.Examples(1 - digits.images.flip(2), digits.labels, data.SOURCES["fashion_mnist"].classes)
    sources = {
        ("mnist", "train"): digits,
        ("mnist", "test"): data.Examples(digits.images[:150], digits.labels[:150], digits.classes),
        ("fashion_mnist", "train"): foreign,
        ("fashion_mnist", "test"): data.Examples(foreign.images[:120], foreign.labels[:120], foreign.classes),
    }
    monkeypatch.setattr(data, "load", lambda name, split: sources[name, split])
    monkeypatch.setattr(recipe, "VALIDATION", 200)
    return SimpleNamespace(digits=digits, foreign=foreign, test=sources["mnist", "test"])


def test_evaluate_measures_what_it_says(network, stand_in_data):
    scores = recipe.evaluate(network, seed=0)
    assert scores == recipe.evaluate(network, seed=0)
    suffixes = ["off", "tempered", *(f"mc{passes}" for passes in recipe.PASSES)]
    named = {f"{score}_{suffix}" for score in ("error", "nll", "ece") for suffix in suffixes}
    assert scores.keys() == named | {"temperature", "auroc_off", "auroc_mc50"}
    assert all(0 <= value <= 1 for name, value in scores.items() if not name.startswith(("nll", "temperature")))
    assert scores["nll_mc50"] < scores["nll_mc1"]  # an ensemble beats its first member
    assert scores["error_tempered"] == scores["error_off"]

    images, labels = stand_in_data.test.images, stand_in_data.test.labels
    with torch.inference_mode():
        probabilities = network(images).softmax(dim=-1)
    wrong = [row.index(max(row)) != label for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True)]
    assert scores["error_off"] == pytest.approx(sum(wrong) / 150)
    assert scores["nll_off"] == pytest.approx(slow_nll(probabilities.tolist(), labels.tolist()), rel=1e-5)
    votes = recipe.votes_in_parts(network, images, passes=100, seed=loop.seed_of(0, 10))
    mean = slow_mean(votes[:10].tolist())
    assert scores["ece_mc10"] == pytest.approx(slow_calibration_error(mean, labels.tolist(), 15), abs=1e-5)


def test_a_network_without_dropout_has_no_ensemble_to_measure(stand_in_data):
    scores = recipe.evaluate(untrained(rate=0), seed=0)
    assert not any("mc" in name for name in scores)
    assert {"error_off", "nll_tempered", "auroc_off", "temperature"} <= scores.keys()


class Stubborn:
    """Says what `answer` makes of the angle that a picture bears in its first pixel, with every mask alike."""

    rate = 0.5
    mask_widths = (4, 3)

    def __init__(self, answer: Callable[[float], int]) -> None:
        self.answer = answer

    def features(self, images: Tensor) -> Tensor:
        return images

    def thinned(self, features: Tensor, masks: tuple[Tensor, Tensor]) -> Tensor:
        logits = torch.full((len(masks[0]), len(features), 10), -20.0)
        for place, picture in enumerate(features):
            logits[:, place, self.answer(float(picture[0, 0, 0]))] = 20
        return logits


def test_a_failure_is_a_sure_and_wrong_answer(monkeypatch):
    monkeypatch.setattr(recipe, "rotated", lambda _, angles: angles[:, None, None, None].expand(-1, 1, 28, 28).float())
    sevens = torch.zeros(3, 1, 28, 28)
    assert recipe.find_failure(Stubborn(lambda angle: 2 if angle == -150 else 7), sevens) == (0, -150)
    with pytest.raises(ValueError, match="none of 3 sevens is misread confidently at any of 14 angles"):
        recipe.find_failure(Stubborn(lambda _: 7), sevens)


def test_companions_are_an_answer_to_check_and_where_there_is_dropout_samples(monkeypatch, network, stand_in_data):
    monkeypatch.setattr(recipe, "samples", lambda _: {"three": torch.zeros(1)})
    files = recipe.companions(network)
    stored = files["expected.safetensors"]
    assert stored["input"].shape == (4, 1, 28, 28)
    with torch.inference_mode():
        torch.testing.assert_close(network(stored["input"]), stored["output"], rtol=0, atol=1e-6)
    assert list(files["samples.safetensors"]) == ["three"]
    assert list(recipe.companions(untrained(rate=0))) == ["expected.safetensors"]


def test_samples_are_the_pictures_that_they_name(monkeypatch, network, stand_in_data):
    monkeypatch.setattr(recipe, "SAMPLE_DIGITS", {"three": 403, "other": 404})
    monkeypatch.setattr(recipe, "find_failure", lambda _, sevens: (1, 120))
    samples, digits, foreign = recipe.samples(network), stand_in_data.digits, stand_in_data.foreign

    def assert_sample(name: str, picture: Tensor, label: int) -> None:
        assert samples[name].dtype == torch.uint8
        torch.testing.assert_close(samples[name].float() / 255, picture[0], rtol=0, atol=0.501 / 255)
        assert samples[f"{name}_label"].item() == label

    def places(examples: data.Examples, label: int, first: int = 0) -> list[int]:
        return [index for index in range(first, 600) if examples.labels[index] == label]

    assert_sample("three", digits.images[403], int(digits.labels[403]))
    assert_sample("other", digits.images[404], int(digits.labels[404]))
    assert_sample("seven", digits.images[places(digits, 7, first=400)[1]], 7)
    assert samples["seven_degrees"].item() == 120
    assert_sample("trousers", foreign.images[places(foreign, 1)[0]], -1)
    assert_sample("shoe", foreign.images[places(foreign, 9)[0]], -1)
    assert_sample("scribble", data.drawn("scribble"), -1)
    assert_sample("letter", data.drawn("A"), -1)
    two_of_each = [foreign.images[place, 0] for label in range(10) for place in places(foreign, label)[:2]]
    stored = samples["foreign_images"].float() / 255
    torch.testing.assert_close(stored, torch.stack(two_of_each), rtol=0, atol=0.501 / 255)


@pytest.mark.parametrize("variant", list(recipe.RECIPES))
def test_each_recipe_describes_itself(variant):
    one = recipe.RECIPES[variant]
    described = json.loads(json.dumps(recipe.describe(one)))
    network = DropoutCNN(**described["network"])
    assert network.rate == one.rate
    assert described["recipe"]["epochs"] == one.epochs
    assert described["classes"] == list("0123456789")
    assert [len(entry["sha256"]) for entry in described["data"]] == [4, 4]
