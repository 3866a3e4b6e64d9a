"""A Hugging Face Hub on 127.0.0.1, so that tests meet the real client over real HTTP.

It speaks as much of the protocol as `hf_hub_download` asks for: HEAD and GET of
/<owner>/<name>/resolve/<revision>/<file>, ranges, and the Hub's codes for what it does not
have. Large files are answered in place; the real Hub sends the client on to another host.
"""

import hashlib
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest

ADDRESS = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
DRIP_S = 0.02


class Hub:
    """Repositories in memory, and faults to order; a context manager that starts and stops the server.

    faults    file name -> what goes wrong with it, in every repository:
              missing    it is not there
              wrong      other bytes under the same ETag
              truncated  Content-Length is right, but the connection ends after half of the file
              reset      the connection breaks off where the body should begin
              slow       one byte every DRIP_S; taking the fault away lets the rest through
    requests  what was asked for, "GET /owner/name/resolve/…", in order
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.faults: dict[str, str] = {}
        self.requests: list[str] = []
        self.stopped = threading.Event()
        self._port = 0

    def put(self, repository: str, commit: str, files: dict[str, bytes]) -> None:
        """Add a commit; `main` is the one that was added last."""
        self.repositories.setdefault(repository, {})[commit] = files

    def start(self) -> None:
        """Serve; after a stop, at the same address as before."""
        self.stopped.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), partial(Handler, self))
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Who connects from now on is refused, and slow bodies end."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """What HF_ENDPOINT has to be."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> "Hub":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.stopped.is_set():
            self.stop()


class Handler(BaseHTTPRequestHandler):
    """Answers one request and closes the connection (HTTP/1.0), so that no client holds on to a stopped server."""

    def __init__(self, hub: Hub, *request: object) -> None:
        self.hub = hub
        super().__init__(*request)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        match = ADDRESS.fullmatch(unquote(self.path))
        commits = self.hub.repositories.get(match[1]) if match else None
        if not match or not commits:
            return self._refuse("RepoNotFound")
        commit = list(commits)[-1] if match[2] == "main" else match[2]
        if commit not in commits:
            return self._refuse("RevisionNotFound")
        file = match[3]
        if file not in commits[commit] or self.hub.faults.get(file) == "missing":
            return self._refuse("EntryNotFound", {"X-Repo-Commit": commit})
        self._answer(file, commits[commit][file], commit)

    def _refuse(self, code: str, headers: dict[str, str] | None = None) -> None:
        self._head(404, {"X-Error-Code": code, "Content-Length": "0"} | (headers or {}))

    def _answer(self, file: str, body: bytes, commit: str) -> None:
        """Send a file from where the Range header says, or what its fault makes of it."""
        size = len(body)
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        headers = {
            "X-Repo-Commit": commit,
            "ETag": f'"{hashlib.sha256(body).hexdigest()}"',
            "Content-Length": str(size - begin),
        }
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
        self._head(206 if begin else 200, headers)
        if self.command == "HEAD":
            return
        fault = self.hub.faults.get(file)
        if fault == "wrong":
            body = bytes(255 - byte for byte in body)
        if fault == "truncated":
            body = body[: size // 2]
        if fault == "reset":
            # With a linger of 0 s, closing sends a reset instead of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return os.close(self.connection.detach())
        while self.hub.faults.get(file) == "slow" and begin < size and not self.hub.stopped.wait(DRIP_S):
            self.wfile.write(body[begin : begin + 1])
            begin += 1
        if not self.hub.stopped.is_set():
            self.wfile.write(body[begin:])

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet: `requests` has it."""


def impatient(_: float) -> None:
    """Stands for `time.sleep` in the client, which waits 1 to 8 s before it asks again."""


@contextmanager
def asked_by_the_client(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the Hub's client ask this server, with an empty cache; ends once its downloads have ended.

    The client has read its environment by now (gradio imports it), so its constants are set.
    """
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    for name, value in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    for module in (file_download, _http):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=impatient, time=time.time))
    yield
    if not hub.stopped.is_set():
        hub.stop()
    # A download that ran over its budget goes on; it must end before the constants point to the real Hub again.
    for thread in threading.enumerate():
        if thread.name == "hub download":
            thread.join(timeout=10)
            assert not thread.is_alive()
