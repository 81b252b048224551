"""The command that makes a run, for one whose weights are gone."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from ..config import plain_settings
from ..data.manifests import load_manifest
from ..errors import ConfigError

if TYPE_CHECKING:
    from .run import Run


def command_of(run: Run) -> str:
    """What makes a run's weights again: train, combine, or adopt its file once more."""
    folder = f"--runs {shlex.quote(str(run.path.parent))}"
    if run.after is not None:
        members = [str(run.path.parent / member) for member in run.after.members]
        words = [run.after.name, *members, *_words(run.after.options)]
        return shlex.join(["clipft", "combine", *words])
    if not run.config.steps:
        return f"clipft adopt CHECKPOINT {folder} ..., as the first time"
    told = run.config.model_dump(mode="json")
    options = told.pop("options")
    plain = plain_settings()
    changed = {key: value for key, value in told.items() if value != plain[key]}
    changed |= {f"options.{key}": value for key, value in options.items()}
    note = ""
    try:
        load_manifest(run.config.manifest)
    except ConfigError:  # where the file lies is not recorded
        changed["manifest"] = "FILE"
        note = f" (FILE: the manifest of {run.config.manifest})"
    words = shlex.join(["clipft", "train", "--preset", "none", *_words(changed)])
    return f"{words} {folder}{note}"


def _words(settings: dict[str, Any]) -> list[str]:
    """Settings as KEY=VALUE, as the command line reads them back."""
    words = []
    for key, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        words.append(f"{key}={text}")
    return words
