"""Where did the network look? Twelve kinds of heat maps, and numbers to tell which to believe.

gradio apps/cam.py
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from html import escape

import numpy as np
import torch
from torch import Tensor

from core import data, draw, nets, serve, store, upload
from core.card import Value
from core.markup import Tile
from core.moves import Answer, Widgets
from core.page import Space
from core.topics.cam import checks, figures, maps, method
from core.topics.cam.card import CARD, GUESSES, METHODS, NETWORKS, RUN, STAGES
from core.widgets import picture_button, picture_input

CLASSES = data.SOURCES["photos20"].classes
PAIRS = {"lion_goldfish": ("lion", "goldfish"), "bus_espresso": ("school_bus", "espresso")}
LONGEST_SIDE = 384  # of the picture that travels with every move, in pixels
STEPS, BLUR = 8, 6.0  # of insertion and deletion
LADDER_SIGMAS, LADDER_COUNTS = (0.05, 0.1, 0.2, 0.3), (1, 4, 16, 64)  # as in the paper's figure 3


@cache
def networks() -> dict[str, nets.ResNet]:
    """Run name -> network with its stored weights, shared by all visitors and never written to."""
    runs = [store.load(name) for name in NETWORKS.values()]
    return {run.name: run.fill(nets.ResNet(**run.network)) for run in runs}


@lru_cache(maxsize=12)
def forgetful(network: str, stages: int, seed: int) -> nets.ResNet:
    """This network with the weights of its classifier and its last stages drawn anew."""
    known = networks()[NETWORKS[network]]
    names = ["classifier", *reversed(known.stages)][: stages + 1]
    return checks.randomised(known, names, generator=torch.Generator().manual_seed(seed))


@cache
def photo(name: str) -> tuple[Tensor, int]:
    """A sample photo, (3, 64, 64), and its class, -1 for none of the twenty."""
    kept = store.load(NETWORKS["resnet"]).tensors("samples.safetensors")
    if name in kept:
        return nets.framed(kept[name].numpy()), int(kept[f"{name}_label"])
    return nets.framed((data.photographs()[name] * 255).byte().permute(1, 2, 0).numpy()), -1


@cache
def sample(name: str) -> tuple[Tensor, tuple[int, ...], str]:
    """A sample, (3, 64, 64) or a pair (3, 64, 128), the classes from left to right, and its data URL."""
    parts = [photo(part) for part in PAIRS.get(name, (name,))]
    image = torch.cat([part for part, _ in parts], dim=2)
    return image, tuple(label for _, label in parts), draw.picture_url(image.permute(1, 2, 0).numpy())


@dataclass(frozen=True)
class Case:
    """What is explained, and by which map.

    image    (1, 3, H, W); known, network: as trained, and with the weights that are left
    label    the class that is explained; other: the class rather than which, or None
    target   (1, K); shares: (K,) of the network
    stage    whose features are looked at
    options  of the map; heat: the map, (1, h, w)
    half     (1, H, W) bool, where the class is, if the picture is a pair and shows it
    spot     rows and columns of what is covered
    """

    image: Tensor
    known: nets.ResNet
    network: nets.ResNet
    label: int
    other: int | None
    target: Tensor
    shares: Tensor
    options: maps.Options
    heat: Tensor
    half: Tensor | None
    spot: tuple[slice, slice]

    @property
    def named(self) -> str:
        """What the map explains, in words."""
        return CLASSES[self.label] + (f" rather than {CLASSES[self.other]}" if self.other is not None else "")


def target_of(chosen: str, guesses: list[int]) -> int | None:
    """The class that a menu names, None for none: a place among the network's guesses, or a class by name."""
    if chosen in GUESSES:
        return guesses[GUESSES.index(chosen)]
    return None if chosen == "none" else CLASSES.index(chosen.replace("_", " "))


