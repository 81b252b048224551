"""Forward passes by torch.compile, tried on the first batch: where that fails, they stay as they
were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import first_line
from ..progress import write

Forward = Callable[[Tensor], Any]


def try_compiled(forward: Forward, model: nn.Module, pixels: Tensor) -> Forward | None:
    """`forward` of a model, compiled, tried on pixels; None, and a line why, where that fails.

    A graph for each size of a batch: of several it would depend on what came before, and a resumed
    run would not equal the uninterrupted one. What the trial leaves in the model is taken back.
    """
    compiled = torch.compile(forward, dynamic=False)
    buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
    try:
        found = compiled(pixels)
        embeddings = found[0] if isinstance(found, tuple) else found
        if embeddings.requires_grad:
            embeddings.float().sum().backward()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each of its layers has its own
        write(f"torch.compile failed: {first_line(error)[:200]}; the run goes on uncompiled")
        return None
    finally:
        model.zero_grad()
        for name, tensor in model.named_buffers():
            if not torch.equal(tensor, buffers[name]):  # statistics of BatchNorm
                tensor.copy_(buffers[name])
    return compiled
