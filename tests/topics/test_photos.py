"""Photos: what is taken away from a picture, what is measured, and how the weights are made."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import core.vision  # noqa: F401  (torchmetrics imports torchvision, which has its own door)
from core import data, nets
from core.topics.photos import method, recipe


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def small_network() -> nets.ResNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nets.ResNet(classes=4, widths=(4, 6, 8), blocks=(1, 1, 1)).eval()


def change(images: Tensor, **options: object) -> Tensor:
    usual = {"turn": 0, "blur": 0.0, "grey": False, "tiles": 1, "generator": torch.Generator().manual_seed(0)}
    return method.changed(images, **usual | options)


# ---- what is taken away


def test_nothing_is_taken_away_by_default(images):
    assert torch.equal(change(images), images)


@pytest.mark.parametrize("tiles", [2, 4, 8])
def test_shuffling_moves_whole_pieces(images, tiles):
    """The slow twin: cut with slices, put back in the order that the generator gives."""
    order = torch.randperm(tiles * tiles, generator=torch.Generator().manual_seed(3)).tolist()
    side = 16 // tiles
    expected = torch.empty_like(images)
    for place, origin in enumerate(order):
        row, column = (place // tiles) * side, (place % tiles) * side
        from_row, from_column = (origin // tiles) * side, (origin % tiles) * side
        expected[:, :, row : row + side, column : column + side] = images[
            :, :, from_row : from_row + side, from_column : from_column + side
        ]
    found = method.shuffled(images, tiles=tiles, generator=torch.Generator().manual_seed(3))
    assert torch.equal(found, expected)
    assert torch.equal(found.flatten(2).sort().values, images.flatten(2).sort().values)


def test_pieces_that_do_not_fit_are_refused(images):
    with pytest.raises(ValueError, match="sides that 5 divides, got 16 x 16"):
        method.shuffled(images, tiles=5, generator=torch.Generator())


def test_four_quarter_turns_are_none(images):
    turned = images
    for _ in range(4):
        turned = change(turned, turn=90)
    assert torch.equal(turned, images)
    assert torch.equal(change(images, turn=180), images.flip(2, 3))
    assert torch.equal(change(images, turn=90)[..., 0, 0], images[..., 0, -1]), "counter-clockwise"


def test_grey_keeps_the_luminance_and_nothing_else(images):
    grey = change(images, grey=True)
    red, green, blue = images.unbind(1)
    torch.testing.assert_close(grey[:, 0], 0.299 * red + 0.587 * green + 0.114 * blue)
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_blur_keeps_the_mean_and_spreads_a_dot_as_a_gaussian():
    dot = torch.zeros(1, 3, 33, 33)
    dot[..., 16, 16] = 1
    blurred = change(dot, blur=2.0)
    weights = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    weights /= weights.sum()
    np.testing.assert_allclose(blurred[0, 0, 8:25, 8:25].numpy(), np.outer(weights, weights), atol=1e-6)
    assert float(blurred.sum()) == pytest.approx(3, rel=1e-5)


# ---- numbers


def test_evidence_is_the_log_of_the_sum_of_exponentials():
    logits = torch.tensor([[1.0, 2.0, 3.0], [-4.0, 0.0, 4.0]])
    expected = [math.log(sum(math.exp(value) for value in row)) for row in logits.tolist()]
    assert method.evidence(logits).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("levels", [3, 10**6], ids=["many ties", "none"])
def test_auroc_counts_the_pairs_in_the_right_order(levels):
    """The slow twin, a loop over all pairs; then scikit-learn and torchmetrics."""
    from sklearn.metrics import roc_auc_score
    from torchmetrics.functional.classification import binary_auroc

    generator = torch.Generator().manual_seed(0)
    known = torch.randint(0, levels, (40,), generator=generator).double()
    unknown = torch.randint(0, levels, (25,), generator=generator).double() - levels / 4
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in known.tolist() for b in unknown.tolist()]
    found = method.auroc(known, unknown)
    assert found == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    labels, numbers = torch.cat([torch.ones(40), torch.zeros(25)]).long(), torch.cat([known, unknown])
    assert found == pytest.approx(roc_auc_score(labels.numpy(), numbers.numpy()), abs=1e-12)
    ranks = numbers.argsort().argsort() if levels > 3 else numbers  # torchmetrics takes other numbers for logits
    shares = (ranks - ranks.min()) / (ranks.max() - ranks.min())
    assert found == pytest.approx(float(binary_auroc(shares, labels)), abs=1e-6)
    assert method.auroc(unknown, known) == pytest.approx(1 - found)


def test_auroc_at_its_ends():
    low, high = torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0, 4.0])
    assert method.auroc(high, low) == 1
    assert method.auroc(low, high) == 0
    assert method.auroc(low, low) == 0.5
    with pytest.raises(ValueError, match="numbers of both kinds, got 2 and 0"):
        method.auroc(low, torch.tensor([]))


@pytest.mark.data
def test_the_photos_of_classes_never_learnt_are_the_others():
    if not data.available("imagenet_samples"):
        pytest.skip("imagenet_samples is not below VITRINE_DATA")
    names = data.load("imagenet_samples", "test").classes
    assert set(names) >= recipe.LEARNT
    assert len(recipe.LEARNT) == len(recipe.CLASSES)
    unknown = recipe.unlearnt()
    assert unknown.shape == (180, 3, 64, 64)
    assert 0 <= float(unknown.min()) < float(unknown.max()) <= 1


def test_contributions_add_up_to_the_logit(images):
    network = small_network()
    with torch.no_grad():
        logits, features = network(images), network.features(images)
    for label in range(4):
        parts = method.contributions(features[1], network.classifier.weight[label])
        total = float((parts.sum() + network.classifier.bias[label]).detach())
        assert total == pytest.approx(float(logits[1, label]), abs=1e-5)


def test_the_mirror_image_counts_half(images):
    network = small_network()
    with torch.no_grad():
        both = method.flipped_too(network, images)
        assert torch.allclose(both, method.flipped_too(network, images.flip(3)))
        torch.testing.assert_close(both.sum(dim=1), torch.ones(3))


def test_confusion_counts_every_pair():
    generator = torch.Generator().manual_seed(0)
    answers, labels = torch.randint(0, 5, (2, 200), generator=generator)
    found = method.confusion(answers, labels, 5)
    for row in range(5):
        for column in range(5):
            assert found[row, column] == sum(
                1 for a, b in zip(answers.tolist(), labels.tolist(), strict=True) if (b, a) == (row, column)
            )


# ---- training


def test_a_cut_leaves_the_pixels_as_they_were():
    photos = torch.rand(40, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    found = recipe.cut(photos, torch.Generator().manual_seed(1), size=5)
    places = set()
    for photo, part in zip(photos, found, strict=True):
        every = {
            (top, left, mirrored): photo[:, top : top + 5, left : left + 5].flip(2 if mirrored else ())
            for top in range(5)
            for left in range(3)
            for mirrored in (False, True)
        }
        matches = [place for place, candidate in every.items() if torch.equal(candidate, part)]
        assert len(matches) == 1
        places.add(matches[0])
    assert len(places) > 15, "places and mirror images vary"


def test_mixing_keeps_the_shares():
    """Every pixel and every target is the same blend of a photo and one other."""
    count = 64
    flat = torch.arange(count).float()[:, None, None, None].expand(count, 3, 16, 16)
    targets = torch.eye(count)
    pictures, mixed = recipe.mixed(flat, targets, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones(count))
    # The mean of a flat picture tells how much of which went in: it must be what the target says.
    torch.testing.assert_close(
        pictures[:, 0].mean(dim=(1, 2)), mixed @ torch.arange(count).float(), rtol=1e-4, atol=1e-3
    )
    blended = [len(picture[0].unique()) == 1 for picture in pictures]
    assert 16 <= sum(blended) <= 48, "mixup and CutMix, half and half"
    assert 0.35 < float(mixed.diagonal().mean()) < 0.65


def pictured(per_class: int = 60) -> data.Examples:
    """Photos of 20 classes that can be learnt: each class is a colour, with noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(20).repeat_interleave(per_class)
    colours = torch.rand(20, 3, 1, 1, generator=generator)
    images = (colours[labels] + 0.1 * torch.randn(len(labels), 3, 16, 16, generator=generator)).clamp(0, 1)
    return data.Examples(images, labels, recipe.CLASSES)


