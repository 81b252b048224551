"""A stop button that is heard while a cell waits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import traitlets

from .base import anywidget, file_text


class StopButton(anywidget.AnyWidget):
    """A button that calls `stop`; while a cell waits, it interrupts the kernel instead.

    A click is a message to the kernel, and a kernel whose main thread waits reads none: a subshell
    does not help, since ipykernel (7.4) sends a widget's messages to the shell that showed it.

    Traits: disabled, waiting (whether a cell waits for what is to be stopped).
    """

    _esm = file_text("stop.js")
    disabled = traitlets.Bool(True).tag(sync=True)
    waiting = traitlets.Bool(False).tag(sync=True)

    def __init__(self, stop: Callable[[], None]):
        super().__init__()
        self.on_msg(lambda *_: stop())

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a click interrupt the kernel meanwhile: a KeyboardInterrupt in its main thread."""
        # Another thread never hears of an interrupt, and does not keep messages waiting.
        self.waiting = threading.current_thread() is threading.main_thread()
        try:
            yield
        finally:
            self.waiting = False
