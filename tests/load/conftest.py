"""A fresh gallery for each load test: memory and queue begin where they begin for the first visitor."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import serving


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[serving.Gallery]:
    with serving.gallery(tmp_path / "log") as served:
        yield served
