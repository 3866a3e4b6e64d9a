"""The rules of the house, read from the syntax trees: who may import what, and what nobody may do."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.card import load, topics
from core.imports import ROOT, imported, module_file, reached
from scripts.reading_cost import code_lines, cost

SOURCES = sorted([*ROOT.glob("core/**/*.py"), *ROOT.glob("apps/**/*.py"), *ROOT.glob("scripts/*.py")])
PAGE_LIBRARIES = {"gradio", "gradio_client", "plotly", "streamlit", "fastapi", "starlette", "uvicorn", "segno"}
PICKLES = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
ANY = None  # any library but those of pages

# room -> libraries, modules of the project; {x} is the topic of the room itself, the first row that fits counts
ROOMS: dict[str, tuple[set[str] | None, set[str]]] = {
    "core/card.py": (set(), {"core.topics"}),
    "core/vision.py": ({"torch", "torchvision"}, set()),
    "core/(augment|data|nets|loop).py": (ANY, {"core.card", "core.vision"}),
    "core/draw.py": ({"plotly", "PIL", "numpy"}, set()),
    "core/hub.py": ({"huggingface_hub"}, set()),
    "core/store.py": ({"torch", "safetensors"}, {"core.card", "core.hub"}),
    "core/published.py": (set(), {"core.card", "core.hub", "core.store"}),
    "core/imagenet.py": (
        {"torch", "timm", "PIL"},
        {"core.card", "core.nets", "core.published", "core.store", "core.vision"},
    ),
    "core/markup.py": (set(), {"core.card", "core.draw", "core.store"}),
    "core/serve.py": ({"gradio", "starlette", "fastapi", "torch"}, {"core.card", "core.draw", "core.store"}),
    "core/upload.py": ({"PIL", "numpy"}, {"core.card"}),
    "core/model_card.py": ({"huggingface_hub"}, {"core.card", "core.store"}),
    "core/imports.py": (set(), set()),
    "core/deploy.py": ({"huggingface_hub"}, {"core.card", "core.imports", "core.store"}),
    "core/site.py": (
        {"PIL", "latex2mathml"},
        {
            "core.card",
            "core.deploy",
            "core.draw",
            "core.graph",
            "core.imports",
            "core.markup",
            "core.moves",
            "core.npm",
            "core.store",
        },
    ),
    "core/graph.py": ({"torch", "numpy", "onnx"}, set()),
    "core/npm.py": (set(), set()),
    "core/publish.py": ({"huggingface_hub"}, {"core.card", "core.hub", "core.model_card", "core.store"}),
    "core/widgets.py": ({"gradio"}, {"core.card"}),
    "core/moves.py": (
        {"gradio"},
        {"core.card", "core.draw", "core.markup", "core.serve", "core.store", "core.upload"},
    ),
    "core/page.py": (
        {"gradio"},
        {"core.card", "core.draw", "core.markup", "core.moves", "core.serve", "core.store", "core.widgets"},
    ),
    "core/live.py": (set(), set()),
    "core/lab.py": (
        {"streamlit", "plotly", "torch"},
        {"core.card", "core.draw", "core.live", "core.markup", "core.store"},
    ),
    r"core/topics/(?P<x>\w+)/card.py": (set(), {"core.card"}),
    r"core/topics/(?P<x>\w+)/network.py": ({"torch"}, {"core.nets", "core.topics.{x}.method"}),
    r"core/topics/(?P<x>\w+)/recipe.py": (
        ANY,
        {"core.augment", "core.data", "core.loop", "core.nets", "core.store", "core.vision", "core.topics.{x}"},
    ),
    # Sentences and scores of a recipe that has a file of its own for them
    r"core/topics/(?P<x>\w+)/(corpus|scoring).py": (ANY, {"core.data", "core.loop", "core.topics.{x}"}),
    r"core/topics/(?P<x>\w+)/figures.py": (
        {"torch", "numpy"},
        {"core.draw", "core.store", "core.topics.{x}"},
    ),
    r"core/topics/(?P<x>\w+)/method.py": ({"torch", "numpy", "scipy"}, set()),
    r"core/topics/(?P<x>\w+)/browser.py": (
        {"torch", "numpy"},
        {"core.graph", "core.nets", "core.store", "core.topics.{x}"},
    ),
    # Networks of others, behind the topic's own interface
    r"core/topics/(?P<x>\w+)/published.py": (
        {"torch", "transformers", "sentencepiece"},
        {"core.card", "core.published", "core.store", "core.vision", "core.topics.{x}"},
    ),
    # Sentences as pieces, for which there is a library
    r"core/topics/(?P<x>\w+)/words.py": ({"tokenizers"}, {"core.topics.{x}"}),
    # A tab of the page that has a file of its own
    r"core/topics/(?P<x>\w+)/tab_\w+.py": (
        {"gradio", "torch"},
        {"core.card", "core.moves", "core.page", "core.store", "core.widgets", "core.topics.{x}"},
    ),
    # What else of a method has a file of its own
    r"core/topics/(?P<x>\w+)/\w+.py": ({"torch", "numpy", "scipy"}, {"core.nets", "core.topics.{x}"}),
    "apps/gallery.py": (
        {"gradio", "fastapi", "starlette", "uvicorn", "segno"},
        {"core.card", "core.draw", "core.markup", "core.page", "core.serve", "core.store"},
    ),
    "apps/lab.py": ({"streamlit"}, {"core.card", "core.draw"}),
    r"apps/lab_pages/(?P<x>\w+).py": (
        {"streamlit", "torch", "numpy"},
        {"core.lab", "core.card", "core.draw", "core.loop", "core.markup", "core.store", "core.topics.{x}"},
    ),
    r"apps/(?P<x>\w+).py": (
        {"gradio", "plotly", "torch", "numpy", "PIL"},
        {
            "core.card",
            "core.data",
            "core.draw",
            "core.imagenet",
            "core.markup",
            "core.moves",
            "core.nets",
            "core.page",
            "core.serve",
            "core.store",
            "core.upload",
            "core.widgets",
            "core.topics.{x}",
        },
    ),
}


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def by_file(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=short)


def room_of(path: Path) -> tuple[set[str] | None, set[str]]:
    """The libraries and project modules that this file may import."""
    for pattern, (libraries, modules) in ROOMS.items():
        if match := re.fullmatch(pattern, short(path)):
            topic = match.groupdict().get("x", "")
            return libraries, {name.replace("{x}", topic) for name in modules}
    raise AssertionError(f"{short(path)}: no row says what it may import")


def libraries_of(path: Path) -> set[str]:
    """The libraries that a file imports, without the standard library and the project."""
    heads = {name.split(".")[0] for name in imported(path)}
    return heads - set(sys.stdlib_module_names) - {"core", "apps", "scripts"}


def project_of(path: Path) -> set[str]:
    """The modules of the project that a file imports."""
    return {name for name in imported(path) if name.split(".")[0] in ("core", "apps", "scripts")}


ROOM_FILES = [path for path in SOURCES if path.name != "__init__.py" and path.parent.name != "scripts"]


@by_file(ROOM_FILES)
def test_a_room_imports_what_its_row_allows(path: Path) -> None:
    libraries, modules = room_of(path)
    found = libraries_of(path)
    assert not found & PAGE_LIBRARIES if libraries is ANY else found <= libraries
    for name in project_of(path):
        assert any(name == allowed or name.startswith(f"{allowed}.") for allowed in modules), name


@by_file([path for path in SOURCES if "topics" in path.parts and path.name != "__init__.py"])
def test_no_topic_imports_another(path: Path) -> None:
    for name in project_of(path):
        assert not name.startswith("core.topics.") or name.split(".")[2] == path.parent.name


@by_file(sorted(ROOT.glob("core/*.py")))
def test_the_spine_knows_no_topic(path: Path) -> None:
    assert not [name for name in project_of(path) if name.startswith("core.topics.")]
    text = path.read_text(encoding="utf-8")
    assert not [slug for slug in topics() if re.search(rf"topic\w* (==|!=|in) .*{slug}", text)]


@by_file(sorted(ROOT.glob("core/**/*.py")))
def test_core_never_imports_apps_or_scripts(path: Path) -> None:
    assert not [name for name in project_of(path) if not name.startswith("core")]


@by_file(
    [
        *(
            ROOT / "core" / f"{room}.py"
            for room in ("card", "vision", "data", "loop", "store", "nets", "hub", "imagenet")
        ),
        *ROOT.glob("core/topics/*/recipe.py"),
        ROOT / "scripts" / "train.py",
    ]
)
def test_training_reaches_no_page_library(path: Path) -> None:
    if not path.is_file():
        pytest.skip(f"{short(path)} does not exist yet")
    for file in reached([path]):
        assert not libraries_of(file) & PAGE_LIBRARIES, short(file)


@by_file([path for path in SOURCES if path.is_relative_to(ROOT / "core")])
def test_one_file_of_core_knows_streamlit_and_nothing_of_core_knows_it(path: Path) -> None:
    assert ("streamlit" in libraries_of(path)) == (short(path) == "core/lab.py")
    assert "core.lab" not in project_of(path)


@by_file(SOURCES)
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & PICKLES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "torch.load", "torch.save", "numpy.load"), node.lineno
            if called == "np.load":  # plain arrays alone
                assert "allow_pickle=False" in ast.unparse(node), node.lineno


@by_file([path for path in SOURCES if path.name == "__init__.py"])
def test_an_init_file_is_empty(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == ""


IMPORT_ALL = """
import importlib, random, sys, threading
import numpy, torch
for name in sys.argv[2].split(","):
    importlib.import_module(name)
