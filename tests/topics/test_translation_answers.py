"""What is said of one sentence: with untrained networks, and on the page where its weights are."""

import html
import itertools
import math
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from core import store
from core.topics.translation import asking, bleu, decoding, network, playground, tab_bleu, words
from core.topics.translation.asking import Settings
from core.topics.translation.network import END, UNKNOWN, Translator

pytestmark = pytest.mark.usefixtures("one_thread")

SENTENCES = ["Ein Hund läuft.", "Zwei Hunde laufen durch den Schnee.", "A dog runs.", "Two dogs run through the snow."]
OPTIONS = {
    "lstm": {"layers": 1},
    "attention": {"layers": 1},
    "transformer": {"layers": [2, 2], "heads": 2, "hidden": 24},
    "ctc": {"layers": [2, 2], "heads": 2, "hidden": 24},
}


@pytest.fixture(scope="module")
def translators() -> dict[str, Translator]:
    pieces = words.learn(SENTENCES, pieces=70, letters=60)
    found = {}
    for kind, options in OPTIONS.items():
        torch.manual_seed(1)
        found[kind] = network.build(kind=kind, pieces=len(pieces), width=16, **options).eval().requires_grad_(False)
        found[kind].words, found[kind].direction = pieces, "de-en"
    return found


@pytest.fixture(params=OPTIONS)
def translator(request, translators) -> Translator:
    return translators[request.param]


def test_a_hidden_word_is_unknown_to_the_network(translators):
    net = translators["transformer"]
    plain, asked = asking.ask(net, SENTENCES[1]), asking.ask(net, SENTENCES[1], mask=2)
    assert [word.text for word in asked.words] == ["Zwei", "Hunde", "laufen", "durch", "den", "Schnee", "."]
    assert (plain.hidden, asked.hidden) == (0, 2)
    changed = {place for place, (a, b) in enumerate(zip(plain.ids, asked.ids, strict=True)) if a != b}
    assert changed == set(asked.columns[1])
    assert {asked.ids[place] for place in changed} == {UNKNOWN}
    assert asking.ask(net, SENTENCES[1], mask=40) == plain
    assert plain.ids[-1] == END
    assert [place for column in plain.columns for place in column] == list(range(len(plain.ids)))


def test_a_stream_grows_by_a_piece_and_ends_with_the_whole(translator):
    asked = asking.ask(translator, SENTENCES[0])
    found = list(asking.translations(translator, asked, Settings()))
    lengths = [len(part.written) for part in found]
    assert lengths == ([lengths[-1]] if isinstance(translator, network.CTCTranslator) else [*range(1, len(found) + 1)])
    whole = asking.translation(translator, asked, Settings())
    assert [piece.piece for piece in whole.written] == [piece.piece for piece in found[-1].written]
    if not isinstance(translator, network.CTCTranslator):
        limit = 2 * len(asked.ids) + 10
        [greedy] = decoding.greedy(translator, [asked.ids], limit=limit)
        assert [piece.piece for piece in whole.written if piece.piece != END] == greedy
    assert whole.text == translator.words.text([piece.piece for piece in whole.written if piece.piece != END])


def test_words_attention_sums_to_one(translator):
    found = asking.translation(translator, asking.ask(translator, SENTENCES[1]), Settings())
    for layer, head in ((0, 0), (1, 0), (0, 2), (2, 1), (4, 4)):
        weights = found.attention(layer, head)
        if not translator.weighing:
            assert weights is None
            continue
        assert weights.shape == (len(found.rows), len(found.asked.words) + 1)
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights)), atol=1e-5, rtol=0)


def test_what_was_chosen_stands_there(translators):
    net = translators["transformer"]
    asked = asking.ask(net, SENTENCES[1])
    for how in ("greedy", "beam", "sampling"):
        found = asking.translation(net, asked, Settings(decoding=how, wanted=((2, 3),), width=3))
        third = found.written[1]
        assert third.piece == int(third.log_p.topk(3).indices[2]), how
        if how != "sampling":
            plain = asking.translation(net, asked, Settings())
            assert found.written[0].piece == plain.written[0].piece


