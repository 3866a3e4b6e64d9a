"""The two rules against plain loops and against core.loop; the stored tests against new ones."""

import numpy as np
import pytest
import torch
from labs import opened

from apps.lab_pages import lr_range_test as page
from core import data, loop, store
from core.topics.lr_range_test import figures, method, recipe
from core.topics.lr_range_test.card import CARD, RUN
from core.topics.lr_range_test.method import BATCHES, RATES

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_slope_is_that_of_the_line_through_all_batches() -> None:
    losses = np.random.default_rng(0).uniform(1, 2, (4, 5, 10))
    found = method.line_slopes(losses)
    for place in np.ndindex(4, 5):
        assert found[place] == pytest.approx(np.polyfit(np.arange(10), losses[place], 1)[0], abs=1e-12)


def test_by_hand() -> None:
    losses = np.array([[3.0, 2.0, 1.0], [2.0, 5.0, 1.0], [2.0, 9.0, 1.0], [2.0, np.inf, np.inf]])
    assert method.blew_up(losses).tolist() == [False, False, True, True]
    assert method.line_slopes(losses).tolist() == pytest.approx([-1.0, -0.5, np.inf, np.inf])
    assert method.end_drops(losses).tolist() == [-2.0, -1.0, np.inf, np.inf]
    assert method.picked(method.line_slopes(losses)) == 0


def test_one_noisy_batch_moves_the_ends_and_hardly_the_line() -> None:
    calm = np.stack([np.linspace(2, 1.8, 20), np.linspace(2, 1.5, 20)])
    calm[0, -1] -= 0.5
    assert method.picked(method.end_drops(calm)) == 0
    assert method.picked(method.line_slopes(calm)) == 1


def test_a_hit_is_within_a_factor_of_two() -> None:
    assert method.hit(np.array([0.24, 0.25, 0.5, 1.0, 1.01]), 0.5).tolist() == [False, True, True, True, False]


def test_the_slopes_are_those_of_the_projects_own_range_test() -> None:
    network = recipe.restore(store.load(RUN))
    examples = tuple(part[:400] for part in data.small_digits())
    network.requires_grad_(True)
    trials = loop.range_test(
        network,
        examples,
        recipe.cross_entropy,
        rates=[0.01, 0.3, 2.0, 1e3],
        batches=8,
        batch=16,
        seed=5,
        make_optimizer=recipe.plain_descent,
    )
    losses = np.array([trial.losses for trial in trials])
    np.testing.assert_allclose(method.line_slopes(losses), [trial.slope for trial in trials], rtol=1e-9)
    assert loop.DIVERGED == method.DIVERGED


@pytest.mark.parametrize(("batch", "repeat", "rate"), [(4, 0, 10), (16, 7, 15), (32, 19, 5)])
def test_a_stored_test_is_what_a_new_one_gives(batch: int, repeat: int, rate: int) -> None:
    network = recipe.restore(store.load(RUN))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    (new,) = recipe.trials(network, rates=[float(RATES[rate])], batches=12, batch=batch, seed=repeat)
    kept = figures.stored().losses[BATCHES.index(batch), repeat, rate, :12]
    np.testing.assert_allclose(new, kept, rtol=1e-3, atol=1e-4)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), "the checkpoint is left as it was"


def test_the_hits_on_the_page_are_counted_one_by_one() -> None:
    stored = figures.stored()
    for batch in BATCHES:
        answer = page.answer(CARD.parse({"batch": str(batch), "batches": 10}))
        best = stored.best(batch)
        counted = {"line": 0, "ends": 0}
        for repeat in range(20):
            losses = stored.losses[BATCHES.index(batch), repeat, :, :10]
            good = [place for place in range(len(RATES)) if max(losses[place]) <= 4 * losses[place][0]]
            line = min(good, key=lambda place: np.polyfit(range(10), losses[place], 1)[0])
            ends = min(good, key=lambda place: losses[place][-1] - losses[place][0])
            for rule, place in (("line", line), ("ends", ends)):
                counted[rule] += 0.499 <= RATES[place] / best <= 2.001
        assert {name: answer.numbers[name] for name in counted} == counted
        scores = store.load(RUN)
        assert scores.score(f"line_{batch}")["stored"] == pytest.approx(counted["line"] / 20)
        assert scores.score(f"ends_{batch}")["stored"] == pytest.approx(counted["ends"] / 20)


def test_the_best_rate_is_that_of_the_short_trainings() -> None:
    stored = figures.stored()
    for batch in BATCHES:
        best = stored.ends[BATCHES.index(batch)].min()
        assert stored.ends[BATCHES.index(batch)][np.isclose(RATES, stored.best(batch))] == best
        assert np.isfinite(best)


def test_a_live_run_shows_its_picks() -> None:
    test = opened(CARD, batches="3")
    test.button("lr_range_test-live").click().run()
    for _ in range(60):
        if not any(button.label == "Cancel" for button in test.button):
            break
        test.run()  # the next slice, which a browser asks for by itself
    assert not test.exception
    html = " ".join(part.proto.body for part in test.get("html"))
    assert "trained here: 29 rates, 3 batches of 8 digits each" in html
    assert "line through all batches" in html


def test_the_second_steps_words_are_what_is_stored() -> None:
    hits = {count: page.answer(CARD.parse({"batch": "32", "batches": count})).numbers["line"] for count in range(3, 41)}
    assert min(hits[3], hits[40]) >= 18, "right at both ends"
    worst = min(hits, key=hits.__getitem__)
    assert 9 <= worst <= 15, "and worst with about ten"
    assert hits[worst] <= 12
