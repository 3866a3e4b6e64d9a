"""Triplets: each method beside a plain loop over triplets, and beside pytorch-metric-learning and scikit-learn."""

import io
import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from referees import library
from torch import Tensor

from core import data, store
from core.topics.triplet import asking, live, method, recipe
from core.topics.triplet.method import Triplets

pytestmark = pytest.mark.usefixtures("one_thread")

MARGIN = 0.5
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(count: int, dimensions: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, dimensions, generator=generator(seed), dtype=torch.float64)


# Two classes of several, one of a single member, and points on a grid, so that distances tie.
BATCHES = {
    "random": (points(9), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])),
    "alone": (points(7, seed=1), torch.tensor([0, 0, 1, 2, 2, 2, 3])),
    "ties": (points(10, seed=2).round(), torch.tensor([0, 1, 0, 1, 0, 1, 2, 2, 0, 1])),
    "same place": (torch.zeros(6, 2, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 2, 2])),
    "one class": (points(4), torch.zeros(4, dtype=torch.int64)),
    "all apart": (points(4), torch.arange(4)),
}
each_batch = pytest.mark.parametrize(("z", "y"), BATCHES.values(), ids=BATCHES)


def slow_distance(a: Tensor, b: Tensor) -> float:
    return math.dist(a.tolist(), b.tolist())


def slow_triplets(y: Tensor) -> list[tuple[int, int, int]]:
    """All valid triplets, by a plain loop."""
    places = range(len(y))
    return [
        (a, p, n) for a, p, n in itertools.product(places, places, places) if a != p and y[a] == y[p] and y[a] != y[n]
    ]


def listed(triplets: Triplets) -> list[tuple[int, int, int]]:
    return list(zip(*(part.tolist() for part in triplets), strict=True))


# ---- distances and mining


def test_distances_are_those_of_the_school():
    found = method.distances(points(5, 3), points(4, 3, seed=1))
    slow = [[slow_distance(a, b) for b in points(4, 3, seed=1)] for a in points(5, 3)]
    torch.testing.assert_close(found, torch.tensor(slow, dtype=torch.float64), **EXACT)


def test_other_distances_by_hand():
    z, other = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [-3.0, -4.0]])
    squared = method.distances(z, other, kind="squared")
    torch.testing.assert_close(squared, torch.tensor([[18.0, 100.0], [1.0, 45.0]]))
    cosine = method.distances(z, other, kind="cosine")
    torch.testing.assert_close(cosine, torch.tensor([[0.2, 2.0], [0.0, 1.8]]))
    with pytest.raises(ValueError, match="euclidean, squared or cosine, got 'city'"):
        method.distances(z, other, kind="city")


def test_near_points_are_told_apart_in_float32():
    z = torch.full((2, 64), 10.0)
    z[1, 0] += 1e-3
    assert method.distances(z, z)[0, 1] == pytest.approx(1e-3, rel=1e-3)


def test_the_distance_of_a_point_to_itself_has_no_slope():
    z = torch.ones(2, 3, requires_grad=True)
    method.distances(z, z).sum().backward()
    assert z.grad is not None
    assert z.grad.abs().max() == 0


@each_batch
def test_batch_hard_is_the_worst_of_both_kinds(z, y):
    d = method.distances(z, z)
    slow = []
    for a in range(len(y)):
        own = [t for t in slow_triplets(y) if t[0] == a]
        if own:
            hardest = max(own, key=lambda t: (d[t[0], t[1]], -t[1]))[1]
            nearest = min(own, key=lambda t: (d[t[0], t[2]], t[2]))[2]
            slow.append((a, hardest, nearest))
    assert listed(method.batch_hard(d, y)) == slow


@each_batch
def test_semi_hard_is_the_next_beyond_the_positive(z, y):
    d = method.distances(z, z)
    slow = []
    for a, p in itertools.permutations(range(len(y)), 2):
        beyond = [t for t in slow_triplets(y) if t[:2] == (a, p) and d[a, p] < d[a, t[2]] < d[a, p] + MARGIN]
        if beyond:
            slow.append(min(beyond, key=lambda t: (d[a, t[2]], t[2])))
    assert listed(method.semi_hard(d, y, margin=MARGIN)) == slow


@each_batch
def test_batch_all_is_what_the_margin_does_not_satisfy(z, y):
    d = method.distances(z, z)
    slow = [t for t in slow_triplets(y) if d[t[0], t[2]] < d[t[0], t[1]] + MARGIN]
    assert listed(method.batch_all(d, y, margin=MARGIN)) == slow


