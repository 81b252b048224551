"""Files of weights: ours are safetensors; checkpoints of others have other shapes."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..disk.files import atomic
from ..errors import WeightsError
from ..posthoc.weights import Weights, check_finite
from .huggingface import is_transformers, to_open_clip
from .shapes import Shape, read_shape
from .wrappers import Unwrapped, unwrap

File = Path | str
TEXT_LAYERS = ("transformer.", "text.", "text_encoder.")  # Apple's is the last


@dataclass(frozen=True)
class Checkpoint:
    """A CLIP in a file of any shape, by open_clip's names, float32 and on the CPU.

    A vision tower alone has names of `visual.` and no others but the scale's.
    """

    file: Path
    weights: Weights
    found: str  # what the file holds, in one line
    head: tuple[Tensor, Tensor] | None = None  # weight (D, C), bias (C,), on unit embeddings
    quick_gelu: bool | None = None  # None: the file does not say
    prefix: str = ""  # what stood before the names

    @property
    def has_text(self) -> bool:
        """Whether its text tower is there: some trainers keep no more than its embeddings."""
        return any(name.startswith(TEXT_LAYERS) for name in self.weights)


def read_checkpoint(file: File) -> Checkpoint:
    """Read the CLIP of a file or folder, whoever wrote it; nothing of it is run.

    Raises WeightsError in one line where it is missing, damaged, no CLIP, or not finite.
    """
    shape = read_shape(file)
    unwrapped = unwrap(shape.tensors, shape.file)
    tensors = unwrapped.tensors
    by_transformers = is_transformers(tensors)
    if by_transformers:
        tensors = to_open_clip(tensors)

    weights: Weights = {}
    for name, tensor in tensors.items():
        _check_plain(name, tensor, shape.file)
        own_name = f"visual.{name}" if unwrapped.bare else name
        weights[own_name] = tensor.float() if tensor.is_floating_point() else tensor
    check_finite(weights, str(shape.file))

    kind = "transformers' CLIPModel" if by_transformers else shape.kind
    return Checkpoint(
        file=shape.file,
        weights=weights,
        found=_found(shape, unwrapped, kind),
        head=unwrapped.head,
        quick_gelu=shape.quick_gelu,
        prefix=unwrapped.prefix,
    )


def _check_plain(name: str, tensor: Tensor, file: Path) -> None:
    """Raise WeightsError for a tensor without numbers of its own, or with few of them kept."""
    kinds = {
        "on the meta device": tensor.is_meta,
        "sparse": tensor.layout != torch.strided,
        "quantized": tensor.is_quantized,
    }
    for kind, is_so in kinds.items():
        if is_so:
            advice = "save the state_dict of the whole model in fp32, fp16 or bf16"
            raise WeightsError(f"{file}: {name!r} is {kind}; {advice}")


def _found(shape: Shape, unwrapped: Unwrapped, kind: str) -> str:
    """What a file holds, in one line."""
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in unwrapped.tensors.values()}
    what = "a vision tower" if unwrapped.bare else "a CLIP"
    line = f"{shape.file.name}: {what}, {len(unwrapped.tensors)} tensors by {kind}"
    line += f", {' and '.join(sorted(dtypes - {'int64'}))}"
    if unwrapped.prefix:
        line += f", under {unwrapped.prefix.rstrip('.')!r}"
    if unwrapped.head is not None:
        line += f", with a head of {unwrapped.head[0].shape[1]} classes"
    if unwrapped.left_out:
        line += f"; left out: {', '.join(unwrapped.left_out[:5])}"
    return line


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
    """The strings stored beside the tensors of a safetensors file.

    Raises WeightsError where it is damaged or something else.
    """
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is truncated or no safetensors file ({error})") from None
