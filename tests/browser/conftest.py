"""A real Chromium, and the gallery that it visits; both start once for all browser tests."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import serving
from browsing import DESKTOP, Visitor
from playwright.sync_api import Browser, sync_playwright

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


@pytest.fixture
def visit(browser: Browser, gallery: serving.Gallery) -> Iterator[Callable[..., Visitor]]:
    """visit(address, **options of a browser context) opens a page; no page may complain before the test ends."""
    visitors = []

    def start(address: str = "/mc_dropout/", **options: Any) -> Visitor:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        context.set_default_timeout(20_000)
        visitors.append(Visitor(context, gallery))
        return visitors[-1].open(address) if address else visitors[-1]

    yield start
    complaints = [complaint for visitor in visitors for complaint in visitor.complaints]
    for visitor in visitors:
        visitor.context.close()
    assert not complaints
