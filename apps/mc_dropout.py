"""How sure is the network? Monte Carlo dropout on handwritten digits.

gradio apps/mc_dropout.py
"""

import math
from collections.abc import Mapping
from functools import cache

import gradio as gr
import numpy as np
import torch
from torch import Tensor

from core import draw, markup, serve, store, upload
from core.card import Param, Refused, Value
from core.markup import Tile
from core.moves import Answer, Widgets
from core.nets import DropoutCNN
from core.page import Space
from core.topics.mc_dropout import method
from core.topics.mc_dropout.card import BATCH_NORM, CARD, RUN, TWIN
from core.topics.mc_dropout.figures import ANGLES, LN10, add_curve, experiment, votes_figure
from core.topics.mc_dropout.picture import framed, rotated
from core.widgets import picture_button, picture_input

RUNS = {"mc": RUN, "off": RUN, "twin": TWIN}  # mode -> the run whose network answers
PICK = (
    Param("t", "whole", 1, "Pass", "Which of the T passes.", low=1, high=200),
    Param("y", "whole", 3, "Digit", "Which digit's probability.", low=0, high=9),
)


@cache
def networks() -> dict[str, DropoutCNN]:
    """Run name -> network with its stored weights, shared by all visitors and never written to."""
    return store.networks((RUN, TWIN), DropoutCNN)


@cache
def samples() -> dict[str, Tensor]:
    """The pictures that travel with the weights, `name` and `name_label`."""
    return store.load(RUN).tensors("samples.safetensors")


def seen(values: Mapping[str, Value], own: str) -> tuple[Tensor, int | None]:
    """The upright picture (1, 28, 28), and the digit that it is: -1 for none, None where nobody knows."""
    if not own:
        name = str(values["digit"])
        return samples()[name][None] / 255, int(samples()[f"{name}_label"])
    picture, _ = upload.read_url(own, longest_side=280)
    found = framed(np.asarray(picture.convert("L"), dtype=np.float32) / 255)
    if found is None:
        raise Refused("The paper is empty. Draw a digit, or take one of the samples.")
    return found, None


def votes_of(values: Mapping[str, Value], images: Tensor, *, passes: int) -> Tensor:
    """(T, B, 10): what each pass says of each picture; one pass where dropout is off."""
    network = networks()[RUNS[str(values["mode"])]]
    if values["mode"] != "mc":
        return network(images).softmax(dim=1)[None]
    generator = torch.Generator().manual_seed(int(values["seed"]))
    return method.monte_carlo(network, images, passes=passes, rate=float(values["rate"]), generator=generator)


@torch.inference_mode()
def answer(values: Mapping[str, Value], own: str) -> Answer:
    """Votes, doubt and the doubt at every angle for one state of the page."""
    upright, label = seen(values, own)
    turned = rotated(upright, torch.tensor([float(values["rotate"])]))
    votes = votes_of(values, turned, passes=int(values["T"]))
    mean = method.predictive_mean(votes)[0]
    top = int(mean.argmax())
    passes, agreeing = len(votes), int(votes[:, 0].argmax(dim=1).eq(top).sum())
    model, picture = float(method.mutual_information(votes)), float(method.expected_entropy(votes))
    numbers = {
        "answer": top,
        "confidence": float(mean[top]),
        "votes": agreeing,
        "passes": passes,
        "doubt": float(method.predictive_entropy(votes)),
        "model_doubt": model,
        "picture_doubt": picture,
        "variation_ratio": float(method.variation_ratio(votes)),
    }
    if label is not None:
        numbers["correct"] = int(top == label)
    curve = votes_of(values, rotated(upright, ANGLES), passes=int(values["T"])) if values["curve"] else None
    share = numbers["doubt"] / LN10
    tiles = [
        Tile("answer", str(top), f"mean probability {mean[top]:.0%}"),
        Tile("votes", f"{agreeing} of {passes}", "passes choose it" if passes > 1 else "pass, nothing to compare"),
        Tile(
            "doubt", f"{share:.0%} doubt", parts=[("model unsure", model / LN10), ("picture ambiguous", picture / LN10)]
        ),
    ]
    rows = [
        {"pass": t + 1, **{f"p({y})": float(f"{p:.6g}") for y, p in enumerate(vote)}}
        for t, vote in enumerate(votes[:, 0].tolist())
    ]
    sentence = (
        f"{passes} votes per digit. {top} is first with a mean probability of {mean[top]:.0%}, "
        f"chosen by {agreeing} of {passes} passes; doubt {share:.0%} of its maximum."
    )
    shown = {"own": own, "shown": draw.picture_url(upright[0].numpy(), ink_dark=True)}
    sight = markup.sight(
        draw.picture_url(turned[0, 0].numpy(), ink_dark=True), "the picture in 28 by 28 pixels, turned"
    )
    figure = votes_figure(votes[:, 0], top, sentence)
    if curve is not None:
        add_curve(figure, curve, float(values["rotate"]))
    return Answer(draw.to_json(figure), tiles, numbers, rows, [shown, sight])


