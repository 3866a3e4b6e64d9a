"""What tests of several files share."""

import os
from collections.abc import Iterator

import pytest
import torch


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is marked `data` runs where the data are."""
    if item.get_closest_marker("data") and not os.environ.get("VITRINE_DATA"):
        pytest.skip("needs real data: VITRINE_DATA is not set")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For batches as small as tests have, threads cost more than they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
