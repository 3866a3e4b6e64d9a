"""Where did the network look? Twelve kinds of heat maps, and numbers to tell which to believe.

gradio apps/cam.py
"""

import math
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from html import escape
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core import data, draw, imagenet, markup, nets, serve, store, upload
from core.card import PUBLISHED, Refused, Value
from core.markup import Tile
from core.moves import Answer, Widgets
from core.page import Space
from core.topics.cam import checks, figures, maps, method
from core.topics.cam.card import CARD, FORGOTTEN, METHODS, NETWORKS, RUN, STAGES
from core.topics.cam.case import Case, chosen_class, half_of
from core.widgets import picture_button, picture_input

CLASSES = data.SOURCES["photos20"].classes
PAIRS = {"lion_goldfish": ("lion", "goldfish"), "bus_espresso": ("school_bus", "espresso")}
LONGEST_SIDE = 384  # of the picture that travels with every move, in pixels
STEPS = 5  # of insertion and deletion: each costs two runs of the network
BLUR = 6 / 64  # how far an inserted photo is blurred at first, as a share of its height
NO_MAP = "–"
OF_CHANCE = ("photo", "network", "forgotten", "seed")  # all that the curves of chance depend on
OF_MAP = (*OF_CHANCE, "target", "against", "method", "stage", "n", "sigma", "kind")  # and what a map does
CHANCES = 3  # maps of chance whose mean stands beside a map
LARGE_N = 25  # noisy copies or steps with a network from the Hub
LADDER_SIGMAS, LADDER_COUNTS = (0.05, 0.1, 0.2, 0.3), (1, 4, 16, 64)  # as in the paper's figure 3


@cache
def networks() -> dict[str, nets.ResNet]:
    """Run name -> network with its stored weights, shared by all visitors and never written to."""
    return store.networks(NETWORKS.values(), nets.ResNet)


@lru_cache(maxsize=4)
def forgetful(network: str, forgotten: str, seed: int) -> nets.ResNet:
    """This network with the weights of its classifier and its last stages drawn anew."""
    known = networks()[NETWORKS[network]]
    return checks.randomised(known, lost(known, forgotten), generator=torch.Generator().manual_seed(seed))


def lost(network: nets.ResNet, forgotten: str) -> list[str]:
    """The parts whose weights are drawn anew, from the top."""
    return ["classifier", *reversed(network.stages)][: list(FORGOTTEN).index(forgotten)]


@cache
def photos(name: str) -> tuple[np.ndarray, ...]:
    """The photos of a sample from left to right, (H, W, 3) uint8; one, unless it is a pair."""
    kept = store.load(NETWORKS["resnet"]).tensors("samples.safetensors")
    return tuple(kept[part].numpy() if part in kept else data.photograph(part) for part in PAIRS.get(name, (name,)))


@cache
def thumbnail(name: str) -> str:
    """Data URL of a sample, as the small networks see it."""
    both = torch.cat([nets.framed(part) for part in photos(name)], dim=2)
    return draw.picture_url(both.permute(1, 2, 0).numpy())


@lru_cache(maxsize=100)
def known_logits(photo: str, network: str) -> Tensor:
    """What a small network says of a sample, (20,)."""
    return networks()[NETWORKS[network]](torch.cat([nets.framed(part)[None] for part in photos(photo)], dim=3))[0]


def look(values: Mapping[str, Value], own: str) -> Case:
    """What is explained, for one state of the page; raises Refused for what the network does not have."""
    key, photo, forgotten = (str(values[name]) for name in ("network", "photo", "forgotten"))
    pictures = (np.asarray(upload.read_url(own, longest_side=LONGEST_SIDE)[0]),) if own else photos(photo)
    known: nets.ResNet | nets.ImageNet
    if key in PUBLISHED:
        loaded = imagenet.SHELF.at_hand(PUBLISHED[key])
        if forgotten != "none":
            raise Refused(f"Weights are drawn anew in the two small networks only, not in {loaded.published.title}.")
        if len(pictures) > 1 and "patches" in loaded.network.stages:
            raise Refused(f"{loaded.published.title} takes squares only. Choose a single photo.")
        known = network = loaded.network
        classes, synonyms = loaded.names, loaded.labels
        image = torch.cat([loaded.view(Image.fromarray(picture)) for picture in pictures], dim=3)
    else:
        known = networks()[NETWORKS[key]]
        network = known if forgotten == "none" else forgetful(key, forgotten, int(values["seed"]))
        classes = synonyms = CLASSES
        image = torch.cat([nets.framed(picture)[None] for picture in pictures], dim=3)
    # Guesses are those of the trained network, so that the same class is explained when it forgets.
    logits = known(image)[0] if own or key in PUBLISHED else known_logits(photo, key)
    try:
        label, other = (chosen_class(str(values[name]), synonyms, logits) for name in ("target", "against"))
    except ValueError as error:
        raise Refused(str(error)) from error
    assert label is not None  # only `against` offers none
    shown = () if own else tuple(name.replace("_", " ") for name in PAIRS.get(photo, ()))
    return Case(
        image=image,
        known=known,
        network=network,
        shares=(logits if network is known else network(image)[0]).softmax(dim=0),
        classes=classes,
        label=label,
        other=other,
        half=half_of(synonyms[label], shown, (image.shape[2], image.shape[3])),
        spot=(int(values["x"]), int(values["y"])),
    )


