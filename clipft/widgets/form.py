"""A form that trains: choose data, method and settings, run, watch the curves, stop, go on."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from ..boards.configs import settings_table
from ..config import Reading, RunConfig
from ..errors import ClipftError, ConfigError, Stopped
from ..figures.style import settings
from ..figures.tables import table_figure
from ..figures.training import training_figure
from ..progress import headless
from ..runs.identity import find_begun
from ..runs.run import Run
from .base import Displayed, W
from .parts import Plot, box, column, parts, text_panel
from .settings import SettingsFields
from .stop import StopButton
from .texts import duration, paragraph

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ..runs.folder import RunFolder

REDRAW = 0.3  # seconds between two redraws of the curves


class FineTuneForm(Displayed, traitlets.HasTraits):
    """One run as a form: settings, live curves, stop and go on.

    `wait()` gives the finished Run: it presses run if nobody did. A run that was stopped, here or
    elsewhere, goes on from its last validation. Traits: state (ready, running, stopped, finished,
    failed).

    Arguments:
        config: what the form starts from; settings that it does not show are kept.
        runs: the folder of the runs.
        reading: how images are read.

    Example:
        >>> form = clipft.FineTuneForm(clipft.RunConfig(method="lipsum", lr=3e-4, steps=120))
        >>> form.state
        'ready'
        >>> run = form.wait()
        >>> run.config.method
        'lipsum'
    """

    state = traitlets.Enum(("ready", "running", "stopped", "finished", "failed"), "ready")

    def __init__(self, config: RunConfig, runs: Path | str = "runs", reading: Reading = Reading()):
        super().__init__()
        self.runs = Path(runs)
        self.reading = reading
        self.run: Any = None  # a Run, when it is finished
        self.trained: RunConfig | None = None  # what it was asked for
        self.error: BaseException | None = None
        self.thread: threading.Thread | None = None
        self.stopping = threading.Event()
        self.over = threading.Event()  # no thread trains
        self.over.set()
        self.begun_at = 0.0
        self.took = 0.0  # seconds from then to the end
        self.pace = ""  # how fast it goes, in words

        self.settings = SettingsFields(config)
        self._add_widgets(config.steps)
        self._show_state()

    def _add_widgets(self, steps: int) -> None:
        self.begin = W.Button(description="run", button_style="primary").add_class("clipft-run")
        self.begin.on_click(lambda _: self.start())
        self.halt = StopButton(self.stop)
        self.bar = W.IntProgress(max=steps, layout=W.Layout(width="min(420px, 95%)"))
        self.note = text_panel("state")
        self.plot = Plot()
        buttons = box(self.begin, self.halt, self.bar)
        self.widget = column(self.settings.widget, buttons, self.note, self.plot)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(state={self.state!r})"

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        if not headless():
            self.keep_a_place()
        return self.bundle()

    @property
    def config(self) -> RunConfig:
        """The configuration of the form. Raises ConfigError for a value that is none."""
        return self.settings.config

    @property
    def rows(self) -> list[dict]:
        """What metrics.jsonl holds of this run so far."""
        folder = find_begun(self.runs, self.config)
        return folder.history() if folder is not None else []

    def figure(self) -> go.Figure:
        """The static twin: the curves so far, or the settings where nothing was trained yet."""
        try:
            config = self.config
        except ConfigError:  # a number that is half typed
            config = self.settings.start_from
        folder = find_begun(self.runs, config)
        rows = folder.history() if folder is not None else []
        if rows:
            return curves(rows, config, folder)
        return table_figure(settings_table(config.model_dump(exclude_defaults=True)))

    def start(self) -> None:
        """Train in the background, from the last validation if it was begun; returns at once."""
        if self.state == "running":
            return
        self.stopping.clear()
        self.error = None
        self.pace = ""
        self.begun_at = time.monotonic()
        try:
            config = self.config
        except ClipftError as error:
            self._end("failed", error)
            return
        self.bar.max = config.steps
        self.over.clear()
        self.state = "running"
        self._show_state()
        self.thread = threading.Thread(target=self._train_watched, args=(config,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Ask the training to end at its next step; what was validated is kept."""
        if self.state == "running":
            self.stopping.set()
            self._show_state()

    def close(self) -> None:
        """Stop what is trained, and end the widgets."""
        self.stop()
        self._wait_for_thread()
        for part in parts(self.widget if self.stage is None else self.stage):
            part.close()
        self.unobserve_all()
        for name in [name for name in vars(self) if not name.startswith("_")]:
            delattr(self, name)

    def wait(self) -> Run:
        """The finished run; trains it where it is not.

        Returns:
            The run.

        Raises:
            Stopped: where the training was stopped, by the button or by an interrupt of the
                kernel; a second interrupt is a KeyboardInterrupt at once. Else what training
                raises.
        """
        if headless():  # a batch: in this thread, with a bar in its log
            self.begun_at = time.monotonic()
            self.run = self._train(self.config)
            self._end("finished")
            return self.run

        with self.halt.interrupting():
            try:
                if self.run is None or self.trained != self.config:
                    self.start()
                self._wait_for_thread()
            except KeyboardInterrupt:
                self.stop()
                self._wait_for_thread()
        if self.error is not None:
            raise self.error
        return self.run

    def _wait_for_thread(self) -> None:
        # No Thread.join: once interrupted, Python 3.11 takes the thread for ended.
        while not self.over.wait(0.2):
            pass

    def _train(self, config: RunConfig, watch: Watch | None = None) -> Run:
        """Train with a progress bar, or with what watches instead of it."""
        from ..training.train import train  # torch: the form is shown without it

        reading = replace(self.reading, progress=watch is None)
        return train(config, self.runs, reading=reading, watch=watch)

    def _train_watched(self, config: RunConfig) -> None:
        _hide_interrupts()
        try:
            self.run = self._train(config, Watch(self, config))
            self.trained = config
            self.draw(self.run.folder.history(), config, self.run.folder)
            self._end("finished")
        except Stopped as error:
            self._end("stopped", error)
        except BaseException as error:  # shown in the form, raised by wait()
            self._end("failed", error)
        finally:
            self.over.set()

    def _end(self, state: str, error: BaseException | None = None) -> None:
        self.error = error
        self.took = time.monotonic() - self.begun_at
        self.state = state
        self._show_state()

    def _show_state(self) -> None:
        running = self.state == "running"
        self.begin.disabled = running
        self.halt.disabled = not running
        self.settings.lock(locked=running)
        self.note.value = paragraph(self._state_in_words())

    def _state_in_words(self) -> str:
        if self.error is not None:
            # Some errors have no text.
            return f"{self.state}: {str(self.error) or type(self.error).__name__}"
        if self.state == "finished":
            return f"finished in {duration(self.took)}: {self.run.folder}"
        if self.state == "running" and self.stopping.is_set():
            return "stopping at the next step that is logged"
        return f"{self.state}: {self.pace}" if self.state == "running" and self.pace else self.state

    def draw(self, rows: list[dict], config: RunConfig, folder: RunFolder | None) -> None:
        """Draw the curves of these rows of metrics.jsonl, and how fast they come."""
        self.bar.value = max((row["step"] for row in rows), default=0)
        self.plot.paint(curves(rows, config, folder))
        self._show_state()


