"""Networks for the browser: exported to ONNX, weights in fp16, and the runtime that answers with them.

Weights are stored in fp16 anyway, so halving them in the graph loses nothing.
"""

import hashlib
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

LIMIT_MB = 5.0
SMALLEST = 1000  # numbers; smaller tensors stay as they are
PACKAGE = "onnxruntime-web@1.30.0"
# What of the package a page loads, with its sha256; the runtime without threads needs no more.
RUNTIME = {
    "ort.wasm.min.js": "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}


class NoRuntime(RuntimeError):
    """The runtime could not be fetched; the message is a sentence."""


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
    import onnx
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
    onnx.checker.check_model(model)


def runtime(folder: Path) -> list[Path]:
    """The runtime's files in a folder, fetched through npm where they are not there, and checked.

    raises NoRuntime if npm is missing, there is no network, or a file is not the one that was tried
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not all((folder / name).is_file() for name in RUNTIME):
        with TemporaryDirectory() as temporary:
            try:
                command = ["npm", "pack", "--silent", PACKAGE, "--pack-destination", temporary]
                subprocess.run(command, check=True, capture_output=True, text=True, cwd=temporary)
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", "") or str(error)
                raise NoRuntime(f"{PACKAGE} could not be fetched with npm: {said.strip()[:200]}") from error
            (packed,) = Path(temporary).glob("*.tgz")
            with tarfile.open(packed) as archive:
                for name in RUNTIME:
                    member = archive.extractfile(f"package/dist/{name}")
                    assert member is not None
                    (folder / name).write_bytes(member.read())
    for name, expected in RUNTIME.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise NoRuntime(f"{folder / name} is not the file of {PACKAGE} that was tried; delete it and try again")
    return [folder / name for name in RUNTIME]
