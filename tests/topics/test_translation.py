"""Translators against plain loops, decoding against its promises, BLEU against sacreBLEU."""

import dataclasses
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU
from torch import Tensor

from core import data, store
from core.topics.translation import bleu, corpus, decoding, method, network, recipe, scoring, words
from core.topics.translation.network import BEGIN, END, PAD, UNKNOWN, CTCTranslator, Translator, build

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = {"pieces": 40, "width": 16}
OPTIONS = {
    "lstm": {"layers": 2},
    "attention": {"layers": 1},
    "transformer": {"layers": [2, 2], "heads": 2, "hidden": 24},
    "ctc": {"layers": [2, 2], "heads": 2, "hidden": 24},
}
STEPPING = ("lstm", "attention", "transformer")
SOURCES = [[5, 9, 11, END], [7, 8, END], [4, 30, 31, 32, 33, 12, END]]


def made(kind: str, seed: int = 0) -> Translator:
    torch.manual_seed(seed)
    return build(kind=kind, **SIZES, **OPTIONS[kind]).eval().requires_grad_(False)


@pytest.fixture(params=STEPPING)
def stepping(request) -> Translator:
    return made(request.param)


# ---- networks


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def lstm_loop(module: torch.nn.Module, word: Tensor, h: Tensor, c: Tensor, end: str = "") -> tuple[Tensor, Tensor]:
    """One step of one LSTM layer as its equations say, vectors in float64."""
    w = {name: tensor.double() for name, tensor in module.named_parameters()}
    gates = w[f"weight_ih{end}"] @ word + w[f"bias_ih{end}"] + w[f"weight_hh{end}"] @ h + w[f"bias_hh{end}"]
    i, f, g, o = gates.chunk(4)
    c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
    return sigmoid(o) * torch.tanh(c), c


def test_lstm_agrees_with_a_plain_loop():
    net, source, target = made("lstm"), SOURCES[0], [BEGIN, 6, 7, 8]
    table = net.embedding.weight.double()
    layers = 2
    state = [(torch.zeros(16).double(), torch.zeros(16).double()) for _ in range(layers)]
    for piece in reversed(source):
        x = table[piece]
        for layer in range(layers):
            state[layer] = lstm_loop(net.encoder, x, *state[layer], end=f"_l{layer}")
            x = state[layer][0]
    expected = []
    for piece in target:
        x = table[piece]
        for layer in range(layers):
            state[layer] = lstm_loop(net.decoder, x, *state[layer], end=f"_l{layer}")
            x = state[layer][0]
        expected.append(table @ x)
    found = net(torch.tensor([source]), torch.tensor([target]))[0]
    torch.testing.assert_close(found, torch.stack(expected).float(), atol=1e-5, rtol=1e-4)


def test_attention_agrees_with_a_plain_loop():
    net, source, target = made("attention"), SOURCES[0], [BEGIN, 6, 7, 8]
    w = {name: tensor.double() for name, tensor in net.named_parameters()}
    table = w["embedding.weight"]
    halves = []
    for end, order in (("_l0", source), ("_l0_reverse", source[::-1])):
        h, c, states = torch.zeros(8).double(), torch.zeros(8).double(), []
        for piece in order:
            h, c = lstm_loop(net.encoder, table[piece], h, c, end=end)
            states.append(h)
        halves.append(states)
    encoded = [torch.cat([left, right]) for left, right in zip(halves[0], halves[1][::-1], strict=True)]
    s = torch.tanh(w["start.weight"] @ torch.cat([halves[0][-1], halves[1][-1]]) + w["start.bias"])
    c = torch.zeros(16).double()
    expected, looked = [], []
    for piece in target:
        energy = [
            w["score"] @ torch.tanh(w["query.weight"] @ s + w["query.bias"] + w["key.weight"] @ h) for h in encoded
        ]
        total = sum(math.exp(e) for e in energy)
        alpha = [math.exp(e) / total for e in energy]
        context = sum(a * h for a, h in zip(alpha, encoded, strict=True))
        s, c = lstm_loop(net.cell, torch.cat([table[piece], context]), s, c)
        expected.append(table @ torch.tanh(w["out.weight"] @ torch.cat([s, context, table[piece]]) + w["out.bias"]))
        looked.append(alpha)
    reading = net.read(torch.tensor([source]))
    found = net.step(torch.tensor([target]), reading, net.begin(reading), weigh=True)
    torch.testing.assert_close(found.logits[0], torch.stack(expected).float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.weights[0, 0, 0], torch.tensor(looked), atol=1e-5, rtol=1e-4)


def test_attention_weights_are_those_of_the_equation():
    query, key = torch.tensor([[2.0, 0, 0, 0]]), torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 1]])
    e = math.e
    torch.testing.assert_close(network.attention_weights(query, key), torch.tensor([[e, 1, e]]) / (2 * e + 1))
    visible = torch.tensor([True, True, False])
    torch.testing.assert_close(network.attention_weights(query, key, visible), torch.tensor([[e, 1, 0]]) / (e + 1))


