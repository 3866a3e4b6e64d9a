"""How a Space reaches a browser: the gate that all visitors pass, launch settings, files and tags.

The same settings serve a Space alone (`launch`) and inside the gallery (`mounted`).
"""

import asyncio
import html
import os
import re
import signal
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from core import draw, store
from core.card import Card, Refused

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parent / "docs" / "pictures"
CORES = os.cpu_count() or 1
THREADS = torch.get_num_threads()  # as OMP_NUM_THREADS and the machine have it
QUEUE_SIZE = 60  # events waiting per Space before a newcomer is told that it is busy
SESSIONS = (
    100  # visitors per Space of whose components Gradio keeps a copy, last values included; the oldest is dropped
)


class Gate:
    """Lets so many answers be computed at once in this process, and so many wait a moment.

    Each mounted Space has a queue of its own; without one gate for all of them, thirty
    visitors on five Spaces would start thirty computations on two cores. Who enters alone gets
    all threads for his answer, who does not gets one: threads of two answers wait for each other.

    slots       answers computed at the same time
    waiting     visitors who may wait for a slot
    patience_s  how long they wait
    """

    def __init__(self, slots: int, waiting: int, patience_s: float) -> None:
        self._slots = threading.BoundedSemaphore(slots)
        self._places = threading.BoundedSemaphore(slots + waiting)
        self._patience_s = patience_s
        self._inside, self._lock = 0, threading.Lock()

    @contextmanager
    def enter(self, patience_s: float = 0.0) -> Iterator[None]:
        """Hold a slot; raises Refused with a sentence for the visitor if none comes free in time.

        patience_s  for work that may wait longer than others
        """
        busy = Refused("Busy: many visitors are asking at once. Your settings are kept; move a control to ask again.")
        if not self._places.acquire(blocking=False):
            raise busy
        try:
            if not self._slots.acquire(timeout=max(patience_s, self._patience_s)):
                raise busy
            with self._lock:
                self._inside += 1
                torch.set_num_threads(THREADS if self._inside == 1 else 1)
            try:
                yield
            finally:
                with self._lock:
                    self._inside -= 1
                self._slots.release()
        finally:
            self._places.release()

    @property
    def alone(self) -> bool:
        """Is at most one answer being computed just now?"""
        return self._inside <= 1


GATE = Gate(slots=CORES, waiting=40, patience_s=2.0)


class Turns:
    """Visitors whose work takes seconds take turns, slice by slice, in the order in which they came.

    Only one of them computes at a time, so that the quick answers of everybody else find a slot.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()  # serves those who wait in order
        self.waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn, and have it."""
        self.waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._lock.release()

    @property
    def taken(self) -> bool:
        """Does somebody have a turn just now?"""
        return self._lock.locked()


TURNS = Turns()


def theme() -> gr.themes.Base:
    """Gradio's theme in the project's tokens; system fonts, so that nothing is fetched."""
    light = {name: pair[0] for name, pair in draw.TOKENS.items()}
    dark = {name: pair[1] for name, pair in draw.TOKENS.items()}
    roles = {
        "body_background_fill": "paper",
        "background_fill_primary": "card",
        "background_fill_secondary": "paper",
        "block_background_fill": "card",
        "body_text_color": "ink",
        "body_text_color_subdued": "subdued",
        "block_label_text_color": "subdued",
        "block_title_text_color": "ink",
        "block_info_text_color": "subdued",
        "border_color_primary": "line",
        "block_border_color": "line",
        "input_background_fill": "card",
        "button_secondary_background_fill": "card",
        "button_secondary_background_fill_hover": "paper",
        "button_secondary_text_color": "ink",
        "button_secondary_border_color": "line",
        "link_text_color": "petrol",
        "link_text_color_hover": "petrol",
        "color_accent": "petrol",
        "slider_color": "petrol",
    }
    colours = {role: light[token] for role, token in roles.items()}
    colours |= {f"{role}_dark": dark[token] for role, token in roles.items() if role != "color_accent"}
    base = gr.themes.Base(
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_sm,
    )
    return base.set(block_shadow="none", button_secondary_shadow="none", **colours)


def css() -> str:
    """The style sheet of a page: tokens, then the rules over them."""
    return draw.theme_css() + (HERE / "page.css").read_text(encoding="utf-8")


