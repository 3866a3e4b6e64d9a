"""A real Chromium, and the gallery that it visits; both start once for all browser tests."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serving
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

PICTURES = serving.ROOT / "pictures" / "browser"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1366, "height": 640}
PHONE = {"width": 390, "height": 844}
# What the browser itself writes when a request fails that a test made fail, or that was answered 4xx.
EXPECTED_LOG = re.compile(r"Failed to load resource|net::ERR_")


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Gallery]:
    with serving.gallery(tmp_path_factory.mktemp("gallery") / "log") as served:
        yield served


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if path is None:
        pytest.fail("No Chromium was found. On Debian: apt-get update && apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()