@torch.no_grad()
def look(values: Mapping[str, Value], own: str) -> Case:
    """The map for one state of the page."""
    if own:
        picture = np.asarray(upload.read_url(own, longest_side=LONGEST_SIDE)[0])
        image, labels = nets.framed(picture), (-1,)
    else:
        image, labels, _ = sample(str(values["photo"]))
    name = str(values["network"])
    known = networks()[NETWORKS[name]]
    forgotten = str(values["forgotten"])
    network = known if forgotten == "none" else forgetful(name, int(forgotten), int(values["seed"]))
    # Guesses are those of the trained network, so that the same class is explained when it forgets.
    guesses = known(image[None])[0].topk(len(GUESSES)).indices.tolist()
    label, other = (target_of(str(values[key]), guesses) for key in ("target", "against"))
    target = torch.zeros(1, len(CLASSES))
    target[0, label] += 1
    if other is not None:
        target[0, other] -= 1
    options = maps.Options(
        stage=known.stages[-1 - list(STAGES).index(str(values["stage"]))],
        samples=int(values["n"]),
        sigma=float(values["sigma"]),
        kind=str(values["kind"]),  # type: ignore[arg-type]
        seed=int(values["seed"]),
    )
    height, width = image.shape[1:]
    half = None
    if len(labels) == 2 and label in labels:
        half = torch.zeros(1, height, width, dtype=torch.bool)
        half[:, :, labels.index(label) * height :][:, :, :height] = True
    side = height // 4
    rows, columns = (
        slice(max(0, middle - side // 2), middle + side // 2)
        for middle in (round(int(values["y"]) * height / 100), round(int(values["x"]) * width / 100))
    )
    return Case(
        image=image[None],
        known=known,
        network=network,
        label=label,
        other=other,
        target=target,
        shares=network(image[None])[0].softmax(dim=0),
        options=options,
        heat=maps.draw_map(str(values["method"]), network, image[None], target, options),
        half=half,
        spot=(rows, columns),
    )


def covered(case: Case) -> Tensor:
    """The picture with the spot in its mean colour, (1, 3, H, W)."""
    image = case.image.clone()
    rows, columns = case.spot
    image[:, :, rows, columns] = case.image.mean(dim=(2, 3), keepdim=True)
    return image


def spot_in_percent(case: Case) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of the spot, in percent of the picture's sides."""
    height, width = case.image.shape[2:]
    rows, columns = case.spot
    ends = (
        (columns.start, width),
        (min(columns.stop, width), width),
        (rows.start, height),
        (min(rows.stop, height), height),
    )
    left, right, top, bottom = (100 * place / length for place, length in ends)
    return left, right, top, bottom


def reason(case: Case) -> str:
    """Why a map is the same everywhere."""
    if case.label == case.other:
        return "The two classes are the same, so that nothing is left to explain."
    return (
        "Nothing in this layer speaks for the class. Try an earlier layer, or CAM, which shows what speaks against it."
    )


@torch.no_grad()
def answer(values: Mapping[str, Value], own: str) -> Answer:
    """A map, and what speaks for it."""
    case = look(values, own)
    network, label, heat = case.network, torch.tensor([case.label]), case.heat
    empty = float(heat.amax() - heat.amin()) <= 1e-9 * float(heat.abs().amax()) or not heat.any()
    chance = checks.random_map((1, 8, 8 * case.image.shape[3] // case.image.shape[2]), generator=case.options.generator)
    size = (case.image.shape[2], case.image.shape[3])
    both = torch.cat([checks.enlarged(each, size) for each in (heat, chance)])
    curves = checks.insertion_deletion(
        network, case.image.expand(2, -1, -1, -1), both, label.expand(2),
        steps=STEPS, blur=BLUR, generator=case.options.generator,
    )  # fmt: skip
    of_map, of_chance = (
        checks.Curves(curves.shares, *(part[place : place + 1] for part in curves[1:])) for place in (0, 1)
    )
    share = float(case.shares[case.label])
    drop = float(checks.average_drop(network, case.image, heat, label))
    numbers = {
        "method": str(values["method"]),
        "answer": CLASSES[int(case.shares.argmax())],
        "explained": case.named,
        "share": share,
        "insertion": float(of_map.insertion_area),
        "insertion_chance": float(of_chance.insertion_area),
        "deletion": float(of_map.deletion_area),
        "deletion_chance": float(of_chance.deletion_area),
        "drop": drop,
        "largest": float(heat.abs().amax()),
    }
    tiles = [
        Tile("answer", CLASSES[case.label], f"share {share:.0%}"),
        Tile("insertion", f"{of_map.insertion_area[0]:.0%}", f"insertion; chance {of_chance.insertion_area[0]:.0%}"),
        Tile("deletion", f"{of_map.deletion_area[0]:.0%}", f"deletion; chance {of_chance.deletion_area[0]:.0%}"),
    ]
    if values["cover"]:
        left = share_left(case)
        numbers |= {"covered": left, "kept": left / share}
        tiles.append(Tile("spot", f"{left:.0%}", f"with the spot covered; was {share:.0%}"))
    else:
        tiles.append(Tile("drop", f"{drop:.0%}", "of the share goes with what is dark"))
    if case.network is not case.known:
        before = maps.draw_map(str(values["method"]), case.known, case.image, case.target, case.options)
        likeness = float(checks.spearman(heat.abs(), before.abs()))
        numbers["likeness"] = likeness
        tiles.append(Tile("likeness", f"{likeness:.0%}", "likeness to the trained network's map"))
    elif case.half is not None:
        inside = float(checks.share_inside(checks.enlarged(heat, size), case.half))
        numbers["pointing"] = inside
        tiles.append(Tile("pointing", f"{inside:.0%}", f"of the heat is on the {CLASSES[case.label]}'s half"))
    row, column = divmod(int(heat[0].argmax()), heat.shape[2])
    place = (
        f"{100 * (column + 0.5) / heat.shape[2]:.0f} % from the left, {100 * (row + 0.5) / heat.shape[1]:.0f} % down"
    )
    title = METHODS[str(values["method"])]
    figure = figures.looked(
        case.image[0],
        heat[0],
        {"map": of_map, "chance": of_chance},
        strength=float(values["strength"]) if not empty else 0.0,
        smooth=bool(values["smooth"]),
        unit=maps.UNITS[str(values["method"])],
        named=CLASSES[case.label],
        spot=spot_in_percent(case) if values["cover"] else None,
        sentence=f"{title} for {case.named}, {share:.0%}: " + ("no map." if empty else f"brightest {place}."),
    )
    remark = f"{title} is the same everywhere here, so no map is painted. {reason(case)}" if empty else ""
    rows = [
        {"row": y, "column": x, "value": float(f"{value:.5g}")}
        for y, line in enumerate(heat[0].tolist())
        for x, value in enumerate(line)
    ]
    shown = {"own": own, "shown": sample(str(values["photo"]))[2]}
    return Answer(draw.to_json(figure), tiles, numbers, rows, [shown], remark)


@torch.no_grad()
def follow(values: Mapping[str, Value], own: str, pick: list[Value]) -> list[str]:
    """The value of the map at the spot, from its parts; then what covering the spot does."""
    case = look(values, own)
    name, heat = str(values["method"]), case.heat[0]
    height, width = heat.shape
    row, column = (
        min(int(int(values[key]) * length / 100), length - 1) for key, length in (("y", height), ("x", width))
    )
    value = float(heat[row, column])
    steps = [
        f"{METHODS[name]} has {height} x {width} values; the one {values['x']} % from the left and {values['y']} % "
        f"down is <b>{value:.3g}</b> {maps.UNITS[name]}; the largest magnitude is {float(heat.abs().max()):.3g}.",
    ]
    if name in ("cam", "grad_cam"):
        if name == "cam":
            features, weights = case.network.features(case.image), case.target @ case.network.classifier.weight
        else:
            features, weights = method.channel_weights(case.network, case.image, case.target, stage=case.options.stage)
        here = features[0, :, row, column]
        parts = weights[0] * here
        largest = parts.abs().topk(3).indices.tolist()
        origin = "the classifier's weight" if name == "cam" else "its mean gradient"
        steps += [
            f"It adds up {len(parts)} channels, each its value here times {origin}. The three that count most: "
            + "; ".join(f"channel {c}: {here[c]:.2f} x {weights[0, c]:+.4f} = {parts[c]:+.4f}" for c in largest)
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
    after = share_left(case)
    steps.append(
        f"And the cause? Covered around here, {CLASSES[case.label]} gets {after:.1%} instead of "
        f"{float(case.shares[case.label]):.1%}."
    )
    return steps


def share_left(case: Case) -> float:
    """What is left of the share when the spot is covered."""
    return float(case.network(covered(case))[0].softmax(dim=0)[case.label])


def clicked(pick: list) -> dict[str, Value]:
    """A click in the photo covers the spot there."""
    x, y = (min(max(round(float(place)), 0), 100) for place in pick[:2])
    return {"x": x, "y": y, "cover": True}


def picture(case: Case, heat: Tensor, caption: str) -> str:
    """One map of a sheet."""
    url = draw.picture_url(figures.painted(case.image[0], heat[0], strength=0.8))
    return f'<figure><img src="{url}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'


def all_methods(values: dict[str, Value], own: str) -> Iterator[str]:
    """Every method on this photo, with what it scores."""
    pictures = []
    for name, title in METHODS.items():
        with torch.no_grad():
            case = look({**values, "method": name}, own)
            curves = checks.insertion_deletion(
                case.network, case.image, case.heat, torch.tensor([case.label]),
                steps=STEPS, blur=BLUR, generator=case.options.generator,
            )  # fmt: skip
        scores = f"insertion {float(curves.insertion_area):.0%}, deletion {float(curves.deletion_area):.0%}"
        pictures.append(picture(case, case.heat, f"{title}: {scores}"))
        yield f"<p>For {escape(case.named)}.</p><div class='photos wide'>{''.join(pictures)}</div>"


def ladder(values: dict[str, Value], own: str) -> Iterator[str]:
    """SmoothGrad with more noise from top to bottom and more copies from left to right."""
    case = look({**values, "method": "edges"}, own)  # the cheapest map: only the case is needed
    pictures: list[str] = []
    for sigma in LADDER_SIGMAS:
        maps_so_far = method.smooth_grad_so_far(
            case.network, case.image, case.target,
            samples=max(LADDER_COUNTS), sigma=sigma, generator=case.options.generator,
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
    case, name = look(values, own), str(values["photo"])
    if own:
        load = f'numpy.asarray(Image.open("{upload.file_name(own)}").convert("RGB"))'
    elif name in ("astronaut",):
        load = f'(data.photographs()["{name}"] * 255).byte().permute(1, 2, 0).numpy()'
    else:
        load = 'run.tensors("samples.safetensors")[name].numpy()'
    names = PAIRS.get(name, (name,))
    forgotten = str(values["forgotten"])
    forget = ""
    if forgotten != "none":
        lost = ["classifier", *reversed(case.known.stages)][: int(forgotten) + 1]
        generator = f"torch.Generator().manual_seed({values['seed']})"
        forget = f"; network = checks.randomised(network, {lost}, generator={generator})"
    less = f"; target[0, {case.other}] -= 1" if case.other is not None else ""
    return f'''import numpy, torch; from PIL import Image; from core import data, nets, store
from core.topics.cam import checks, maps
run = store.load("{NETWORKS[str(values["network"])]}"); network = run.fill(nets.ResNet(**run.network)){forget}
image = torch.cat([nets.framed({load}) for name in {names}], dim=2)[None]
label, target = torch.tensor([{case.label}]), torch.zeros(1, {len(CLASSES)}); target[0, label] += 1{less}
heat = maps.draw_map("{values["method"]}", network, image, target, maps.{case.options})
print("share", float(network(image).softmax(dim=1)[0, label]), "largest", float(heat.abs().max()))
print("drop", float(checks.average_drop(network, image, heat, label)))'''


def measured() -> draw.Figure:
    """The ranking of the methods, from the stored run."""
    run = store.load(RUN)
    gain = [run.score(f"gain_{name}") for name in METHODS]
    return figures.ranking(
        METHODS, [run.score(f"pointing_{name}") for name in METHODS], gain, run.score("gain_random")["mean"]
    )


def widgets(first: Answer) -> Widgets:
    """The input column: the photo."""
    view = picture_input("The photo", first.extras[0]["shown"], drawable=False)
    return Widgets(own=view, file=picture_button(), extras=[view], longest_side=LONGEST_SIDE)


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
)
demo = space.build()

if __name__ == "__main__":
    serve.launch(demo, CARD)
