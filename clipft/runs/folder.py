"""What lies in a run folder: the name of every file, the lock, what is finished.

- config.json: settings, digests of what the run is made of, its title, what was done afterwards
- manifest.json: a copy of the data set's manifest, so that the folder can be read anywhere
- made.json: how that was done: versions, commit, device, threads, seconds; no setting among it
- metrics.jsonl: a row per logged step and validation
- checkpoint.safetensors: the state of an unfinished training
- best.safetensors: the weights chosen so far, while training
- weights.safetensors: the tuned weights; with them the run is finished
- mixture.safetensors: in place of weights, what a method fitted that mixes each image anew
- images.parquet: what the model at each scored alpha says of every image
- scores.parquet: every metric of them, with intervals
- beside-DIGEST.parquet: the same of images that are no reported split, see `score_beside`
- unfinished.npz: of a scoring that was stopped, until it goes on
- label.json: a name, tags and a note that people gave it; no setting among it

What the files mean is said elsewhere; what each version of them has, in `versions`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from string import hexdigits
from typing import TYPE_CHECKING, Any

from ..disk.files import (
    LOCK,
    append_json,
    atomic,
    check_held,
    disk,
    read_json,
    read_jsonl,
    write_json,
    write_parquet,
    write_text,
)
from ..disk.inside import check_own_files, is_file_name
from ..disk.leftovers import remove
from ..disk.lock import lock
from ..errors import ConfigError, RunError
from .image_scores import ImagesFile, reading, write_images
from .recorded import check_recorded
from .scores import Listed, ScoreStore
from .versions import FIRST, FORMAT as FORMAT, METADATA, check_metadata, check_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    import pyarrow as pa

    from ..data.splits import ScoredBy

ABOUT = ("title", "format")  # of config.json, what is no setting and no ingredient
DEFAULT_RUNS = "runs"  # the folder of runs where none is named
WANTED = "wanted: a Run, its folder, or the first letters of its id; or a list or folder of them"
THUMBNAILS = "thumbnails.parquet"  # beside the runs: their images in small
SCORES = "scores.parquet"
# files that rows of `results` are made of
TOLD = ("config.json", "manifest.json", "made.json", "label.json", SCORES)
Stamps = tuple[tuple[int, int, int, int], ...]
"""Of each file the inode, size in bytes, times of the last writing and of the last change, ns."""


@dataclass(frozen=True, order=True)
class RunFolder:
    """One run on disk, finished or not."""

    path: Path

    @classmethod
    def find(cls, given: RunFolder | Path | str) -> RunFolder:
        """The folder itself, that of a path, or the one whose id begins with the path's last part,
        or that has it as its name.

        `runs/15fe` is the run in runs/ whose id begins with 15fe; a bare `15fe` is looked for here,
        then in runs/. Raises RunError where no run is there, or several begin so.
        """
        if isinstance(given, RunFolder):
            return given
        if not isinstance(given, str | Path):
            raise RunError(f"{given!r:.80} is no run; {WANTED}")
        path = Path(given)
        folder = cls(path)
        if folder.is_begun:
            return folder

        for fitting in found_by(path):
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                ids = ", ".join(run.name for run in fitting)
                raise RunError(f"{given} fits {len(fitting)} runs: {ids}; give more of the id")
        raise RunError(
            f"no run at {given}; wanted: a run's folder, the first letters of its id,"
            f" {DEFAULT_RUNS}/15fe, or its name"
        )

    def __str__(self) -> str:
        return str(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The run's id."""
        return self.path.name

    def beside(self, name: str) -> RunFolder:
        """Another run of the same folder of runs; raises RunError for a name that leaves it."""
        if not is_file_name(name):
            raise RunError(f"{self.path} names {name!r:.80}, which is no id of a run")
        return RunFolder(self.path.parent / name)

    @property
    def weights_file(self) -> Path:
        """The tuned weights."""
        return self.path / "weights.safetensors"

    @property
    def mixture_file(self) -> Path:
        """What was fitted of a method that mixes each image anew."""
        return self.path / "mixture.safetensors"

    @property
    def best_file(self) -> Path:
        """The weights chosen so far, while training."""
        return self.path / "best.safetensors"

    @property
    def checkpoint_file(self) -> Path:
        """Student, optimiser and step of the last checkpoint, while training."""
        return self.path / "checkpoint.safetensors"

    @property
    def images_file(self) -> Path:
        """Scores of single images."""
        return self.path / "images.parquet"

    def beside_file(self, name: str) -> Path:
        """Scores of single images of a split that is not reported; name: a digest of it."""
        return self.path / f"beside-{name}.parquet"

    @property
    def unfinished_file(self) -> Path:
        """What a scoring that was asked to stop had said of whole splits."""
        return self.path / "unfinished.npz"

    @property
    def scores_file(self) -> Path:
        """Metrics with intervals."""
        return self.path / SCORES

    @property
    def thumbnails_file(self) -> Path:
        """Small images of all runs beside this one."""
        return self.path.parent / THUMBNAILS

    @property
    def _config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def _manifest_file(self) -> Path:
        return self.path / "manifest.json"

    @property
    def _made_file(self) -> Path:
        return self.path / "made.json"

    @property
    def _history_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def _label_file(self) -> Path:
        return self.path / "label.json"

    def stamps(self) -> Stamps:
        """What changes when a file that rows of `results` are made of is written again, exchanged
        or moved in: of each of TOLD, zeros where it is not there.
        """
        stamps = []
        for name in TOLD:
            try:
                stat = os.stat(f"{self.path}/{name}")
                stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            except OSError:
                stamp = (0, 0, 0, 0)
            stamps.append(stamp)
        return tuple(stamps)

    @property
    def is_begun(self) -> bool:
        """Whether a run was begun here."""
        return self._config_file.exists()

    @property
    def has_weights(self) -> bool:
        """Whether the tuned weights are there."""
        return self.weights_file.exists()

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end; a copy to look at may have left the weights behind."""
        return self.has_weights or self.images_file.exists()

    @property
    def is_resumable(self) -> bool:
        """Whether something was learned here: else the next run of this id begins anew."""
        return self.has_weights or self.checkpoint_file.exists()

    @property
    def is_scored(self) -> bool:
        """Whether metrics are there."""
        return self.scores_file.exists()

    def lock(self, *, tidies: bool = True) -> contextlib.AbstractContextManager[None]:
        """Hold the folder for this process, see `disk.lock`; raises RunError when another process
        holds it, or where writing would go through a link to elsewhere.
        """
        check_own_files(self.path)
        return lock(self.path, tidies=tidies)

    def config(self) -> dict[str, Any]:
        """What config.json records; raises RunError if missing, cut short or of a newer clipft."""
        recorded = check_recorded(read_json(self._config_file), str(self._config_file))
        check_version(recorded.get("format", FIRST), self.path)
        return recorded

    def write_config(self, recorded: Mapping[str, Any]) -> None:
        """Write config.json."""
        write_json(self._config_file, {**recorded, "format": FORMAT})

    def manifest(self) -> dict[str, Any] | None:
        """The copy of the manifest, or None where an older clipft left none."""
        if not self._manifest_file.exists():
            return None
        copy = read_json(self._manifest_file)
        if not isinstance(copy, dict):
            raise RunError(f"{self._manifest_file} is no copy of a manifest; copy it again")
        return copy

    @property
    def scored_by(self) -> ScoredBy:
        """What its data set is scored by; accuracy where nobody said it."""
        from ..data.splits import ScoredBy

        file = self._manifest_file
        # Thousands of runs are asked: few copies hold the word, and only these are read as JSON.
        if not file.exists() or b'"metric"' not in file.read_bytes():
            return ScoredBy()
        said = (self.manifest() or {}).get("metric", "accuracy")
        try:
            return ScoredBy.of(said)
        except (TypeError, ConfigError):
            raise RunError(f"{file} has the metric {said!r:.80}, which is none") from None

    def write_manifest(self, copy: Mapping[str, Any]) -> None:
        """Write the copy of the manifest."""
        write_json(self._manifest_file, copy)

    def made(self) -> dict[str, Any]:
        """What made.json records; empty where an older clipft left none, or where it is damaged.

        No number depends on it.
        """
        return _recorded(self._made_file)

    def write_made(self, recorded: Mapping[str, Any]) -> None:
        """Write made.json."""
        write_json(self._made_file, recorded)

    def label(self) -> dict[str, Any]:
        """What label.json records; empty where nobody labelled the run, or where it is damaged."""
        return _recorded(self._label_file)

    def is_called(self, text: str) -> bool:
        """Whether its id begins so, or its label has this name."""
        return text != "" and (self.name.startswith(text) or self.label().get("name") == text)

    def write_label(self, recorded: Mapping[str, Any]) -> None:
        """Write label.json."""
        write_json(self._label_file, recorded)

    def history(self) -> list[dict[str, Any]]:
        """The logged steps and validations so far, in order."""
        return read_jsonl(self._history_file)

    def log(self, row: dict[str, Any]) -> None:
        """Add a row to the history."""
        append_json(self._history_file, row)

    def forget_after(self, step: int, validated: int) -> None:
        """Drop the rows of steps that are trained again after a resume, or validated again.

        validated: after which step the state was validated last.
        """
        lines = []
        for row in self.history():
            last = validated if "val_accuracy" in row else step
            if isinstance(row.get("step"), int) and row["step"] <= last:
                lines.append(json.dumps(row) + "\n")
        write_text(self._history_file, "".join(lines))

    def finish(self) -> None:
        """Make the weights chosen so far the tuned ones, and remove the checkpoint."""
        with disk(self.best_file):
            os.replace(self.best_file, self.weights_file)
            self.checkpoint_file.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the folder of a training that ended before anything was kept.

        Raises StorageError where somebody else removed it, who may have begun it anew.
        Not where there are scores: then the weights alone were gone, and trained again.
        """
        check_held(self.path)
        if not (self.is_resumable or self.is_finished):
            shutil.rmtree(self.path, ignore_errors=True)

    def begin_anew(self) -> None:
        """Remove what a process that was killed left before the run was finished.

        A finished run whose weights are gone keeps all but its history, which is made again.
        """
        was_finished = self.is_begun and self.is_finished
        for file in self.path.iterdir():
            stays = was_finished and file != self._history_file
            if file.name != LOCK and not stays:
                remove(file)

    def tidy(self) -> None:
        """Remove the checkpoint that a training left which was killed at its very end."""
        if self.has_weights:
            remove(self.checkpoint_file)

    def left_over(self) -> list[Path]:
        """What a killed process left: files that were never whole, a finished run's checkpoint.

        Only who holds the lock knows that nobody writes them.
        """
        label = f".{self._label_file.name}."  # which is written without the lock
        found = [file for file in self.path.glob(".*.tmp") if not file.name.startswith(label)]
        if self.has_weights:
            found += [file for file in (self.checkpoint_file, self.best_file) if file.exists()]
        return sorted(found)

    def remove(self) -> None:
        """Remove the whole folder; a kill on the way leaves an unfinished run, or nothing."""
        for file in list(self.path.iterdir()):
            if file == self._config_file:
                continue  # the last: with it the folder is a run
            remove(file, stays=False)
        shutil.rmtree(self.path)

    def images(self, alpha: float | None = None) -> pd.DataFrame:
        """Scores of single images, at one alpha or at all.

        Raises RunError where they are missing or damaged.
        """
        if not self.images_file.exists():
            raise RunError(
                f"{self.path} holds no scores of single images; score it: clipft wise {self.path}"
            )
        return read_scores(self.images_file, alpha=alpha)

    def image_scores(self, *, with_ids: bool = True) -> ImagesFile:
        """The same a split and an alpha at a time; raises RunError where the file is damaged."""
        return ImagesFile(self.images_file, with_ids=with_ids)

    def add_images(self, scores: ScoreStore) -> None:
        """Add scores of single images at other alphas; a summary of other images goes first."""
        stores = [scores]
        if self.images_file.exists():
            stores.insert(0, self.image_scores())
        else:
            self.scores_file.unlink(missing_ok=True)
        with atomic(self.images_file) as temporary:
            write_images(temporary, Listed(stores))

    def scores(self) -> pd.DataFrame:
        """Metrics with intervals; raises RunError if missing, damaged or of an older clipft."""
        return with_split_columns(self.score_rows().to_pandas())

    def score_rows(self) -> pa.Table:
        """The same as it lies on disk: an older clipft wrote neither domain nor part."""
        import pyarrow.parquet as pq

        if not self.is_scored:
            raise RunError(f"{self.path} is not scored; score it: clipft wise {self.path}")
        # One thread: what reads thousands of runs has its own.
        with reading(self.scores_file), pq.ParquetFile(self.scores_file) as file:
            rows = file.read(use_threads=False)
        check_metadata(rows.schema.metadata, self.scores_file)
        if "low" not in rows.column_names:
            raise RunError(
                f"{self.scores_file} is of an older clipft;"
                f" score the run again: clipft wise {self.path}"
            )
        return rows

    def write_scores(self, table: pd.DataFrame) -> None:
        """Write metrics with intervals."""
        write_parquet(self.scores_file, table, METADATA)


