"""The gallery as a process of its own, on a free port of this machine, as visitors meet it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx

ROOT = Path(__file__).resolve().parent.parent
START_S = 120.0  # the promise is 8 s; a machine that trains beside the tests is many times slower


@dataclass(frozen=True)
class Gallery:
    """A gallery that answers.

    url      "http://127.0.0.1:1234", without a slash at the end
    process  its process
    log      the file that it writes its output to
    start_s  seconds from its start to its first answer
    """

    url: str
    process: subprocess.Popen
    log: Path
    start_s: float

    def health(self) -> dict:
        """What /healthz says."""
        return httpx.get(f"{self.url}/healthz", timeout=30).json()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(
    log: Path, *arguments: str, port: int, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen:
    """Start apps/gallery.py and return at once; `environment` is what it is told beside the tests' own."""
    told = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", **environment}
    with log.open("w") as out:
        return subprocess.Popen(
            [sys.executable, "apps/gallery.py", *arguments],
            cwd=ROOT,
            env=told,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def wait_until_up(url: str, process: subprocess.Popen, log: Path) -> float:
    """Wait for the first answer; returns the seconds that it took."""
    begin = time.monotonic()
    while time.monotonic() - begin < START_S:
        if process.poll() is not None:
            raise RuntimeError(f"the gallery ended with {process.returncode}: {log.read_text()}")
        try:
            httpx.get(f"{url}/healthz", timeout=5)
            return time.monotonic() - begin
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the gallery did not answer within {START_S:g} s: {log.read_text()}")


@contextmanager
def gallery(log: Path, **environment: str) -> Iterator[Gallery]:
    """A gallery for a with block, with these variables in its environment; it is ended when the block is left."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = start(log, port=port, environment=environment)
    try:
        yield Gallery(url, process, log, wait_until_up(url, process, log))
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
