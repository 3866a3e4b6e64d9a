"""How much has to be read to understand a topic: `python scripts/reading_cost.py`.

Per topic, from apps/<topic>.py or apps/lab_pages/<topic>.py along imports on the syntax tree (nothing is run): how many
project files, and how many lines of code without blank lines, comments and docstrings. It is
a mirror, not a law: a rise is explained in the commit.
"""

import ast
import io
import tokenize
from pathlib import Path

from core.imports import ROOT, reached

AIMS = {"slice": (6, 450), "spine": (8, 900)}  # files, code lines
LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def topics() -> list[str]:
    """The slugs of all topics, in alphabetical order."""
    return sorted(path.parent.name for path in ROOT.glob("core/topics/*/card.py"))


def code_lines(path: Path) -> int:
    """Lines that are neither blank, nor comment, nor docstring."""
    text = path.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if documented and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            lines -= set(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
    return len(lines)


def cost(topic: str) -> dict[str, list[Path]]:
    """The files behind a topic's app, those of its own (slice) apart from those that all share (spine)."""
    app, folder = ROOT / "apps" / f"{topic}.py", ROOT / "core" / "topics" / topic
    if not app.is_file():
        app = ROOT / "apps" / "lab_pages" / f"{topic}.py"
    parts: dict[str, list[Path]] = {"slice": [], "spine": []}
    for path in sorted(reached([app])):
        parts["slice" if path == app or folder in path.parents else "spine"].append(path)
    return parts


def main() -> None:
    for topic in topics():
        print(f"reading cost of {topic}")
        for part, files in cost(topic).items():
            counted = {path: code_lines(path) for path in files}
            most_files, most_lines = AIMS[part]
            print(
                f"  {part}: {len(files)} files (aim {most_files}), {sum(counted.values())} lines (aim {most_lines}): "
                + ", ".join(f"{path.relative_to(ROOT)} {lines}" for path, lines in counted.items())
            )


if __name__ == "__main__":
    main()
