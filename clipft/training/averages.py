"""Weights that follow the student's: averages that are kept in its place, and teachers.

    average <- d_t average + (1 - d_t) theta_t,   after step t = 1 ... N; it starts at theta_0

EMA: d_t = d.
Beta: the running mean of theta_0 ... theta_t with the weights w_t, so d_t = S_(t-1) / S_t,

    w_t = Beta(b, b) density at (t + 0.5) / (N + 1),   S_t = w_0 + ... + w_t

b = 0.5 weighs start and end most, b = 1 gives the plain mean of all. The density's constant factor
cancels; it is never asked at 0 or 1, where it is infinite for b < 1.
Moving, a teacher's: every `teacher_every` N steps d_t = m, else 1; m rises from 0.05 to 0.9 over
the first 20 % of the steps and stays there. The release counts steps from 0 and also updates after
the first one, so 95 % of what that step made goes into the teacher (`release_teacher`).
Sources: CLIPood, Shu et al., ICML 2023, arXiv:2302.00864 (Beta, b = 0.5). CaRot, Oh et al., NeurIPS
2024, arXiv:2311.01723, and release (Moving, every 500 of about 25 000 steps).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..config import RunConfig
from ..methods import METHODS
from ..models.students import Student

# The number of steps that were taken -> d_t, the fraction of the average that stays.
Decay = Callable[[int], float]
BETA_B = 0.5
FIRST_MOMENTUM, MOMENTUM, MOMENTUM_RISES = 0.05, 0.9, 0.2  # the last: a fraction of the steps


def exponential(decay: float) -> Decay:
    """The same fraction stays after every step."""
    return lambda _step: decay


@dataclass(frozen=True)
class BetaMean:
    """What stays in the Beta-weighted running mean of theta_0 ... theta_N, N = `steps`."""

    steps: int
    b: float = BETA_B

    def weight(self, step: int) -> float:
        """w_t, up to a factor that is 1 at the middle of the training."""
        x = (step + 0.5) / (self.steps + 1)
        return (4 * x * (1 - x)) ** (self.b - 1)

    @cached_property
    def _sums(self) -> list[float]:
        """S_t of every step."""
        return list(accumulate(self.weight(step) for step in range(self.steps + 1)))

    def __call__(self, step: int) -> float:
        """d_t = S_(t-1) / S_t."""
        total = self._sums[step]
        # A large b leaves so little of the first weights that they are 0.
        return self._sums[step - 1] / total if total else 0.0


@dataclass(frozen=True)
class Moving:
    """What stays in CaRot's teacher; at_first: it is updated after the first step, too."""

    steps: int
    every: int
    at_first: bool = False

    def momentum(self, step: int) -> float:
        """m after so many steps."""
        risen = min(1.0, step / (MOMENTUM_RISES * self.steps))
        return FIRST_MOMENTUM + (MOMENTUM - FIRST_MOMENTUM) * risen

    def __call__(self, step: int) -> float:
        """d_t: m where the teacher is updated, else 1."""
        if self.at_first:
            step -= 1
        return 1.0 if step % self.every else self.momentum(step)


class Follower:
    """A second copy of a student, whose weights follow it; it starts where the student is.

    Its decay follows from the number of the step, so its weights are all of its state.
    """

    def __init__(self, student: Student, decay: Decay):
        self.module = copy.deepcopy(student)
        self._decay = decay

    @torch.no_grad()
    def follow(self, student: Student, step: int) -> None:
        """Take in what the student is after so many steps; buffers become the student's."""
        decay = self._decay(step)
        if decay < 1:
            weights: list[Tensor] = list(self.module.parameters())
            of_student: list[Tensor] = list(student.parameters())
            get_ema_multi_avg_fn(decay)(weights, of_student, step)
        for own, other in zip(self.module.buffers(), student.buffers(), strict=True):
            own.copy_(other)


def average_of(config: RunConfig) -> Decay | None:
    """How the weights are averaged that a run keeps in place of the last; None: they are not."""
    if config.average == "beta":
        return BetaMean(config.steps, BETA_B if config.beta_b is None else config.beta_b)
    method = METHODS["ema"] if config.average == "ema" else METHODS[config.method]
    decay = method.ema if config.ema is None else config.ema
    return None if decay is None else exponential(decay)


def teacher_of(config: RunConfig) -> Decay | None:
    """How the teacher of a run's method follows the student; None where it has none."""
    method = METHODS[config.method]
    options: dict[str, Any] = {**method.all_options, **config.options}
    if method.teacher == "beta":
        return BetaMean(config.steps, options["beta_b"])
    if method.teacher == "moving":
        every = max(1, round(options["teacher_every"] * config.steps))
        return Moving(config.steps, every, at_first=options["release_teacher"])
    return None
