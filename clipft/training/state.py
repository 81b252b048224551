"""All that a training step changes, as one thing that is saved and restored to the same bits."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ..config import RunConfig
from ..errors import RunError
from ..inputs.ranks import ALONE, Ranks
from ..models.blocks import rates
from ..models.checkpoints import read_metadata, read_weights, write_weights
from ..models.students import Student
from ..parsing import parse_json
from ..posthoc.weights import Weights
from ..runs.protocol import protocol_of
from ..runs.versions import FORMAT, KEY, METADATA, check_version
from .averages import Follower, average_of, teacher_of
from .coarse_adamw import CoarseAdamW
from .lora import Lora
from .losses import Losses


@dataclass
class State:
    """Student and optimiser, the average that is kept in the student's place and the teacher that
    it learns from (if any), and how far they have come.

    module: the student as the forward pass goes through it. unread: rows of images that were left
    out. losses: those of the last steps, of which nothing is saved. remembered: what a hook after
    the steps keeps of each tensor, see `objectives.move`. adapter: what trains in place
    of some of them.
    """

    student: Student
    module: nn.Module
    optimizer: Any
    average: Follower | None = None
    teacher: Follower | None = None
    step: int = 0
    best: float | None = None  # merit of the weights that are kept; None: none yet
    validated: int = -1  # after which step the weights were validated last
    unread: set[int] = field(default_factory=set)
    losses: Losses = field(default_factory=Losses)
    remembered: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    adapter: Lora | None = None

    @classmethod
    def begin(
        cls, student: Student, config: RunConfig, fabric: Fabric, ranks: Ranks = ALONE
    ) -> State:
        """The state before the first step; ranks: all begin where the first does.

        On purpose unlike Lipsum-FT's release: AdamW's first moment is kept in fp32, there in bf16.
        `protocol: release` is as there.
        """
        adapter = Lora(student, config) if config.adapter else None
        groups = parameter_groups(student, config, adapter)
        about: Any = {"betas": config.betas, "weight_decay": config.weight_decay}
        if protocol_of(config).coarse_moment:
            optimizer: torch.optim.Optimizer = CoarseAdamW(groups, lr=config.lr, **about)
        else:
            optimizer = torch.optim.AdamW(groups, lr=config.lr, **about, fused=True)
        module, wrapped = fabric.setup(student, optimizer)
        ranks.share_out(student.state_dict().values())
        losses = Losses.on(fabric.device)
        losses.ranks = ranks
        state = cls(student, module, wrapped, losses=losses, adapter=adapter)
        averaging = average_of(config)
        if averaging is not None:
            state.average = Follower(student, averaging)
        teaching = teacher_of(config)
        if teaching is not None:
            state.teacher = Follower(student, teaching)
            state.teacher.module.requires_grad_(False).eval()
        return state

    @property
    def kept(self) -> Student:
        """The student whose weights are evaluated and kept: the average, if there is one."""
        return self.student if self.average is None else self.average.module

    @property
    def followers(self) -> dict[str, Follower]:
        """What follows the student, by the names in a checkpoint."""
        named = {"average": self.average, "teacher": self.teacher}
        return {name: follower for name, follower in named.items() if follower is not None}

    def save(self, file: Path) -> None:
        """Write everything, whole or not at all; every random draw follows from the step."""
        tensors = _with_prefix("student.", self.student.state_dict())
        for name, follower in self.followers.items():
            tensors |= _with_prefix(f"{name}.", follower.module.state_dict())
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= _with_prefix(f"optimizer.{index}.", moments)
        if self.adapter is not None:
            tensors |= _with_prefix("adapter.", self.adapter.tensors())
        for name, kept in self.remembered.items():
            tensors |= _with_prefix(f"after_step.{name}.", kept)
        progress = {
            "step": self.step,
            "best": self.best,
            "bad": sorted(self.unread),
            "validated": self.validated,
        }
        write_weights(file, tensors, {"progress": json.dumps(progress)} | METADATA)

    def restore(self, file: Path) -> None:
        """Go back to what `save` wrote; raises RunError where the file is something else."""
        tensors = read_weights(file)
        metadata = read_metadata(file)
        if "progress" not in metadata:
            raise RunError(f"{file} is no checkpoint of clipft; delete it to begin again")
        check_version(metadata.get(KEY, FORMAT), file)
        progress = parse_json(metadata["progress"])
        self.step = progress["step"]
        self.best = progress["best"]
        self.unread = set(progress["bad"])
        # An older clipft saved at validations alone.
        self.validated = progress.get("validated", self.step)

        self.student.load_state_dict(_without_prefix("student.", tensors))
        if self.adapter is not None:
            self.adapter.restore(_without_prefix("adapter.", tensors))
        for name, follower in self.followers.items():
            follower.module.load_state_dict(_without_prefix(f"{name}.", tensors))
        moments: dict[int, Weights] = {}
        for name, tensor in _without_prefix("optimizer.", tensors).items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        for weight, kept in self.optimizer.state.items():
            _order_as(weight, kept)
        self._remember(_without_prefix("after_step.", tensors))

    def _remember(self, tensors: Weights) -> None:
        """What the hook kept of each tensor, on the tensor's device."""
        weights = trained_tensors(self.student)
        self.remembered = {}
        for full_name, tensor in tensors.items():
            name, _, key = full_name.rpartition(".")
            kept = self.remembered.setdefault(name, {})
            kept[key] = tensor.to(weights[name].device)
        for name, kept in self.remembered.items():
            _order_as(weights[name], kept)


def _order_as(weight: Tensor, kept: Weights) -> None:
    """What is kept of a weight lies in memory as it does, which a file forgets (channels-last)."""
    for name, tensor in kept.items():
        if tensor.shape == weight.shape and tensor.stride() != weight.stride():
            kept[name] = torch.empty_like(weight).copy_(tensor)


def parameter_groups(
    student: Student, config: RunConfig, adapter: Lora | None = None
) -> list[dict[str, Any]]:
    """What trains, for the optimiser; `rate`: a group's learning rate as a fraction of the run's.

    Factors of an adapter stand in place of their product.

    One group, but where the text tower or each block has a rate of its own; a checkpoint counts the
    tensors in this order. Raises ConfigError as `rates` does.
    """
    of_names = rates(student, config)
    texts = student.text_tensors() if config.text_rate != 1 else set()
    factors = {} if adapter is None else adapter.factors
    groups: dict[tuple[bool, float], list[Tensor]] = {}
    for name, tensor in trained_tensors(student).items():
        group = groups.setdefault((name in texts, -of_names[name]), [])
        group.extend(factors.get(name, [tensor]))
    return [{"params": groups[key], "rate": -key[1]} for key in sorted(groups)]


def trained_tensors(student: nn.Module) -> dict[str, Tensor]:
    """The tensors of a student that training changes, by name."""
    return {name: tensor for name, tensor in student.named_parameters() if tensor.requires_grad}


def _with_prefix(prefix: str, tensors: Weights) -> Weights:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: Weights) -> Weights:
    own = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            own[name.removeprefix(prefix)] = tensor
    return own
