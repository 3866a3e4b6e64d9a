"""Training: order and schedule, runs that are killed, the range test, one process and two.

Run as a script, this file is what each of two processes does; see `test_two_processes`.
"""

import copy
import csv
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core import data, loop

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    examples = data.digits()
    return examples.images[:512], examples.labels[:512]


def random_network(seed: int = 0) -> nn.Sequential:
    """A network with everything that a resumed run could forget: dropout, and running means."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(784, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 10)
        )


def plain_network() -> nn.Sequential:
    """A network in which nothing is random and no picture depends on the rest of its batch."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))


def cross_entropy(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(network(images), labels)


def no_score(network: nn.Module) -> loop.Row:
    return {}


def flickered(batch: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
    """A random augmentation, which a resumed run has to repeat."""
    images, labels = batch
    return images * torch.rand(len(images), 1, 1, 1, generator=generator), labels


def train(network: nn.Module, examples: tuple[Tensor, Tensor], **options: object) -> tuple[loop.History, dict]:
    """`fit` with AdamW and small numbers; the optimizer's state comes back for comparing."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    usual = {
        "epochs": 4, "batch": 64, "seed": 5, "validate": no_score, "augment": flickered, "report": lambda _: None,
    }  # fmt: skip
    history = loop.fit(network, examples, cross_entropy, optimizer=optimizer, **usual | options)
    return history, loop.optimizer_tensors(optimizer)


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def without_times(history: loop.History) -> list[loop.Row]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history.rows]


# --- seeds, order, schedule, history


def test_seeds_of_neighbouring_runs_and_epochs_differ():
    seeds = [loop.seed_of(run, epoch) for run in range(40) for epoch in range(40)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert loop.seed_of(1, 2) == loop.seed_of(1, 2) != loop.seed_of(2, 1)
    assert loop.seed_of(3) == loop.seed_of(3, 0)
    # Known answer: a change of the mixing would change every run that was ever trained.
    assert loop.seed_of(0, 1, 2) == int(np.random.SeedSequence((0, 1, 2)).generate_state(1)[0])


@pytest.mark.parametrize(("count", "batch"), [(10, 3), (9, 3), (3, 3), (2, 3), (0, 3), (7, 1)])
def test_order_cuts_a_shuffle_into_full_batches(count, batch):
    batches = list(loop.order(count, batch, seed=1))
    assert [len(chosen) for chosen in batches] == [batch] * (count // batch)
    seen = [int(index) for chosen in batches for index in chosen]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(count))


def test_order_is_its_seed_s():
    def once(seed: int) -> list[int]:
        return torch.cat(list(loop.order(100, 10, seed))).tolist()

    assert once(1) == once(1) != once(2)
    assert once(1) != sorted(once(1))


def test_warm_cosine_by_hand():
    # 8 steps, a quarter of them warm: rise = 2, then a half cosine over the other 6.
    by_hand = [1 / 3, 2 / 3, 1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873]
    assert [loop.warm_cosine(step, 8) for step in range(8)] == pytest.approx(by_hand)


@pytest.mark.parametrize("steps", [1, 2, 3, 40, 1001])
@pytest.mark.parametrize("warm", [0.0, 0.25, 0.9, 1.0])
def test_warm_cosine_rises_to_the_peak_and_falls(steps, warm):
    shares = [loop.warm_cosine(step, steps, warm=warm) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares)
    top = shares.index(max(shares))
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)


def test_history_is_written_as_columns_in_order_of_appearance(tmp_path):
    history = loop.History([{"epoch": 1, "loss": 0.123456789}, {"epoch": 2, "loss": 1e-9, "error": 0.5}])
    history.write(tmp_path / "history.csv")
    text = (tmp_path / "history.csv").read_bytes().decode()
    assert text == "epoch,loss,error\n1,0.123457,\n2,1e-09,0.5\n"
    with (tmp_path / "history.csv").open(newline="") as file:
        assert [row["loss"] for row in csv.DictReader(file)] == ["0.123457", "1e-09"]


# --- fit


def test_the_loss_falls_and_the_network_is_left_ready_to_use(digits):
    network = random_network()
    scored = []

    def validate(network: nn.Module) -> loop.Row:
        scored.append(network.training)
        with torch.inference_mode():
            return {"error": float(network(digits[0]).argmax(dim=1).ne(digits[1]).float().mean())}

    history, _ = train(network, digits, validate=validate, augment=None)
    assert [row["epoch"] for row in history.rows] == [1, 2, 3, 4]
    assert history.rows[-1]["loss"] < history.rows[0]["loss"] / 2
    assert history.rows[-1]["error"] < 0.2 < history.rows[0]["error"]
    assert scored == [False] * 4
    assert not network.training


def test_the_same_seed_gives_the_same_weights(digits):
    networks = [random_network() for _ in range(3)]
    histories = [train(network, digits, seed=seed)[0] for network, seed in zip(networks, (5, 5, 6), strict=True)]
    assert_same(networks[0].state_dict(), networks[1].state_dict())
    assert without_times(histories[0]) == without_times(histories[1])
    assert not torch.equal(networks[0][1].weight, networks[2][1].weight)


def test_nobody_else_s_random_numbers_change(digits):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    train(random_network(), digits, epochs=1)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_what_others_draw_changes_no_run(digits):
    networks = [random_network() for _ in range(2)]

    def draw(_: nn.Module) -> loop.Row:
        torch.rand(100)
        return {}

    train(networks[0], digits)
    torch.rand(7)
    train(networks[1], digits, validate=draw)
    assert_same(networks[0].state_dict(), networks[1].state_dict())


def killed_in_validation(network: nn.Module, examples: tuple[Tensor, Tensor], folder: Path, average: float) -> None:
    epochs = []

    def validate(_: nn.Module) -> loop.Row:
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        train(network, examples, folder=folder, validate=validate, average=average)


def killed_in_the_middle_of_an_epoch(
    network: nn.Module, examples: tuple[Tensor, Tensor], folder: Path, average: float
) -> None:
    steps = []

    def augment(batch: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        steps.append(1)
        if len(steps) == 20:
            raise KeyboardInterrupt
        return flickered(batch, generator)

    with pytest.raises(KeyboardInterrupt):
        train(network, examples, folder=folder, augment=augment, average=average)


def out_of_budget(network: nn.Module, examples: tuple[Tensor, Tensor], folder: Path, average: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", slow_clock(10))
        assert len(train(network, examples, folder=folder, budget_s=25, average=average)[0].rows) == 2


def slow_clock(seconds_an_epoch: float) -> SimpleNamespace:
    """A clock that is asked when `fit` starts, and when an epoch starts and ends; only epochs take time."""
    readings = iter(range(10_000))

    def monotonic() -> float:
        return next(readings) // 2 * seconds_an_epoch

    return SimpleNamespace(monotonic=monotonic)


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("kill", [killed_in_validation, killed_in_the_middle_of_an_epoch, out_of_budget])
def test_a_killed_run_ends_as_if_nothing_had_happened(tmp_path, digits, kill, average):
    whole, broken, resumed = random_network(), random_network(), random_network(seed=1)
    history, optimizer = train(whole, digits, average=average)
    kill(broken, digits, tmp_path, average)
    assert not torch.equal(broken[1].weight, whole[1].weight)
    resumed_history, resumed_optimizer = train(resumed, digits, folder=tmp_path, average=average)
    assert_same(resumed.state_dict(), whole.state_dict())
    assert_same(resumed_optimizer, optimizer)
    assert without_times(resumed_history) == without_times(history)
    assert len(resumed_history.rows) == 4


def test_a_run_goes_on_with_the_very_same_objects_too(tmp_path, digits):
    """The learning rate that a killed run had reached must not become the next run's peak."""
    whole, broken = random_network(), random_network()
    train(whole, digits)
    optimizer = torch.optim.AdamW(broken.parameters(), lr=1e-2)
    options = {"optimizer": optimizer, "epochs": 4, "batch": 64, "seed": 5, "augment": flickered, "folder": tmp_path}

    def fail(_: nn.Module) -> loop.Row:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        loop.fit(broken, digits, cross_entropy, validate=fail, report=lambda _: None, **options)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2]
    broken.load_state_dict(random_network().state_dict())
    optimizer.state.clear()
    loop.fit(broken, digits, cross_entropy, validate=no_score, report=lambda _: None, **options)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2]
    assert_same(broken.state_dict(), whole.state_dict())


