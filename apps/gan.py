"""Who drew these faces? A sheet of noise, ways through it, and what it was learnt from.

gradio apps/gan.py
"""

import base64
import io
import time
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core import data, draw, markup, nets, serve, store, upload
from core.card import Value
from core.markup import Tile
from core.moves import Answer, Widgets
from core.page import Space
from core.topics.gan import asking, figures, method, network, sheets, walks
from core.topics.gan.card import BEST, CARD, DIRECTIONS, DRAWS_FACES, NETWORKS, PHOTOS
from core.topics.gan.sheets import Chosen, Sheet, apart, made
from core.topics.gan.tab_game import see_it_learn

FRAMES, FRAME_MS = 48, 60  # of a walk as a film
PUPILS = 40  # sheets of 3 MB that are remembered: each pupil may have a seed of his own
SHOW_S = 0.2  # from one picture of a search to the next
STRENGTH = {f"d{number}" for number in range(1, DIRECTIONS + 1)}
# Controls that are never idle, since tabs use them, too: See it learn, and the film.
ALWAYS = ("view", "toy", "pace", "seed", "to", "via", "via2")
FACES = {NETWORKS[name] for name in DRAWS_FACES}
USED = {  # controls that change each view's answer
    "sheet": {"network", "face", "truncation", "together", "mix", *STRENGTH},
    "walk": {"network", "face", "truncation", "together", "position"},
    "copies": {"network"},
    "epochs": {"network", "epoch"},
    "photo": {"photo"},
}


# ---- what is at hand


@cache
def run_of(name: str) -> store.Run:
    """A run, read and checked once: with weights from the Hub that means hashing every file."""
    return store.load(name)


@cache
def networks() -> dict[str, Any]:
    """Run name -> generator with its stored weights, shared by all visitors and never written to."""
    found = {}
    for name in NETWORKS.values():
        found[name] = network.stored(run_of(name)).to(memory_format=torch.channels_last)
    return found


@cache
def judge() -> network.FallDiscriminator:
    """The discriminator that the best network learnt from."""
    return network.judge_of(store.load(BEST).tensors("judge.safetensors"))


@cache
def eyes() -> nets.ResNet:
    """The network in whose features pictures are compared."""
    return asking.eyes(store.load(asking.EYES))


class Near(NamedTuple):
    """Distances (N,) of a network's pictures, and of unseen real ones, to their nearest training picture.

    In multiples of the median of the latter, which is `unit`.
    """

    forged: Tensor
    held_out: Tensor
    unit: float


@cache
def near(run: str) -> Near:
    """What is stored of a run."""
    kept = run_of(run).tensors("nearest.safetensors")
    unit = float(kept["held_out"].median())
    return Near(kept["forged"] / unit, kept["held_out"] / unit, unit)


@cache
def trained() -> Tensor:
    """Features (9000, F) of the faces that trained."""
    kept = run_of(BEST).tensors("training.safetensors")
    return kept["features"].float() * kept["scale"]


@cache
def directions(run: str) -> Tensor:
    """(K, L)"""
    return run_of(run).tensors("directions.safetensors")["directions"].float()


@cache
def replay(run: str) -> dict[str, Tensor]:
    """Pictures of the same noise after each epoch, as JPEGs; see `recipe.train`."""
    return run_of(run).tensors("replay.safetensors")


@cache
def photos() -> dict[str, Tensor]:
    """Pictures that no network drew, and the noise found for them; see `recipe.companions`."""
    kept = run_of(BEST).tensors("photos.safetensors")
    return {**kept, "pictures": kept["pictures"].float() / 255}


@cache
def training_files() -> list[bytes]:
    """The JPEGs of the faces that trained, where the data is at hand."""
    contents = data.files("anime_faces", "all")
    hidden = asking.is_held_out(len(contents)).tolist()
    return [content for content, held_out in zip(contents, hidden, strict=True) if not held_out]


def nearest_face(pictures: Tensor) -> asking.Nearest:
    """Of faces (N, 3, H, W): how far is the nearest that trained, in multiples of the median of unseen ones?"""
    found = asking.nearest(asking.features(eyes(), pictures), trained())
    return asking.Nearest(found.distance / near(BEST).unit, found.place)


# ---- noise and what becomes of it


@lru_cache(maxsize=PUPILS)
def sheet_of(run: str, seed: int, truncation: float, together: bool, neighbours: int, face: int) -> Sheet:
    """The sheet of a state; `face` counts only where its neighbours are exchanged."""
    return sheets.sheet(
        networks()[run], seed, truncation=truncation, together=together, neighbours=neighbours, face=face
    )


