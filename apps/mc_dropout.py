"""How sure is the network? Monte Carlo dropout on handwritten digits.

gradio apps/mc_dropout.py
"""

import math
from collections.abc import Mapping
from functools import cache

import gradio as gr
import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from core import data, draw, serve, store, upload
from core.card import Param, Refused, Value
from core.markup import Tile
from core.moves import Answer, Widgets
from core.page import Space
from core.topics.mc_dropout import method
from core.topics.mc_dropout.card import BATCH_NORM, CARD, RUN, TWIN
from core.topics.mc_dropout.network import DropoutCNN
from core.topics.mc_dropout.picture import framed, rotated
from core.widgets import picture_button, picture_input

ANGLES = torch.arange(-180, 181, 10)
LN10 = math.log(10)
PICK = (
    Param("t", "whole", 1, "Pass", "Which of the T passes.", low=1, high=200),
    Param("y", "whole", 3, "Digit", "Which digit's probability.", low=0, high=9),
)


@cache
def networks() -> dict[str, DropoutCNN]:
    """Both networks with their stored weights, shared by all visitors and never written to."""
    loaded = {}
    for mode, name in (("mc", RUN), ("twin", TWIN)):
        run = store.load(name)
        loaded[mode] = run.fill(DropoutCNN(**run.network))
    return {**loaded, "off": loaded["mc"]}


@cache
def samples() -> dict[str, tuple[Tensor, int]]:
    """Name -> picture (1, 28, 28) in [0, 1], and the digit that it is; -1 for what is no digit."""
    kept = store.load(RUN).tensors("samples.safetensors")
    digits = {"three": 3, "five_or_six": 5, "four_or_nine": 9, "seven": 7}
    pictures = {name: (kept[name][None].float() / 255, digit) for name, digit in digits.items()}
    for name, label in (("shoe", 9), ("trousers", 1)):
        first = kept["foreign_images"][kept["foreign_labels"] == label][0]
        pictures[name] = first[None].float() / 255, -1
    return pictures | {"scribble": (data.drawn("scribble"), -1), "letter": (data.drawn("A"), -1)}


def seen(values: Mapping[str, Value], own: str) -> tuple[Tensor, int | None]:
    """The upright picture (1, 28, 28), and the digit that it is: -1 for none, None where nobody knows."""
    if not own:
        return samples()[str(values["digit"])]
    picture, _ = upload.read_url(own, longest_side=280)
    found = framed(np.asarray(picture.convert("L"), dtype=np.float32) / 255)
    if found is None:
        raise Refused("The paper is empty. Draw a digit, or take one of the samples.")
    return found, None


def votes_of(values: Mapping[str, Value], images: Tensor, *, passes: int) -> Tensor:
    """(T, B, 10): what each pass says of each picture; one pass where dropout is off."""
    network = networks()[str(values["mode"])]
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
    figure = votes_figure(votes[:, 0], top, sentence)
    if curve is not None:
        add_curve(figure, curve, float(values["rotate"]))
    return Answer(draw.to_json(figure), tiles, numbers, rows, [shown, seen_html(turned[0, 0])])


def votes_figure(votes: Tensor, top: int, sentence: str) -> go.Figure:
    """One dot per pass and digit, the mean as a grey bar; the first digit in the colour of this one."""
    figure = draw.figure(height=246, sentence=sentence)
    passes = len(votes)
    # A fixed, even spread: dots must not jump sideways while a slider moves.
    spread = (np.arange(passes) * 0.618034 % 1 - 0.5) * 0.5
    for digit in range(10):
        chosen = digit == top
        figure.add_scatter(
            x=digit + spread,
            y=votes[:, digit].numpy(),
            mode="markers",
            marker={
                "size": 6,
                "opacity": 0.55,
                "color": draw.VERMILION if chosen else draw.PETROL,
                "symbol": "diamond" if chosen else "circle",
            },
            customdata=[[t + 1, digit] for t in range(passes)],
            hovertemplate=f"pass %{{customdata[0]}} gives {digit} a probability of %{{y:.2f}}<extra></extra>",
        )
    figure.add_scatter(
        x=list(range(10)),
        y=votes.mean(dim=0).numpy(),
        mode="markers",
        marker={"symbol": "line-ew", "size": 26, "line": {"width": 3, "color": draw.MID_TEXT}},
        hovertemplate="%{x}: mean probability %{y:.2f}<extra></extra>",
    )
    figure.update_layout(
        xaxis={"range": [-0.6, 9.6], "tickvals": list(range(10)), "title": {"text": "digit"}, "showgrid": False},
        yaxis={"range": [-0.03, 1.03], "title": {"text": "probability, one dot per pass"}, "tickvals": [0, 0.5, 1]},
    )
    return figure