def test_the_mean_of_the_weights_is_validated_and_remains(digits):
    plain, averaged = plain_network(), plain_network()
    steps: list[Tensor] = []

    def noting(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        steps.append(network[1].weight.detach().clone())
        return cross_entropy(network, images, labels)

    def validate(network: nn.Module) -> loop.Row:
        return {"norm": float(network[1].weight.norm())}

    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    options = {"epochs": 2, "batch": 64, "seed": 5, "report": lambda _: None}
    loop.fit(plain, digits, noting, optimizer=optimizer, validate=no_score, **options)
    steps.append(plain[1].weight.detach())
    mean = steps[1]  # after the first step, the mean is that step's weights
    for weights in steps[2:]:
        mean = 0.8 * mean + 0.2 * weights
    optimizer = torch.optim.SGD(averaged.parameters(), lr=0.1)
    history = loop.fit(averaged, digits, cross_entropy, optimizer=optimizer, validate=validate, average=0.8, **options)
    torch.testing.assert_close(averaged[1].weight.detach(), mean, atol=1e-6, rtol=0)
    assert history.rows[-1]["norm"] == pytest.approx(float(mean.norm()), rel=1e-5)


def test_what_is_watched_can_be_replayed(tmp_path, digits):
    """The mean of the weights before training and after each epoch, also of a run that was killed in between."""

    def watch(network: nn.Module) -> dict[str, Tensor]:
        assert not network.training
        with torch.no_grad():
            return {"logits": network(digits[0][:5])}

    whole = random_network()
    train(whole, digits, epochs=3, average=0.9, folder=tmp_path / "whole", watch=watch)
    killed = random_network()
    train(killed, digits, epochs=3, average=0.9, folder=tmp_path / "killed", watch=watch, budget_s=0.0)
    train(random_network(), digits, epochs=3, average=0.9, folder=tmp_path / "killed", watch=watch)
    found = loop.moments(tmp_path / "whole")["logits"]
    assert torch.equal(found, loop.moments(tmp_path / "killed")["logits"])
    assert found.shape == (4, 5, 10)
    assert torch.equal(found[0], watch(random_network().eval())["logits"])
    assert torch.equal(found[3], watch(whole)["logits"])
    assert loop.moments(tmp_path) == {}


@pytest.mark.parametrize("last", [31, 32, 60, 200])
def test_of_a_long_run_early_moments_count_more(tmp_path, last):
    for epoch in range(last + 1):
        save_file({"epoch": torch.tensor(epoch)}, tmp_path / f"moment{epoch:03}.safetensors")
    found = loop.moments(tmp_path)["epoch"]
    gaps = found.diff()
    assert (int(found[0]), int(found[-1])) == (0, last)
    assert len(found) <= loop.MOST
    assert int(gaps.min()) >= 1
    if last >= loop.MOST:
        assert int(gaps[-1]) > int(gaps[0])


def test_a_finished_run_is_only_read(tmp_path, digits):
    first, again = random_network(), random_network(seed=1)
    history, _ = train(first, digits, epochs=2, folder=tmp_path)
    written = (tmp_path / "state.safetensors").stat().st_mtime_ns
    assert train(again, digits, epochs=2, folder=tmp_path)[0] == history
    assert_same(again.state_dict(), first.state_dict())
    assert (tmp_path / "state.safetensors").stat().st_mtime_ns == written


def test_another_network_s_state_is_refused(tmp_path, digits):
    train(random_network(), digits, epochs=1, folder=tmp_path)
    with pytest.raises(RuntimeError, match=r"2\.running_mean"):
        train(plain_network(), digits, epochs=2, folder=tmp_path)


@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.NAdam, torch.optim.Adagrad])
def test_any_optimizer_s_state_survives(optimizer_class):
    def steps(count: int, optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()

    def fresh() -> tuple[nn.Parameter, torch.optim.Optimizer]:
        weight = nn.Parameter(torch.arange(4.0))
        momentum = {"momentum": 0.9} if optimizer_class is torch.optim.SGD else {}
        return weight, optimizer_class([weight], lr=0.1, **momentum)

    whole, whole_optimizer = fresh()
    steps(5, whole_optimizer, whole)
    first, first_optimizer = fresh()
    steps(3, first_optimizer, first)
    second, second_optimizer = fresh()
    second.data.copy_(first.data)
    loop.restore_optimizer(second_optimizer, {"network.0": whole.data, **loop.optimizer_tensors(first_optimizer)})
    steps(2, second_optimizer, second)
    assert torch.equal(second, whole)


def test_the_budget_stops_before_an_epoch_that_would_end_too_late(monkeypatch, digits):
    for budget_s, expected in [(9, 1), (19.9, 1), (20, 2), (29.9, 2), (30, 3), (math.inf, 4)]:
        monkeypatch.setattr(loop, "time", slow_clock(10))
        history, _ = train(plain_network(), digits, budget_s=budget_s)
        assert len(history.rows) == expected
        assert [row["seconds"] for row in history.rows] == [10] * expected


def test_a_spent_budget_trains_nothing(digits):
    network = plain_network()
    history, _ = train(network, digits, budget_s=-1)
    assert history.rows == []
    assert_same(network.state_dict(), plain_network().state_dict())
    assert not network.training


@pytest.mark.parametrize("batch", [0, -64, 513])
def test_a_batch_that_does_not_fit_is_refused(digits, batch):
    with pytest.raises(ValueError, match=f"expected a batch of 1 to 512 that 1 processes can share, got {batch}"):
        train(plain_network(), digits, batch=batch)


def test_each_epoch_is_reported_in_one_line(digits):
    lines = []
    train(plain_network(), digits, epochs=2, report=lines.append, validate=lambda _: {"error": 0.25})
    assert [line.split()[:2] for line in lines] == [["epoch", "1"], ["epoch", "2"]]
    assert all(line.endswith("error 0.25") for line in lines)


def test_one_step_of_fit_by_hand(digits):
    """One batch of plain gradient descent, at the learning rate that the schedule gives its first step."""
    images, labels = digits[0][:8], digits[1][:8]
    network, twin = plain_network(), plain_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.8)
    loop.fit(
        network, (images, labels), cross_entropy, optimizer=optimizer, epochs=1, batch=8, seed=0,
        validate=no_score, mixed_precision=False, report=lambda _: None,
    )  # fmt: skip
    gradients = torch.autograd.grad(cross_entropy(twin, images, labels), list(twin.parameters()))
    for moved, start, gradient in zip(network.parameters(), twin.parameters(), gradients, strict=True):
        torch.testing.assert_close(moved, start - 0.8 * loop.warm_cosine(0, 1) * gradient)