@lru_cache(maxsize=PUPILS)
def ranks_of(*state: Any) -> Tensor:
    """The place (64,) that the discriminator gives each picture of a sheet of the best network; see `sheet_of`."""
    with torch.inference_mode():
        return asking.ranks(judge()(sheet_of(*state).pictures.to(memory_format=torch.channels_last)))


def state_of(values: Mapping[str, Value], *, neighbours: int | None = None) -> tuple[Any, ...]:
    """What `sheet_of` is asked for in a state, if need be with other neighbours than it says."""
    together = bool(values["together"])
    exchanged = (int(values["neighbours"]) if neighbours is None else neighbours) if together else 0
    face = int(values["face"]) if exchanged else 0
    run = NETWORKS[str(values["network"])]
    return run, int(values["seed"]), float(values["truncation"]), together, exchanged, face


def asked(values: Mapping[str, Value], *, neighbours: int | None = None) -> Sheet:
    """The sheet of a state."""
    return sheet_of(*state_of(values, neighbours=neighbours))


def chosen(values: Mapping[str, Value], sheet: Sheet) -> Chosen:
    """The picture that a visitor chose, and what the sliders make of it."""
    steps = [float(values[f"d{number}"]) for number in range(1, DIRECTIONS + 1)]
    mixed = (int(values["less"]), int(values["more"])) if values["mix"] else None
    known = directions(NETWORKS[str(values["network"])])
    return sheets.chosen(sheet, int(values["face"]), known, steps, mixed=mixed)


@lru_cache(maxsize=PUPILS)
def sheet_url(order: tuple[int, ...], *state: Any) -> str:
    """Data URL of a sheet as JPEG, its pictures in this order; see `sheet_of`."""
    return draw.jpeg_url(figures.joined(sheet_of(*state).pictures[list(order)], figures.ROW))


# ---- the answers


def answer(values: dict[str, Value], own: str = "") -> Answer:
    """What the chosen network makes of the chosen noise; `own` is never used here."""
    view, run = str(values["view"]), BEST if values["view"] == "photo" else NETWORKS[str(values["network"])]
    kept, stored = near(run), run_of(run)
    floor = stored.score("frechet_floor")["stored"]
    numbers = {
        "distance": stored.score("frechet")["stored"] / floor,
        "distance_together": stored.score("frechet_together")["stored"] / floor,
        "ratio": float(kept.forged.median()),
        "closest": float((kept.forged < kept.held_out.quantile(0.01)).float().mean()),
    }
    found = VIEWS[view](values, run, numbers)
    used = set(USED[view])
    if view == "copies" and run in FACES:  # where the chosen face lies among the others
        used |= USED["sheet"]
    used |= {"neighbours"} if "together" in used and values["together"] else set()
    used |= {"less", "more"} if "mix" in used and values["mix"] else set()
    used |= {"ranked"} if view == "sheet" and run == BEST else set()
    idle = [param.name for param in CARD.params if param.name not in used | set(ALWAYS)]
    return Answer(draw.to_json(found.figure), found.tiles, found.numbers, found.rows, remark=found.remark, idle=idle)


class Found(NamedTuple):
    """An answer's parts that differ between the views."""

    figure: draw.Figure
    tiles: list[Tile]
    numbers: dict[str, Any]
    rows: list[dict[str, Any]]
    remark: str = ""


def distance_tile(values: Mapping[str, Value], numbers: Mapping[str, Any]) -> Tile:
    """How far the network's pictures are from real ones, with the statistics that are switched on."""
    together = bool(values["together"])
    return Tile(
        "distance",
        f"{numbers['distance_together' if together else 'distance']:.3g} ×",
        "the d² of two sets of real pictures: this network's, measured once, at truncation 1"
        + (", normalised by the batch" if together else ""),
    )


def newness_tile(run: str, picture: Tensor, numbers: dict[str, Any]) -> Tile:
    """How far a face is from those that trained, and of other pictures how far they are in the median."""
    if run not in FACES:
        return Tile("ratio", f"{numbers['ratio']:.2f}", "distance to training pictures; unseen ones have 1")
    numbers["nearest"] = float(nearest_face(picture[None]).distance)
    return Tile("nearest", f"{numbers['nearest']:.2f} ×", "as far from its nearest training face as unseen ones are")