TINY = replace(
    recipe.Recipe(),
    widths=(4, 6, 8),
    blocks=(1, 1, 1),
    epochs=2,
    batch=20,
    average=0.9,
    crop=0.8,
    learning_rate=0.02,
    sizes=(12, 16),
)


def test_the_mean_of_the_teachers_makes_half_of_the_target():
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    targets = torch.eye(20)[:4]
    first, second = torch.linspace(0.1, 2, 20).softmax(dim=0), torch.linspace(3, 1, 20).softmax(dim=0)

    class Constant(torch.nn.Module):
        def __init__(self, shares):
            super().__init__()
            self.shares = shares

        def forward(self, images):
            return self.shares.log().expand(len(images), -1)

    class Linear(torch.nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :20]

    teachers = [Constant(first), Constant(second)]
    loss = recipe.cross_entropy(Linear(), images, targets, label_smoothing=0.0, teachers=teachers)
    expected = targets / 2 + first / 4 + second / 4
    by_hand = -(expected * Linear()(images).log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss, by_hand)


def test_a_last_run_trains_on_the_validation_photos_and_validates_nothing():
    examples = pictured()
    _, held_out = recipe.parts(examples)
    others = data.Examples(examples.images.clone(), examples.labels, examples.classes)
    others.images[held_out] = 0
    for all_photos in (False, True):
        last = replace(TINY, epochs=1, all_photos=all_photos)
        (one, history), (other, _) = (recipe.train(last, seed=0, examples=photos) for photos in (examples, others))
        same = all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
        assert same is not all_photos
        assert ("validation_error" in history.rows[0]) is not all_photos


