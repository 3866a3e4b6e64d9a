"""What a topic says about itself: one frozen, checked object per topic, pure data.

The card is the single source for the page's head and controls, its address, the
validation of its API, the tour, the worksheet, the README row, the gallery's card and
the model card. It holds no score: those are read from the run's config.json, by name.
"""

import importlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Value = float | int | str | bool
KINDS = ("number", "whole", "choice", "flag", "seed")
SEED_HIGH = 9999
SURFACES = ("space", "lab")


class Refused(ValueError):
    """A value that a visitor sent and that cannot be used; the message is a sentence for that visitor."""


@dataclass(frozen=True)
class Param:
    """One control of a page, and one key of its address.

    name      key in the address and in the API, `T` or `rotate`
    kind      number, whole (number), choice, flag, or seed (a whole number from 0 to 9999)
    low, high both ends included; for number and whole
    choices   key -> label; for choice
    unit      "°", "%" … written after the label
    help      what turning it up does, one sentence
    main      shown at once; otherwise folded under More controls
    fetched   choices that come from the Hub when a visitor asks for them; the others are at hand
    play      a button goes through the values one by one, for a training that is replayed
    raises    ValueError if what was given does not fit the kind
    """

    name: str
    kind: str
    default: Value
    label: str
    help: str
    low: float = 0
    high: float = 1
    step: float = 0.01
    choices: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    main: bool = True
    fetched: tuple[str, ...] = ()
    play: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: expected a kind among {KINDS}, got {self.kind!r}")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", self.name):
            raise ValueError(f"{self.name!r}: expected a plain word that fits an address")
        if (self.kind == "choice") != bool(self.choices):
            raise ValueError(f"{self.name}: choices belong to kind choice, and only there")
        if not set(self.fetched) <= self.choices.keys() - {self.default}:
            raise ValueError(f"{self.name}: expected fetched choices among the others than the default")
        if self.play and self.kind != "whole":
            raise ValueError(f"{self.name}: only a whole number can be played")
        if self.kind == "seed":
            object.__setattr__(self, "high", SEED_HIGH)
        if self.kind in ("whole", "seed"):
            object.__setattr__(self, "step", max(1, int(self.step)))
        object.__setattr__(self, "default", self.parse(self.default))

    def parse(self, raw: object) -> Value:
        """Turn what came from a control, an address or the API into a value of this kind.

        raises Refused, with the range in the sentence, for anything outside it
        """
        value, note = self.clamp(raw)
        if note:
            raise Refused(note)
        return value

    def clamp(self, raw: object) -> tuple[Value, str]:
        """Like `parse`, but a value outside its range goes to the nearest end, and nonsense to the default.

        returns the value, and a sentence that says what was changed ("" if nothing)
        """
        if self.kind == "choice":
            if isinstance(raw, str) and raw in self.choices:
                return raw, ""
            return self.default, f"{self.label}: expected one of {', '.join(self.choices)}; got {short(raw)}."
        if self.kind == "flag":
            flags: dict[object, bool] = {True: True, False: False, "1": True, "0": False, "true": True, "false": False}
            try:
                return flags[raw], ""
            except (KeyError, TypeError):
                return self.default, f"{self.label}: expected 1 or 0; got {short(raw)}."
        whole = self.kind in ("whole", "seed")
        expected = f"{self.label}: expected a {'whole ' if whole else ''}number from {self.low:g} to {self.high:g}"
        try:
            number = float(raw) if not isinstance(raw, bool) else math.nan  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):  # OverflowError: a whole number of 400 digits
            number = math.nan
        if math.isnan(number) or (whole and math.isfinite(number) and number != int(number)):
            return self.default, f"{expected}; got {short(raw)}."
        nearest = min(max(number, self.low), self.high)
        note = "" if nearest == number else f"{expected}; got {short(raw)}."
        return (int(nearest) if whole else float(nearest)), note

    def write(self, value: Value) -> str:
        """The value as it stands in an address, exact: `parse` gives the same value back."""
        if self.kind == "flag":
            return "1" if value else "0"
        return str(value).removesuffix(".0") if isinstance(value, float) else str(value)

    def say(self, value: Value) -> str:
        """The value as a visitor reads it, "40°", "dropout on"."""
        if self.kind == "flag":
            return "on" if value else "off"
        gap = "" if self.unit in ("", "°") else " "
        number = f"{value:g}" if isinstance(value, float) else str(value)
        return self.choices.get(str(value), f"{number}{gap}{self.unit}")


def short(raw: object) -> str:
    """What somebody sent, cut to a length that fits a sentence."""
    text = repr(raw)
    return text if len(text) <= 40 else text[:37] + "…"


@dataclass(frozen=True)
class Paper:
    """A source that the page links to."""

    title: str
    authors: str
    year: int
    url: str


