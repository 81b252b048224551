"""Random numbers in torch: every purpose draws from its own generator."""

import torch

from ..config import seed_of


def rng(seed: int, purpose: str) -> torch.Generator:
    """A torch generator for one named purpose, e.g. rng(0, "shuffle:3")."""
    return torch.Generator().manual_seed(seed_of(seed, purpose))
