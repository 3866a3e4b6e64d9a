"""The page of maps: what is explained, how it is drawn, and how the methods are ranked."""

import math
from dataclasses import replace

import pytest
import torch

from apps import cam
from core import data, nets
from core.topics.cam import checks, figures, maps, method, recipe
from core.topics.cam.card import CARD, CLASSES, METHODS
from core.topics.cam.case import Case, chosen_class, half_of


def case_of(**values: object) -> Case:
    return cam.look(CARD.parse(values), "")


def map_of(**values: object) -> torch.Tensor:
    parsed = CARD.parse(values)
    return cam.draw_map(parsed, cam.look(parsed, ""))


def logits_of(case: Case) -> torch.Tensor:
    return case.network(case.image)[0]


# ---- what is explained


def test_the_card_names_the_classes_of_the_data():
    assert data.SOURCES["photos20"].classes == CLASSES


def test_the_first_guess_is_what_the_network_says():
    case = case_of(photo="goldfish")
    assert CLASSES[case.label] == "goldfish"
    assert logits_of(case).argmax() == case.label
    assert case.share == pytest.approx(float(logits_of(case).softmax(dim=0)[case.label]))
    assert case.target.sum() == case.target[0, case.label] == 1


def test_a_class_rather_than_another_is_the_difference_of_their_logits():
    case = case_of(photo="lion", target="lion", against="koala")
    assert case.named == "lion rather than koala"
    logits = logits_of(case)
    difference = logits[CLASSES.index("lion")] - logits[CLASSES.index("koala")]
    torch.testing.assert_close(method.score(logits[None], case.target)[0], difference)


def test_a_class_rather_than_itself_has_no_map_and_the_page_says_so():
    answer = cam.answer(CARD.parse({"target": "lion", "against": "lion"}), "")
    assert "nothing is left to explain" in answer.remark
    assert answer.figure["data"][0]["opacity"] == 0
    assert "no map" in answer.figure["layout"]["meta"]["sentence"]


def test_a_network_that_forgets_explains_the_class_that_it_knew():
    known, forgetful = case_of(photo="school_bus"), case_of(photo="school_bus", forgotten="4")
    assert forgetful.label == known.label
    assert forgetful.network is not known.network
    assert forgetful.share < 0.5 < known.share


@pytest.mark.parametrize(("forgotten", "changed"), [("0", {"classifier"}), ("1", {"classifier", "stage3"})])
def test_it_forgets_from_the_top(forgotten, changed):
    case = case_of(forgotten=forgotten)
    before, after = case.known.state_dict(), case.network.state_dict()
    assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == changed


@pytest.mark.parametrize(("stage", "side"), [("last", 8), ("late", 16), ("middle", 32)])
def test_an_earlier_layer_has_a_finer_map(stage, side):
    assert map_of(stage=stage).shape == (1, side, side)


@pytest.mark.parametrize("target", ["lion", "goldfish"])
def test_in_a_pair_the_half_is_that_of_the_class(target):
    case = case_of(photo="lion_goldfish", target=target)
    assert case.image.shape == (1, 3, 64, 128)
    assert case.half is not None
    assert case.half[0].any(dim=0).nonzero().flatten().tolist() == list(
        range(64) if target == "lion" else range(64, 128)
    )


def test_a_pair_has_no_half_for_a_class_that_it_does_not_show():
    assert case_of(photo="lion_goldfish", target="teapot").half is None


SYNONYMS = ("sea lion", "lion, king of beasts, Panthera leo", "African elephant, Loxodonta", "Indian elephant, tusker")


@pytest.mark.parametrize(
    ("chosen", "place"),
    [("lion", 1), ("elephant", 3), ("first", 3), ("second", 0), ("none", None)],
)
def test_a_class_is_found_among_the_synonyms_of_imagenet(chosen, place):
    logits = torch.tensor([2.0, 0.5, 1.0, 3.0, -1.0])
    assert chosen_class(chosen, (*SYNONYMS, "teapot"), logits) == place


def test_a_half_is_found_by_any_of_its_names():
    mask = half_of("lion, king of beasts", ("goldfish", "lion"), (10, 20))
    assert mask is not None
    assert mask[0].any(dim=0).tolist() == [False] * 10 + [True] * 10
    assert half_of("sea lion", ("goldfish", "lion"), (10, 20)) is None
    assert half_of("lion", ("lion",), (10, 10)) is None


# ---- the spot


@pytest.mark.parametrize(
    ("click", "expected"),
    [([50, 50], (50, 50)), ([-3, 104.2], (0, 100)), (["12.4", 99.6], (12, 100))],
)
def test_a_click_covers_the_spot(click, expected):
    changes = cam.clicked(click)
    assert (changes["x"], changes["y"], changes["cover"]) == (*expected, True)
    CARD.parse(changes)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (50, 50), (100, 100), (100, 0)])