def test_own_batches_a_clipped_gradient_and_another_warm_up_by_hand(digits):
    """Two steps on batches that the caller cuts, against the same steps written out."""
    images, labels = digits[0][:8], digits[1][:8]
    network, twin = plain_network(), plain_network()
    seeds = []

    def halves(seed: int) -> list[Tensor]:
        seeds.append(seed)
        return [torch.tensor([0, 2, 4, 6]), torch.tensor([1, 3, 5, 7])]

    loop.fit(
        network, (images, labels), cross_entropy, optimizer=torch.optim.SGD(network.parameters(), lr=0.8), epochs=2,
        batch=4, seed=0, validate=no_score, batches=halves, warm=0.5, clip=0.01, mixed_precision=False,
        report=lambda _: None,
    )  # fmt: skip
    parameters = list(twin.parameters())
    for step, chosen in enumerate(2 * halves(0)):
        gradients = torch.autograd.grad(cross_entropy(twin, images[chosen], labels[chosen]), parameters)
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        assert norm > 0.01, "or nothing would be clipped"
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.8 * loop.warm_cosine(step, 4, warm=0.5) * gradient * 0.01 / norm
    for moved, expected in zip(network.parameters(), parameters, strict=True):
        torch.testing.assert_close(moved, expected)
    assert len(set(seeds)) == 3, "each epoch has a seed of its own"


