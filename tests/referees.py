"""The field's libraries, against which our methods are held: development dependencies only."""

import importlib
from types import ModuleType


def library(name: str) -> ModuleType:
    """A referee; some import torchvision, which needs core.vision first where its operators do not load."""
    importlib.import_module("core.vision")
    return importlib.import_module(name)