def check_method(values: Mapping[str, Value], network: nets.Staged) -> None:
    """Raise Refused for a method that this published network does not have, or that would take too long on it."""
    title, name = PUBLISHED[str(values["network"])].title, str(values["method"])
    rectifies = any(isinstance(part, torch.nn.ReLU | torch.nn.ReLU6) for part in network.modules())
    if name == "cam" and network.classifier is None:
        raise Refused(f"CAM needs a mean over places and then one linear layer; {title} has more. Take Grad-CAM.")
    if name in ("guided_backpropagation", "grad_cam_plus_plus") and not rectifies:
        raise Refused(f"{METHODS[name]} counts on ReLUs; {title} has none. Take Grad-CAM.")
    if name == "ablation_cam" and values["stage"] != "last":
        raise Refused(f"Ablation-CAM asks {title} once for each channel: only the last layer is quick enough.")
    if name in ("smooth_grad", "integrated_gradients") and int(values["n"]) > LARGE_N:
        raise Refused(f"{METHODS[name]} of {title} takes its time: n is at most {LARGE_N} there.")


def options_of(values: Mapping[str, Value], case: Case) -> maps.Options:
    """What the methods need beside the case."""
    return maps.Options(
        stage=case.network.stages[-1 - list(STAGES).index(str(values["stage"]))],
        samples=int(values["n"]),
        sigma=float(values["sigma"]),
        kind=str(values["kind"]),  # type: ignore[arg-type]
        seed=int(values["seed"]),
    )


def draw_map(values: Mapping[str, Value], case: Case, network: nets.Staged | None = None) -> Tensor:
    """The map of the chosen method, (1, h, w); of another network's, where one is given."""
    if values["network"] in PUBLISHED:
        check_method(values, case.network)
    return maps.draw_map(
        str(values["method"]), network or case.network, case.image, case.target, options_of(values, case)
    )


def curves_of(case: Case, heats: Tensor, seed: int) -> checks.Curves:
    """Insertion and deletion for each of these maps, (B, h, w), of every class."""
    return checks.insertion_deletion(
        nets.quick(case.network),
        case.image.expand(len(heats), -1, -1, -1),
        heats,
        steps=STEPS,
        blur=BLUR * case.size[0],
        generator=torch.Generator().manual_seed(seed),
    )


class Explained(NamedTuple):
    """A map and what is measured about it.

    heat      (1, h, w)
    curves    of this map
    drop      average drop, a share; not a number where a covered spot takes its place
    likeness  to the map of the trained network, where the network has forgotten
    """

    heat: Tensor
    curves: checks.Curves
    drop: float
    likeness: float | None

    @property
    def empty(self) -> bool:
        """Is it the same everywhere?"""
        return float(self.heat.amax() - self.heat.amin()) <= 1e-9 * float(self.heat.abs().amax())


def explain(values: Mapping[str, Value], case: Case) -> Explained:
    """The map of this state, and what it is worth."""
    heat, likeness = draw_map(values, case), None
    if case.network is not case.known:
        likeness = float(checks.spearman(heat.abs(), draw_map(values, case, case.known).abs()))
    drop = math.nan
    if not values["cover"]:
        drop = float(checks.average_drop(nets.quick(case.network), case.image, heat, torch.tensor([case.label])))
    return Explained(heat, curves_of(case, heat, int(values["seed"])), drop, likeness)