@each_batch
def test_random_triplets_are_valid_and_fair(z, y):
    valid = slow_triplets(y)
    drawn = [
        t
        for seed in range(300)
        for t in listed(method.random_triplets(method.distances(z, z), y, generator=generator(seed)))
    ]
    assert set(drawn) == set(valid)
    for anchor in {t[0] for t in valid}:
        own = [t for t in drawn if t[0] == anchor]
        expected = len(own) / len([t for t in valid if t[0] == anchor])
        assert all(abs(own.count(t) - expected) < 6 * math.sqrt(expected) for t in set(own))


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "batch_all", "random"])
def test_mine_knows_the_four_ways(mining):
    z, y = BATCHES["random"]
    found = method.mine(method.distances(z, z), y, mining=mining, margin=MARGIN, generator=generator())
    assert set(listed(found)) <= set(slow_triplets(y))
    assert len(found.anchor)


@each_batch
@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "batch_all"])
def test_the_rows_are_the_anchors(z, y, mining):
    d, options = method.distances(z, z), {"mining": mining, "margin": MARGIN, "generator": generator()}
    whole = listed(method.mine(d, y, **options))
    assert listed(method.mine(d[:2], y, **options)) == [triplet for triplet in whole if triplet[0] < 2]


def test_what_does_not_fit_is_refused():
    z, y = BATCHES["random"]
    d = method.distances(z, z)
    options = {"margin": MARGIN, "generator": generator()}
    refused = [
        ("'hardest'", lambda: method.mine(d, y, mining="hardest", **options)),
        ("expected distances", lambda: method.batch_hard(d[:, :3], y)),
        ("expected distances", lambda: method.semi_hard(d, y[:3], margin=MARGIN)),
        ("expected distances", lambda: method.batch_all(d[:, :3], y, margin=MARGIN)),
        ("expected distances among 9", lambda: method.silhouette(d[:3], y)),
        ("expected distances", lambda: method.random_triplets(d[:, :3], y, generator=generator())),
        ("k from 1 to 9", lambda: method.recall_at(d, y, y, k=10)),
        ("k from 1 to 9", lambda: method.recall_at(d, y, y, k=0)),
        ("1 to 2 dimensions", lambda: method.principal(z, dimensions=3)),
        ("two classes", lambda: method.silhouette(d, torch.zeros_like(y))),
    ]
    for message, call in refused:
        with pytest.raises(ValueError, match=message):
            call()


# ---- losses


@each_batch
@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "batch_all"])
def test_the_loss_and_its_slope_by_hand(z, y, mining):
    z = z.clone().requires_grad_()
    triplets = method.mine(method.distances(z, z), y, mining=mining, margin=MARGIN, generator=generator())
    slow = [(torch.dist(z[a], z[p]) - torch.dist(z[a], z[n]) + MARGIN).clamp_min(0) for a, p, n in listed(triplets)]
    expected = torch.stack(slow).mean() if slow else (z * 0).sum()
    found = method.triplet_loss(z, y, margin=MARGIN, mining=mining, generator=generator())
    torch.testing.assert_close(found, expected, **EXACT)
    slopes = [torch.autograd.grad(loss, z)[0] for loss in (found, expected)]
    torch.testing.assert_close(*slopes, **EXACT)


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "batch_all", "random"])
def test_the_loss_falls_when_its_gradient_is_followed(mining):
    z, y = points(12, 4, seed=3), torch.arange(12) % 3
    options = {"margin": MARGIN, "mining": mining}
    z.requires_grad_()
    loss = method.triplet_loss(z, y, generator=generator(), **options)
    [slope] = torch.autograd.grad(loss, z)
    after = method.triplet_loss(z - 0.01 * slope, y, generator=generator(), **options)
    assert after < loss


@pytest.mark.parametrize("name", ["one class", "all apart"])
def test_without_triplets_the_loss_is_zero_and_still_has_a_slope(name):
    z, y = BATCHES[name]
    z = z.clone().requires_grad_()
    loss = method.triplet_loss(z, y, margin=MARGIN, mining="batch_hard", generator=generator())
    loss.backward()
    assert loss == 0
    assert z.grad is not None
    assert z.grad.abs().max() == 0


def test_where_all_points_coincide_the_loss_is_the_margin():
    z, y = BATCHES["same place"]
    assert method.triplet_loss(z, y, margin=MARGIN, mining="batch_hard", generator=generator()) == MARGIN


