"""A published translator behind our interface: what transformers' own generate() writes, and files that do not fit."""

import gc
import io
import json
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from hub import Hub, asked_by_the_client
from published import STAGES
from published import files as imagenet_files
from safetensors.torch import save

from core import imagenet, store
from core import published as shelves
from core.card import PublishedImageNet
from core.topics.translation import decoding
from core.topics.translation.card import PUBLISHED, PublishedTranslator
from core.topics.translation.network import BEGIN, END, PAD, UNKNOWN
from core.topics.translation.published import SHELF, Loaded
from core.vision import torchvision  # noqa: F401

from transformers import MarianConfig, MarianMTModel, MarianTokenizer  # isort: skip  (asks for torchvision)

pytestmark = pytest.mark.usefixtures("one_thread")

COMMIT = "0123456789" * 4
PREFIX = ">>cmn_Hans<<"
GERMAN = [
    "Die Regierung erhöht die Steuern.", "Ein Mann spielt Gitarre auf der Straße.", "Zwei Hunde laufen im Schnee.",
    "Eine Frau mit einem gelben Hut kauft Obst auf einem Markt.", "Drei Kinder spielen mit einem roten Ball.",
]  # fmt: skip
ENGLISH = ["The government raises taxes.", "A man plays guitar.", "Two dogs run in the snow.", "Three children play."]
TINY = PublishedTranslator("Helsinki-NLP/tiny", COMMIT, "Tiny", 0.1, direction="de-en")


def cutter(sentences: list[str]) -> bytes:
    """A SentencePiece model of these sentences."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=written, vocab_size=70, hard_vocab_limit=False,
        bos_id=-1, pad_id=-1, minloglevel=2,
    )  # fmt: skip
    return written.getvalue()


def files(*, first: str = "") -> dict[str, bytes]:
    """A repository as the Hub has it: a small Marian model from a seed, with its two SentencePiece models."""
    models = [cutter(GERMAN), cutter(ENGLISH)]
    pieces = dict.fromkeys(["</s>", "<unk>", *([first] if first else [])])
    for model in models:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        pieces |= dict.fromkeys(processor.id_to_piece(number) for number in range(len(processor)))
    vocabulary = {piece: number for number, piece in enumerate([*pieces, "<pad>"])}
    pad = vocabulary["<pad>"]
    config = MarianConfig(
        vocab_size=len(vocabulary), d_model=32, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64,
        activation_function="swish", scale_embedding=True, pad_token_id=pad, eos_token_id=0, forced_eos_token_id=0,
        decoder_start_token_id=pad, share_encoder_decoder_embeddings=True, bad_words_ids=[[pad]],
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MarianMTModel(config).eval()
        for tensor in model.parameters():
            tensor.data += 0.2 * torch.randn_like(tensor)
        model.final_logits_bias = 0.5 * torch.randn_like(model.final_logits_bias)
        model.model.shared.weight.data[pad] = 0
    leaves = {name: t.contiguous() for name, t in model.state_dict().items() if "embed_" not in name}
    leaves.pop("lm_head.weight", None)
    return {
        "config.json": json.dumps(config.to_dict()).encode(),
        "source.spm": models[0],
        "target.spm": models[1],
        "vocab.json": json.dumps(vocabulary).encode(),
        "model.safetensors": save(leaves),
    }


@pytest.fixture(scope="module")
def repository() -> dict[str, bytes]:
    return files()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: dict[str, bytes]) -> Iterator[Hub]:
    """A Hub with the small translator, and nothing in memory."""
    monkeypatch.setattr(shelves, "_held", None)
    monkeypatch.setattr(shelves, "_job", None)
    with Hub() as hub, asked_by_the_client(hub, tmp_path / "cache", monkeypatch):
        hub.put(TINY.repository, COMMIT, repository)
        yield hub


def loaded(asked: PublishedTranslator = TINY) -> Loaded:
    [*_, last] = SHELF.loading(asked)
    assert last.loaded
    return last.loaded


def theirs(repository: dict[str, bytes], folder: Path) -> tuple[Any, Any]:
    """transformers' own model and tokenizer, from the same files."""
    for name, content in repository.items():
        (folder / name).write_bytes(content)
    model = MarianMTModel.from_pretrained(folder).eval()
    words = MarianTokenizer(str(folder / "source.spm"), str(folder / "target.spm"), str(folder / "vocab.json"))
    return model, words


