"""Networks that others trained on ImageNet, from the Hub on a visitor's request.

`core.card.PUBLISHED` is the list. One network is in memory at a time, shared by all visitors;
nothing is downloaded before somebody asks. A page's generator shows how far it is, and closing
the generator (the visitor cancels) ends the download:

    for step in imagenet.loading(PUBLISHED["resnet18"]):
        print(step.say())
    photo = step.loaded.view(picture)
    best = step.loaded.labels[int(step.loaded.network(photo).argmax())]
"""

import math
import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from core import hub, store
from core.card import PUBLISHED, Published, Refused
from core.nets import ImageNet, folded, staged

LIMIT_MB = 350
LOAD_BUDGET_S = 120.0  # a visitor waits no longer
ANSWER_S = 15.0  # until the Hub's first answer
TICK_S = 0.2  # between two signs of life to the page
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Loaded:
    """A network in memory: frozen, in eval mode, shared by all visitors.

    commit         where in its repository's history it comes from
    labels         what each logit stands for
    side           of the square picture that it gets, in pixels
    crop           share of the shorter side that this square keeps, above 0 and at most 1
    interpolation  "bicubic", "bilinear" …, how the picture is reduced
    """

    published: Published
    commit: str
    network: ImageNet
    labels: tuple[str, ...]
    side: int
    crop: float
    interpolation: str

    @property
    def names(self) -> tuple[str, ...]:
        """The first of each label's synonyms: "tabby" of "tabby, tabby cat"."""
        return tuple(label.split(",")[0] for label in self.labels)

    def view(self, picture: Image.Image | Tensor) -> Tensor:
        """What of this picture does the network see?

        shorter side -> floor(side / crop), then the square of `side` in the middle

        picture  RGB, or (3, H, W) float in [0, 1] (rounded to 256 levels, as in a file)
        returns  (1, 3, side, side) float32 in [0, 1], what the network expects
        raises   ValueError for any other tensor
        """
        from core.vision import torchvision

        functional = torchvision.transforms.functional
        if isinstance(picture, Tensor):
            if picture.dim() != 3 or picture.shape[0] != 3 or not picture.is_floating_point():
                raise ValueError(f"expected (3, H, W) float, got {tuple(picture.shape)} {picture.dtype}")
            image = functional.to_pil_image((picture.clamp(0, 1) * 255).round().byte())
        else:
            image = picture.convert("RGB")
        mode = torchvision.transforms.InterpolationMode(self.interpolation)
        reduced = functional.resize(image, math.floor(self.side / self.crop), mode)
        return functional.to_tensor(functional.center_crop(reduced, self.side))[None]


@dataclass(frozen=True)
class Progress:
    """How far it is, in bytes; `loaded` is set in the last one."""

    done: int = 0
    total: int = 0
    loaded: Loaded | None = None

    def say(self) -> str:
        """A few words for the page."""
        if self.loaded:
            return f"{self.loaded.published.title} is loaded (commit {self.loaded.commit[:7]})."
        return f"{self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB" if self.total else "Asking the Hub …"


def here(published: Published) -> bool:
    """Is this network in memory, or are its files on this machine? Then `at_hand` gives it."""
    return _in_memory(published) is not None or _files(published) is not None


def at_hand(published: Published) -> Loaded:
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
        paths = _files(published)
        if paths is None:
            raise Refused(
                f"{published.title} is not on this machine. Choose it again under Network; "
                f"it has {published.megabytes:.0f} MB."
            )
        loaded = _build(published, *paths)
        with _lock:
            _held = loaded
        return loaded


def _in_memory(published: Published) -> Loaded | None:
    held = _held
    return held if held is not None and held.published == published else None


def _files(published: Published) -> tuple[Path, Path] | None:
    """config.json and the weights in the client's cache, or None if one of them is not there."""
    revision = published.commit or "main"
    config, weights = (hub.cached(published.repository, file, revision) for file in ("config.json", WEIGHTS))
    return (config, weights) if config and weights else None


def fetch(chosen: Mapping[str, Any]) -> Generator[str, None, None]:
    """Bring what a page's controls chose among `PUBLISHED` to this machine, unless it is there.

    chosen  control -> key of PUBLISHED
    yields  sentences on how far it is; closing the generator cancels
    """
    for published in (PUBLISHED[str(key)] for key in chosen.values()):
        if not here(published):
            for step in loading(published):
                yield step.say() if step.loaded else f"{published.title}: {step.say()}"


def loading(published: Published, *, budget_s: float = LOAD_BUDGET_S) -> Iterator[Progress]:
    """Bring a published network into memory, in place of the one that is there.

    yields  Progress at least every 0.2 s; the last one has `loaded`. Visitors who ask for the same
            network share one download; who asks for another one waits for its end. Closing the
            generator cancels, and ends the download if nobody else waits for it (at its next piece)
    raises  Refused, a sentence, if the Hub does not answer or not within the budget; BadRun, naming
            file and leaf, if what came does not fit. The network that was in memory stays there
    """
    begin = time.monotonic()
    while (found := _join(published)) is None:
        if time.monotonic() - begin > budget_s:
            raise Refused(f"Another network is still being loaded. Ask for {published.title} again in a minute.")
        yield Progress()
        time.sleep(TICK_S)
    if isinstance(found, Loaded):
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

    def __init__(self, published: Published) -> None:
        self.published, self.begin, self.waiting = published, time.monotonic(), 1
        self.done, self.total, self.answered = 0, 0, False
        self.loaded: Loaded | None = None
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
_held: Loaded | None = None
_job: _Job | None = None


