"""AdamW whose first moment is kept in bf16, as Lipsum-FT's release has it.

    m = bf16(b1) m_kept, rounded to bf16, + (1 - b1) g;   v = b2 v + (1 - b2) g^2
    w -= lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay w);   m_kept = m rounded to bf16

b1 stands in bf16 where it meets m_kept: 0.8984 for 0.9. Source: arXiv:2404.00860, release,
scripts/Lipsum-FT.py: optax.adamw with mu_dtype, whose arithmetic this is.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class CoarseAdamW(torch.optim.Optimizer):
    """Takes parameter groups as torch's AdamW does; exp_avg holds the rounded moment in fp32."""

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        eps: float = 1e-8,
    ):
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": eps}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step along the gradients that are there."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)
        return loss

    def _move(self, weight: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        first, second = group["betas"]
        state["step"] += 1
        steps = int(state["step"])

        kept = coarse(coarse(torch.tensor(first)).item() * state["exp_avg"])
        moment = kept + (1 - first) * weight.grad
        squares = state["exp_avg_sq"]
        squares.mul_(second).addcmul_(weight.grad, weight.grad, value=1 - second)
        state["exp_avg"].copy_(coarse(moment))

        root = (squares / (1 - second**steps)).sqrt_().add_(group["eps"])
        change = (moment / (1 - first**steps)).div_(root)
        change.add_(weight, alpha=group["weight_decay"])
        weight.sub_(change, alpha=group["lr"])


def coarse(numbers: Tensor) -> Tensor:
    """The nearest numbers of bf16, in fp32."""
    return numbers.bfloat16().float()
