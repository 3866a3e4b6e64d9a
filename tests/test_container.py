"""The Dockerfile, walked step by step in a clean root without a container engine, and held against the Makefile.

What this can't show: that the base image has what the steps call (bash, grep, useradd), and that the packages
install there; pip is asked to find them satisfied by those that are installed here.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving
from gradio_client import Client

from core import deploy

ROOT = serving.ROOT
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")


def steps() -> list[tuple[str, str]]:
    """Instruction and argument, in order; lines that end in a backslash go on."""
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in whole.splitlines() if line.strip()]


def only(instruction: str) -> str:
    (found,) = [argument for name, argument in steps() if name == instruction]
    return found


def settings() -> dict[str, str]:
    """What ENV sets."""
    return dict(argument.split("=", 1) for name, argument in steps() if name == "ENV")


class Root:
    """A folder that stands for the root of the image, and a Python in it that is lent the installed packages."""

    def __init__(self, place: Path) -> None:
        self.place, self.work, self.users = place, place, {"root": 0}
        self.user = 0
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "usr"], check=True)
        (packages,) = place.glob("usr/lib/python*/site-packages")
        (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = place / "usr" / "bin" / "pip"
        pip.write_text('#!/bin/sh\nexec python -m pip "$@"\n')
        pip.chmod(0o755)

    @property
    def told(self) -> dict[str, str]:
        """The environment of a step: nothing of this project's."""
        path = f"{self.place / 'usr' / 'bin'}:/usr/bin:/bin"
        return {"PATH": path, "HOME": str(self.place / "tmp"), "PIP_NO_INDEX": "1"}

    def lent_user(self, python: Path, told: dict[str, str]) -> int | None:
        """The image's user, where the one who tests may become that user and the lent Python lies open to all."""
        user = self.user if os.geteuid() == 0 else None
        try:
            subprocess.run([python, "-c", "import gradio"], env=told, user=user, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return user

    def inside(self, path: str) -> Path:
        return self.place / path.lstrip("/") if path.startswith("/") else self.work / path

    def walk(self) -> None:
        """Do every step but the last ones, which say how it is started."""
        (self.place / "tmp").mkdir(mode=0o777)
        for name, argument in steps():
            if name == "WORKDIR":
                self.work = self.inside(argument)
                self.work.mkdir(parents=True)
            elif name == "COPY":
                *sources, target = argument.split()
                for source in sources:
                    self.copy(source, self.inside(target))
            elif name == "RUN" and argument.startswith("useradd"):
                words = shlex.split(argument)
                self.users[words[-1]] = int(words[words.index("--uid") + 1])
            elif name == "RUN":
                subprocess.run(
                    ["bash", "-c", argument], cwd=self.work, env=self.told, check=True, stdout=subprocess.DEVNULL
                )
            elif name == "USER":
                self.user = self.users[argument]

    def copy(self, source: str, target: Path) -> None:
        """As the engine does: a folder's content goes into the target; what .dockerignore leaves out is not there."""
        assert f"!{source}" in IGNORED, f"{source} is not part of what the image is built from"
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / source, target / source if target.is_dir() else target)


@pytest.fixture(scope="module")
def root() -> Iterator[Root]:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        place = Path(name)
        place.chmod(0o755)
        walked = Root(place)
        walked.walk()
        yield walked


def test_it_agrees_with_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (installed,) = re.findall(r"^\.venv/run\.stamp: (\S+)$", makefile, re.MULTILINE)
    (started,) = re.findall(r"^run: \.venv/run\.stamp\n\t@\$\(BIN\)/(.+)$", makefile, re.MULTILINE)
    (port,) = re.findall(r"gallery at http://127\.0\.0\.1:(\d+)", makefile)
    assert json.loads(only("CMD")) == started.split()
    (install,) = [argument for name, argument in steps() if name == "RUN" and "pip install" in argument]
    assert f"grep -v '^-e' {installed} > packages.txt" in install
    assert install.endswith("-r packages.txt")
    assert f"--extra-index-url {deploy.CPU_INDEX} " in install
    assert port == only("EXPOSE") == settings()["GRADIO_SERVER_PORT"]


def test_it_runs_as_nobody_special_on_a_python_that_the_project_takes() -> None:
    names = [name for name, _ in steps()]
    assert only("USER") not in ("root", "0")
    assert names.index("USER") < names.index("CMD")
    assert only("FROM") == f"python:{deploy.PYTHON}-slim"


@pytest.mark.slow
def test_its_steps_lead_to_a_gallery_that_is_found_healthy(root: Root, capsys: pytest.CaptureFixture) -> None:
    assert root.work == root.inside(settings()["PYTHONPATH"])
    port, log = serving.free_port(), root.place / "tmp" / "log"
    told = {**settings(), **root.told, "GRADIO_SERVER_PORT": str(port), "PYTHONPATH": str(root.work)}
    python = root.place / "usr" / "bin" / "python"
    user = root.lent_user(python, told)
    command, *arguments = json.loads(only("CMD"))
    check = ["bash", "-c", only("HEALTHCHECK").partition("CMD ")[2]]
    with log.open("w") as out:
        process = subprocess.Popen(
            [python.parent / command, *arguments], cwd=root.work, env=told, user=user, stdout=out, stderr=out
        )
    try:
        seconds = serving.wait_until_up(f"http://127.0.0.1:{port}", process, log)
        subprocess.run(check, env=told, user=user, check=True)
        answer = Client(f"http://127.0.0.1:{port}/mc_dropout", verbose=False).predict(api_name="/answer")
        assert answer["numbers"]["answer"] == 3
    finally:
        process.terminate()
        process.wait(15)
    assert subprocess.run(check, env=told, capture_output=True, check=False).returncode != 0
    with capsys.disabled():
        size = deploy.size_mb(root.work)
        print(f"\n  container: {size:.1f} MB beside the packages, answers after {seconds:.1f} s, user {user}", end="")
