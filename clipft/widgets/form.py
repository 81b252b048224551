"""A form that trains: choose data, method and settings, run, watch the curves, stop, go on."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import traitlets

from ..config import Reading, RunConfig
from ..data.manifests import available
from ..errors import ClipftError, ConfigError, Stopped
from ..figures.style import COLOURS
from ..figures.tables import table_figure
from ..figures.training import training_figure
from ..methods import METHODS
from ..progress import headless
from ..runs.identity import find_begun
from ..runs.names import title_of
from ..runs.run import Run
from .base import Chart, Explorer, W, box, dropdown, text_panel
from .configs import settings_table
from .marks import Spec, chart, mark, padded
from .texts import paragraph

REDRAW = 0.3  # seconds between two redraws of the curves
ACCURACY = "reference validation accuracy (%)"


class FineTuneForm(Explorer):
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
        self.start_from = config
        self.runs = Path(runs)
        self.reading = reading
        self.run: Any = None  # a Run, when it is finished
        self.trained: RunConfig | None = None  # what it was asked for
        self.error: BaseException | None = None
        self.thread: threading.Thread | None = None
        self.stopping = threading.Event()

        self.fields = _fields(config)
        self._add_widgets()
        self.observe(self._show_state, "state")
        self._show_state()

    def _add_widgets(self) -> None:
        self.begin = W.Button(description="run", button_style="primary").add_class("clipft-run")
        self.halt = W.Button(description="stop").add_class("clipft-stop")
        self.begin.on_click(lambda _: self.start())
        self.halt.on_click(lambda _: self.stop())
        self.bar = W.IntProgress(max=self.start_from.steps, layout=W.Layout(width="420px"))
        self.note = text_panel("state")
        self.chart = Chart()
        fields = box(*self.fields.values())
        buttons = box(self.begin, self.halt, self.bar)
        self.widget = W.VBox([fields, buttons, self.note, self.chart])

    @property
    def config(self) -> RunConfig:
        """The configuration of the form. Raises ConfigError for a value that is none."""
        values = self.start_from.model_dump()
        for name, field in self.fields.items():
            values[name] = field.value
        values["lr"] = _number(values["lr"])
        values["lam"] = _number(values["lam"]) if values["lam"].strip() else None
        return RunConfig.read(values, "the form")

    @property
    def rows(self) -> list[dict]:
        """What metrics.jsonl holds of this run so far."""
        return self._history(self.config)

    def _history(self, config: RunConfig) -> list[dict]:
        folder = find_begun(self.runs, config)
        return folder.history() if folder is not None else []

    def figure(self):
        """The static twin: the curves so far, or the settings where nothing was trained yet."""
        try:
            config = self.config
        except ConfigError:  # a number that is half typed
            config = self.start_from
        rows = self._history(config)
        if rows:
            return training_figure(rows)
        return table_figure(settings_table(config.model_dump(exclude_defaults=True)))

    def start(self) -> None:
        """Train in the background, from the last validation if it was begun; returns at once."""
        if self.state == "running":
            return
        self.stopping.clear()
        self.error = None
        try:
            config = self.config
        except ClipftError as error:
            self._end("failed", error)
            return
        self.bar.max = config.steps
        self.state = "running"
        self.thread = threading.Thread(target=self._train_watched, args=(config,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Ask the training to end at its next step; what was validated is kept."""
        self.stopping.set()

    def wait(self) -> Run:
        """The finished run; trains it where it is not.

        Returns:
            The run.

        Raises:
            Stopped: where the training was stopped; else what training raises.
        """
        if headless():  # a batch: in this thread, with a bar in its log
            self.run = self._train(self.config)
            self._end("finished")
            return self.run

        if self.run is None or self.trained != self.config:
            self.start()
        try:
            while self.thread is not None and self.thread.is_alive():
                self.thread.join(0.2)
        except KeyboardInterrupt:
            self.stop()
            if self.thread is not None:
                self.thread.join()
        if self.error is not None:
            raise self.error
        return self.run

    def _train(self, config: RunConfig, watch: Watch | None = None) -> Run:
        """Train with a progress bar, or with what watches instead of it."""
        from ..training.train import train  # torch: the form is shown without it

        reading = replace(self.reading, progress=watch is None)
        return train(config, self.runs, reading=reading, watch=watch)

    def _train_watched(self, config: RunConfig) -> None:
        try:
            self.run = self._train(config, Watch(self, self._history(config)))
            self.trained = config
            self.draw(self._history(config))
            self._end("finished")
        except Stopped as error:
            self._end("stopped", error)
        except BaseException as error:  # shown in the form, raised by wait()
            self._end("failed", error)

    def _end(self, state: str, error: BaseException | None = None) -> None:
        self.error = error
        self.state = state
        self._show_state()

    def _show_state(self, _change: object = None) -> None:
        running = self.state == "running"
        self.begin.disabled = running
        self.halt.disabled = not running
        text = self.state
        if self.run is not None and self.state == "finished":
            text += f" {self.run.folder}"
        if self.error is not None:
            # Some errors have no text.
            text += f": {str(self.error) or type(self.error).__name__}"
        self.note.value = paragraph(text)

    def draw(self, rows: list[dict]) -> None:
        """Draw the curves of these rows of metrics.jsonl."""
        self.bar.value = max((row["step"] for row in rows), default=0)
        loss = curve_of(rows, "loss")
        accuracy = curve_of(rows, "val_accuracy")
        accuracy[1] *= 100
        panels = [
            curve_panel(loss, "loss", self.bar.max, colour=COLOURS[0], size=2),
            curve_panel(accuracy, ACCURACY, self.bar.max, colour=COLOURS[2], size=4),
        ]
        self.chart.spec = chart("training curves", 260, panels)