@torch.inference_mode()
def follow(values: Mapping[str, Value], own: str, pick: list[Value]) -> list[str]:
    """One dot of the figure, from the pixels to its part in the doubt."""
    digit = int(pick[1])
    upright, _ = seen(values, own)
    image = rotated(upright, torch.tensor([float(values["rotate"])]))
    network = networks()[RUNS[str(values["mode"])]]
    features = network.features(image)
    steps = [
        f"The picture: 784 pixels, {int((image > 0.5).sum())} of them more ink than paper.",
        f"The convolutions turn it into {features.numel():,} numbers; {int((features > 0).sum()):,} are above 0. "
        "This part is the same in every pass.",
    ]
    if values["mode"] == "mc":
        passes, rate = int(values["T"]), float(values["rate"])
        place = min(int(pick[0]), passes) - 1
        generator = torch.Generator().manual_seed(int(values["seed"]))
        masks = method.keep_masks(network.mask_widths, passes=passes, rate=rate, generator=generator)
        logits = network.thinned(features, masks)[:, 0]
        first, second = (int((mask[place] > 0).sum()) for mask in masks)
        steps.append(f"Pass {place + 1} keeps {first:,} of {masks[0].shape[1]:,} units and, later, {second} of 128.")
    else:
        logits, place = network(image), 0
        steps.append("Dropout is off: all units stay, and there is one pass.")
    votes = logits.softmax(dim=1)
    mean = method.predictive_mean(votes)
    total = float(logits[place].exp().sum())
    value, average = float(logits[place, digit]), float(mean[digit])
    part = -average * math.log(average) if average > 0 else 0.0
    whole = float(method.entropy(mean))
    return [
        *steps,
        f"Its logit for {digit} is f = {value:.2f}.",
        f"Softmax: e^{value:.2f} / {total:.4g} = <b>{float(votes[place, digit]):.3f}</b>, the dot in the figure.",
        f"Mean over the {len(votes)} votes: p({digit} | x) = {average:.3f}, the grey bar.",
        f"Its part in the doubt: −{average:.3f} ln {average:.3f} = {part:.3f} of {whole:.3f} nat, "
        f"which is {whole / LN10:.0%} of the most that is possible, ln 10.",
    ]


def snippet(values: Mapping[str, Value], own: str) -> str:
    """Eight lines of Python that give the same answer, from the saved picture where it is the visitor's."""
    if own:
        load = f'Image.open("{upload.file_name(own)}").convert("L")'
        upright = f"picture.framed(numpy.asarray({load}) / 255)"
    else:
        upright = f'store.load("{RUN}").tensors("samples.safetensors")["{values["digit"]}"][None] / 255'
    mc = values["mode"] == "mc"
    passes = f"passes={values['T']}, rate={values['rate']}" if mc else "passes=1, rate=0"
    return f'''import numpy, torch; from PIL import Image
from core import nets, store
from core.topics.mc_dropout import method, picture
run = store.load("{RUNS[str(values["mode"])]}")
model = run.fill(nets.DropoutCNN(**run.network))
image = picture.rotated({upright}, torch.tensor([{float(values["rotate"])}]))
votes = method.monte_carlo(model, image, {passes}, generator=torch.Generator().manual_seed({values["seed"]}))
print(method.predictive_mean(votes), method.predictive_entropy(votes), method.mutual_information(votes))'''


def widgets(first: Answer) -> Widgets:
    """The input column: a canvas, and beside it what the network sees."""
    with gr.Row(elem_classes="row-of-buttons", equal_height=False):
        canvas = picture_input("Draw a digit", first.extras[0]["shown"], drawable=True)
        with gr.Column(min_width=120):
            sight = gr.HTML(first.extras[1])
            file = picture_button()
    return Widgets(own=canvas, file=file, extras=[canvas, sight])


space = Space(
    card=CARD,
    answer=answer,
    widgets=widgets,
    networks=networks,
    run=RUN,
    shown=[method.monte_carlo, method.mutual_information],
    follow=follow,
    pick=PICK,
    measured=lambda: experiment(store.load(RUN), store.load(BATCH_NORM)),
    snippet=snippet,
)
demo = space.build()

if __name__ == "__main__":
    serve.launch(demo, CARD)