@lru_cache(maxsize=1000)
def explained_sample(*settings: Value) -> Explained:
    """`explain` for a sample and a small network: in a class, many look at the same."""
    values = CARD.parse(dict(zip(OF_MAP, settings, strict=True)))
    return explain(values, look(values, ""))


@lru_cache(maxsize=500)
def chance_of_sample(grain: tuple[int, int], *settings: Value) -> checks.Curves:
    """`chance_of` a sample: the same for every method, every class and every visitor."""
    values = CARD.parse(dict(zip(OF_CHANCE, settings, strict=True)))
    return chance_of(look(values, ""), grain, int(values["seed"]))


def chance_of(case: Case, grain: tuple[int, int], seed: int) -> checks.Curves:
    """The mean curves of maps of chance, as fine as the map beside them.

    The finer the grain, the sooner even chance leaves something of everything.
    """
    maps_of_chance = checks.random_map((CHANCES, *grain), generator=torch.Generator().manual_seed(seed))
    curves = curves_of(case, maps_of_chance, seed)
    return curves._replace(
        insertion=curves.insertion.mean(dim=0, keepdim=True), deletion=curves.deletion.mean(dim=0, keepdim=True)
    )


@torch.no_grad()
def answer(values: Mapping[str, Value], own: str) -> Answer:
    """A map, and what speaks for it."""
    case, name, seed = look(values, own), str(values["method"]), int(values["seed"])
    kept = not own and values["network"] not in PUBLISHED
    explained = explained_sample(*(values[key] for key in OF_MAP)) if kept else explain(values, case)
    heat, of_map, drop, likeness = explained
    empty, largest = explained.empty, float(heat.abs().amax())
    grain = (heat.shape[1], heat.shape[2])
    of_chance = chance_of(case, grain, seed) if own else chance_of_sample(grain, *(values[key] for key in OF_CHANCE))
    share = case.share
    numbers: dict[str, float | str] = {"method": name, "explained": case.named, "share": share, "largest": largest}
    says = int(case.shares.argmax())
    others = "" if says == case.label else f"; the network says {case.classes[says]}"
    tiles = [Tile("answer", case.name, f"share {share:.0%}{others}")]
    for kind, good in (("insertion", "high"), ("deletion", "low")):
        area, by_chance = (float(getattr(curves, f"{kind}_area")[0, case.label]) for curves in (of_map, of_chance))
        if not empty:
            numbers |= {kind: area, f"{kind}_chance": by_chance}
        tiles.append(Tile(kind, NO_MAP if empty else f"{area:.0%}", f"{kind}, {good} is good; chance {by_chance:.0%}"))
    row, column = divmod(int(heat[0].argmax()), heat.shape[2])
    right, down = 100 * (column + 0.5) / heat.shape[2], 100 * (row + 0.5) / heat.shape[1]
    found = "no map" if empty else f"brightest {right:.0f} % from the left, {down:.0f} % down"
    if values["cover"]:
        left = case.share_of(case.covered())
        bright = float(heat[0][case.at_spot(heat[0])]) / max(largest, 1e-30)
        numbers |= {"covered": left, "kept": left / share, "bright": bright}
        tiles.append(Tile("spot", f"{left:.0%}", f"with the spot covered; was {share:.0%}"))
        found = f"{found}; {left:.0%} with the spot covered"
    elif not empty:
        numbers["drop"] = drop
        tiles.append(Tile("drop", f"{drop:.0%}", "drop, low is good"))
    if likeness is not None:
        numbers["likeness"] = likeness
        tiles.append(Tile("likeness", f"{likeness:.2f}", "likeness to the trained network's map"))
    elif case.half is not None and not empty:
        inside = float(checks.share_inside(checks.enlarged(heat, case.size), case.half))
        numbers["pointing"] = inside
        tiles.append(Tile("pointing", f"{inside:.0%}", f"of the heat is on the {case.name}'s half"))
    shown = figures.reduced(heat[0])
    figure = figures.looked(
        case,
        shown,
        {"chance": of_chance} if empty else {"map": of_map, "chance": of_chance},
        strength=0.0 if empty else float(values["strength"]),
        smooth=bool(values["smooth"]),
        unit=maps.unit(name, options_of(values, case)),
        covered=bool(values["cover"]),
        sentence=f"{METHODS[name]} for {case.named}, {share:.0%}: {found}.",
    )
    remark = f"{METHODS[name]} is the same everywhere, so no map is painted. {why_empty(case, name)}" if empty else ""
    rows = [
        {"row": y, "column": x, "value": float(f"{value:.5g}")}
        for y, line in enumerate(shown.tolist())
        for x, value in enumerate(line)
    ]
    own_photo = {"own": own, "shown": thumbnail(str(values["photo"]))}
    return Answer(draw.to_json(figure), tiles, numbers, rows, [own_photo], remark, idle_for(values))


