"""The options of a method: the keyword arguments of its function, and what fits them."""

from __future__ import annotations

import math
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Name -> default of a function's keyword arguments: the options of a method."""
    options = {}
    for parameter in signature(function).parameters.values():
        if parameter.default is not Parameter.empty:
            options[parameter.name] = parameter.default
    return options


def own_options(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a method's options that this one of its functions takes."""
    return {name: options[name] for name in defaults(function) if name in options}


WANTED = {float: "a number >= 0", int: "a whole number >= 1", bool: "true or false", str: "a word"}


def check_options(owner: str, options: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option that is not `known`, or unlike its default there.

    A whole number must be at least 1, any other finite and at least 0; words and true or false stay
    what they are.
    """
    for name, value in options.items():
        if not known:
            raise ConfigError(f"unknown option of {owner} {name!r}; it takes none")
        if name not in known:
            raise unknown(f"option of {owner}", name, known)
        kind = type(known[name])
        if not _fits(value, kind):
            wanted = WANTED.get(kind, "a word")
            raise ConfigError(f"option {name} of {owner} is {value!r}, expected {wanted}")


def _fits(value: Any, kind: type) -> bool:
    """Whether a value may stand for an option of this kind."""
    if kind not in (int, float):
        return isinstance(value, kind)
    # To Python true is a number, and a whole number is no float.
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    least = 1 if kind is int else 0
    return least <= value < math.inf
