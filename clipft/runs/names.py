"""What a run is called: its method, and what was done after training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..methods import METHODS, POSTHOC

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..methods import Posthoc

UNKNOWN = 99  # place in an order of what no registry knows


@dataclass(frozen=True)
class MethodName:
    """`lipsum+tpgm`: a method, then the post-hoc methods applied to it, in order."""

    method: str
    after: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> MethodName:
        """The name that `str` gives; methods need not be known here."""
        method, *after = text.split("+")
        return cls(method, tuple(after))

    def __str__(self) -> str:
        return "+".join([self.method, *self.after])

    def then(self, posthoc: str) -> MethodName:
        """The name after one more post-hoc method."""
        return MethodName(self.method, (*self.after, posthoc))

    @property
    def title(self) -> str:
        """As in figures and tables, `Lipsum-FT + TPGM`; what no registry knows keeps its name."""
        titles = [METHODS[self.method].title if self.method in METHODS else self.method]
        for name in self.after:
            titles.append(POSTHOC[name].title if name in POSTHOC else name)
        return " + ".join(titles)

    @property
    def last(self) -> Posthoc | None:
        """The last post-hoc method; None without any, or where no registry knows it."""
        return POSTHOC[self.after[-1]] if self.after and self.after[-1] in POSTHOC else None

    @property
    def is_ensemble(self) -> bool:
        """Whether the last of a combination is an ensemble, whose alpha mixes what models say."""
        return self.last is not None and self.last.ensemble

    @property
    def place(self) -> tuple[list[int], str]:
        """Sorts names in the order of the registries, combinations after their method."""
        order = {name: place for place, name in enumerate([*METHODS, *POSTHOC])}
        return [order.get(name, UNKNOWN) for name in (self.method, *self.after)], str(self)


NOT_TRAINED = "not trained here"  # of a model that was tuned elsewhere


def recipe_in_words(lr: float, steps: int, seed: int | None = None) -> str:
    """`lr 0.001, 40 steps, seed 0`; of what took no step here, `not trained here`."""
    if not steps:
        return NOT_TRAINED
    words = f"lr {lr:g}, {steps} steps"
    return words if seed is None else f"{words}, seed {seed}"


def told_of(lr: float, steps: int) -> dict[str, str]:
    """lr and steps as a table has them; blank of what took no step here."""
    return {"lr": f"{lr:g}", "steps": str(steps)} if steps else {"lr": "", "steps": ""}


def title_of(method: str) -> str:
    """The title of a method or combination, as in figures and tables.

    Arguments:
        method: a name of `clipft methods`, or several joined by +.

    Returns:
        The title; what no registry knows keeps its name.

    Example:
        >>> clipft.title_of("lipsum+tpgm")
        'Lipsum-FT + TPGM'
    """
    return MethodName.parse(method).title


def is_ensemble(method: str) -> bool:
    """Whether a method is an ensemble, whose alpha mixes what models say: it has no weights.

    Arguments:
        method: a name of `clipft methods`, or several joined by +.

    Returns:
        True where the last of them is one.

    Example:
        >>> clipft.is_ensemble("ft+greedy_ensemble")
        True
    """
    return MethodName.parse(method).is_ensemble


def ordered(methods: Iterable[str]) -> list[str]:
    """Each name once, in the order of the registries, combinations after their method.

    Arguments:
        methods: names of methods and combinations.

    Returns:
        The names, sorted.

    Example:
        >>> clipft.ordered(["lipsum", "ft+tpgm", "ft", "lipsum"])
        ['ft', 'ft+tpgm', 'lipsum']
    """

    def place(method: str) -> tuple[list[int], str]:
        return MethodName.parse(method).place

    return sorted(set(methods), key=place)