def stamps_of(runs: Any) -> dict[RunFolder, Stamps]:
    """What changes when a run comes, goes, is scored or labelled; runs: see `folders_of`."""
    return {folder: folder.stamps() for folder in folders_of(runs)}


def is_scored(stamps: Stamps) -> bool:
    """Whether the run of these stamps has metrics."""
    inode, *_ = stamps[TOLD.index(SCORES)]
    return inode > 0


def _recorded(file: Path) -> dict[str, Any]:
    """A JSON object on which no number depends; empty where it is missing or damaged."""
    if file.exists():
        with contextlib.suppress(RunError):
            recorded = read_json(file)
            if isinstance(recorded, dict):
                return recorded
    return {}


def run_folders(runs: Path | str) -> Iterator[RunFolder]:
    """The folders under a folder of runs in which a run was begun, in order of names."""
    for file in sorted(Path(runs).glob("*/config.json")):
        yield RunFolder(file.parent)


def folders_of(given: Any) -> list[RunFolder]:
    """The begun folders of a run, of several, or of a folder of runs; a Run is its folder.

    None for a folder of runs that is empty or not there yet. Raises RunError for what is no run.
    """
    if isinstance(given, str | Path):
        return _folders_at(Path(given))
    if isinstance(given, RunFolder) or hasattr(given, "folder"):
        return [RunFolder.find(getattr(given, "folder", given))]
    try:
        several = list(given)
    except TypeError:
        raise RunError(f"{given!r:.80} is no run; {WANTED}") from None
    folders = []
    for run in several:
        of_one = folders_of(run)
        if not of_one:
            raise RunError(f"no run at {run}; {WANTED}")
        folders += of_one
    return folders


