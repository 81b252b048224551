"""The command line: thin commands over the public functions, a file per group of them.

A command imports a room only when it is called, so that `--help` answers at once; it reads its
arguments, has them checked before it imports torch, calls, and prints. A user's mistake is one line
and exit code 2. Start at `PANELS`.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from typing import Any, NoReturn

import typer

from ..errors import ClipftError
from ..progress import end_bars, is_first
from ..stops import Interrupted, listening
from . import batch, cache, data, fetch, lab, models, runs, score, train, tune
from .app import app

STOPPED = 130  # the exit code after Ctrl-C
OWN_SIGNALS = ("batch", "lab")  # commands whose processes are ended, or take over, by their own way
# in the order of --help: what people do first and most stands first
PANELS = {
    "Day to day": (
        lab.lab, tune.tune, train.train, score.results, score.wise, models.export, models.predict,
    ),
    "Look closer": (
        score.evaluate, score.diagnose, score.compare, score.confusions, score.pick, score.verify,
    ),
    "Many runs": (
        runs.runs, train.combine, train.adopt, batch.batch, fetch.fetch, train.choose,
        lab.thumbnails,
    ),
    "What there is": (data.methods, data.presets, data.datasets),
    "House-keeping": (cache.cache, lab.html, lab.doctor),
}  # fmt: skip
# what `clipft lab` does not know is for JupyterLab
SETTINGS: dict[Any, Any] = {
    lab.lab: {"allow_extra_args": True, "ignore_unknown_options": True},
    runs.runs: {"ignore_unknown_options": True},  # `tag RUN -bad`
}

for panel, commands in PANELS.items():
    for command in commands:
        one_line = " ".join((command.__doc__ or "").split())
        settings = SETTINGS.get(command)
        app.command(help=one_line, context_settings=settings, rich_help_panel=panel)(command)


def main() -> None:
    """Run the app; a ClipftError is one line on stderr and exit code 2, a signal one line too.

    Of several ranks the first tells.
    """
    if not is_first():
        sys.stdout = io.StringIO()
    try:
        arguments = sys.argv[1:] or ["--help"]
        with contextlib.nullcontext() if arguments[0] in OWN_SIGNALS else listening():
            code = app(arguments, standalone_mode=False)
    except ClipftError as error:
        _refuse(str(error), error.code)
    except typer.TyperException as error:  # an argument or option that typer itself refuses
        _refuse(error.format_message())
    except Interrupted as stop:
        end_bars()
        command = shlex.join(["clipft", *sys.argv[1:]])
        if is_first():
            print(f"clipft: {stop}; the same command goes on: {command}", file=sys.stderr)
        sys.exit(stop.code)
    except KeyboardInterrupt:
        code = STOPPED
    if code == STOPPED and is_first():  # typer catches Ctrl-C itself
        print("clipft: stopped; the same command goes on from what was finished", file=sys.stderr)
    sys.exit(code)


def _refuse(message: str, code: int = 2) -> NoReturn:
    end_bars()
    if is_first():  # it is wrong for all; what goes wrong in one alone, `evaluation.launch` tells
        print(f"clipft: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
