"""What is in this photo? Twenty classes, 64 by 64 pixels.

gradio apps/photos.py
"""

from collections.abc import Mapping
from functools import cache
from html import escape

import gradio as gr
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core import data, draw, markup, nets, serve, store, upload
from core.card import Param, Value
from core.markup import Tile
from core.moves import Answer, Widgets
from core.page import Space
from core.topics.photos import method
from core.topics.photos.card import CARD, CBAM, RUN
from core.topics.photos.figures import bars, confusion_matrix
from core.widgets import picture_button, picture_input

RUNS = {"resnet": RUN, "cbam": CBAM}
CLASSES = data.SOURCES["photos20"].classes
LONGEST_SIDE = 384  # of the picture that travels with every move, in pixels
PICK = (
    Param(
        "y", "choice", "0", "Class", "Whose logit is followed.",
        choices={str(place): name for place, name in enumerate(CLASSES)},
    ),
)  # fmt: skip


@cache
def networks() -> dict[str, nets.ResNet]:
    """Run name -> network with its stored weights, shared by all visitors and never written to."""
    runs = [store.load(name) for name in RUNS.values()]
    return {run.name: run.fill(nets.ResNet(**run.network)) for run in runs}


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
    pixels = (data.photographs()[name] * 255).byte().permute(1, 2, 0).numpy()
    small = Image.fromarray(pixels)
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return pixels, draw.jpeg_url(small), -1


def seen(values: Mapping[str, Value], own: str) -> Tensor:
    """What the network gets, (1, 3, 64, 64)."""
    if own:
        picture = np.asarray(upload.read_url(own, longest_side=LONGEST_SIDE)[0])
    else:
        picture, _, _ = sample(str(values["photo"]))
    return method.changed(
        nets.framed(picture)[None],
        turn=int(values["turn"]),
        blur=float(values["blur"]),
        grey=bool(values["grey"]),
        tiles=int(values["tiles"]),
        generator=torch.Generator().manual_seed(int(values["seed"])),
    )


@torch.inference_mode()
def answer(values: Mapping[str, Value], own: str) -> Answer:
    """Shares of the twenty classes for one state of the page."""
    image = seen(values, own)
    _, url, label = sample(str(values["photo"]))
    network = networks()[RUNS[str(values["network"])]]
    logits = network(image)
    shares = (method.flipped_too(network, image) if values["mirror"] else logits.softmax(dim=1))[0]
    first, second = shares.topk(2).indices.tolist()
    evidence = float(method.evidence(logits))
    # How many of the validation photos have less evidence; the percentiles belong to the network without CBAM.
    usual = float(torch.searchsorted(samples()["evidence"], evidence)) / 101
    numbers = {
        "answer": CLASSES[first],
        "confidence": float(shares[first]),
        "second": CLASSES[second],
        "second_share": float(shares[second]),
        "evidence": evidence,
        "usual": usual,
    }
    if not own:
        numbers["correct"] = int(first == label)
    tiles = [
        Tile("answer", CLASSES[first], f"share {shares[first]:.0%}"),
        Tile("second", CLASSES[second], f"comes second, {shares[second]:.0%}"),
        Tile("evidence", f"{usual:.0%}", "of the photos it knows have less evidence"),
    ]
    sentence = f"{CLASSES[first]} {shares[first]:.0%}, then {CLASSES[second]} {shares[second]:.0%}."
    rows = [
        {"class": name, "share": float(f"{share:.6g}"), "logit": float(f"{logit:.6g}")}
        for name, share, logit in zip(CLASSES, shares.tolist(), logits[0].tolist(), strict=True)
    ]
    shown = {"own": own, "shown": url}
    sight = markup.sight(draw.picture_url(image[0].permute(1, 2, 0).numpy()), "the photo in 64 by 64 pixels")
    return Answer(draw.to_json(bars(shares, CLASSES, sentence)), tiles, numbers, rows, [shown, sight])


@torch.inference_mode()
def follow(values: Mapping[str, Value], own: str, pick: list[Value]) -> list[str]:
    """One class's logit, from the maps to its share."""
    chosen = int(pick[0])
    image = seen(values, own)
    network = networks()[RUNS[str(values["network"])]]
    features = network.features(image)[0]
    weight, bias = network.classifier.weight[chosen], float(network.classifier.bias[chosen])
    parts = method.contributions(features, weight)
    largest = parts.abs().topk(3).indices.tolist()
    logits = network.classifier(features.mean(dim=(1, 2)))
    total = float(logits.exp().sum())
    channels, height, width = features.shape
    return [
        "The photo: 64 x 64 pixels of three colours, 12,288 numbers.",
        f"The convolutions turn it into {channels} maps of {height} x {width} places; "
        f"{float((features > 0).float().mean()):.0%} of their numbers are above 0.",
        "Each map's mean is weighed. The three that count most: "
        + "; ".join(
            f"map {c}: {float(weight[c]):+.2f} x {float(features[c].mean()):.2f} = {float(parts[c]):+.2f}"
            for c in largest
        )
        + ".",
        f"All {channels} together: {float(parts.sum()):+.2f}; with the offset {bias:+.2f} the logit of "
        f"{CLASSES[chosen]} is {float(logits[chosen]):.2f}.",
        f"Softmax: e^{float(logits[chosen]):.2f} / {total:.4g} = <b>{float(logits[chosen].exp()) / total:.1%}</b>.",
    ]


def classes() -> str:
    """The twenty classes with test photos, and the test photos that were misread most surely."""
    kept = samples()

    def figure(picture: Tensor, caption: str) -> str:
        url = draw.picture_url(picture.numpy())
        return f'<figure><img src="{url}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'

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
    name = str(values["photo"])
    if own:
        load = f'numpy.asarray(Image.open("{upload.file_name(own)}").convert("RGB"))'
    elif name in samples():
        load = f'run.tensors("samples.safetensors")["{name}"].numpy()'
    else:
        load = f'(data.photographs()["{name}"] * 255).byte().permute(1, 2, 0).numpy()'
    change = ", ".join(f"{key}={values[key]}" for key in ("turn", "blur", "grey", "tiles"))
    model = "nets.ResNet(**run.network)"
    shares = "method.flipped_too(model, image)" if values["mirror"] else "model(image).softmax(dim=1)"
    return f'''import numpy, torch; from PIL import Image
from core import data, nets, store
from core.topics.photos import method
run = store.load("{RUNS[str(values["network"])]}"); model = run.fill({model})
image = nets.framed({load})[None]
image = method.changed(image, {change}, generator=torch.Generator().manual_seed({values["seed"]}))
shares = {shares}[0]
print({{run.config["classes"][y]: float(shares[y]) for y in shares.topk(5).indices}}, method.evidence(model(image)))'''


def widgets(first: Answer) -> Widgets:
    """The input column: the photo, and beside it what the network sees."""
    with gr.Row(elem_classes="row-of-buttons", equal_height=False):
        view = picture_input("The photo", first.extras[0]["shown"], drawable=False)
        with gr.Column(min_width=120):
            sight = gr.HTML(first.extras[1])
            file = picture_button()
    return Widgets(own=view, file=file, extras=[view, sight], longest_side=LONGEST_SIDE)


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
)
demo = space.build()

if __name__ == "__main__":
    serve.launch(demo, CARD)