# ---- numbers that judge a map


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("balanced", [False, True])
def test_recall_by_hand(k, balanced):
    z, y, known_z, known_y = points(8), torch.arange(8) % 3, points(11, seed=1), torch.arange(11) % 4
    hits = []
    for i in range(8):
        order = sorted(range(11), key=lambda j, i=i: slow_distance(z[i], known_z[j]))
        hits.append(float(any(known_y[j] == y[i] for j in order[:k])))
    slow = sum(hits) / 8
    if balanced:
        slow = sum(sum(h for h, c in zip(hits, y, strict=True) if c == b) / int((y == b).sum()) for b in range(3)) / 3
    found = method.recall_at(method.distances(z, known_z), y, known_y, k=k, balanced=balanced)
    assert found == pytest.approx(slow)


def test_a_point_does_not_find_itself():
    z, y = points(3), torch.arange(3)
    d = method.distances(z, z).fill_diagonal_(torch.inf)
    assert method.recall_at(d, y, y, k=3) == 0


def test_silhouette_by_hand():
    z, y = BATCHES["alone"]
    scores = []
    for i in range(len(y)):
        apart = {int(c): [slow_distance(z[i], z[j]) for j in range(len(y)) if y[j] == c and j != i] for c in y.unique()}
        own = apart.pop(int(y[i]))
        other = min(sum(part) / len(part) for part in apart.values())
        mean = sum(own) / len(own) if own else 0
        scores.append((other - mean) / max(other, mean) if own else 0)
    assert method.silhouette(method.distances(z, z), y) == pytest.approx(sum(scores) / len(scores))


def test_points_in_one_place_have_no_silhouette():
    z, y = BATCHES["same place"]
    assert method.silhouette(method.distances(z, z), y) == 0


def test_the_first_direction_is_that_of_the_largest_spread():
    z = points(200, 3) * torch.tensor([1.0, 5.0, 0.1]) + 7
    mean, directions = method.principal(z, dimensions=2)
    torch.testing.assert_close(directions.T @ directions, torch.eye(2, dtype=z.dtype), **EXACT)
    assert directions[1, 0] > 0.99
    spread = ((z - mean) @ directions).var(dim=0)
    assert spread[0] > spread[1]
    again = method.principal(2 * mean - z, dimensions=2)[1]  # mirrored at the mean: the same spread
    torch.testing.assert_close(again, directions, **EXACT)


def test_a_point_does_not_count_for_its_own_centroid():
    z, y = points(9, 2, seed=4), torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2])
    slow = []
    for i in range(9):
        others = [j for j in range(9) if j != i]
        centres = {int(c): torch.stack([z[j] for j in others if y[j] == c]).mean(dim=0) for c in y.unique()}
        slow.append(min(centres, key=lambda c, i=i, centres=centres: slow_distance(z[i], centres[c])))
    assert method.nearest_centroid(z, y).tolist() == slow


def test_who_is_alone_in_a_class_gets_another():
    z, y = BATCHES["alone"]
    found = method.nearest_centroid(z, y)
    assert found[2] != 1
    assert found[6] != 3


# ---- the field's libraries


def euclidean():
    return library("pytorch_metric_learning.distances").LpDistance(normalize_embeddings=False)


@each_batch
def test_pytorch_metric_learning_mines_the_same(z, y):
    miners = library("pytorch_metric_learning.miners")
    d = method.distances(z, z)
    theirs = Triplets(*miners.BatchHardMiner(distance=euclidean())(z, y))
    ours = method.batch_hard(d, y)
    assert ours.anchor.tolist() == theirs.anchor.tolist()
    for name in ("positive", "negative"):  # among equals, either may choose another
        found, expected = (d[ours.anchor, getattr(t, name)] for t in (ours, theirs))
        torch.testing.assert_close(found, expected, **EXACT)
    every = miners.TripletMarginMiner(margin=MARGIN, type_of_triplets="all", distance=euclidean())
    assert set(listed(method.batch_all(d, y, margin=MARGIN))) == set(listed(Triplets(*every(z, y))))
    beyond = miners.TripletMarginMiner(margin=MARGIN, type_of_triplets="semihard", distance=euclidean())
    theirs = listed(Triplets(*beyond(z, y)))
    nearest: dict[tuple[int, int], float] = {}
    for a, p, n in theirs:
        nearest[a, p] = min(nearest.get((a, p), math.inf), float(d[a, n]))
    ours = {(a, p): float(d[a, n]) for a, p, n in listed(method.semi_hard(d, y, margin=MARGIN))}
    assert ours == pytest.approx(nearest)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 24), classes=st.integers(1, 6))
