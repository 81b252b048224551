"""The registry of methods, and what one training step hands to each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..errors import ConfigError, unknown

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Step:
    """One batch as an objective sees it: B images, D dimensions, C classes, M random texts.

    images (B, D) embeddings before normalising, with gradient; head (D, C); scale s; labels (B,).
    Present only where the method `needs` them: anchor (B, D), the same images through theta0; random_texts (M, D),
    unit rows; captions (B, D), unit rows, with gradient.
    """

    images: Tensor
    labels: Tensor
    scale: Tensor | float
    head: Tensor | None = None
    anchor: Tensor | None = None
    random_texts: Tensor | None = None
    captions: Tensor | None = None


Need = Literal["anchor", "random_texts", "captions"]


@dataclass(frozen=True)
class Method:
    """A fine-tuning method: its loss is `cross-entropy + lam * penalty`, or `penalty` alone (`lam` None)."""

    name: str
    title: str
    paper: str
    penalty: Callable[[Step], Tensor] | None
    needs: frozenset[Need] = frozenset()
    lam: float | None = None
    trains: Literal["vision", "both"] = "vision"  # both: text tower and scale too, and the head is rebuilt from them

    def terms(self, step: Step, lam: float | None = None) -> dict[str, Tensor]:
        """The terms of the loss by name, weighted: their sum is minimised."""
        from .cross_entropy import cross_entropy

        if self.penalty is None:
            return {"cross_entropy": cross_entropy(step)}
        if self.lam is None:
            return {self.name: self.penalty(step)}
        weight = self.lam if lam is None else lam
        return {"cross_entropy": cross_entropy(step), self.name: weight * self.penalty(step)}


class Registry(dict[str, Method]):
    """Name -> method; an unknown name is an error that names the nearest one, a name given twice is refused."""

    def __missing__(self, name: str) -> Method:
        raise unknown("method", name, self)

    def add(self, entry: Method) -> None:
        """Register a method under its name."""
        if entry.name in self:
            raise ConfigError(f"method {entry.name!r} is registered twice; choose another name")
        self[entry.name] = entry


METHODS = Registry()


def method(name: str, *, title: str, paper: str, needs: tuple[Need, ...] = (), lam=None, trains="vision"):
    """Register the decorated penalty as a method."""

    def register(penalty: Callable[[Step], Tensor]) -> Callable[[Step], Tensor]:
        METHODS.add(Method(name, title, paper, penalty, frozenset(needs), lam, trains))
        return penalty

    return register
