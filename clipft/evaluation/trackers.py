"""A run as TensorBoard or Weights & Biases shows it, made of its folder, which stays the truth.

What fails here (no network, a full disk) is one line, and the work goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from ..config import TRACKERS, TUNED, RunConfig
from ..progress import write
from ..runs.folder import RunFolder
from ..runs.run import Run

Row = Mapping[str, Any]


class Tracker(Protocol):
    """What a run is shown in; begun again, it shows each step once."""

    def begin(self, settings: dict[str, Any], history: Iterable[Row]) -> None:
        """Settings of the run, and the rows of its history so far."""

    def log(self, row: Row) -> None:
        """One more row; `step` is how many steps were taken."""

    def finish(self, scores: Mapping[str, float], step: int) -> None:
        """The tuned model's accuracy on each split, none where it is not scored; then close."""


class Board:
    """TensorBoard by Fabric's logger, in the run's folder; written anew from the history."""

    def __init__(self, folder: RunFolder):
        from lightning_fabric.loggers import TensorBoardLogger

        self.settings: dict[str, Any] = {}
        # What an interrupted writer held back is in the history, and only there.
        shutil.rmtree(folder.path / "tensorboard", ignore_errors=True)
        self.logger = TensorBoardLogger(folder.path, name="tensorboard", version="")

    def begin(self, settings: dict[str, Any], history: Iterable[Row]) -> None:
        """Show the settings, as text, and the history."""
        self.settings = settings
        lines = [f"    {name}: {value}" for name, value in settings.items()]
        self.logger.experiment.add_text("settings", "\n".join(lines))
        for row in history:
            self.log(row)
        self.logger.save()

    def log(self, row: Row) -> None:
        """Every number of a row is a scalar."""
        self.logger.log_metrics(_numbers(row), row["step"])

    def finish(self, scores: Mapping[str, float], step: int) -> None:
        """Scores are metrics of the hyper-parameters, too."""
        if scores:
            self.logger.log_hyperparams(self.settings, dict(scores), step)
        self.logger.finalize("success")


class WandbRun:
    """Weights & Biases, under the run's own id; its files lie in the run's folder."""

    def __init__(self, folder: RunFolder):
        import wandb

        quiet = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "clipft",
            id=folder.name,
            name=folder.name,
            dir=str(folder.path),
            resume="allow",
            settings=quiet,
        )

    def begin(self, settings: dict[str, Any], history: Iterable[Row]) -> None:
        """Show the settings, and what of the history is not there yet."""
        self.run.config.update(settings, allow_val_change=True)
        for row in history:
            if row["step"] >= self.run.step:
                self.log(row)

    def log(self, row: Row) -> None:
        """Rows of one step are one row there."""
        self.run.log(_numbers(row), step=row["step"])

    def finish(self, scores: Mapping[str, float], step: int) -> None:
        """Scores are the summary of the run."""
        self.run.summary.update({"steps": step, **scores})
        self.run.finish()


def _numbers(row: Row) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if name != "step"}


KINDS = dict(zip(TRACKERS, (Board, WandbRun), strict=True))


class Tracking:
    """A run's tracker, if one is asked for, until it fails once.

    name: one of TRACKERS, or "" for none.
    """

    def __init__(self, name: str, folder: RunFolder):
        self._name = name
        self._folder = folder
        self._tracker: Tracker | None = None

    def begin(self, config: RunConfig) -> None:
        """Show the settings, and the history as it stands in the folder."""
        if self._name:
            self._try(self._begin, config)

    def log(self, row: Row) -> None:
        """Show one more row of the history."""
        if self._tracker is not None and len(row) > 1:
            self._try(self._tracker.log, row)

    def finish(self, config: RunConfig) -> None:
        """Show the scores, where there are any, and close."""
        if self._tracker is not None:
            self._try(self._finish, config)

    def _begin(self, config: RunConfig) -> None:
        self._tracker = KINDS[self._name](self._folder)
        self._tracker.begin(config.model_dump(mode="json"), self._folder.history())

    def _finish(self, config: RunConfig) -> None:
        assert self._tracker is not None
        self._tracker.finish(tuned_scores(self._folder), config.steps)

    def _try(self, step: Callable[[Any], None], given: Any) -> None:
        try:
            step(given)
        except Exception as error:  # of a library that shows the run, which is no part of it
            self._tracker = None
            self._name = ""
            said = " ".join(str(error).split())
            problem = f"{type(error).__name__}: {said:.200}"
            write(f"{self._folder.name} is not tracked any more, and goes on: {problem}")


def tuned_scores(folder: RunFolder) -> dict[str, float]:
    """The accuracy of the tuned model on each split; none where it is not scored."""
    if not folder.is_scored:
        return {}
    table = folder.scores()
    tuned = table[(table.alpha == TUNED) & (table.metric == "accuracy")]
    splits = zip(tuned.split, tuned["mean"], strict=True)
    return {f"accuracy/{split}": float(mean) for split, mean in splits}


def track_scores(name: str, runs: Iterable[Run]) -> None:
    """Show the history and the scores of each run in a tracker, if one is asked for."""
    if name:
        for run in runs:
            tracking = Tracking(name, run.folder)
            tracking.begin(run.config)
            tracking.finish(run.config)
