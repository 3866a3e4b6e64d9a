"""Translators that others published, behind the interface of this topic's own.

They are Marian models (Junczys-Dowmunt et al. 2018, arXiv:1804.00344) that transformers runs: six layers of
width 512 in encoder and decoder, trained on OPUS by the University of Helsinki.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core import published, store
from core.topics.translation.card import PUBLISHED, PublishedTranslator
from core.topics.translation.network import END, PAD, UNKNOWN, Past, Reading, Step, Translator, visible_of
from core.topics.translation.words import SHOWN_UNKNOWN, Word, Words

TIED = ("lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
SHARED, BIAS = "model.shared.weight", "final_logits_bias"
MOST = {  # of a model that is built at all
    "vocab_size": 100_000, "d_model": 1024, "max_position_embeddings": 1024, "encoder_layers": 12, "decoder_layers": 12,
    "encoder_ffn_dim": 8192, "decoder_ffn_dim": 8192, "encoder_attention_heads": 32, "decoder_attention_heads": 32,
}  # fmt: skip


class PublishedWords(Words):
    """Pieces that SentencePiece cuts, numbered as this topic's networks number theirs.

    vocabulary  piece -> its number in the published model
    order       ours -> the published model's number; the first four are PAD, BEGIN, END, UNKNOWN
    cutter      SentencePiece's processor of the source language
    begins      see PublishedTranslator
    """

    def __init__(self, vocabulary: Mapping[str, int], order: Sequence[int], cutter: Any, begins: str) -> None:
        names = {number: piece for piece, number in vocabulary.items()}
        self.names = [names[number] for number in order]
        self.numbers = {piece: place for place, piece in enumerate(self.names) if place >= UNKNOWN}
        self.cutter, self.begins = cutter, begins

    def __len__(self) -> int:
        return len(self.names)

    def ids(self, text: str) -> list[int]:
        return [number for number, _, _ in self._cut(text)]

    def piece(self, number: int) -> str:
        return SHOWN_UNKNOWN if number == UNKNOWN else self.names[number]

    def split(self, text: str) -> list[Word]:
        cut = self._cut(text)
        ids = [number for number, _, _ in cut]
        mark = 1 if self.begins else 0  # no word of the sentence
        words = []
        for group in self.groups(ids[mark:]):
            first, last = group[0] + mark, group[-1] + mark
            written = text[cut[first][1] : cut[last][2]].strip() or self.piece(ids[first])
            words.append(Word(written, first, last, UNKNOWN not in ids[first : last + 1]))
        return words

    def _cut(self, text: str) -> list[tuple[int, int, int]]:
        """Number of each piece, and where it begins and ends in the text."""
        found = [(self.numbers[self.begins], 0, 0)] if self.begins else []
        cut = self.cutter.encode(text, return_type="offset_mapping")
        numbers = (self.numbers.get(piece, UNKNOWN) for piece in cut["pieces"])
        return found + [(number, *place) for number, place in zip(numbers, cut["offsets"], strict=True)]


class PublishedNetwork(Translator):
    """A Marian model of transformers that reads once and then steps, see `network`.

    model  its pieces in this topic's order
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model.model.shared)
        self.model = model

    def read(self, source: Tensor) -> Reading:
        visible = visible_of(source)
        states = self.model.model.encoder(input_ids=source, attention_mask=visible).last_hidden_state
        return Reading(states, visible, ())

    def begin(self, reading: Reading) -> Past:
        return ()

    def step(self, tokens: Tensor, reading: Reading, past: Past, *, weigh: bool = False) -> Step:
        from transformers.cache_utils import DynamicCache, EncoderDecoderCache

        half = len(past) // 2  # keys and values of what is written, then of the source, a tensor for each layer
        known = (
            DynamicCache(ddp_cache_data=[(keys, values) for keys, values in part])
            for part in (past[:half], past[half:])
        )
        found = self.model.model.decoder(
            input_ids=tokens,
            encoder_hidden_states=reading.states,
            encoder_attention_mask=reading.visible,
            past_key_values=EncoderDecoderCache(*known),
            use_cache=True,
            output_attentions=weigh,
        )
        kept = found.past_key_values
        parts = [*kept.self_attention_cache.layers, *kept.cross_attention_cache.layers]
        logits = self.classify(found.last_hidden_state) + self.model.final_logits_bias
        weights = torch.stack(found.cross_attentions, dim=1) if weigh else None
        return Step(logits, tuple(torch.stack([part.keys, part.values]) for part in parts), weights)


@dataclass(frozen=True)
class Loaded:
    """A translator in memory: frozen, in eval mode, shared by all visitors."""

    published: PublishedTranslator
    commit: str
    network: PublishedNetwork


