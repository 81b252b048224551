"""In which precision a model computes: fp32 in full, with TensorFloat-32 products, or bf16."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from ..config import Precision


@contextlib.contextmanager
def computing_in(precision: Precision, device: torch.device | str) -> Iterator[None]:
    """What a model computes inside has this precision; weights, and what is summed, stay in fp32.

    bf16-mixed is autocast. torch would have TensorFloat-32 in a convolution unless told otherwise:
    here it is in none but tf32.
    """
    is_mixed = precision == "bf16-mixed"
    with products_in(precision):
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_mixed):
            yield


@contextlib.contextmanager
def products_in(precision: Precision) -> Iterator[None]:
    """Products of fp32 numbers have TensorFloat-32 inside where this precision is tf32, else none
    has. Autocast is as it was.
    """
    backends: Any = torch.backends  # whose stubs know no cudnn.conv
    kinds = (backends.cuda.matmul, backends.cudnn.conv)
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        yield
    finally:
        for kind, wanted in zip(kinds, before, strict=True):
            kind.fp32_precision = wanted
