"""The page on optimizers, alone: `streamlit run apps/lab_pages/optimizers.py`."""

from typing import Any

import numpy as np

from core import draw, lab
from core.lab import Answer, State
from core.markup import Tile
from core.topics.optimizers import figures, method
from core.topics.optimizers.card import CARD, NAMES
from core.topics.optimizers.surfaces import RATES

OPTIONS = ("schedule", "period", "patience", "warm", "beta", "beta2", "decay")


def walked(values: State, which: str) -> tuple[method.Walk, float, float, float]:
    """The walk of A or B, the loss at its end, and the lowest end over all step sizes with its power of ten."""
    surface = figures.surface(str(values["surface"]))
    start = surface.place(np.array([values["x"], values["y"]], dtype=float))
    options: dict[str, Any] = {name: values[name] for name in OPTIONS}
    powers = np.append(RATES, float(values[f"rate_{which}"]))  # all step sizes at once; the visitor's is the last
    walks = method.walk(
        str(values[which]), surface.slope, start, rate=10.0**powers, steps=int(values["steps"]), **options
    )
    ends = np.where(np.isfinite(walks.losses[-1]), walks.losses[-1], np.inf)
    mine = method.Walk(walks.points[:, -1], walks.losses[:, -1], walks.rates[:, -1])
    return mine, float(min(ends[-1], 1e9)), float(min(ends.min(), 1e9)), float(powers[ends.argmin()])


def answer(values: State) -> Answer:
    """Both walks from the same start, and the race if it is asked for."""
    (a, loss_a, best_a, power_a), (b, loss_b, best_b, power_b) = walked(values, "a"), walked(values, "b")
    name = str(values["surface"])
    labels = f"A: {NAMES[str(values['a'])]}", f"B: {NAMES[str(values['b'])]}"
    ends = figures.rest(loss_a), figures.rest(loss_b)
    sentence = f"After {values['steps']} steps {labels[0]} has a loss of {ends[0]}, {labels[1]} one of {ends[1]}."
    surface = figures.surface(name)

    def click(x: float, y: float) -> State:
        share = surface.share(np.array([x, y])).round(2)
        return {"x": float(share[0]), "y": float(share[1])}

    schedule, chosen = values["schedule"], {values["a"], values["b"]}
    effect = {
        "period": schedule == "step",
        "patience": schedule == "plateau",
        "beta": values["race"] or chosen & {"momentum", "nesterov", "adam", "adamw"},
        "beta2": values["race"] or chosen & {"rmsprop", "adam", "adamw"},
    }
    options = {key: values[key] for key in OPTIONS}
    return Answer(
        figure=draw.to_json(figures.race_figure(name, (a, b), labels, sentence)),
        tiles=[
            Tile(
                "a", ends[0], f"A's loss at the end; lowest of the slider: {figures.rest(best_a)}, at {10**power_a:.2g}"
            ),
            Tile(
                "b", ends[1], f"B's loss at the end; lowest of the slider: {figures.rest(best_b)}, at {10**power_b:.2g}"
            ),
            Tile("rate", f"{a.rates[-1]:.2g}, {b.rates[-1]:.2g}", "step sizes at the end"),
        ],
        numbers={"loss_a": loss_a, "loss_b": loss_b, "best_a": best_a, "best_b": best_b},
        table=figures.race(name, int(values["steps"]), tuple(options.items())) if values["race"] else "",
        click=click,
        idle=[name for name, used in effect.items() if not used],
    )


if __name__ == "__main__":
    lab.show(CARD, answer, functions=[*dict.fromkeys(method.METHODS.values()), method.walk])