def test_the_transformer_mixes_what_its_weights_say():
    """SDPA mixes; the weights that are shown are computed beside it, and must be the same."""
    net = made("transformer")
    attention = net.decoder[0].cross_attention
    x, states = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    visible = torch.tensor([[True] * 5, [True, True, False, False, False]])
    keys_values = attention.keys_values(states)
    found, weights = attention(x, keys_values, visible, weigh=True)
    mixed = (weights @ keys_values[1]).transpose(1, 2).reshape(2, 3, 16)
    torch.testing.assert_close(found, attention.out(mixed))


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_batch_changes_nothing(kind):
    net = made(kind)
    target = torch.tensor([[BEGIN, 6, 7]])
    together = net(decoding.padded(SOURCES), target.expand(3, -1))
    for row, source in enumerate(SOURCES):
        alone = net(torch.tensor([source]), target)[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_longest_sentence_is_translated(kind):
    net = made(kind)
    source = [*(4 + place % 20 for place in range(decoding.LIMIT)), END]
    if kind == "ctc":
        assert net(torch.tensor([source])).shape[1] == 2 * len(source)
    else:
        written = list(decoding.write(net, source, choose=lambda _: 5))
        assert len(written) == decoding.LIMIT


def test_what_comes_later_changes_nothing(stepping):
    source = torch.tensor([SOURCES[0]])
    first = stepping(source, torch.tensor([[BEGIN, 6, 7, 8]]))
    second = stepping(source, torch.tensor([[BEGIN, 6, 30, 31]]))
    torch.testing.assert_close(first[:, :2], second[:, :2])
    assert not torch.allclose(first[:, 2:], second[:, 2:])


def test_one_piece_at_a_time_is_the_same_as_all_at_once(stepping):
    source, target = decoding.padded(SOURCES), torch.tensor([[BEGIN, 6, 7, 8, 9]] * 3)
    reading = stepping.read(source)
    past, found = stepping.begin(reading), []
    for column in target.split(1, dim=1):
        logits, past, _ = stepping.step(column, reading, past)
        found.append(logits.log_softmax(dim=-1))
    expected = stepping(source, target).log_softmax(dim=-1)
    torch.testing.assert_close(torch.cat(found, dim=1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["attention", "transformer", "ctc"])
def test_attention_sums_to_one_and_never_looks_at_padding(kind):
    net, source = made(kind), decoding.padded(SOURCES)
    if kind == "ctc":
        weights = net.fill(source, weigh=True).weights
    else:
        reading = net.read(source)
        weights = net.step(torch.tensor([[BEGIN, 6, 7]] * 3), reading, net.begin(reading), weigh=True).weights
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]), atol=1e-5, rtol=0)
    for row, sentence in enumerate(SOURCES):
        assert weights[row, ..., len(sentence) :].abs().sum() == 0
        assert weights[row, ..., : len(sentence)].min() > 0