def _folders_at(path: Path) -> list[RunFolder]:
    """The run of a path, of the beginning of an id or of a name; else those of a folder of runs."""
    if not RunFolder(path).is_begun and path.is_dir():
        return list(run_folders(path))
    is_id = path.name != "" and set(path.name) <= set(hexdigits)
    if is_id or RunFolder(path).is_begun or any(found_by(path)):
        return [RunFolder.find(path)]
    return []


def found_by(path: Path) -> Iterator[list[RunFolder]]:
    """The runs whose ids begin with a path's last part, or that have it as their name.

    Those in its folder; of a bare name those here, then those in runs/.
    """
    places = [path.parent]
    if path.parent == Path():
        places.append(Path(DEFAULT_RUNS))
    for place in places:
        yield [run for run in run_folders(place) if run.is_called(path.name)]


def read_scores(path: Path, *, alpha: float | None = None, mend: str = "") -> pd.DataFrame:
    """A parquet file of scores, or its rows at one alpha.

    Raises RunError where it is damaged, with the command to `mend` it.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    filters = None if alpha is None else [("alpha", "==", alpha)]
    with reading(path, mend):
        check_metadata(pq.read_schema(path).metadata, path)
        return with_split_columns(pd.read_parquet(path, filters=filters))


def with_split_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `domain` and `part` beside `split`, which an older clipft wrote alone."""
    from ..data.splits import SplitName

    if "split" not in frame or "domain" in frame:
        return frame
    splits = frame["split"].astype(str)
    place = list(frame.columns).index("split")
    frame = frame.copy(deep=False)
    for offset, field in enumerate(("domain", "part"), start=1):
        values = {text: getattr(SplitName.parse(text), field) for text in splits.unique()}
        frame.insert(place + offset, field, splits.map(values))
    return frame
