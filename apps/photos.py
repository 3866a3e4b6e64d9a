"""What is in this photo? Twenty classes, 64 by 64 pixels.

gradio apps/photos.py
"""

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape

import gradio as gr
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core import data, draw, imagenet, markup, nets, serve, store, upload
from core.card import PUBLISHED, Param, Value
from core.markup import Tile
from core.moves import Answer, Widgets
from core.page import Space
from core.topics.photos import method
from core.topics.photos.card import CARD, CBAM, DEEPER, RUN
from core.topics.photos.figures import bars, brief, confusion_matrix
from core.widgets import picture_button, picture_input

RUNS = {"resnet": RUN, "cbam": CBAM, "deeper": DEEPER}
CLASSES = data.SOURCES["photos20"].classes
LONGEST_SIDE = 384  # of the picture that travels with every move, in pixels
BARS = ("first", "second", "third", "fourth", "fifth")
PICK = (
    Param(
        "y", "choice", "1", "Class", "Whose logit is followed.",
        choices={str(rank): f"of the {name} bar" for rank, name in enumerate(BARS, 1)},
    ),
)  # fmt: skip


@cache
def networks() -> dict[str, nets.ResNet]:
    """Run name -> network with its stored weights, shared by all visitors and never written to."""
    return store.networks(RUNS.values(), nets.ResNet)


@cache
def samples() -> dict[str, Tensor]:
    """The pictures and counts that travel with the weights."""
    return store.load(RUN).tensors("samples.safetensors")


@cache
def sample(name: str) -> tuple[np.ndarray, str, int]:
    """A sample photo: (H, W, 3) uint8, its data URL, and its class, -1 for none of the twenty."""
    if name in samples():
        pixels = samples()[name].numpy()
        return pixels, draw.picture_url(pixels), int(samples()[f"{name}_label"])
    pixels = data.photograph(name)
    small = Image.fromarray(pixels)
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return pixels, draw.jpeg_url(small), -1


def look(values: Mapping[str, Value], own: str) -> tuple[nets.ResNet | nets.ImageNet, Sequence[str], Tensor]:
    """The network that was chosen, the names of its classes, and what it gets, (1, 3, side, side)."""
    if own:
        picture = np.asarray(upload.read_url(own, longest_side=LONGEST_SIDE)[0])
    else:
        picture, _, _ = sample(str(values["photo"]))
    name = str(values["network"])
    network: nets.ResNet | nets.ImageNet
    if name in PUBLISHED:
        loaded = imagenet.SHELF.at_hand(PUBLISHED[name])
        network, classes, image = loaded.network, loaded.names, loaded.view(Image.fromarray(picture))
        # Pixels of its view along one of the small photo, which shows the whole shorter side in 64.
        scale = loaded.side / loaded.crop / 64
    else:
        network, classes, image, scale = networks()[RUNS[name]], CLASSES, nets.framed(picture)[None], 1.0
    image = method.changed(
        image,
        turn=int(values["turn"]),
        blur=scale * float(values["blur"]),
        grey=bool(values["grey"]),
        tiles=int(values["tiles"]),
        generator=torch.Generator().manual_seed(int(values["seed"])),
    )
    return network, classes, image


def shares_of(network: nets.ResNet | nets.ImageNet, image: Tensor, logits: Tensor, *, mirror: bool) -> Tensor:
    """What the bars show: each class's share, (K,); `logits` are those of the image, (1, K)."""
    return (method.flipped_too(network, image) if mirror else logits.softmax(dim=1))[0]


@torch.inference_mode()
def answer(values: Mapping[str, Value], own: str) -> Answer:
    """Shares of the network's classes for one state of the page."""
    network, classes, image = look(values, own)
    _, url, label = sample(str(values["photo"]))
    logits = network(image)
    shares = shares_of(network, image, logits, mirror=bool(values["mirror"]))
    first, second = shares.topk(2).indices.tolist()
    evidence = float(method.evidence(logits))
    numbers = {
        "answer": classes[first],
        "confidence": float(shares[first]),
        "second": classes[second],
        "second_share": float(shares[second]),
        "evidence": evidence,
    }
    tiles = [
        Tile("answer", brief(classes[first]), f"share {shares[first]:.0%}"),
        Tile("second", brief(classes[second]), f"comes second, {shares[second]:.0%}"),
    ]
    if values["network"] != "resnet":  # nobody has kept the evidence that it finds in photos that it knows
        numbers["many"] = int((shares > 0.01).sum())
        tiles.append(Tile("many", str(numbers["many"]), f"of {len(classes):,} classes have more than 1 %"))
    else:
        # How many of the validation photos have less evidence.
        numbers["usual"] = float(torch.searchsorted(samples()["evidence"], evidence)) / 101
        tiles.append(Tile("evidence", f"{numbers['usual']:.0%}", "of the photos it knows have less evidence"))
        if not own and label >= 0:
            numbers["correct"] = int(first == label)
    sentence = f"{classes[first]} {shares[first]:.0%}, then {classes[second]} {shares[second]:.0%}."
    rows = [
        {"class": name, "share": float(f"{share:.6g}"), "logit": float(f"{logit:.6g}")}
        for name, share, logit in zip(classes, shares.tolist(), logits[0].tolist(), strict=True)
    ]
    shown = {"own": own, "shown": url}
    side = image.shape[3]
    sight = markup.sight(draw.picture_url(image[0].permute(1, 2, 0).numpy()), f"the photo in {side} by {side} pixels")
    return Answer(draw.to_json(bars(shares, classes, sentence)), tiles, numbers, rows, [shown, sight])


