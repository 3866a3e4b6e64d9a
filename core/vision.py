"""The one door to torchvision: `from core.vision import torchvision`.

The torchvision wheel that pip finds is built for CUDA. Beside a CPU-only torch
its compiled operators do not load, and `import torchvision` fails before a
single dataset can be used ("operator torchvision::nms does not exist"), because
it registers Python kernels for operators that nothing has declared. Declaring
the missing schemas first is enough for datasets, transforms and classification
models. The operators themselves stay unavailable and say so when called.
timm and torchmetrics import torchvision too, so import this module before them.
"""

import importlib.util
from pathlib import Path

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def operators_load() -> bool:
    """Do torchvision's compiled operators fit the torch that is installed?

    returns True if the shared library loads, False if it is absent or was built
            for another torch
    """
    spec = importlib.util.find_spec("torchvision")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for library in (path for folder in folders for path in Path(folder).glob("_C*.so")):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return True
    return False


def declare_missing(loaded: bool) -> list[torch.library.Library]:
    """Declare the operators that `import torchvision` expects, where they are missing.

    loaded  what `operators_load` found; if True nothing is declared
    returns the libraries that hold the declarations; they last as long as these objects
    """
    if loaded or hasattr(torch.ops.torchvision, "nms"):
        return []
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    return [library]


# The one import-time effect that the house allows: without it the next line raises.
_declared = declare_missing(operators_load())

import torchvision  # noqa: E402  (only importable once the operators are declared)

__all__ = ["declare_missing", "operators_load", "torchvision"]