def closest_tile(numbers: Mapping[str, Any]) -> Tile:
    """Of how many of its pictures a copy might be suspected."""
    return Tile("closest", f"{numbers['closest']:.1%}", "suspiciously near to a training picture; of unseen ones 1 %")


def of_sheet(values: Mapping[str, Value], run: str, numbers: dict[str, Any]) -> Found:
    """A sheet of 64, and one of them changed."""
    state, face = state_of(values), int(values["face"])
    sheet, ranks = sheet_of(*state), ranks_of(*state) if values["ranked"] and run == BEST else None
    one = chosen(values, sheet)
    order = list(range(walks.SHEET)) if ranks is None else ranks.argsort().tolist()
    places = [f"picture {number}" + (f", ranked {int(ranks[number])}" if ranks is not None else "") for number in order]
    changed = apart(one.before, one.after)
    numbers |= {"changed": changed}
    tiles = [newness_tile(run, one.after, numbers)]
    if ranks is not None:
        numbers["judge"] = int(ranks[face])
    # Among other neighbours a rank says more of these, and of 64 that are all alike it says nothing.
    if ranks is not None and values["truncation"] and not (values["together"] and values["neighbours"]):
        tiles.append(Tile("judge", f"{numbers['judge']} of 64", "to the discriminator: 1 looks most real to it"))
    before, remark = figures.enlarged(one.before), ""
    shown = [(before, f"picture {face}")]
    if values["together"] and values["neighbours"]:
        with_own = asked(values, neighbours=0).pictures[face]
        numbers["moved"] = apart(with_own, one.before)
        shown = [(figures.enlarged(with_own), "among its own"), (before, "among others")]
        tiles.append(Tile("changed", f"{100 * numbers['moved']:.1f} %", "of the range, by its neighbours alone"))
    if not torch.equal(one.moved, one.latent):
        shown = [(before, f"picture {face}"), (figures.enlarged(one.after), "changed")]
        tiles = [tile for tile in tiles if tile.name != "changed"]
        tiles.append(Tile("changed", f"{100 * changed:.1f} %", "of the range: how much its pixels changed"))
    if len(tiles) < 2:
        tiles.append(closest_tile(numbers))
    tiles.append(distance_tile(values, numbers))
    if values["ranked"] and ranks is None:
        remark = "The discriminator is kept of the best network alone."
    sentence = (
        f"64 pictures of seed {values['seed']}, network {values['network']}; number {face} is chosen, changed by "
        f"{100 * changed:.1f} %."
    )
    figure = figures.sheet(sheet_url(tuple(order), *state), order, places, face, shown, sentence=sentence)
    rows = [
        {
            "number": number,
            "rank": int(ranks[number]) if ranks is not None else "",
            **dict(zip("rgb", means, strict=False)),
        }
        for number, means in enumerate(sheet.pictures.mean(dim=(2, 3)).tolist())
    ]
    return Found(figure, tiles, numbers, rows, remark)


def stops_of(values: Mapping[str, Value], sheet: Sheet) -> tuple[list[int], Tensor]:
    """The pictures that a walk passes, and their noise (K, L)."""
    names = [int(values[name]) for name in ("face", "via", "via2", "to")]
    numbers = [number for number in names if number >= 0]
    return numbers, sheet.latents[numbers]


def of_walk(values: Mapping[str, Value], run: str, numbers: dict[str, Any]) -> Found:
    """The way from one picture to another, and where one is on it."""
    sheet, position = asked(values), float(values["position"])
    passed, stops = stops_of(values, sheet)
    shares = torch.cat([torch.linspace(0, 1, figures.STRIP), torch.tensor([position])])
    latents = walks.along(stops, shares)
    labels = sheet.labels[passed[0]].expand(len(latents))
    pictures = made(sheet.maker, latents, labels)
    here, ends = pictures[-1], (pictures[0], pictures[figures.STRIP - 1])
    mixture = (1 - position) * ends[0] + position * ends[1]
    numbers |= {"unlike_mixture": apart(here, mixture), "length": float(latents[-1].norm())}
    tiles = [
        Tile("mixture", f"{100 * numbers['unlike_mixture']:.1f} %", "unlike the ends laid over each other"),
        newness_tile(run, here, numbers),
        distance_tile(values, numbers),
    ]
    marks = torch.linspace(0, 1, len(passed)).tolist()
    figure = figures.walk(
        pictures[:-1],
        figures.enlarged(here),
        figures.enlarged(mixture),
        position,
        marks,
        sentence=f"A walk past pictures {', '.join(map(str, passed))}, at {position:.0%} of the way.",
    )
    rows = [{"share": float(share), "length": float(z.norm())} for share, z in zip(shares, latents, strict=True)]
    remark = f"All are asked to be a {int(labels[0])}, as picture {passed[0]} is." if sheet.maker.classes else ""
    return Found(figure, tiles, numbers, rows, remark)