def test_pytorch_metric_learning_finds_the_same_loss(seed, count, classes):
    losses, reducers = library("pytorch_metric_learning.losses"), library("pytorch_metric_learning.reducers")
    miner = library("pytorch_metric_learning.miners").BatchHardMiner(distance=euclidean())
    z, y = points(count, 5, seed), torch.randint(classes, (count,), generator=generator(seed))
    triplets = miner(z, y)
    peer = losses.TripletMarginLoss(margin=MARGIN, distance=euclidean(), reducer=reducers.MeanReducer())
    expected = peer(z, y, triplets) if len(triplets[0]) else torch.tensor(0.0)
    found = method.triplet_loss(z, y, margin=MARGIN, mining="batch_hard", generator=generator())
    assert float(found) == pytest.approx(float(expected))


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn_agrees(seed):
    metrics, decomposition = library("sklearn.metrics"), library("sklearn.decomposition")
    z, y = points(30, 6, seed), torch.arange(30) % 4
    y[0] = 9  # alone
    assert method.silhouette(method.distances(z, z), y) == pytest.approx(metrics.silhouette_score(z, y))
    _, directions = method.principal(z, dimensions=3)
    theirs = torch.from_numpy(decomposition.PCA(3).fit(z).components_).T
    torch.testing.assert_close((directions * theirs).sum(dim=0).abs(), torch.ones(3, dtype=z.dtype))


# ---- one leaf is asked about


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "batch_all", "random"])
@pytest.mark.parametrize("kind", ["euclidean", "squared", "cosine"])
def test_the_triplets_of_an_anchor_are_those_of_its_batch(mining, kind):
    z, y = points(30), torch.arange(30) % 4
    places = torch.tensor([3, 4, 8, 9, 12, 15, 16, 21])
    found = asking.mined(
        z[0], 0, z, y, places, kind=kind, mining=mining, margin=MARGIN, generator=generator()
    )  # fmt: skip
    apart = method.distances(z[:1], z, kind=kind)[0]
    valid = [(p, n) for p in places.tolist() for n in places.tolist() if y[p] == 0 and y[n] != 0]
    losses = {pair: max(float(apart[pair[0]] - apart[pair[1]]) + MARGIN, 0.0) for pair in valid}
    assert found.worst is not None
    pair = found.worst.positive, found.worst.negative
    assert pair in valid
    assert (found.worst.near, found.worst.far) == pytest.approx((float(apart[pair[0]]), float(apart[pair[1]])))
    torch.testing.assert_close(found.apart, apart[places])
    if mining == "batch_all":
        positive = {pair: loss for pair, loss in losses.items() if loss > 0}
        assert found.triplets == len(positive)
        assert found.loss == pytest.approx(sum(positive.values()) / len(positive))
    if mining in ("batch_hard", "batch_all"):
        assert losses[pair] == pytest.approx(max(losses.values()))


def test_an_anchor_without_a_sibling_has_no_triplet():
    z, y = points(6), torch.tensor([0, 1, 1, 2, 2, 2])
    options = {"kind": "euclidean", "mining": "batch_hard", "margin": MARGIN, "generator": generator()}
    found = asking.mined(z[0], 0, z, y, torch.arange(1, 6), **options)
    assert (found.triplets, found.loss, found.worst) == (0, 0.0, None)
    stranger = asking.mined(z[0], -1, z, y, torch.arange(6), **options)
    assert stranger.worst is None


def test_what_the_rings_say_by_hand():
    z = torch.tensor([[0.0], [1.0], [10.0], [11.0], [2.0], [9.0]])
    y, rings = torch.tensor([0, 0, 1, 1, 0, 0]), torch.tensor([False] * 4 + [True] * 2)
    assert asking.scores(z, torch.tensor([0, 0, 1, 1, 0, 1]), rings, kind="euclidean")["recall"] == 1
    assert asking.collection_told(z, y == 0, rings, kind="euclidean") == 0.5, (
        "both rings are of the first: one is told, one is not"
    )


