"""A finished run as a frozen record, read from its folder in milliseconds: no model, no tensor, no
device.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import DEFAULT, TUNED, ZERO_SHOT, Record, RunConfig, check_alpha
from ..errors import ClipftError, RunError
from ..progress import progress_bar
from .adopted import AdoptedConfig
from .folder import ABOUT, WANTED, RunFolder, folders_of
from .identity import manifest_of, model_name
from .made import Made
from .names import MethodName, recipe_in_words
from .rows import seen_by
from .scores import Scores, from_frame, with_scored_by
from .sweep import Sweep
from .table import reference_first, score_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from ..data.manifests import Manifest
    from ..methods import Posthoc

NAMES = {ZERO_SHOT: "zero-shot %", TUNED: "tuned %"}  # alpha -> its column


class After(Record):
    """What made a run of finished ones: a post-hoc method, its options, the runs' folder names."""

    name: str
    options: dict[str, Any] = {}
    of: tuple[str, ...] = ()  # post-hoc methods that the first of the runs is itself made by
    among: int = 1  # how many runs were given; an ensemble's members are those it kept
    members: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """One finished run, as it lies on disk. `train` and `combine` make one, `score` adds scores.

    Arguments:
        folder: where its files are.
        config: its settings.
        after: what made it of other runs, if anything.
        made_of: digests of model, manifest, head and method.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> run = clipft.Run.open(f"runs/{run.id[:6]}")  # the first letters of an id do
        >>> run.reference
        'real'
        >>> run.history().columns[0]
        'step'
        >>> run.scores(0.5)["sketch/test"].correct.shape
        (20,)
    """

    folder: RunFolder
    config: RunConfig
    after: After | None = None
    made_of: Mapping[str, str] = field(
        default_factory=dict
    )  # digests: model, manifest, head, method

    @classmethod
    def open(cls, given: Run | RunFolder | Path | str) -> Run:
        """The run that lies in a folder, or whose id begins so: `Run.open("runs/15fe")`.

        Arguments:
            given: a Run, its folder, or the first letters of its id.

        Returns:
            The run.

        Raises:
            RunError: where there is none, several begin so, or it is not finished.
        """
        if isinstance(given, Run):
            return given
        folder = RunFolder.find(given)
        recorded = folder.config()
        source = f"{folder}/config.json"
        after = None
        if recorded.get("after") is not None:
            after = After.read(recorded["after"], source)
        digests = {key: value for key, value in recorded.items() if key.endswith("_digest")}
        aside = {"after", *ABOUT, *digests}
        settings = {key: value for key, value in recorded.items() if key not in aside}

        kind = AdoptedConfig if "adopted" in settings else RunConfig
        run = cls(folder, kind.recorded(settings, source), after, digests)
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
        title = f"{recorded}, {recipe_in_words(config.lr, config.steps, config.seed)}"
        return title if config.protocol == DEFAULT else f"{title}, protocol {config.protocol}"

    def __repr__(self) -> str:
        return f"Run {self.id}: {self.title}, {self.data}"

    def _repr_html_(self) -> str:
        """What a notebook shows: what it is, and its accuracies where it is scored."""
        named = f"run <code>{escape(self.id)}</code>"
        head = f"<b>{escape(self.title)}</b><br>{escape(self.data)}; {named}"
        if not self.folder.is_scored:
            return f"<div>{head}<br>not scored yet: <code>clipft.score(run)</code></div>"
        table = self.accuracies().to_html(index=False, border=0)
        return f"<div>{head}{table}<small>{escape(str(self.made))}</small></div>"

    @cached_property
    def made(self) -> Made:
        """How it was made: versions, commit, device, threads and seconds of training and scoring.

        Its text is a line; an older run says that it was not recorded.
        """
        return Made.of(self.folder)

    @property
    def data(self) -> str:
        """Which model was tuned on what, as a figure's title says it."""
        model = model_name(self.config.model)
        pretrained = self.config.pretrained
        if pretrained:
            model += f" ({Path(pretrained).name})"
        return f"{model} on {self.manifest.name}, reference {self.reference}"

    def accuracies(self, alphas: Sequence[float] = (ZERO_SHOT, TUNED)) -> pd.DataFrame:
        """Accuracy (%), or what else the data set is scored by, with its 95 % interval: a row per
        test split, the reference first.

        Arguments:
            alphas: a column each; those that are not scored are left out.

        Returns:
            Texts.

        Raises:
            RunError: where it was not scored.
        """
        import pandas as pd

        table = self.table()
        tests = score_rows(table[table.part == "test"])
        rows = []
        for split in reference_first(tests["split"].unique(), self.reference):
            row = {"split": split}
            for scored in tests[tests["split"] == split].to_dict("records"):
                alpha = scored["alpha"]
                if alpha in alphas:
                    column = NAMES.get(alpha, f"alpha {alpha:g} %")
                    row[column] = "{mean:.1f} [{low:.1f}, {high:.1f}]".format(
                        **{name: 100 * scored[name] for name in ("mean", "low", "high")}
                    )
            rows.append(row)
        return pd.DataFrame(rows)

    @property
    def is_ensemble(self) -> bool:
        """Whether its members' outputs are mixed, or each image's own weights: it has none."""
        return self.name.is_ensemble

    @property
    def rule(self) -> Posthoc | None:
        """The method that made it, where that mixes each image anew."""
        last = self.name.last
        return last if last is not None and last.rule is not None else None

    @property
    def members(self) -> list[Run]:
        """The runs that it was made of; none where it was trained."""
        if self.after is None:
            return []
        return [Run.open(self.folder.beside(name)) for name in self.after.members]

    @cached_property
    def manifest(self) -> Manifest:
        """The run's copy of its data set's manifest, or today's where an older clipft left none."""
        return seen_by(self.config, manifest_of(self.folder, self.config.manifest))

    @property
    def reference(self) -> str:
        """The in-distribution domain."""
        return self.config.reference or self.manifest.reference

    def history(self) -> pd.DataFrame:
        """Its logged steps and validations, in order: step, loss, its terms, lr, val_accuracy;
        and val_loss where it chose the weights.
        """
        import pandas as pd

        return pd.DataFrame(self.folder.history())

    def table(self) -> pd.DataFrame:
        """Every metric with its 95 % interval, as it was scored: the tidy rows of `scores.table`.

        Metrics: accuracy, class_accuracy, macro_f1, nll, ece, ece_debiased (less what noise adds
        to it), energy_gap (on the split's images, with the logit scale), feature_distortion,
        feature_distortion_normalised, relative_accuracy; worst_group where there are groups.

        Returns:
            A row per alpha, split and metric; scored_by is what the data set is scored by there.

        Raises:
            RunError: where it was not scored.
        """
        return with_scored_by(self.folder.scores(), self.folder.scored_by)

    def scores(self, alpha: float) -> dict[str, Scores]:
        """What the model at a scored alpha says of each image.

        Arguments:
            alpha: 0 zero-shot ... 1 tuned.

        Returns:
            Split -> its scores.

        Raises:
            RunError: with the line to run, where this alpha was not scored.
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

        Returns:
            The sweep, which explorers and figures take.

        Raises:
            RunError: where single images were not scored.
            ConfigError: where alpha 0 or 1 is missing.
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
            scored_by=self.folder.scored_by,
            classes=classes,
            folder=self.path,
            about=self.folder.config(),
        )


Given = Run | RunFolder | Path | str


def read_sweep(given: Given) -> Sweep:
    """All scored alphas of a run as arrays, read from its folder alone.

    Arguments:
        given: a Run, its folder, or the first letters of its id.

    Returns:
        The sweep, see `Run.sweep`.

    Raises:
        ConfigError: where alpha 0 or 1 is missing.
        RunError: where there is no such run, or single images were not scored.

    Example:
        >>> sweep = clipft.read_sweep(clipft.open_runs("runs")[0])
        >>> sweep.alphas.tolist()[:3]
        [0.0, 0.1, 0.2]
    """
    return Run.open(given).sweep()


def open_runs(given: Given | Iterable[Given]) -> list[Run]:
    """One run, several, or a folder of runs, as a list of finished runs.

    Of a folder of runs the unfinished ones are left out.

    Arguments:
        given: a Run, its folder, the first letters of its id; a list of these, or a folder of runs.

    Returns:
        The runs, by id where a folder was given.

    Raises:
        RunError: where there is none, or one that was named is not finished.

    Example:
        >>> len(clipft.open_runs("runs"))
        2
    """
    if isinstance(given, Run):
        return [given]
    is_folder_of_runs = isinstance(given, str | Path) and not RunFolder(Path(given)).is_begun
    runs = []
    for folder in folders_of(given):
        try:
            runs.append(Run.open(folder))
        except ClipftError:
            if not is_folder_of_runs:
                raise
    if not runs and isinstance(given, str | Path) and not Path(given).exists():
        raise RunError(f"no run and no folder of runs at {given}; {WANTED}")
    if not runs:
        where = f"in {given}" if isinstance(given, str | Path) else "was given"
        raise RunError(f"no finished run {where}; train one: clipft train")
    return runs


def open_scored(given: Given | Iterable[Given]) -> list[Run]:
    """The same without runs that were not scored, unless none was: their errors say what to run."""
    opened = open_runs(given)
    scored = [run for run in opened if run.folder.is_scored]
    return scored or opened


def read_sweeps(given: Any) -> list[Sweep]:
    """The sweeps of what an explorer was given: sweeps, or whatever `open_runs` takes.

    Raises RunError where there is none.
    """
    if isinstance(given, Sweep):
        return [given]
    if isinstance(given, list | tuple) and any(isinstance(sweep, Sweep) for sweep in given):
        return [sweep if isinstance(sweep, Sweep) else read_sweep(sweep) for sweep in given]
    runs = open_runs(given)
    return [run.sweep() for run in progress_bar(runs, "sweeps", "run", show=len(runs) > 20)]