def test_a_beam_goes_on_from_what_it_had_found(translators):
    net = translators["transformer"]
    asked = asking.ask(net, SENTENCES[1])
    plain = asking.translation(net, asked, Settings(decoding="beam", width=3))
    place = len(plain.written) // 2
    found = asking.translation(net, asked, Settings(decoding="beam", wanted=((place, 2),), width=3))
    before = [piece.piece for piece in plain.written[: place - 1]]
    assert [piece.piece for piece in found.written[: place - 1]] == before
    assert found.written[place - 1].piece == int(found.written[place - 1].log_p.topk(2).indices[1])
    for how in ("beam", "greedy"):
        twice = asking.translation(net, asked, Settings(decoding=how, wanted=((2, 3), (2, 2)), width=3)).written[1]
        assert twice.piece == int(twice.log_p.topk(2).indices[1]), "of two choices for one place the last one counts"
    limit = decoding.limit_of(asked.ids)
    for late in (limit, limit + 1):
        found = asking.translation(net, asked, Settings(decoding="beam", wanted=((late, 2),), width=3))
        assert len(found.written) <= limit
        assert [*found.beam.best, END][: len(found.written)] == [piece.piece for piece in found.written]
    beyond = Settings(decoding="beam", wanted=((len(plain.written) + 1, 2),), width=3)
    assert asking.translation(net, asked, beyond).text == plain.text
    rank = 1 + int((plain.written[0].log_p > plain.written[0].log_p[END]).sum())
    ended = asking.translation(net, asked, Settings(decoding="beam", wanted=((1, rank),), width=3))
    assert [piece.piece for piece in ended.written] == [END]
    assert ended.beam is None


def test_a_beam_comes_with_its_tree(translators):
    net = translators["attention"]
    found = asking.translation(net, asking.ask(net, SENTENCES[0]), Settings(decoding="beam", width=4))
    best = found.beam.best
    assert tuple(piece.piece for piece in found.written if piece.piece != END) == best
    assert found.beam.nodes
    assert asking.translation(net, asking.ask(net, SENTENCES[0]), Settings()).beam is None


def test_numbers_are_what_one_computes_by_hand():
    log_p = torch.full((5,), 0.1).log()
    log_p[3] = math.log(0.6)
    asked = asking.Asked("a", (), (END,), 0)
    written = (decoding.Written(3, log_p, None), decoding.Written(END, log_p, None))
    said = asking.numbers(asking.Found(asked, written, "", []))
    hand = {"nat": -math.log(0.06) / 2, "log_p": math.log(0.06), "sure": math.sqrt(0.06), "least": 0.1}
    assert said == pytest.approx(hand, abs=1e-6)
    assert asking.alternatives(written[0], 2)[0] == (3, pytest.approx(0.6))
    nothing = asking.numbers(asking.Found(asked, (), "", []))
    assert nothing["sure"] == 0


def test_the_share_of_words_that_went():
    assert asking.changed(["a", "dog", "a"], ["a", "cat", "runs"]) == pytest.approx(2 / 3)
    assert asking.changed(["a", "b"], ["b", "a"]) == 0
    assert asking.changed([], ["a"]) == 0


def test_text_is_tidied():
    assert asking.tidied("  Ein\tHund\n la\u0308uft\x00\u200b. ") == "Ein Hund läuft ."
    assert asking.tidied("Stra\u00adße") == "Straße"
    assert asking.tidied("Ein \ud800 Mann") == "Ein Mann", "half a character, as the API may get it"


