"""What of a model lies in the Hugging Face hub's cache, asked of the disk alone."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..disk.files import disk
from ..errors import WeightsError
from .model_names import (
    HUB,
    OPEN_CLIP_CONFIG,
    RANDOM,
    model_folder,
    published_address,
    weights_path,
)

# files of the weights of a repository, in the order in which open_clip looks for them
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
SHA256 = re.compile("[0-9a-f]{64}")  # how the hub names a large file's content


def hub_files(model: str, pretrained: str) -> list[tuple[str, ...]]:
    """The files of the hub that a model wants, OWNER/NAME/FILE; of a tuple any one will do.

    None where everything lies in a folder, in a checkpoint, or elsewhere than on the hub.
    """
    if model_folder(model) is not None:
        return []
    files: list[tuple[str, ...]] = []
    if model.startswith(HUB):
        files.append((f"{model.removeprefix(HUB)}/{OPEN_CLIP_CONFIG}",))
    if pretrained == RANDOM or weights_path(pretrained):
        return files
    place = (
        model.removeprefix(HUB) if model.startswith(HUB) else published_address(model, pretrained)
    )
    parts = PurePosixPath(place).parts
    if parts:
        repository = PurePosixPath(*parts[:2])  # owner and name; then perhaps a file
        files.append(tuple(f"{repository}/{name}" for name in parts[2:] or WEIGHTS))
    return files


def cached(file: str) -> list[Path]:
    """Where OWNER/NAME/FILE lies in the hub's cache, in any of its revisions."""
    owner, name, *inside = PurePosixPath(file).parts
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    folder = hub / "--".join(("models", owner, name))
    return [path for path in folder.glob(f"snapshots/*/{Path(*inside)}") if path.is_file()]


def cached_files(model: str, pretrained: str) -> list[Path]:
    """What of a model's files lies in the cache."""
    wanted = hub_files(model, pretrained)
    return [path for files in wanted for path in _first_cached(files)]


def is_cached(model: str, pretrained: str) -> bool:
    """Whether all that a model wants of the hub lies in its cache."""
    return all(_first_cached(files) for files in hub_files(model, pretrained))


def _first_cached(files: Sequence[str]) -> list[Path]:
    """The first of these files that is there, in all of its revisions."""
    return next(filter(None, map(cached, files)), [])


def verified(file: Path) -> str:
    """The sha256 of a file of the cache, which is the name of a large one's content there.

    Raises WeightsError where it is another.
    """
    with disk(file), file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    wanted = file.resolve().name
    if SHA256.fullmatch(wanted) and wanted != found:
        problem = f"{file.resolve()} has the sha256 {found[:12]}, on the hub it is {wanted[:12]}"
        raise WeightsError(f"{problem}; delete it, then: clipft fetch")
    return found