@dataclass(frozen=True)
class Score:
    """One measured score: which run and key holds it, and how to say it.

    run, key  `scores[key]` in that run's config.json
    label     "test error, 50 passes"
    percent   show 0.0042 as 0.42 %
    digits    digits after the point, as many as the spread allows
    baseline  key of the simple baseline beside it, in the same run
    """

    run: str
    key: str
    label: str
    percent: bool = False
    digits: int = 2
    baseline: str = ""

    def say(self, value: float) -> str:
        """The number as it is printed."""
        value = round(100 * value if self.percent else value, self.digits) + 0.0  # no -0.00
        return f"{value:.{self.digits}f}{' %' if self.percent else ''}"


@dataclass(frozen=True)
class Bound:
    """A condition on one of the answer's numbers, "confidence >= 0.95"."""

    number: str
    sign: str
    limit: float

    def __post_init__(self) -> None:
        if self.sign not in (">=", "<=", "=="):
            raise ValueError(f"expected >=, <= or ==, got {self.sign!r}")

    def holds(self, numbers: Mapping[str, float]) -> bool:
        """Does the answer fulfil it?"""
        value = numbers[self.number]
        return {">=": value >= self.limit, "<=": value <= self.limit, "==": value == self.limit}[self.sign]


@dataclass(frozen=True)
class Step:
    """One step of the tour: it asks before it shows.

    ask      the question, answered before anything moves
    choices  two to four predictions
    right    index of the one that the page will confirm
    set      controls that the step sets; all others go to their defaults
    look     what to do and to watch
    why      opens after the visitor has chosen
    minutes  alone; a class takes 4.5 times as long
    holds    what must be true of the answer at `set` (or at `then`), checked by the tests
    then     controls to change for the discovery, if `set` is only its start
    """

    ask: str
    choices: tuple[str, ...]
    right: int
    set: Mapping[str, Value]
    look: str
    why: str
    minutes: float = 2.5
    holds: tuple[Bound, ...] = ()
    then: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 2 <= len(self.choices) <= 4 or not 0 <= self.right < len(self.choices):
            raise ValueError(f"{self.ask!r}: expected two to four choices, and one of them right")


@dataclass(frozen=True)
class Card:
    """Everything that a topic says about itself.

    slug      name of its folder, app, checkpoints and test
    family    heading in the gallery, "Uncertainty"
    question  the page's title, at most six words
    claim     one or two sentences under it
    sample    name of the choice Param that picks a bundled input ("" if the page needs none)
    idea      the words that the formula needs, two or three sentences
    formula   LaTeX; `symbols` names each symbol in it
    not_this  the usual misreading, refuted
    tiles     name of a number under the figure -> its one-sentence explanation, with the formula
    verdict   what the scores say, and how to read them
    limits    where the model is weak, and what input is accepted
    data      licence note for each data set behind the embedded weights
    command   what measures the scores again
    cover     the state whose figure stands for the topic in the gallery
    task      what the network does, by the Hub's name for it: "image-classification"
    surface   "space": a page in Gradio with a trained model; "lab": a concept page in Streamlit, which may have
              no scores and no data
    raises    ValueError if something is missing or does not fit together
    """

    slug: str
    family: str
    question: str
    claim: str
    params: tuple[Param, ...]
    papers: tuple[Paper, ...]
    scores: tuple[Score, ...]
    tour: tuple[Step, ...]
    idea: str
    formula: str
    symbols: Mapping[str, str]
    not_this: str
    tiles: Mapping[str, str]
    verdict: str
    limits: tuple[str, ...]
    data: tuple[str, ...]
    command: str
    sample: str = ""
    cover: Mapping[str, Value] = field(default_factory=dict)
    task: str = "other"
    surface: str = "space"

    def __post_init__(self) -> None:
        if len(self.question.split()) > 6:
            raise ValueError(f"{self.slug}: the question has more than six words")
        if self.surface not in SURFACES:
            raise ValueError(f"{self.slug}: expected a surface among {SURFACES}, got {self.surface!r}")
        names = [param.name for param in self.params]
        if len(set(names)) < len(names) or not 3 <= len(self.tour) <= 5:
            raise ValueError(f"{self.slug}: expected controls of different names and three to five tour steps")
        if self.sample and self.sample not in names:
            raise ValueError(f"{self.slug}: the sample control {self.sample!r} is not among the controls")
        for state in (self.cover, *(state for step in self.tour for state in (step.set, step.then))):
            self.parse(state)

    def param(self, name: str) -> Param:
        """The control of this name; raises Refused for an unknown one."""
        for param in self.params:
            if param.name == name:
                return param
        raise Refused(f"There is no control called {short(name)}; there are {', '.join(p.name for p in self.params)}.")

    def defaults(self) -> dict[str, Value]:
        """The opening state."""
        return {param.name: param.default for param in self.params}

    def parse(self, raw: Mapping[str, object]) -> dict[str, Value]:
        """A whole state from parts of one, defaults for the rest; raises Refused for the first that does not fit."""
        return self.defaults() | {name: self.param(name).parse(value) for name, value in raw.items()}

    def read_address(self, query: Mapping[str, str]) -> tuple[dict[str, Value], list[str]]:
        """A whole state from an address's query; what does not fit is clamped, and said.

        returns the state, and one sentence per value that was changed; keys that are not
                controls (hide, embed, present …) are left to the page
        """
        values, notes = self.defaults(), []
        for param in self.params:
            if param.name in query:
                values[param.name], note = param.clamp(query[param.name])
                if note:
                    notes.append(f"{note} Using {param.say(values[param.name])}.")
        return values, notes

    def address(self, values: Mapping[str, Value]) -> dict[str, str]:
        """The query that restores this state, every control included so that later defaults change nothing."""
        return {param.name: param.write(values[param.name]) for param in self.params}

    def differences(self, first: Mapping[str, Value], second: Mapping[str, Value]) -> list[str]:
        """What distinguishes two states, in words: "Passes: 50 in A, 200 in B"."""
        return [
            f"{param.label}: {param.say(first[param.name])} in A, {param.say(second[param.name])} in B"
            for param in self.params
            if first[param.name] != second[param.name]
        ]


