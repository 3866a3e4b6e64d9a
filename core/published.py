"""Networks that others trained, from the Hub on a visitor's request.

A shelf knows how to build one kind. One network is in memory at a time, of whatever kind, shared by
all visitors; nothing is downloaded before somebody asks. A page's generator shows how far it is, and
closing the generator (the visitor cancels) ends the download:

    for step in imagenet.SHELF.loading(PUBLISHED["resnet18"]):
        print(step.say())
    photo = step.loaded.view(picture)
    best = step.loaded.labels[int(step.loaded.network(photo).argmax())]
"""

import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from core import hub, store
from core.card import Published, Refused

LIMIT_MB = 350
LOAD_BUDGET_S = 120.0  # a visitor waits no longer
ANSWER_S = 15.0  # until the Hub's first answer
TICK_S = 0.2  # between two signs of life to the page
WEIGHTS = "model.safetensors"


class Loaded(Protocol):
    """A network in memory: frozen, in eval mode, shared by all visitors.

    commit  where in its repository's history it comes from
    """

    @property
    def published(self) -> Published: ...
    @property
    def commit(self) -> str: ...


Kind = TypeVar("Kind", bound=Loaded)
Files = Mapping[str, Path]  # name in the repository -> where it lies


@dataclass(frozen=True)
class Progress(Generic[Kind]):
    """How far it is, in bytes; `loaded` is set in the last one."""

    done: int = 0
    total: int = 0
    loaded: Kind | None = None

    def say(self) -> str:
        """A few words for the page."""
        if self.loaded:
            return f"{self.loaded.published.title} is loaded (commit {self.loaded.commit[:7]})."
        return f"{self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB" if self.total else "Asking the Hub …"


class Shelf(Generic[Kind]):
    """Published networks of one kind.

    listed  key -> network, as pages offer them
    build   build(published, commit, files), the files by name with the weights among them; raises BadRun, naming
            file and leaf, if something does not fit
    """

    def __init__(self, listed: Mapping[str, Published], build: Callable[[Any, str, Files], Kind]) -> None:
        self.listed, self.build = listed, build

    def here(self, published: Published) -> bool:
        """Is this network in memory, or are its files on this machine? Then `at_hand` gives it."""
        return _in_memory(published) is not None or _files(published) is not None

    def at_hand(self, published: Published) -> Kind:
        """The network from memory, or read from its files on this machine in place of the one in memory.

        Nobody is asked and nobody's download waited for: what a visitor's move needs, whose network
        another visitor's may have displaced.
        raises  Refused, a sentence that says what to do, if it is not here; BadRun as `loading`
        """
        global _held
        if found := _in_memory(published):
            return found
        with _reading:
            if found := _in_memory(published):
                return found
            files = _files(published)
            if files is None:
                raise Refused(
                    f"{published.title} is not on this machine. Choose it again under Network; "
                    f"it has {published.megabytes:.0f} MB."
                )
            loaded = _built(self, published, files)
            with _lock:
                _held = loaded
            return loaded

    def fetch(self, chosen: Mapping[str, Any]) -> Generator[str, None, None]:
        """Bring what a page's controls chose among the listed ones to this machine, unless it is there.

        chosen  control -> key of `listed`
        yields  sentences on how far it is; closing the generator cancels
        """
        for published in (self.listed[str(key)] for key in chosen.values()):
            if not self.here(published):
                for step in self.loading(published):
                    yield step.say() if step.loaded else f"{published.title}: {step.say()}"

    def loading(self, published: Published, *, budget_s: float = LOAD_BUDGET_S) -> Iterator[Progress[Kind]]:
        """Bring a published network into memory, in place of the one that is there.

        yields  Progress at least every 0.2 s; the last one has `loaded`. Visitors who ask for the same
                network share one download; who asks for another one waits for its end. Closing the
                generator cancels, and ends the download if nobody else waits for it (at its next piece)
        raises  Refused, a sentence, if the Hub does not answer or not within the budget; BadRun, naming
                file and leaf, if what came does not fit. The network that was in memory stays there
        """
        begin = time.monotonic()
        while (found := _join(self, published)) is None:
            if time.monotonic() - begin > budget_s:
                raise Refused(f"Another network is still being loaded. Ask for {published.title} again in a minute.")
            yield Progress()
            time.sleep(TICK_S)
        if not isinstance(found, _Job):
            yield Progress(loaded=found)
            return
        try:
            while not found.ended.wait(TICK_S):
                if time.monotonic() - begin > budget_s:
                    raise _undelivered(published, f"it is not complete after {budget_s:g} s")
                if not found.answered and time.monotonic() - found.begin > min(ANSWER_S, budget_s):
                    raise _undelivered(published, "no answer")
                yield Progress(found.done, found.total)
        finally:
            found.leave()
        if isinstance(found.failure, OSError):
            raise _undelivered(published, str(found.failure).splitlines()[0]) from found.failure
        if isinstance(found.failure, store.BadRun):
            raise store.BadRun(str(found.failure)) from found.failure
        if found.failure:
            raise RuntimeError(f"{published.repository} could not be loaded") from found.failure
        yield Progress(found.total, found.total, found.loaded)


