"""What models need of the network is brought into its cache while there is one."""

from __future__ import annotations

from ..runs.hub import cached_files, verified
from .load import load_clip


def fetch_model(model: str, pretrained: str) -> list[tuple[str, int, str]]:
    """Load a model once, by which all that it needs is in the cache, its tokenizer too.

    Returns name, bytes and sha256 of each of its files there, none where it lies in a folder.
    Raises as `load_clip` does, and WeightsError for a file that is not what the hub says.
    """
    load_clip(model, pretrained)
    files = cached_files(model, pretrained)
    return [(file.name, file.stat().st_size, verified(file)) for file in files]
