"""The registry of post-hoc methods, and what each of them may ask of the held-out images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..config import check_options, defaults
from ..errors import ConfigError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from .weights import Weights


class HeldOut(Protocol):
    """The images on which choices are made, as questions about weights; N images, C classes."""

    labels: Tensor  # (N,)

    def accuracy(self, weights: Weights) -> float:
        """Top-1 accuracy, a fraction."""

    def logits(self, weights: Weights) -> Tensor:
        """(N, C)."""

    def batches(self, size: int, steps: int) -> Iterable[Any]:
        """Shuffled batches, for `loss`."""

    def loss(self, weights: Weights, batch: Any) -> Tensor:
        """Cross-entropy of one batch in evaluation mode, with gradient to the weights."""

    def sampled_loss(self, weights: Weights, batch: Any) -> Tensor:
        """The same with labels drawn from the model's own predictions."""


@dataclass(frozen=True)
class Posthoc:
    """A method after training. `apply(anchor, members, held_out, **options)` gives weights, or for an ensemble the
    positions of the members whose mean logits it is."""

    name: str
    title: str
    paper: str
    apply: Callable[..., Any]
    many: bool = False  # takes several runs
    ensemble: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """Name -> default of the keyword arguments."""
        return defaults(self.apply)

    def check(self, count: int, options: dict[str, Any]) -> None:
        """Raise ConfigError for a bad option or a number of runs that this method does not take."""
        check_options(self.name, options, self.options)
        if count < 1 or (count > 1 and not self.many):
            raise ConfigError(
                f"{self.name} takes {'one run or more' if self.many else 'one run'}, got {count}"
            )


class Registry(dict[str, Posthoc]):
    """Name -> post-hoc method; an unknown name is an error that names the nearest one."""

    def __missing__(self, name: str) -> Posthoc:
        raise unknown("post-hoc method", name, self)


POSTHOC = Registry()


def posthoc(name: str, **about: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function; `about` are the other fields of Posthoc (title, paper, many, ensemble)."""

    def register(apply: Callable[..., Any]) -> Callable[..., Any]:
        if name in POSTHOC:
            raise ConfigError(f"post-hoc method {name!r} is registered twice; choose another name")
        POSTHOC[name] = Posthoc(name, apply=apply, **about)
        return apply

    return register