def test_strong_changes_are_drawn_for_each_photo_from_the_global_generator():
    images = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1)).expand(40, -1, -1, -1)

    def changed(seed, strong):
        options = replace(TINY, strong=strong, mix=0.0, sharp=1.0, shift=0, sizes=(16,))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            changes = torch.Generator().manual_seed(0)
            return recipe.augmented((images, torch.zeros(40, dtype=torch.long)), changes, recipe=options)[0]

    found = changed(0, strong=1.0)
    torch.testing.assert_close(found * 255, (found * 255).round())
    assert len(found.flatten(1).unique(dim=0)) > 20
    assert torch.equal(found, changed(0, strong=1.0))
    assert not torch.equal(found, changed(1, strong=1.0))
    assert torch.equal(changed(0, strong=0.0), changed(1, strong=0.0))


@pytest.mark.parametrize("change", [{}, {"attention": True}, {"early": 5}, {"strong": 0.5}], ids=str)
def test_training_lowers_the_loss_and_a_killed_run_ends_the_same(tmp_path, change):
    tiny, examples = replace(TINY, **change, mix=0.0), pictured()
    network, history = recipe.train(tiny, seed=0, examples=examples)
    assert history.rows[1]["loss"] < history.rows[0]["loss"]
    recipe.train(tiny, seed=0, examples=examples, folder=tmp_path, budget_s=0.0)
    again, _ = recipe.train(tiny, seed=0, examples=examples, folder=tmp_path)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
        assert torch.equal(tensor, tensor.half().to(tensor.dtype)), "rounded to what is stored"


def test_the_validation_photos_are_fifty_of_each_class_and_train_nothing():
    examples = pictured()
    chosen, held_out = recipe.parts(examples)
    assert examples.labels[held_out].bincount().tolist() == [50] * 20
    assert sorted([*chosen.tolist(), *held_out.tolist()]) == list(range(len(examples.labels)))


def test_the_nearest_photo_is_found():
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(30, 3, 4, 4, generator=generator), torch.arange(30) % 20
    asked = torch.rand(10, 3, 4, 4, generator=generator)
    found = recipe.nearest(images, labels, asked).argmax(dim=1).tolist()
    for picture, answer in zip(asked, found, strict=True):
        distances = [float((picture - image).square().sum()) for image in images]
        assert answer == int(labels[distances.index(min(distances))])


def test_a_failure_is_wrong_sure_and_not_short_of_evidence():
    logits = torch.zeros(8, 4)
    logits[torch.arange(8), torch.arange(8) % 4] = torch.tensor([9.0, 2, 9, 8, 7, 9, 9, 20])
    labels = torch.arange(8) % 4
    with pytest.raises(ValueError, match="none of 8 photos"):
        recipe.find_failure(logits, labels)
    labels[3] = 0
    assert recipe.find_failure(logits, labels) == 3
    labels[7] = 0
    assert recipe.find_failure(logits, labels) == 7