def idle_for(values: Mapping[str, Value]) -> list[str]:
    """The controls that would not change the answer."""
    name = values["method"]
    layered = name in maps.OF_FEATURES and name != "cam"
    noisy = name == "smooth_grad"
    used = {"stage": layered, "sigma": noisy, "kind": noisy, "n": noisy or name == "integrated_gradients"}
    used |= {"x": values["cover"], "y": values["cover"]}
    return [control for control, matters in used.items() if not matters]


def why_empty(case: Case, name: str) -> str:
    """Why a map is the same everywhere."""
    if case.label == case.other:
        return "The two classes are the same, so that nothing is left to explain."
    if name in maps.OF_FEATURES:
        return "Weighed and added up, the layer's channels speak for the class in no place."
    return "It finds the same in every pixel."


@torch.no_grad()
def follow(values: Mapping[str, Value], own: str, pick: list[Value]) -> list[str]:
    """The value of the map at the spot, from its parts; then what covering the spot does."""
    case, name = look(values, own), str(values["method"])
    heat = draw_map(values, case)[0]
    row, column = case.at_spot(heat)
    unit = maps.unit(name, options_of(values, case))
    steps = [
        f"{METHODS[name]} has {heat.shape[0]} x {heat.shape[1]} values; the one {values['x']} % from the left and "
        f"{values['y']} % down is <b>{float(heat[row, column]):.3g}</b> {unit}; the largest magnitude is "
        f"{float(heat.abs().max()):.3g}.",
    ]
    if name in ("cam", "grad_cam"):
        if name == "cam":
            features, weights = case.network.features(case.image), case.target @ case.network.classifier.weight
        else:
            stage = options_of(values, case).stage
            features, weights = method.channel_weights(case.network, case.image, case.target, stage=stage)
        here = features[0, :, row, column]
        parts = weights[0] * here
        origin = "the classifier's weight" if name == "cam" else "its mean gradient"
        steps += [
            f"It adds up {len(parts)} channels, each its value here times {origin}. The three that count most: "
            + "; ".join(
                f"channel {c}: {here[c]:.2f} x {weights[0, c]:+.4f} = {parts[c]:+.4f}"
                for c in parts.abs().topk(3).indices.tolist()
            )
            + ".",
            f"All together: {parts.sum():+.3f}." + (" Below 0 counts as 0." if name == "grad_cam" else ""),
        ]
    elif name == "integrated_gradients":
        with_it, without = (
            float(method.score(case.network(image), case.target))
            for image in (case.image, torch.zeros_like(case.image))
        )
        steps.append(
            f"All values together: {float(heat.sum()):+.2f}. The score is {with_it:.2f} with the photo and "
            f"{without:.2f} with black: a difference of {with_it - without:+.2f}. More steps bring the two together."
        )
    steps.append(
        f"And the cause? Covered around here, {escape(case.name)} gets {case.share_of(case.covered()):.1%} instead of "
        f"{case.share:.1%}."
    )
    return steps


def clicked(pick: list) -> dict[str, Value]:
    """A click in the photo covers the spot there."""
    x, y = (min(max(round(float(place)), 0), 100) for place in pick[:2])
    return {"x": x, "y": y, "cover": True}


def picture(case: Case, heat: Tensor, caption: str) -> str:
    """One map of a sheet."""
    return markup.picture(draw.picture_url(figures.painted(case.image[0], heat[0], strength=0.8)), caption)


def all_methods(values: dict[str, Value], own: str) -> Iterator[str]:
    """Every method that the network has, on this photo, with what it scores."""
    case, pictures = look(values, own), []
    for name, title in METHODS.items():
        try:
            with torch.no_grad():
                heat = draw_map({**values, "method": name}, case)
                curves = curves_of(case, heat, int(values["seed"]))
            areas = (float(area[0, case.label]) for area in (curves.insertion_area, curves.deletion_area))
            scores = "insertion {:.0%}, deletion {:.0%}".format(*areas)
            pictures.append(picture(case, heat, f"{title}: {scores}"))
        except Refused as refusal:
            pictures.append(f"<figure><figcaption>{escape(str(refusal))}</figcaption></figure>")
        yield f"<p>For {escape(case.named)}.</p><div class='photos wide'>{''.join(pictures)}</div>"


