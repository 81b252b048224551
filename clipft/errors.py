"""Errors a user can mend: one line that says what came, what was wanted and what to try."""

import difflib
import re
from collections.abc import Iterable, Mapping

SHOWN = 12  # known names in the error for an unknown one
REQUEUE = 75  # the exit code that asks a scheduler to run the command again; EX_TEMPFAIL
LONGEST = 2000  # letters of an error: a window full
# What moves the cursor of a terminal, colours it, or turns a line round; a tab and an end of a line
# do not belong into a name, but they do no harm.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """A text for a terminal: what would control it stands there as it is written, `\\x1b`."""
    if text.isprintable():
        return text
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


class ClipftError(Exception):
    """Base of all errors meant for the user; the command line prints it and exits with `code`.

    Arguments:
        text: one line that says what came, what was wanted and what to try.

    Example:
        >>> try:
        ...     clipft.load_manifest("emoji_shfit")
        ... except clipft.ClipftError as error:
        ...     print(error)
        unknown data set 'emoji_shfit'; did you mean 'emoji_shift'? known: ...
    """

    code = 2  # what the command line exits with

    def __str__(self) -> str:
        text = plain(super().__str__())
        if len(text) <= LONGEST:
            return text
        # A name of thousands of letters stands in it; what to try stands at its end.
        return f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"

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


class JobsFailed(RunError):  # noqa: N818  # says all without "Error"
    """Jobs of a batch failed; the others were finished first."""

    code = 1


class StorageError(ClipftError):
    """The disk refused: full, read-only or not permitted."""


class Stopped(ClipftError):  # noqa: N818  # not a mistake
    """Training was stopped by the one who watched it; what was reached is kept."""


class TimeUp(Stopped):
    """A batch was to stop by now: what was finished is kept, the same command goes on."""

    code = REQUEUE


class MissingExtra(ClipftError):  # noqa: N818  # says all without "Error"
    """An optional part of clipft is not installed."""

    def __init__(self, package: str, extra: str):
        command = f"pip install 'clipft[{extra}]'"
        super().__init__(f"{package} is not installed; it comes with: {command}")


def unknown(
    kind: str, name: object, known: Iterable[str], other_names: Mapping[str, str] | None = None
) -> ConfigError:
    """The error for a misspelt name: says what is known and which name is nearest.

    other_names: what else the field calls a known name, in lower case with _; misspelt, too, these
    lead to it.
    """
    names = sorted(known)
    if not names:
        return ConfigError(f"unknown {kind} {name!r:.80}")

    listed = ", ".join(names[:SHOWN])
    if len(names) > SHOWN:
        listed += ", ..."

    other_names = other_names or {}
    spelling = str(name)[:80]
    in_full = spelling.lower().replace("-", "_").strip("_")
    if in_full in other_names:
        spelling = in_full
    nearest = difflib.get_close_matches(spelling, [*names, *other_names], n=1, cutoff=0.5)
    hint = ""
    if nearest:
        hint = f"did you mean {other_names.get(nearest[0], nearest[0])!r}? "
    return ConfigError(f"unknown {kind} {name!r:.80}; {hint}known: {listed}")


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line: the first, or the error's kind."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