# --- the state on disk


def test_a_state_is_read_as_it_was_saved(tmp_path):
    tensors = {"network.weight": torch.randn(3, 2).T, "optimizer.0.step": torch.tensor(7.0)}
    history = loop.History([{"epoch": 1, "loss": 0.1 + 0.2}])
    loop.save_state(tmp_path / "new" / "folder", 1, history, tensors)
    epoch, read, found = loop.load_state(tmp_path / "new" / "folder")
    assert (epoch, read) == (1, history)
    assert_same(found, tensors)
    assert loop.load_state(tmp_path) is None


def test_a_state_is_replaced_whole_or_not_at_all(monkeypatch, tmp_path):
    loop.save_state(tmp_path, 1, loop.History([{"epoch": 1}]), {"network.weight": torch.ones(3)})

    def crash(_: dict, path: Path, __: dict) -> None:
        path.write_bytes(b"half a file")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_file", crash)
        with pytest.raises(OSError, match="no space left"):
            loop.save_state(tmp_path, 2, loop.History(), {"network.weight": torch.zeros(3)})
    epoch, history, tensors = loop.load_state(tmp_path)
    assert (epoch, history.rows) == (1, [{"epoch": 1}])
    assert tensors["network.weight"].tolist() == [1, 1, 1]
    loop.save_state(tmp_path, 2, loop.History(), {"network.weight": torch.zeros(3)})
    assert loop.load_state(tmp_path)[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


# --- range test


def sgd(network: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=rate)


def ranged(network: nn.Module, examples: tuple[Tensor, Tensor], rates: list[float], **options: int) -> list[loop.Trial]:
    usual = {"batches": 8, "batch": 64, "seed": 1}
    return loop.range_test(network, examples, cross_entropy, rates=rates, make_optimizer=sgd, **usual | options)


def least_squares_slope(losses: tuple[float, ...]) -> float:
    """sum (k - mean k)(loss - mean loss) / sum (k - mean k)^2, written out."""
    count = len(losses)
    mean_k, mean_loss = (count - 1) / 2, sum(losses) / count
    above = sum((k - mean_k) * (loss - mean_loss) for k, loss in enumerate(losses))
    return above / sum((k - mean_k) ** 2 for k in range(count))


def test_range_test_picks_a_rate_between_too_timid_and_too_bold(digits):
    rates = [1e-5, 1e-3, 0.3, 100.0, 1e30]
    trials = ranged(plain_network(), digits, rates)
    assert [trial.rate for trial in trials] == rates
    assert min(trials, key=lambda trial: trial.slope).rate == 0.3
    assert abs(trials[0].slope) < 0.01
    assert trials[2].slope < -0.02
    # 100 blows up and comes back down, which a line takes for the steepest fall of all.
    assert least_squares_slope(trials[3].losses) < trials[2].slope
    assert trials[3].slope == math.inf
    assert not math.isfinite(trials[4].losses[-1])
    assert trials[4].slope == math.inf


def test_range_test_fits_a_line_to_every_batch(digits):
    for trial in ranged(random_network(), digits, [1e-3, 0.1]):
        assert len(trial.losses) == 8
        assert trial.slope == pytest.approx(least_squares_slope(trial.losses), rel=1e-6, abs=1e-9)
        assert trial.slope == pytest.approx(np.polyfit(range(8), trial.losses, 1)[0], rel=1e-9)


def test_range_test_starts_every_rate_alike(digits):
    """The same rate gives the same losses, whatever was tried before it; dropout and batch norm included."""
    alone = ranged(random_network(), digits, [0.1])
    after_others = ranged(random_network(), digits, [3.0, 1e30, 0.1])
    assert after_others[2] == alone[0]


@pytest.mark.parametrize("training", [True, False])
def test_range_test_leaves_the_network_as_it_was(digits, training):
    network = random_network().train(training)
    before = copy.deepcopy(network.state_dict())
    random_state = torch.get_rng_state()
    ranged(network, digits, [0.1, 1e30])
    assert_same(network.state_dict(), before)
    assert network.training is training
    assert torch.equal(torch.get_rng_state(), random_state)

    def fail(_: nn.Module, __: float) -> torch.optim.Optimizer:
        network[1].weight.data.zero_()
        raise OSError("no optimizer")

    with pytest.raises(OSError, match="no optimizer"):
        loop.range_test(
            network, digits, cross_entropy, rates=[0.1], batches=3, batch=8, seed=0, make_optimizer=fail
        )  # fmt: skip
    assert_same(network.state_dict(), before)
    assert network.training is training


@pytest.mark.parametrize("batches", [2, 9])
def test_range_test_refuses_too_few_or_too_many_batches(digits, batches):
    with pytest.raises(ValueError, match=f"expected 3 to 8 batches of 64, got {batches}"):
        ranged(plain_network(), digits, [0.1], batches=batches)


# --- two processes


def few_steps(examples: tuple[Tensor, Tensor], **options: object) -> tuple[nn.Module, loop.History]:
    """The run that one and two processes do alike."""
    network = plain_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    usual = {"epochs": 3, "batch": 64, "seed": 2, "validate": no_score, "report": lambda _: None}
    return network, loop.fit(network, examples, cross_entropy, optimizer=optimizer, **usual | options)


def shared_examples() -> tuple[Tensor, Tensor]:
    """Pictures of noise with the labels of another network, since they cost a process no further import."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(256, 1, 28, 28, generator=generator)
    return images, (images.flatten(1) @ torch.randn(784, 10, generator=generator)).argmax(dim=1)


def one_of_two(out: Path) -> None:
    """What each process does; it leaves weights and facts for the test to judge."""
    rank = int(os.environ["RANK"])
    examples = shared_examples()
    facts: dict[str, object] = {"validated": [], "reported": 0, "saved": 0}
    save_state: Callable[..., None] = loop.save_state

    def counted(*arguments: object) -> None:
        facts["saved"] += 1
        save_state(*arguments)

    def validate(network: nn.Module) -> loop.Row:
        facts["validated"].append([type(network).__name__, network.training])
        return {}

    def report(_: str) -> None:
        facts["reported"] += 1

    loop.save_state = counted
    network, history = few_steps(
        examples, mixed_precision=False, folder=out / "whole", validate=validate, report=report
    )  # fmt: skip
    facts["losses"] = [row["loss"] for row in history.rows]
    save_file(network.state_dict(), out / f"weights{rank}.safetensors")

    # Only one process computes this gradient: it would wait for ever if a wrapper were left.
    if rank == 0:
        cross_entropy(network, *examples).backward()
        facts["gradient"] = bool(network[1].weight.grad.abs().sum() > 0)

    # The second process has the slower clock and alone finds that the budget is spent.
    clock = loop.time
    loop.time = slow_clock(1 + 9 * rank)
    _, history = few_steps(examples, mixed_precision=False, folder=out / "broken", budget_s=15)
    facts["epochs_in_budget"] = len(history.rows)
    loop.time = clock
    network, history = few_steps(examples, mixed_precision=False, folder=out / "broken")
    facts["epochs_after_resume"] = len(history.rows)
    save_file(network.state_dict(), out / f"resumed{rank}.safetensors")

    try:
        few_steps(examples, batch=63)
    except ValueError as error:
        facts["refused"] = str(error)
    if rank == 0:
        network, _ = few_steps(examples, folder=out / "whole")
        save_file(network.state_dict(), out / "read.safetensors")
    (out / f"facts{rank}.json").write_text(json.dumps(facts))
    torch.distributed.destroy_process_group()


def test_two_processes(tmp_path):
    """Weights, budget, resume and files of a run that two processes share."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    launcher = subprocess.Popen([*command, __file__, str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        errors = launcher.communicate(timeout=120)[1]
    finally:
        launcher.terminate()  # in vain if it has ended; otherwise it takes its two processes along
        launcher.wait()
    assert launcher.returncode == 0, errors
    network, history = few_steps(shared_examples(), mixed_precision=False)
    assert history.rows[-1]["loss"] < history.rows[0]["loss"] / 2
    facts = [json.loads((tmp_path / f"facts{rank}.json").read_text()) for rank in (0, 1)]

    for rank in (0, 1):
        weights = load_file(tmp_path / f"weights{rank}.safetensors")
        assert weights.keys() == network.state_dict().keys()
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(weights[name], tensor, rtol=0, atol=1e-6)
        assert facts[rank]["losses"] == pytest.approx([row["loss"] for row in history.rows], abs=1e-6)
        assert facts[rank]["validated"] == [["Sequential", False]] * 3
        assert_same(load_file(tmp_path / f"resumed{rank}.safetensors"), weights)
        assert facts[rank]["epochs_in_budget"] == 1
        assert facts[rank]["epochs_after_resume"] == 3
        assert facts[rank]["refused"] == "expected a batch of 1 to 256 that 2 processes can share, got 63"
    assert facts[0]["gradient"]
    assert [fact["reported"] for fact in facts] == [3, 0]
    assert [fact["saved"] for fact in facts] == [6, 0]
    assert_same(load_file(tmp_path / "read.safetensors"), load_file(tmp_path / "weights0.safetensors"))


if __name__ == "__main__":
    one_of_two(Path(sys.argv[1]))
