"""Train a topic's runs and store them: `python scripts/train.py mc_dropout [--variant V] [--seeds 0 1]`.

Each seed trains in runs/<topic>/<variant>/<seed>/, where a killed run continues, and leaves
its scores there. When a variant's seeds are all there, the run is written to checkpoints/.
For several processes: torchrun --nproc_per_node 2 scripts/train.py …
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from core import card, loop, store

RUNS = Path(__file__).resolve().parent.parent / "runs"


def commit() -> str:
    """The commit that is checked out, with + if files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "core", "scripts")
    return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")


def first_process() -> bool:
    """Is this the process that writes? Under torchrun all others only help to train."""
    return os.environ.get("RANK", "0") == "0"


def plain(recipe: Any) -> dict[str, Any]:
    """A recipe as JSON gives it back, to tell whether a finished run is one of it."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Per score: that of the stored weights (the first row), and mean and spread over all rows."""
    return {
        key: {
            "stored": rows[0][key],
            "mean": statistics.fmean(row[key] for row in rows),
            "spread": statistics.stdev(row[key] for row in rows) if len(rows) > 1 else 0.0,
            "runs": len(rows),
        }
        for key in rows[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", choices=card.topics(room="recipe"))
    parser.add_argument("--variant", help="one variant; all by default")
    parser.add_argument("--seeds", type=int, nargs="*", help="only these seeds; the recipe's by default")
    parser.add_argument("--budget-s", type=float, default=float("inf"), help="stop each seed after this many seconds")
    options = parser.parse_args()
    recipe_room = card.load(options.topic, "recipe")
    variants = [options.variant] if options.variant else list(recipe_room.RECIPES)
    if unknown := set(variants) - set(recipe_room.RECIPES):
        sys.exit(f"{options.topic} has no variant {unknown.pop()!r}; it has {', '.join(recipe_room.RECIPES)}.")
    begun_at = commit()
    for variant in variants:
        recipe = recipe_room.RECIPES[variant]
        for seed in options.seeds if options.seeds is not None else recipe.seeds:
            folder = RUNS / options.topic / variant / str(seed)
            if (folder / "scores.json").is_file():
                if json.loads((folder / "scores.json").read_text())["recipe"] != plain(recipe):
                    sys.exit(f"{folder} holds a run of another recipe. Remove it to train anew.")
                continue
            print(f"{options.topic}/{variant}, seed {seed}", flush=True)
            network, history = recipe_room.train(recipe, seed=seed, folder=folder, budget_s=options.budget_s)
            if history and len(history.rows) < recipe.epochs:  # a topic that trains nothing has no history
                sys.exit(f"The budget ended at epoch {len(history.rows)} of {recipe.epochs}; run again to continue.")
            if not first_process():
                continue
            scores = recipe_room.evaluate(network, seed=seed)
            folder.mkdir(parents=True, exist_ok=True)  # a topic that trains nothing has left no state there
            kept = {"commit": begun_at, "recipe": plain(recipe), "scores": scores}
            (folder / "scores.json").write_text(json.dumps(kept))
            print("  ".join(f"{name} {value:.5g}" for name, value in scores.items()), flush=True)
        if first_process():
            keep(options.topic, variant, recipe_room)


def keep(topic: str, variant: str, recipe_room: Any) -> None:
    """Write the run to checkpoints/, once every seed of its recipe has scores."""
    recipe = recipe_room.RECIPES[variant]
    folders = [RUNS / topic / variant / str(seed) for seed in recipe.seeds]
    if not all((folder / "scores.json").is_file() for folder in folders):
        return
    runs = [json.loads((folder / "scores.json").read_text()) for folder in folders]
    rows = [run["scores"] for run in runs]
    commits = sorted({run["commit"] for run in runs})
    network, history = recipe_room.train(recipe, seed=recipe.seeds[0], folder=folders[0])
    measured = {
        "command": f"make train TOPIC={topic}",
        "commit": ", ".join(commits),
        "seeds": list(recipe.seeds),
        "spread": "standard deviation over runs, from training",
    }
    config = {**recipe_room.describe(recipe), "scores": summary(rows), "measured": measured}
    if recipe.keep_weights:
        replay = loop.moments(folders[0])
        companions = recipe_room.companions(network) | ({"replay.safetensors": replay} if replay else {})
        run = store.save(f"{topic}/{variant}", config=config, network=network, history=history, companions=companions)
    else:
        run = store.save(f"{topic}/{variant}", config=config, history=history)
    print(f"stored {run.folder.relative_to(RUNS.parent)}")


if __name__ == "__main__":
    main()
