"""What a figure is given is of the kind that it draws, or one line says what was wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import ConfigError


def check_table(table: object, columns: Iterable[str], maker: str) -> None:
    """Raise ConfigError for what is no table with these columns and a row; maker: who makes it."""
    found = getattr(table, "columns", None)
    missing = [] if found is None else [name for name in columns if name not in found]
    if found is None or missing:
        lacks = f" without {missing[0]!r}" if missing else ""
        raise ConfigError(f"got {_kind(table)}{lacks}; wanted: the table of {maker}")
    if getattr(table, "empty", False):
        raise ConfigError(f"got a table without a row; wanted: the table of {maker}")


def check_fields(value: object, fields: Iterable[str], maker: str) -> None:
    """Raise ConfigError for a record without one of these fields; maker: what gives one."""
    if not all(hasattr(value, name) for name in fields):
        raise ConfigError(f"got {_kind(value)}; wanted: {maker}")


def check_named(values: object, kind: type | tuple[type, ...], maker: str) -> None:
    """Raise ConfigError for what is no mapping of names to such values, or an empty one."""
    wanted = f"wanted: a dict, name -> {maker}"
    if not isinstance(values, Mapping) or not values:
        none = " without any entry" if isinstance(values, Mapping) else ""
        raise ConfigError(f"got {_kind(values)}{none}; {wanted}")
    for name, value in values.items():
        if not isinstance(value, kind):
            raise ConfigError(f"{name!r} is {_kind(value)}; {wanted}")


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
