"""Random numbers in torch: every purpose draws from its own generator."""

import contextlib
from collections.abc import Iterator

import torch

from ..config import seed_of


def rng(seed: int, purpose: str) -> torch.Generator:
    """A torch generator for one named purpose, e.g. rng(0, "shuffle:3")."""
    return torch.Generator().manual_seed(seed_of(seed, purpose))


@contextlib.contextmanager
def drawing(seed: int, purpose: str, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, torch's global generators of CPU and device are seeded for one named purpose.

    After it they are as they were. torch.manual_seed would turn to every kind of device that torch
    knows, and keep a stack trace for each: some milliseconds a call.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed_of(seed, purpose))
        if device.type != "cpu":
            torch.get_device_module(device).manual_seed(seed_of(seed, purpose))
        yield
