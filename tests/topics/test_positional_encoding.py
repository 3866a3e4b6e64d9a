"""Encodings against their formulas in numpy, rotations, and attention that cannot tell the order."""

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from apps.lab_pages import positional_encoding as page
from core import store
from core.topics.positional_encoding import figures, method, recipe
from core.topics.positional_encoding.card import CARD
from core.topics.positional_encoding.network import PixelReader


@pytest.fixture
def words() -> torch.Tensor:
    return torch.randn(6, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize(("dim", "base"), [(8, 10_000.0), (32, 10.0), (128, 1e6)])
def test_the_waves_are_those_of_the_formula(dim: int, base: float) -> None:
    found = method.sinusoidal(torch.arange(64), dim, base=base).numpy()
    for position, pair in itertools.product((0, 1, 17, 63), range(dim // 2)):
        angle = position / base ** (2 * pair / dim)
        assert found[position, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-12)
        assert found[position, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-12)


def test_an_odd_number_of_dimensions_is_refused() -> None:
    with pytest.raises(ValueError, match="even number"):
        method.frequencies(7)


def test_a_dot_product_knows_the_distance_alone() -> None:
    encoded = method.sinusoidal(torch.arange(64), 32)
    products = (encoded @ encoded.T).numpy()
    for shift in (-20, -1, 0, 5, 33):
        expected = float(torch.cos(shift * method.frequencies(32)).sum())
        np.testing.assert_allclose(np.diagonal(products, shift), expected, atol=1e-10)


@pytest.mark.parametrize("shift", [-7, 0, 1, 20])
def test_a_shift_is_one_rotation_per_pair(shift: int) -> None:
    before = method.sinusoidal(torch.arange(20, 40), 16)
    after = method.sinusoidal(torch.arange(20, 40) + shift, 16)
    for pair, frequency in enumerate(method.frequencies(16).tolist()):
        columns = [2 * pair, 2 * pair + 1]
        turned = before[:, columns] @ method.shift_rotation(shift, frequency).T
        torch.testing.assert_close(turned, after[:, columns], atol=1e-12, rtol=0)
        best = method.best_rotation(before[:, columns], after[:, columns])
        torch.testing.assert_close(best, method.shift_rotation(shift, frequency), atol=1e-9, rtol=0)


def test_the_best_rotation_is_that_of_a_search() -> None:
    before, after = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    misses = {
        angle: float(((before @ method.shift_rotation(angle, 1.0).T - after) ** 2).sum())
        for angle in np.linspace(-math.pi, math.pi, 2001)
    }
    found = float(((before @ method.best_rotation(before, after).T - after) ** 2).sum())
    assert found <= min(misses.values()) + 1e-9


def test_rotary_is_the_formula_in_complex_numbers() -> None:
    vectors = torch.randn(5, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    places = torch.tensor([0, 1, 7, 30, 63])
    as_complex = torch.view_as_complex(vectors.view(5, 6, 2).contiguous())
    angles = places[:, None] * method.frequencies(12)
    expected = torch.view_as_real(as_complex * torch.polar(torch.ones_like(angles), angles)).flatten(1)
    torch.testing.assert_close(method.rotary(vectors, places), expected)


def test_rotary_keeps_lengths_and_knows_the_distance_alone() -> None:
    query, key = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    met = {
        (p, k): float(method.rotary(query, torch.tensor([p]))[0] @ method.rotary(key, torch.tensor([p + k]))[0])
        for p in (0, 5, 40)
        for k in (0, 3, 17)
    }
    for k in (0, 3, 17):
        assert met[0, k] == pytest.approx(met[5, k], abs=1e-12) == pytest.approx(met[40, k], abs=1e-12)
    assert abs(met[0, 0] - met[0, 3]) > 1e-3
    assert float(method.rotary(query, torch.tensor([9])).norm()) == pytest.approx(float(query.norm()), abs=1e-12)


def test_attention_is_torchs(words: torch.Tensor) -> None:
    queries, keys, values = words, words.flip(0) * 0.7, words + 1
    expected = F.scaled_dot_product_attention(queries[None], keys[None], values[None])[0]
    torch.testing.assert_close(method.attention(queries, keys, values), expected, atol=1e-12, rtol=1e-12)


def test_shuffled_words_give_shuffled_outputs_to_the_last_digit(words: torch.Tensor) -> None:
    outputs = method.attention(words, words, words)
    for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 37):
        shuffled = words[list(order)]
        assert torch.equal(method.attention(shuffled, shuffled, shuffled), outputs[list(order)])


@pytest.mark.parametrize("encoding", ["sinusoidal", "learnt", "rotary"])
def test_an_encoding_makes_the_order_count(encoding: str) -> None:
    for seed in range(5):
        assert page.answer(CARD.parse({"encoding": encoding, "seed": seed})).numbers["difference"] > 1e-3
        assert page.answer(CARD.parse({"encoding": "none", "seed": seed})).numbers["difference"] == 0


@pytest.mark.parametrize("encoding", ["sinusoidal", "rotary"])
def test_a_shift_in_a_wave_depends_on_no_position(encoding: str) -> None:
    for shift in (-20, 1, 20):
        numbers = page.answer(CARD.parse({"encoding": encoding, "shift": shift})).numbers
        assert max(numbers["error"], numbers["spread"]) < 1e-9


def test_a_network_without_places_sees_a_bag_of_pixels() -> None:
    pixels, _ = (part[:16] for part in recipe.digits())
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for encoding in ("none", "learnt", "sinusoidal", "rotary"):
            network = PixelReader(encoding).eval()
            same = torch.allclose(network(pixels), network(pixels[:, order]), atol=1e-5)
            assert same == (encoding == "none")


def test_the_stored_table_is_the_one_that_is_shown() -> None:
    network = recipe.restore(figures.store.load("positional_encoding/learnt"))
    torch.testing.assert_close(figures.learnt(), network.places.double())


def test_two_steps_lower_the_loss(one_thread: None) -> None:
    pixels, labels = (part[:256] for part in recipe.digits())
    torch.manual_seed(0)
    network = PixelReader("rotary")
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(3):
        loss = recipe.cross_entropy(network, pixels, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_a_shift_is_a_rotation_of_waves_and_of_nothing_else() -> None:
    waves = method.sinusoidal(torch.arange(20), 8, base=100.0)
    for shift in (-3, 0, 5):
        assert method.rotation_error(waves, shift) == pytest.approx(0, abs=1e-12)
        assert method.product_spread(waves, shift) == pytest.approx(0, abs=1e-12)
    table = torch.randn(20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    # Slowly, for one pair and one shift: of all angles the best one misses as far.
    before, after = table[:-5, :2], table[5:, :2]
    angles = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64).tolist()
    squares = {angle: float(((before @ method.shift_rotation(angle, 1).T - after) ** 2).sum()) for angle in angles}
    best = method.shift_rotation(min(squares, key=squares.__getitem__), 1)
    expected = (before @ best.T - after).norm(dim=1).mean() / (table[:, :2] ** 2).sum(dim=1).mean().sqrt()
    assert method.rotation_error(table[:, :2], 5) == pytest.approx(float(expected), abs=1e-3)
    products = [float(table[place] @ table[place + 5]) for place in range(15)]
    length = float(torch.stack([row @ row for row in table]).mean())
    assert method.product_spread(table, 5) == pytest.approx(statistics.pstdev(products) / length)
    assert method.rotation_error(torch.zeros(20, 8).double(), 5) == 0


def test_the_tour_says_how_much_is_read_with_and_without_a_table() -> None:
    runs = {name: store.load(f"positional_encoding/{name}").score("accuracy")["mean"] for name in ("learnt", "none")}
    assert round(5 * runs["learnt"]) == 4
    assert round(4 * runs["none"]) == 1