def of_copies(values: Mapping[str, Value], run: str, numbers: dict[str, Any]) -> Found:
    """Are its pictures nearer to those that trained than unseen real ones are?"""
    kept, own, shown, remark = near(run), None, [], ""
    tiles = [
        Tile("ratio", f"{numbers['ratio']:.2f}", "distance to training pictures; unseen ones have 1"),
        closest_tile(numbers),
        distance_tile({"together": False}, numbers),
    ]
    if run in FACES:
        one = chosen(values, asked(values))
        found = nearest_face(one.after[None])
        own = numbers["nearest"] = float(found.distance)
        tiles.insert(2, Tile("nearest", f"{own:.2f} ×", "the chosen face"))
        shown = [(figures.enlarged(one.after), "chosen")]
        if data.available("anime_faces"):
            pixels = np.array(Image.open(io.BytesIO(training_files()[int(found.place)])).convert("RGB"))
            shown.append((figures.enlarged(nets.framed(pixels, size=64)), "its nearest"))
        else:
            remark = "The training faces are not on this machine, so the nearest one cannot be shown."
    figure = figures.copies(
        kept.forged,
        kept.held_out,
        own,
        shown,
        sentence=f"Distances to the nearest training picture: median {numbers['ratio']:.2f}, of unseen ones 1.",
    )
    rows = [{"forged": f, "held_out": h} for f, h in zip(kept.forged.tolist(), kept.held_out.tolist(), strict=True)]
    return Found(figure, tiles, numbers, rows, remark)


def of_epochs(values: Mapping[str, Value], run: str, numbers: dict[str, Any]) -> Found:
    """What the same noise became after an epoch."""
    stored, history = replay(run), run_of(run).history()
    wanted = min(int(values["epoch"]), len(history))
    place = int((stored["epoch"] - wanted).abs().argmin())
    epoch = int(stored["epoch"][place])
    row = history[epoch - 1] if epoch else None
    best = min(history, key=lambda each: each["frechet"])
    numbers |= {"epoch": epoch, "best_epoch": int(best["epoch"])} | ({"frechet": row["frechet"]} if row else {})
    kept = f"; kept: epoch {numbers['best_epoch']}, {best['frechet']:.2f}"
    tiles = [
        Tile("epoch", f"{row['frechet']:.2f}" if row else "–", f"distance after epoch {epoch}{kept}"),
        Tile("losses", f"{row['discriminator']:.2f}" if row else "–", "loss of the discriminator"),
        Tile("losses", f"{row['generator']:.2f}" if row else "–", "loss of the generator"),
    ]
    after = f"after epoch {epoch}, distance {row['frechet']:.2f}" if row else "before any training"
    sentence = f"16 pictures of the same noise {after}."
    figure = figures.epochs(figures.jpeg_url(bytes(stored["sheets"][place].numpy())), history, epoch, sentence=sentence)
    remark = f"This network was trained for {len(history)} epochs." if int(values["epoch"]) > len(history) else ""
    return Found(figure, tiles, numbers, [dict(each) for each in history], remark)


def of_photo(values: Mapping[str, Value], run: str, numbers: dict[str, Any]) -> Found:
    """A picture that the network never drew, and the nearest that it can draw."""
    kept, place = photos(), list(PHOTOS).index(str(values["photo"]))
    picture, losses = kept["pictures"][place], kept["curves"][place]
    drawing = made(networks()[BEST], kept["latents"][place][None])[0]
    strange, back = nearest_face(torch.stack([picture, drawing])).distance[:, 0].tolist()
    numbers |= {
        "unlike": float(asking.unlike(drawing[None], picture[None]).sqrt()),
        "strange": strange,
        "nearest": back,
    }
    title = PHOTOS[str(values["photo"])]
    tiles = [
        Tile("unlike", f"{100 * numbers['unlike']:.1f} %", "unlike the picture is what came back"),
        Tile("strange", f"{strange:.2f} ×", f"as far from its nearest training face as unseen ones are: {title}"),
        Tile("nearest", f"{back:.2f} ×", "likewise: what came back"),
    ]
    figure = figures.found(
        figures.enlarged(picture),
        figures.enlarged(drawing),
        losses.tolist(),
        sentence=f"{title}, and the drawing that comes nearest to it: {100 * numbers['unlike']:.1f} % unlike.",
    )
    rows = [{"step": step, "unlike": loss**0.5} for step, loss in enumerate(losses.tolist(), 1)]
    return Found(figure, tiles, numbers, rows)


