"""Publish runs on the Hugging Face Hub: `python scripts/publish.py [topic | topic/variant] [--owner NAME] [--send]`.

Each run becomes a model repository owner/vitrine-<topic>-<variant>. Without --send nothing is
sent: it prints what would be. Repository and commit of what was sent go into checkpoints/hub.json,
from which VITRINE_WEIGHTS=hub loads. A publication that broke off goes on when it is run again.
"""

import argparse
import sys
from pathlib import Path

from core import card as cards
from core import publish, store

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"


def runs(wanted: str) -> list[store.Run]:
    """The embedded runs with weights that are meant: all, those of a topic, or one."""
    found = [
        store.read(f"{slug}/{folder.name}", folder)
        for slug in cards.topics()
        for folder in sorted((store.CHECKPOINTS / slug).glob("*/"))
        if wanted in ("", slug, f"{slug}/{folder.name}")
    ]
    return [run for run in found if run.megabytes or run.name == wanted]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default="", help="topic or topic/variant; all that keep weights by default")
    parser.add_argument("--owner", default="", help="user or organisation; whom the token belongs to by default")
    parser.add_argument("--send", action="store_true", help="send it; without this it is only shown")
    options = parser.parse_args()
    chosen = runs(options.run)
    if not chosen:
        sys.exit(f"There is no run {options.run!r} with weights below {store.CHECKPOINTS.name}/.")
    hub = publish.Hub()
    try:
        owner = options.owner or hub.owner()
        for run in chosen:
            card = cards.load(run.name.partition("/")[0]).CARD
            picture = (PICTURES / f"{card.slug}-light.png").read_bytes()
            plan = hub.plan(card, run, owner, picture)
            print(plan.text(), flush=True)
            if options.send:
                commit = hub.send(plan)
                publish.record(run.name, plan.repository, commit)
                print(f"  published: hub:{plan.repository}@{commit}", flush=True)
    except (publish.CannotPublish, store.BadRun, FileNotFoundError) as error:
        sys.exit(f"vitrine: {error}")
    if not options.send:
        print("Nothing was sent. Add --send to send it.")


if __name__ == "__main__":
    main()
