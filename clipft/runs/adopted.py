"""What a run records of a checkpoint that was tuned elsewhere: nobody here knows how."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ..config import Record, RunConfig
from ..errors import ConfigError, unknown
from ..methods import METHODS, POSTHOC, Method

if TYPE_CHECKING:
    from collections.abc import Mapping

STATED = ("manifest", "model", "pretrained", "reference", "selection")
NEEDED = ("manifest", "model")
DEFAULT_NAME = "adopted"
NAME = re.compile(r"\w[\w .()-]{0,39}")  # what fits a table, a legend and a file's name
NOT_A_METHOD = ("zero-shot", "ensemble")  # what tables call other rows


class Adopted(Record):
    """What of the model was tuned, `trains` as of a `Method`, and the digest of its weights."""

    trains: Literal["vision", "both"]
    weights: str


class AdoptedConfig(RunConfig):
    """The configuration of a run that was tuned elsewhere: its method is the name that it got.

    It takes no steps here, so its learning rate and its steps are 0; other settings of the training
    are at their defaults and say nothing.
    """

    lr: float = Field(0.0, ge=0, le=0)
    steps: int = Field(0, ge=0, le=0)
    adopted: Adopted

    def __init__(self, **values: Any):
        Record.__init__(self, **values)  # its method is no method of clipft

    @property
    def entry(self) -> Method:
        """What of the model was tuned, as a method of this name would say it."""
        return Method(self.method, self.method, "", trains=self.adopted.trains)


def stated(settings: Mapping[str, Any]) -> RunConfig:
    """What somebody says of a checkpoint as a configuration whose other settings mean nothing.

    Raises ConfigError for another setting than STATED, and where one of NEEDED is missing.
    """
    for key in settings:
        if key not in STATED:
            raise unknown("setting of an adopted run", key, STATED, RunConfig.other_names)
    for key in NEEDED:
        if not settings.get(key):
            raise ConfigError(f"which {key}? an adopted run needs {' and '.join(NEEDED)}")
    return RunConfig.read(dict(settings), "adopt")


def check_name(name: str) -> str:
    """The name itself; raises ConfigError where a method of clipft has it, or no table can."""
    taken = set()
    for entry in (*METHODS.values(), *POSTHOC.values()):
        taken |= {entry.name.casefold(), entry.title.casefold()}
    if name.casefold() in taken:
        fault = f"{name} is a method of clipft, whose runs are all made by one protocol"
        raise ConfigError(f"{fault}; choose another name, e.g. --name '{name} elsewhere'")
    if not NAME.fullmatch(name) or name != name.strip() or name in NOT_A_METHOD:
        wanted = "up to 40 letters, digits, blanks and any of _ . ( ) -"
        raise ConfigError(f"a method cannot be called {name!r}; wanted: {wanted}")
    return name
