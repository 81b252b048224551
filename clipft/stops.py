"""Signals of schedulers, and a time to stop: what has begun is saved, then the command ends.

A command listens (`listening`); the library alone never does. A signal is an `Interrupted` that is
raised in the main thread at once, or where something must not be torn (`held`), at its end.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from .errors import REQUEUE, ConfigError

# What ends a job: Ctrl-C, a scheduler, a terminal that is closed, Slurm's --signal; and our time.
TIME_IS_UP = signal.SIGALRM
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, TIME_IS_UP)
SOON = (signal.SIGUSR1, TIME_IS_UP)  # that say: the time is nearly up, come again
DURATION = re.compile(
    r"(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m(?:in)?)?(?:(?P<s>\d+(?:\.\d+)?)s?)?"
)
CLOCK = re.compile(r"(?:(?P<d>\d+)-)?(?P<h>\d+):(?P<m>[0-5]?\d)(?::(?P<s>[0-5]?\d))?")  # Slurm's
SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
WANTED = "wanted: e.g. 3h50m, 90m, 230s, or 03:50:00"


class Interrupted(BaseException):
    """A signal ended the command, or its time was up; what was saved is said where it was saved.

    No Exception: nobody who mends errors takes it for one.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = signal.Signals(number)
        self.saved = ""

    @property
    def code(self) -> int:
        """What the process ends with: 128 + signal, or where the time is up, REQUEUE."""
        return REQUEUE if self.number in SOON else 128 + self.number

    def __str__(self) -> str:
        by = "as its time was up" if self.number == TIME_IS_UP else f"by {self.number.name}"
        return f"stopped {by}; {self.saved}" if self.saved else f"stopped {by}"


class _Heard:
    """What came to this process: only its main thread looks and writes."""

    def __init__(self) -> None:
        self.listening = False
        self.process = 0  # the one that listens
        self.ending = 0  # the signal that ends the command
        self.held = 0
        self.waiting: int | None = None

    def hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The handler of all signals."""
        if os.getpid() != self.process:
            return  # a fork that works for it, and is not deaf yet
        if self.held:
            self.waiting = self.waiting or number
        elif not _is_handled():
            self.end(self.ending or number)
        elif number == signal.SIGINT:  # Ctrl-C again: whoever presses it does not want to wait
            raise KeyboardInterrupt

    def end(self, number: int) -> NoReturn:
        """From here on the command is on its way out."""
        self.ending = number
        raise Interrupted(number)


_heard = _Heard()


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Within, in the main thread, signals are `Interrupted`; what is ignored stays so (nohup)."""
    if threading.current_thread() is not threading.main_thread() or _heard.listening:
        yield
        return
    before = {}
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if handler not in (signal.SIG_IGN, None):  # None: not Python's
            before[number] = handler
    _heard.listening = True
    _heard.process = os.getpid()
    _heard.ending = 0
    try:
        for number in before:
            signal.signal(number, _heard.hear)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        _heard.listening = False
        _heard.ending = 0
        _heard.waiting = None


@contextlib.contextmanager
def held() -> Iterator[None]:
    """What must not be torn: a signal that comes within is an `Interrupted` at the end.

    So is an earlier one that somebody swallowed: what is raised while an object is deleted is lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _heard.held += 1
    try:
        yield
    finally:
        _heard.held -= 1
    number = _heard.ending or _heard.waiting
    if number and not _heard.held and not _is_handled():
        _heard.waiting = None
        _heard.end(number)


def _is_handled() -> bool:
    """Whether an `Interrupted` is on its way out here."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, Interrupted):
            return True
        error = error.__context__
    return False


def is_listening() -> bool:
    """Whether a command of this process listens."""
    return _heard.listening


def be_deaf(*_: object) -> None:
    """In a process that works for this one, which says when it is to end, whatever its group
    is sent.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop_after(seconds: float) -> None:
    """Let a command that listens end after so long, whatever the wall clock does; 0: never."""
    if seconds and _heard.listening:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def read_duration(text: str) -> float:
    """Seconds of `3h50m`, `90m`, `230s`, `230`, `1d`, `HH:MM`, `HH:MM:SS`, Slurm's `D-HH:MM:SS`.

    Raises ConfigError for anything else, and for no time at all.
    """
    written = "".join(str(text).split()).lower()
    match = CLOCK.fullmatch(written) or DURATION.fullmatch(written)
    parts = match.groupdict() if match else {}
    seconds = sum(SECONDS[unit] * float(number) for unit, number in parts.items() if number)
    if not 0 < seconds < 1e9:  # what a timer of the system holds
        raise ConfigError(f"{text!r} is no time; {WANTED}")
    return seconds
