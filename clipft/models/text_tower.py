"""The text tower of a CLIP, run over no more of a text than it needs.

Token ids are padded to the whole context. A causal tower does not look ahead, and its embedding of
a text is read off at the end token: what comes after that changes nothing and is cut off. Where
that is not so (`_Causal.of`) texts stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from open_clip.transformer import TextTransformer
from torch import Tensor, nn
from torch.func import functional_call

# Texts in one pass: with fewer than the first number it takes longer texts along, up to the second.
# On a processor a pass costs little beside its tokens, elsewhere it is the passes that cost.
ON_CPU = (64, 128)
ELSEWHERE = (512, 512)


def encode_texts(
    model: Any, tokens: Tensor, progress: Callable[[int], object] = lambda _: None
) -> Tensor:
    """`model.encode_text`, up to rounding, of token ids (N, context) on the model's device.

    -> (N, D), not normalised, with gradient to what trains. `progress` is told how many texts each
    pass had.
    """
    tower = _Causal.of(model)
    if tower is None:
        lengths = torch.full((len(tokens),), tokens.shape[1])
    else:
        lengths = tower.needed(tokens).cpu()

    order = lengths.argsort(stable=True)
    size = ON_CPU if tokens.device.type == "cpu" else ELSEWHERE
    parts = []
    for rows in _passes(order, lengths, size):
        texts = tokens[rows.to(tokens.device)]
        if tower is None:
            parts.append(model.encode_text(texts))
        else:
            parts.append(tower.encode(texts[:, : int(lengths[rows[-1]])]))
        progress(len(rows))

    embeddings = torch.cat(parts)
    if torch.equal(order, torch.arange(len(order))):
        return embeddings
    return embeddings[order.argsort().to(embeddings.device)]


def is_cut(model: Any) -> bool:
    """Whether `encode_texts` leaves out what comes after a text's end."""
    return _Causal.of(model) is not None


def _passes(order: Tensor, lengths: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """The rows `order`, which go from short texts to long ones, in parts of about equal length."""
    fewest, most = size
    first = 0
    ordered = lengths[order].tolist()
    for place in range(1, len(ordered)):
        count = place - first
        grows = ordered[place] > ordered[place - 1]
        if count == most or (grows and count >= fewest):
            yield order[first:place]
            first = place
    yield order[first:]


@dataclass(frozen=True)
class _Causal:
    """A model whose embedding of a text depends on nothing after one of its tokens.

    prefix: of the text tower's own tensors, within the model. pool: how open_clip calls the way in
    which that token is found; end: the id that it is found by, for "eos".
    """

    model: Any
    prefix: str
    positions: Tensor  # (context, width)
    mask: Tensor  # (context, context)
    pool: str
    end: int

    @classmethod
    def of(cls, model: Any) -> _Causal | None:
        """The model so seen; None where its tower looks ahead, or where that is not known.

        Known are open_clip's own two, in which a token sees others in attention alone: they look
        ahead without a causal mask, and where the embedding is read off the end of the context:
        pool "last", or a class token there (CoCa's).
        """
        tower: Any = model  # open_clip's kinds of CLIP have no typed base
        if type(model) is open_clip.CLIP:
            prefix, pool, end = "", tower.text_pool_type, tower.text_eos_id
        elif type(model) is open_clip.CustomTextCLIP and type(model.text) is TextTransformer:
            tower = model.text
            prefix, pool, end = "text.", tower.pool_type, tower.eos_id
        else:
            return None

        mask = tower.attn_mask
        has_class_token = getattr(tower, "cls_emb", None) is not None
        if mask is None or has_class_token or pool not in ("first", "argmax", "eos"):
            return None
        return cls(model, prefix, tower.positional_embedding, mask, pool, end)

    def needed(self, tokens: Tensor) -> Tensor:
        """How many tokens of each text count, (N, context) -> (N,): `text_global_pool`'s, and 1."""
        if self.pool == "first":
            return tokens.new_ones(len(tokens))
        is_end = tokens if self.pool == "argmax" else (tokens == self.end).int()
        return is_end.argmax(-1) + 1

    def encode(self, tokens: Tensor) -> Tensor:
        """`encode_text` of texts (N, L) that may be shorter than the context."""
        length = tokens.shape[1]
        shorter = {
            f"model.{self.prefix}positional_embedding": self.positions[:length],
            f"model.{self.prefix}attn_mask": self.mask[:length, :length],
        }
        return functional_call(_Texts(self.model), shorter, tokens, tie_weights=False)


class _Texts(nn.Module):
    """A model as a function of texts."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model: Any = model

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L) -> (N, D)."""
        return self.model.encode_text(tokens)
