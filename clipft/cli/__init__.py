"""The command line: thin commands over the public functions. A user's mistake is one line and exit code 2."""

from __future__ import annotations

import sys

import typer

from ..errors import ClipftError
from . import lab as lab, runs as runs
from .app import app

STOPPED = 130
UsageError = typer.BadParameter.__base__  # click's, or typer's own copy of it


def main() -> None:
    """Run the app; a ClipftError is one line on stderr and exit code 2."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except (ClipftError, UsageError) as error:  # the latter: options that typer itself refuses
        said = error.format_message() if isinstance(error, UsageError) else str(error)
        print(f"clipft: {' '.join(said.split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        code = STOPPED
    if code == STOPPED:  # typer catches Ctrl-C itself
        print("clipft: stopped; the same command goes on from what was finished", file=sys.stderr)
    sys.exit(code)
