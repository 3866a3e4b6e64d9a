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
from core.card import Published
from core.topics.translation.network import PAD, UNKNOWN, Past, Reading, Step, Translator, visible_of
from core.topics.translation.words import SHOWN_UNKNOWN, Word, Words

TIED = ("lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
SHARED, BIAS = "model.shared.weight", "final_logits_bias"
MOST_PIECES, MOST_WIDTH, MOST_LAYERS = 100_000, 1024, 12  # of a model that is built at all


@dataclass(frozen=True, kw_only=True)
class PublishedTranslator(Published):
    """One of the Hub's Marian models.

    direction  "de-en" or "en-zh"
    begins     the piece that stands before each source sentence, where there are several target languages
    """

    direction: str
    begins: str = ""
    files: tuple[str, ...] = ("config.json", "source.spm", "target.spm", "vocab.json")


# Their main branches hold pickles only. The converted weights stand in requests to merge them, which have no commit
# that is known here: the first download decides.
PUBLISHED = {
    "opus_de_en": PublishedTranslator(
        "Helsinki-NLP/opus-mt-de-en", None, "OPUS-MT, German to English", 298.0, "refs/pr/4", direction="de-en"
    ),
    "opus_en_zh": PublishedTranslator(
        "Helsinki-NLP/opus-mt-en-zh",
        None,
        "OPUS-MT, English to Chinese",
        312.0,
        "refs/pr/26",
        direction="en-zh",
        begins=">>cmn_Hans<<",
    ),
}


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

    def many(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.ids(text) for text in texts]

    def piece(self, number: int) -> str:
        return SHOWN_UNKNOWN if number == UNKNOWN else self.names[number]

    def split(self, text: str) -> list[Word]:
        cut = self._cut(text)
        ids = [number for number, _, _ in cut]
        words = []
        for group in self.groups(ids):
            first, last = group[0], group[-1]
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
        nn.Module.__init__(self)
        self.model, self.embedding = model, model.model.shared
        self.width = model.config.d_model

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
    if said.get("model_type") != "marian":
        raise store.BadRun(f"{name}: model_type is {said.get('model_type')!r}, not 'marian'")
    vocabulary, order = _order(asked, files["vocab.json"], said, name)
    config = MarianConfig.from_dict({**said, "attn_implementation": "eager"})  # others do not tell where they look
    sizes = (config.vocab_size, config.d_model, max(config.encoder_layers, config.decoder_layers))
    if any(size > most for size, most in zip(sizes, (MOST_PIECES, MOST_WIDTH, MOST_LAYERS), strict=True)):
        raise store.BadRun(f"{name}: {sizes} pieces, numbers and layers are more than is loaded")
    config.vocab_size = config.decoder_vocab_size = len(order)
    config.pad_token_id = PAD
    model = MarianMTModel(config)
    model.load_state_dict(_weights(asked, files[published.WEIGHTS], model, order), strict=False)
    model.tie_weights()
    network = PublishedNetwork(model).float().eval().requires_grad_(False)
    network.direction = asked.direction
    network.words = PublishedWords(vocabulary, order, _cutter(asked, files["source.spm"]), asked.begins)
    return Loaded(asked, commit, network)


def _order(
    asked: PublishedTranslator, path: Path, said: Mapping[str, Any], name: str
) -> tuple[dict[str, int], list[int]]:
    """The pieces, and the published number of each of ours: PAD, BEGIN (the same), END and UNKNOWN first."""
    listed = f"{asked.repository}/vocab.json"
    vocabulary = store.json_object(path, listed)
    count = said.get("vocab_size")
    if sorted(vocabulary.values()) != list(range(len(vocabulary))) or len(vocabulary) != count:
        raise store.BadRun(f"{listed}: expected {count} pieces, numbered from 0")
    for piece in ("<pad>", "</s>", "<unk>", *([asked.begins] if asked.begins else [])):
        if piece not in vocabulary:
            raise store.BadRun(f"{listed}: {piece} is missing")
    pad, end, unknown = (vocabulary[piece] for piece in ("<pad>", "</s>", "<unk>"))
    if (said.get("pad_token_id"), said.get("eos_token_id"), said.get("decoder_start_token_id")) != (pad, end, pad):
        raise store.BadRun(f"{name}: pad_token_id, eos_token_id or decoder_start_token_id is not vocab.json's")
    first = [pad, pad, end, unknown]
    return vocabulary, [*first, *(number for number in range(len(vocabulary)) if number not in first)]


def _weights(asked: PublishedTranslator, path: Path, model: nn.Module, order: Sequence[int]) -> dict[str, Tensor]:
    """The file's leaves, checked against the model, its pieces in our order."""
    name = f"{asked.repository}/{published.WEIGHTS}"
    stored = store.tensors(path, name)
    # Places are computed, and one table serves three ends, whatever of it a file repeats.
    kept = {leaf: t.float() for leaf, t in stored.items() if leaf not in TIED and "embed_positions" not in leaf}
    wanted = {
        leaf: tuple(t.shape)
        for leaf, t in model.state_dict().items()
        if leaf not in TIED and "embed_positions" not in leaf
    }
    for leaf in (SHARED, BIAS):
        if leaf in kept:
            try:
                kept[leaf] = kept[leaf].index_select(kept[leaf].dim() - 1 if leaf == BIAS else 0, torch.tensor(order))
            except (IndexError, RuntimeError) as error:
                raise store.BadRun(f"{name}: {leaf} has shape {tuple(stored[leaf].shape)}") from error
    for leaf, shape in wanted.items():
        if leaf not in kept:
            raise store.BadRun(f"{name}: {leaf} is missing")
        if tuple(kept[leaf].shape) != shape:
            raise store.BadRun(f"{name}: {leaf} has shape {tuple(kept[leaf].shape)}, the network expects {shape}")
    if strange := sorted(set(kept) - set(wanted)):
        raise store.BadRun(f"{name}: {strange[0]} is not part of the network")
    return kept


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
