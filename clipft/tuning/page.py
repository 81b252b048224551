"""One page: what to deploy and why, how good it is where, what it gets wrong, how to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..boards.explorers import class_board, reliability_board, wise_board
from ..boards.page import BoardsOfPage, record_of, save_explorer
from ..data.images import decode, tile
from ..errors import ClipftError
from ..figures.calibration import reliability_slider_figure
from ..figures.candidates import candidates_figure
from ..figures.confusions import confusion_figure
from ..figures.images import contact_sheet_figure
from ..figures.pages import Section, Table, save_figure, write_index
from ..figures.wise import sweep_figure
from ..runs.confusion import confusion_table
from ..runs.machine import cpu_name, today, versions
from ..runs.thumbnails import Thumbnails
from .choose import BOUND
from .estimate import ESTIMATOR, RECORD
from .report import WORST, Moved, Report, called, most_moved

if TYPE_CHECKING:
    from ..boards.desk import Board
    from ..data.splits import Split
    from ..runs.run import Run
    from ..runs.sweep import Sweep

FIGURES = "figures"
INDEX = "index.html"
SHOWN = 3  # splits whose most moved images are shown
TILE = 64  # pixels of a shown image
LOADING = """\
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms({local})
tokenizer = open_clip.get_tokenizer({local})
"""
LABELS = """\
import clipft

