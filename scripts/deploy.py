"""Write folders that are ready to push or to serve: `python scripts/deploy.py KIND [topic] [--to FOLDER]`.

space    one Gradio Space per topic, or of the topic that is named
gallery  the whole gallery as one Gradio Space
static   the site of questions, tours and stored answers, for any web server or a USB folder

Each lands below build/, or where --to says. A folder that is a git checkout of the Space keeps its
repository; what else was there is replaced.
"""

import argparse
import importlib
import sys
from pathlib import Path

from huggingface_hub import hf_hub_url

from core import card as cards
from core import deploy, npm, site
from core.card import Card

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ROOT / "build" / "browser"
PICTURE = "docs/pictures/{}-light.png"
WORDS = """# {title}

{words}

Written by `python scripts/deploy.py` of Vitrine, a gallery of machine-learning ideas that answer back.
It runs anywhere: `pip install -r requirements.txt`, then `python app.py`.
"""


def thumbnail(owner: str, name: str, picture: str) -> str:
    """Where a Space's picture will lie, "" where nobody said below whom."""
    return hf_hub_url(f"{owner}/{name}", picture, repo_type="space") if owner else ""


def write(topics: dict[str, Card], module: str, folder: Path, options: argparse.Namespace) -> None:
    """One Space: that of a topic, or that of the gallery."""
    card = next(iter(topics.values()))
    alone = module != "apps.gallery"
    title = card.question if alone else "Vitrine"
    words = card.claim if alone else "Machine-learning ideas that answer back."
    name = f"vitrine-{card.slug.replace('_', '-')}" if alone else "vitrine"
    hub_weights = options.weights == "hub"
    front = deploy.front_matter(
        title,
        words if len(words) <= 60 else title,
        tags=[slug.replace("_", "-") for slug in topics],
        runs=deploy.runs_of(topics, deploy.code_of(topics, module)),
        thumbnail=thumbnail(options.owner, name, PICTURE.format(card.slug)),
        hub_weights=hub_weights,
    )
    deploy.space(
        topics,
        module,
        folder,
        front=front,
        words=WORDS.format(title=title, words=words),
        cpu_index=options.cpu_index,
        hub_weights=hub_weights,
    )


def write_site(topics: dict[str, Card], folder: Path, *, live: bool) -> None:
    """The static site: what the pages themselves answer, kept."""
    from apps import gallery

    spaces = {slug: importlib.import_module(f"apps.{slug}").space for slug in topics}
    site.build(spaces, gallery.home_page(topics), folder, runtime=RUNTIME if live else None)


def spaces() -> dict[str, Card]:
    """The topics with a Space, by slug; the lab's pages run with the gallery alone."""
    found = {slug: cards.load(slug).CARD for slug in cards.topics()}
    return {slug: card for slug, card in found.items() if card.surface == "space"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("space", "gallery", "static"))
    parser.add_argument("topic", nargs="?", choices=sorted(spaces()), help="all by default")
    parser.add_argument("--to", type=Path, help="the folder; below it one folder per topic, where several are written")
    parser.add_argument("--owner", default="", help="below whom the Space will be, for the picture that links show")
    parser.add_argument("--weights", choices=("embedded", "hub"), default="embedded")
    parser.add_argument("--cpu-index", default=deploy.CPU_INDEX, help="where torch comes from; empty: pip's default")
    parser.add_argument("--still", action="store_true", help="a static site without live parts: no runtime, no npm")
    options = parser.parse_args()
    chosen = {slug: card for slug, card in spaces().items() if options.topic in (None, slug)}
    base = options.to or ROOT / "build" / options.kind
    try:
        if options.kind == "static":
            write_site(chosen, base, live=not options.still)
            print(f"{base}: {deploy.size_mb(base):.1f} MB")
            return
        if options.kind == "gallery":
            written = {base: (chosen, "apps.gallery")}
        else:
            written = {
                base if options.topic and options.to else base / slug: ({slug: card}, f"apps.{slug}")
                for slug, card in chosen.items()
            }
        for folder, (topics, module) in written.items():
            write(topics, module, folder, options)
            print(f"{folder}: {deploy.size_mb(folder):.1f} MB")
    except (ValueError, npm.NotFetched) as error:
        sys.exit(f"vitrine: {error}")


if __name__ == "__main__":
    main()