@dataclass(frozen=True)
class Published:
    """A network that its authors published on the Hub; `core.published` loads it on request.

    repository    "timm/…"
    commit        40 digits; None: the first download asks what the branch is, and keeps to that
    title         its name on a page
    megabytes     size of model.safetensors in MB (10^6 bytes)
    branch        where a commit that is not given is looked for
    files         what is taken from the repository beside model.safetensors
    raises        ValueError if the commit is no full hash
    """

    repository: str
    commit: str | None
    title: str
    megabytes: float
    branch: str = "main"
    files: tuple[str, ...] = ("config.json",)

    def __post_init__(self) -> None:
        if self.commit is not None and not re.fullmatch("[0-9a-f]{40}", self.commit):
            raise ValueError(f"{self.repository}: expected a commit of 40 hexadecimal digits, got {self.commit!r}")

    @property
    def label(self) -> str:
        """How a menu offers it."""
        return f"{self.title} ({self.megabytes:.0f} MB from the Hub)"


@dataclass(frozen=True, kw_only=True)
class PublishedImageNet(Published):
    """One that was trained on ImageNet, which `core.imagenet` builds.

    architecture  its name in timm
    stages        names of its stages from input to output, each a map of features
    """

    architecture: str
    stages: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.title} (ImageNet, {self.megabytes:.0f} MB from the Hub)"


# What pages offer beside the project's own networks, by the name that stands in an address; at most six.
PUBLISHED = {
    "resnet18": PublishedImageNet(
        repository="timm/resnet18.a1_in1k",
        commit="491b427b45c94c7fb0e78b5474cc919aff584bbf",
        architecture="resnet18",
        title="ResNet-18",
        megabytes=46.8,
        stages=("stem", "layer1", "layer2", "layer3", "layer4"),
    ),
    "resnet50": PublishedImageNet(
        repository="timm/resnet50.a1_in1k",
        commit="767268603ca0cb0bfe326fa87277f19c419566ef",
        architecture="resnet50",
        title="ResNet-50",
        megabytes=102.5,
        stages=("stem", "layer1", "layer2", "layer3", "layer4"),
    ),
    "mobilenetv2": PublishedImageNet(
        repository="timm/mobilenetv2_100.ra_in1k",
        commit="f3ff81ba89de0bc46b546568ebeab2edef6b9d49",
        architecture="mobilenetv2_100",
        title="MobileNetV2",
        megabytes=14.2,
        stages=("stem", *(f"blocks{number}" for number in range(1, 8)), "conv_head"),
    ),
    "convnext": PublishedImageNet(
        repository="timm/convnext_tiny.in12k_ft_in1k",
        commit="aa096f03029c7f0ec052013f64c819b34f8ad790",
        architecture="convnext_tiny",
        title="ConvNeXt-Tiny",
        megabytes=114.4,
        stages=("stem", "stage1", "stage2", "stage3", "stage4"),
    ),
    "vit": PublishedImageNet(
        repository="timm/vit_medium_patch16_gap_256.sw_in12k_ft_in1k",
        commit=None,
        architecture="vit_medium_patch16_gap_256",
        title="Vision Transformer (medium)",
        megabytes=155.5,
        stages=("patches", "blocks1", "blocks2", "blocks3", "blocks4", "norm"),
    ),
}


def topics(*, surface: str = "", room: str = "card") -> list[str]:
    """The slugs of all topics: the folders of core/topics that have a card, in alphabetical order.

    surface  only those of "space" or "lab"; reads their cards
    room     only those that have this file as well: a concept page may have no recipe
    """
    import core.topics

    places = [Path(place) for place in core.topics.__path__]
    cards = [card for place in places for card in place.glob("*/card.py") if card.with_name(f"{room}.py").is_file()]
    slugs = sorted(card.parent.name for card in cards)
    return [slug for slug in slugs if load(slug).CARD.surface == surface] if surface else slugs


def load(slug: str, room: str = "card") -> Any:
    """One room of a topic's slice (`card`, `recipe` …) as a module: the one place that imports by name.

    raises Refused if there is no such topic
    """
    if slug not in topics():
        raise Refused(f"There is no topic called {short(slug)}; there are {', '.join(topics())}.")
    return importlib.import_module(f"core.topics.{slug}.{room}")