def add_curve(figure: go.Figure, curve: Tensor, degrees: float) -> None:
    """Below the votes, the doubt at every angle, from the same thinned networks; a line where the picture is now."""
    doubts = {
        "picture ambiguous": method.expected_entropy(curve) / LN10 * 100,
        "model unsure": method.mutual_information(curve) / LN10 * 100,
    }
    for (name, doubt), colour in zip(doubts.items(), (draw.PETROL_LIGHT, draw.PETROL), strict=True):
        figure.add_scatter(
            x=ANGLES.numpy(),
            y=doubt.numpy(),
            xaxis="x2",
            yaxis="y2",
            mode="lines",
            stackgroup="doubt",
            line={"width": 1, "color": colour},
            hovertemplate=f"turned by %{{x}}°: %{{y:.0f}} % {name}<extra></extra>",
        )
    figure.add_shape(
        type="line", xref="x2", yref="y2", x0=degrees, x1=degrees, y0=0, y1=100,
        line={"color": draw.VERMILION, "width": 2, "dash": "dot"},
    )  # fmt: skip
    figure.update_layout(
        yaxis={"domain": [0.46, 1], "title": {"text": "probability"}},
        xaxis={"anchor": "y", "title": {"text": ""}},
        xaxis2={"range": [-185, 185], "tickvals": [-180, -90, 0, 90, 180], "ticksuffix": "°", "anchor": "y2"},
        yaxis2={"range": [0, 100], "title": {"text": "doubt (%)"}, "domain": [0, 0.3], "tickvals": [0, 50, 100]},
    )


def seen_html(picture: Tensor) -> str:
    """What the network gets, enlarged with its pixels visible."""
    url = draw.picture_url(picture.numpy(), ink_dark=True)
    return (
        f'<div class="seen"><figure><figcaption>The network sees</figcaption><img src="{url}" '
        'alt="the picture in 28 by 28 pixels, turned, as the network gets it"></figure></div>'
    )


@torch.inference_mode()
def follow(values: Mapping[str, Value], own: str, pick: list[Value]) -> list[str]:
    """One dot of the figure, from the pixels to its part in the doubt."""
    digit = int(pick[1])
    upright, _ = seen(values, own)
    image = rotated(upright, torch.tensor([float(values["rotate"])]))
    network = networks()[str(values["mode"])]
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
    return [
        *steps,
        f"Its logit for {digit} is f = {value:.2f}.",
        f"Softmax: e^{value:.2f} / {total:.4g} = <b>{float(votes[place, digit]):.3f}</b>, the dot in the figure.",
        f"Mean over the {len(votes)} votes: p({digit} | x) = {average:.3f}, the grey bar.",
        f"Its part in the doubt: −{average:.3f} ln {average:.3f} = {part:.3f} of {float(method.entropy(mean)):.3f} nat.",
    ]


def measured() -> go.Figure:
    """The classic experiment: how error and NLL change with the number of passes, ten runs, both architectures."""
    figure = draw.figure(
        height=300, sentence="Negative log-likelihood against the number of passes, with and without batch norm."
    )
    passes = (1, 2, 5, 10, 20, 50, 100)
    for name, label, colour, symbol in (
        (RUN, "no batch norm", draw.PETROL, "circle"),
        (BATCH_NORM, "batch norm", draw.VERMILION, "diamond"),
    ):
        run = store.load(name)
        entries = [run.score(f"nll_mc{count}") for count in passes]
        figure.add_scatter(
            x=list(passes),
            y=[entry["mean"] for entry in entries],
            error_y={"array": [entry["spread"] for entry in entries], "thickness": 1},
            mode="lines+markers",
            line={"color": colour},
            marker={"symbol": symbol, "size": 8},
            hovertemplate=f"{label}, %{{x}} passes: NLL %{{y:.4f}} nat<extra></extra>",
        )
        off = run.score("nll_off")["mean"]
        figure.add_scatter(
            x=[1, 100], y=[off, off], mode="lines", line={"color": colour, "dash": "dot"},
            hovertemplate=f"{label}, dropout off: NLL {off:.4f} nat<extra></extra>",
        )  # fmt: skip
        figure.add_annotation(
            x=2, y=entries[-1]["mean"], text=label, showarrow=False, xanchor="right", yanchor="bottom",
            font={"color": colour},
        )  # fmt: skip
    figure.update_layout(
        xaxis={"type": "log", "title": {"text": "passes T (dotted: dropout off)"}, "tickvals": list(passes)},
        yaxis={"title": {"text": "NLL (nat), test digits"}, "rangemode": "tozero"},
    )
    return figure


def snippet(values: Mapping[str, Value]) -> str:
    """Eight lines of Python that give the same answer."""
    passes = f"passes={values['T']}, rate={values['rate']}" if values["mode"] == "mc" else "passes=1, rate=0"
    run = TWIN if values["mode"] == "twin" else RUN
    return f'''import torch
from apps.mc_dropout import DropoutCNN, method, rotated, samples, store
run = store.load("{run}")
network = run.fill(DropoutCNN(**run.network))
image = rotated(samples()["{values["digit"]}"][0], torch.tensor([{float(values["rotate"])}]))
votes = method.monte_carlo(network, image, {passes}, generator=torch.Generator().manual_seed({values["seed"]}))
print(method.predictive_mean(votes), method.predictive_entropy(votes), method.mutual_information(votes))'''


def widgets(first: Answer) -> Widgets:
    """The input column: a canvas, and beside it what the network sees."""
    with gr.Row(elem_classes="row-of-buttons", equal_height=False):
        canvas = picture_input("Draw a digit", first.extras[0]["shown"])
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
    measured=measured,
    snippet=snippet,
)
demo = space.build()

if __name__ == "__main__":
    serve.launch(demo, CARD)
