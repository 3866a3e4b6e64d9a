"""Training: seeds, order, budget, history, resume, schedule, learning-rate range test.

`fit` is the plain supervised loop. A topic that trains otherwise (two networks in
turn, say) writes its own loop in recipe.py over the same parts: `seed_of`, `order`,
`History`, `save_state` and `load_state`.

One process or many: `Accelerator` finds the device, wraps the network for several
processes and averages gradients. Batches are cut here, from one seeded order that
all processes share, so the global batch is the same however many take part.
"""

import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

DIVERGED = 4.0  # times the first loss: a range test counts more than that as a blow-up
MOST = 32  # moments of a run that a page replays
WARM = 0.25  # share of the steps in which the learning rate rises
Loss = Callable[..., Tensor]  # loss(network, *batch) -> scalar
Row = dict[str, float]
Augment = Callable[[tuple[Tensor, ...], torch.Generator], tuple[Tensor, ...]]


def seed_of(*parts: int) -> int:
    """One seed from several numbers (run, epoch, process …), well mixed.

    Neighbouring runs must not share streams, as `seed + epoch` would make them. Zeros at the
    end do not count: seed_of(3) == seed_of(3, 0).
    source  numpy.random.SeedSequence
    """
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def order(count: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Indices of one epoch, shuffled, cut into full batches; the incomplete last batch is left out.

    count   number of examples
    batch   examples per (global) batch
    returns an iterator over (batch,) int64; none if there are fewer examples than a batch holds
    """
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return iter(shuffled[: count - count % batch].view(-1, batch))


@dataclass
class History:
    """What each epoch brought, one row of numbers per epoch, as history.csv keeps it."""

    rows: list[Row] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write CSV, columns in the order of their first appearance."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in self.rows)


def warm_cosine(step: int, steps: int, *, warm: float = WARM) -> float:
    """Which share of the peak learning rate applies at this step?

    rise  = max(1, warm * steps)
    share = (step + 1) / (rise + 1)                                  while step < rise
    share = (1 + cos(pi * (step - rise) / (steps - rise))) / 2       after

    step    0 … steps - 1
    returns a number in (0, 1]
    source  Loshchilov and Hutter 2017, arXiv:1608.03983, with a linear warm-up
    """
    rise = max(1.0, warm * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return float(0.5 * (1 + np.cos(np.pi * (step - rise) / max(1.0, steps - rise))))


def save_state(folder: Path, epoch: int, history: History, tensors: dict[str, Tensor]) -> None:
    """Keep what a killed run needs to go on; replaces the former state in one rename, so it is never half written."""
    folder.mkdir(parents=True, exist_ok=True)
    # The metadata travels inside the same file: two files could disagree after a crash.
    metadata = {"epoch": str(epoch), "history": json.dumps(history.rows)}
    partial = folder / "state.partial"
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata)
    partial.replace(folder / "state.safetensors")


def load_state(folder: Path) -> tuple[int, History, dict[str, Tensor]] | None:
    """The state that `save_state` left in this folder, or None."""
    from safetensors import safe_open

    path = folder / "state.safetensors"
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    return int(metadata["epoch"]), History(json.loads(metadata["history"])), load_file(path)


def keep_moment(folder: Path, epoch: int, tensors: Mapping[str, Tensor]) -> None:
    """Leave what a page is to replay of one epoch, 0 being before training, where `moments` finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), folder / f"moment{epoch:03}.safetensors")