def test_positions_are_waves():
    places = network.positions(5, 8)
    assert places.shape == (5, 8)
    for t in range(5):
        for i in range(4):
            angle = t / 10_000 ** (2 * i / 8)
            assert places[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert places[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


# ---- decoding


def test_greedy_takes_the_likeliest_each_time(stepping):
    found = decoding.greedy(stepping, SOURCES, limit=12)
    for source, pieces in zip(SOURCES, found, strict=True):
        target = [BEGIN]
        while len(target) <= 12:
            logits = decoding.allowed(stepping(torch.tensor([source]), torch.tensor([target]))[0, -1])
            target.append(int(logits.argmax()))
            if target[-1] == END:
                break
        assert pieces == [piece for piece in target[1:] if piece != END]
        written = list(decoding.write(stepping, source, limit=12))
        assert [piece.piece for piece in written if piece.piece != END] == pieces


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_beam_of_one_is_greedy(stepping, alpha):
    for source, pieces in zip(SOURCES, decoding.greedy(stepping, SOURCES, limit=12), strict=True):
        found = decoding.beam(stepping, source, width=1, alpha=alpha, limit=12)
        assert list(found.best) == pieces


def every_sentence(net: Translator, source: list[int], pieces: list[int], longest: int) -> dict[tuple[int, ...], float]:
    """The log-probability of every whole sentence of few pieces, by asking for each."""
    found, open_ones = {}, {(): 0.0}
    for _ in range(longest):
        grown = {}
        for sentence, log_p in open_ones.items():
            logits = net(torch.tensor([source]), torch.tensor([[BEGIN, *sentence]]))[0, -1]
            chances = decoding.allowed(logits).log_softmax(dim=-1)
            found[sentence] = log_p + float(chances[END])
            grown |= {(*sentence, piece): log_p + float(chances[piece]) for piece in pieces}
        open_ones = grown
    return found


def test_a_wide_beam_finds_the_best_of_all_sentences():
    torch.manual_seed(3)
    net = build(kind="transformer", pieces=7, width=16, **OPTIONS["transformer"]).eval().requires_grad_(False)
    source = [4, 5, END]
    for alpha in (0.0, 1.0):
        found = decoding.beam(net, source, width=40, alpha=alpha, limit=4)
        scores = {
            sentence: log_p / method.length_penalty(len(sentence) + 1, alpha)
            for sentence, log_p in every_sentence(net, source, [4, 5, 6], 4).items()
        }
        best = max(scores, key=scores.__getitem__)
        assert found.best == best
        assert found.score == pytest.approx(scores[best], abs=1e-4)


def plain_beam(
    net: Translator, source: list[int], width: int, alpha: float, limit: int
) -> tuple[tuple[int, ...], float]:
    """A narrow beam written as it is said, each beginning asked for from its first piece on."""
    going: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    ended: dict[tuple[int, ...], float] = {}
    for depth in range(1, limit + 1):
        rows = []
        for sentence, log_p in going:
            logits = net(torch.tensor([source]), torch.tensor([[BEGIN, *sentence]]))[0, -1]
            chances = decoding.allowed(logits).log_softmax(dim=-1).tolist()
            rows += [((*sentence, piece), log_p + chance) for piece, chance in enumerate(chances)]
        rows.sort(key=lambda row: -row[1])
        going = [row for row in rows[: 2 * width] if row[0][-1] != END][:width]
        for sentence, log_p in rows[:width]:
            if sentence[-1] == END:
                ended[sentence[:-1]] = log_p / method.length_penalty(depth, alpha)
        if len(ended) >= width:
            break
    scores = ended or {sentence: log_p / method.length_penalty(limit, alpha) for sentence, log_p in going}
    best = max(scores, key=scores.__getitem__)
    return best, scores[best]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("width", [2, 3, 5])
def test_a_narrow_beam_is_the_plain_one(width, alpha):
    ended = 0
    for seed in range(6):
        torch.manual_seed(seed)
        net = build(kind="transformer", pieces=6, width=16, **OPTIONS["transformer"]).eval().requires_grad_(False)
        found = decoding.beam(net, [4, 5, 4, END], width=width, alpha=alpha, limit=6)
        best, score = plain_beam(net, [4, 5, 4, END], width, alpha, 6)
        assert found.best == best
        assert found.score == pytest.approx(score, abs=1e-4)
        ended += bool(found.finished) and found.nodes[found.finished[0]].piece == END
    assert ended >= 3, "too few of the sentences end for the test to say much"
    with pytest.raises(ValueError, match="width"):
        decoding.beam(net, [4, END], width=0)


def test_a_beams_tree_hangs_together(stepping):
    found = decoding.beam(stepping, SOURCES[2], width=3, limit=8, prefix=[6, 7])
    for place, node in enumerate(found.nodes):
        assert node.parent < place
        before = found.nodes[node.parent].log_p if node.parent >= 0 else 0.0
        assert node.log_p <= before
        if place >= 2:
            sentence = [*decoding.path(found.nodes, node.parent), node.piece]
            logits = stepping(torch.tensor([SOURCES[2]]), torch.tensor([[BEGIN, *sentence[:-1]]]))[0]
            log_p = decoding.allowed(logits).log_softmax(dim=-1)[torch.arange(len(sentence)), torch.tensor(sentence)]
            assert node.log_p == pytest.approx(float(log_p.sum()), abs=1e-4)


def test_a_beam_whose_time_is_up_gives_the_best_it_has(stepping):
    found = decoding.beam(stepping, SOURCES[2], width=3, limit=8, prefix=[6, 7], until=-1.0)
    assert found.late
    assert found.best[:2] == (6, 7)
    assert max(node.depth for node in found.nodes) == 3, "one round is always made"
    whole = decoding.beam(stepping, SOURCES[2], width=3, limit=8, prefix=[6, 7])
    assert not whole.late
    assert found.nodes == whole.nodes[: len(found.nodes)]


def test_a_forced_beginning_is_kept(stepping):
    for prefix in ([6], [6, 7, 8]):
        found = decoding.beam(stepping, SOURCES[0], width=3, limit=9, prefix=prefix)
        assert list(found.best[: len(prefix)]) == prefix


def test_a_translation_retold_at_once_is_as_it_was_written_piece_by_piece(stepping):
    pieces = iter([6, 7, 8, 30, END])
    written = list(decoding.write(stepping, SOURCES[0], choose=lambda _: next(pieces)))
    retold = decoding.retold(stepping, SOURCES[0], [6, 7, 8, 30, END])
    assert [said.piece for said in retold] == [said.piece for said in written]
    for ours, theirs in zip(retold, written, strict=True):
        torch.testing.assert_close(ours.log_p, theirs.log_p, atol=1e-5, rtol=1e-5)
        assert (ours.weights is None) == (theirs.weights is None) == (not stepping.weighing)
        if theirs.weights is not None:
            torch.testing.assert_close(ours.weights, theirs.weights, atol=1e-5, rtol=1e-5)


def test_a_beam_says_whether_its_sentence_ended(stepping):
    cut = decoding.beam(stepping, SOURCES[0], width=2, limit=2, prefix=[6])
    ends = {cut.nodes[place].piece == END for place in cut.finished}
    assert (cut.pieces[-1] == END) == ends.pop()
    assert len(cut.pieces) <= 2
    whole = decoding.beam(made("transformer", 3), SOURCES[0], width=4)
    assert whole.pieces == (*whole.best, END) or len(whole.best) == decoding.limit_of(SOURCES[0])


def test_the_same_seed_draws_the_same_sentence(stepping):
    def sentence(seed: int) -> list[int]:
        choose = decoding.sampler(torch.Generator().manual_seed(seed), temperature=2.0)
        return [piece.piece for piece in decoding.write(stepping, SOURCES[0], choose=choose, limit=9)]

    assert sentence(1) == sentence(1)
    assert len({tuple(sentence(seed)) for seed in range(5)}) > 1
    with torch.random.fork_rng():
        before = torch.get_rng_state()
        sentence(1)
        assert torch.equal(torch.get_rng_state(), before)


def test_nothing_writes_padding_or_unknown(stepping):
    with torch.inference_mode():
        stepping.embedding.weight[[PAD, BEGIN, UNKNOWN]] *= 100
    for pieces in decoding.greedy(stepping, SOURCES, limit=9):
        assert not {PAD, BEGIN, UNKNOWN} & set(pieces)


def test_the_exact_number_of_pieces_is_written(stepping):
    assert {len(pieces) for pieces in decoding.greedy(stepping, SOURCES, exactly=11)} == {11}


def test_slots_say_what_their_likeliest_pieces_say():
    net = made("ctc")
    found = decoding.fill(net, SOURCES, weigh=True)
    for source, written in zip(SOURCES, found, strict=True):
        logits = net(torch.tensor([source]))[0]
        logits[:, [BEGIN, END, UNKNOWN]] = -torch.inf
        best = logits.argmax(dim=-1).tolist()
        assert [piece.piece for piece in written] == [best[slot] for slot in method.collapsed(best)]
        assert all(piece.weights.shape == (2, 2, len(source)) for piece in written)
    with pytest.raises(NotImplementedError):
        net.step(torch.tensor([[BEGIN]]), net.read(torch.tensor([SOURCES[0]])), ())


# ---- method


def test_label_smoothing_is_what_one_computes_by_hand():
    logits = torch.tensor([[[1.0, 2.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]]])
    target = torch.tensor([[2, 1, 0]])
    total = math.log(math.e + math.e**2 + math.e**3 + 1)
    first = 0.9 * (total - 3) + 0.1 * (total - 1.5)
    expected = (first + math.log(4)) / 2  # the third is padding
    assert method.smoothed_loss(logits, target, smoothing=0.1).item() == pytest.approx(expected, abs=1e-6)


def test_length_penalty_is_what_one_computes_by_hand():
    assert method.length_penalty(1, 0.6) == 1
    assert method.length_penalty(7, 1) == 2
    assert method.length_penalty(19, 0.5) == 2
    assert method.length_penalty(50, 0) == 1


def test_the_likeliest_are_kept():
    p = torch.tensor([0.1, 0.4, 0.3, 0.2])
    torch.testing.assert_close(method.likeliest(p.log()), p)
    torch.testing.assert_close(method.likeliest(p.log(), top_k=2), torch.tensor([0, 4, 3, 0]) / 7)
    torch.testing.assert_close(method.likeliest(p.log(), top_p=0.65), torch.tensor([0, 4, 3, 0]) / 7)
    torch.testing.assert_close(method.likeliest(p.log(), top_p=0.01), torch.tensor([0.0, 1, 0, 0]))
    squared = p.square() / p.square().sum()
    torch.testing.assert_close(method.likeliest(p.log(), temperature=0.5), squared)


def test_slots_collapse():
    assert method.collapsed([5, 5, 0, 5, 6, 0, 0, 6, 6]) == [0, 3, 4, 7]
    assert method.collapsed([0, 0]) == []


def test_ctc_sums_over_all_ways_to_say_a_sentence():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 4)
    p = logits[0].softmax(dim=-1).double()
    total = sum(
        p[0, a] * p[1, b] * p[2, c]
        for a in range(4)
        for b in range(4)
        for c in range(4)
        if [(a, b, c)[slot] for slot in method.collapsed([a, b, c])] == [2, 3]
    )
    found = method.ctc_loss(logits, torch.tensor([3]), torch.tensor([[2, 3, PAD]]))
    assert found.item() == pytest.approx(-math.log(float(total)) / 2, abs=1e-5)
    # 2 2 needs three slots, a blank between them: with two it does not fit, and does not count.
    both = method.ctc_loss(logits.expand(2, -1, -1), torch.tensor([3, 2]), torch.tensor([[2, 3], [2, 2]]))
    assert both.item() == pytest.approx(found.item(), abs=1e-6)
    assert method.ctc_loss(logits, torch.tensor([1]), torch.tensor([[2, 3]])).item() == 0


def test_attention_between_words_keeps_its_sums():
    weights = torch.tensor([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
    found = method.grouped(weights, [range(2)], [range(1), range(1, 3)])
    torch.testing.assert_close(found, torch.tensor([[0.2, 0.8]]))


def test_entropy_counts_words():
    assert math.exp(method.entropy(torch.full((4,), 0.25))) == pytest.approx(4)
    assert method.entropy(torch.tensor([1.0, 0.0])).item() == 0


def test_kept_counts_the_words_that_carry_meaning():
    assert method.kept("The government is raising taxes.", "The government raises the taxes.") == pytest.approx(2 / 3)
    assert method.kept("A man is on the street.", "The government raises the taxes.") == 0


# ---- words

GERMAN = ["Ein Hund läuft, ein Hund schläft.", "Die Katze – „sehr“ müde – schläft  nicht!", "Drei Männer; 3,5 Bälle."]
CHINESE = ["我们走吧。", "你好吗？Tom", "“是”，我说 12 月。", "走走走！", " 我"]


@pytest.fixture(scope="module")
def small() -> words.Words:
    return words.learn([*GERMAN, *CHINESE, *words.SPECIAL], pieces=130, letters=100)


@pytest.mark.parametrize("sentence", [*GERMAN, *CHINESE, *(f"Hund {sign} Hund" for sign in words.SPECIAL)])
def test_a_sentence_comes_back_to_the_letter(small, sentence):
    assert small.text(small.ids(sentence)) == sentence
    again = words.read(small.write())
    assert again.ids(sentence) == small.ids(sentence)
    assert small.many([sentence, "Hund"]) == [small.ids(sentence), small.ids("Hund")]
    assert min(small.ids(sentence)) > UNKNOWN, "whoever types </s> means these letters"
    assert len(small) <= 130


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="Hundläft 我们吗，.3 ", max_size=20))
def test_whatever_is_written_with_known_letters_comes_back(small, sentence):
    assert small.text(small.ids(sentence)) == sentence
    found = small.split(sentence)
    assert [piece for word in found for piece in range(word.first, word.last + 1)] == list(
        range(len(small.ids(sentence)))
    )


def test_unknown_letters_are_shown_as_unknown(small):
    assert small.text(small.ids("Hund ☃")) == f"Hund {words.SHOWN_UNKNOWN}"
    found = small.split("Ein ☃ schläft.")
    assert [(word.text, word.known) for word in found] == [
        ("Ein", True), ("☃", False), ("schläft", True), (".", True),
    ]  # fmt: skip


def test_figures_tell_a_words_first_piece_from_the_later_ones(small):
    for sentence in ("Hundläuft", "我们 Hundläuft，"):
        shown = [small.shown(number) for number in small.ids(sentence)]
        assert "".join(shown).replace("·", "").replace("(space)", "") == sentence.replace(" ", "")
        assert sum(piece.startswith("·") for piece in shown) < len(shown)
    assert small.shown(UNKNOWN) == words.SHOWN_UNKNOWN


def test_pieces_make_words(small):
    assert [word.text for word in small.split("Ein Hund läuft, 我们走")] == [
        "Ein", "Hund", "läuft", ",", "我", "们", "走",
    ]  # fmt: skip


def test_chinese_words_get_the_meaning_that_goes_with_them():
    pairs = [("I like Tom", "我喜欢汤姆"), ("Tom walks", "汤姆走"), ("I walk", "我走"), ("You like me", "你喜欢我"),
             ("I see Tom", "我看汤姆")]  # fmt: skip
    found = words.meaning(pairs, fewest=2, least=0.5)
    assert found["汤姆"] == "Tom"
    assert found["喜欢"] == "like"
    assert "欢" not in found
    assert words.glossed("汤姆喜欢狗", found) == [("汤姆", "Tom"), ("喜欢", "like"), ("狗", "")]


# ---- BLEU

TEXTS = st.text(alphabet="ab c.,3-&(好“\n", max_size=24)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(["13a", "zh"]))
def test_tokens_are_those_of_sacrebleu(text, tokeniser):
    theirs = BLEU(tokenize=tokeniser).tokenizer(text.rstrip()).split()
    assert bleu.TOKENISERS[tokeniser](text) == theirs


