"""Visitors without a browser: they open the page, move a control and read the answer as the browser does.

Gradio's protocol: POST queue/join puts an event into the Space's queue and names it; the
stream queue/data of the visitor's session tells what becomes of it. A move of a slider is a
private event, so it is addressed by its place in /config, as the page's script does.
"""

import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
from gradio_client.utils import apply_diff

BUSY = ("Busy:", "Queue is full", "queue is full")


@dataclass(frozen=True)
class Outcome:
    """What became of one move.

    kind      "answered", "busy" or "failed"
    seconds   from the move to the last byte of its answer
    sentence  what the figure says, or what the visitor reads instead
    """

    kind: str
    seconds: float
    sentence: str


@dataclass(frozen=True)
class Wiring:
    """Where things are in a Space's /config.

    event     fn_index of "this control was moved"
    initial   what the components of that event hold when the page opens
    places    control name -> its place among them
    figure    place of the figure among the answers
    note      place of the note among the answers
    """

    event: int
    initial: list[Any]
    places: dict[str, int]
    figure: int
    note: int


async def read_wiring(client: httpx.AsyncClient, control: str) -> Wiring:
    """Read from /config what a browser would know."""
    config = (await client.get("config")).raise_for_status().json()
    components = {component["id"]: component for component in config["components"]}
    names = {component["props"].get("elem_id"): key for key, component in components.items()}
    moved = [names[f"control-{control}"], "input"]
    event = next(entry for entry in config["dependencies"] if moved in [list(target) for target in entry["targets"]])
    elements = [components[key]["props"].get("elem_id") or "" for key in event["inputs"]]
    return Wiring(
        event=event["id"],
        initial=[components[key]["props"].get("value") for key in event["inputs"]],
        places={
            name.removeprefix("control-"): place for place, name in enumerate(elements) if name.startswith("control-")
        },
        figure=event["outputs"].index(names["figure"]),
        note=event["outputs"].index(names["note"]),
    )


async def pressed(client: httpx.AsyncClient, button: str, title: str = "") -> tuple[int, list[Any]]:
    """What a press of a button sends: fn_index, and the values of its inputs as the page opens with them.

    title  of the sheet, where several have such a button
    """
    config = (await client.get("config")).raise_for_status().json()
    values = {component["id"]: component["props"].get("value") for component in config["components"]}
    for entry in config["dependencies"]:
        told = [values[key] for key in entry["inputs"]]
        if any(values.get(key) == button for key, _ in entry["targets"]) and (not title or told[0] == title):
            return entry["id"], told
    raise LookupError(button)


class Visitor:
    """One session of a page.

    client  bound to the Space's address
    """

    def __init__(self, client: httpx.AsyncClient, wiring: Wiring) -> None:
        self.client, self.wiring = client, wiring
        self.session = uuid.uuid4().hex

    async def move(self, **values: Any) -> Outcome:
        """Set controls, and wait for what the page then shows."""
        data = list(self.wiring.initial)
        for name, value in values.items():
            data[self.wiring.places[name]] = value
        begin = time.monotonic()

        def outcome(kind: str, sentence: str) -> Outcome:
            return Outcome(kind, time.monotonic() - begin, sentence)

        body = {"data": data, "fn_index": self.wiring.event, "session_hash": self.session, "event_data": None}
        try:
            joined = await self.client.post("gradio_api/queue/join", json=body)
            if joined.is_error:
                return outcome("busy" if any(word in joined.text for word in BUSY) else "failed", joined.text[:200])
            mine = joined.json()["event_id"]
            return outcome(*await self._follow(mine))
        except httpx.HTTPError as error:
            return outcome("failed", repr(error))

    async def watch(self, event: int, data: list[Any], parts: int, sign: str) -> list[float]:
        """Press a button whose answer is pictures that change, and leave after so many: when each came, in seconds.

        sign    what an answer with a picture has in it
        raises  AssertionError if the page says something instead
        """
        body = {"data": data, "fn_index": event, "session_hash": self.session, "event_data": None}
        begin, seen, times = time.monotonic(), "", []
        mine = (await self.client.post("gradio_api/queue/join", json=body)).raise_for_status().json()["event_id"]
        query = {"session_hash": self.session}
        async with self.client.stream("GET", "gradio_api/queue/data", params=query) as stream:
            async for line in stream.aiter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("event_id") != mine or message["msg"] not in ("process_generating", "process_completed"):
                    continue
                text = json.dumps(message["output"]["data"])
                assert "alert" not in text, text
                if sign in text and text != seen:
                    seen, times = text, [*times, time.monotonic() - begin]
                if len(times) == parts or message["msg"] == "process_completed":
                    break
        return times

    async def _follow(self, mine: str) -> tuple[str, str]:
        """Read the session's stream until the event is over."""
        shown: list[Any] = []
        query = {"session_hash": self.session}
        async with self.client.stream("GET", "gradio_api/queue/data", params=query) as stream:
            async for line in stream.aiter_lines():
                if not line.startswith("data:"):
                    continue
                message = json.loads(line[5:])
                if message.get("event_id") not in (mine, None):
                    continue
                if message["msg"] == "process_generating":
                    sent = message["output"]["data"]
                    # After the first part of a stream only what differs is sent.
                    shown = [apply_diff(*pair) for pair in zip(shown, sent, strict=True)] if shown else sent
                elif message["msg"] == "process_completed":
                    if not message["success"]:
                        text = str(message["output"].get("error"))
                        return "busy" if any(word in text for word in BUSY) else "failed", text
                    return self._read(shown or message["output"]["data"])
                elif message["msg"] in ("unexpected_error", "server_stopped"):
                    return "failed", str(message)
        return "failed", "the stream ended without an answer"

    def _read(self, shown: list[Any]) -> tuple[str, str]:
        """The figure's sentence, or the note's where there is no new figure."""
        figure = shown[self.wiring.figure]
        if isinstance(figure, str):  # and no update that leaves it as it was
            return "answered", json.loads(figure)["layout"]["meta"]["sentence"]
        note = str(shown[self.wiring.note])
        return "busy" if any(word in note for word in BUSY) else "failed", note
