"""What a training step keeps in memory: less of it by checkpointing, and what to say where it is
too much.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..config import Reading, RunConfig
from ..errors import ConfigError, RunError
from ..models.load import memory_of
from ..models.students import Student
from ..progress import say

FLAGS = ("grad_checkpointing", "gradient_checkpointing")  # of open_clip and timm; of transformers


def keep_less(student: Student, model: str) -> None:
    """Let the towers compute their blocks again on the way back; a line says which cannot."""
    for kind, tower in student.trained_towers().items():
        if not _keeps_less(tower):
            say([f"--checkpointing does nothing for the {kind} tower of {model}"])


def _keeps_less(tower: Any) -> bool:
    """Whether a tower checkpoints from now on."""
    if hasattr(tower, "set_grad_checkpointing"):
        tower.set_grad_checkpointing()
    elif hasattr(tower, FLAGS[0]):
        setattr(tower, FLAGS[0], True)
    return any(getattr(module, flag, False) for module in tower.modules() for flag in FLAGS)


def check_parts(visual: nn.Module, config: RunConfig, ranks: int = 1) -> None:
    """Raise ConfigError where the parts of a batch would not make up the batch.

    ranks: how many processes share it.
    """
    if config.entry.eval_mode:
        return
    parts = {f"accumulate={config.accumulate}": config.accumulate, f"devices={ranks}": ranks}
    asked = [setting for setting, count in parts.items() if count > 1]
    if asked and _sees_whole_batch(visual):
        fault = f"{config.model} has BatchNorm, which takes its statistics from the whole batch"
        raise ConfigError(f"{fault}; leave out {' and '.join(asked)}")


def _sees_whole_batch(visual: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in visual.modules())


@contextlib.contextmanager
def fitting(student: Student, config: RunConfig, reading: Reading, kept: str) -> Iterator[None]:
    """What runs out of the card's memory inside is a RunError with what to try.

    kept: where the last checkpoint is; "": there is none yet.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        what = f"a step of {config.batch_size} images"
        if config.accumulate > 1:
            what += f" in {config.accumulate} parts"
        what += f" with {config.model} in {config.precision}"
        line = f"{what} does not fit into {memory_of(student.device)}"
        advice = ", ".join(_remedies(student, config, reading))
        after = f" (the last checkpoint is kept in {kept})" if kept else ""
    else:
        return
    raise RunError(f"{line}; try {advice}{after}")  # out of the block: the tensors are let go


def _remedies(student: Student, config: RunConfig, reading: Reading) -> list[str]:
    """What asks for less memory and was not done yet."""
    visual = student.trained_towers()["image"]
    remedies = []
    can_keep_less = any(hasattr(module, flag) for module in visual.modules() for flag in FLAGS)
    if can_keep_less and not reading.checkpointing:
        remedies.append("--checkpointing (the same run goes on)")
    if config.accumulate < config.batch_size and not _sees_whole_batch(visual):
        remedies.append(f"accumulate={min(2 * config.accumulate, config.batch_size)}")
    if config.precision != "bf16-mixed":
        remedies.append("precision=bf16-mixed")
    return [*remedies, "a smaller batch_size"]
