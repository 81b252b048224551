"""What a method makes of each step of the optimiser, tensor by tensor (`objectives.move`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..config import RunConfig
from ..evaluation.bench import Bench
from ..objectives.move import Move
from ..options import own_options
from ..posthoc.weights import HEAD
from .state import State, trained_tensors


@dataclass(frozen=True)
class AfterStep:
    """A method's hook with its options; start: every tensor in theta0."""

    hook: Callable[[Move], Tensor]
    start: Mapping[str, Tensor]

    @classmethod
    def of(cls, bench: Bench, config: RunConfig) -> AfterStep | None:
        """The hook of the run's method, if it has one."""
        if config.entry.after_step is None:
            return None
        function = config.entry.load_after_step()
        hook = partial(function, **own_options(function, config.options))
        return cls(hook, bench.student(config).state_dict())

    @torch.no_grad()
    def step(self, state: State) -> None:
        """One step of the optimiser, after which each tensor is what the hook makes of it."""
        tensors = trained_tensors(state.student)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        state.optimizer.step()

        for name, tensor in tensors.items():
            if tensor.grad is None:
                continue
            move = Move(
                name=name,
                step=state.step + 1,
                before=before[name],
                after=tensor.detach().clone(),
                grad=tensor.grad,
                start=self.start[name],
                is_head=name in HEAD,
                kept=state.remembered.setdefault(name, {}),
            )
            tensor.copy_(self.hook(move))
