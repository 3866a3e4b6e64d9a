"""The page of faces: what it answers, what a link holds, whom a click chooses, and what it refuses."""

import base64
import io
from typing import Any

import pytest
import torch
from PIL import Image

from apps import gan
from core.card import Refused
from core.moves import Answer
from core.topics.gan import asking, sheets, tab_game, toy, walks
from core.topics.gan.card import BEST, CARD, NETWORKS, PHOTOS

pytestmark = pytest.mark.usefixtures("one_thread")


def answer(**values: Any) -> Answer:
    return gan.answer(CARD.parse(values))


def pictures(**values: Any) -> torch.Tensor:
    return gan.asked(CARD.parse(values)).pictures


@pytest.mark.parametrize("name", NETWORKS)
def test_a_sheet_is_what_the_network_makes_of_the_seed(name):
    network = gan.networks()[NETWORKS[name]]
    latents = walks.sheet(network.latent, 7)
    labels = (torch.arange(64) % network.classes,) if network.classes else ()
    with torch.inference_mode():
        torch.testing.assert_close(pictures(network=name, seed=7), network(latents, *labels))
    assert not torch.equal(pictures(network=name, seed=8), pictures(network=name, seed=7))


def test_the_same_link_gives_the_same_faces_to_the_pixel():
    state = {"seed": 12, "face": 5, "d1": 1.5, "together": True}
    first = answer(**state)
    gan.sheet_of.cache_clear()
    assert answer(**state).figure == first.figure


def test_a_slider_moves_the_chosen_picture_alone():
    before, after = answer(face=9), answer(face=9, d2=2.0)
    assert before.rows == after.rows
    assert before.numbers["changed"] == 0 < after.numbers["changed"]
    assert after.figure["layout"]["images"][0] == before.figure["layout"]["images"][0]  # the sheet
    still = answer(face=9, d2=0.0)
    assert still.figure == before.figure


def test_neighbours_matter_in_training_mode_only():
    assert torch.equal(pictures(neighbours=3, face=5), pictures(face=5))
    with_own, with_others = (pictures(together=True, neighbours=number, face=5) for number in (0, 3))
    assert not torch.allclose(with_own[5], with_others[5], atol=1e-4)
    assert answer(together=True, neighbours=3, face=5).numbers["moved"] > 0


def test_truncation_brings_all_faces_nearer_to_the_middle():
    spread = [float(pictures(truncation=share).std(dim=0).mean()) for share in (0.0, 0.5, 1.0)]
    assert spread[0] < 1e-5 < spread[1] < spread[2]


def test_the_discriminator_s_order_is_that_of_its_scores():
    figure = answer(ranked=True).figure
    order = [number for (number,) in figure["data"][0]["customdata"]]
    with torch.inference_mode():
        scores = gan.judge()(pictures())[order]
    assert sorted(order) == list(range(64))
    assert (scores[:-1] >= scores[1:]).all()
    assert answer(ranked=True, network="dcgan").remark
    assert answer(ranked=True, face=order[6]).numbers["judge"] == 7
    assert "judge" not in answer().numbers, "it is asked only where its order is asked for: it costs as much again"


def test_a_walk_begins_and_ends_at_its_stops():
    for position, face in ((0.0, 13), (1.0, 11)):
        found = answer(view="walk", position=position)
        assert found.numbers["unlike_mixture"] == pytest.approx(0, abs=1e-4)
        expected = gan.figures.enlarged(pictures()[face])
        assert found.figure["layout"]["images"][1]["source"] == expected
    lengths = [row["length"] for row in answer(view="walk", via=3, via2=40).rows]
    assert min(lengths) > 0.75 * 128**0.5, "an arc does not cut through the middle"


def test_sums_of_faces_are_of_the_usual_length():
    sheet = gan.asked(CARD.defaults())
    one = gan.chosen(CARD.parse({"mix": True}), sheet)
    assert float(one.moved.norm()) == pytest.approx(float(one.latent.norm()), rel=1e-4)
    assert answer(mix=True).numbers["changed"] > 0


def test_copies_are_counted_in_units_of_unseen_faces():
    near = gan.near(BEST)
    numbers = answer(view="copies").numbers
    assert float(near.held_out.median()) == pytest.approx(1)
    assert numbers["ratio"] == pytest.approx(float(near.forged.median()))
    own = gan.nearest_face(pictures()[13][None])
    assert numbers["nearest"] == pytest.approx(float(own.distance), rel=1e-4)