class Watch:
    """Sees each row of a training: draws them now and then, ends it once stop was pressed."""

    def __init__(self, form: FineTuneForm, config: RunConfig):
        self.form = form
        self.config = config
        self.folder: RunFolder | None = None
        self.rows: list[dict] = []
        self.first_step = 0  # of this start
        self.first_at = 0.0
        self.drawn_at = 0.0

    def __call__(self, row: dict) -> None:
        """Raises Stopped."""
        now = time.monotonic()
        if not self.rows:
            self._begin(row["step"], now)
        self.rows.append(row)
        if now - self.drawn_at > REDRAW:
            done = row["step"] - self.first_step
            self.form.pace = pace(done, now - self.first_at, row["step"], self.config.steps)
            self.form.draw(self.rows, self.config, self.folder)
            self.drawn_at = time.monotonic()
        if self.form.stopping.is_set():
            raise Stopped(f"stopped at step {row['step']}; run goes on from the last validation")

    def _begin(self, step: int, now: float) -> None:
        self.first_step = step
        self.first_at = now
        self.folder = find_begun(self.form.runs, self.config)
        if self.folder is not None:
            # Of an earlier start; what came after its last validation is forgotten.
            self.rows = [row for row in self.folder.history() if row["step"] < step]


def pace(done: int, seconds: float, step: int, last_step: int) -> str:
    """Where a training is, how fast it goes, and how long it will take, in words.

    done: steps in these seconds; none: nothing can be said of the speed yet.
    """
    where = f"step {step} of {last_step}"
    if not done or not seconds:
        return where
    speed = done / seconds
    left = duration((last_step - step) / speed)
    return f"{where}, {speed:.3g} steps a second, about {left} left"


def curves(rows: list[dict], config: RunConfig, folder: RunFolder | None) -> go.Figure:
    """The training figure of a run that may not be finished yet."""
    title = settings(config.model_dump())
    if folder is not None:
        title += f", run {folder.name}"
    return training_figure(rows, title=title, last_step=config.steps)


def _hide_interrupts() -> None:
    """Keep interrupts of the kernel, sent to all its processes, from those of this thread.

    Else they would end the ones that decode images, and with them the training.
    """
    if hasattr(signal, "pthread_sigmask"):  # Windows interrupts the kernel alone
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