def ladder(values: dict[str, Value], own: str) -> Iterator[str]:
    """SmoothGrad, the mean, with more noise from top to bottom and more copies from left to right."""
    case = look(values, own)
    pictures: list[str] = []
    for sigma in LADDER_SIGMAS:
        maps_so_far = method.smooth_grad_so_far(
            nets.quick(case.network), case.image, case.target,
            samples=max(LADDER_COUNTS), sigma=sigma, generator=options_of(values, case).generator,
        )  # fmt: skip
        for samples, heat in enumerate(maps_so_far, 1):
            if samples in LADDER_COUNTS:
                pictures.append(picture(case, heat, f"n = {samples}, noise {sigma:g}"))
            if samples in LADDER_COUNTS or samples % 16 == 0:  # also in between, to see whether to stop
                yield (
                    f"<p>SmoothGrad for {escape(case.named)}; noise as a share of the brightness range.</p>"
                    f"<div class='photos four'>{''.join(pictures)}</div>"
                )


def snippet(values: Mapping[str, Value], own: str) -> str:
    """Eight lines of Python that give the same answer, from the saved picture where it is the visitor's."""
    case, key, photo = look(values, own), str(values["network"]), str(values["photo"])
    names = PAIRS.get(photo, (photo,))
    if own:
        load = f'numpy.asarray(Image.open("{upload.file_name(own)}").convert("RGB"))'
    elif photo == "astronaut":
        load = "data.photograph(name)"
    else:
        load = f'store.load("{NETWORKS["resnet"]}").tensors("samples.safetensors")[name].numpy()'
    if key in PUBLISHED:
        build = f'*_, last = imagenet.SHELF.loading(card.PUBLISHED["{key}"]); network = last.loaded.network'
        view = f"last.loaded.view(Image.fromarray({load}))"
    else:
        build = f'run = store.load("{NETWORKS[key]}"); network = run.fill(nets.ResNet(**run.network))'
        view = f"nets.framed({load})[None]"
    if values["forgotten"] != "none":
        generator = f"torch.Generator().manual_seed({values['seed']})"
        gone = lost(case.known, str(values["forgotten"]))
        build += f"; network = checks.randomised(network, {gone}, generator={generator})"
    less = f"; target[0, {case.other}] -= 1" if case.other is not None else ""
    return f'''import numpy, torch; from PIL import Image; from core import card, data, imagenet, nets, store
from core.topics.cam import checks, maps
{build}
image = torch.cat([{view} for name in {names}], dim=3)
label, target = torch.tensor([{case.label}]), torch.zeros(1, {len(case.classes)}); target[0, label] += 1{less}
heat = maps.draw_map("{values["method"]}", network, image, target, maps.{options_of(values, case)})
print("share", float(network(image).softmax(dim=1)[0, label]), "largest", float(heat.abs().max()))
print("drop", float(checks.average_drop(nets.quick(network), image, heat, label)))'''


def measured() -> draw.Figure:
    """The ranking of the methods, from the stored run."""
    run = store.load(RUN)
    scores = {kind: [run.score(f"{kind}_{name}") for name in METHODS] for kind in ("pointing", "gain", "likeness")}
    return figures.ranking(list(METHODS.values()), **scores)


def widgets(first: Answer) -> Widgets:
    """The input column: the photo."""
    view = picture_input("The photo", first.extras[0]["shown"], drawable=False)
    return Widgets(own=view, file=picture_button(), extras=[view], longest_side=LONGEST_SIDE, square=True)


space = Space(
    card=CARD,
    answer=answer,
    widgets=widgets,
    networks=networks,
    run=NETWORKS["resnet"],
    shown=[method.grad_cam, method.channel_weights, method.smooth_grad, checks.insertion_deletion],
    follow=follow,
    pick=(),
    measured=measured,
    snippet=snippet,
    sheets={"All methods": all_methods, "Noise ladder": ladder},
    clicked=clicked,
    fetch=imagenet.SHELF.fetch,
)
demo = space.build()

if __name__ == "__main__":
    serve.launch(demo, CARD)
