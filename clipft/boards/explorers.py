"""The boards of the explorers, made of records: what each shows and with what it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..figures.energy_map import rows_in
from ..metrics.calibration import BINS
from .desk import Answer, Board, Desk, Question, painted
from .gap import Distortions, Gaps
from .run_desk import RunDesk
from .sweeps import BESIDE, Sweeps, map_answers

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from ..diagnostics.energy_map import EnergyMap
    from ..runs.sweep import Sweep

STATE = {"alpha": 0.5, "run": "", "selection": []}
FLIPS = {"against": 0, "kind": "lost", "split": ""}
MAP = {"colour": "split", "places": "both"}
RUNS = {"query": "", "compared": [], "every": 0.0, "grouped": False}
VIEWS_OF_RUN = ["wise", "classes", "confusions", "reliability", "training"]


def _first_answers(run: str, *pictures: dict[str, Any]) -> list[dict[str, Any]]:
    """What a board of one run asks at once."""
    asked = [{"what": "figure", **picture} for picture in pictures]
    return [{"what": "sweep", "run": run}, *asked]


def wise_board(sweeps: Sequence[Sweep], alpha: float) -> Board:
    """The WiSE slider over a few runs."""
    known = Sweeps.of(sweeps)
    desk = Desk()
    run = known.runs[0][1]
    state = STATE | FLIPS | {"alpha": alpha, "run": run}
    known.teach(desk, state, "wise")
    first = _first_answers(run, {"name": "wise", "run": run})
    return Board([["wise"]], desk, state, known.runs, images=known.saved_images, first=first)


def reliability_board(sweep: Sweep, alpha: float, split: str, bins: int = BINS) -> Board:
    """The reliability diagram of a run."""
    known = Sweeps.of([sweep], bins)
    desk = Desk()
    run = known.runs[0][1]
    state = STATE | {"alpha": alpha, "run": run, "shown_split": split}
    known.teach(desk, state, "reliability", tiles=False)
    first = _first_answers(run, {"name": "reliability", "run": run, "split": split})
    return Board([["reliability"]], desk, state, known.runs, first=first)


def map_board(energies: EnergyMap, sweep: Sweep, **begin: Any) -> Board:
    """The energy map of a run, and the images that are selected on it.

    Raises ConfigError where the map has no images, or is of another run.
    """
    if not len(energies.ids):
        raise ConfigError(
            "an energy map without images; take more: reports.energy_map(RUN, per_split=100)"
        )
    rows = rows_in(sweep, energies)
    known = Sweeps.of([sweep])
    desk = Desk()
    run = known.runs[0][1]
    state = STATE | {"alpha": 1.0, "run": run, "against": 0} | MAP | begin
    known.teach(desk, state)
    desk.teach("map", map_answers(lambda _: energies, known), saved=[{"run": run}])
    board = Board([["map"]], desk, state, known.runs, bar=True, selected=True)
    board.images = lambda: known.saved_images(sweep.keys[rows].tolist())
    board.first = [*_first_answers(run), {"what": "map", "run": run}]
    return board


def class_board(sweep: Sweep, alpha: float, similar: pd.DataFrame | None = None) -> Board:
    """Classes and confusions of a run, side by side."""
    known = Sweeps.of([sweep])
    desk = Desk()
    run = known.runs[0][1]
    state = STATE | FLIPS | {"alpha": alpha, "run": run}
    known.teach(desk, state)
    if similar is not None:
        desk.teach("similar", _similar(sweep, similar), saved=[{"run": run}])
    board = Board([["classes"], ["confusions"]], desk, state, known.runs, bar=True, selected=True)
    board.images = known.saved_images
    board.first = _first_answers(run)
    board.similar = similar is not None
    return board


def _similar_of_run(
    known: Sweeps, similar: Callable[[str], pd.DataFrame]
) -> Callable[[Question], Answer]:
    """What answers which classes of a run are called alike, when it is asked."""

    def answer(question: Question) -> Answer:
        run = known.asked(question)
        return _similar(known.sweep(run), similar(run))(question)

    return answer


def _similar(sweep: Sweep, table: pd.DataFrame) -> Callable[[Question], Answer]:
    """The same by the table of `class_similarity`."""
    label_of = {name: label for label, name in enumerate(sweep.classes)}
    found: dict[int, list[tuple[int, float]]] = {}
    for row in table.itertuples():
        if row[1] in label_of and row[2] in label_of:
            pair = (label_of[row[2]], float(row[3]))
            found.setdefault(label_of[row[1]], []).append(pair)
    return lambda _: Answer({"similar": found})


def run_board(sweep: Sweep, alpha: float) -> Board:
    """One run in tabs."""
    known = Sweeps.of([sweep])
    desk = Desk()
    run = known.runs[0][1]
    state = STATE | FLIPS | {"alpha": alpha, "run": run, "shown_split": sweep.splits[-1]}
    known.teach(desk, state, "wise", "reliability", "training")
    board = Board([[*VIEWS_OF_RUN]], desk, state, known.runs, bar=True, selected=True)
    board.images = known.saved_images
    pictures = ({"name": "wise", "run": run}, {"name": "training", "run": run})
    board.first = _first_answers(run, *pictures)
    return board


def gap_board(gaps: Gaps, **begin: Any) -> Board:
    """Energy gap against robustness over runs, and the run that is chosen."""
    desk = Desk()
    state: dict[str, Any] = STATE | gaps.state(begin.get("x", "")) | {"run": ""} | begin
    gaps.teach(desk, state)
    board = Board([["gap"]], desk, state, charts={"gap": gaps.chart(state["x"])})
    if gaps.folder:
        known = Sweeps.in_folder(gaps.folder, gaps.results)
        known.teach(desk, state)
        curves = [{"run": run} for run in known.titles]
        desk.teach("figure curve", gaps.curve, saved=lambda: curves[:BESIDE])
        desk.teach("every run", known.every_run, saved=known.every_run_saved)
        board.runs = known.runs
        board.images = known.saved_images
    asked = {name: state[name] for name in ("shift", "x", "y", "methods")}
    picture = {"what": "figure", "name": "gap", **asked}
    board.first = [{"what": "about", "run": state["run"]}, picture]
    return board


def _of_shown_run(state: dict[str, Any]) -> Callable[[], list[dict[str, str]]]:
    """What a saved page asks of the run that it opens on alone."""
    return lambda: [{"run": state["run"]}] if state["run"] else []


def distortion_board(distortions: Distortions, **begin: Any) -> Board:
    """Feature distortion over runs."""
    desk = Desk()
    distortions.teach(desk)
    state = {"shift": distortions.shifts[0], "kind": distortions.kinds[0], "run": ""} | begin
    asked = {name: state[name] for name in ("shift", "kind")}
    first = [{"what": "figure", "name": "distortion", **asked}]
    charts = {"distortion": distortions.chart}
    return Board([["distortion"]], desk, state, charts=charts, first=first)


def chart_board(draw: Callable[..., go.Figure], **menus: Sequence[Any]) -> Board:
    """A picture for each choice in some menus; a saved page has all of them.

    draw: what is chosen, by the menus' names -> the picture. menus: name -> what it offers.
    """
    desk = Desk()
    choices = [dict(zip(menus, chosen, strict=True)) for chosen in product(*menus.values())]

    def answer(question: Question) -> Answer:
        return painted(draw(**{name: question[name] for name in menus}))

    desk.teach("figure figure", answer, saved=choices)
    offered = []
    for name, options in menus.items():
        pairs = [[str(option), option] for option in options]
        offered.append({"name": name, "title": name, "options": pairs})
    charts: dict[str, Any] = {"figure": {"menus": offered}}
    first = [{"what": "figure", "name": "figure", **choices[0]}]
    return Board([["figure"]], desk, choices[0], charts=charts, first=first)


def figure_board(figure: go.Figure) -> Board:
    """Any figure; where it has a slider, that of the board."""
    board = chart_board(lambda: figure)
    if figure.layout.sliders:
        (slider,) = figure.layout.sliders
        board.state = {"alpha": float(slider.steps[slider.active or 0].value)}
        board.bar = True
    return board


def runs_board(table: RunDesk) -> Board:
    """The browser of runs."""
    desk = Desk()
    table.teach(desk)
    first = [{"what": "runs"}, {"what": "library", "name": "datatables"}]
    return Board([["runs"]], desk, STATE | RUNS, first=first)


def workspace_board(
    runs: Path | str,
    results: pd.DataFrame,
    maps: Callable[[str], EnergyMap] | None = None,
    similar: Callable[[str], pd.DataFrame] | None = None,
) -> Board:
    """A folder of runs in all views at once.

    maps: makes, or finds, the energy map of a run; similar: its classes that are called alike.
    """
    desk = Desk()
    known = Sweeps.in_folder(runs, results)
    run = known.runs[0][1]
    state: dict[str, Any] = STATE | FLIPS | MAP | RUNS | {"run": run, "shown_split": ""}
    state |= {"places": "at alpha", "alpha": known.sweep(run).middle}
    known.teach(desk, state, "wise", "reliability", "training")
    table = RunDesk(results, runs, runs)
    table.teach(desk)
    table.changed.append(lambda _: known.forget())
    board = Board([[*VIEWS_OF_RUN]], desk, state, known.runs, bar=True, selected=True)
    board.first = [*_first_answers(run, {"name": "wise", "run": run}), {"what": "runs"}]
    board.images = known.saved_images
    (views,) = board.panes

    gaps = _gaps_of(results, runs)
    if gaps is not None:
        state |= gaps.state()
        gaps.teach(desk, state)
        table.changed.append(gaps.take)
        desk.teach("every run", known.every_run, saved=known.every_run_saved)
        board.charts["gap"] = gaps.chart(state["x"]) | {"curves": False}
        views.append("gap")
    views.append("runs")
    if maps is not None:
        desk.teach("map", map_answers(maps, known), saved=_of_shown_run(state))
        board.panes = [["map"], views]
    if similar is not None:
        desk.teach("similar", _similar_of_run(known, similar), saved=_of_shown_run(state))
        board.similar = True
    return board


def _gaps_of(results: pd.DataFrame, runs: Path | str) -> Gaps | None:
    """Energy gap against robustness; None where no shift was scored."""
    try:
        return Gaps(results, runs)
    except ConfigError:
        return None
