"""A visitor with a real Chromium: opens a page of the gallery, moves things, and reads what it shows."""

import re
import statistics
from typing import Any

import pytest
import serving
from playwright.sync_api import BrowserContext

PICTURES = serving.ROOT / "pictures" / "browser"
DESKTOP = {"width": 1366, "height": 640}
PHONE = {"width": 390, "height": 844}
SLACK = 3  # promised times hold on a quiet machine; tests allow for a busy one
# What the browser itself writes when a request fails that a test made fail, or that was answered 4xx.
EXPECTED_LOG = re.compile(r"Failed to load resource|net::ERR_")


class Visitor:
    """Somebody in front of a page of the gallery.

    context, page  Playwright's
    complaints     errors in the console, and requests that left this machine
    """

    def __init__(self, context: BrowserContext, gallery: serving.Gallery) -> None:
        self.context, self.gallery = context, gallery
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)

    def _heard(self, message: Any) -> None:
        if message.type == "error" and not EXPECTED_LOG.search(message.text):
            self.complaints.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.gallery.url, "data:", "blob:")):
            self.complaints.append(f"asked {request.url}")

    def open(self, address: str = "/mc_dropout/") -> "Visitor":
        """Open a Space and wait until its figure is drawn, as the address says."""
        self.page.goto(self.gallery.url + address)
        self.page.wait_for_selector("#figure .main-svg")
        self.page.wait_for_selector("html:not(.opening)")
        return self

    @property
    def sentence(self) -> str:
        """What the figure says to a screen reader: changes with every answer that differs."""
        return self.page.get_attribute("#figure .vitrine-figure", "aria-label") or ""

    @property
    def tiles(self) -> list[str]:
        return self.page.locator("#tiles .tile").all_inner_texts()

    @property
    def note(self) -> str:
        return self.page.locator("#note").inner_text().strip()

    @property
    def query(self) -> dict[str, str]:
        """The state as it stands in the browser's address bar."""
        return self.page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")

    def slider(self, name: str) -> Any:
        return self.page.locator(f"#control-{name} input[type=range]")

    def choose(self, name: str, value: str) -> None:
        """Click a choice of a control, by its key; opens More controls where it is folded."""
        control = self.page.locator(f"#control-{name}")
        if not control.is_visible():
            self.page.click("#more > button")
        control.locator("label", has=self.page.locator(f"input[value='{value}']")).click()

    def pin(self) -> None:
        """Keep the answer as A, and wait until it is kept: what is changed before has no B yet."""
        self.page.click("#pin")
        self.page.get_by_text("Pinned. Change anything").wait_for()

    def sample(self, label: str) -> None:
        self.page.locator("#control-digit label", has_text=re.compile(f"^ *{re.escape(label)} *$")).click()

    def answered(self, before: str) -> str:
        """Wait for an answer other than `before`; returns its sentence."""
        self.page.wait_for_function(
            "before => document.querySelector('#figure .vitrine-figure').getAttribute('aria-label') !== before",
            arg=before,
        )
        return self.sentence

    def told(self, part: str) -> None:
        """Wait until the page's note contains `part`."""
        self.page.wait_for_function("part => document.querySelector('#note').innerText.includes(part)", arg=part)

    def shows(self, name: str, value: str) -> None:
        """Wait until the address holds this value of a control: the answer to it has arrived."""
        self.page.wait_for_function(
            "([name, value]) => new URLSearchParams(location.search).get(name) === value", arg=[name, value]
        )

    def stroke(self, points: list[tuple[float, float]]) -> None:
        """Draw with the mouse; points in shares of the canvas."""
        box = self.page.locator("#canvas canvas").bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=4)
        self.page.mouse.up()

    def ink(self, x: float, y: float) -> bool:
        """Is there ink at this place of the canvas, in shares of it?"""
        return self.page.evaluate(
            """([x, y]) => {
                const board = document.querySelector('#canvas canvas');
                const [red] = board.getContext('2d').getImageData(x * board.width, y * board.height, 1, 1).data;
                return red < 128;
            }""",
            [x, y],
        )

    def answers_in_time(self, control: str, promise_ms: float, capsys: pytest.CaptureFixture) -> None:
        """Move a slider by keys, measure how long it takes until the figure is drawn anew, print and check it."""
        self.page.evaluate(
            """() => document.querySelector('#figure .vitrine-figure').on('plotly_react', () => arrived())"""
        )
        self.in_time(control, "the answer", promise_ms, capsys)

    def in_time(
        self, control: str, what: str, promise_ms: float, capsys: pytest.CaptureFixture, *, pause_ms: float = 50
    ) -> None:
        """Move a slider by keys, measure how long it takes until the page's script calls `arrived()`, print and check.

        what      stands there by then
        pause_ms  after it, before the next key
        """
        self.slider(control).focus()
        self.page.evaluate(
            """control => {
                window.times = [];
                let start = 0;
                document.querySelector(`#control-${control} input[type=range]`)
                    .addEventListener('keydown', () => { start = performance.now(); });
                window.arrived = () => {
                    if (!start) return;
                    const moved = start;
                    start = 0;
                    requestAnimationFrame(() => times.push(performance.now() - moved));
                };
            }""",
            control,
        )
        for step in range(15):
            self.page.keyboard.press("ArrowRight")
            # Asked with every frame, as by default, the browser would draw frames all the time.
            self.page.wait_for_function("count => times.length > count", arg=step, polling=50)
            self.page.wait_for_timeout(pause_ms)
        times = self.page.evaluate("times.slice(0, 15)")
        median = statistics.median(times)
        with capsys.disabled():
            print(f"\n  {control}, from a key to {what}: median {median:.0f} ms, slowest {max(times):.0f} ms of 15")
        assert median < SLACK * promise_ms

    def picture(self, name: str, *, whole: bool = False) -> None:
        """Keep a screenshot in an ignored folder, for somebody to look at."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=whole)
