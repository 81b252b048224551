"""A finished run as a frozen record, read from its folder in milliseconds: no model, no tensor, no
device.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Record, RunConfig, check_alpha
from ..data.manifests import Manifest, load_manifest
from ..errors import ClipftError, RunError
from .folder import ABOUT, RunFolder, run_folders
from .names import MethodName
from .scores import Scores, from_frame
from .sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd


class After(Record):
    """What made a run of finished ones: a post-hoc method, its options, the runs' folder names."""

    name: str
    options: dict[str, Any] = {}
    of: tuple[str, ...] = ()  # post-hoc methods that the first of the runs is itself made by
    among: int = 1  # how many runs were given; an ensemble's members are those it kept
    members: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """One finished run: `Run.open(folder)`. `train` and `combine` make one, `score` adds scores."""

    folder: RunFolder
    config: RunConfig
    after: After | None = None
    made_of: Mapping[str, str] = field(
        default_factory=dict
    )  # digests: model, manifest, head, method

    @classmethod
    def open(cls, given: Run | RunFolder | Path | str) -> Run:
        """The run that lies in a folder; raises RunError where none is or it is not finished."""
        if isinstance(given, Run):
            return given
        folder = RunFolder.of(given)
        recorded = folder.config()
        source = f"{folder}/config.json"
        after = None
        if recorded.get("after") is not None:
            after = After.read(recorded["after"], source)
        digests = {key: value for key, value in recorded.items() if key.endswith("_digest")}
        aside = {"after", *ABOUT, *digests}
        settings = {key: value for key, value in recorded.items() if key not in aside}

        run = cls(folder, RunConfig.read(settings, source), after, digests)
        if not (run.is_ensemble or folder.is_finished):
            raise RunError(
                f"{folder} is not finished; train it to its end first:"
                " the same command goes on with it"
            )
        return run

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """Where its folder lies."""
        return self.folder.path

    @property
    def name(self) -> MethodName:
        """The method, and what was done after it: `lipsum+tpgm`."""
        if self.after is None:
            return MethodName(self.config.method)
        return MethodName(self.config.method, (*self.after.of, self.after.name))

    @cached_property
    def title(self) -> str:
        """Its name in figures, as recorded when made: its method may be unknown here."""
        recorded = self.folder.config().get("title", self.name.title)
        config = self.config
        return f"{recorded}, lr {config.lr:g}, {config.steps} steps, seed {config.seed}"

    @property
    def is_ensemble(self) -> bool:
        """Whether this is the mean of its members' logits, which has no weights of its own."""
        return self.name.is_ensemble

    @property
    def members(self) -> list[Run]:
        """The runs that it was made of; none where it was trained."""
        if self.after is None:
            return []
        return [Run.open(self.folder.beside(name)) for name in self.after.members]

    @cached_property
    def manifest(self) -> Manifest:
        """The run's copy of its data set's manifest, or today's where an older clipft left none."""
        copy = self.folder.manifest()
        return load_manifest(self.config.manifest) if copy is None else Manifest.from_copy(copy)

    @property
    def reference(self) -> str:
        """The in-distribution domain."""
        return self.config.reference or self.manifest.reference

    def history(self) -> list[dict[str, Any]]:
        """Its logged steps and validations, in order."""
        return self.folder.history()

    def table(self) -> pd.DataFrame:
        """Every metric with its 95 % interval, as it was scored: the tidy rows of `scores.table`.

        Metrics: accuracy, class_accuracy, macro_f1, nll, ece, energy_gap (on the split's own
        images, with the logit scale), feature_distortion, feature_distortion_normalised,
        relative_accuracy. Raises RunError where it was not scored.
        """
        return self.folder.scores()

    def scores(self, alpha: float) -> dict[str, Scores]:
        """Split -> what the model at a scored alpha says of each image.

        Raises RunError with the line to run where this alpha was not scored.
        """
        check_alpha(alpha)
        images = None
        if self.folder.images_file.exists():
            images = self.folder.images(alpha)
        if images is None or images.empty:
            raise RunError(
                f"{self.folder} is not scored at alpha {alpha:g}; score it:"
                f" clipft.score({str(self.folder)!r}, [{alpha:g}])"
                f" or clipft wise {self.folder} --alpha {alpha:g}"
            )
        return {scores.split: scores for scores in from_frame(images)}

    def sweep(self) -> Sweep:
        """All scored alphas as arrays.

        Raises RunError where single images were not scored, ConfigError where alpha 0 or 1 is
        missing.
        """
        frame = self.folder.images()
        try:
            reference = self.reference
            classes = tuple(self.manifest.names)
        except ClipftError:  # a manifest file that stayed on another machine: numbers, not names
            reference = self.config.reference or frame.domain.iloc[0]
            classes = ()
        return Sweep.of_frame(
            frame,
            title=self.title,
            reference=reference,
            classes=classes,
            folder=self.path,
            about=self.folder.config(),
        )


def read_sweep(given: Run | RunFolder | Path | str) -> Sweep:
    """The sweep of a finished run, see `Run.sweep`."""
    return Run.open(given).sweep()


def open_runs(given: Run | RunFolder | Path | str | Iterable[Run | Path | str]) -> list[Run]:
    """One run, several, or a folder of runs, as a list of finished runs.

    Raises RunError where there is none.
    """
    if isinstance(given, Run | RunFolder):
        return [Run.open(given)]
    if not isinstance(given, str | Path):
        return [Run.open(run) for run in given]
    if RunFolder.of(given).is_begun or not Path(given).is_dir():
        return [Run.open(given)]
    runs = []
    for folder in run_folders(given):
        try:
            runs.append(Run.open(folder))
        except ClipftError:  # unfinished: somebody trains it
            continue
    if not runs:
        raise RunError(f"no finished run in {given}; train one: clipft train")
    return runs
