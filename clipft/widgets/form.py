"""A form that trains: choose data, method and hyper-parameters, press run, watch the curves, stop, go on."""

from __future__ import annotations

import html
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import traitlets

from .. import figures
from ..config import RunConfig
from ..data.manifests import available
from ..disk.files import read_jsonl
from ..errors import ClipftError, ConfigError, Stopped
from ..figures.style import COLOURS
from ..objectives.registry import METHODS
from ..progress import headless
from ..runs.run import Run
from ..training.train import train
from .base import Chart, Explorer, W, box, dropdown, padded, text_panel

if TYPE_CHECKING:
    import plotly.graph_objects as go

CURVES = (
    ("loss", "loss", 1, COLOURS[0]),
    ("val_accuracy", "reference validation accuracy (%)", 100, COLOURS[2]),
)
REDRAW = 0.3  # seconds between two redraws of the curves


class FineTuneForm(Explorer):
    """One run as a form. `wait()` gives the finished Run: it presses run if nobody did.

    config: what the form starts from; settings that it does not show are kept. A run that was stopped, here or
    elsewhere, goes on from its last validation. Traits: state (ready, running, stopped, finished, failed).
    """

    state = traitlets.Enum(("ready", "running", "stopped", "finished", "failed"), "ready")

    def __init__(
        self, config: RunConfig, runs: Path | str = "runs", device: str = "auto", workers: int = 0
    ):
        super().__init__()
        self.start_from, self.runs, self.device, self.workers = config, Path(runs), device, workers
        self.run: Run | None = None
        self.error: BaseException | None = None
        self.thread: threading.Thread | None = None
        self.stopping = threading.Event()
        number = {"style": {"description_width": "initial"}, "layout": W.Layout(width="190px")}

        def counter(key: str, title: str) -> W.IntText:
            return W.IntText(value=getattr(config, key), description=title, **number)

        manifests = list(dict.fromkeys([*available(), config.manifest]))
        self.fields = {
            "manifest": dropdown(manifests, "data", config.manifest),
            "method": dropdown(
                [(m.title, m.name) for m in METHODS.values()], "method", config.method
            ),
            "lr": W.Text(value=repr(config.lr), description="learning rate", **number),
            "lam": W.Text(
                value="" if config.lam is None else repr(config.lam),
                placeholder="the method's own",
                description="lambda",
                **number,
            ),
            "steps": counter("steps", "steps"),
            "batch_size": counter("batch_size", "batch size"),
            "eval_every": counter("eval_every", "validate every"),
            "seed": counter("seed", "seed"),
        }
        for name, control in self.fields.items():
            control.add_class(f"clipft-form-{name}")
        self.begin = W.Button(description="run", button_style="primary").add_class("clipft-run")
        self.halt = W.Button(description="stop", disabled=True).add_class("clipft-stop")
        self.begin.on_click(lambda _: self.start())
        self.halt.on_click(lambda _: self.stop())
        self.bar = W.IntProgress(min=0, max=config.steps, layout=W.Layout(width="420px"))
        self.said, self.chart = text_panel("state"), Chart()
        self.observe(lambda _: self._show_state(), "state")
        self.widget = W.VBox(
            [
                box(*self.fields.values()),
                box(self.begin, self.halt, self.bar),
                self.said,
                self.chart,
            ]
        )
        self._show_state()

    @property
    def config(self) -> RunConfig:
        """The configuration that the form stands for. Raises ConfigError for a value that is none."""
        values = self.start_from.model_dump() | {k: f.value for k, f in self.fields.items()}
        for name in ("lr", "lam"):
            text = str(values[name]).strip()
            values[name] = _number(text) if text or name == "lr" else None
        return RunConfig.read(values, "the form")

    @property
    def rows(self) -> list[dict]:
        """What metrics.jsonl holds of this run so far."""
        return self._rows(self.config)

    def figure(self) -> go.Figure:
        """The static twin: the curves so far, or the settings where nothing was trained yet."""
        try:
            config = self.config
        except ConfigError:  # a number that is half typed
            config = self.start_from
        if rows := self._rows(config):
            return figures.training_curves(rows)
        shown = config.model_dump(exclude_defaults=True)
        return figures.table(
            pd.DataFrame({"setting": list(shown), "value": [str(v) for v in shown.values()]})
        )

    def _rows(self, config: RunConfig) -> list[dict]:
        return read_jsonl(self.runs / config.id / "metrics.jsonl")

    def start(self) -> None:
        """Train in the background, from the last validation if the run was begun before; returns at once."""
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
        self.thread = threading.Thread(target=self._train, args=(config,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Ask the training to end at its next step; what was validated is kept."""
        self.stopping.set()

    def wait(self) -> Run:
        """The finished run; trains it where it is not. Raises what training raised, Stopped if that is stopped."""
        if headless():  # a batch: in this thread, with a bar in its log
            self.run = train(self.config, self.runs, device=self.device, workers=self.workers)
            self._end("finished")
            return self.run
        if self.run is None or self.run.config != self.config:
            self.start()
        try:
            while self.thread is not None and self.thread.is_alive():
                self.thread.join(0.2)
        except KeyboardInterrupt:
            self.stop()
            self.thread.join()
        if self.error is not None:
            raise self.error
        return self.run

    def _train(self, config: RunConfig) -> None:
        drawn, before, new = 0.0, self._rows(config), list[dict]()

        def watch(row: dict) -> None:
            nonlocal drawn
            new.append(row)
            rows = [
                one for one in before if one["step"] < new[0]["step"]
            ] + new  # what was not validated comes again
            if time.monotonic() - drawn > REDRAW:
                self._draw(rows)
                drawn = time.monotonic()
            if self.stopping.is_set():
                raise Stopped(
                    f"stopped at step {row['step']}; run goes on from the last validation"
                )

        try:
            self.run = train(
                config,
                self.runs,
                device=self.device,
                workers=self.workers,
                progress=False,
                watch=watch,
            )
            self._draw(self._rows(config))
            self._end("finished")
        except Stopped as error:
            self._end("stopped", error)
        except BaseException as error:  # shown in the form, raised by wait()
            self._end("failed", error)

    def _end(self, state: str, error: BaseException | None = None) -> None:
        self.error = error
        self.state = state
        self._show_state()

    def _show_state(self) -> None:
        running = self.state == "running"
        self.begin.disabled, self.halt.disabled = running, not running
        folder = f" {self.run.folder}" if self.run is not None and self.state == "finished" else ""
        error = (
            ""
            if self.error is None
            else f": {html.escape(str(self.error) or type(self.error).__name__)}"
        )
        self.said.value = f"<p>{self.state}{folder}{error}</p>"

    def _draw(self, rows: list[dict]) -> None:
        self.bar.value = max((row["step"] for row in rows), default=0)
        panels = []
        for key, title, factor, colour in CURVES:
            found = [row for row in rows if key in row]
            values = [factor * row[key] for row in found]
            line = {"x": [row["step"] for row in found], "y": values, "colour": colour}
            marks = [
                {"kind": "line"} | line,
                {"kind": "points", "size": 2 if factor == 1 else 4} | line,
            ]
            y = {"range": padded(min(values, default=0), max(values, default=1))}
            x = {"title": "step", "range": [0, self.bar.max]}
            panels.append({"width": 430, "title": title, "marks": marks, "x": x, "y": y})
        self.chart.spec = {"title": "training curves", "height": 260, "panels": panels}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # the configuration says what is wrong with it
