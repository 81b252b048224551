"""Exports of the vision tower and the head as one ONNX file; the extra `onnx` makes it."""

import copy
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ..diagnostics.energies import unit
from ..disk.files import atomic
from ..errors import WeightsError, first_line
from ..runs.formats import FORMATS
from .outgoing import Outgoing

(FILE,) = FORMATS["onnx"].files
LARGEST = 2_000_000_000  # bytes that one ONNX file can hold


class TowerAndHead(nn.Module):
    """Normalised pixels (B, 3, H, W) -> unit embeddings (B, D) and logits (B, C)."""

    def __init__(self, outgoing: Outgoing):
        super().__init__()
        self.visual = copy.deepcopy(outgoing.visual())
        weight, bias = outgoing.head()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and logits of a batch of any size."""
        embeddings = self.visual(pixels)
        if isinstance(embeddings, tuple):  # CoCa's gives its tokens, too
            embeddings = embeddings[0]
        embeddings = unit(embeddings)
        return embeddings, embeddings @ self.weight + self.bias


def write(folder: Path, outgoing: Outgoing) -> None:
    """One file whose batch size is free; its metadata holds the classes and the preprocessing.

    Raises WeightsError for a tower that is too large for one file, or that torch cannot trace.
    """
    module = TowerAndHead(outgoing).cpu().float().eval()
    tensors = module.state_dict().values()
    if sum(tensor.nbytes for tensor in tensors) > LARGEST:
        advice = "--format open_clip or huggingface have no limit"
        raise WeightsError(f"{outgoing.clip.name} is too large for an ONNX file, 2 GB; {advice}")

    preprocessing = outgoing.clip.config["preprocess_cfg"]
    size = preprocessing["size"]
    height, width = (size, size) if isinstance(size, int) else size
    example = torch.zeros(2, 3, height, width)
    with warnings.catch_warnings(action="ignore"):  # torch's and onnxscript's, of themselves
        try:
            program = torch.onnx.export(
                module,
                (example,),
                input_names=["pixels"],
                output_names=["embeddings", "logits"],
                dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # torch has many, each of several pages
            reason = first_line(error)[:200]
            advice = "--format open_clip takes every model"
            raise WeightsError(
                f"torch cannot trace this vision tower: {reason}; {advice}"
            ) from None

    assert program is not None  # it is one with dynamo=True
    program.model.metadata_props["classes"] = json.dumps(list(outgoing.classes))
    program.model.metadata_props["preprocess_cfg"] = json.dumps(preprocessing)
    with atomic(folder / FILE) as temporary:
        program.save(temporary, external_data=False)
