"""Four translators that answer in one way: read the source once, then step from token to token.

    reading = network.read(source)                     once per sentence
    past = network.begin(reading)
    logits, past, weights = network.step(tokens, reading, past)     one token or many at a time

Shapes: B sentences, S source tokens, T target tokens, C width, H heads, D = C / H, V pieces, L layers. A piece is an
entry of the vocabulary, a token is a piece at its place in a sentence.
Every tensor of a `past` and of a reading's `parts` has the sentences in its second dimension.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD, BEGIN, END, UNKNOWN = range(4)  # the first entries of every vocabulary; PAD is CTC's blank, too
MOST_POSITIONS = 512  # of a source, of a target, and of the slots of a source half as long

Past = tuple[Tensor, ...]


@dataclass(frozen=True)
class Reading:
    """A source sentence as the encoder leaves it.

    states   (B, S, C)
    visible  (B, S) bool, False at padding; None where there is none, which spares masks
    parts    what the decoder looks at, projected once: (…, B, …) tensors
    """

    states: Tensor
    visible: Tensor | None
    parts: Past

    def repeated(self, count: int) -> "Reading":
        """One sentence's reading for `count` continuations of it."""
        states = self.states.expand(count, -1, -1)
        visible = None if self.visible is None else self.visible.expand(count, -1)
        parts = tuple(part.expand(part.shape[0], count, *part.shape[2:]) for part in self.parts)
        return Reading(states, visible, parts)


class Step(NamedTuple):
    """What a step brings.

    logits   (B, T, V) of the tokens that come next
    past     what the next step starts from
    weights  (B, L, H, T, S) where each layer and head looked, rows sum to 1; None if not asked for
    """

    logits: Tensor
    past: Past
    weights: Tensor | None


def chosen(past: Past, sentences: Tensor) -> Past:
    """The past of other sentences, in another order: for the continuations that a beam keeps."""
    return tuple(part.index_select(1, sentences) for part in past)


def visible_of(source: Tensor) -> Tensor | None:
    """Where a batch has words, (B, S) bool; None if it has no padding."""
    visible = source != PAD
    return None if bool(visible.all()) else visible


