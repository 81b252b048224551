"""TODO: docstring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..disk.files import atomic
from ..errors import WeightsError

if TYPE_CHECKING:
    from ..posthoc.weights import Weights


def write_weights(
    path: Path | str, weights: Weights, metadata: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # its way to say that the disk refused
            raise OSError(str(error)) from None


def read_weights(path: Path | str) -> Weights:
    """Read safetensors; raises WeightsError where the file is missing, truncated or of another kind."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise WeightsError(f"no weights file {path}")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is truncated or no safetensors file ({error}); copy it again or train the run again"
        ) from None


def read_metadata(path: Path | str) -> dict[str, str]:
    """The strings stored beside the tensors of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata() or {}