VIEWS = {"sheet": of_sheet, "walk": of_walk, "copies": of_copies, "epochs": of_epochs, "photo": of_photo}


def clicked(pick: list) -> dict[str, Value]:
    """A click on a picture of the sheet chooses it; one elsewhere changes nothing."""
    number = pick[0] if pick else None
    return {"face": number} if isinstance(number, int) and 0 <= number < walks.SHEET else {}


def follow(values: Mapping[str, Value], own: str, pick: list[Value]) -> list[str]:
    """From the noise of the chosen picture, or of the one that was found for a photograph, to one of its pixels."""
    if values["view"] == "photo":
        latent = photos()["latents"][list(PHOTOS).index(str(values["photo"]))]
        name, picture, steps = "the drawing", made(networks()[BEST], latent[None])[0], []
    else:
        one = chosen(values, asked(values))
        name, latent, picture, steps = f"picture {values['face']}", one.moved, one.after, ways_to(values, one)
    first = ", ".join(f"{number:.2f}" for number in latent[:3].tolist())
    length = f"{float(latent.norm()):.2f}; noise of so many numbers has a length near {len(latent) ** 0.5:.2f}"
    channels, side = picture.shape[0], picture.shape[-1]
    value = float(picture[0, side // 2, side // 2])
    before = float(torch.tensor(2 * value - 1).clamp(-0.999999, 0.999999).atanh())
    return [
        f"The noise of {name} is {len(latent)} numbers, beginning with {first}. Its length is {length}.",
        *steps,
        f"The first layer makes 4 × 4 places of it, each further one doubles the sides: 4, 8, 16 … {side}.",
        f"The last layer gives {before:.2f} for the {'red of the ' if channels == 3 else ''}pixel in the middle.",
        f"Brightness = (tanh({before:.2f}) + 1) / 2 = <b>{value:.3f}</b>, from 0, dark, to 1, bright.",
    ]


def ways_to(values: Mapping[str, Value], one: Chosen) -> list[str]:
    """What was done to the noise of a chosen picture."""
    said = []
    if values["mix"]:
        said.append(
            f"the noise of picture {values['less']} was taken from it and that of {values['more']} "
            "added, and the whole brought back to its length"
        )
    moved = [f"{values[name]:g} along direction {name[1:]}" for name in sorted(STRENGTH) if values[name]]
    if moved:
        said.append(f"it was moved by {', '.join(moved)}")
    begun = f"It began with {one.latent[0]:.2f}; then "
    return [begun + ", and then ".join(said) + "."] if said else []


def snippet(values: Mapping[str, Value], own: str) -> str:
    """Eight lines of Python that give the sheet, the chosen picture after the sliders, and the stored numbers."""
    run = BEST if values["view"] == "photo" else NETWORKS[str(values["network"])]
    kind = type(networks()[run]).__name__
    steps = [values[f"d{number}"] for number in range(1, DIRECTIONS + 1)]
    return f"""from core import store; from core.topics.gan import network, walks
run = store.load("{run}"); G = run.fill(network.{kind}(**run.network))
z = walks.sheet(G.latent, {values["seed"]}, truncation={values["truncation"]:g}); faces = G(z)  # or G(moved[None])
d = run.tensors("directions.safetensors")["directions"].float(); moved = walks.moved(z[{values["face"]}], d, {steps})
print("distance", run.score("frechet")["stored"] / run.score("frechet_floor")["stored"])
print("together", run.score("frechet_together")["stored"] / run.score("frechet_floor")["stored"])
near = run.tensors("nearest.safetensors"); print("ratio", float((near["forged"] / near["held_out"].median()).median()))
print("closest", float((near["forged"] < near["held_out"].quantile(0.01)).float().mean()))"""


def measured() -> draw.Figure:
    """How far each network's pictures are from real ones, beside both ends of the scale."""
    best, dcgan, wgan = store.load(BEST), store.load(NETWORKS["dcgan"]), store.load("gan/wgan_gp")
    floor = best.score("frechet_floor")["stored"]
    found = {
        "two sets of real faces": 1.0,
        "best network": best.score("frechet")["mean"] / floor,
        "DCGAN of 2016": dcgan.score("frechet")["mean"] / floor,
        "WGAN-GP": wgan.score("frechet")["mean"] / floor,
        "blurred faces": best.score("frechet_blurred")["mean"] / floor,
        "noise": best.score("frechet_noise")["mean"] / floor,
    }
    return figures.distances(sorted(found.items(), key=lambda row: row[1]))


# ---- a walk as a film


def film(space: Space) -> None:
    """The tab that makes a walk a moving picture to keep."""
    gr.HTML("<p>The walk of the controls, there and back, as a moving picture to keep. Nothing of it stays here.</p>")
    make = gr.Button("Make it", size="sm", elem_id="make-film")
    shown = gr.HTML("", elem_id="film")

    def render(values: dict[str, Value], own: str) -> Iterator[dict[Any, Any]]:
        sheet = asked(values)
        passed, stops = stops_of(values, sheet)
        latents = walks.along(stops, torch.linspace(0, 1, FRAMES))
        frames: list[Image.Image] = []
        for part in latents.split(8):
            for picture in made(sheet.maker, part, sheet.labels[passed[0]].expand(len(part))):
                larger = picture.repeat_interleave(3, 1).repeat_interleave(3, 2)
                frames.append(Image.fromarray(figures.joined(larger[None], 1)))
            yield {shown: markup.progress(f"{len(frames)} of {FRAMES} pictures are drawn.")}
        yield {shown: film_html([*frames, *frames[-2:0:-1]])}

    space.listen(make.click, render, [], [shown], long=True)


def film_html(frames: list[Image.Image]) -> str:
    """A moving picture, and links that save it."""
    links = []
    for kind, mime in (("GIF", "image/gif"), ("WebP", "image/webp")):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)
        url = f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}"
        links.append((url, markup.file_link(f"Save as {kind}", f"walk.{kind.lower()}", url)))
    return (
        f"<div class='photos'><figure><img src='{links[0][0]}' alt='a walk from picture to picture'></figure></div>"
        f"<p>{' '.join(link for _, link in links)}</p>"
    )