@pytest.mark.parametrize("tokeniser", ["13a", "zh"])
def test_every_character_is_cut_as_sacrebleu_cuts_it(tokeniser):
    ours, theirs = bleu.TOKENISERS[tokeniser], BLEU(tokenize=tokeniser).tokenizer
    codes = [code for code in range(0x20, 0x2FFFF) if not 0xD800 <= code < 0xE000]
    parts = ["b".join(map(chr, codes[first : first + 100])) for first in range(0, len(codes), 100)]
    different = [part for part in parts if ours(part) != theirs(part.rstrip()).split()]
    assert different == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3),
    st.sampled_from(sorted(bleu.SMOOTHINGS)),
    st.sampled_from(["13a", "zh"]),
    st.booleans(),
)
def test_bleu_is_that_of_sacrebleu(pairs, smoothing, tokeniser, effective):
    referee = BLEU(smooth_method=smoothing, tokenize=tokeniser, effective_order=effective)
    theirs = referee.corpus_score([ours for ours, _ in pairs], [[true for _, true in pairs]])
    found = bleu.bleu(
        bleu.together(bleu.counts(*pair, tokeniser=tokeniser) for pair in pairs),
        smoothing=smoothing, effective=effective,
    )  # fmt: skip
    assert found.value == pytest.approx(theirs.score, abs=1e-9)
    assert found.precisions == pytest.approx(theirs.precisions, abs=1e-9)
    assert found.brevity == pytest.approx(theirs.bp, abs=1e-9)