predictor = clipft.Predictor({folder}, abstain={abstain!r})
table = predictor.predict(["photo.jpg"])
"""


def write_page(
    report: Report, runs: Sequence[Run], out: Path, model_folder: Path, command: str
) -> Path:
    """Write OUT/index.html, which holds all it needs; its figures lie beside it, each alone, too.

    runs: all that were tried. command: what makes it again, as it is typed.
    """
    page = _Page(report, runs, out / FIGURES)
    sections = [
        Section("What to deploy", paragraphs=tuple(report.sentences())),
        page.accuracy(),
        page.choice(),
        page.slider(),
        page.mistakes(),
        *page.moved(),
        page.calibration(),
        page.abstaining(),
        page.use(model_folder),
        Section("What was not tried", points=tuple(report.limits())),
        page.how(command),
    ]
    title = f"Tuned on {report.manifest.heading}"
    return write_index(out / INDEX, title, sections, BoardsOfPage().insteads)


class _Page:
    """The sections of the page; their figures are written as they are made."""

    def __init__(self, report: Report, runs: Sequence[Run], figures: Path):
        self.report = report
        self.figures = figures
        others = [run for run in runs if run.id != report.run.id]
        self.sweeps: list[Sweep] = [run.sweep() for run in (report.run, *others)]

    @property
    def sweep(self) -> Sweep:
        """Of the run that is deployed."""
        return self.sweeps[0]

    def accuracy(self) -> Section:
        report = self.report
        first = "Right in percent, with 95 % intervals over images. No test image was chosen on."
        paragraphs = [first]
        if report.estimates():
            said = f"Where there is no label it is estimated: {ESTIMATOR.title}, {ESTIMATOR.paper}"
            paragraphs.append(f"{said}. {RECORD}")
        table = table_of(report.accuracies())
        return Section("How good it is", paragraphs=tuple(paragraphs), table=table)

    def choice(self) -> Section:
        figure = candidates_figure(self.report.choice.rows, self.report.choice.place, BOUND)
        on = ", ".join(map(called, self.report.choice.splits))
        caption = f"Agreement is measured on {on}; the ring marks what was chosen."
        save_figure(figure, self.figures, "01_candidates", caption)
        return Section("Why this one", figures=(self.figures / "01_candidates.json",))

    def slider(self) -> Section:
        alpha = self.report.alpha
        board = wise_board(self.sweeps, alpha)
        figure = sweep_figure(self.sweep, alpha, Thumbnails(self.sweep), beside=self.sweeps[1:])
        caption = f"The slider begins at alpha {alpha:g}, which was chosen."
        return self._board("Between zero-shot and tuned", board, figure, "02_wise", caption)

    def mistakes(self) -> Section:
        report = self.report
        pairs = confusion_table(report.run, report.reference, report.alpha, WORST)
        points = []
        for row in pairs[pairs.here > 0].to_dict("records"):
            points.append(
                f"{row['class']} is taken for {row['taken for']}: {row['here']} of {row['n']}"
                f" (zero-shot: {row['zero_shot']})"
            )
        board = class_board(self.sweep, report.alpha)
        figure = confusion_figure(confusion_table(self.sweep, report.reference, report.alpha))
        caption = "Choose a split, a class or a pair of classes to see its images."
        name = "03_classes"
        save_explorer(figure, record_of(board), self.figures, name, caption)
        return Section(
            "What it gets wrong",
            paragraphs=(f"The worst classes, and the pairs most confused, of {report.reference}:",),
            points=tuple(points),
            table=table_of(report.worst_classes()),
            figures=(self.figures / f"{name}.json",),
        )

    def moved(self) -> list[Section]:
        report = self.report
        if report.choice.is_zero_shot:
            return []
        moved = most_moved(report, report.splits[:SHOWN])
        if not moved.rows:
            return []
        tiles = {}
        for split, ids in moved.ids.items():
            shown = report.manifest.split(split)
            tiles[called(split)] = [_tile(shown, name) for name in ids]
        figure = _sheet(tiles)
        caption = "Images whose scores on random texts tuning moved most, the first furthest."
        save_figure(figure, self.figures, "04_moved", caption)
        return [self._moved(moved)]

    def _moved(self, moved: Moved) -> Section:
        about = "Where tuning did most: look here first for what it learnt that is of no use."
        file = self.figures / "04_moved.json"
        table = table_of(moved.rows)
        return Section("Images that moved most", paragraphs=(about,), table=table, figures=(file,))

    def calibration(self) -> Section:
        report = self.report
        split = report.first_shift
        board = reliability_board(self.sweep, report.alpha, split)
        figure = reliability_slider_figure(self.sweep, split, report.alpha)
        caption = "Accuracy against confidence: on the diagonal it is as sure as it is right."
        section = self._board("How sure it is", board, figure, "05_calibration", caption)
        about = "ECE: how far confidence and accuracy are apart, in the mean over images."
        return Section(
            section.heading,
            paragraphs=(about,),
            table=table_of(report.calibrations()),
            figures=section.figures,
        )

    def abstaining(self) -> Section:
        report = self.report
        rows = report.abstentions()
        table = table_of(rows) if rows else None
        return Section("When to abstain", paragraphs=(report.on_abstaining(),), table=table)

    def use(self, model_folder: Path) -> Section:
        report = self.report
        facts = tuple(report.commands(model_folder).items())
        at = report.abstains_at
        abstain = at.confidence if at else 0.0
        code = LOADING + "\n" + LABELS
        folder, local = map(_quoted, (model_folder, f"local-dir:{model_folder}"))
        text = code.format(folder=folder, local=local, abstain=abstain)
        card = "Its card, README.md, says all that its run recorded."
        return Section("How to use it", paragraphs=(card,), facts=facts, code=text)

    def how(self, command: str) -> Section:
        plan = self.report.plan
        facts = [("command", command), ("plan", str(plan))]
        facts += [("data", note) for note in self.report.notes]
        facts.append(("date", today()))
        facts.append(("machine", cpu_name()))
        facts.append(("versions", ", ".join(f"{name} {is_}" for name, is_ in versions().items())))
        seconds = sum(sweep_seconds(run) for run in self.runs_of_sweeps())
        facts.append(("took", f"{seconds / 60:.1f} minutes of training and scoring"))
        return Section("How it was made", facts=tuple(facts))

    def runs_of_sweeps(self) -> list[Run]:
        """The runs behind the sweeps."""
        from ..runs.run import Run

        return [Run.open(sweep.folder) for sweep in self.sweeps if sweep.folder]

    def _board(self, heading: str, board: Board, figure, name: str, caption: str) -> Section:
        save_explorer(figure, record_of(board), self.figures, name, caption)
        return Section(heading, figures=(self.figures / f"{name}.json",))


def _quoted(text: object) -> str:
    """A text in a program of Python, whatever is in it."""
    return json.dumps(str(text), ensure_ascii=False)


def sweep_seconds(run: Run) -> float:
    """Seconds of training and scoring that a run's folder records."""
    return float(sum(part.get("seconds", 0.0) for part in run.made.parts))


def _tile(split: Split, name: str) -> np.ndarray:
    """A small square of an image, as the split shows it; grey where it cannot be read."""
    try:
        return tile(decode(split.root / name, split.decoding.of(name)), TILE)
    except ClipftError:
        return tile(None, TILE)


def _sheet(tiles: Mapping[str, list[np.ndarray]]):
    """The images of each split in a row; rows that are shorter end in grey."""
    longest = max(len(row) for row in tiles.values())
    whole = {split: row + [tile(None, TILE)] * (longest - len(row)) for split, row in tiles.items()}
    names = [str(rank) for rank in range(1, longest + 1)]
    return contact_sheet_figure(whole, names, title="Images that moved most")


def table_of(rows: Sequence[Mapping[str, str]]) -> Table:
    """Rows of texts as a table of a page."""
    cells = tuple(tuple(row.values()) for row in rows)
    blank = len(rows) * ((),)
    return Table(tuple(rows[0]), cells, anchors=blank, links=len(rows) * ("",))
