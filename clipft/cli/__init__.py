"""The command line: thin commands over the public functions, a file per group of them.

A command imports a room only when it is called, so that `--help` answers at once; it reads its
arguments, has them checked before it imports torch, calls, and prints. A user's mistake is one line
and exit code 2. Start at `PANELS`.
"""

from __future__ import annotations

import io
import sys
from typing import Any, NoReturn

import typer

from ..errors import ClipftError, ConfigError
from ..progress import is_first
from . import cache, data, lab, models, score, train
from .app import app

STOPPED = 130  # the exit code after Ctrl-C
# in the order of --help: what people do first and most stands first
PANELS = {
    "Day to day": (
        lab.lab, train.train, score.results, score.wise, models.export, models.predict,
    ),
    "Look closer": (
        score.evaluate, score.diagnose, score.compare, score.pick, score.verify,
    ),
    "Many runs": (train.combine, train.adopt, lab.batch, train.choose, lab.thumbnails),
    "What there is": (data.methods, data.presets, data.datasets),
    "House-keeping": (cache.cache, lab.html, lab.doctor),
}  # fmt: skip
# what `clipft lab` does not know is for JupyterLab
SETTINGS: dict[Any, Any] = {lab.lab: {"allow_extra_args": True, "ignore_unknown_options": True}}

for panel, commands in PANELS.items():
    for command in commands:
        one_line = " ".join((command.__doc__ or "").split())
        settings = SETTINGS.get(command)
        app.command(help=one_line, context_settings=settings, rich_help_panel=panel)(command)


def main() -> None:
    """Run the app; a ClipftError is one line on stderr and exit code 2.

    Of several ranks the first tells.
    """
    if not is_first():
        sys.stdout = io.StringIO()
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except ClipftError as error:
        if isinstance(error, ConfigError) and not is_first():
            sys.exit(2)  # what is wrong in a configuration is wrong for all
        _refuse(str(error))
    except typer.TyperException as error:  # an argument or option that typer itself refuses
        _refuse(error.format_message())
    except KeyboardInterrupt:
        code = STOPPED
    if code == STOPPED and is_first():  # typer catches Ctrl-C itself
        print("clipft: stopped; the same command goes on from what was finished", file=sys.stderr)
    sys.exit(code)


def _refuse(message: str) -> NoReturn:
    print(f"clipft: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
