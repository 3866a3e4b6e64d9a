"""Networks for the browser: exported to ONNX, weights in fp16.

Weights are stored in fp16 anyway, so halving them in the graph loses nothing.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

LIMIT_MB = 5.0
SMALLEST = 1000  # numbers; smaller tensors stay as they are


def export(module: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str], path: Path) -> None:
    """Write a module as one ONNX graph.

    example  input name -> tensor, in the order of the module's arguments; shapes are as these have them
    raises   ValueError if the file is too large to be loaded by a page
    """
    import onnx

    with TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        torch.onnx.export(
            module,
            tuple(example.values()),
            whole,
            input_names=list(example),
            output_names=list(outputs),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        model = onnx.load(whole)
    halve(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    if path.stat().st_size > 1e6 * LIMIT_MB:
        raise ValueError(f"{path.name} has {path.stat().st_size / 1e6:.1f} MB, a page loads at most {LIMIT_MB:g} MB")


def halve(model: "onnx.ModelProto") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Keep large tensors in fp16, each with a Cast that gives the graph its float32 back."""
    from onnx import TensorProto, helper, numpy_helper

    graph, casts = model.graph, []
    for place, tensor in enumerate(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < SMALLEST:
            continue
        half = values.astype("float16")
        if not (half.astype("float32") == values).all():
            continue  # no stored weights: rounding would change the answer
        name = tensor.name
        graph.initializer[place].CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    # What the exporter noted of the initializers' types no longer holds.
    del graph.value_info[:]


def packed(values: np.ndarray) -> str:
    """Numbers as text that a page's script reads: their bytes, base64."""
    return base64.b64encode(values.tobytes()).decode()