def test_the_list_is_short_and_its_models_are_small() -> None:
    assert {published.direction for published in PUBLISHED.values()} == {"de-en", "en-zh"}
    assert all(published.megabytes <= shelves.LIMIT_MB for published in PUBLISHED.values())


@pytest.mark.parametrize("sentence", [*GERMAN, "Ein Kind kauft Schnee, 日本."])
def test_it_writes_what_transformers_writes(
    sentence: str, hub: Hub, repository: dict[str, bytes], tmp_path: Path
) -> None:
    network = loaded().network
    model, words = theirs(repository, tmp_path)
    asked = words([sentence], return_tensors="pt")
    [own] = decoding.greedy(network, [[*network.words.ids(sentence), END]], limit=20)
    found = model.generate(**asked, max_new_tokens=20, num_beams=1, do_sample=False, forced_eos_token_id=None)[0]
    pieces = words.convert_ids_to_tokens(found[1:])
    expected = pieces[: pieces.index("</s>")] if "</s>" in pieces else pieces
    assert [network.words.names[number] for number in own] == expected
    assert network.words.text(own) == words.decode(found, skip_special_tokens=True)


def test_its_logits_are_those_of_transformers(hub: Hub, repository: dict[str, bytes], tmp_path: Path) -> None:
    network = loaded().network
    model, words = theirs(repository, tmp_path)
    asked = words(GERMAN[:3], return_tensors="pt", padding=True)
    table = decoding.padded([[*ids, END] for ids in map(network.words.ids, GERMAN[:3])])
    order = torch.tensor([words.pad_token_id, words.pad_token_id, words.eos_token_id, words.unk_token_id])
    rest = [n for n in range(len(network.words) - 1) if n not in order.tolist()]
    order = torch.cat([order, torch.tensor(rest)])
    given = torch.tensor([[BEGIN, 9, 7, 5]]).expand(3, -1)
    with torch.inference_mode():
        own = network(table, given)
        expected = model(**asked, decoder_input_ids=order[given]).logits[..., order]
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


def test_loading_draws_no_random_numbers(hub: Hub) -> None:
    before = torch.get_rng_state()
    loaded()
    assert torch.equal(torch.get_rng_state(), before)


def test_of_all_kinds_one_is_in_memory(hub: Hub) -> None:
    other = PublishedImageNet("timm/t.tiny", COMMIT, "T", 1.3, architecture="test_resnet", stages=STAGES)
    hub.put(other.repository, COMMIT, imagenet_files(other))
    [*_, last] = imagenet.SHELF.loading(other)
    first = weakref.ref(last.loaded.network)
    del last
    loaded()
    gc.collect()
    assert first() is None


def test_step_by_step_is_all_at_once_and_weights_sum_to_one(hub: Hub) -> None:
    network = loaded().network
    source = decoding.padded([[*network.words.ids(GERMAN[0]), END]])
    given = torch.tensor([[BEGIN, 9, 7, 5, 11]])
    with torch.inference_mode():
        reading = network.read(source)
        whole = network.step(given, reading, network.begin(reading), weigh=True)
        past, parts = network.begin(reading), []
        for piece in given.unbind(dim=1):
            logits, past, weights = network.step(piece[:, None], reading, past, weigh=True)
            parts.append((logits, weights))
    torch.testing.assert_close(torch.cat([logits for logits, _ in parts], dim=1), whole.logits, rtol=1e-5, atol=1e-5)
    looked = torch.cat([weights for _, weights in parts], dim=3)
    torch.testing.assert_close(looked, whole.weights, rtol=1e-5, atol=1e-5)
    assert looked.shape == (1, 3, 4, 5, source.shape[1])
    torch.testing.assert_close(looked.sum(dim=-1), torch.ones(looked.shape[:-1]), rtol=1e-5, atol=1e-5)


def test_a_beam_of_one_is_greedy(hub: Hub) -> None:
    network = loaded().network
    source = [*network.words.ids(GERMAN[1]), END]
    [greedy] = decoding.greedy(network, [source], limit=15)
    assert list(decoding.beam(network, source, width=1, limit=15).best) == greedy