@pytest.mark.parametrize(
    ("text", "direction", "says"),
    [
        ("", "de-en", "Type a sentence in German"),
        ("", "en-zh", "Type a sentence in English"),
        ("x" * 301, "de-en", "at most 300 characters; got 301"),
        ("!? 12 ☃", "de-en", "no letters"),
        ("我们走吧。", "en-zh", "reads English"),
        ("Это собака", "de-en", "another script"),
        ("Ein Hund läuft.", "de-en", ""),
        ("I like 北京.", "en-zh", ""),
    ],
)
def test_what_is_no_sentence_is_refused_in_words(text, direction, says):
    found = asking.complaint(text, direction)
    assert says in found if says else found == ""


def test_the_other_language_is_noticed():
    assert "looks like English" in asking.other_language("The dog is on the street.", "de-en")
    assert "looks like German" in asking.other_language("Der Hund ist auf der Straße.", "en-zh")
    assert asking.other_language("Der Hund ist auf der Straße.", "de-en") == ""
    assert asking.other_language("Hund", "de-en") == ""


# ---- the page

ALLOWED = {"p", "span", "s", "b", "extra", "svg", "rect", "text", "g", "title", "figure", "figcaption", "div", "table"}


def texts(part):
    """All strings in a figure."""
    if isinstance(part, str):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, (list, tuple)) else ():
        yield from texts(inner)


here = pytest.mark.skipif(
    not (store.CHECKPOINTS / "translation" / "transformer" / "config.json").is_file(),
    reason="the translators' weights are not here",
)


@pytest.fixture
def app():
    from apps import translation

    translation.box.cache_clear()
    return translation


def same(ours, expected) -> None:
    """Two answers agree; the last digits depend on how many threads computed them."""
    assert ours.extras == expected.extras
    for row, other in zip(ours.rows, expected.rows, strict=True):
        assert (row["piece"], row["other"]) == (other["piece"], other["other"])
        assert row["probability"] == pytest.approx(other["probability"], rel=1e-4)


def say(app, own: str = "", **values):
    return app.space.last_answer(app.CARD.parse(values), own)


@here
def test_the_first_pieces_are_answers_of_their_own(app):
    answers = list(app.space.answers(app.CARD.defaults(), ""))
    texts = [answer.numbers["translation"] for answer in answers]
    assert len(answers) > 2
    assert all(later.startswith(former) for former, later in itertools.pairwise(texts))
    assert answers[-1].numbers["pieces"] == len(answers) - 1


@here
def test_of_a_long_sentence_only_some_steps_are_drawn(app):
    answers = list(app.space.answers(app.CARD.defaults(), "a " * 149 + "b"))
    pieces = answers[-1].numbers["pieces"]
    assert pieces > 100
    assert [answer.numbers["pieces"] for answer in answers[:16]] == [*range(1, 17)]
    assert len(answers) <= 16 + pieces // app.EACH + 1


@here
def test_beside_another_answer_only_the_last_part_is_shown(app):
    alone = list(app.space.answers(app.CARD.defaults(), "Ein Hund läuft."))
    with app.serve.GATE.enter():
        [beside] = app.space.answers(app.CARD.defaults(), "Ein Hund läuft.")
    assert len(alone) > 2
    same(beside, alone[-1])


@here
def test_a_sample_is_translated_once_and_an_own_sentence_each_time(app, monkeypatch):
    first = list(app.space.answers(app.CARD.parse({"mask": 2}), ""))
    [again] = app.space.answers(app.CARD.parse({"mask": 2}), "")
    assert again == first[-1]
    [other] = app.space.answers(app.CARD.parse({"view": "choices"}), "")
    assert other.numbers["translation"] == say(app).numbers["translation"], "found for the comparison with the mask"
    before = app.box.cache_info().currsize
    for _ in range(2):
        assert len(list(app.space.answers(app.CARD.defaults(), "Ein Hund läuft."))) > 2
    assert app.box.cache_info().currsize == before, "nothing of a visitor is kept"
    assert len(list(app.space.answers(app.CARD.parse({"decoding": "sampling"}), ""))) > 2, "another translation"