def _undelivered(published: Published, reason: str) -> Refused:
    return Refused(f"The Hub did not deliver {published.repository} ({reason}). The network in use stays as it was.")


class _Left(Exception):
    """Nobody waits for this download any more."""


class _Job:
    """One network on its way, in a thread of its own; `waiting` counts the visitors who want it."""

    def __init__(self, shelf: Shelf[Any], published: Published) -> None:
        self.shelf, self.published, self.begin, self.waiting = shelf, published, time.monotonic(), 1
        self.done, self.total, self.answered = 0, 0, False
        self.loaded: Any = None
        self.failure: Exception | None = None
        self.ended = threading.Event()
        threading.Thread(target=self._run, name="hub download", daemon=True).start()

    def _run(self) -> None:
        global _held, _job
        try:
            self.loaded = _load(self)
        except Exception as error:  # noqa: BLE001, handed to the waiting visitors, not swallowed
            self.failure = error
        with _lock:
            if self.loaded and self.waiting:
                _held = self.loaded
            if _job is self:
                _job = None
        self.ended.set()

    def count(self, done: int, total: int) -> None:
        """Hears from the download how far it is."""
        if not self.waiting:
            raise _Left
        self.done, self.total = done, total

    def leave(self) -> None:
        """A visitor waits no longer; after the last one the way is free for another network."""
        global _job
        with _lock:
            self.waiting -= 1
            if not self.waiting and _job is self:
                _job = None


_lock = threading.Lock()
_reading = threading.Lock()  # one network is read from its files at a time: it takes seconds and memory
_held: Any = None  # the Loaded in memory
_job: _Job | None = None


def _in_memory(published: Published) -> Any:
    held = _held
    return held if held is not None and held.published == published else None


def _files(published: Published) -> dict[str, Path] | None:
    """All files in the client's cache, by name, or None if one of them is not there."""
    revision = published.commit or published.branch
    found = {file: hub.cached(published.repository, file, revision) for file in (*published.files, WEIGHTS)}
    return {name: path for name, path in found.items() if path} if all(found.values()) else None


def _join(shelf: Shelf[Any], published: Published) -> Any:
    """The network if it is in memory; else its job, begun if need be; None while another one is at work."""
    global _job
    with _lock:
        if found := _in_memory(published):
            return found
        if _job is None:
            _job = _Job(shelf, published)
            return _job
        if _job.published != published:
            return None
        _job.waiting += 1
        return _job


def _load(job: _Job) -> Any:
    """Fetch, check and build; every error names the file."""
    published = job.published
    commit = published.commit or _first_commit(published)
    files = {}
    for file in published.files:
        files[file] = hub.fetch(published.repository, file, commit, limit_mb=LIMIT_MB)
        job.answered = True
    files[WEIGHTS] = hub.fetch(published.repository, WEIGHTS, commit, limit_mb=LIMIT_MB, progress=job.count)
    with _reading:
        return _built(job.shelf, published, files)


def _first_commit(published: Published) -> str:
    """What the branch was when this machine first asked; from then on it is read from the client's cache."""
    where = published.repository, published.files[0], published.branch
    return (hub.cached(*where) or hub.fetch(*where)).parent.name


def _built(shelf: Shelf[Any], published: Published, files: Files) -> Any:
    """The network from its files in the cache; raises BadRun, naming file and leaf, if something does not fit.

    What does not fit is taken out of the cache, so that it comes anew when it is asked for again.
    """
    try:
        # The client names a large file after its sha256, and does not check it.
        stated = files[WEIGHTS].resolve().name
        if re.fullmatch("[0-9a-f]{64}", stated) and store.sha256(files[WEIGHTS]) != stated:
            name = f"{published.repository}/{WEIGHTS}"
            raise store.BadRun(f"{name} is damaged: its sha256 is not the one that the Hub states")
        return shelf.build(published, files[WEIGHTS].parent.name, files)
    except store.BadRun:
        for path in files.values():
            hub.discard(path)
        raise
