"""The front door: one process, every Space at /<topic>/, built when first asked for.

python apps/gallery.py           on this machine
python apps/gallery.py --class   for everyone in the room, with address and QR code; starts the lab as well

The concept pages of the lab are listed too; they run in a process of their own (`make lab`).
"""

import argparse
import asyncio
import importlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from core import card as cards
from core import draw, markup, serve, store
from core.card import Card

HERE = Path(__file__).resolve().parent
PICTURES = serve.PICTURES
INVITATION = "Machine-learning ideas that answer back."
COVER = "page-gallery.png"  # what stands for the gallery itself where its address is shared
LAB_PORT = 8501
LAB = f"http://127.0.0.1:{LAB_PORT}"  # where `make lab` serves
log = logging.getLogger("vitrine")


class LazySpace:
    """A Space that is built when somebody first asks for it, and a page that says so if that fails.

    Its application has a lifespan of its own (Gradio's queue runs in it), which one task
    enters and leaves: a lifespan must end in the task that began it.
    """

    def __init__(self, slug: str, card: Card, build: Callable[[str], gr.Blocks]) -> None:
        self.slug, self.card, self.build = slug, card, build
        self.state = "not asked for yet"
        self._app: FastAPI | None = None
        self._failure = ""
        self._lock = asyncio.Lock()
        self._stop = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._lock:
            if self._app is None and not self._failure:
                await self._start()
        answer = self._app or HTMLResponse(failure_page(self.card, self._failure), status_code=503)
        await answer(scope, receive, send)

    async def _start(self) -> None:
        try:
            app = await asyncio.to_thread(self._built)
        except Exception as error:
            log.exception("the Space %s could not be built", self.slug)
            reason = str(error) if isinstance(error, (store.BadRun, cards.Refused)) else type(error).__name__
            self._failure, self.state = reason, "failed"
            return
        started = asyncio.Event()
        self._life = asyncio.create_task(self._live(app, started))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({self._life, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._life.done():  # it ended before it began to wait
            log.error("the Space %s could not start", self.slug, exc_info=self._life.exception())
            self._failure, self.state = "it could not start", "failed"
            return
        self._app, self.state = app, "ready"

    def _built(self) -> FastAPI:
        return serve.mounted(self.build(self.slug), self.card, f"/{self.slug}")

    async def _live(self, app: FastAPI, started: asyncio.Event) -> None:
        async with app.router.lifespan_context(app):
            started.set()
            await self._stop.wait()

    async def close(self) -> None:
        """End the Space's lifespan, if it began."""
        self._stop.set()
        if self._life and not self._life.done():
            await self._life


def build_space(slug: str) -> gr.Blocks:
    """The page of a topic: its app file's `demo`."""
    return importlib.import_module(f"apps.{slug}").demo


def create(topics: Mapping[str, Card], build: Callable[[str], gr.Blocks] = build_space, lab: str = LAB) -> FastAPI:
    """The gallery as one ASGI application.

    topics  slug -> card
    build   how the page of a slug is made
    lab     where the lab runs; "" if it does not, and its pages are left out
    """
    if not lab:
        topics = {slug: card for slug, card in topics.items() if card.surface == "space"}
    spaces = {slug: LazySpace(slug, card, build) for slug, card in topics.items() if card.surface == "space"}
    page = home_page(topics, lab)

    def to_lab(request: Request) -> Response:
        card = topics.get(request.path_params["slug"])
        if card is None or card.surface != "lab":
            return HTMLResponse(document("Not found", "<main><h1>There is no such page.</h1></main>"), status_code=404)
        place = urlsplit(lab)
        try:
            socket.create_connection((str(place.hostname), place.port or 80), timeout=0.5).close()
        except OSError:
            return HTMLResponse(failure_page(card, "the lab is not running; make lab starts it"), status_code=503)
        return RedirectResponse(f"{lab}/{card.slug}")

    def home(request: Request) -> Response:
        tags = serve.share_tags("Vitrine", INVITATION, COVER, request.scope)
        return HTMLResponse(page.replace("<head>", f"<head>{tags}", 1))

    def health(_: Any) -> Response:
        states = {slug: space.state for slug, space in spaces.items()}
        status = "degraded" if "failed" in states.values() else "ok"
        return JSONResponse(
            {"status": status, "version": own_version(), "topics": states, "memory_mb": round(memory_mb())}
        )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for space in spaces.values():
            await space.close()

    routes = [Route("/", home), Route("/healthz", health), Route("/lab/{slug}", to_lab), *serve.routes()]
    for slug, space in spaces.items():
        routes.append(Route(f"/{slug}", with_slash))
        routes.append(Mount(f"/{slug}", app=space))  # type: ignore[arg-type]
    return FastAPI(routes=routes, lifespan=lifespan, openapi_url=None)


def own_version() -> str:
    """The version that is installed; a hosted copy is files alone."""
    try:
        return version("vitrine")
    except PackageNotFoundError:
        return "not installed"


def with_slash(request: Request) -> Response:
    """The address of a Space ends in a slash, since what it loads is named relative to it."""
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{request.url.path}/{query}")


def memory_mb() -> float:
    """Resident memory of this process in MB (10^6 bytes); 0 where /proc is not there."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if statm.is_file() else 0.0


def failure_page(card: Card, reason: str) -> str:
    """What stands in the place of a Space that could not be built."""
    body = (
        f"<main><p class='kicker'>{escape(card.family)}</p><h1>{escape(card.question)}</h1>"
        f"<p>This page cannot be shown now: {escape(reason)}.</p>"
        "<p>The others go on: <a href='/'>all topics</a>.</p></main>"
    )
    return document(card.question, body)


def home_page(topics: Mapping[str, Card], lab: str = LAB) -> str:
    """Title, search, and the families with their cards, each card one link."""
    families: dict[str, list[Card]] = {}
    for card in topics.values():
        families.setdefault(card.family, []).append(card)
    sections = []
    for family, members in sorted(families.items()):
        links = "".join(card_link(card, lab) for card in members)
        sections.append(f"<section><h2>{escape(family)}</h2><div class='cards'>{links}</div></section>")
    claim = "a question and a page to play with"
    claim = f"One idea so far: {claim}." if len(topics) == 1 else f"{len(topics)} ideas, each {claim}."
    body = f"""<main><h1>Vitrine</h1>
<p class="claim">{INVITATION} {claim}</p>
<label class="search">Find an idea <input type="search" id="search" autocomplete="off"></label>
<p id="none" role="status" hidden>No idea matches. Try one word.</p>
{"".join(sections)}</main>
<script>
const field = document.getElementById("search");
field.addEventListener("input", () => {{
  const words = field.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  for (const section of document.querySelectorAll("section")) {{
    let here = 0;
    for (const card of section.querySelectorAll(".card")) {{
      const text = (section.querySelector("h2").textContent + " " + card.textContent).toLowerCase();
      const fits = words.every((word) => text.includes(word));
      card.hidden = !fits;
      here += fits;
    }}
    section.hidden = !here;
    shown += here;
  }}
  document.getElementById("none").hidden = shown > 0;
}});
</script>"""
    return document("Vitrine", body)


def card_link(card: Card, lab: str) -> str:
    """One card: a picture from a real answer, the question, the claim, and the score or where the lab runs."""
    pictures = [f"{card.slug}-{theme}.png" for theme in ("light", "dark")]
    picture = ""
    if all((PICTURES / name).is_file() for name in pictures):
        picture = (
            f"<picture><source srcset='/vitrine/pictures/{pictures[1]}' media='(prefers-color-scheme: dark)'>"
            f"<img src='/vitrine/pictures/{pictures[0]}' alt='' width='732' height='492' loading='lazy'></picture>"
        )
    if card.surface == "lab":
        address, line = f"/lab/{card.slug}", f"Lab · {lab}"
    else:
        address, line = f"/{card.slug}/", score_line(card)
    return (
        f"<a class='card' href='{escape(address)}'>{picture}<h3>{escape(card.question)}</h3>"
        f"<p>{escape(card.claim)}</p><p class='score'>{escape(line)}</p></a>"
    )


def score_line(card: Card) -> str:
    """The first score of a card as measured, or why there is none."""
    score = card.scores[0]
    try:
        return f"{score.label}: {markup.score_cell(score, store.load(score.run).score(score.key))}"
    except store.BadRun:
        return "its weights cannot be read"


def document(title: str, body: str) -> str:
    """A page of the gallery itself, outside Gradio, in the same tokens."""
    dark = draw.theme_css().split(".dark")[1]
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
{draw.theme_css()}
@media (prefers-color-scheme: dark) {{ :root {dark} }}
{(HERE / "gallery.css").read_text(encoding="utf-8")}</style></head><body>{body}</body></html>"""


def room_host() -> str:
    """The name under which other machines of the local network reach this one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))  # a datagram socket: chooses a route, sends nothing
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


@contextmanager
def lab_for(host: str, port: int) -> Iterator[str]:
    """The lab as a process beside this one, for everyone in the room; yields its address and ends it at the end."""
    command = [sys.executable, "-m", "streamlit", "run", str(HERE / "lab.py"), f"--server.port={port}"]
    # Its visitors come under this name; unnamed, Streamlit would ask an outside service which name is its own.
    command += ["--server.address=0.0.0.0", f"--browser.serverAddress={host}"]
    # uvicorn raises the signal that ended it once more; unhandled, it would end this process before the lab's.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    process = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.DEVNULL)
    try:
        yield f"http://{host}:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--class", dest="room", action="store_true", help="serve the local network, print a QR code")
    options = parser.parse_args()
    host = os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if options.room else "127.0.0.1")
    port = int(os.environ.get("GRADIO_SERVER_PORT") or 7860)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            sys.exit(
                f"vitrine: {host}:{port} cannot be used ({error.strerror}). Set GRADIO_SERVER_PORT to a free port."
            )
    topics = {slug: cards.load(slug).CARD for slug in cards.topics()}
    lab_port = int(os.environ.get("STREAMLIT_SERVER_PORT") or LAB_PORT)
    told: dict[str, Any] = {"host": host, "port": port, "log_level": "warning", "timeout_graceful_shutdown": 5}
    if options.room:
        import segno

        address = f"http://{room_host()}:{port}/"
        with lab_for(room_host(), lab_port) as lab:
            segno.make(address, error="l").terminal(compact=True)
            print(f"vitrine: for everyone in this network: {address}, the lab: {lab}", flush=True)
            uvicorn.run(create(topics, lab=lab), **told)
    else:
        print(f"vitrine: http://{host}:{port}/ (Ctrl+C ends it)", flush=True)
        # Who comes from another machine finds no lab here.
        uvicorn.run(create(topics, lab=f"http://{host}:{lab_port}" if host == "127.0.0.1" else ""), **told)


if __name__ == "__main__":
    main()
