"""What does close mean? Leaves on a map that the triplet loss has drawn.

gradio apps/triplet.py
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core import data, draw, markup, nets, serve, store, upload
from core.card import Refused, Value
from core.markup import Tile
from core.moves import Answer, Widgets
from core.page import Space
from core.topics.triplet import asking, figures, live, method
from core.topics.triplet.card import (
    BOTH_SOURCES,
    CARD,
    COLLAPSE,
    COLUMNS,
    EMBEDDING,
    EPOCHS,
    LEAVES,
    MINING,
    MULTI_HEAD,
    RATES,
    SCORED,
    THUMBNAIL,
    VIEWS,
)
from core.topics.triplet.network import MultiHead
from core.widgets import figure_view, picture_button, picture_input

CLASSES = data.SOURCES["cotton_disease"].classes
SIDE, LONGEST_SIDE = 128, 384  # of the picture that the network gets, and of the one that travels, in pixels
SPRITE = {"url": f"/vitrine/runs/{EMBEDDING}/leaves.jpeg", "columns": COLUMNS, "side": THUMBNAIL}
STRANGER = -1  # in place of a leaf's number and of its disease
STEPS, EVERY, SLICE_S = 400, 10, 0.25  # of live training
FEWEST, MOST = 3, 10  # photos of a class of one's own
WHY_COLLAPSED = (
    "<p>All points have run to one place: d(a, p) = d(a, n) = 0, so L = max(0 − 0 + α, 0) = α. At first the hardest "
    "negative is nearer than the hardest positive, so the quickest way down is to make all distances smaller. From "
    "there no small step leads out: whichever way the points spread, the farthest positive moves more than the nearest "
    "negative, and the loss rises. Recall@1 is then near what chance gives. A smaller learning rate, or random and "
    "semi-hard triplets at first, make it less "
    "likely; more "
    "dimensions do, too.</p>"
)


@cache
def networks() -> dict[str, MultiHead]:
    """Run name -> network with its stored weights, shared by all visitors and never written to."""
    return store.networks((EMBEDDING, MULTI_HEAD), MultiHead)


class Stored(NamedTuple):
    """What travels with one network: after each epoch, the first being before training, what it says of 449 leaves.

    points  (E + 1, 449, D); logits (E + 1, 449, 8)
    others  (150, D), after the last epoch, of leaves of another survey
    """

    points: Tensor
    logits: Tensor
    others: Tensor


class Leaves(NamedTuple):
    """The leaves of the page.

    label     (599,); fold, first (449,), frozen (449, C), tsne (449, 2), mistake: see `recipe.companions`
    sheet     their pictures
    """

    label: Tensor
    fold: Tensor
    first: Tensor
    frozen: Tensor
    mistake: int
    tsne: Tensor
    sheet: Image.Image

    @property
    def rings(self) -> Tensor:
        """Which of the 449 the page's networks have never seen."""
        return self.fold == 0

    @property
    def known(self) -> Tensor:
        """The diseases of the 449."""
        return self.label[: len(self.fold)]


@cache
def stored(run_name: str) -> Stored:
    """The replay of one network's training."""
    run = store.load(run_name)
    replay, others = run.tensors("replay.safetensors"), run.tensors("map.safetensors")["others"]
    return Stored(replay["points"].float(), replay["logits"].float(), others.float())


@cache
def leaves() -> Leaves:
    """All leaves, and their pictures."""
    run = store.load(EMBEDDING)
    kept = run.tensors("leaves.safetensors")
    return Leaves(
        **{**kept, "frozen": kept["frozen"].float(), "mistake": int(kept["mistake"])},
        tsne=run.tensors("map.safetensors")["tsne"],
        sheet=Image.open(run.path("leaves.jpeg")).convert("RGB"),
    )


@cache
def picture(number: int) -> str:
    """Data URL of one leaf; of the astronaut for STRANGER."""
    if number == STRANGER:
        return draw.jpeg_url(Image.fromarray(data.photograph("astronaut")).resize((SIDE, SIDE)))
    top, left = (THUMBNAIL * place for place in divmod(number, COLUMNS))
    return draw.jpeg_url(leaves().sheet.crop((left, top, left + THUMBNAIL, top + THUMBNAIL)))


