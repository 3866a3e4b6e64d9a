"""Measure the stored weights again: `python scripts/evaluate.py [topic]`; fails where a score does not hold.

Tolerance: a quarter of the spread over the training runs, or 0.0001 where that is larger; another
machine's rounding stays within.
"""

import argparse
import sys
import time
from collections.abc import Mapping

import torch

from core import card, data, store

SHARE, SMALLEST = 0.25, 0.0001


def holds(entry: Mapping[str, float], measured: float) -> bool:
    """Is the score what config.json says, within the tolerance?"""
    return abs(measured - entry["stored"]) <= max(SMALLEST, SHARE * entry["spread"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", nargs="?", choices=card.topics(room="recipe"), help="all by default")
    options = parser.parse_args()
    broken = 0
    for topic in [options.topic] if options.topic else card.topics(room="recipe"):
        recipe_room = card.load(topic, "recipe")
        for variant, recipe in recipe_room.RECIPES.items():
            run = store.load(f"{topic}/{variant}")
            if not run.repeatable:
                print(f"{topic}/{variant}: its weights are not kept; mean and spread come from training")
                continue
            started = time.monotonic()
            try:
                scores = recipe_room.evaluate(recipe_room.restore(run), seed=recipe.seeds[0])
            except data.MissingSource as error:
                sys.exit(str(error))
            print(f"{run.name} ({time.monotonic() - started:.0f} s, torch {torch.__version__})")
            for key in sorted(run.config["scores"].keys() | scores.keys()):
                stored, value = run.config["scores"].get(key), scores.get(key)
                good = stored is not None and value is not None and holds(stored, value)
                broken += not good
                was = f"{stored['stored']:.5f}" if stored else "nothing"
                now = f"{value:.5f}" if value is not None else "nothing"
                print(f"  {'ok  ' if good else 'FAIL'} {key:18} stored {was}  measured {now}")
    if broken:
        sys.exit(f"{broken} scores do not hold.")
    print("Every score of the stored weights holds.")


if __name__ == "__main__":
    main()