class Watch:
    """Sees each row of a training: draws them now and then, ends it once stop was pressed."""

    def __init__(self, form: FineTuneForm, history: list[dict]):
        self.form = form
        self.history = history  # of an earlier start
        self.rows: list[dict] = []
        self.drawn_at = 0.0

    def __call__(self, row: dict) -> None:
        """Raises Stopped."""
        if not self.rows:
            # What was trained after the last validation comes again.
            self.rows = [earlier for earlier in self.history if earlier["step"] < row["step"]]
        self.rows.append(row)
        if time.monotonic() - self.drawn_at > REDRAW:
            self.form.draw(self.rows)
            self.drawn_at = time.monotonic()
        if self.form.stopping.is_set():
            raise Stopped(f"stopped at step {row['step']}; run goes on from the last validation")


def curve_of(rows: list[dict], key: str) -> np.ndarray:
    """(2, N) steps and values of the rows that hold this key."""
    points = [(row["step"], row[key]) for row in rows if key in row]
    return np.array(points, dtype=float).reshape(-1, 2).T


def curve_panel(curve: np.ndarray, title: str, last_step: int, *, colour: str, size: int) -> Spec:
    """A panel of one curve, as a line and as points of this size."""
    line = mark("line", *curve, colour=colour)
    points = line | {"kind": "points", "size": size}
    x = {"title": "step", "range": [0, last_step]}
    y = {"range": padded(min(curve[1], default=0), max(curve[1], default=1))}
    return {"width": 430, "title": title, "marks": [line, points], "x": x, "y": y}


def _fields(config: RunConfig) -> dict[str, W.Widget]:
    """A control for each setting that the form shows."""
    manifests = list(dict.fromkeys([*available(), config.manifest]))
    lam = "" if config.lam is None else repr(config.lam)
    fields = {
        "manifest": dropdown(manifests, "data", config.manifest),
        "method": dropdown(list(METHODS), "method", config.method, called=title_of),
        "lr": W.Text(value=repr(config.lr), description="learning rate"),
        "lam": W.Text(value=lam, description="lambda", placeholder="the method's own"),
        "steps": W.IntText(value=config.steps, description="steps"),
        "batch_size": W.IntText(value=config.batch_size, description="batch size"),
        "eval_every": W.IntText(value=config.eval_every, description="validate every"),
        "seed": W.IntText(value=config.seed, description="seed"),
    }
    for name, field in fields.items():
        field.add_class(f"clipft-form-{name}")
        if not isinstance(field, W.Dropdown):
            field.style.description_width = "initial"
            field.layout.width = "190px"
    return fields


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.strip()  # the configuration says what is wrong with it