if "torchvision" in sys.argv[2]:
    from core.vision import torchvision
opened = []
def watch(event, arguments):
    path = str(arguments[0]) if event == "open" else ""
    if path.startswith(sys.argv[1] + "/") and "/.venv/" not in path and not path.endswith((".py", ".pyc")):
        opened.append(path)
def state():
    seeds = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    return seeds, threading.enumerate()
before = state()
sys.addaudithook(watch)
for name in sys.argv[3].split(","):
    importlib.import_module(name)
assert not opened, opened
assert state() == before, "a seed was set, or a thread was started"
"""


def test_importing_core_does_nothing_else() -> None:
    """No seed, no thread, no file of the project; what libraries do when they are imported is theirs."""
    files = [path for path in ROOM_FILES if path.is_relative_to(ROOT / "core")]
    libraries = sorted(set().union(*(libraries_of(path) for path in files)) - {"torchvision", "timm", "transformers"})
    modules = [short(path).removesuffix(".py").replace("/", ".") for path in files]
    # torchvision is imported through its one door, with the effect that the house allows.
    asked = [*libraries, "core.vision"]
    command = [sys.executable, "-c", IMPORT_ALL, str(ROOT), ",".join(asked), ",".join(modules)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / line for line in listed.stdout.splitlines()]


def test_tracked_texts_name_no_place_of_one_machine() -> None:
    files = tracked()
    if not files:
        pytest.skip("this copy of the project is no git checkout")
    home = re.compile(r"(?<![\w.}])/(?:home|Users|root)/\w")
    for path in files:
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            assert not home.search(content.decode()), short(path)


@pytest.mark.parametrize("topic", topics())
def test_reading_cost_counts_the_files_that_an_app_reaches(topic: str) -> None:
    parts = cost(topic)
    frame = {"space": "page.py", "lab": "lab.py"}[load(topic).CARD.surface]
    assert {path.name for path in parts["slice"]} >= {f"{topic}.py", "card.py", "method.py"}
    assert {path.name for path in parts["spine"]} >= {"card.py", frame, "draw.py"}


def test_code_lines_leave_out_blanks_comments_and_docstrings(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(
        '"""A docstring\nof two lines."""\n\n# why\nTEXT = """one\n\nthree"""\n\ndef f():\n    """."""\n    pass\n'
    )
    assert code_lines(path) == 5


def test_imports_are_found_inside_functions() -> None:
    assert "huggingface_hub" in imported(ROOT / "core" / "hub.py")
    assert module_file("core.topics") is None
