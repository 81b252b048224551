"""A folder of photographs becomes a tuned model that can be deployed, and a page that says why."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Reading, RunConfig
from ..data.check import check_images, faults_of
from ..data.made_shifts import is_made
from ..data.own import Source
from ..disk.files import check_target, read_json, write_csv, write_json
from ..errors import ConfigError, ImageError
from ..progress import write
from ..runs.model_names import check_model, named
from ..runs.rows import reported_on, rows_digest
from ..runs.run import Run
from .beside import MADE, splits_beside
from .choose import Choice, candidates, choose
from .folders import check_places, check_shifts, check_unlabelled, data_name, own_data
from .plan import (
    TINY,
    Given,
    Plan,
    Work,
    begun_plan,
    make_plan,
    settings_of,
    write_begun,
    write_plan,
)
from .report import Report

if TYPE_CHECKING:
    from ..data.manifests import Manifest
    from ..data.own import OwnData
    from ..data.splits import Split

MODEL, RUNS, CHECKED, ZERO = "model", "runs", "checked.json", "zero_shot.csv"
TOY = "emoji-tiny is a toy that knows emoji alone; for photographs: --model ViT-B-16:openai"


@dataclass(frozen=True)
class Tuned:
    """What `tune` leaves: what to deploy, why, and where it lies.

    run, alpha: the model; alpha 0 is zero-shot, which may win. why: three sentences. page,
    model_folder: where they lie. report: all numbers of the page.
    """

    run: Run
    alpha: float
    why: tuple[str, ...]
    page: Path
    model_folder: Path
    report: Report

    def __str__(self) -> str:
        return "\n".join([*self.why, f"page: {self.page}", f"model: {self.model_folder}"])


def tune(  # noqa: PLR0913
    folder: Path | str,
    *,
    shifts: Sequence[Path | str] = (),
    unlabelled: Sequence[Path | str] = (),
    model: str = TINY,
    minutes: float = 10.0,
    out: Path | str = "",
    reference: str = "",
    seed: int = 0,
    reading: Reading | None = None,
) -> Tuned:
    """Tune a CLIP on a folder of class folders, choose what to deploy, export it, and write a page.

    Makes the manifest, opens every image, scores zero-shot, tunes by the methods with the best
    record, sweeps alpha, and chooses by validation images and by images without labels: unlabelled
    folders, or made shifts of the validation images. No test image, and no labelled shift, is
    chosen on. The same call goes on where it was stopped, by the plan in the out folder.

    Arguments:
        folder: class folders, with or without train, val and test; or what `new_manifest` takes.
        shifts: folders of the same classes seen otherwise; they are reported.
        unlabelled: folders of images as the model will meet them; they are chosen on.
        model: NAME or NAME:WEIGHTS, as of `clipft.evaluate`.
        minutes: what training and scoring may take on this machine.
        out: a folder for all of it; "": NAME_tuned here.
        reference: the domain to tune on, where the folder holds several.
        seed: of the runs.
        reading: how images are read, and on which device.

    Returns:
        The model to deploy and why, the page, the exported folder; its text is the sentences.

    Raises:
        ConfigError: for folders that cannot be read so, images at fault, an `out` that holds
            something else, and too few minutes for one method.
        ImageError: for an unreadable image.

    Example:
        >>> clipft.tune("photos/studio", shifts=["photos/sketch"], minutes=0)
        Traceback (most recent call last):
        clipft.errors.ConfigError: --minutes is 0, expected more than 0, e.g. 10
    """
    given = Given(
        folder=_absolute(folder),
        shifts=tuple(map(_absolute, shifts)),
        unlabelled=tuple(map(_absolute, unlabelled)),
        reference=reference,
        model=model,
        minutes=float(minutes),
        seed=seed,
    )
    where = Path(out).expanduser() if str(out) else Path(f"{data_name(folder)}_tuned")
    return _Tuning(given, where, reading or Reading()).done()


def _absolute(path: Path | str) -> str:
    return str(Path(path).expanduser().resolve())


def check_given(given: Given, out: Path) -> None:
    """Raise ClipftError for what is wrong before anything is read: model, minutes, folders."""
    if not 0 < given.minutes < 1e5:
        raise ConfigError(f"--minutes is {given.minutes:g}, expected more than 0, e.g. 10")
    check_model(*named(given.model))
    Source.find(given.folder, "")
    check_target(out, folder=True)
    check_places([given.folder, *given.shifts], given.unlabelled, out)
    begun_plan(out, given)
    check_shifts(given.shifts)
    check_unlabelled(given.unlabelled)


class _Tuning:
    """The steps, each of which leaves a file, so that the next call passes over it."""

    def __init__(self, given: Given, out: Path, reading: Reading):
        self.given = given
        self.out = out
        self.reading = reading

    def done(self) -> Tuned:
        """All steps in turn."""
        check_given(self.given, self.out)
        own = self._data()
        self._checked(own)
        plan = self._planned(own)
        configs = plan.configs(own.file)
        self._zero_shot(own)
        runs = [self._tuned(config) for config in configs]
        self._swept(runs, plan)
        choice, report = self._chosen(runs, plan, own)
        folder = self._exported(report)
        page = self._written(report, runs, folder)
        self._say(f"chosen: {choice.called}")
        why = tuple(report.sentences())
        return Tuned(report.run, report.alpha, why, page, folder, report)

    def _say(self, line: str) -> None:
        if self.reading.progress:
            write(line)

    def _data(self) -> OwnData:
        """The manifest, written or taken up."""
        self.out.mkdir(parents=True, exist_ok=True)
        if begun_plan(self.out, self.given) is None:
            write_begun(self.out, self.given)
        # Where there is a real shift to report and real images to choose on, none is made.
        is_real = bool(self.given.shifts and self.given.unlabelled)
        made = "" if is_real else MADE
        own = own_data(self.given.folder, self.given.shifts, self.out, self.given.reference, made)
        if not self.given.unlabelled and not own.manifest.made:
            wanted = f"wanted: made_shifts in {own.file}, or --unlabelled FOLDER"
            raise ConfigError(f"there is no image under shift to choose on; {wanted}")
        self._say(str(own))
        if self.given.model == TINY:
            self._say(TOY)
        return own

    def _checked(self, own: OwnData) -> None:
        """Open every image, once for the same rows; raises ConfigError with what is at fault."""
        manifest = own.manifest
        names = reported_on(RunConfig(), manifest)
        splits = [manifest.split(name) for name in names]
        splits.append(manifest.split(f"{manifest.reference}/train"))
        beside = splits_beside(manifest, self.given.unlabelled)
        rows = {"rows": rows_digest([*splits, *beside])}
        file = self.out / CHECKED
        if file.is_file() and read_json(file) == rows:
            return
        self._say("checking: every image is opened once")
        wrong = check_images(manifest).wrong
        if self.reading.skip_bad:
            wrong = [line for line in wrong if not line.startswith(("unreadable", "missing"))]
        if wrong:
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            wanted = f"to see all of it: clipft datasets check {own.file}"
            raise ConfigError(f"{manifest.name}: {wrong[0]}{more}; {wanted}")
        if self.given.unlabelled and not self.reading.skip_bad:
            check_readable(beside)
        write_json(file, rows)

    def _planned(self, own: OwnData) -> Plan:
        """The plan that is there, or one for what a step takes here."""
        plan = begun_plan(self.out, self.given)
        if plan is None:
            plan = self._measured(own)
            write_plan(self.out, plan)
        self._say(f"plan: {plan}")
        return plan

    def _measured(self, own: OwnData) -> Plan:
        from ..models.load import pick_device
        from ..reports.step_times import step_times

        manifest = own.manifest
        self._say("measuring: seconds of a step on this machine")
        work = _work(manifest, self.given)
        model, pretrained = named(self.given.model)
        device = pick_device(self.reading.device)
        recipes = settings_of(model, pretrained, train=work.train, device=device)
        configs = [RunConfig(**each, manifest=str(own.file)) for each in recipes]
        measured = step_times(configs, self.reading)
        for line in measured.refused:
            self._say(line)
        return make_plan(self.given, recipes, measured, work)

    def _zero_shot(self, own: OwnData) -> None:
        """What the model is worth before anybody tunes it."""
        file = self.out / ZERO
        if file.is_file():
            return
        from ..evaluation.zero_shot import evaluate

        self._say("scoring zero-shot")
        table = evaluate(self.given.model, str(own.file), reading=self.reading)
        write_csv(file, table)

    def _tuned(self, config: RunConfig) -> Run:
        """One method, tuned, or as far as it was, to its end."""
        from ..training.train import train

        self._say(f"tuning: {config.method}, {config.steps} steps")
        return train(config, self.out / RUNS, reading=self.reading)

    def _swept(self, runs: Sequence[Run], plan: Plan) -> None:
        """Score each run at each alpha."""
        from ..evaluation.score import score

        self._say(f"sweeping: {len(plan.alphas)} alphas of {len(runs)} runs")
        score(runs, plan.alphas, reading=self.reading)

    def _chosen(self, runs: Sequence[Run], plan: Plan, own: OwnData) -> tuple[Choice, Report]:
        """Which of them, and at which alpha."""
        from ..evaluation.beside import score_beside

        splits = splits_beside(runs[0].manifest, self.given.unlabelled)
        names = [split.name for split in splits]
        of = "unlabelled images" if self.given.unlabelled else "made shifts of the same images"
        self._say(f"choosing: by {runs[0].reference}/val, and by {of}: {', '.join(names)}")
        beside = score_beside(runs, splits, plan.alphas, reading=self.reading)
        choice = choose(candidates(runs, beside, plan.alphas), names)
        run = next(run for run in runs if run.id == choice.row["run"])
        return choice, Report(plan, choice, run, beside[run.id], own.notes)

    def _exported(self, report: Report) -> Path:
        """The model as a folder of open_clip."""
        from ..evaluation.score import export

        folder = self.out / MODEL
        self._say(f"exporting: {folder}")
        return export(report.run, folder, report.alpha, reading=self.reading)

    def _written(self, report: Report, runs: Sequence[Run], folder: Path) -> Path:
        from .page import write_page

        self._say("writing the page")
        command = command_of(self.given, self.out, skip_bad=self.reading.skip_bad)
        return write_page(report, runs, self.out, folder, command)


def check_readable(splits: Sequence[Split]) -> None:
    """Raise ImageError for images without labels that cannot be read: every one is opened."""
    for split in splits:
        faults = faults_of(split)
        if faults:
            wanted = "mend or remove them, or leave them out: --skip-bad-images"
            raise ImageError(f"unreadable: {len(faults)} of {split.name}, {faults[0]}; {wanted}")


def _work(manifest: Manifest, given: Given) -> Work:
    """How many images are to be read, by what for."""
    names = reported_on(RunConfig(), manifest)
    splits = [manifest.split(name) for name in names]
    splits += splits_beside(manifest, given.unlabelled)
    made = sum(len(split) for split in splits if is_made(split.domain))
    return Work(
        train=len(manifest.split(f"{manifest.reference}/train")),
        val=len(manifest.split(f"{manifest.reference}/val")),
        scored=sum(map(len, splits)) - made,
        made=made,
    )


def command_of(given: Given, out: Path, *, skip_bad: bool = False) -> str:
    """The command that makes it again."""
    words = ["clipft", "tune", given.folder]
    for option, folders in (("--shift", given.shifts), ("--unlabelled", given.unlabelled)):
        for folder in folders:
            words += [option, folder]
    plain = Given(folder=given.folder)
    for name in ("reference", "model", "minutes", "seed"):
        value = getattr(given, name)
        if value != getattr(plain, name):
            words += [f"--{name}", f"{value:.15g}" if isinstance(value, float) else str(value)]
    if skip_bad:
        words.append("--skip-bad-images")
    return shlex.join([*words, "--out", str(out)])