def attention_weights(query: Tensor, key: Tensor, visible: Tensor | None = None) -> Tensor:
    """Where does each target word look?

    weight[t,s] = softmax over s of  query[t] . key[s] / sqrt(D)

    query    (…, T, D)
    key      (…, S, D)
    visible  bool, broadcastable to (…, T, S); what is False gets no weight
    returns  (…, T, S), rows sum to 1
    source   Vaswani et al. 2017, arXiv:1706.03762, equation 1
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    return scores.softmax(dim=-1)


def additive_scores(query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
    """How well does each source word fit what the decoder wants next?

    score[t,s] = weight . tanh(query[t] + key[s])

    query    (B, T, C) projected state of the decoder, W s[i-1] in the paper
    key      (B, S, C) projected states of the encoder, U h[j]
    weight   (C,) v in the paper
    returns  (B, T, S)
    source   Bahdanau, Cho and Bengio 2015, arXiv:1409.0473, appendix A.1.2
    """
    return torch.tanh(query[:, :, None] + key[:, None]) @ weight


def positions(count: int, width: int) -> Tensor:
    """Waves that tell places apart, (count, width).

    place[t, 2i] = sin(t / 10000^(2i / width)),  place[t, 2i + 1] = cos of the same
    source  Vaswani et al. 2017, section 3.5
    """
    angle = torch.arange(count)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


def table(pieces: int, width: int) -> nn.Embedding:
    """A table of so many pieces that has learnt nothing: numbers of variance 1 / width."""
    found = nn.Embedding(pieces, width, padding_idx=PAD)
    nn.init.normal_(found.weight, std=width**-0.5)
    return found


class Translator(nn.Module):
    """What all have in common: one table of pieces, for source, target and output.

    embedding  the table, (V, C)
    dropout    share of numbers left out while training
    """

    weighing = True  # it has attention, so weights can be shown
    direction = ""  # "de-en": what it was trained for; set by who trains or loads it, as are its
    words: Any = None  # pieces, a `words.Words`

    def __init__(self, embedding: nn.Embedding, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding, self.width = embedding, embedding.embedding_dim
        self.dropout = nn.Dropout(dropout)

    def read(self, source: Tensor) -> Reading:
        """Encode (B, S) tokens, padded at the end."""
        raise NotImplementedError

    def begin(self, reading: Reading) -> Past:
        """What the first step starts from."""
        raise NotImplementedError

    def step(self, tokens: Tensor, reading: Reading, past: Past, *, weigh: bool = False) -> Step:
        """Feed (B, T) tokens to the decoder; several at once only as the first step."""
        raise NotImplementedError

    def forward(self, source: Tensor, target: Tensor | None = None) -> Tensor:
        """Logits of what follows each token of the true translation, (B, T, V): teacher forcing.

        target  (B, T), BEGIN first; without one, what may come first
        """
        reading = self.read(source)
        given = torch.full_like(source[:, :1], BEGIN) if target is None else target
        return self.step(given, reading, self.begin(reading)).logits

    def classify(self, states: Tensor) -> Tensor:
        """Logits of all pieces: the output layer is the table of pieces itself."""
        return F.linear(states, self.embedding.weight)


# ---- LSTM


class LSTMTranslator(Translator):
    """Two LSTMs: one reads the source backwards, the other writes from what the first one ended with.

    state[t] = LSTM(word[t], state[t-1]),  state[0] = the encoder's last;  logits[t] = embedding @ state[t]

    source  Sutskever, Vinyals and Le 2014, arXiv:1409.3215
    """

    weighing = False

    def __init__(self, *, pieces: int, width: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__(table(pieces, width), dropout)
        between = dropout if layers > 1 else 0.0
        self.encoder = nn.LSTM(width, width, layers, batch_first=True, dropout=between)
        self.decoder = nn.LSTM(width, width, layers, batch_first=True, dropout=between)

    def read(self, source: Tensor) -> Reading:
        lengths = (source != PAD).sum(dim=1)
        place = torch.arange(source.shape[1], device=source.device)
        # Each sentence backwards, its padding still at the end: word s goes where word length - 1 - s was.
        backwards = (lengths[:, None] - 1 - place).clamp_min(0)
        words = self.dropout(self.embedding(source.gather(1, backwards)))
        packed = nn.utils.rnn.pack_padded_sequence(words, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (hidden, cell) = self.encoder(packed)
        return Reading(hidden[-1][:, None], None, (hidden, cell))

    def begin(self, reading: Reading) -> Past:
        return reading.parts

    def step(self, tokens: Tensor, reading: Reading, past: Past, *, weigh: bool = False) -> Step:
        words = self.dropout(self.embedding(tokens))
        states, (hidden, cell) = self.decoder(words, tuple(part.contiguous() for part in past))
        return Step(self.classify(self.dropout(states)), (hidden, cell), None)


# ---- LSTM with attention


class AttentionTranslator(Translator):
    """Before each word the decoder looks at the states of all source words, and weighs them.

    state[t]   = LSTM([word[t], context[t]], state[t-1])
    context[t] = sum over s of  softmax over s of score(state[t-1], encoded[s])  *  encoded[s]

    source  Bahdanau, Cho and Bengio 2015, arXiv:1409.0473; with LSTMs where they have gated units
    """

    def __init__(self, *, pieces: int, width: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__(table(pieces, width), dropout)
        between = dropout if layers > 1 else 0.0
        self.encoder = nn.LSTM(width, width // 2, layers, batch_first=True, dropout=between, bidirectional=True)
        self.cell = nn.LSTMCell(2 * width, width)
        self.start = nn.Linear(width, width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.score = nn.Parameter(torch.randn(width) * width**-0.5)
        self.out = nn.Linear(3 * width, width)

    def read(self, source: Tensor) -> Reading:
        visible = visible_of(source)
        words = self.dropout(self.embedding(source))
        if visible is None:
            states, _ = self.encoder(words)
        else:
            packed = nn.utils.rnn.pack_padded_sequence(
                words, visible.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False
            )
            states, _ = nn.utils.rnn.pad_packed_sequence(
                self.encoder(packed)[0], batch_first=True, total_length=source.shape[1]
            )
        states = self.dropout(states)
        first = states[:, 0, self.width // 2 :]  # the backward half of the first word has seen the whole sentence
        if visible is None:
            last = states[:, -1, : self.width // 2]
        else:
            ends = visible.sum(dim=1) - 1
            last = states[torch.arange(len(ends), device=ends.device), ends, : self.width // 2]
        hidden = torch.tanh(self.start(torch.cat([last, first], dim=1)))[None]
        return Reading(states, visible, (self.key(states)[None], hidden))

    def begin(self, reading: Reading) -> Past:
        hidden = reading.parts[1]
        return hidden, torch.zeros_like(hidden)

    def step(self, tokens: Tensor, reading: Reading, past: Past, *, weigh: bool = False) -> Step:
        hidden, cell = past[0][0], past[1][0]
        keys = reading.parts[0][0]
        words = self.dropout(self.embedding(tokens))
        found, looked = [], []
        for word in words.unbind(dim=1):
            scores = additive_scores(self.query(hidden)[:, None], keys, self.score)[:, 0]  # (B, S)
            if reading.visible is not None:
                scores = scores.masked_fill(~reading.visible, -torch.inf)
            weights = scores.softmax(dim=-1)
            context = (weights[:, None].to(reading.states.dtype) @ reading.states)[:, 0]
            hidden, cell = self.cell(torch.cat([word, context], dim=1), (hidden, cell))
            found.append(torch.cat([hidden, context, word], dim=1))
            looked.append(weights)
        states = torch.tanh(self.out(torch.stack(found, dim=1)))
        all_weights = torch.stack(looked, dim=1)[:, None, None] if weigh else None
        return Step(self.classify(self.dropout(states)), (hidden[None], cell[None]), all_weights)


# ---- Transformer


class SelfAttention(nn.Module):
    """Every place looks at its own sentence; queries, keys and values come from one product.

    Q, K, V = x W;  out = concatenation over heads of softmax(Q K^T / sqrt(D)) V,  times another matrix
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads = heads

    def forward(
        self, x: Tensor, visible: Tensor | None, past: Tensor | None = None, *, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """What was found, (B, T, C), and keys and values so far, (2, B, H, T, D)."""
        count, length, width = x.shape
        query, *pair = self.qkv(x).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        keys_values = torch.stack(pair)
        if past is not None:
            keys_values = torch.cat([past, keys_values], dim=3)
        # One new word may look at all former ones; many at once each only at those before them.
        found = F.scaled_dot_product_attention(
            query,
            keys_values[0],
            keys_values[1],
            attn_mask=None if visible is None else visible[:, None, None],
            is_causal=causal and length > 1,
        )
        return self.out(found.transpose(1, 2).reshape(count, length, width)), keys_values


class CrossAttention(nn.Module):
    """Every place of the target looks at the source, whose keys and values are made once.

    Q = x W;  K, V = states W';  out as in SelfAttention
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.heads = heads

    def keys_values(self, states: Tensor) -> Tensor:
        """Of the source, (2, B, H, S, D)."""
        return self.key_value(states).view(*states.shape[:2], 2, self.heads, -1).permute(2, 0, 3, 1, 4)

    def forward(
        self, x: Tensor, keys_values: Tensor, visible: Tensor | None, *, weigh: bool
    ) -> tuple[Tensor, Tensor | None]:
        """What was found, (B, T, C), and where, (B, H, T, S)."""
        count, length, width = x.shape
        query = self.query(x).view(count, length, self.heads, -1).transpose(1, 2)
        mask = None if visible is None else visible[:, None, None]
        found = F.scaled_dot_product_attention(query, keys_values[0], keys_values[1], attn_mask=mask)
        weights = attention_weights(query, keys_values[0], mask) if weigh else None
        return self.out(found.transpose(1, 2).reshape(count, length, width)), weights


def feed_forward(width: int, hidden: int) -> nn.Sequential:
    """Each place by itself: relu(x W + b) W' + b'."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))


class EncoderLayer(nn.Module):
    """Look around in the sentence, then each place by itself; each is added to what was there, x + part(norm(x))."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attention, self.feed_forward = SelfAttention(width, heads), feed_forward(width, hidden)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        x = x + self.dropout(self.self_attention(self.norms[0](x), visible, causal=False)[0])
        return x + self.dropout(self.feed_forward(self.norms[1](x)))


class DecoderLayer(nn.Module):
    """Look around in what is written, look at the source, then each place by itself, each as in EncoderLayer."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, *, causal: bool) -> None:
        super().__init__()
        self.self_attention, self.cross_attention = SelfAttention(width, heads), CrossAttention(width, heads)
        self.feed_forward = feed_forward(width, hidden)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.dropout = nn.Dropout(dropout)
        self.causal = causal

    def forward(
        self,
        x: Tensor,
        keys_values: Tensor,
        visible: Tensor | None,
        past: Tensor | None,
        *,
        own: Tensor | None = None,
        weigh: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """keys_values, visible: of the source; past, own: of what is written and where it is no padding."""
        found, past = self.self_attention(self.norms[0](x), own, past, causal=self.causal)
        x = x + self.dropout(found)
        found, weights = self.cross_attention(self.norms[1](x), keys_values, visible, weigh=weigh)
        x = x + self.dropout(found)
        return x + self.dropout(self.feed_forward(self.norms[2](x))), past, weights


class Transformer(Translator):
    """Attention alone: all places of a sentence at once, and the source seen from each layer of the decoder.

    Norms stand before each part, as in most later Transformers: training needs no long warm-up.
    source  Vaswani et al. 2017, arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745 for the norms
    """

    def __init__(
        self,
        *,
        pieces: int,
        width: int,
        heads: int,
        hidden: int,
        layers: tuple[int, int],
        dropout: float = 0.0,
        causal: bool = True,
    ) -> None:
        super().__init__(table(pieces, width), dropout)
        self.positions: Tensor
        self.register_buffer("positions", positions(MOST_POSITIONS, width), persistent=False)
        self.encoder = nn.ModuleList([EncoderLayer(width, heads, hidden, dropout) for _ in range(layers[0])])
        self.decoder = nn.ModuleList(
            [DecoderLayer(width, heads, hidden, dropout, causal=causal) for _ in range(layers[1])]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])

    def placed(self, tokens: Tensor, first: int = 0) -> Tensor:
        """Pieces with their places, (B, T, C)."""
        words = self.embedding(tokens) * math.sqrt(self.width)
        return self.dropout(words + self.positions[first : first + tokens.shape[1]])

    def read(self, source: Tensor) -> Reading:
        visible = visible_of(source)
        x = self.placed(source)
        for layer in self.encoder:
            x = layer(x, visible)
        x = self.norms[0](x)
        return Reading(x, visible, tuple(layer.cross_attention.keys_values(x) for layer in self.decoder))  # type: ignore[union-attr, operator]

    def begin(self, reading: Reading) -> Past:
        return ()

    def step(self, tokens: Tensor, reading: Reading, past: Past, *, weigh: bool = False) -> Step:
        if past and tokens.shape[1] > 1:
            raise ValueError(f"expected one token after a past, got {tokens.shape[1]}")
        x = self.placed(tokens, past[0].shape[3] if past else 0)
        kept, looked = [], []
        for index, layer in enumerate(self.decoder):
            before = past[index] if past else None
            x, keys_values, weights = layer(x, reading.parts[index], reading.visible, before, weigh=weigh)
            kept.append(keys_values)
            looked.append(weights)
        weights = torch.stack(looked, dim=1) if weigh else None
        return Step(self.classify(self.norms[1](x)), tuple(kept), weights)


# ---- without a before and after


class CTCTranslator(Transformer):
    """All words at once: each source piece gets `stretch` slots, and each slot a piece or none.

    What the slots say is read off by `method.collapsed`. Nothing that was written is looked at, so all
    slots are filled in one step; and words that fit each other badly are the price.
    source  Libovický and Helcl 2018, arXiv:1811.04719
    """

    def __init__(self, *, stretch: int = 2, **options: object) -> None:
        super().__init__(**options, causal=False)  # type: ignore[arg-type]
        self.stretch = stretch
        self.slots = nn.Linear(self.width, stretch * self.width)

    def fill(self, source: Tensor, *, weigh: bool = False) -> Step:
        """Logits of all slots, (B, stretch * S, V); those of padding mean nothing."""
        reading = self.read(source)
        count, length, width = reading.states.shape
        x = self.slots(reading.states).view(count, length * self.stretch, width)
        x = self.dropout(x + self.positions[: x.shape[1]])
        own = None if reading.visible is None else reading.visible.repeat_interleave(self.stretch, dim=1)
        looked = []
        for keys_values, layer in zip(reading.parts, self.decoder, strict=True):
            x, _, weights = layer(x, keys_values, reading.visible, None, own=own, weigh=weigh)
            looked.append(weights)
        return Step(self.classify(self.norms[1](x)), (), torch.stack(looked, dim=1) if weigh else None)

    def step(self, tokens: Tensor, reading: Reading, past: Past, *, weigh: bool = False) -> Step:
        raise NotImplementedError("it writes all words at once: fill")

    def forward(self, source: Tensor, target: Tensor | None = None) -> Tensor:
        """Logits of all slots, which do not depend on the target."""
        return self.fill(source).logits


KINDS = {
    "lstm": LSTMTranslator,
    "attention": AttentionTranslator,
    "transformer": Transformer,
    "ctc": CTCTranslator,
}


def build(*, kind: str, **options: object) -> Translator:
    """The network that a run's config names: `kind` is a key of KINDS, the rest are its arguments."""
    return KINDS[kind](**options)  # type: ignore[arg-type]
