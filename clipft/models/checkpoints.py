"""Files of weights: ours are safetensors; checkpoints of others have other shapes."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ..disk.files import atomic
from ..errors import WeightsError
from ..posthoc.weights import Weights

File = Path | str


def load_checkpoint(model: Any, file: File) -> None:
    """Read an open_clip model's weights from a file; raises as open_clip does for another model's.

    The one place that knows shapes of checkpoints: so far those that open_clip reads itself (a
    state dict, bare or as its training script writes it). A new shape becomes a state dict here.
    """
    import open_clip

    open_clip.load_checkpoint(model, str(file))


def write_weights(path: File, weights: Weights, metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # its way to say that the disk refused
            raise OSError(str(error)) from None


def read_weights(path: File) -> Weights:
    """Read safetensors; raises WeightsError where it is missing, truncated or something else."""
    if not Path(path).is_file():
        raise WeightsError(f"no weights file {path}")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        fault = f"is truncated or no safetensors file ({error})"
        raise WeightsError(f"{path} {fault}; copy it again or train the run again") from None


def read_metadata(path: File) -> dict[str, str]:
    """The strings stored beside the tensors of a safetensors file."""
    with safe_open(path, "pt") as file:
        return file.metadata() or {}
