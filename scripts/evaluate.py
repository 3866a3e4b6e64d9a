"""Measure the stored weights again: `python scripts/evaluate.py [topic]`; fails where a score does not hold.

Tolerance: 5 % of the stored value or 0.0005, whichever is larger, which another machine's
rounding and other random masks stay within.
"""

import argparse
import sys
import time

import torch

from core import card, data, store

RELATIVE, ABSOLUTE = 0.05, 0.0005


def holds(stored: float, measured: float) -> bool:
    """Is the score what config.json says, within the tolerance?"""
    return abs(measured - stored) <= max(ABSOLUTE, RELATIVE * abs(stored))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", nargs="?", choices=card.topics(), help="all by default")
    options = parser.parse_args()
    broken = 0
    for topic in [options.topic] if options.topic else card.topics():
        recipe_room = card.load(topic, "recipe")
        for variant, recipe in recipe_room.RECIPES.items():
            if not recipe.keep_weights:
                print(f"{topic}/{variant}: its weights are not kept; mean and spread come from training")
                continue
            run = store.load(f"{topic}/{variant}")
            started = time.monotonic()
            try:
                scores = recipe_room.evaluate(recipe_room.restore(run), seed=recipe.seeds[0])
            except data.MissingSource as error:
                sys.exit(str(error))
            print(f"{run.name} ({time.monotonic() - started:.0f} s, torch {torch.__version__})")
            for key, value in scores.items():
                stored = run.score(key)["stored"]
                good = holds(stored, value)
                broken += not good
                print(f"  {'ok  ' if good else 'FAIL'} {key:18} stored {stored:.5f}  measured {value:.5f}")
    if broken:
        sys.exit(f"{broken} scores do not hold.")
    print("Every score of the stored weights holds.")


if __name__ == "__main__":
    main()