def _join(published: Published) -> Loaded | _Job | None:
    """The network if it is in memory; else its job, begun if need be; None while another one is at work."""
    global _job
    with _lock:
        if found := _in_memory(published):
            return found
        if _job is None:
            _job = _Job(published)
            return _job
        if _job.published != published:
            return None
        _job.waiting += 1
        return _job


def _load(job: _Job) -> Loaded:
    """Fetch, check and build; every error names the file."""
    published = job.published
    repository = published.repository
    commit = published.commit or _first_commit(repository)
    config_path = hub.fetch(repository, "config.json", commit)
    job.answered = True
    path = hub.fetch(repository, WEIGHTS, commit, limit_mb=LIMIT_MB, progress=job.count)
    return _build(published, config_path, path)


def _first_commit(repository: str) -> str:
    """What `main` was when this machine first asked; from then on it is read from the client's cache."""
    path = hub.cached(repository, "config.json", "main") or hub.fetch(repository, "config.json", "main")
    return path.parent.name


def _build(published: Published, config_path: Path, path: Path) -> Loaded:
    """The network from its two files in the cache; raises BadRun, naming file and leaf, if something does not fit.

    What does not fit is taken out of the cache, so that it comes anew when it is asked for again.
    """
    try:
        return _checked(published, config_path.parent.name, config_path, path)
    except store.BadRun:
        hub.discard(config_path)
        hub.discard(path)
        raise


def _checked(published: Published, commit: str, config_path: Path, path: Path) -> Loaded:
    """The network, once everything about its two files fits."""
    from core.vision import torchvision  # noqa: I001  (timm imports it, so it has to come first)
    import timm

    name = f"{published.repository}/config.json"
    config = store.json_object(config_path, name)
    if config.get("architecture") != published.architecture:
        raise store.BadRun(f"{name}: architecture is {config.get('architecture')!r}, not {published.architecture!r}")
    classes, settings = config.get("num_classes"), config.get("pretrained_cfg")
    if not isinstance(classes, int) or not isinstance(settings, dict):
        raise store.BadRun(f"{name}: num_classes or pretrained_cfg is missing")
    try:
        side, crop = int(settings["input_size"][-1]), float(settings["crop_pct"])
        mean, std = (tuple(float(value) for value in settings[leaf]) for leaf in ("mean", "std"))
        mode = torchvision.transforms.InterpolationMode(settings["interpolation"]).value
    except (LookupError, TypeError, ValueError) as error:
        raise store.BadRun(f"{name}: pretrained_cfg does not say how to prepare a picture ({error!r})") from error
    if settings.get("crop_mode", "center") != "center" or not 0 < crop <= 1 or len(mean) != 3 or len(std) != 3:
        raise store.BadRun(f"{name}: pretrained_cfg asks for a preparation that is not supported")
    # Without memory and random numbers of its own: both come with the file.
    with torch.device("meta"):
        network = timm.create_model(published.architecture, pretrained=False, num_classes=classes)
    name = f"{published.repository}/{WEIGHTS}"
    # The client names a large file after its sha256, and does not check it.
    if re.fullmatch("[0-9a-f]{64}", path.resolve().name) and store.sha256(path) != path.resolve().name:
        raise store.BadRun(f"{name} is damaged: its sha256 is not the one that the Hub states")
    stored = store.tensors(path, name)
    store.check_leaves(stored, network, name)
    network.load_state_dict(stored, assign=True)
    whole = staged(folded(network.float().eval()), mean=mean, std=std)
    if whole.stages != published.stages:
        raise ValueError(f"{published.architecture}: expected stages {published.stages}, found {whole.stages}")
    frozen = whole.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = _labels(config, classes, f"{published.repository}/config.json")
    return Loaded(published, commit, frozen, labels, side, crop, mode)


def _labels(config: Mapping[str, Any], classes: int, name: str) -> tuple[str, ...]:
    """The names in the repository's own config.json, or those of ImageNet's classes that timm brings."""
    names = config.get("label_names")
    if names is None:
        from timm.data import ImageNetInfo

        if classes != 1000:
            raise store.BadRun(f"{name}: label_names is missing, and {classes} classes are not ImageNet's 1000")
        known = ImageNetInfo()  # reads three files
        return tuple(known.index_to_description(number) for number in range(classes))
    if not isinstance(names, list) or len(names) != classes:
        raise store.BadRun(f"{name}: label_names is no list of {classes}")
    described = config.get("label_descriptions") or {}
    return tuple(str(described.get(label, label)) for label in names)