@here
def test_what_the_tour_says_is_so(app):
    steps = app.CARD.tour
    shown = [say(app, **{**step.set, **step.then}) for step in steps]
    long = [say(app, sentence="long", network=name).numbers["kept"] for name in ("lstm", "attention", "transformer")]
    assert shown[0].numbers["translation"].startswith("An older man in a blue jacket is sitting on a bench")
    assert shown[0].numbers["kept"] == long[0] < min(long[1:]) - 0.2
    greedy = say(app, **{**steps[1].set, **steps[1].then, "decoding": "greedy"})
    assert shown[1].numbers["log_p"] > greedy.numbers["log_p"] + 0.1
    ball = say(app, **steps[2].set)
    assert ball.numbers["looks_at"] == "mit"
    assert ball.numbers["translation"].split()[3] == "with"
    assert shown[2].numbers["translation"] == ball.numbers["translation"]
    assert shown[2].numbers["changed"] == 0
    without = say(app, **{**steps[2].set, "mask": 7})
    assert "Ball is hidden" in without.figure["layout"]["meta"]["sentence"]
    assert "ball" not in without.numbers["translation"].split()
    sure = [say(app, sentence=name).numbers["sure"] for name in ("guitar", "dogs", "ball", "bench", "long")]
    assert shown[3].numbers["sure"] < min(sure), "less sure than of a caption"


@here
def test_the_tiles_are_of_the_head_that_is_shown(app):
    mean, one, unseen = say(app), say(app, layer=1, head=4), say(app, layer=1, head=4, view="choices")
    row = one.figure["data"][0]["z"][1]
    assert one.numbers["share"] == pytest.approx(max(row), abs=1e-3)
    assert one.numbers["share"] != mean.numbers["share"] == unseen.numbers["share"]
    assert one.numbers["spread"] != mean.numbers["spread"] == unseen.numbers["spread"]


@here
def test_a_beam_has_a_deadline(app, monkeypatch):
    assert "stopped" not in say(app, decoding="beam").remark
    monkeypatch.setattr(asking, "PATIENCE_S", -1.0)
    app.box.cache_clear()
    late = say(app, decoding="beam", view="tree")
    assert "The beam was stopped" in late.remark
    monkeypatch.undo()
    assert "stopped" not in say(app, decoding="beam").remark, "it is not remembered"
    assert late.numbers["translation"]


@here
def test_what_changed_is_said_once_all_is_written(app):
    for name in ("transformer", "ctc"):
        answers = list(app.space.answers(app.CARD.parse({"network": name, "mask": 2}), ""))
        assert ["changed" in answer.numbers for answer in answers] == [False] * (len(answers) - 1) + [True]


@here
@pytest.mark.parametrize("own", ["Ein <img src=x onerror=alert(1)> Mann", "Ein <b>Mann</b> & ein Hund", "Ein ☃ Mann"])
@pytest.mark.parametrize("view", ["attention", "choices", "tree"])
def test_no_input_breaks_the_page(app, own, view):
    answer = say(app, own, view=view, decoding="beam")
    values = app.CARD.parse({"view": view})
    html_ = [answer.extras[1], *app.follow(values, own, []), *app.heads(values, own)]
    # Plotly reads tags in every text, whatever its name; the sentence itself is an attribute, which the page sets.
    for text in [*html_, *texts({**answer.figure, "layout": {**answer.figure["layout"], "meta": {}}})]:
        assert set(re.findall(r"<\s*/?\s*(\w+)", text)) <= ALLOWED, text
    assert "Unknown to it" in answer.remark or "☃" not in own
    assert answer.extras[0]["own"] == own


@here
def test_two_visitors_do_not_mix_and_weights_stay(app):
    before = {name: {k: t.clone() for k, t in net.state_dict().items()} for name, net in app.networks().items()}
    asked = [
        ({"network": name, "decoding": how, "mask": number % 3}, f"Ein Hund und {number} Kinder laufen.")
        for number, (name, how) in enumerate(itertools.product(app.RUNS, ("greedy", "beam", "sampling")))
    ]
    alone = [say(app, own, **values) for values, own in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda one: say(app, one[1], **one[0]), asked))
    for ours, expected in zip(together, alone, strict=True):
        same(ours, expected)
    for name, net in app.networks().items():
        assert all(torch.equal(tensor, before[name][leaf]) for leaf, tensor in net.state_dict().items())


