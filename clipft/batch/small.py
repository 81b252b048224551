"""A batch in small: the same stages on other data with another model, fewer and shorter.

What a spec's block `small` says is laid over every job: its own words stay for what is not named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ..config import Record, RunConfig
from ..errors import unknown
from ..methods import POSTHOC
from ..runs.recipes import posthoc_recipe, recipe
from .parameters import Parameters
from .work import base_of, is_combining, is_training

MEMBERS = 2  # at least, of what is made of several runs


class Small(Record):
    """How a spec runs in small.

    settings: in place of those of every run that is trained; a mapping says what stands for which
    value. scaled: settings that are multiplied, whole numbers to at least 1. options: of post-hoc
    methods that take them. parameters: in place of a notebook's own. first: so many values of each
    list of a grid, and so many members, two at least; 0: all.
    """

    settings: dict[str, Any] = {}
    scaled: dict[str, float] = {}
    options: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    first: int = Field(0, ge=0)

    def check(self, source: str) -> None:
        """Raise ConfigError for a setting that is none, or one to scale that is no number."""
        numbers = [key for key, value in RunConfig() if type(value) in (int, float)]
        for key in self.settings:
            if key not in RunConfig.model_fields:
                raise unknown(f"setting in small of {source}", key, RunConfig.model_fields)
        for key in self.scaled:
            if key not in numbers:
                raise unknown(f"number to scale in small of {source}", key, numbers)
        options = {option for method in POSTHOC.values() for option in method.options}
        for key in self.options:
            if key not in options:
                raise unknown(f"option in small of {source}", key, options)

    def head(self, values: list[Any]) -> list[Any]:
        """The first values of one of a grid's lists."""
        return values[: self.first] if self.first else values

    def of(self, parameters: Mapping[str, Any], wanted: Parameters) -> dict[str, Any]:
        """A job's parameters in small. An empty list stays one: nothing is scored then."""
        values = dict(parameters)
        for key, value in self.parameters.items():
            if key in wanted.kinds and values.get(key) != []:
                values[key] = value
        if is_training(wanted):
            values["settings"] = self.settings_of(
                base_of(wanted, parameters), values.get("settings", {})
            )
        if is_combining(wanted) and "members" in values:
            members = values["members"][: max(self.first, MEMBERS) if self.first else None]
            values["members"] = [self.settings_of({}, member) for member in members]
        if is_combining(wanted) and "name" in values:
            method, _ = posthoc_recipe(values["name"], {})
            own = {key: value for key, value in self.options.items() if key in method.options}
            values["options"] = {**values.get("options", {}), **own}
        if "where" in values:
            values["where"] = self._where(values["where"])
        return values

    def settings_of(self, base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
        """Settings over `base`, in small; raises ConfigError where they make no recipe."""
        whole = recipe({**base, **own})
        return {**own, **self._in_place_of(dict(whole))}

    def _where(self, where: Mapping[str, Any]) -> dict[str, Any]:
        """The settings by which runs are picked: those of the runs in small."""
        instead = self._in_place_of(where)
        return {key: instead.get(key, value) for key, value in where.items()}

    def _in_place_of(self, whole: Mapping[str, Any]) -> dict[str, Any]:
        """What of the block stands in place of these settings."""
        values: dict[str, Any] = {}
        for key, value in self.settings.items():
            if not isinstance(value, dict):
                values[key] = value
            elif key in whole and whole[key] in value:
                values[key] = value[whole[key]]
        for key, factor in self.scaled.items():
            if key in whole:
                product = whole[key] * factor
                is_whole = isinstance(whole[key], int)
                values[key] = max(1, round(product)) if is_whole else float(f"{product:.6g}")
        return values
