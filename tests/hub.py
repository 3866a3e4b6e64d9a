"""A Hugging Face Hub on 127.0.0.1, so that tests meet the real client over real HTTP.

It speaks as much of the protocol as `hf_hub_download` asks for: HEAD and GET of
/<owner>/<name>/resolve/<revision>/<file>, ranges, and the Hub's codes for what it does not
have. Large files are answered in place; the real Hub sends the client on to another host.

To those whose token it knows it speaks what `create_repo`, `model_info` and `create_commit` ask
for: a repository's state with the hashes of its files, where each file belongs (preupload), the
batch and the bodies of Git LFS, and the commit. Xet, through which the real Hub takes large
files by default, is not spoken.
"""

import base64
import hashlib
import json
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest

ADDRESS = re.compile(r"/([^/]+/[^/]+)/resolve/(refs/pr/\d+|[^/]+)/(.+)")
MODEL = re.compile(r"/api/models/([^/]+/[^/?]+)(?:/(preupload|commit)/main)?(?:\?.*)?")
BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")
LARGE = (".safetensors", ".png", ".jpeg")  # what .gitattributes of a new repository sends to Git LFS
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
    tokens    access token -> who it belongs to
    broken    beginnings of requests ("PUT /lfs/", "POST /api/models/") of which the next one finds its
              connection cut: before it is heard, or, with a "!" in front, after it was done
    refusal   what is said to a token that is not known
    full      the owner's storage is full: no repository is made
    stored    content in Git LFS, by sha256
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.faults: dict[str, str] = {}
        self.requests: list[str] = []
        self.tokens: dict[str, str] = {}
        self.broken: list[str] = []
        self.refusal = "Invalid credentials in Authorization header"
        self.full = False
        self.stored: dict[str, bytes] = {}
        self.stopped = threading.Event()
        self._port = 0

    def put(self, repository: str, commit: str, files: dict[str, bytes]) -> None:
        """Add a commit; `main`, as every other branch, is the one that was added last."""
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
        if self.path == "/api/whoami-v2":
            user = self._user()
            return self._say(*((200, {"name": user}) if user else (401, {"error": "Invalid credentials"})))
        if match := MODEL.fullmatch(self.path):
            return self._tell(match[1])
        match = ADDRESS.fullmatch(unquote(self.path))
        commits = self.hub.repositories.get(match[1]) if match else None
        if not match or not commits:
            return self._refuse("RepoNotFound")
        commit = list(commits)[-1] if match[2] == "main" or "/" in match[2] else match[2]
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
            return self._cut()
        while self.hub.faults.get(file) == "slow" and begin < size and not self.hub.stopped.wait(DRIP_S):
            self.wfile.write(body[begin : begin + 1])
            begin += 1
        if not self.hub.stopped.is_set():
            self.wfile.write(body[begin:])

    def do_POST(self) -> None:
        self._change(self._post)

    def do_PUT(self) -> None:
        self._change(self._put)

    def _change(self, do: Callable[[bytes], tuple[int, object]]) -> None:
        """Hear a request that changes something, and answer it, unless its connection is to be cut."""
        line = f"{self.command} {self.path}"
        self.hub.requests.append(line)
        for fault in self.hub.broken:
            if line.startswith(fault.removeprefix("!")):
                self.hub.broken.remove(fault)
                if fault.startswith("!"):
                    do(self._body())
                return self._cut()
        body = self._body()
        # What an address of the store is signed with stands in itself; all else asks for a token.
        known = self.path.startswith("/lfs/") or self._user()
        return self._say(*(do(body) if known else (401, {"error": self.hub.refusal})))

    def _user(self) -> str:
        return self.hub.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "), "")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _cut(self) -> None:
        # With a linger of 0 s, closing sends a reset instead of an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def _say(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        if isinstance(answer, dict) and "error" in answer:
            headers["X-Error-Message"] = answer["error"]
        self._head(status, headers)
        self.wfile.write(body)

    def _put(self, body: bytes) -> tuple[int, object]:
        """The content of a large file."""
        name = self.path.removeprefix("/lfs/")
        if hashlib.sha256(body).hexdigest() != name:
            return 400, {"error": "another content"}
        self.hub.stored[name] = body
        return 200, {}

    def _post(self, body: bytes) -> tuple[int, object]:
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if match := BATCH.fullmatch(self.path):
            return 200, {"transfer": "basic", "objects": [self._place(asked) for asked in json.loads(body)["objects"]]}
        match = MODEL.fullmatch(self.path)
        if not match or match[1] not in self.hub.repositories:
            return 404, {"error": "Repository not found"}
        if match[1].split("/")[0] != self._user():
            return 403, {"error": "You have no right to write there"}
        now = self._now(match[1])
        if match[2] == "preupload":
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": content_name(file["path"], now[1][file["path"]]) if file["path"] in now[1] else None,
                }
                for file in json.loads(body)["files"]
            ]
            return 200, {"files": files}
        return self._commit(match[1], now, [json.loads(line) for line in body.splitlines()])

    def _create(self, asked: dict[str, str]) -> tuple[int, object]:
        owner = asked.get("organization") or self._user()
        repository = f"{owner}/{asked['name']}"
        if owner != self._user():
            return 403, {"error": "You have no right to write there"}
        if self.hub.full:
            return 403, {"error": "Storage limit reached"}
        if repository in self.hub.repositories:
            return 409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{repository}"}
        self.hub.put(repository, "0" * 40, {".gitattributes": b"*.safetensors filter=lfs"})
        return 200, {"url": f"{self.hub.url}/{repository}"}

    def _validate(self, content: str) -> tuple[int, object]:
        """Metadata at the top of a README.md that can be read."""
        import yaml

        try:
            found = yaml.safe_load(content.split("---\n")[1])
        except (yaml.YAMLError, IndexError) as error:
            return 400, {"errors": [{"message": str(error)}], "warnings": []}
        return 200, {"errors": [], "warnings": [] if isinstance(found, dict) else [{"message": "empty"}]}

    def _place(self, asked: dict[str, str]) -> dict[str, object]:
        """Where a large file is to be put; nowhere, if it is known."""
        if asked["oid"] in self.hub.stored:
            return asked  # type: ignore[return-value]
        return {**asked, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}"}}}

    def _commit(self, repository: str, now: tuple[str, dict[str, bytes]], lines: list[dict]) -> tuple[int, object]:
        """All lines of a commit, or none."""
        files = dict(now[1])
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "header" and value.get("parentCommit", now[0]) != now[0]:
                return 412, {"error": "A commit has happened since"}
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if key == "lfsFile":
                if value["oid"] not in self.hub.stored:
                    return 400, {"error": f"{value['path']} was not uploaded"}
                files[value["path"]] = self.hub.stored[value["oid"]]
            if key == "deletedFile":
                del files[value["path"]]
        whole = now[0] + json.dumps({path: hashlib.sha256(content).hexdigest() for path, content in files.items()})
        commit = hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest()
        self.hub.put(repository, commit, files)
        return 200, {"commitOid": commit, "commitUrl": f"{self.hub.url}/{repository}/commit/{commit}"}

    def _now(self, repository: str) -> tuple[str, dict[str, bytes]]:
        """The last commit of a repository, and its files."""
        return list(self.hub.repositories[repository].items())[-1]

    def _tell(self, repository: str) -> None:
        """A repository's state, with the hashes of its files."""
        if self.headers.get("Authorization") and not self._user():
            return self._say(401, {"error": self.hub.refusal})
        if repository not in self.hub.repositories:
            # To somebody without a token the real Hub says 401, which the client reads as "not found".
            return self._head(404 if self._user() else 401, {"X-Error-Code": "RepoNotFound", "Content-Length": "0"})
        commit, files = self._now(repository)
        siblings = [
            {"rfilename": path, "size": len(content), "blobId": git_name(content)}
            | ({"lfs": lfs_of(content)} if path.endswith(LARGE) else {})
            for path, content in files.items()
        ]
        return self._say(200, {"id": repository, "sha": commit, "siblings": siblings})

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet: `requests` has it."""


def git_name(content: bytes) -> str:
    """Git's name for a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def lfs_of(content: bytes) -> dict[str, object]:
    """What the Hub tells of a file in Git LFS."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}


def content_name(path: str, content: bytes) -> str:
    """What `preupload` calls the content that a path has now."""
    return hashlib.sha256(content).hexdigest() if path.endswith(LARGE) else git_name(content)


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
