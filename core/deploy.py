"""Folders that are ready to push: a Space for one topic, or for the whole gallery.

    space(["mc_dropout"], start="apps.mc_dropout", front=front_matter(…), folder=…)

A folder carries files, not an installation: the app, the files of the project that its imports
reach, the runs that these name, and the packages that they import, pinned as in requirements.txt.
"""

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core import store
from core.card import Card
from core.imports import ROOT, imported, reached, strings

PACKAGES = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn"}  # where the two names differ
# On Linux the default index has torch with CUDA, which a Space without a GPU has no room for.
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PYTHON = "3.11"
EMOJI = "🏛️"
MARK = ".vitrine"  # an empty file that says: this folder was written here, and may be emptied
LARGEST_KEPT = 20_000  # bytes; a file of a run that stays in the folder when the Hub has the run

START = '''"""Starts the page where the files lie, without an installation: `python app.py`."""

import os
import runpy

os.environ.setdefault("VITRINE_WEIGHTS", "{weights}")
if __name__ == "__main__":
    runpy.run_module("{module}", run_name="__main__")
'''


def pins() -> dict[str, str]:
    """Package -> its line in requirements.txt, "torch==2.13.0"."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return {line.partition("==")[0]: line for line in lines if re.match(r"\w[\w.-]*==", line)}


def sources(start: Iterable[Path]) -> set[Path]:
    """The project's files that these reach: code, the empty files that make folders packages, styles and scripts."""
    code = reached(start)
    packages = {path for file in code for folder in file.parents if (path := folder / "__init__.py").is_file()}
    beside = {
        path
        for file in code
        for name in strings(file)
        if re.fullmatch(r"\w+\.(css|js)", name) and (path := file.parent / name).is_file()
    }
    return code | packages | beside


def requirements(code: Iterable[Path]) -> list[str]:
    """The pinned packages that these files import, or name as a text: `files("plotly")` reads one without importing."""
    known, wanted = pins(), set()
    for path in code:
        if path.suffix == ".py":
            heads = {name.partition(".")[0] for name in imported(path)}
            wanted |= {PACKAGES.get(name, name) for name in heads | (strings(path) & known.keys())}
    return [line for package, line in known.items() if package in wanted]


def runs_of(topics: Iterable[str], code: Iterable[Path]) -> list[str]:
    """The runs that pages of these topics load: their own, those that the code names, and those that these use."""
    names = {text for path in code if path.suffix == ".py" for text in strings(path) if re.fullmatch(r"\w+/\w+", text)}
    names |= {f"{topic}/{path.name}" for topic in topics for path in (store.CHECKPOINTS / topic).iterdir()}
    found = {name for name in names if (store.CHECKPOINTS / name / "config.json").is_file()}
    used = {store.read(name, store.CHECKPOINTS / name).config.get("uses", "") for name in found}
    return sorted(found | {name for name in used if name})


def short_description(text: str) -> str:
    """At most 60 characters, as the Hub takes them."""
    return text if len(text) <= 60 else text[:59] + "…"


def front_matter(
    title: str, description: str, *, tags: Iterable[str], runs: Iterable[str], thumbnail: str, hub_weights: bool
) -> dict[str, Any]:
    """What the Hub reads at the top of a Space's README.md.

    runs        that the Space loads; those that the lock file knows are named as models
    thumbnail   address of a picture, "" for none
    hub_weights have the Hub put the files of published runs into the cache before the Space starts
    """
    front: dict[str, Any] = {
        "title": title,
        "emoji": EMOJI,
        "sdk": "gradio",
        "sdk_version": pins()["gradio"].partition("==")[2],
        "python_version": PYTHON,
        "app_file": "app.py",
        "license": "apache-2.0",
        "short_description": short_description(description),
        "tags": ["vitrine", "teaching", *tags],
    }
    published = {name: place for name in runs if (place := store.published(name))[0]}
    if thumbnail:
        front["thumbnail"] = thumbnail
    if published:
        front["models"] = sorted(repository for repository, _ in published.values())
    if hub_weights and published:
        front["preload_from_hub"] = [
            # The commit of the lock file, for which the page will ask the cache.
            f"{repository} {','.join(['config.json', *files_of(name)])} {commit}"
            for name, (repository, commit) in sorted(published.items())
        ]
    return front