def test_bleu_is_what_one_computes_by_hand():
    found = bleu.counts("the the cat sat", "the cat sat down today", tokeniser="13a")
    assert found == bleu.Counts((3, 2, 1, 0), (4, 3, 2, 1), 4, 5)
    expected = 100 * math.exp(1 - 5 / 4) * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** (1 / 4)
    assert bleu.bleu(found).value == pytest.approx(expected)
    assert bleu.bleu(found, smoothing="none").value == 0
    with pytest.raises(ValueError, match="expected one of"):
        bleu.bleu(found, smoothing="magic")


def test_matches_are_marked_as_often_as_they_count():
    assert bleu.marked("the the cat sat", "the cat sat down", tokeniser="13a") == [
        ("the", 1), ("the", 3), ("cat", 3), ("sat", 3),
    ]  # fmt: skip


def curves(rows, *, mean=False):
    return {name: bleu.running(rows, smoothing=name, mean=mean) for name in bleu.SMOOTHINGS}


def test_the_mean_of_sentences_is_not_the_bleu_of_all():
    parts = [bleu.counts("a b c d", "a b c d", tokeniser="13a"), bleu.counts("x", "y z", tokeniser="13a")]
    rows = [part.row() for part in parts]
    assert bleu.running(rows, smoothing="exp", mean=True) == pytest.approx([100, 50])
    whole = bleu.bleu(bleu.together(parts)).value
    assert whole != pytest.approx(50)
    assert bleu.running(rows, smoothing="exp") == pytest.approx([100, whole])
    assert bleu.bleu(bleu.together(rows)) == bleu.bleu(bleu.together(parts))