def routes() -> list[Route]:
    """What every page needs from its own host: Plotly, the page's script, the model cards, pictures of a run."""

    def plotly(_: Request) -> Response:
        path = str(files("plotly") / "package_data" / "plotly.min.js")
        return FileResponse(path, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})

    def script(_: Request) -> Response:
        return FileResponse(HERE / "page.js", media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    def model_card(request: Request) -> Response:
        name = f"{request.path_params['topic']}/{request.path_params['variant']}"
        path = store.CHECKPOINTS / name / "README.md"
        if not re.fullmatch(r"\w+/\w+", name) or not path.is_file():
            return PlainTextResponse(f"There is no model card for {name}.", status_code=404)
        return PlainTextResponse(path.read_text(encoding="utf-8"))

    def picture(request: Request) -> Response:
        topic, variant, file = (request.path_params[key] for key in ("topic", "variant", "file"))
        try:
            if not re.fullmatch(r"\w+/\w+/\w+\.jpeg", f"{topic}/{variant}/{file}"):
                raise store.BadRun("no picture of a run")
            path = store.load(f"{topic}/{variant}").path(file)
        except store.BadRun:
            return PlainTextResponse(f"There is no picture {file}.", status_code=404)
        return FileResponse(path, media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})

    def shared(request: Request) -> Response:
        file = request.path_params["file"]
        if not re.fullmatch(r"[\w-]+\.png", file) or not (PICTURES / file).is_file():
            return PlainTextResponse("There is no such picture.", status_code=404)
        return FileResponse(PICTURES / file, media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    def icon(_: Request) -> Response:
        petrol = draw.TOKENS["petrol"][0]
        square = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path fill="{petrol}" d="M0 0h8v8H0z"/></svg>'
        )
        return Response(square, media_type="image/svg+xml")

    return [
        Route("/favicon.ico", icon),
        Route("/vitrine/plotly.min.js", plotly),
        Route("/vitrine/page.js", script),
        Route("/vitrine/models/{topic}/{variant}", model_card),
        Route("/vitrine/pictures/{file}", shared),
        Route("/vitrine/runs/{topic}/{variant}/{file}", picture),
    ]


def share_tags(title: str, description: str, picture: str, scope: Mapping[str, Any]) -> str:
    """What a program that previews a link reads of a page: Open Graph, in the served HTML.

    picture  name of a file among PICTURES
    scope    of the request: the picture's address has to be a whole one, on the host that was asked
    """
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    # A host behind a proxy that ends TLS is asked over plain HTTP; the proxy says what it was asked itself.
    scheme = headers.get("x-forwarded-proto", scope["scheme"]).partition(",")[0].strip()
    host = headers.get("x-forwarded-host", headers.get("host", "")).partition(",")[0].strip()
    words = {"type": "website", "site_name": "Vitrine", "title": title, "description": description}
    if (PICTURES / picture).is_file():
        words["image"] = f"{scheme}://{host}/vitrine/pictures/{picture}"
    tags = "".join(f'<meta property="og:{key}" content="{html.escape(text)}" />\n' for key, text in words.items())
    return f'{tags}<meta name="twitter:card" content="summary_large_image" />\n'


class ServedHead:
    """Writes into the served HTML a card's title, description and picture, in place of Gradio's own, and the script.

    Gradio adds the tags of `head=` by script: too late for the programs that preview a link, which run none, and
    on a slow line later than the first answer, whose events call the page's script.
    """

    def __init__(self, app: Any, card: Card) -> None:
        self.app, self.card = app, card

    def tags(self, scope: Mapping[str, Any]) -> bytes:
        """The tags for one request."""
        card = self.card
        shared = share_tags(card.question, card.claim, f"{card.slug}-light.png", scope)
        title = f"<title>{html.escape(card.question)} · Vitrine</title>\n"
        return f'{shared}{title}<script src="/vitrine/page.js"></script>\n'.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope.get("method") != "GET":
            await self.app(scope, receive, send)
            return
        start: dict[str, Any] = {}

        async def rewrite(message: Any) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                kinds = dict(message["headers"]).get(b"content-type", b"")
                if kinds.startswith(b"text/html"):
                    start = message
                    return
            elif start and message["type"] == "http.response.body":
                # Gradio renders its page in one piece, so this is the whole document.
                body = re.sub(
                    rb"<meta\s+(property=\"og:|name=\"twitter:)[^>]*>|<title>.*?</title>", b"", message["body"]
                )
                body = body.replace(b"<head>", b"<head>\n" + self.tags(scope), 1)
                length = (b"content-length", str(len(body)).encode())
                kept = [pair for pair in start["headers"] if pair[0] != b"content-length"]
                await send({**start, "headers": [*kept, length]})
                start = {}
                message = {**message, "body": body}
            await send(message)

        await self.app(scope, receive, rewrite)


def settings(card: Card) -> dict[str, Any]:
    """What `launch` and `mount_gradio_app` are both told."""
    return {
        "theme": theme(),
        "css": css(),
        "footer_links": [],
        "run_history": False,  # would keep visitors' inputs in the browser of a shared machine
        "ssr_mode": False,
        "show_error": False,
        "max_file_size": "11mb",  # a little above our own limit, so that the sentence is ours
        "app_kwargs": {"routes": routes(), "middleware": [Middleware(ServedHead, card=card)]},
    }


def mounted(demo: gr.Blocks, card: Card, path: str) -> FastAPI:
    """A Space as an application of its own, for a host that serves several below `path`."""
    return gr.mount_gradio_app(FastAPI(), demo, path="/", root_path=path, **settings(card))


def launch(demo: gr.Blocks, card: Card) -> None:
    """Serve one Space alone, on GRADIO_SERVER_NAME and GRADIO_SERVER_PORT; ends in good order on SIGTERM."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    demo.launch(quiet=False, state_session_capacity=SESSIONS, **settings(card))