def named(label: int) -> str:
    """A class's name; leaves of the other survey may have a disease that was not learnt."""
    return CLASSES[label] if label < len(CLASSES) else "leaf reddening"


class Asked(NamedTuple):
    """The leaf or picture that is asked about: its number and disease (STRANGER), point (D,) and logits (8,)."""

    number: int
    label: int
    point: Tensor
    logits: Tensor

    @property
    def title(self) -> str:
        """What it shows."""
        return "a picture of no known disease" if self.label == STRANGER else named(self.label)


def placed(run: str, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Point and logits of one picture (H, W, 3), from the mean of its mirror images' features: (D,) and (8,)."""
    network, image = networks()[run], nets.framed(pixels, size=SIDE)[None]
    with torch.inference_mode():
        logits, points = network.heads(network.both_sides(image))
    return points[0], logits[0]


def asked(values: Mapping[str, Value], own: str) -> Asked:
    """What is asked about, for one state of the page; raises Refused for a picture at an early epoch."""
    run, epoch, name = VIEWS[str(values["view"])], int(values["epoch"]), str(values["leaf"])
    if not own and name != "astronaut":
        number = {**LEAVES, "number": int(values["number"]), "mistake": leaves().mistake}[name]
        kept = stored(run)
        return Asked(number, int(leaves().label[number]), kept.points[epoch, number], kept.logits[epoch, number])
    if epoch != EPOCHS:
        raise Refused(f"Only the finished network can place a new picture: set Epoch to {EPOCHS}, or choose a leaf.")
    pixels = np.asarray(upload.read_url(own, longest_side=LONGEST_SIDE)[0]) if own else data.photograph(name)
    return Asked(STRANGER, STRANGER, *placed(run, pixels))


@cache
def directions(run: str) -> tuple[Tensor, Tensor]:
    """Mean and two principal directions of the leaves that train, where training has ended."""
    return method.principal(stored(run).points[-1][~leaves().rings], dimensions=2)


def new_places(view: str, points: Tensor) -> Tensor:
    """Where points that are none of the 449 leaves' lie on the finished map: (N, D) to (N, 2)."""
    if view == "tsne":
        return asking.among_nearest(method.distances(points, stored(VIEWS[view]).points[-1]), leaves().tsne)
    mean, axes = directions(VIEWS[view]) if view == "pca" else (torch.zeros(2), torch.eye(2))
    return (points - mean) @ axes


def places(view: str, epoch: int) -> Tensor:
    """Where the 449 leaves lie on the map after an epoch, (449, 2). t-SNE has been asked once, at the end."""
    return leaves().tsne if view == "tsne" else new_places(view, stored(VIEWS[view]).points[epoch])


def kind_of(values: Mapping[str, Value]) -> method.Distance:
    """The distance that was chosen."""
    return str(values["distance"])  # type: ignore[return-value]


@lru_cache(maxsize=200)
def ring_scores(run: str, epoch: int, kind: method.Distance) -> dict[str, float]:
    """What the rings say of the map after an epoch: recall@1, silhouette, and whether it knows the collections."""
    kept, points = leaves(), stored(run).points[epoch]
    both = [CLASSES.index(name) for name in BOTH_SOURCES]
    told = asking.source_scores(points, kept.known, kept.first, kept.rings, both=both, kind=kind)
    return asking.scores(points, kept.known, kept.rings, kind=kind) | {"source": sum(told) / len(told)}


@lru_cache(maxsize=20)
def ring_distances(run: str, kind: method.Distance) -> Tensor:
    """How far each ring is from its nearest dot, where training has ended."""
    points, rings = stored(run).points[-1], leaves().rings
    return method.distances(points[rings], points[~rings], kind=kind).amin(dim=1)


def mined(values: Mapping[str, Value], about: Asked) -> asking.Mined:
    """The triplets of a leaf in a batch of those that train."""
    known = torch.nonzero(~leaves().rings)[:, 0]
    generator = torch.Generator().manual_seed(int(values["seed"]))
    batch = known[torch.randperm(len(known), generator=generator)[: int(values["batch"])]]
    return asking.mined(
        about.point,
        about.label,
        stored(VIEWS[str(values["view"])]).points[int(values["epoch"])],
        leaves().known,
        batch[batch != about.number],
        kind=kind_of(values),
        mining=str(values["mining"]),  # type: ignore[arg-type]
        margin=float(values["margin"]),
        generator=generator,
    )


def coloured(colour: str) -> tuple[list[int], list[str]]:
    """Which colour each of the 599 leaves has, and what the colours are called."""
    kept = leaves()
    if colour == "disease":
        return kept.label.tolist(), [*CLASSES, "leaf reddening"]
    if colour == "fold":
        folds = range(1, int(kept.fold.max()) + 1)
        own, names = kept.fold, ["fold 1, held out", *(f"fold {fold + 1}" for fold in folds)]
    else:
        own, names = (~kept.first).long(), ["first collection", "second collection"]
    return [*own.tolist(), *[len(names)] * (len(kept.label) - len(own))], [*names, "another survey"]


def shown_leaves(colour: str, count: int) -> tuple[list[figures.Leaf], list[str]]:
    """The first leaves as the map draws them, and the names of the colours."""
    kept, (groups, names) = leaves(), coloured(colour)
    rings = [*kept.rings.tolist(), *[False] * (len(groups) - len(kept.fold))]
    labels = kept.label.tolist()
    return [figures.Leaf(n, named(labels[n]), groups[n], rings[n]) for n in range(count)], names


class Beside(NamedTuple):
    """What the page says of a leaf beyond its neighbours, or of a stranger.

    numbers, tile, remark   for the answer
    lines, distances, rows  for the map, see `figures.leaf_map`; worst, its triplet
    """

    numbers: dict[str, Any]
    tile: Tile
    remark: str
    lines: dict[str, list[int]]
    distances: dict[str, tuple[Tensor, Tensor]]
    rows: tuple[str, str]
    worst: asking.Worst | None


def of_stranger(run: str, kind: method.Distance, apart: Tensor, nearest: torch.return_types.topk) -> Beside:
    """How unlike all leaves is a picture, (449,) `apart` from them, the nearest that trained being `nearest`?"""
    unlike = float((ring_distances(run, kind) < float(nearest.values[0])).float().mean())
    rest = torch.nonzero(~leaves().rings.scatter(0, nearest.indices, True))[:, 0]
    return Beside(
        numbers={"unlike": unlike},
        tile=Tile("unlike", f"{unlike:.0%}", "of held-out leaves are nearer to theirs"),
        remark="",
        lines={"positive": nearest.indices.tolist()},
        distances={"own": (nearest.values, nearest.indices), "other": (apart[rest], rest)},
        rows=("nearest", "others"),
        worst=None,
    )


def of_leaf(values: Mapping[str, Value], about: Asked) -> Beside:
    """What does the loss ask of a leaf in its batch?"""
    found, margin = mined(values, about), float(values["margin"])
    alike = leaves().known[found.places] == about.label
    numbers: dict[str, Any] = {"triplets": found.triplets, "loss": found.loss}
    remark, lines, worst = "", {}, found.worst
    if worst:
        lines = {"positive": [worst.positive], "negative": [worst.negative]}
        numbers |= {"d_positive": worst.near, "d_negative": worst.far}
        several = f" mean of {found.triplets}; the worst:" if found.triplets > 1 else ""
        caption = f"loss,{several} {worst.near:.2f} − {worst.far:.2f} + {margin:g}"
        tile = Tile("loss", f"{found.loss:.2f}", caption)
    else:
        remark = f"No triplet was mined for this leaf: {why_none(str(values['mining']), alike)}"
        tile = Tile("loss", "–", "no triplet was mined")
    return Beside(
        numbers=numbers,
        tile=tile,
        remark=remark,
        lines=lines,
        distances={row: (found.apart[mask], found.places[mask]) for row, mask in (("own", alike), ("other", ~alike))},
        rows=("same<br>disease", "another"),
        worst=worst,
    )


def answer(values: Mapping[str, Value], own: str) -> Answer:
    """The map, one leaf's triplet, and what the rings say."""
    view, epoch, margin, kind = str(values["view"]), int(values["epoch"]), float(values["margin"]), kind_of(values)
    run, kept, about = VIEWS[view], leaves(), asked(values, own)
    points, where = stored(run).points[epoch], places(view, epoch)
    apart = method.distances(about.point[None], points, kind=kind)[0]
    if about.number != STRANGER:
        apart[about.number] = torch.inf
    nearest = apart.masked_fill(kept.rings, torch.inf).topk(asking.NEAREST, largest=False)
    shares, scores = about.logits.softmax(dim=0), ring_scores(run, epoch, kind)
    says, second = shares.topk(2).indices.tolist()
    closest, far = named(int(kept.label[nearest.indices[0]])), float(nearest.values[0])
    numbers: dict[str, Any] = {
        "nearest": closest,
        "d_nearest": far,
        "classifier": CLASSES[says],
        "share": float(shares[says]),
        "shares": dict(zip(CLASSES, shares.tolist(), strict=True)),
        **scores,
    }
    is_it = "" if about.label == STRANGER else f"; true: {about.title}"
    tiles = [
        Tile("nearest", closest, f"nearest, at {far:.2f}{is_it}"),
        Tile("classifier", f"{shares[says]:.0%}", f"second head: {CLASSES[says]}, then {CLASSES[second]}"),
    ]
    beside = of_stranger(run, kind, apart, nearest) if about.label == STRANGER else of_leaf(values, about)
    numbers |= beside.numbers
    who = "your picture" if own else about.title
    asks = f"; its loss is {numbers['loss']:.2f}" if "loss" in numbers else ""
    tiles.append(beside.tile)
    remarks = [beside.remark] if beside.remark else []
    tiles.append(Tile("recall", f"{scores['recall']:.0%}", f"of {int(kept.rings.sum())} held out: neighbour alike"))
    if values["colour"] == "source":
        tiles.append(Tile("source", f"{scores['source']:.0%}", "knows the collection; chance 50 %"))
    if values["others"] and epoch == EPOCHS:
        where = torch.cat([where, new_places(view, stored(run).others)])
    elif values["others"]:
        remarks.append("Leaves of the other survey are placed by the finished network alone.")
    if view == "tsne" and epoch != EPOCHS:
        remarks.append(f"t-SNE drew this map once, after epoch {EPOCHS}: the numbers go back, the picture does not.")
    elif view == "tsne" and about.label == STRANGER:
        remarks.append("t-SNE has no rule for new pictures: the star lies among the nearest leaves.")
    shown, names = shown_leaves(str(values["colour"]), len(where))
    focus = torch.ones(len(where), dtype=torch.bool)
    if values["near"] != "all":
        focus = torch.zeros_like(focus).scatter(0, apart.topk(int(values["near"]), largest=False).indices, True)
    figure = figures.leaf_map(
        shown,
        where,
        names,
        anchor=new_places(view, about.point[None])[0] if about.number == STRANGER else where[about.number],
        number=about.number,
        title=who,
        lines=beside.lines,
        distances=beside.distances,
        rows=beside.rows,
        triplet=beside.worst,
        margin=margin,
        focus=focus,
        sprite=SPRITE,
        sentence=f"{len(where)} leaves on a map, epoch {epoch}. Nearest to {who}: {closest}, at {far:.2f}{asks}. "
        f"{scores['recall']:.0%} of the held-out leaves lie nearest to one of their disease.",
    )
    table = [
        {"leaf": leaf.number, "shows": leaf.name, "held_out": int(leaf.ring), "x": round(x, 5), "y": round(y, 5)}
        for leaf, (x, y) in zip(shown, where.tolist(), strict=True)
    ]
    view_of = {"own": own, "shown": picture(about.number)}
    unused = ["margin", "mining", "batch"] if about.label == STRANGER else []
    unused += ["number"] if own or values["leaf"] != "number" else []
    return Answer(draw.to_json(figure), tiles, numbers, table, [view_of], " ".join(remarks), unused)


def why_none(mining: str, alike: Tensor) -> str:
    """Why a batch has no triplet for its anchor."""
    if not bool(alike.any()):
        return "no other leaf of its disease is in the batch. Take a larger one."
    if mining == "semi_hard":
        return "no negative lies just beyond a positive, within the margin."
    return "every negative is farther than every positive by the margin."


def probabilities(about: Asked) -> str:
    """All classes in the order of their shares, in words."""
    shares = about.logits.softmax(dim=0)
    order = shares.argsort(descending=True).tolist()
    return ", ".join(f"{CLASSES[label]} {float(shares[label]):.0%}" for label in order)


def follow(values: Mapping[str, Value], own: str, pick: list[Value]) -> list[str]:
    """One triplet's loss, from coordinates to the last number."""
    about = asked(values, own)
    if about.label == STRANGER:
        return [
            "Its disease is not known, so nobody can say what is positive and what negative.",
            f"The lines go to its {asking.NEAREST} nearest leaves; their distances are the first row at the right.",
            f"The second head gives {probabilities(about)}. Choose a leaf, or click one, to follow a loss.",
        ]
    worst = mined(values, about).worst
    if worst is None:
        return ["No triplet was mined for this leaf.", "A larger batch or margin finds one.", "Loss: 0."]
    points, kind = stored(VIEWS[str(values["view"])]).points[int(values["epoch"])], kind_of(values)
    steps = [
        f"Leaf {about.number} shows {about.title}; its point has {len(about.point)} numbers, beginning with "
        f"{', '.join(f'{number:.2f}' for number in about.point[:2].tolist())}."
    ]
    for role, place, far in (("positive", worst.positive, worst.near), ("negative", worst.negative, worst.far)):
        shown = f"Its {role}, leaf {place}, shows {named(int(leaves().label[place]))}."
        apart = (about.point - points[place]).square()
        largest = apart.topk(2).values
        parts = " + ".join(f"{value:.3f}" for value in largest.tolist())
        if len(apart) > 2:
            parts += f" + {float(apart.sum() - largest.sum()):.3f} of the {len(apart) - 2} others"
        sum_of = f"Squared differences of their numbers: {parts} = {float(apart.sum()):.3f}"
        root = f"; d is its root, {far:.3f}" if kind == "euclidean" else ""
        if kind == "cosine":
            sum_of = (
                f"The angle between them, seen from 0, has a cosine of {1 - far:.3f}; d = 1 − {1 - far:.3f} = {far:.3f}"
            )
        steps.append(f"{shown} {sum_of}{root}.")
    loss = max(worst.near - worst.far + float(values["margin"]), 0)
    return [*steps, f"L = max({worst.near:.3f} − {worst.far:.3f} + {values['margin']:g}, 0) = <b>{loss:.3f}</b>."]


def clicked(pick: list) -> dict[str, Value]:
    """A click on one of the 449 leaves asks about it; one elsewhere changes nothing."""
    number = pick[0] if pick else None
    return {"leaf": "number", "number": number} if isinstance(number, int) and 0 <= number < len(leaves().fold) else {}


def snippet(values: Mapping[str, Value], own: str) -> str:
    """Eight lines of Python that give the same numbers, from the saved picture where it is the visitor's."""
    about, kind, run = asked(values, own), f'kind="{values["distance"]}"', VIEWS[str(values["view"])]
    begin = f"""import numpy, torch; from PIL import Image; from core import data, nets, store
from core.topics.triplet import asking, method; from core.topics.triplet.network import MultiHead
run = store.load("{run}"); z = run.tensors("replay.safetensors")["points"][{values["epoch"]}].float()
kept = store.load("{EMBEDDING}").tensors("leaves.safetensors"); rings = kept["fold"] == 0; y = kept["label"][:len(z)]
print(asking.scores(z, y, rings, {kind}))"""
    if about.label != STRANGER:
        return f"""{begin}
d = method.distances(z[{about.number}][None], z, {kind})[0]; d[rings] = d[{about.number}] = torch.inf
print("nearest", float(d.min()))"""
    load = f'Image.open("{upload.file_name(own)}").convert("RGB")' if own else 'data.photograph("astronaut")'
    return f"""{begin}
net = run.fill(MultiHead(**run.network)); image = nets.framed(numpy.asarray({load}), size={SIDE})[None]
logits, point = net.heads(net.both_sides(image)); d = method.distances(point, z, {kind})
print("nearest", float(d[:, ~rings].min()), "share", float(logits.softmax(dim=1).max()))"""


# ---- training while one watches


def learning(settings: Sequence[Mapping[str, Any]], titles: Sequence[str]) -> Iterator[tuple[str, live.Moment]]:
    """Maps that learn side by side, on what the trunk found in leaves before it had seen any."""
    kept = leaves()
    common = {"steps": STEPS, "every": EVERY, "patience_s": SLICE_S}
    options = [{**common, **setting} for setting in settings]
    return figures.learning_maps(kept.frozen, kept.known, kept.rings, options, titles, CLASSES)


def train_live(values: dict[str, Value], own: str) -> Iterator[str]:
    """Two small heads learn a map from the same start, with your mining and with the second one of More controls.

    They learn on what the trunk knew before it saw a leaf, so they reach less than the map above.
    """
    common = {
        "margin": float(values["margin"]),
        "learning_rate": RATES[str(values["rate"])],
        "batch": int(values["batch"]),
        "seed": int(values["seed"]),
    }
    names = [str(values[name]) for name in ("mining", "beside")]
    titles = [MINING[name].split(":")[0] for name in names]
    for html, _ in learning([{**common, "mining": name} for name in names], titles):
        yield html + (
            "<p>Compare recall@1, not the losses: each is the mean over what its own mining picks. The heads learn "
            "on what "
            "the trunk knew before it saw a leaf, so they reach less than the map above. Both maps have one scale.</p>"
        )


def collapse(values: dict[str, Value], own: str) -> Iterator[str]:
    """Hard mining with a large learning rate: watch where the loss stops, and what becomes of the map."""
    title = "batch-hard, margin {margin:g}, learning rate {learning_rate:g}, batch {batch}".format(**COLLAPSE)
    for html, moment in learning([{**COLLAPSE, "seed": int(values["seed"])}], [title]):
        collapsed = moment.distance <= 0.05 * COLLAPSE["margin"] and moment.step == STEPS
        yield html + (WHY_COLLAPSED if collapsed else "")


# ---- a class of one's own


def own_class(space: Space) -> None:
    """The tab in which a visitor's photos become a class of their own."""
    gr.HTML(
        f"<p>{FEWEST} to {MOST} photos of one thing, any thing: where do they land, and does the map keep them "
        f"apart from "
        "the leaves? Nothing of them is kept.</p>"
    )
    with gr.Row(elem_classes="row-of-buttons"):
        name = gr.Textbox("my class", label="Its name", max_length=30, elem_id="own-name")
        files = gr.UploadButton(
            "Choose the photos",
            file_count="multiple",
            file_types=["image"],
            size="sm",
            elem_id="own-photos",
            elem_classes="part-of-upload",
        )
    said, figure = gr.HTML(""), figure_view("own-class")

    def place(values: dict[str, Value], _: str, paths: list[str] | None, title: str) -> Iterator[dict[Any, Any]]:
        own = []
        for pixels in read_photos(paths or []):
            own.append(placed(VIEWS[str(values["view"])], pixels)[0])
            yield {said: markup.progress(f"{len(own)} of {len(paths or [])} photos are on the map.")}
        sentence, drawn = own_map(str(values["view"]), torch.stack(own), " ".join(title.split()) or "my class")
        yield {said: f"<p role='status'>{escape(sentence)}</p>", figure: drawn}

    space.listen(files.upload, place, [files, name], [said, figure])


def read_photos(paths: Sequence[str]) -> Iterator[np.ndarray]:
    """The photos of a class, (H, W, 3) each; their files are deleted. Raises Refused for too few, many and bad ones."""
    try:
        if not FEWEST <= len(paths) <= MOST:
            raise Refused(f"Expected {FEWEST} to {MOST} photos at once, got {len(paths)}.")
        for number, path in enumerate(paths, 1):
            try:
                picture, _ = upload.read_file(path, longest_side=LONGEST_SIDE)
            except Refused as refusal:
                raise Refused(f"Photo {number}: {refusal}") from None
            yield np.asarray(picture)
    finally:
        for path in paths:
            Path(path).unlink(missing_ok=True)


def own_map(view: str, own: Tensor, title: str) -> tuple[str, str]:
    """What the map makes of a class of one's own, points (M, D): in words, and the map with it."""
    kept, new = leaves(), len(CLASSES)
    count = len(kept.known)
    points = torch.cat([stored(VIEWS[view]).points[-1], own])
    told = method.nearest_centroid(points, torch.cat([kept.known, torch.full((len(own),), new)]))
    right, taken = int((told[count:] == new).sum()), int((told[:count] == new).sum())
    elsewhere = sorted({CLASSES[label] for label in told[count:].tolist() if label != new})
    rest = f"; elsewhere: {', '.join(elsewhere)}" if elsewhere else ""
    sentence = (
        f"{right} of your {len(own)} photos lie nearest to the middle of the others of {title}{rest}. Of {count} "
        f"leaves, "
        f"{taken} lie nearer to the middle of {title} than to that of any disease."
    )
    apart = method.distances(own.mean(dim=0)[None], points)[0]
    none = STRANGER - torch.arange(len(own))  # numbers that no leaf has
    shown, names = shown_leaves("disease", count)
    where = torch.cat([places(view, EPOCHS), new_places(view, own)])
    figure = figures.leaf_map(
        [*shown, *(figures.Leaf(STRANGER, title, new, False) for _ in own)],
        where,
        [*names[:new], title],
        anchor=where[count:].mean(dim=0),
        number=STRANGER,
        title=f"the middle of {title}",
        lines={},
        distances={"own": (apart[count:], none), "other": (apart[:count], torch.arange(count))},
        rows=(escape(title), "leaves"),
        triplet=None,
        margin=0.0,
        focus=torch.ones(len(points), dtype=torch.bool),
        sprite=SPRITE,
        sentence=sentence,
    )
    return sentence, draw.to_text(draw.to_json(figure))


def measured() -> draw.Figure:
    """Recall@1 of everything that was compared, from the stored runs."""
    runs = {name: store.load(name) for name, _, _ in SCORED}
    return figures.recalls([title for _, _, title in SCORED], [runs[name].score(key) for name, key, _ in SCORED])


def widgets(first: Answer) -> Widgets:
    """The input column: the leaf."""
    view = picture_input("The leaf", first.extras[0]["shown"], drawable=False)
    return Widgets(own=view, file=picture_button(), extras=[view], longest_side=LONGEST_SIDE, square=True)


space = Space(
    card=CARD,
    answer=answer,
    widgets=widgets,
    networks=networks,
    run=EMBEDDING,
    shown=[method.triplet_loss, method.batch_hard, method.triplet_losses, method.distances],
    follow=follow,
    pick=(),
    measured=measured,
    snippet=snippet,
    sheets={"Train live": train_live, "Collapse": collapse},
    rooms={"Your own class": own_class},
    clicked=clicked,
    deadline_s=20.0,
)
demo = space.build()

if __name__ == "__main__":
    serve.launch(demo, CARD)