def test_the_smoothing_decides_on_a_small_test():
    first, second = [(5, 1, 0, 0, 8, 7, 6, 5, 8, 8)], [(3, 2, 0, 0, 8, 7, 6, 5, 8, 8)]
    assert bleu.find_flip(curves(first), curves(second)) == bleu.Flip(1, ahead="add-k", behind="exp")
    assert curves(first)["add-k"] > curves(second)["add-k"]
    assert curves(first)["exp"] < curves(second)["exp"]
    assert bleu.find_flip(curves(first), curves(first)) is None
    same = (8, 7, 6, 5, 8, 7, 6, 5, 8, 8)
    other = (0, 0, 0, 0, 8, 7, 6, 5, 8, 8)
    assert bleu.find_flip(curves([*first, same]), curves([*second, other])).sentences == 1, "the largest such test"
    # Together with a long one a sentence's zeros are no zeros any more; in the mean of both they still are.
    assert bleu.find_flip(curves([*first, same], mean=True), curves([*second, same], mean=True)).sentences == 2


# ---- training

LETTERS = "abcdefg"


def copies() -> corpus.Corpus:
    """Words of one letter, to be copied; every sequence of up to three."""
    rows = [""]
    for _ in range(3):
        rows = [*rows, *(f"{row} {letter}".strip() for row in rows for letter in LETTERS)]
    rows = sorted({row for row in rows if row})
    pairs = [(row, row) for row in rows]
    return corpus.Corpus(pairs * 3, pairs[:60], pairs[-60:])


TINY = recipe.Recipe(
    width=32, layers=(1, 1), heads=2, hidden=64, pieces=40, dropout=0.0, label_smoothing=0.0, average=0.0, epochs=10,
    batch=32, rate=5e-3, warm=0.2,
)  # fmt: skip
TINY_OF = {
    "transformer": TINY,
    "attention": dataclasses.replace(TINY, kind="attention"),
    "lstm": dataclasses.replace(TINY, kind="lstm", width=48, epochs=16, rate=1e-2),
    "ctc": dataclasses.replace(TINY, kind="ctc", epochs=16),
}