def files_of(run: str) -> list[str]:
    """The files of a run beside config.json."""
    return sorted(store.read(run, store.CHECKPOINTS / run).config["files"])


def space(
    topics: Mapping[str, Card],
    module: str,
    folder: Path,
    *,
    front: Mapping[str, Any],
    words: str,
    cpu_index: str = CPU_INDEX,
    hub_weights: bool = False,
) -> None:
    """Write one Space into a folder, in place of what a former call wrote there.

    topics       slug -> card, of the pages that it serves
    module       what it starts, "apps.mc_dropout"
    front        of README.md
    words        below it
    cpu_index    where torch comes from; "" leaves that to pip
    hub_weights  take published runs from the Hub, and leave their large files out
    """
    code = code_of(topics, module)
    clear(folder)
    for path in sorted(code):
        copy(path, folder)
    for run in runs_of(topics, code):
        large = hub_weights and bool(store.published(run)[0])
        inside = store.CHECKPOINTS / run
        for path in (inside / name for name in ("config.json", "README.md", *store.load(run).config["files"])):
            if path.is_file() and not (large and path.stat().st_size > LARGEST_KEPT):
                copy(path, folder)
    for slug in topics:
        first = store.CHECKPOINTS / slug / "first.json"
        for path in (first, *(ROOT / "docs" / "pictures" / f"{slug}-{theme}.png" for theme in ("light", "dark"))):
            if path.is_file():
                copy(path, folder)
    for path in (store.CHECKPOINTS / store.LOCK, ROOT / "LICENSE"):
        if path.is_file():
            copy(path, folder)
    weights = "hub" if hub_weights else "embedded"
    (folder / "app.py").write_text(START.format(weights=weights, module=module), encoding="utf-8")
    index = [f"--extra-index-url {cpu_index}"] if cpu_index else []
    (folder / "requirements.txt").write_text("\n".join([*index, *requirements(code)]) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(readme(front, words), encoding="utf-8")


def code_of(topics: Iterable[str], module: str) -> set[Path]:
    """The sources of a Space: what it starts, and the apps of its topics."""
    apps = [ROOT / "apps" / f"{topic}.py" for topic in topics]
    return sources([ROOT.joinpath(*module.split(".")).with_suffix(".py"), *apps])


def readme(front: Mapping[str, Any], words: str) -> str:
    """README.md with its front matter."""
    from huggingface_hub import SpaceCardData

    return f"---\n{SpaceCardData(**front).to_yaml()}\n---\n\n{words}"


def copy(path: Path, folder: Path) -> None:
    """Copy a file of the project to the same place below a folder; checkpoints may lie elsewhere."""
    inside = store.CHECKPOINTS.parent if path.is_relative_to(store.CHECKPOINTS) else ROOT
    target = folder / path.relative_to(inside)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def clear(folder: Path) -> None:
    """Make a folder, or empty one, but for the git repository in which it is pushed.

    raises ValueError for a folder with other things than a former call wrote, or the Hub itself
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = [path for path in folder.iterdir() if path.name not in (".git", ".gitattributes")]
    if {path.name for path in there} - {"README.md"} and not (folder / MARK).is_file():
        raise ValueError(f"{folder} holds other things; name an empty folder, or one that was written before")
    (folder / MARK).touch()
    for path in there:
        if path.name == MARK:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def size_mb(folder: Path) -> float:
    """Everything below a folder in MB (10^6 bytes), without its git repository."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return sum(path.stat().st_size for path in files) / 1e6