def test_a_beam_is_that_of_generate(hub: Hub) -> None:
    """Without a length penalty: the likeliest of the sentences that four beginnings lead to."""
    network = loaded().network
    for sentence in GERMAN:
        source = [*network.words.ids(sentence), END]
        with torch.inference_mode():
            theirs = network.model.generate(
                input_ids=torch.tensor([source]), num_beams=4, length_penalty=0.0, early_stopping=True,
                max_new_tokens=15, do_sample=False, forced_eos_token_id=None, forced_bos_token_id=None,
                decoder_start_token_id=BEGIN, pad_token_id=PAD, eos_token_id=END,
                bad_words_ids=[[PAD], [BEGIN], [UNKNOWN]],
            )[0, 1:].tolist()  # fmt: skip
        ours = decoding.beam(network, source, width=4, alpha=0.0, limit=15)
        assert list(ours.pieces) == theirs


def test_words_stand_where_they_were_typed(hub: Hub) -> None:
    network = loaded().network
    sentence = "Die Straße erhöht Schnee, 日本."
    words = network.words.split(sentence)
    assert [word.text for word in words][:4] == ["Die", "Straße", "erhöht", "Schnee"]
    assert not all(word.known for word in words)
    assert [word.first for word in words] == [0, *(word.last + 1 for word in words[:-1])]


def test_a_language_is_asked_for_by_its_piece(hub: Hub) -> None:
    asked = replace(TINY, repository="Helsinki-NLP/several", direction="en-zh", begins=PREFIX)
    hub.put(asked.repository, COMMIT, files(first=PREFIX))
    words = loaded(asked).network.words
    assert words.piece(words.ids("Zwei Hunde")[0]) == PREFIX
    assert [word.text for word in words.split("Zwei Hunde")] == ["Zwei", "Hunde"]
    assert words.split("Zwei Hunde")[0].first == 1


def test_a_branch_is_followed_to_its_commit(hub: Hub) -> None:
    open_ended = replace(TINY, commit=None, branch="refs/pr/4")
    assert loaded(open_ended).commit == COMMIT
    assert SHELF.here(open_ended)


def changed(repository: dict[str, bytes], file: str, **leaves: Any) -> dict[str, bytes]:
    """The repository with other leaves in a JSON file; None takes one away."""
    content = json.loads(repository[file]) | leaves
    kept = {name: value for name, value in content.items() if value is not None}
    return repository | {file: json.dumps(kept).encode()}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: changed(r, "config.json", model_type="bart"), "model_type is 'bart'"),
        (lambda r: changed(r, "config.json", decoder_start_token_id=0), "decoder_start_token_id"),
        (lambda r: changed(r, "config.json", d_model=4096), "d_model is 4096, expected 1 to 1024"),
        (lambda r: changed(r, "config.json", decoder_ffn_dim="64"), "decoder_ffn_dim is '64'"),
        (lambda r: changed(r, "config.json", activation_function="none"), "config.json: .*none"),
        (lambda r: changed(r, "config.json", encoder_attention_heads=5), "config.json: .*divisible"),
        (lambda r: changed(r, "config.json", share_encoder_decoder_embeddings=False), "embeddings is False, not True"),
        (lambda r: changed(r, "config.json", encoder_layers=3), r"layers\.2\.\S+ is missing"),
        (lambda r: changed(r, "config.json", decoder_layers=2), "is not part of the network"),
        (
            lambda r: changed(r, "config.json", encoder_ffn_dim=60),
            r"fc1\.bias has shape \(64,\), the network expects \(60,\)",
        ),
        (lambda r: changed(r, "vocab.json", **{"<unk>": None}), "pieces, numbered from 0"),
        (lambda r: r | {"source.spm": b"nothing"}, r"source\.spm is no SentencePiece model"),
        (lambda r: r | {"model.safetensors": b"nothing"}, r"model\.safetensors"),
    ],
)
def test_files_that_do_not_fit_are_named(damage: Any, message: str, hub: Hub, repository: dict[str, bytes]) -> None:
    asked = replace(TINY, repository="Helsinki-NLP/damaged")
    hub.put(asked.repository, COMMIT, damage(repository))
    with pytest.raises(store.BadRun, match=message):
        loaded(asked)
    assert not SHELF.here(asked)
