"""The command line: thin commands over the public functions, a file per group of them.

A command imports a room only when it is called, so that `--help` answers at once; it reads its
arguments, calls, and prints. A user's mistake is one line and exit code 2. Start at `COMMANDS`.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import typer

from ..errors import ClipftError
from . import cache, data, lab, models, score, train
from .app import app

STOPPED = 130  # the exit code after Ctrl-C
# in the order of --help
COMMANDS = (
    lab.lab, lab.thumbnails, lab.batch, lab.html, lab.doctor,
    data.datasets, data.methods, train.train, data.presets, train.combine, train.choose,
    score.evaluate, score.wise, score.diagnose, score.compare, score.pick, cache.cache,
    models.export, models.predict, score.results,
)  # fmt: skip
# what `clipft lab` does not know is for JupyterLab
SETTINGS: dict[Any, Any] = {lab.lab: {"allow_extra_args": True, "ignore_unknown_options": True}}

for command in COMMANDS:
    one_line = " ".join((command.__doc__ or "").split())
    app.command(help=one_line, context_settings=SETTINGS.get(command))(command)


def main() -> None:
    """Run the app; a ClipftError is one line on stderr and exit code 2."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except ClipftError as error:
        _refuse(str(error))
    except typer.TyperException as error:  # an argument or option that typer itself refuses
        _refuse(error.format_message())
    except KeyboardInterrupt:
        code = STOPPED
    if code == STOPPED:  # typer catches Ctrl-C itself
        print("clipft: stopped; the same command goes on from what was finished", file=sys.stderr)
    sys.exit(code)


def _refuse(message: str) -> NoReturn:
    print(f"clipft: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
