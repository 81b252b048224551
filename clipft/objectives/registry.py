"""The registry of methods, and what one training step hands to each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..config import check_options, defaults
from ..errors import ConfigError, unknown
from .step import Step

if TYPE_CHECKING:
    from torch import Tensor

    from ..config import RunConfig


Need = Literal["anchor", "context", "random_texts", "captions", "class_captions", "weights"]


@dataclass(frozen=True)
class Method:
    """A fine-tuning method: its loss is `cross-entropy + lam * penalty`, or `penalty` alone (`lam` None).

    The penalty's keyword arguments are the method's options. Text-side needs: captions (one an image), class_captions
    (one a class, every step: the logits then come from the text tower instead of a head).
    """

    name: str
    title: str
    paper: str
    penalty: Callable[..., Tensor] | None = None
    needs: frozenset[Need] = frozenset()
    lam: float | None = None
    trains: Literal["head", "vision", "image", "both"] = (
        "vision"  # vision: tower and head; image, both: towers, scale
    )
    head: Literal["zero_shot", "zeros", "probe"] = (
        "zero_shot"  # where the head starts; probe: a linear probe
    )
    ema: float | None = (
        None  # decay of the averaged weights that are kept in place of the trained ones
    )

    @property
    def options(self) -> dict[str, float | bool]:
        """Name -> default of the penalty's keyword arguments."""
        return defaults(self.penalty) if self.penalty else {}

    @property
    def uses_cross_entropy(self) -> bool:
        """Whether cross-entropy over the classes is a term of the loss."""
        return self.penalty is None or self.lam is not None

    def check(self, config: RunConfig) -> None:
        """Raise ConfigError for a setting that this method does not know or that would do nothing."""
        check_options(self.name, config.options, self.options)
        if config.lam is not None and self.lam is None:
            raise ConfigError(
                f"{self.name} has no regulariser, so lam={config.lam:g} would do nothing; leave it out"
            )
        if self.trains in ("image", "both") and (config.head != "fixed" or config.head_from):
            raise ConfigError(
                f"{self.name} builds its head from its text tower; leave out head and head_from"
            )
        if config.head_from and self.head != "zero_shot":
            raise ConfigError(
                f"{self.name} says itself where its head starts; head_from goes with method=ft"
            )
        if config.solver == "adamw" and self.head != "probe":
            raise ConfigError(
                f"{self.name} has no linear probe, so solver=adamw would do nothing; leave it out"
            )
        if config.head == "absorbed" and config.logit_scale in ("trained", "clamped"):
            raise ConfigError(
                "head=absorbed holds the logit scale in its weights; leave out logit_scale"
            )
        if self.head == "probe" and config.solver == "adamw" and self.trains != "head":
            raise ConfigError(
                f"{self.name} takes solver=logistic; for a head that AdamW trained: method=lp solver=adamw, "
                "clipft export, then method=ft head_from=FOLDER/head.safetensors"
            )

    def terms(self, step: Step, lam: float | None = None, **options: float) -> dict[str, Tensor]:
        """The terms of the loss by name, weighted: their sum is minimised."""
        from .cross_entropy import cross_entropy

        terms = {"cross_entropy": cross_entropy(step)} if self.uses_cross_entropy else {}
        if self.penalty is not None:
            value, weight = self.penalty(step, **options), self.lam if lam is None else lam
            terms[self.name] = value if weight is None else weight * value
        return terms


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


def method(name: str, *, needs: tuple[Need, ...] = (), **about):
    """Register the decorated penalty as a method; `about` are the other fields of Method (title, paper, lam ...)."""

    def register(penalty: Callable[..., Tensor]) -> Callable[..., Tensor]:
        METHODS.add(Method(name, penalty=penalty, needs=frozenset(needs), **about))
        return penalty

    return register