@here
def test_a_choice_keeps_what_was_chosen_before_it(app):
    none = (0, 1)
    assert app.steered([(3, 2), (5, 4), none], 4, 3, greedy=True) == [(3, 2), (4, 3), none]
    assert app.steered([(1, 2), (2, 2), (3, 2)], 5, 2, greedy=True) == [(1, 2), (2, 2), (3, 2)]
    assert app.steered([none, none, none], 1, 5, greedy=True) == [(1, 5), none, none]
    assert app.steered([(1, 5), (3, 2), none], 1, 1, greedy=True) == [none, none, none]
    assert app.steered([(1, 5), none, none], 2, 1, greedy=False) == [(1, 5), (2, 1), none]
    answer = say(app, view="choices")
    picks = answer.figure["data"][0]["customdata"]
    chosen = say(app, view="choices", **app.clicked(picks[0][1]))
    assert chosen.rows[0]["piece"] == answer.rows[0]["other"]
    assert chosen.rows[0]["other"] == answer.rows[0]["piece"]
    assert app.clicked(picks[3][0])["word"] == 4, "the fourth piece is the fourth word here"
    assert app.clicked([1.5, 2.0]) == {}


@here
def test_nothing_can_be_chosen_where_all_is_written_at_once(app):
    figure = say(app, network="ctc", view="choices").figure["data"][0]
    assert figure["customdata"] is None
    assert not any("click" in text for row in figure["text"] for text in row)
    assert "click" in say(app, view="choices").figure["data"][0]["text"][0][0]


@here
def test_what_is_followed_is_the_word_that_was_asked_about(app):
    model = app.networks()[app.RUNS["transformer"]]
    found = asking.translation(model, asking.ask(model, app.sample("guitar", "de-en")[0]), Settings())
    for word in (1, 6, 40):
        row = found.rows[min(word, len(found.rows)) - 1]
        steps = app.follow(app.CARD.parse({"word": word}), "", [])
        p = float(found.written[row.start].log_p[found.written[row.start].piece].exp())
        assert f"Piece {row.start + 1} is" in steps[-1]
        assert f"<b>{p:.1%}</b>" in steps[-1]
    assert "Written before: “A man is playing a”." in app.follow(app.CARD.parse({"word": 6}), "", [])


@here
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"view": "tree", "network": "ctc"}, "shown is what else it considered"),
        ({"view": "tree", "decoding": "beam", "at1": 10, "to1": 2}, "No beam was followed"),
        ({"network": "lstm"}, "looks nowhere"),
        ({"layer": 6}, "It has 4 layers: shown is layer 4."),
        ({"at1": 40}, "It has 11 pieces: what was chosen behind them is not there."),
        ({"at1": 40, "network": "ctc"}, ""),
        ({"mask": 40}, "The sentence has 8 words: none is hidden."),
        ({"network": "lstm", "direction": "en-zh"}, "only the Transformer is here"),
        ({"sentence": "strongest", "direction": "en-zh"}, "an ordinary sentence"),
    ],
)
def test_what_cannot_be_is_said(app, values, says):
    answers = list(app.space.answers(app.CARD.parse(values), ""))
    assert says in answers[-1].remark if says else answers[-1].remark == ""
    if "at1" in values and values.get("decoding") != "beam":
        assert not any("what was chosen" in answer.remark for answer in answers[:-1]), "it may still come"


@here
def test_networks_that_are_not_there_for_chinese_are_grey(app):
    chinese = say(app, direction="en-zh")
    grey = [name.partition("=")[2] for name in chinese.idle if name.startswith("network=")]
    assert grey == [name for name in app.RUNS if name != "transformer"]
    for name in grey:
        answer = say(app, direction="en-zh", network=name)
        assert (answer.numbers, answer.rows) == (chinese.numbers, chinese.rows)
    assert not any("=" in name for name in say(app).idle)