def test_a_training_is_replayed_to_its_last_epoch():
    untrained, late = (answer(view="epochs", epoch=epoch) for epoch in (0, 50))
    assert untrained.numbers["epoch"] == 0
    assert "frechet" not in untrained.numbers
    assert late.numbers["epoch"] == len(late.rows)
    assert untrained.figure["layout"]["images"][0] != late.figure["layout"]["images"][0]


@pytest.mark.parametrize("name", PHOTOS)
def test_what_was_found_for_a_picture_is_what_the_stored_noise_draws(name):
    numbers = answer(view="photo", photo=name).numbers
    kept, place = gan.photos(), list(PHOTOS).index(name)
    drawn = sheets.made(gan.networks()[BEST], kept["latents"][place][None], torch.zeros(1))
    assert numbers["unlike"] == pytest.approx(
        float(asking.unlike(drawn, kept["pictures"][place][None]).sqrt()), rel=1e-3
    )
    assert numbers["unlike"] < float(kept["curves"][place, 0]) ** 0.5


@pytest.mark.parametrize(
    ("pick", "expected"), [([5], {"face": 5}), ([64], {}), ([-1], {}), ([0.5, 1.0], {}), ([], {}), (["x"], {})]
)
def test_a_click_chooses_a_picture_of_the_sheet(pick, expected):
    assert gan.clicked(pick) == expected


def test_answers_leave_the_networks_alone():
    before = {run: {k: v.clone() for k, v in n.state_dict().items()} for run, n in gan.networks().items()}
    for view in gan.VIEWS:
        for name in NETWORKS:
            answer(view=view, network=name, together=True, d1=1.0)
    for run, network in gan.networks().items():
        assert not network.training
        for leaf, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[run][leaf])


def test_a_film_moves_and_can_be_saved():
    frames = [Image.new("RGB", (24, 24), (shade, 0, 0)) for shade in (0, 90, 180)]
    html = gan.film_html(frames)
    for kind in ("gif", "webp"):
        start = html.index(f"data:image/{kind};base64,") + len(f"data:image/{kind};base64,")
        content = base64.b64decode(html[start : html.index("'", start)])
        assert Image.open(io.BytesIO(content)).n_frames == 3  # type: ignore[attr-defined]


# ---- players in the plane


DEFAULTS = CARD.defaults()


def test_a_game_begins_anew_with_other_settings_and_goes_on_with_the_same():
    match = tab_game.started(toy.Match(), DEFAULTS)
    match.games[0].round()
    assert tab_game.started(match, DEFAULTS).games[0].step == 1
    assert tab_game.started(match, DEFAULTS, anew=True).games[0].step == 0
    match.games[0].round()
    assert tab_game.started(match, {**DEFAULTS, "toy": "moons"}).games[0].step == 0


def test_both_games_start_alike():
    first, second = (game.look() for game in tab_game.started(toy.Match(), DEFAULTS).games)
    assert torch.equal(first.forged, second.forged)
    assert torch.equal(first.field, second.field)


def test_points_of_one_s_own_are_asked_for_first():
    match, values = toy.Match(), CARD.parse({"toy": "yours"})
    with pytest.raises(Refused, match="two points"):
        tab_game.started(match, values)
    match.points = [[0.0, 0.0], [1.0, 1.0]]
    assert tab_game.started(match, values).games[0].look().forged.shape == (toy.SHOWN, 2)


def test_the_critic_s_field_is_shown_about_its_mean():
    looks = tab_game.started(toy.Match(), DEFAULTS).looks()
    assert abs(float(looks[1].field.mean())) < 1e-6


def test_how_it_works_follows_what_is_shown():
    plain = gan.follow(CARD.defaults(), "", [])
    mixed = gan.follow(CARD.parse({"mix": True, "d1": 2.0}), "", [])
    assert len(mixed) == len(plain) + 1
    assert "brought back to its length, and then it was moved by 2 along direction 1" in mixed[1]
    found = gan.follow(CARD.parse({"view": "photo"}), "", [])
    assert found[0].startswith("The noise of the drawing")
    assert found[-1] != plain[-1]
