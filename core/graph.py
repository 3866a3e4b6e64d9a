"""Networks for the browser: exported to ONNX, weights in fp16, and the runtime that answers with them.

Weights are stored in fp16 anyway, so halving them in the graph loses nothing.
"""

import base64
import hashlib
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

LIMIT_MB = 5.0
SMALLEST = 1000  # numbers; smaller tensors stay as they are
# npm package -> what of it a page loads, with its sha256. The runtime without threads needs no more; of Plotly these
# are the charts that pages have, a third of the whole.
PACKAGES = {
    "onnxruntime-web@1.30.0": {
        "dist/ort.wasm.min.js": "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
        "dist/ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
        "dist/ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    },
    "plotly.js-cartesian-dist-min@4.1.1": {
        "plotly-cartesian.min.js": "79542150855a52c567260e3137095dbe2b744e6d702a5cabe67da246942fba7a",
    },
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
    """The files of PACKAGES in a folder, fetched through npm where they are not there, and checked.

    raises NoRuntime if npm is missing, there is no network, or a file is not the one that was tried
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Path] = []
    for package, wanted in PACKAGES.items():
        places = {name: folder / Path(name).name for name in wanted}
        if not all(place.is_file() for place in places.values()):
            fetch(package, places)
        for name, place in places.items():
            if hashlib.sha256(place.read_bytes()).hexdigest() != wanted[name]:
                raise NoRuntime(f"{place} is not the file of {package} that was tried; delete it and try again")
        found += places.values()
    return found


def fetch(package: str, places: Mapping[str, Path]) -> None:
    """Fetch files of an npm package: name in the package -> where to put it; raises NoRuntime."""
    with TemporaryDirectory() as temporary:
        try:
            command = ["npm", "pack", "--silent", package, "--pack-destination", temporary]
            subprocess.run(command, check=True, capture_output=True, text=True, cwd=temporary)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise NoRuntime(f"{package} could not be fetched with npm: {said.strip()[:200]}") from error
        (packed_file,) = Path(temporary).glob("*.tgz")
        with tarfile.open(packed_file) as archive:
            for name, place in places.items():
                member = archive.extractfile(f"package/{name}")
                assert member is not None
                place.write_bytes(member.read())


def packed(values: np.ndarray) -> str:
    """Numbers as text that a page's script reads: their bytes, base64."""
    return base64.b64encode(values.tobytes()).decode()
