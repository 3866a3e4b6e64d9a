"""A digit as a sentence of 64 pixels, read by one layer of attention that is told their places in one of four ways."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.topics.positional_encoding import method

PLACES, LEVELS = 64, 17  # pixels of a digit, and grey levels


class PixelReader(nn.Module):
    """Says which digit 64 pixels show.

    encoding  "learnt" (a table of its own), "sinusoidal" (added), "rotary" (turned into queries and
              keys) or "none"
    dim       numbers per pixel
    heads     of the one attention layer
    """

    def __init__(self, encoding: str, dim: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.encoding, self.heads = encoding, heads
        self.levels = nn.Embedding(LEVELS, dim)
        if encoding == "learnt":
            self.places = nn.Parameter(torch.randn(PLACES, dim) * 0.5)
        elif encoding == "sinusoidal":
            self.places = nn.Parameter(method.sinusoidal(torch.arange(PLACES), dim).float(), requires_grad=False)
        self.asks = nn.Linear(dim, 3 * dim)
        self.joins = nn.Linear(dim, dim)
        self.thinks = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.says = nn.Linear(dim, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (B, 64) int64, 0 to 16, row by row -> logits (B, 10)"""
        x = self.levels(pixels)  # (B, P, dim)
        if self.encoding in ("learnt", "sinusoidal"):
            x = x + self.places
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.asks(x).chunk(3, dim=-1)
        )  # (B, heads, P, dim / heads)
        if self.encoding == "rotary":
            order = torch.arange(PLACES)
            queries, keys = method.rotary(queries, order), method.rotary(keys, order)
        x = x + self.joins(F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(-2))
        x = x + self.thinks(x)
        return self.says(x.mean(dim=1))
