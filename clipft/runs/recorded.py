"""What config.json of a run may hold: each setting is of the kind that a run records."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ..config import plain_settings
from ..errors import RunError

NUMBER = (int, float)
AFTER = {"name": str, "options": dict, "of": list, "among": int, "members": list}
PART = {
    "work": str, "date": str, "versions": dict, "commit": str, "device": str, "precision": str,
    "steps": NUMBER, "seconds": NUMBER, "step_seconds": NUMBER, "alphas": list,
}  # fmt: skip
Kinds = Mapping[str, type | tuple[type, ...]]


def check_recorded(recorded: Any, source: str) -> dict[str, Any]:
    """The record itself; raises RunError where a value is of another kind than a run writes.

    Tables of thousands of runs take it as it stands, so it is looked at when it is read.
    """
    if not isinstance(recorded, dict):
        raise RunError(f"{source} is no run's configuration; delete the folder and run it again")
    odd = _odd(recorded, _kinds())
    after = recorded.get("after")
    if not odd and after is not None:
        names = [*after.get("of", ()), *after.get("members", ())]
        odd = _odd(after, AFTER) or ("" if all(isinstance(name, str) for name in names) else "of")
        odd = odd and f"after: {odd}"
    if not odd:
        odd = next((key for key, value in recorded.items() if _is_odd_digest(key, value)), "")
    if odd:
        fault = f"{source}: {odd} is of another kind than a run records"
        raise RunError(f"{fault}; delete the folder and run it again")
    return recorded


def is_part(part: Any) -> bool:
    """Whether this is a part of the work as made.json has it."""
    return isinstance(part, dict) and not _odd(part, PART)


def _is_odd_digest(key: str, value: Any) -> bool:
    return key.endswith("_digest") and not isinstance(value, str)


def _odd(values: Mapping[str, Any], kinds: Kinds) -> str:
    """The first key whose value is of another kind; "" where there is none."""
    for key, kind in kinds.items():
        if key in values and not isinstance(values[key], kind):
            return key
    return ""


@functools.cache
def _kinds() -> Kinds:
    """The kinds of settings, by those of their defaults."""
    kinds: dict[str, type | tuple[type, ...]] = {"title": str, "adopted": dict}
    kinds["after"] = (dict, type(None))
    for key, value in plain_settings().items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is None:
            kinds[key] = (*NUMBER, type(None))
        else:
            kinds[key] = NUMBER if is_number else type(value)
    return kinds