def test_a_new_point_lies_amid_its_nearest():
    z, places = points(20), points(20, seed=1)
    apart = method.distances(points(3, seed=2), z)
    found = asking.among_nearest(apart, places)
    for row, place in zip(apart, found, strict=True):
        nearest = sorted(range(20), key=lambda i: row[i])[: asking.NEAREST]
        weights = [1 / float(row[i]) for i in nearest]
        slow = sum(w * places[i] for w, i in zip(weights, nearest, strict=True)) / sum(weights)
        torch.testing.assert_close(place, slow)
    torch.testing.assert_close(
        asking.among_nearest(method.distances(z[:1], z), places), places[:1], rtol=1e-4, atol=1e-4
    )


# ---- folds, sources, training


def leaves(per_class: int = 10) -> data.Examples:
    """Pictures of eight classes that can be learnt: each class is a colour, with noise."""
    labels = torch.arange(8).repeat_interleave(per_class)
    colours = torch.tensor([[(c >> bit) & 1 for bit in range(3)] for c in range(8)]).float()
    noise = torch.rand(len(labels), 3, 128, 128, generator=generator())
    return data.Examples(0.7 * colours[labels][:, :, None, None] + 0.3 * noise, labels, CLASSES)


CLASSES = data.SOURCES["cotton_disease"].classes
COUNTS = (28, 37, 62, 72, 43, 139, 33, 35)  # of cotton_disease
LABELS = torch.cat([torch.full((count,), label) for label, count in enumerate(COUNTS)])


def test_folds_spread_every_class_evenly_and_hold_each_leaf_out_once():
    fold = recipe.folds(LABELS)
    for label, count in enumerate(COUNTS):
        per_fold = fold[label == LABELS].bincount(minlength=recipe.FOLDS)
        assert per_fold.sum() == count
        assert per_fold.max() - per_fold.min() <= 1
    assert torch.equal(fold, recipe.folds(LABELS))
    assert not torch.equal(fold, recipe.folds(LABELS, seed=1))


def test_the_collections_are_those_of_the_data_set():
    first = recipe.first_source(data.Examples(torch.empty(0), LABELS, CLASSES))
    counts = {name: int(first[label == LABELS].sum()) for label, name in enumerate(CLASSES)}
    assert counts == dict(zip(CLASSES, (28, 37, 30, 0, 0, 37, 33, 35), strict=True))


def test_balanced_repeats_rare_classes():
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 2, 2])
    places = recipe.balanced(labels)
    assert labels[places].bincount().tolist() == [4, 4, 4]
    assert set(places.tolist()) == set(range(8))


@pytest.mark.parametrize("trunk", ["photos/resnet", ""])
def test_training_starts_from_the_trunk(trunk):
    network = recipe.build(recipe.Recipe(trunk=trunk), 0, 8)
    learnt = store.load("photos/resnet").tensors("model.safetensors")["stage3.1.conv2.weight"].float()
    assert torch.equal(network.stage3[1].conv2.weight, learnt) == bool(trunk)
    assert network.classifier.out_features == 8


@pytest.mark.parametrize(("dimensions", "unit"), [(2, False), (64, True)])
def test_two_heads_on_one_trunk(dimensions, unit):
    network = recipe.build(recipe.Recipe(dimensions=dimensions, unit=unit), 0, 8).eval()
    images = leaves(1).images[:3]
    with torch.inference_mode():
        logits, z = network(images)
        again = network.heads(network.pooled(images))
    assert (logits.shape, z.shape) == ((3, 8), (3, dimensions))
    assert torch.equal(z, again[1])
    assert torch.allclose(z.norm(dim=1), torch.ones(3)) == unit


def test_the_network_runs_stage_by_stage():
    network = recipe.build(recipe.Recipe(), 0, 8).eval()
    images = leaves(1).images[:2]
    with torch.inference_mode():
        whole = network(images)
        for stage in network.stages:
            again = network.head(network.features(images, stage), stage)
            assert torch.equal(again.points, whole.points)
            assert torch.equal(again.logits, whole.logits)


def test_drawings_of_a_character_are_its_own_and_never_mirrored():
    """Characters are bars at heights of their own, each drawing as bright as its number; only the left half is ink."""
    images = torch.zeros(6, 20, 1, 32, 32)
    for character in range(6):
        for drawing in range(20):
            images[character, drawing, :, 4 * character + 2 : 4 * character + 5, :12] = (drawing + 1) / 30
    options = replace(recipe.RECIPES["omniglot"], drawings=5, crop=1.0, turn_degrees=0.0)
    found, labels = recipe.drawn((images, torch.arange(6)), generator(), recipe=options)
    assert (found.shape, labels.tolist()) == ((30, 3, 32, 32), [c for c in range(6) for _ in range(5)])
    for picture, label in zip(found, labels.tolist(), strict=True):
        ink = picture[0] > 0.02
        assert ink[:, :12].any()
        assert not ink[:, 16:].any(), "a mirror image"
        assert abs(float(torch.nonzero(ink)[:, 0].double().mean()) - (4 * label + 3)) <= 2
    for own in found.split(5):
        assert len({round(float(picture.max()), 3) for picture in own}) == 5, "five different drawings"