@torch.inference_mode()
def follow(values: Mapping[str, Value], own: str, pick: list[Value]) -> list[str]:
    """One class's logit, from the maps to its share."""
    network, classes, image = look(values, own)
    features, logits = network.features(image)[0], network(image)
    shares = shares_of(network, image, logits, mirror=bool(values["mirror"]))
    chosen, logits = int(shares.topk(len(BARS)).indices[int(pick[0]) - 1]), logits[0]
    name, logit, total = escape(classes[chosen]), float(logits[chosen]), float(logits.exp().sum())
    channels, height, width = features.shape
    side = image.shape[3]
    steps = [
        f"The photo: {side} x {side} pixels of three colours, {image.numel():,} numbers.",
        f"The network turns it into {channels} maps of {height} x {width} places; "
        f"{float((features > 0).float().mean()):.0%} of their numbers are above 0.",
    ]
    if network.classifier is None:
        steps.append(
            "The means of all maps are then normalised together and weighed, so that no map's part in a logit can be "
            f"told from the others'; together they make {logit:.2f}, the logit of {name}."
        )
    else:
        weight, bias = network.classifier.weight[chosen], float(network.classifier.bias[chosen])
        parts = method.contributions(features, weight)
        steps += [
            "Each map's mean is weighed. The three that count most: "
            + "; ".join(
                f"map {c}: {float(weight[c]):+.2f} x {float(features[c].mean()):.2f} = {float(parts[c]):+.2f}"
                for c in parts.abs().topk(3).indices.tolist()
            )
            + ".",
            f"All {channels} together: {float(parts.sum()):+.2f}; with the offset {bias:+.2f} the logit of "
            f"{name} is {logit:.2f}.",
        ]
    steps.append(f"Softmax: e^{logit:.2f} / {total:.4g} = <b>{float(logits[chosen].exp()) / total:.1%}</b>.")
    if values["mirror"]:
        steps.append(f"The bar shows {float(shares[chosen]):.1%}, the mean of this and the mirror image's share.")
    return steps


def classes() -> str:
    """The twenty classes with test photos, and the test photos that were misread most surely."""
    kept = samples()

    def figure(picture: Tensor, caption: str) -> str:
        return markup.picture(draw.picture_url(picture.numpy()), caption)

    known = "".join(
        figure(torch.cat(list(row), dim=1), name) for row, name in zip(kept["classes"], CLASSES, strict=True)
    )
    mistakes = "".join(
        figure(picture, f"{CLASSES[answer]} {probability:.0%}; it is: {CLASSES[label]}")
        for picture, label, answer, probability in zip(
            kept["mistakes"],
            kept["mistakes_label"].tolist(),
            kept["mistakes_answer"].tolist(),
            kept["mistakes_probability"].tolist(),
            strict=True,
        )
    )
    return (
        f"<p>Three test photos of each class, as the network gets them.</p><div class='photos wide'>{known}</div>"
        f"<h3>The test photos that it misread most surely</h3><div class='photos'>{mistakes}</div>"
    )


def snippet(values: Mapping[str, Value], own: str) -> str:
    """Eight lines of Python that give the same answer, from the saved picture where it is the visitor's."""
    photo, network = str(values["photo"]), str(values["network"])
    if own:
        load = f'numpy.asarray(Image.open("{upload.file_name(own)}").convert("RGB"))'
    elif photo in samples():
        load = f'run.tensors("samples.safetensors")["{photo}"].numpy()'
    else:
        load = f'data.photograph("{photo}")'
    blur, rest = values["blur"], ", ".join(f"{key}={values[key]}" for key in ("turn", "grey", "tiles"))
    if network in PUBLISHED:
        model = f"""*_, last = imagenet.SHELF.loading(card.PUBLISHED["{network}"]); run = store.load("{RUN}")
seen = last.loaded; model = seen.network; image = seen.view(Image.fromarray({load}))"""
        rooms, classes = "card, data, imagenet, store", "seen.labels"
        blur = f"{blur} * seen.side / seen.crop / 64"
    else:
        model = f"""run = store.load("{RUNS[network]}"); model = run.fill(nets.ResNet(**run.network))
image = nets.framed({load})[None]"""
        rooms, classes = "data, nets, store", 'run.config["classes"]'
    shares = "method.flipped_too(model, image)" if values["mirror"] else "model(image).softmax(dim=1)"
    return f"""import numpy, torch; from PIL import Image
from core import {rooms}
from core.topics.photos import method
{model}
image = method.changed(image, blur={blur}, {rest}, generator=torch.Generator().manual_seed({values["seed"]}))
shares = {shares}[0]
print({{{classes}[y]: float(shares[y]) for y in shares.topk(5).indices}}, method.evidence(model(image)))"""


def widgets(first: Answer) -> Widgets:
    """The input column: the photo, and beside it what the network sees."""
    with gr.Row(elem_classes="row-of-buttons", equal_height=False):
        view = picture_input("The photo", first.extras[0]["shown"], drawable=False)
        with gr.Column(min_width=120):
            sight = gr.HTML(first.extras[1])
            file = picture_button()
    return Widgets(own=view, file=file, extras=[view, sight], longest_side=LONGEST_SIDE, square=True)


space = Space(
    card=CARD,
    answer=answer,
    widgets=widgets,
    networks=networks,
    run=RUN,
    shown=[method.shuffled, method.contributions, method.evidence],
    follow=follow,
    pick=PICK,
    measured=lambda: confusion_matrix(samples()["confusion"], CLASSES),
    snippet=snippet,
    more={"Classes": classes},
    fetch=imagenet.SHELF.fetch,
)
demo = space.build()

if __name__ == "__main__":
    serve.launch(demo, CARD)
