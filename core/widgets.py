"""The parts a page is laid out from: figure, canvas, upload button, and the component of a Param."""

from typing import Any

import gradio as gr

from core.card import Param

CLEAR = '<button type="button" class="clear">Clear</button>'
FEW = 8  # choices that are shown at once; more fold into a menu


def figure_view(elem_id: str, value: str | None = None) -> gr.HTML:
    """A place for a Plotly figure that is updated in place (gr.Plot builds a new one each time, which flickers).

    value  the figure as `draw.to_text` gives it: of an object, Gradio's half in the browser would wrap and copy every
           single number with each move
    """
    return gr.HTML(
        value,
        elem_id=elem_id,
        elem_classes="figure",
        html_template='<div class="vitrine-figure" role="img"></div>',
        head='<script src="/vitrine/plotly.min.js"></script>',
        js_on_load="vitrine.figure(element, props, trigger, watch)",
    )


def picture_input(label: str, shown: str, *, drawable: bool) -> gr.HTML:
    """The visitor's picture; what is pasted or dropped on it goes to `picture_button`.

    label     "Draw a digit"
    drawable  mouse, finger and pen draw on it, and a button clears it
    shown     data URL of the picture that it opens with
    value     {"own": data URL of the visitor's own picture or "", "shown": data URL of the sample}
    """
    return gr.HTML(
        {"own": "", "shown": shown},
        elem_id="canvas",
        html_template=(
            f'<div class="canvas"><figure><figcaption>{label}{CLEAR if drawable else ""}</figcaption>'
            f'<canvas width="280" height="280" role="img" aria-label="{label}"></canvas></figure></div>'
        ),
        js_on_load="vitrine.canvas(element, props, trigger, watch)",
    )


def picture_button() -> gr.UploadButton:
    """Takes a picture from a file or, on a phone, from the camera; `hide=upload` removes it."""
    return gr.UploadButton(
        "Upload or photograph", file_types=["image"], elem_id="upload", size="sm", elem_classes="part-of-upload"
    )


def sentence_input(label: str, shown: str, *, longest: int, keys: str = "") -> gr.HTML:
    """The visitor's sentence; it is sent while it is typed, once the keys rest for a moment.

    label    "A German sentence"
    shown    the sentence that it opens with
    longest  characters that fit
    keys     letters that many keyboards lack: a button for each
    value    {"own": the visitor's own sentence or "", "shown": the sample}; a sentence of spaces alone is an empty one
    """
    buttons = "".join(f'<button type="button" aria-label="type {key}">{key}</button>' for key in keys)
    return gr.HTML(
        {"own": "", "shown": shown},
        elem_id="sentence",
        html_template=(
            f'<div class="sentence"><label>{label}<textarea rows="2" maxlength="{longest}" spellcheck="false">'
            f'</textarea></label><div class="keys">{buttons}</div></div>'
        ),
        js_on_load="vitrine.sentence(element, props, trigger, watch)",
    )


def control(param: Param) -> gr.components.Component:
    """The Gradio component of a Param."""
    common: dict[str, Any] = {
        "label": f"{param.label} ({param.unit})" if param.unit else param.label,
        "info": param.help,
        "elem_id": f"control-{param.name}",
        "elem_classes": "control",
    }
    if not param.help:
        common.pop("info")
    if param.kind in ("number", "whole"):
        default = float(param.default)
        return gr.Slider(param.low, param.high, default, step=param.step, buttons=["reset"], **common)
    if param.kind == "choice":
        kind = gr.Radio if len(param.choices) <= FEW else gr.Dropdown
        return kind([(label, key) for key, label in param.choices.items()], value=param.default, **common)
    if param.kind == "flag":
        return gr.Checkbox(bool(param.default), **common)
    return gr.Number(int(param.default), minimum=param.low, maximum=param.high, precision=0, **common)