@here
def test_a_click_on_a_row_asks_about_its_word(app):
    answer = say(app)
    assert app.clicked(answer.figure["data"][0]["customdata"][0][1])["word"] == 1


@here
def test_a_click_above_a_column_hides_its_word_and_another_shows_it(app):
    hides = say(app).figure["data"][1]["customdata"][0]
    assert len(hides) == 8, "seven words and the stop; the end is no word"
    hidden = app.clicked(hides[3])
    assert hidden["mask"] == 4
    answer = say(app, **hidden)
    assert "Gitarre is hidden" in answer.figure["layout"]["meta"]["sentence"]
    assert app.clicked(answer.figure["data"][1]["customdata"][0][3])["mask"] == 0


@here
def test_the_bleu_room_says_what_bleu_says():
    text = html.unescape(tab_bleu.scored("the cat <b>sat</b>", "the cat sat down", "floor"))
    found = bleu.counts("the cat <b>sat</b>", "the cat sat down", tokeniser="13a")
    assert f"{bleu.bleu(found, smoothing='floor', effective=True).value:.2f}" in text
    assert "&lt;" in tab_bleu.scored("<", "x", "exp")
    with pytest.raises(ValueError, match="Smoothing"):
        tab_bleu.scored("a", "b", "magic")
    ranking = playground.ranking(tab_bleu.curves(), tab_bleu.TESTED)
    for system, (run, way) in tab_bleu.SYSTEMS.items():
        rows = store.load(run).tensors("counts.safetensors")[way].tolist()
        assert len(rows) == tab_bleu.TESTED
        row = ranking.split(f"<th scope='row'>{system}</th>")[1].split("</tr>")[0]
        assert f"<td>{bleu.bleu(bleu.together(rows)).value:.2f}</td>" in row
        ours, true = tab_bleu.test_sentence(3, system)
        assert bleu.counts(ours, true, tokeniser="13a").row() == rows[3], "texts and counts are of the same sentences"
    for place, system in ((100, "LSTM"), (-1, "LSTM"), (0, "nobody"), (None, "LSTM")):
        with pytest.raises(ValueError, match="expected"):
            tab_bleu.test_sentence(place, system)


@here
def test_where_the_smoothing_decides_is_so():
    """What the page says is found again in its own tables."""
    found = re.findall(
        r"first (\d+) test sentences .*?, by the (BLEU|mean)[^:]*: “([^”]+)” against “([^”]+)” has "
        r"([\d.]+) against ([\d.]+) with (\S+), ([\d.]+) against ([\d.]+) with (\S+)\.<",
        playground.flips(tab_bleu.curves()),
    )
    assert found, "these systems are close enough"
    for sentences, score, ours, theirs, *cases in found:
        table = playground.ranking(tab_bleu.curves(), int(sentences)).split("<table")[1 if score == "BLEU" else 2]
        lines = {
            system: dict(zip(bleu.SMOOTHINGS, re.findall(r"<td>([\d.]+)</td>", line), strict=True))
            for system, line in re.findall(r"scope='row'>([^<]+)</th>(.*?)</tr>", table)
        }
        assert [lines[ours][cases[2]], lines[theirs][cases[2]]] == cases[:2]
        assert [lines[ours][cases[5]], lines[theirs][cases[5]]] == cases[3:5]
        assert float(cases[0]) > float(cases[1])
        assert float(cases[3]) < float(cases[4])


@here
def test_all_heads_are_drawn(app):
    [sheet] = app.heads(app.CARD.defaults(), "")
    net = app.networks()["translation/transformer"]
    assert sheet.count("<svg") == len(net.decoder) * net.decoder[0].cross_attention.heads
    assert "no attention" in next(iter(app.heads(app.CARD.parse({"network": "lstm"}), "")))
