"""Errors a user can mend: one line that says what came, what was wanted and what to try."""

import difflib
from collections.abc import Iterable


class ClipftError(Exception):
    """Base of all errors meant for the user; the command line prints its text and exits with 2."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the one line, as on the command line."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(ClipftError):
    """A name, key or value in a configuration, manifest or batch spec is wrong."""


class ImageError(ClipftError):
    """An image file is missing, truncated or no image."""


class WeightsError(ClipftError):
    """A weights file or mapping is truncated, foreign or does not fit."""


class RunError(ClipftError):
    """A run folder is locked, incomplete or holds another run."""


class Stopped(ClipftError):
    """Training was stopped by the one who watched it; what was reached is kept."""


class StorageError(ClipftError):
    """The disk refused: full, read-only or not permitted."""


class MissingExtra(ClipftError):
    """An optional part of clipft is not installed."""

    def __init__(self, package: str, extra: str):
        super().__init__(
            f"{package} is not installed; it comes with: pip install 'clipft[{extra}]'"
        )


def unknown(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """The error for a misspelt name: says what is known and which name is nearest."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return ConfigError(f"unknown {kind} {name!r}" + (f"; {hint}known: {shown}" if known else ""))
