"""What a file of the project reaches through its imports, found on the syntax tree: nothing is run."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@cache
def parsed(text: str) -> ast.Module:
    """The syntax tree of a file's text; each file is asked for several times."""
    return ast.parse(text)


def module_file(name: str) -> Path | None:
    """The project's file behind a dotted name, None for a library or a folder."""
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def imported(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, at its top or inside a function.

    `from core import draw` gives core.draw; `from core.card import Card` gives core.card.
    """
    names = set()
    for node in ast.walk(parsed(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {name if module_file(name) else str(node.module) for name in whole}
    return names


def reached(start: Iterable[Path]) -> set[Path]:
    """The project's files that importing these would load, themselves included."""
    found, open_ends = set(), list(start)
    while open_ends:
        path = open_ends.pop()
        if path not in found:
            found.add(path)
            open_ends += [file for name in imported(path) if (file := module_file(name))]
    return found


def strings(path: Path) -> set[str]:
    """All texts that stand in a file's code, docstrings and pieces of f-strings included."""
    tree = parsed(path.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