def build(asked: PublishedTranslator, commit: str, files: published.Files) -> Loaded:
    """The translator, once everything about its files fits; raises BadRun, naming file and leaf, if it does not."""
    import core.vision  # noqa: F401, I001  (transformers asks for torchvision, which has its own door)
    from transformers import MarianConfig, MarianMTModel

    name = f"{asked.repository}/config.json"
    said = store.json_object(files["config.json"], name)
    vocabulary = store.json_object(files["vocab.json"], f"{asked.repository}/vocab.json")
    order = _order(asked, vocabulary, said)
    for leaf, wanted in {"model_type": "marian", "share_encoder_decoder_embeddings": True}.items():
        if said.get(leaf) != wanted:
            raise store.BadRun(f"{name}: {leaf} is {said.get(leaf)!r}, not {wanted!r}")
    for leaf, most in MOST.items():
        if not isinstance(said.get(leaf), int) or not 0 < said[leaf] <= most:
            raise store.BadRun(f"{name}: {leaf} is {said.get(leaf)!r}, expected 1 to {most}")
    ours = {"vocab_size": len(order), "decoder_vocab_size": len(order), "pad_token_id": PAD, "eos_token_id": END}
    try:
        # Eager attention alone tells where it looked. On meta, without memory and random numbers of its own.
        config = MarianConfig.from_dict({**said, **ours, "attn_implementation": "eager"})
        with torch.device("meta"):
            model = MarianMTModel(config)
    except (TypeError, ValueError, LookupError) as error:
        raise store.BadRun(f"{name}: {error}") from error
    _fill(model, asked, files[published.WEIGHTS], order)
    network = PublishedNetwork(model).eval().requires_grad_(False)
    network.direction = asked.direction
    network.words = PublishedWords(vocabulary, order, _cutter(asked, files["source.spm"]), asked.begins)
    return Loaded(asked, commit, network)


def _order(asked: PublishedTranslator, vocabulary: Mapping[str, Any], said: Mapping[str, Any]) -> list[int]:
    """The published number of each of our pieces: PAD, BEGIN (the same), END and UNKNOWN first."""
    name = f"{asked.repository}/vocab.json"
    count = said.get("vocab_size")
    if set(vocabulary.values()) != set(range(len(vocabulary))) or len(vocabulary) != count:
        raise store.BadRun(f"{name}: expected {count} pieces, numbered from 0")
    for piece in ("<pad>", "</s>", "<unk>", *([asked.begins] if asked.begins else [])):
        if piece not in vocabulary:
            raise store.BadRun(f"{name}: {piece} is missing")
    pad, end, unknown = (vocabulary[piece] for piece in ("<pad>", "</s>", "<unk>"))
    for leaf, wanted in {"pad_token_id": pad, "eos_token_id": end, "decoder_start_token_id": pad}.items():
        if said.get(leaf) != wanted:
            raise store.BadRun(
                f"{asked.repository}/config.json: {leaf} is {said.get(leaf)!r}, not vocab.json's {wanted}"
            )
    first = [pad, pad, end, unknown]
    return [*first, *(number for number in range(len(vocabulary)) if number not in first)]


def _fill(model: Any, asked: PublishedTranslator, path: Path, order: Sequence[int]) -> None:
    """Give the model the file's weights, its pieces in our order."""
    name = f"{asked.repository}/{published.WEIGHTS}"

    def own(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # One table serves three ends, and places are computed, whatever of these a file repeats.
        return {leaf: t for leaf, t in leaves.items() if leaf not in TIED and "embed_positions" not in leaf}

    stored, wanted = own(store.tensors(path, name)), own(model.state_dict())
    wanted[SHARED] = wanted[SHARED][:-1]  # ours has BEGIN beside PAD
    wanted[BIAS] = wanted[BIAS][:, :-1]
    store.check_leaves(stored, wanted, name)
    weights = {leaf: tensor.float() for leaf, tensor in stored.items()}
    numbers = torch.tensor(order)
    weights[SHARED], weights[BIAS] = weights[SHARED][numbers], weights[BIAS][:, numbers]
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    for part in (model.model.encoder, model.model.decoder):
        part.embed_positions.weight = nn.Parameter(part.embed_positions.create_weight(), requires_grad=False)


def _cutter(asked: PublishedTranslator, path: Path) -> Any:
    """SentencePiece's processor."""
    from sentencepiece import SentencePieceProcessor

    cutter = SentencePieceProcessor()
    try:
        cutter.LoadFromSerializedProto(path.read_bytes())
    except RuntimeError as error:
        raise store.BadRun(f"{asked.repository}/source.spm is no SentencePiece model") from error
    return cutter


SHELF = published.Shelf(PUBLISHED, build)