# ---- a visitor's own picture


def find(space: Space) -> None:
    """The tab in which the noise of a visitor's own picture is looked for."""
    gr.HTML(
        "<p>Upload a picture: which noise comes nearest to it, and what does the best network draw of that noise? "
        "Nothing of your picture is kept.</p>"
    )
    with gr.Row(elem_classes="row-of-buttons"):
        file = gr.UploadButton(
            "Upload or photograph", file_types=["image"], size="sm", elem_id="find-file", elem_classes="part-of-upload"
        )
        stop = gr.Button("Stop", size="sm", elem_id="find-stop")
    shown = gr.HTML("", elem_id="found")

    def search(values: dict[str, Value], own: str, path: str) -> Iterator[dict[Any, Any]]:
        picture, remarks = upload.read_file(path, longest_side=256, square=True)
        target = nets.framed(np.asarray(picture), size=64)
        generator, said = networks()[BEST], " ".join(remarks)
        shown_at = time.monotonic()
        for number, (latent, loss) in enumerate(asking.way_back(generator, judge(), target), 1):
            if number == asking.STEPS or time.monotonic() - shown_at > SHOW_S:
                drawing = made(generator, latent[None])[0]
                words = f"step {number} of {asking.STEPS}, {100 * loss**0.5:.1f} % unlike"
                pair = markup.picture(figures.enlarged(target), "your picture") + markup.picture(
                    figures.enlarged(drawing), words
                )
                yield {shown: f"<div class='photos four' role='status'>{pair}</div><p>{said}</p>"}
                shown_at = time.monotonic()

    searching = space.listen(file.upload, search, [file], [shown], long=True)
    stop.click(None, cancels=searching, queue=False, show_progress="hidden", api_visibility="private")


def widgets(first: Answer) -> Widgets:
    """The page needs no input but its controls."""
    return Widgets()


space = Space(
    card=CARD,
    answer=answer,
    widgets=widgets,
    networks=networks,
    run=BEST,
    shown=[method.non_saturating, method.wasserstein, method.slerp, method.frechet],
    follow=follow,
    pick=(),
    measured=measured,
    snippet=snippet,
    rooms={"See it learn": see_it_learn, "Find my picture": find, "Film": film},
    clicked=clicked,
    deadline_s=20.0,
)
demo = space.build()

if __name__ == "__main__":
    serve.launch(demo, CARD)