def moments(folder: Path) -> dict[str, Tensor]:
    """What a run watched, of the start and after each epoch, stacked: (epochs + 1, …); empty if it watched nothing.

    Of a long run MOST moments, the closer together the earlier: (MOST, …).
    raises  FileNotFoundError if one is missing in between
    """
    last = len(list(folder.glob("moment*.safetensors"))) - 1
    epochs = range(last + 1) if last < MOST else sorted({round(last * (k / (MOST - 1)) ** 1.5) for k in range(MOST)})
    found = [load_file(folder / f"moment{epoch:03}.safetensors") for epoch in epochs]
    return {name: torch.stack([moment[name] for moment in found]) for name in found[0]} if found else {}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as flat named tensors, `optimizer.<parameter index>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took; tensors of other names are ignored."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


@contextmanager
def peak_rates(optimizer: torch.optim.Optimizer) -> Iterator[list[float]]:
    """The learning rate of each parameter group, put back at the end, also after an exception.

    Otherwise a second `fit` with the same optimizer would take a half-decayed rate for the peak.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    try:
        yield peaks
    finally:
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak


def descend(value: Tensor, optimizer: torch.optim.Optimizer, accelerator: Accelerator, *, clip: float) -> Tensor:
    """One step down the gradient of a batch's loss, scalar; returns that loss without its graph.

    clip  the most that the norm of all gradients together may be; 0 for no limit
    """
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(value)
    if clip:
        accelerator.clip_grad_norm_([leaf for group in optimizer.param_groups for leaf in group["params"]], clip)
    optimizer.step()
    return value.detach().float()


def fit(
    network: nn.Module,
    examples: Sequence[Tensor],
    loss: Loss,
    *,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    batch: int,
    seed: int,
    validate: Callable[[nn.Module], Row],
    batches: Callable[[int], Iterable[Tensor]] | None = None,
    augment: Augment | None = None,
    warm: float = WARM,
    clip: float = 0.0,
    average: float = 0.0,
    folder: Path | None = None,
    watch: Callable[[Any], Mapping[str, Tensor]] | None = None,
    budget_s: float = float("inf"),
    mixed_precision: bool = True,
    report: Callable[[str], None] = print,
) -> History:
    """Train a network in place.

    examples   tensors of equal length N; each batch is a slice of all of them
    loss       loss(network, *batch) -> scalar, through network(...): on several processes the
               network is wrapped and has no other methods
    optimizer  over the network's parameters; its learning rates are the peak of `warm_cosine`
    batch      global batch size, divided among the processes
    seed       decides order, augmentation and dropout; the weights come initialised
    validate   validate(network in eval mode) -> numbers for the history
    batches    batches(seed) -> the indices (batch,) of an epoch's N // batch batches; `order` by default
    augment    augment(batch, generator) -> what `loss` gets in its place
    warm       see `warm_cosine`
    clip       the most that the norm of all gradients together may be; 0 for no limit
    average    decay per step of an exponential mean of the weights, which is then what is
               validated and what remains; 0 for none
               mean = average * mean + (1 - average) * weights
    folder     where the state is kept after each epoch; a run that finds one continues,
               and ends with the same weights as a run that was never interrupted; all
               processes must see the same folder
    watch      watch(network in eval mode) -> tensors that are kept in the folder, before training and after each
               epoch, for a page that replays it; `moments` reads them
    budget_s   no epoch is begun that would end later than this many seconds from now, if it
               takes as long as the slowest one of this call
    mixed_precision  layers compute in bfloat16, weights stay float32. Each process rounds its
               own gradients, so only without it (and without dropout, batch normalisation and
               augmentation) do several processes end with the weights of one
    returns    History; fewer than `epochs` rows if the budget ended it
    raises     ValueError if the batch cannot be divided, or exceeds the examples
    """
    # Unless it is told to use the CPU, processes without a GPU would not find each other
    # and would train the same run side by side.
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    share, rank, device = accelerator.num_processes, accelerator.process_index, accelerator.device
    count = len(examples[0])
    if batch % share or not 0 < batch <= count:
        raise ValueError(f"expected a batch of 1 to {count} that {share} processes can share, got {batch}")
    saved = load_state(folder) if folder else None
    done, history, tensors = saved or (0, History(), {})
    # A finished run is only read, and must not wait for processes that may be gone.
    wrapped = accelerator.prepare_model(network) if done < epochs else network
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(average), use_buffers=True) if average else None
    kept: dict[str, nn.Module] = {"network": network} | ({"average": mean} if mean else {})
    if saved:
        # The network is on its device by now, and the optimizer's state follows its parameters.
        for name, module in kept.items():
            prefix = f"{name}."
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        restore_optimizer(optimizer, tensors)
    batches = batches or partial(order, count, batch)
    steps_per_epoch = count // batch
    steps = epochs * steps_per_epoch
    started, slowest_s = time.monotonic(), 0.0
    if folder and watch and done == 0 and accelerator.is_main_process:
        keep_moment(folder, 0, watch(network.eval()))
    # Layers that draw random numbers (nn.Dropout) use the global generator: it is seeded
    # per epoch inside a fork, so that a resumed run draws the same and nobody else notices.
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), peak_rates(optimizer) as peaks:
        for epoch in range(done, epochs):
            epoch_started = time.monotonic()
            late = torch.tensor(float(epoch_started - started + slowest_s > budget_s), device=device)
            # Decided together: each process has a clock of its own, and nobody may be left waiting.
            if accelerator.reduce(late, "sum") > 0:
                break
            torch.manual_seed(seed_of(seed, epoch, rank))
            network.train()
            total = torch.zeros((), device=device)
            random = torch.Generator().manual_seed(seed_of(seed, epoch, rank, 1))
            for index, indices in enumerate(batches(seed_of(seed, epoch, 2))):
                rate_share = warm_cosine(epoch * steps_per_epoch + index, steps, warm=warm)
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["lr"] = peak * rate_share
                mine = indices.view(share, -1)[rank]
                part = tuple(tensor[mine] for tensor in examples)
                part = augment(part, random) if augment else part
                with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision):
                    value = loss(wrapped, *(tensor.to(device) for tensor in part))
                total += descend(value, optimizer, accelerator, clip=clip)
                if mean:
                    mean.update_parameters(network)
            network.eval()
            mean_loss = float(accelerator.reduce(total, "mean")) / steps_per_epoch
            seconds = time.monotonic() - epoch_started
            slowest_s = max(slowest_s, seconds)
            shown = mean.module.eval() if mean else network
            scores = validate(shown)
            history.rows.append({"epoch": epoch + 1, "seconds": seconds, "loss": mean_loss, **scores})
            if accelerator.is_main_process:
                if folder and watch:
                    keep_moment(folder, epoch + 1, watch(shown))
                if folder:
                    weights = {f"{part}.{leaf}": t for part, m in kept.items() for leaf, t in m.state_dict().items()}
                    save_state(folder, epoch + 1, history, weights | optimizer_tensors(optimizer))
                report("  ".join(f"{name} {value:.4g}" for name, value in history.rows[-1].items()))
            # Whichever process reads the folder next finds this state there.
            accelerator.wait_for_everyone()
    if mean:
        network.load_state_dict(mean.module.state_dict())
    network.cpu().eval()
    return history


@dataclass(frozen=True)
class Trial:
    """One learning rate of a range test: its batch losses and the slope of a line through them."""

    rate: float
    losses: tuple[float, ...]
    slope: float  # loss per batch; negative means learning


def range_test(
    network: nn.Module,
    examples: Sequence[Tensor],
    loss: Loss,
    *,
    rates: Sequence[float],
    batches: int,
    batch: int,
    seed: int,
    make_optimizer: Callable[[nn.Module, float], torch.optim.Optimizer],
) -> list[Trial]:
    """Which learning rate makes the loss fall fastest, all starting from the same weights?

    For each rate: restore the weights, train on the same `batches` batches, and fit
    loss[k] = intercept + slope * k  by least squares over k = 0 … batches - 1.
    `min(trials, key=lambda trial: trial.slope)` is the answer. The line uses every batch. All rates
    see the same batches, so much of their noise is common to all.

    A blow-up that comes back down would have the steepest line of all, so it does not count.

    returns one Trial per rate; a slope is +inf where a loss stopped being finite or rose above
            four times the first one
    raises  ValueError if fewer than three batches are asked for or there are too few examples
    """
    if batches < 3 or batches * batch > len(examples[0]):
        raise ValueError(f"expected 3 to {len(examples[0]) // batch} batches of {batch}, got {batches}")
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    was_training = network.training
    trials = []
    try:
        for rate in rates:
            network.load_state_dict(start)
            network.train()
            optimizer = make_optimizer(network, rate)
            losses = []
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed_of(seed, 3))
                for _, chosen in zip(range(batches), order(len(examples[0]), batch, seed_of(seed, 2)), strict=False):
                    value = loss(network, *(tensor[chosen] for tensor in examples))
                    optimizer.zero_grad(set_to_none=True)
                    value.backward()
                    optimizer.step()
                    losses.append(value.item())
            diverged = not np.isfinite(losses).all() or max(losses) > DIVERGED * abs(losses[0])
            slope = float("inf") if diverged else float(np.polyfit(np.arange(batches), losses, 1)[0])
            trials.append(Trial(rate, tuple(losses), slope))
    finally:
        network.load_state_dict(start)
        network.train(was_training)
    return trials