def test_a_histogram_counts_colours():
    image = torch.zeros(2, 3, 4, 4)
    image[1, 0] = 1.0  # red
    image[1, 0, :, 0] = 0.5
    found = recipe.histogram(image).square()
    assert found[0].nonzero().flatten().tolist() == [0]
    assert {place: float(found[1, place]) for place in found[1].nonzero().flatten().tolist()} == pytest.approx(
        {4 * 64: 0.25, 7 * 64: 0.75}
    )


def test_a_failure_fools_both_heads():
    labels = torch.tensor([0, 0, 1, 1, 0, 1, 1])
    held_out = torch.tensor([False] * 4 + [True] * 3)
    z = torch.tensor([[0.0], [1.0], [10.0], [11.0], [10.4], [0.4], [10.5]])
    logits = torch.tensor([[9.0, 0], [9, 0], [0, 9], [0, 9], [0, 2], [5, 0], [0, 9]])
    assert recipe.find_failure(logits, z, labels, held_out) == 5
    with pytest.raises(ValueError, match="none of 1 held-out"):
        recipe.find_failure(logits, z, labels, held_out & (torch.arange(7) == 6))


def test_the_sheet_holds_every_leaf_in_rows():
    images = torch.linspace(0, 1, 27)[:, None, None, None].expand(-1, 3, 128, 128)
    picture = Image.open(io.BytesIO(recipe.sheet(images)))
    assert picture.size == (recipe.COLUMNS * recipe.THUMBNAIL, 2 * recipe.THUMBNAIL)
    for number in (0, 13, 24, 25, 26):
        row, column = divmod(number, recipe.COLUMNS)
        middle = ((column + 0.5) * recipe.THUMBNAIL, (row + 0.5) * recipe.THUMBNAIL)
        assert abs(picture.getpixel(middle)[0] - 255 * number / 26) < 3


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["embedding", "classes"])
def test_a_short_training_learns(variant):
    short = replace(recipe.RECIPES[variant], epochs=2, batch=32, size=32, average=0.0)
    network, history = recipe.train(short, seed=0, examples=leaves())
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]
    assert all(torch.equal(weight, weight.half().float()) for weight in network.parameters())
    assert not network.training


# ---- a map that learns while one watches


def heaps(count: int = 60, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Features of classes that lie apart, their labels, and which of them train."""
    labels = torch.arange(count) % classes
    centres = 3 * torch.randn(classes, 20, generator=generator(1))
    features = centres[labels] + torch.randn(count, 20, generator=generator(2))
    return features, labels, torch.arange(count) % 5 != 0


def moments(**changes) -> list[live.Moment]:
    options = {
        "mining": "batch_hard", "margin": 0.5, "learning_rate": 1e-3, "batch": 16, "steps": 60, "every": 20, "seed": 0,
    }  # fmt: skip
    return list(live.training(*heaps(), **options | changes))


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "batch_all", "random"])
def test_the_map_learns_in_every_way_of_mining(mining):
    found = moments(mining=mining, steps=200, every=100)
    assert [moment.step for moment in found] == [0, 100, 200]
    _, labels, known = heaps()
    first, last = (
        method.recall_at(method.distances(z[~known], z[known]), labels[~known], labels[known], k=1)
        for z in (found[0].points, found[-1].points)
    )
    assert last > max(first, 0.8)
    assert not found[-1].points.requires_grad


@pytest.mark.parametrize("mining", ["batch_hard", "random"])
def test_the_same_seed_gives_the_same_map_whoever_watches(mining):
    with torch.inference_mode():
        inside = moments(mining=mining)
    assert torch.equal(moments(mining=mining)[-1].points, inside[-1].points)
    assert torch.equal(moments(mining=mining, every=30)[-1].points, inside[-1].points)
    assert not torch.equal(moments(mining=mining, seed=1)[-1].points, inside[-1].points)


def test_a_batch_larger_than_what_trains_is_refused():
    with pytest.raises(ValueError, match="batch of 2 to 48, got 49"):
        moments(batch=49)