def test_the_spot_has_the_mean_colour_and_the_rest_stays(x, y):
    case = case_of(photo="lion", x=x, y=y)
    covered = case.covered()
    top, bottom, left, right = case.box
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    assert inside.sum() in (64, 128, 256), "a quarter of each side, or what of it is inside"
    mean = case.image.mean(dim=(2, 3))[0]
    torch.testing.assert_close(covered[0][:, inside], mean[:, None].expand(3, int(inside.sum())))
    assert torch.equal(covered[..., ~inside], case.image[..., ~inside])


def test_what_covering_does_is_measured():
    values = CARD.parse({"photo": "lion", "cover": True, "x": 50, "y": 40})
    numbers = cam.answer(values, "").numbers
    case = cam.look(values, "")
    assert numbers["covered"] == pytest.approx(case.share_of(case.covered()))
    assert numbers["kept"] == pytest.approx(numbers["covered"] / numbers["share"])


# ---- the maps by name


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_card_draws_a_map(name):
    heat = map_of(method=name, n=2)
    assert heat.dim() == 3
    assert torch.isfinite(heat).all()


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("grad_cam", "mean", "logits"),
        ("smooth_grad", "mean", "logits per unit of brightness"),
        ("smooth_grad", "variance", "(logits per unit of brightness)²"),
        ("gradient", "variance", "logits per unit of brightness"),
    ],
)
def test_a_map_has_its_unit(name, kind, unit):
    assert maps.unit(name, maps.Options(kind=kind)) == unit


def test_an_unknown_method_is_refused_by_name():
    case = case_of()
    with pytest.raises(ValueError, match="no such map"):
        maps.draw_map("no such map", case.network, case.image, case.target, maps.Options())


def test_the_same_options_draw_the_same_noise():
    first = map_of(method="smooth_grad", n=3)
    assert torch.equal(first, map_of(method="smooth_grad", n=3))
    assert not torch.equal(first, map_of(method="smooth_grad", n=3, seed=1))


@pytest.mark.parametrize("count", [1, 3, 5])
def test_smooth_grad_so_far_is_smooth_grad_of_as_many_copies(count):
    case = case_of()
    so_far = method.smooth_grad_so_far(
        case.network, case.image, case.target, samples=5, sigma=0.2, generator=maps.Options(seed=4).generator
    )
    whole = method.smooth_grad(
        case.network, case.image, case.target, samples=count, sigma=0.2, generator=maps.Options(seed=4).generator
    )
    torch.testing.assert_close(list(so_far)[count - 1], whole)


# ---- figures


@pytest.mark.parametrize("network", ["resnet", "cbam"])
@pytest.mark.parametrize("photo", ["lion", "goldfish", "bus_espresso"])
def test_the_curves_of_the_page_are_those_of_full_precision(network, photo):
    case = case_of(network=network, photo=photo)
    heat = method.grad_cam(case.network, case.image, case.target)
    options = {"steps": cam.STEPS, "blur": cam.BLUR * case.size[0], "generator": torch.Generator().manual_seed(0)}
    exact, shown = checks.insertion_deletion(case.network, case.image, heat, **options), cam.curves_of(case, heat, 0)
    for kind in ("insertion_area", "deletion_area"):
        torch.testing.assert_close(getattr(shown, kind), getattr(exact, kind), rtol=0, atol=0.01)


@pytest.mark.parametrize("network", ["resnet", "cbam"])
def test_smooth_grad_of_the_page_is_that_of_full_precision(network):
    case, options = case_of(network=network), maps.Options()
    exact = method.smooth_grad(
        case.network, case.image, case.target,
        samples=options.samples, sigma=options.sigma, generator=options.generator,
    )  # fmt: skip
    shown = maps.draw_map("smooth_grad", case.network, case.image, case.target, options)
    assert checks.spearman(shown, exact) > 0.99
    assert float((shown - exact).abs().max() / exact.max()) < 0.1


def test_one_outlier_does_not_leave_the_others_pale():
    heat = torch.ones(20, 50)
    heat[3, 4] = -1000
    assert figures.strong(heat) == 1
    assert figures.relative(heat).unique().tolist() == [-100, 100]


def test_a_map_of_zeros_stays_pale():
    heat = torch.zeros(4, 4)
    assert not figures.relative(heat).any()
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    picture = figures.painted(image, heat, strength=1.0)
    assert picture.shape == (256, 256, 3)
    assert (picture.max(axis=2) - picture.min(axis=2)).max() < 1e-6, "grey"


