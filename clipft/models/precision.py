"""In which precision a model computes: fp32 in full, with TensorFloat-32 products, or bf16."""

import contextlib
from collections.abc import Iterator

import torch

from ..config import Precision


@contextlib.contextmanager
def computing_in(precision: Precision, device: torch.device | str) -> Iterator[None]:
    """What a model computes inside has this precision; weights, and what is summed, stay in fp32.

    bf16-mixed is autocast. torch would have TensorFloat-32 in a convolution unless told otherwise:
    here it is in none but tf32.
    """
    products = torch.backends.cuda.matmul.fp32_precision
    convolutions = torch.backends.cudnn.conv.fp32_precision
    wanted = "tf32" if precision == "tf32" else "ieee"
    is_mixed = precision == "bf16-mixed"
    try:
        torch.backends.cuda.matmul.fp32_precision = wanted
        torch.backends.cudnn.conv.fp32_precision = wanted
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_mixed):
            yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = products
        torch.backends.cudnn.conv.fp32_precision = convolutions