@pytest.mark.parametrize("kind", TINY_OF)
def test_copying_is_learnt_to_the_last_word(kind):
    examples = copies()
    net, history = recipe.train(TINY_OF[kind], seed=0, examples=examples, report=lambda _: None)
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]
    sentences = [first for first, _ in examples.train[: len(examples.train) // 3]]
    assert scoring.translate(net, sentences) == sentences
    if not isinstance(net, CTCTranslator):
        sources = [[*ids, END] for ids in net.words.many(sentences[::20])]
        assert [net.words.text(decoding.beam(net, source, width=3, limit=9).best) for source in sources] == sentences[
            ::20
        ]


@pytest.mark.parametrize("options", [{}, {"average": 0.9, "label_smoothing": 0.1}])
def test_a_killed_run_ends_as_one_that_was_not(tmp_path, options):
    asked = dataclasses.replace(TINY, epochs=3, dropout=0.1, **options)
    examples = corpus.Corpus(copies().train[:96], copies().validation[:8], copies().test[:8])
    quiet = {"seed": 1, "examples": examples, "report": lambda _: None}
    whole, history = recipe.train(asked, **quiet)
    recipe.train(asked, folder=tmp_path, budget_s=1e9, **quiet)
    first, _ = recipe.train(asked, folder=tmp_path, **quiet)
    folder = tmp_path / "killed"
    epochs = []

    def stop(line: str) -> None:
        epochs.append(line)
        if len(epochs) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipe.train(asked, folder=folder, **{**quiet, "report": stop})
    again, resumed = recipe.train(asked, folder=folder, **quiet)
    assert len(resumed.rows) == len(history.rows) == 3
    for net in (first, again):
        for name, tensor in whole.state_dict().items():
            torch.testing.assert_close(net.state_dict()[name], tensor, rtol=0, atol=0)


def test_no_epoch_is_begun_that_would_end_too_late(tmp_path):
    examples = corpus.Corpus(copies().train[:96], copies().validation[:8], copies().test[:8])
    _, history = recipe.train(TINY, seed=0, examples=examples, budget_s=-1.0, report=lambda _: None)
    assert history.rows == []


def test_batches_are_full_and_hold_a_sentence_once_and_like_lengths_together():
    lengths = torch.randint(1, 60, (1000,), generator=torch.Generator().manual_seed(0))
    found = list(recipe.batches(lengths, 32, seed=3))
    assert [len(part) for part in found] == [32] * (1000 // 32)
    assert len(torch.cat(found).unique()) == 32 * len(found)
    spread = sum(int(lengths[part].max() - lengths[part].min()) for part in found) / len(found)
    assert spread < 6
    assert [part.tolist() for part in recipe.batches(lengths, 32, seed=3)] == [part.tolist() for part in found]
    assert [part.tolist() for part in recipe.batches(lengths, 32, seed=4)] != [part.tolist() for part in found]


def test_the_memory_answers_with_the_most_similar_sentence():
    train = [("Ein Hund läuft.", "A dog runs."), ("Eine Katze schläft.", "A cat sleeps.")]
    assert scoring.memory(train, ["Die Katze schläft nicht.", "Hund!"]) == ["A cat sleeps.", "A dog runs."]


class Copier(Translator):
    """Writes the source again, sure of each piece and looking at it; in place of what it cannot know it writes 4."""

    def __init__(self, pieces: words.Words) -> None:
        super().__init__(network.table(len(pieces), 4))
        self.words, self.direction = pieces, "de-en"

    def read(self, source: Tensor) -> network.Reading:
        return network.Reading(source[..., None].float(), None, ())

    def begin(self, reading: network.Reading) -> network.Past:
        return (torch.zeros(1, len(reading.states), 1, dtype=torch.long),)

    def step(self, tokens, reading, past, *, weigh=False) -> network.Step:
        source = reading.states[..., 0].long()
        places = (past[0][0] + torch.arange(tokens.shape[1])).clamp_max(source.shape[1] - 1)
        said = source.gather(1, places)
        logits = 20.0 * torch.nn.functional.one_hot(said.where(said != UNKNOWN, 4), len(self.words))
        weights = torch.nn.functional.one_hot(places, source.shape[1])[:, None, None].float()
        return network.Step(logits, (past[0] + tokens.shape[1],), weights)


@pytest.fixture(scope="module")
def copier() -> Copier:
    letters = [f"{a} {b}" for a in "abcdef" for b in "abcdef"]
    return Copier(words.learn(letters, pieces=40, letters=20))


def test_a_word_turns_if_what_it_looked_at_is_hidden(copier):
    sentences = ["b c d e", "f e d c b"]
    assert scoring.translate(copier, sentences) == sentences
    assert scoring.turned(copier, sentences, seed=0) == {"turned": 1.0, "turned_other": 0.0}


def test_after_the_true_beginning_each_right_piece_counts(copier):
    pairs = [("b c d e f", "b c d e f"), ("b c d e f", "b c d f e")]
    true = [second for _, second in pairs]
    expected = BLEU().corpus_score([first for first, _ in pairs], [true]).score
    found = scoring.forced(copier, pairs)
    assert found["accuracy_forced"] == pytest.approx(10 / 12), "five letters and the end, twice; two of them wrong"
    assert found["bleu_forced"] == pytest.approx(expected, abs=1e-9)


def test_a_beam_is_likelier_only_where_it_is(copier, monkeypatch):
    sentences = ["b c d e", "f e d c b"]
    assert scoring.likelier(copier, sentences) == 1
    real = decoding.beam

    def worse(net, source, **options):
        found = real(net, source, **options)
        return dataclasses.replace(found, score=found.score - len(source) // 6)

    monkeypatch.setattr(decoding, "beam", worse)
    assert scoring.likelier(copier, sentences) == 0.5


def test_a_translator_that_writes_nothing_is_sure_of_nothing(monkeypatch):
    net = made("ctc")
    net.words = words.learn([sentence for pair in recipe.OUTSIDE for sentence in pair], pieces=40, letters=30)
    monkeypatch.setattr(decoding, "fill", lambda *_, **__: [[]])
    assert recipe.find_failure(net) is None


def test_weights_fit_their_room():
    megabytes = {}
    for name, asked in recipe.RECIPES.items():
        if asked.keep_weights:
            net = build(**recipe.describe_network(asked, asked.pieces))
            megabytes[name] = 2 * sum(tensor.numel() for tensor in net.state_dict().values()) / 1e6
    assert max(megabytes.values()) <= 5.25
    assert sum(megabytes.values()) <= 18.6, megabytes  # pieces, samples and counts take another megabyte


@pytest.mark.parametrize("direction", ["de-en", "en-zh"])
@pytest.mark.parametrize("kind", ["transformer", "ctc"])
def test_a_run_is_measured_stored_and_found_again(tmp_path, monkeypatch, kind, direction):
    """From training to the files that travel with the weights, on sentences of one-letter words."""
    copied = [f"{row} d e f" for row, _ in copies().train[:60]]
    rows = [(row, row if direction == "de-en" else row.replace("a", "我")) for row in copied]
    examples = corpus.Corpus(rows, rows[:8], rows[:12])
    monkeypatch.setattr(corpus, "corpus", lambda _: examples)
    asked = dataclasses.replace(TINY_OF[kind], direction=direction, epochs=1, batch=16)
    net, history = recipe.train(asked, seed=0, report=lambda _: None)
    scores = scoring.evaluate(net, seed=0)
    assert all(math.isfinite(value) for value in scores.values())
    assert scores["bleu_memory"] > 0
    found = scoring.measured(net)
    tokenize = scoring.TOKENISERS[direction]
    metric = BLEU(tokenize=tokenize)
    referee = metric.corpus_score(found.beam, [[true for _, true in examples.test]])
    assert scores["bleu"] == pytest.approx(referee.score, abs=1e-9)
    assert scoring.signature(direction) == str(metric.get_signature())
    by_words = sorted(zip(found.beam, examples.test, strict=True), key=lambda case: len(case[1][0].split()))
    for name, part in {"bleu_short": by_words[:4], "bleu_long": by_words[-4:]}.items():
        third = BLEU(tokenize=tokenize).corpus_score([ours for ours, _ in part], [[true for _, (_, true) in part]])
        assert scores[name] == pytest.approx(third.score, abs=1e-9)
    assert ("turned" in scores) == ("bleu_forced" in scores) == (kind == "transformer")
    config = {
        **recipe.describe(asked),
        "scores": {name: {"stored": value, "mean": value, "spread": 0.0, "runs": 1} for name, value in scores.items()},
        "measured": {"command": "", "commit": "", "seeds": [0], "spread": ""},
    }
    run = store.save(
        "translation/tiny",
        config=config,
        network=net,
        history=history,
        companions=recipe.companions(net),
        checkpoints=tmp_path,
    )
    again = recipe.restore(run)
    expected = run.tensors("expected.safetensors")
    torch.testing.assert_close(again(expected["input"]), expected["output"])
    sentences = [source for source, _ in examples.test]
    assert scoring.translate(again, sentences) == found.greedy
    outputs = json.loads(run.path("outputs.json").read_text())
    assert [row["greedy"] for row in outputs] == found.greedy
    counts = run.tensors("counts.safetensors")["beam"].tolist()
    assert bleu.bleu(bleu.together(counts)).value == pytest.approx(scores["bleu"], abs=1e-9)
    assert run.path("failure.json" if direction == "de-en" else "glossary.json").is_file()


def test_the_strongest_failure_is_one(monkeypatch):
    """Whatever the network says of a sentence that it cannot know is wrong; only the sure ones count."""
    net = made("transformer")
    net.words = words.learn([sentence for pair in recipe.OUTSIDE for sentence in pair], pieces=40, letters=30)
    with torch.inference_mode():
        net.norms[1].weight.zero_()
        net.norms[1].bias.zero_()
    assert recipe.find_failure(net) is None, "all pieces are as likely, so it is sure of none"
    with torch.inference_mode():
        net.norms[1].bias.copy_(50 * net.embedding.weight[END])
    found = recipe.find_failure(net)
    assert found["kept"] <= 0.4
    assert found["sure"] >= 0.3
    assert (found["sentence"], found["meaning"]) in recipe.OUTSIDE


def test_traditional_script_is_simplified():
    assert corpus.simplified([("a red pencil", "紅色的鉛筆"), ("good", "很好")]) == [
        ("a red pencil", "红色的铅笔"), ("good", "很好"),
    ]  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize(("direction", "count"), [("de-en", 29_000), ("en-zh", 61_535)])
def test_the_real_sentences_come_back_to_the_letter(direction, count):
    if not data.available(corpus.SOURCES[direction]):
        pytest.skip("the sentences are not below VITRINE_DATA")
    examples, asked = corpus.corpus(direction), recipe.Recipe(direction=direction)
    assert len(examples.train) == count
    pieces = recipe.learnt_words(asked, examples.train)
    assert len(pieces) == asked.pieces
    sentences = [sentence for pair in examples.train for sentence in pair]
    again = [pieces.text(ids) for ids in pieces.many(sentences)]
    assert [(ours, true) for ours, true in zip(again, sentences, strict=True) if ours != true] == []
