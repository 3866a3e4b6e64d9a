"""Folders that are ready to push: complete, no more than is needed, and they answer outside the repository.

In `make test` the packages that are installed already serve a fresh environment; `make deploy-check` installs them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import serving
import yaml
from gradio_client import Client

from core import card as cards
from core import deploy, publish, store
from core.imports import imported

ROOT = serving.ROOT
TOPICS = [slug for slug in cards.topics() if cards.load(slug).CARD.surface == "space"]
ONE = "mc_dropout"
on_demand = pytest.mark.skipif("VITRINE_DEPLOY" not in os.environ, reason="installs everything anew: make deploy-check")


def script(*arguments: str) -> str:
    """scripts/deploy.py as it is called; torch comes from pip's own indexes."""
    command = [sys.executable, "scripts/deploy.py", *arguments, "--cpu-index", ""]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All Space folders, spaces/<topic>, and the gallery's."""
    folder = tmp_path_factory.mktemp("deploy")
    script("space", "--to", str(folder / "spaces"), "--owner", "curator")
    script("gallery", "--to", str(folder / "gallery"))
    return folder


def folder_of(written: Path, name: str) -> Path:
    return written / "gallery" if name == "gallery" else written / "spaces" / name


def front_of(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


@contextmanager
def environment(folder: Path, *, anew: bool) -> Iterator[Path]:
    """A fresh virtual environment for a Space; yields its python.

    anew  install what the Space's requirements.txt says; otherwise what is installed here is lent, by a .pth
          file, which leaves out the project's own editable installation
    """
    place = folder.parent / f"{folder.name}-environment"
    subprocess.run([sys.executable, "-m", "venv", *([] if anew else ["--without-pip"]), str(place)], check=True)
    python = place / "bin" / "python"
    if anew:
        begin = time.monotonic()
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", folder / "requirements.txt"], check=True)
        size = sum(path.lstat().st_size for path in place.rglob("*")) / 1e6
        print(f"\n  {folder.name}: installed in {time.monotonic() - begin:.0f} s, {size:.0f} MB", end="")
    else:
        (packages,) = place.glob("lib/python*/site-packages")
        (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    try:
        yield python
    finally:
        shutil.rmtree(place)


@contextmanager
def started(folder: Path, python: Path) -> Iterator[str]:
    """A Space as a host starts it, with nothing of this project around it; yields its address."""
    port, log = serving.free_port(), folder.parent / f"{folder.name}.log"
    home = folder.parent / f"{folder.name}-home"
    home.mkdir(exist_ok=True)
    told = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("w") as out:
        process = subprocess.Popen(
            [python, front_of(folder)["app_file"]], cwd=folder, env=told, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        seconds = serving.wait_until_up(url, process, log)
        print(f"\n  {folder.name}: {deploy.size_mb(folder):.1f} MB, answers after {seconds:.1f} s", end="")
        yield url
        # Before the end: clients keep a connection open, whose cancellation uvicorn logs with a traceback.
        assert "Traceback" not in log.read_text()
    finally:
        process.terminate()
        process.wait(15)


def check_answers(url: str, slug: str) -> None:
    """The page's first answer is the one that is stored, and a shared link shows the card."""
    found = Client(url, verbose=False).predict(api_name="/answer")
    stored = json.loads((store.CHECKPOINTS / slug / "first.json").read_text())["answer"]["numbers"]
    for name, value in stored.items():
        near = pytest.approx(value, rel=1e-3, abs=1e-3) if isinstance(value, float) else value
        assert found["numbers"][name] == near, name
    page = httpx.get(f"{url}/").text
    (image,) = re.findall(r'<meta property="og:image" content="([^"]*)"', page)
    assert httpx.get(image).headers["content-type"] == "image/png"


def check_folder(folder: Path, slugs: list[str], *, anew: bool, capsys: pytest.CaptureFixture) -> None:
    with capsys.disabled(), environment(folder, anew=anew) as python, started(folder, python) as url:
        for slug in slugs:
            check_answers(f"{url}/{slug}" if folder.name == "gallery" else url, slug)


@pytest.mark.slow
@pytest.mark.parametrize("name", [ONE, "gallery"])
def test_a_space_answers_outside_the_repository(written: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    check_folder(folder_of(written, name), [ONE], anew=False, capsys=capsys)


@on_demand
@pytest.mark.parametrize("name", [*TOPICS, "gallery"])
def test_a_space_answers_from_a_fresh_installation(written: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    check_folder(folder_of(written, name), TOPICS if name == "gallery" else [name], anew=True, capsys=capsys)


@pytest.mark.parametrize("slug", TOPICS)
def test_a_space_holds_what_its_imports_reach_and_no_more(written: Path, slug: str) -> None:
    folder = folder_of(written, slug)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    assert f"apps/{slug}.py" in files
    for file in files:
        for name in imported(ROOT / file if (ROOT / file).is_file() else folder / file):
            if name.partition(".")[0] in ("core", "apps"):
                path = name.replace(".", "/")
                assert f"{path}.py" in files or f"{path}/__init__.py" in files, f"{file} imports {name}"
    assert not [file for file in files if re.match(r"core/(publish|deploy|loop)\.py|scripts|tests|apps/gallery", file)]
    others = {other for other in TOPICS if other != slug}
    assert not [file for file in files if file.startswith(tuple(f"core/topics/{other}/" for other in others))]
    for path in ("core/page.css", "core/page.js", "LICENSE", f"docs/pictures/{slug}-light.png"):
        assert (folder / path).read_bytes() == (ROOT / path).read_bytes()
    assert deploy.size_mb(folder) < 40


@pytest.mark.parametrize("name", [*TOPICS, "gallery"])
def test_requirements_are_pinned_and_install_nothing_editable(written: Path, name: str) -> None:
    lines = (folder_of(written, name) / "requirements.txt").read_text().split()
    assert set(lines) <= set((ROOT / "requirements.txt").read_text().split())
    assert "-e" not in lines
    assert {"torch", "gradio", "plotly", "safetensors"} <= {line.partition("==")[0] for line in lines}


def test_torch_comes_from_the_index_without_cuda(tmp_path: Path) -> None:
    card = cards.load(ONE).CARD
    deploy.space({ONE: card}, f"apps.{ONE}", tmp_path, front={"title": "t", "sdk": "gradio"}, words="")
    assert (tmp_path / "requirements.txt").read_text().startswith(f"--extra-index-url {deploy.CPU_INDEX}\ntorch==")


@pytest.mark.parametrize("slug", TOPICS)
def test_the_front_matter(written: Path, slug: str) -> None:
    front, card = front_of(folder_of(written, slug)), cards.load(slug).CARD
    assert (front["title"], front["sdk"], front["app_file"]) == (card.question, "gradio", "app.py")
    assert f"gradio=={front['sdk_version']}" in (ROOT / "requirements.txt").read_text().split()
    assert front["python_version"] == deploy.PYTHON
    assert len(front["short_description"]) <= 60
    assert {"vitrine", slug.replace("_", "-")} <= set(front["tags"])
    assert front["thumbnail"].endswith(f"/docs/pictures/{slug}-light.png")
    assert "preload_from_hub" not in front


def test_weights_from_the_hub_come_from_the_commit_of_the_lock_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "checkpoints" / ONE, tmp_path / "checkpoints" / ONE)
    monkeypatch.setattr(store, "CHECKPOINTS", tmp_path / "checkpoints")
    run, card = f"{ONE}/dropout", cards.load(ONE).CARD
    publish.record(run, "curator/vitrine-mc-dropout-dropout", "1" * 40)
    runs = deploy.runs_of([ONE], deploy.code_of([ONE], f"apps.{ONE}"))
    front = deploy.front_matter(card.question, "", tags=[], runs=runs, thumbnail="", hub_weights=True)
    files = "config.json,expected.safetensors,history.csv,model.safetensors,samples.safetensors"
    assert front["preload_from_hub"] == [f"curator/vitrine-mc-dropout-dropout {files} {'1' * 40}"]
    assert front["models"] == ["curator/vitrine-mc-dropout-dropout"]
    folder = tmp_path / "space"
    deploy.space({ONE: card}, f"apps.{ONE}", folder, front=front, words="", hub_weights=True)
    assert not (folder / "checkpoints" / run / "model.safetensors").exists()
    assert (folder / "checkpoints" / run / "config.json").is_file()
    assert (folder / "checkpoints" / ONE / "deterministic" / "model.safetensors").is_file()  # not published
    assert (folder / "checkpoints" / "hub.json").is_file()
    assert '"VITRINE_WEIGHTS", "hub"' in (folder / "app.py").read_text()


def test_a_folder_is_written_anew_and_a_foreign_one_is_left(tmp_path: Path) -> None:
    card = cards.load(ONE).CARD
    front = {"title": "t", "sdk": "gradio"}
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref")
    deploy.space({ONE: card}, f"apps.{ONE}", tmp_path, front=front, words="")
    (tmp_path / "old.py").write_text("")
    deploy.space({ONE: card}, f"apps.{ONE}", tmp_path, front=front, words="")
    assert not (tmp_path / "old.py").exists()
    assert (tmp_path / ".git" / "HEAD").is_file()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds other things"):
        deploy.clear(foreign)
    assert (foreign / "thesis.txt").is_file()