def test_what_speaks_for_is_vermilion_and_what_speaks_against_is_blue():
    heat = torch.tensor([[1.0, -1.0]])
    picture = figures.painted(torch.full((3, 64, 64), 0.5), heat, strength=1.0)
    (red_for, _, blue_for), (red_against, _, blue_against) = picture[128, 10], picture[128, -10]
    assert red_for > blue_for
    assert red_against < blue_against


# ---- sheets


def test_the_sheet_of_methods_shows_each_as_soon_as_it_is_drawn():
    sheets = list(cam.all_methods(CARD.parse({"n": 2}), ""))
    assert [sheet.count("<img") for sheet in sheets] == list(range(1, len(METHODS) + 1))
    assert all(title in sheets[-1] for title in METHODS.values())


def test_the_ladder_has_a_picture_for_each_noise_and_count(monkeypatch):
    monkeypatch.setattr(cam, "LADDER_COUNTS", (1, 3))
    sheets = list(cam.ladder(CARD.defaults(), ""))
    assert sheets[-1].count("<img") == 2 * len(cam.LADDER_SIGMAS)
    assert "n = 3, noise 0.3" in sheets[-1]


# ---- follow one number


@pytest.mark.parametrize("name", METHODS)
def test_the_value_that_is_followed_is_that_of_the_map(name):
    values = CARD.parse({"method": name, "x": 40, "y": 60, "n": 2})
    heat = map_of(**values)[0]
    row, column = int(0.6 * heat.shape[0]), int(0.4 * heat.shape[1])
    steps = cam.follow(values, "", [])
    assert f"<b>{float(heat[row, column]):.3g}</b>" in steps[0]
    assert "instead of" in steps[-1]


@pytest.mark.parametrize("name", ["cam", "grad_cam"])
@pytest.mark.parametrize(("x", "y"), [(10, 10), (55, 40), (99, 99)])
def test_the_channels_of_the_value_add_up_to_it(name, x, y):
    values = CARD.parse({"method": name, "x": x, "y": y})
    case = cam.look(values, "")
    heat = map_of(**values)[0]
    (together,) = [step for step in cam.follow(values, "", []) if step.startswith("All together: ")]
    total = float(together.removeprefix("All together: ").split(". ")[0].rstrip("."))
    total = max(total, 0) if name == "grad_cam" else total
    assert total == pytest.approx(float(heat[case.at_spot(heat)]), abs=6e-4)


# ---- the recipe


def test_pairs_show_two_classes_that_the_network_has_among_its_first_three():
    network = cam.networks()["photos/resnet"]
    names = ("lion", "goldfish", "school_bus", "espresso")
    images = torch.stack([nets.framed(cam.photos(name)[0]) for name in names])
    labels = torch.tensor([CLASSES.index(name.replace("_", " ")) for name in names])
    photos = data.Examples(images, labels, CLASSES)
    with torch.no_grad():
        pictures, asked, masks = recipe.pairs(network, photos, count=6, generator=torch.Generator().manual_seed(0))
        first_three = network(pictures).topk(3).indices
    assert pictures.shape == (6, 3, 64, 128)
    assert masks.float().mean() == 0.5
    for picture, label, mask, guesses in zip(pictures, asked, masks, first_three, strict=True):
        half = picture[:, mask].view(3, 64, 64)
        assert torch.equal(half, images[labels.tolist().index(int(label))]), "the mask is over the thing asked for"
        assert int(label) in guesses


def test_the_maps_of_chance_point_nowhere():
    masks = torch.zeros(400, 8, 16, dtype=torch.bool)
    masks[:, :, :8] = True
    drawn = maps.draw_map("random", None, torch.zeros(400, 3, 64, 128), torch.zeros(400, 20), maps.Options(seed=3))
    shares = checks.share_inside(drawn, masks)
    assert float(shares.mean()) == pytest.approx(0.5, abs=3 * float(shares.std()) / math.sqrt(400))


@pytest.mark.data
@pytest.mark.slow
def test_a_small_evaluation_has_every_number(monkeypatch):
    small = replace(recipe.RECIPES["resnet"], pairs=4, photos=2, steps=4)
    monkeypatch.setitem(recipe.RECIPES, "resnet", small)
    scores = recipe.evaluate(cam.networks()["photos/resnet"], seed=0)
    for name in (*METHODS, "random"):
        for kind in ("pointing", "insertion", "deletion", "drop"):
            assert 0 <= scores[f"{kind}_{name}"] <= 1
    assert scores["gain_random"] == pytest.approx(0, abs=0.5)
    gained = scores["insertion_grad_cam"] - scores["deletion_grad_cam"]
    by_chance = scores["insertion_random"] - scores["deletion_random"]
    assert scores["gain_grad_cam"] == pytest.approx(gained - by_chance, abs=0.6)
    assert scores["likeness_edges"] == pytest.approx(1)
