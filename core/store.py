"""A run on disk and on the Hub: save, load, check.

A run is a folder `checkpoints/<topic>/<variant>/` with config.json (what it is, what it
scored, and the sha256 of every other file), model.safetensors, history.csv,
expected.safetensors (a small input and its output) and what its page needs beside them.
The store knows no network class: the caller builds one from `run.network` and lets the
run fill it.

    run = store.load("mc_dropout/dropout")
    network = run.fill(DropoutCNN(**run.network))

VITRINE_WEIGHTS says where from: `embedded` (the default, these folders), `hub` (the
repositories that checkpoints/hub.json records, once published) or
`hub:owner/name@commit` (one repository that holds one run; all others stay embedded).
"""

import csv
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.hub import discard, fetch, within

SCHEMA = 1
CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
LOCK = "hub.json"  # in there: run -> repository and commit, written when a run is published
HUB_ADDRESS = re.compile(r"hub:([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
HUB_BUDGET_S = 6.0  # a page waits no longer before it goes on with the embedded weights
HUB_REST_S = 60.0  # after a silence the Hub is left alone this long: a page loads several runs

Network = TypeVar("Network", bound=nn.Module)
_silent_until = 0.0  # time.monotonic() before which the Hub is not asked again


class BadRun(RuntimeError):
    """A run that is missing, damaged or of another version; the message names file and leaf."""


@dataclass(frozen=True)
class Run:
    """One stored run.

    name    "<topic>/<variant>"
    folder  where its files lie on this machine
    config  what config.json says
    source  "embedded", or "owner/name@commit" on the Hub
    note    a sentence for the visitor if the weights are not the ones that were asked for
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    source: str = "embedded"
    note: str = ""

    @property
    def network(self) -> dict[str, Any]:
        """The arguments that the network was built with."""
        return dict(self.config["network"])

    @property
    def megabytes(self) -> float:
        """Size of the weights file in MB (10^6 bytes)."""
        path = self.folder / "model.safetensors"
        return path.stat().st_size / 1e6 if path.is_file() else 0.0

    @property
    def repeatable(self) -> bool:
        """Are the weights behind its scores stored, here or with the run that it uses?"""
        return "model.safetensors" in self.config["files"] or "uses" in self.config

    def score(self, key: str) -> Mapping[str, float]:
        """One measured score: `stored` (these weights), `mean`, `spread` and `runs`; raises BadRun if absent."""
        try:
            return self.config["scores"][key]
        except KeyError:
            raise BadRun(f"{shown(self.folder / 'config.json')}: scores.{key} is missing") from None

    def path(self, file: str) -> Path:
        """Where one of the run's files lies, once its content is what config.json says; raises BadRun."""
        path = self.folder / file
        expected = self.config["files"].get(file)
        if expected is None or not path.is_file():
            raise BadRun(f"{shown(path)} is missing")
        if sha256(path) != expected:
            raise BadRun(f"{shown(path)} is damaged: its sha256 is not the one in config.json")
        return path

    def tensors(self, file: str) -> dict[str, Tensor]:
        """All tensors of one of the run's files, checked against its hash; raises BadRun."""
        path = self.path(file)
        return tensors(path, shown(path))

    def fill(self, network: Network) -> Network:
        """Put the stored weights into a network and freeze it.

        returns the network in eval mode, float32, without gradients
        raises  BadRun, naming file and leaf, if a key, shape or dtype is not what the network has
        """
        path = self.folder / "model.safetensors"
        stored = self.tensors(path.name)
        check_leaves(stored, network.state_dict(), shown(path))
        network.load_state_dict(stored)
        return network.eval().requires_grad_(False)

    def history(self) -> list[dict[str, float]]:
        """The rows of history.csv, one per epoch; raises BadRun if it is missing or damaged."""
        with self.path("history.csv").open(newline="") as file:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def shown(path: Path) -> str:
    """A path as a visitor may read it: "mc_dropout/dropout/config.json", without this machine's folders."""
    return "/".join(path.parts[-3:])


def sha256(path: Path) -> str:
    """The hash of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_object(path: Path, name: str = "") -> dict[str, Any]:
    """The object in a JSON file; raises BadRun, naming the file (by `name`, if given), if there is none."""
    name = name or shown(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadRun(f"{name} is missing") from None
    except ValueError as error:
        raise BadRun(f"{name} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise BadRun(f"{name} is damaged: expected an object, found {type(found).__name__}")
    return found


def tensors(path: Path, name: str) -> dict[str, Tensor]:
    """All tensors of a safetensors file; raises BadRun, which calls the file `name`, if it is damaged."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise BadRun(f"{name} is damaged: {error}") from error


def check_leaves(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str) -> None:
    """Do these tensors fit a network, leaf by leaf? fp16 stands for any floating-point number.

    wanted  the network's own
    name    what to call the file that they come from
    raises  BadRun, naming file and leaf, if a key, shape or dtype is not what the network has
    """
    for leaf in sorted(stored.keys() ^ wanted.keys()):
        raise BadRun(f"{name}: {leaf} is {'missing' if leaf in wanted else 'not part of the network'}")
    for leaf, tensor in stored.items():
        if tensor.shape != wanted[leaf].shape:
            shapes = f"{tuple(tensor.shape)}, the network expects {tuple(wanted[leaf].shape)}"
            raise BadRun(f"{name}: {leaf} has shape {shapes}")
        halved = tensor.dtype == torch.half and wanted[leaf].is_floating_point()
        if tensor.dtype != wanted[leaf].dtype and not halved:
            raise BadRun(f"{name}: {leaf} has dtype {tensor.dtype}, the network expects {wanted[leaf].dtype}")


def read(name: str, folder: Path, *, source: str = "embedded") -> Run:
    """Read and check config.json in a folder; raises BadRun, naming file and leaf."""
    path = folder / "config.json"
    config = json_object(path)
    if config.get("schema") != SCHEMA:
        raise BadRun(f"{shown(path)}: schema is {config.get('schema')!r}, this version reads {SCHEMA}")
    for leaf in ("run", "network", "classes", "preprocessing", "recipe", "scores", "data", "measured", "files"):
        if leaf not in config:
            raise BadRun(f"{shown(path)}: {leaf} is missing")
    for leaf in ("scores", "files"):
        if not isinstance(config[leaf], dict):
            raise BadRun(f"{shown(path)}: {leaf} is {type(config[leaf]).__name__}, expected an object")
    if config["run"] != name:
        raise BadRun(f"{shown(path)}: run is {config['run']!r}, expected {name!r}")
    return Run(name, folder, config, source)


def load(name: str) -> Run:
    """Load a run from where VITRINE_WEIGHTS says, the embedded one if the Hub does not deliver.

    name    "<topic>/<variant>"
    returns Run; its `note` says so if the embedded weights stand in for those of the Hub
    raises  BadRun if the run is damaged; ValueError if VITRINE_WEIGHTS cannot be read
    """
    wanted = os.environ.get("VITRINE_WEIGHTS", "").strip() or "embedded"
    if wanted == "embedded":
        return read(name, CHECKPOINTS / name)
    if wanted == "hub":
        repository, commit = published(name)
    elif match := HUB_ADDRESS.fullmatch(wanted):
        repository, commit = match.groups()
    else:
        raise ValueError(f"VITRINE_WEIGHTS: expected embedded, hub or hub:owner/name@<40-digit commit>, got {wanted!r}")
    if not repository:
        return replace(read(name, CHECKPOINTS / name), note="Not published on the Hub yet: embedded weights.")
    global _silent_until
    try:
        if time.monotonic() < _silent_until:
            raise OSError("it did not answer a moment ago")
        return within(HUB_BUDGET_S, lambda: _download(name, repository, commit))
    except _OtherRun:
        return read(name, CHECKPOINTS / name)
    except (OSError, BadRun) as error:
        if isinstance(error, TimeoutError):
            _silent_until = time.monotonic() + HUB_REST_S
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        note = f"The Hub did not deliver {repository} ({reason}): embedded weights instead."
        return replace(read(name, CHECKPOINTS / name), note=note)


class _OtherRun(Exception):
    """The repository that was named holds another run than the one that is being loaded."""


def networks(names: Iterable[str], build: Callable[..., Network]) -> dict[str, Network]:
    """The networks of these runs, frozen, by run name; `build` takes their arguments. Raises BadRun as `load` does."""
    runs = [load(name) for name in names]
    return {run.name: run.fill(build(**run.network)) for run in runs}


def published(name: str) -> tuple[str, str]:
    """Repository and commit of a published run, ("", "") if it is not published."""
    path = CHECKPOINTS / LOCK
    entry = json_object(path).get(name, {}) if path.is_file() else {}
    return entry.get("repository", ""), entry.get("commit", "")


def _download(name: str, repository: str, commit: str) -> Run:
    """Fetch a run into the Hub client's cache, and check it there."""
    fetched = [fetch(repository, "config.json", commit)]
    try:
        if json_object(fetched[0]).get("run", name) != name:
            raise _OtherRun
        run = read(name, fetched[0].parent, source=f"{repository}@{commit}")
        for file in run.config["files"]:
            fetched.append(fetch(repository, file, commit))
            run.path(file)
    except BadRun:
        for path in fetched:
            discard(path)
        raise
    return run


def save(
    name: str,
    *,
    config: Mapping[str, Any],
    network: nn.Module | None = None,
    history: Any = None,
    companions: Mapping[str, Mapping[str, Tensor] | bytes] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Write a run; its files move into place once all are written, config.json last.

    So a folder that has one is complete, and a save that fails leaves the former run as it was.

    config      everything but `schema`, `run` and `files`
    network     stored in fp16 (integers as they are); leave out for a run that only feeds a table
    history     something with `write(path)`
    companions  file name -> named tensors, for expected.safetensors, samples.safetensors …; or bytes, for a JPEG
    checkpoints the folder of all runs, the project's own by default
    returns     the Run as `read` finds it
    """
    folder = (checkpoints or CHECKPOINTS) / name
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="partial-", dir=folder) as temporary:
        partial = Path(temporary)
        if network is not None:
            save_file(_halved(network), partial / "model.safetensors")
        if history is not None:
            history.write(partial / "history.csv")
        for file, content in (companions or {}).items():
            if isinstance(content, bytes):
                (partial / file).write_bytes(content)
            else:
                save_file({leaf: value.contiguous() for leaf, value in content.items()}, partial / file)
        files = {path.name: sha256(path) for path in sorted(partial.iterdir())}
        whole = {"schema": SCHEMA, "run": name, **config, "files": files}
        (partial / "config.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        (folder / "config.json").unlink(missing_ok=True)
        for file in (*files, "config.json"):
            (partial / file).replace(folder / file)
    return read(name, folder)


def _halved(network: nn.Module) -> dict[str, Tensor]:
    """The weights as they are stored: fp16, integers as they are, contiguous whatever the memory format."""
    return {
        leaf: (value.half() if value.is_floating_point() else value).contiguous()
        for leaf, value in network.state_dict().items()
    }


def rounded(network: Network) -> Network:
    """Round a network's weights to what `save` will keep (fp16), so that scores are measured on that."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    return network
