"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import seed_of

if TYPE_CHECKING:
    import torch


def rng(seed: int, purpose: str) -> torch.Generator:
    """A torch generator for one named purpose, e.g. rng(0, "shuffle:3")."""
    import torch

    return torch.Generator().manual_seed(seed_of(seed, purpose))
