"""See it learn: the tab in which two small pairs of players learn in the plane."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr
import torch

from core.card import Refused, Value
from core.moves import picked
from core.page import Space
from core.topics.gan import figures, toy
from core.topics.gan.card import CARD, PACES
from core.widgets import figure_view

SLICE_S, LIVE_S = 0.2, 18.0  # of what is computed while one watches: one part, and all of them
ROUNDS = {"slow": 1, "medium": 6, "fast": 60}  # of both games from one picture to the next
MOST_POINTS = 40  # that a visitor sets
GAMES = {"gan": "GAN", "wgan": "WGAN-GP"}


def asked_game(values: Mapping[str, Value]) -> tuple[str, tuple[float, float], int]:
    """Which points, rates and seed the two games are to have."""
    return str(values["toy"]), PACES[str(values["pace"])], int(values["seed"])


def started(match: toy.Match, values: Mapping[str, Value], *, anew: bool = False) -> toy.Match:
    """The match of a visitor, begun if need be; raises Refused for points of one's own that were not set."""
    try:
        (match.start if anew else match.ready)(*asked_game(values))
    except ValueError:
        raise Refused("Set at least two points of your own first: click into the left field.") from None
    return match


def drawn(match: toy.Match, looks: list[toy.Moment]) -> dict[str, str]:
    """Both games as they stand, by title."""
    real = match.games[0].draw(200, torch.Generator().manual_seed(0))
    return {title: figures.plane(look, real, title) for title, look in zip(GAMES.values(), looks, strict=True)}


def see_it_learn(space: Space) -> None:
    """The tab in which two small pairs of players learn in the plane."""
    gr.HTML(
        "<p>Two generators learn the same points from the same start: the first GAN, and Wasserstein with gradient "
        "penalty. Circles are real, dots forged, a line shows where a dot would go to please the discriminator, and "
        "the colour is its score, orange for more real. Points and pace are under More controls; for points of your "
        "own, click into the left field.</p>"
    )
    held = gr.State(toy.Match)
    match = started(toy.Match(), CARD.defaults())
    opening = drawn(match, match.looks())
    with gr.Row(elem_classes="row-of-buttons"):
        names = ("Play", "Pause", "One step of D", "One step of G", "Start again", "Clear my points")
        play, pause, step_d, step_g, again, clear = (gr.Button(name, size="sm") for name in names)
    speed = gr.Radio(list(ROUNDS), value="medium", label="Speed", elem_classes="control", elem_id="toy-speed")
    with gr.Row(equal_height=False):
        views = []
        for name, title in GAMES.items():
            with gr.Column(min_width=300):
                views.append(figure_view(f"toy-{name}", opening[title]))
    said = gr.HTML("", elem_id="toy-said")
    outputs = [*views, said]

    def show(match: toy.Match, values: Mapping[str, Value]) -> dict[Any, Any]:
        looks, words = match.looks(), ""
        if values["toy"] == "ring":
            heaps = [toy.covered(look.forged) for look in looks]
            words = f"<p role='status'>Heaps of eight that are hit: GAN {heaps[0]}, WGAN-GP {heaps[1]}.</p>"
        return {**dict(zip(views, drawn(match, looks).values(), strict=True)), said: words}

    def run(values: dict[str, Value], own: str, match: toy.Match, pace: str) -> Iterator[dict[Any, Any]]:
        started(match, values)
        end = time.monotonic() + LIVE_S
        while (begun := time.monotonic()) < end:
            for _ in range(ROUNDS[pace]):
                for game in match.games:
                    game.round()
                if time.monotonic() - begun > SLICE_S:
                    break
            yield show(match, values)
        yield {said: f"<p role='status'>Paused after {LIVE_S:g} seconds. Press Play to go on.</p>"}

    def single(name: str) -> Any:
        def step(values: dict[str, Value], own: str, match: toy.Match) -> Iterator[dict[Any, Any]]:
            for game in started(match, values).games:
                getattr(game, name)()
            yield show(match, values)

        return step

    def restart(values: dict[str, Value], own: str, match: toy.Match) -> Iterator[dict[Any, Any]]:
        yield show(started(match, values, anew=True), values)

    def waiting_for_points(match: toy.Match) -> dict[Any, Any]:
        points = torch.tensor(match.points).view(-1, 2)
        empty = [figures.plane(None, points, title) for title in GAMES.values()]
        words = f"<p role='status'>Points that are set: {len(match.points)}. Two are needed at least.</p>"
        return {**dict(zip(views, empty, strict=True)), said: words}

    def put(values: dict[str, Value], own: str, match: toy.Match, place: list[float]) -> Iterator[dict[Any, Any]]:
        if values["toy"] != "yours":
            raise Refused("Choose 'your own points' under More controls, then click to set them.")
        if len(match.points) == MOST_POINTS:
            raise Refused(f"{MOST_POINTS} points are set, and that is all there is room for.")
        match.points.append(place[:2])
        yield show(started(match, values), values) if len(match.points) >= 2 else waiting_for_points(match)

    def forget(values: dict[str, Value], own: str, match: toy.Match) -> Iterator[dict[Any, Any]]:
        match.points.clear()
        yield waiting_for_points(match)

    # All in turns, so that no two of them move the same game at once.
    playing = space.listen(play.click, run, [held, speed], outputs, long=True, pause_s=SLICE_S)
    pause.click(None, cancels=playing, queue=False, show_progress="hidden", api_visibility="private")
    space.listen(step_d.click, single("judge_step"), [held], outputs, long=True)
    space.listen(step_g.click, single("generator_step"), [held], outputs, long=True)
    space.listen(again.click, restart, [held], outputs, long=True)
    space.listen(clear.click, forget, [held], outputs, long=True)
    place = gr.JSON(visible=False)
    views[0].select(place_of, None, place, show_progress="hidden", api_visibility="private")
    space.listen(place.change, put, [held, place], outputs, long=True)


def place_of(event: gr.EventData) -> list[float]:
    """Where in the field a visitor clicked; the time beside it makes two clicks on one place two changes."""
    sent = [float(number) for number in picked(event) if isinstance(number, (int, float))]
    if len(sent) != 2 or not all(map(math.isfinite, sent)):
        raise gr.Error("Click into the field.", print_exception=False)
    return [*(min(max(number, -toy.REACH), toy.REACH) for number in sent), time.time()]
