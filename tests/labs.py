"""The lab as tests meet it: its cards, a page run by AppTest, and the server as a process of its own."""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import serving
from streamlit.testing.v1 import AppTest

from core import card as cards
from core.card import Card, Value

ROOT = serving.ROOT
CARDS: dict[str, Card] = {slug: cards.load(slug).CARD for slug in cards.topics(surface="lab")}


def page_of(card: Card) -> Any:
    """The page's module, whose `answer` needs no server."""
    return importlib.import_module(f"apps.lab_pages.{card.slug}")


def opened(card: Card, **query: str) -> AppTest:
    """A page alone, run once, as a visitor with this address finds it."""
    test = AppTest.from_file(str(ROOT / "apps" / "lab_pages" / f"{card.slug}.py"), default_timeout=60)
    for name, value in query.items():
        test.query_params[name] = value
    return test.run()


def values_of(test: AppTest, card: Card) -> dict[str, Value]:
    """The state that the page keeps for its visitor."""
    return test.session_state[f"lab {card.slug}"]["values"]


def query_of(test: AppTest) -> dict[str, str]:
    """The address after the run."""
    return {name: value[0] if isinstance(value, list) else value for name, value in test.query_params.items()}


def figure_of(test: AppTest) -> Any:
    """What the figure's component was told."""
    (element,) = test.get("bidi_component")
    return json.loads(element.proto.json)["figure"]


@contextmanager
def served(log: Path) -> Iterator[str]:
    """The lab on a free port, by the command of the Makefile; yields its address."""
    port = serving.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "streamlit", "run", "apps/lab.py", f"--server.port={port}"]
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=out, stderr=subprocess.STDOUT)
    try:
        begin = time.monotonic()
        while True:
            try:
                httpx.get(f"{url}/_stcore/health", timeout=5)
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() - begin > serving.START_S:
                    raise RuntimeError(f"the lab did not answer: {log.read_text()}") from None
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
