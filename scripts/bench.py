"""How fast is a topic's method beside the obvious ways? `python scripts/bench.py [topic]`, all topics by default.

The ways run in turn in one process, so that a busy moment slows all of them. The table is
printed and written to docs/bench/<topic>.md.
"""

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

DOCS = Path(__file__).resolve().parent.parent / "docs" / "bench"
WARM_UP, REPETITIONS = 5, 40


@dataclass(frozen=True)
class Comparison:
    """Several ways to the same answer.

    title  what is asked of all of them
    ways   description -> the call; the first one is the method's own, to which the others are compared
    """

    title: str
    ways: dict[str, Callable[[], object]]


def mc_dropout() -> Comparison:
    """One trunk and T thinned heads, against T passes through the whole network."""
    from core import store
    from core.topics.mc_dropout import method
    from core.topics.mc_dropout.network import DropoutCNN

    passes = 50
    run = store.load("mc_dropout/dropout")
    network = run.fill(DropoutCNN(**run.network))
    training = copy.deepcopy(network).train()
    image = run.tensors("samples.safetensors")["three"][None, None] / 255
    generator = torch.Generator().manual_seed(0)
    return Comparison(
        title=f"MC dropout: {passes} passes for one picture of 28x28 pixels",
        ways={
            "`method.monte_carlo`: one trunk, thinned heads": lambda: method.monte_carlo(
                network, image, passes=passes, rate=network.rate, generator=generator
            ),
            f"one batch of {passes} copies through the whole network": lambda: training(
                image.expand(passes, -1, -1, -1)
            ).softmax(dim=-1),
            f"{passes} passes through the whole network, one after the other": lambda: torch.stack(
                [training(image).softmax(dim=-1) for _ in range(passes)]
            ),
            "one pass with dropout off, for scale": lambda: network(image).softmax(dim=-1),
        },
    )


COMPARISONS = {"mc_dropout": mc_dropout}


def medians_ms(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median time of each way in ms, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for _ in range(WARM_UP + REPETITIONS):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                times[name].append(time.perf_counter() - started)
    return {name: 1000 * statistics.median(seconds[WARM_UP:]) for name, seconds in times.items()}


def machine() -> str:
    """Processor, threads and torch version, since no time means anything without them."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def table(comparison: Comparison) -> str:
    """Measure, and say it in Markdown."""
    medians = medians_ms(comparison.ways)
    own = next(iter(medians.values()))
    rows = [f"| {name} | {median:.2f} | {median / own:.1f} |" for name, median in medians.items()]
    return "\n".join(
        [
            f"# {comparison.title}",
            "",
            "| way | median, ms | times the first |",
            "| --- | ---: | ---: |",
            *rows,
            "",
            f"{REPETITIONS} repetitions in turn, in one process, after {WARM_UP} to warm up. {machine()}.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", nargs="?", choices=sorted(COMPARISONS), help="all by default")
    options = parser.parse_args()
    DOCS.mkdir(parents=True, exist_ok=True)
    for topic in [options.topic] if options.topic else sorted(COMPARISONS):
        text = table(COMPARISONS[topic]())
        (DOCS / f"{topic}.md").write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
