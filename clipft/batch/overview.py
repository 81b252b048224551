"""What a batch leaves to be read: results.csv, the images of its figures, and index.html.

The page says first what was run and found, in sentences made of the results; then it shows the
figures, a table of the runs, and how all of it was made.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..boards.page import BoardsOfPage
from ..disk.files import read_json, read_large_json, write_csv
from ..errors import RunError
from ..figures import pages
from ..figures.pages import Section, Table
from ..figures.style import anchor_of_recipe, anchor_of_run
from ..runs.claims import Claim, claims
from ..runs.findings import findings, tuned_runs
from ..runs.folder import run_folders
from ..runs.names import title_of, told_of
from ..runs.table import COMPARABLE, results
from .spec import Job, Spec

if TYPE_CHECKING:
    import pandas as pd

HINT = (
    "Each figure can be zoomed, and its legend hides what is clicked. A click on a point goes to"
    " its run in the table below."
)
CLAIMS = (
    "A claim holds, or fails, where the whole interval lies on its side of 0, or on the other."
    " At equal reference accuracy: methods are compared along their curves over the learning rates"
    " that both have, from zero-shot on, at every reference accuracy that tuned models of both"
    " reach; a single model against a single model would compare different reference accuracies."
)
NUMBERS = (  # of a run's row: column, title, factor to its unit, digits
    ("reference_accuracy", "reference", 100, 1),
    ("shift_accuracy", "mean shift", 100, 1),
    ("energy_gap", "energy gap", 1, 2),
)
NAME = re.compile(r"[\w.+-]+")  # what the name of a run's folder may stand in
ABSENT = "-"  # in a table, where there is no such number


def write_overview(spec: Spec, stages: Sequence[Sequence[Job]], out: Path, command: str) -> str:
    """Write results.csv, the figures' images and index.html; returns what came of the images.

    command: what makes the batch again, as it is typed.
    """
    own = _own_results(out / "runs")
    if own is not None:
        write_csv(out / "results.csv", own)
    images = pages.write_images(out / "figures", spec.images, spec.columns)
    figures = sorted((out / "figures").glob("*.json"))

    jobs = list(itertools.chain.from_iterable(stages))
    table = _table_of(jobs, out / "runs", own)
    sections = [*_findings(table), *claims_sections(table), *figure_sections(figures)]
    if table is not None:
        sections.append(_runs(table, jobs, out))
    sections += [_how(jobs, command), _files(jobs, figures, out)]
    boards = BoardsOfPage()
    pages.write_index(out / "index.html", spec.title or spec.name, sections, boards.insteads)
    return images


def _own_results(runs: Path) -> pd.DataFrame | None:
    """The results of the batch's own folder of runs; None where nothing in it is scored."""
    if not any(folder.is_scored for folder in run_folders(runs)):
        return None
    return results(runs)


def figure_sections(figures: Sequence[Path]) -> list[Section]:
    """The figures that belong to no paper, then those of each paper."""
    by_title: dict[str, list[Path]] = {}
    for file in figures:
        about = read_large_json(file)["figure"]["layout"].get("meta", {})
        by_title.setdefault(about.get("paper", ""), []).append(file)
    sections = []
    for title, files in sorted(by_title.items()):
        heading = f"Figures and tables of {title}" if title else "Figures"
        hint = () if sections else (HINT,)
        sections.append(Section(heading, paragraphs=hint, figures=tuple(files)))
    return sections


def _table_of(jobs: Sequence[Job], own_runs: Path, own: pd.DataFrame | None) -> pd.DataFrame | None:
    """The results of the runs that the jobs make or read; None where nothing is scored.

    own: those of the batch's own folder of runs, where there is one.
    """
    tables = [] if own is None else [own]
    unfinished: list[str] = [] if own is None else list(own.attrs["unfinished"])
    places: dict[tuple[Path, str], None] = {}
    for job in jobs:
        runs = job.parameters.get("runs")
        if isinstance(runs, str):
            places[job.notebook.parent, runs] = None

    for folder in dict.fromkeys((base / runs).resolve() for base, runs in places):
        if folder == own_runs:
            continue
        try:
            table = results(folder)
        except RunError:  # no such folder, or nothing scored in it
            continue
        tables.append(table)
        unfinished += table.attrs["unfinished"]
    if not tables:
        return None
    import pandas as pd

    joined = pd.concat(tables, ignore_index=True)
    joined.attrs["unfinished"] = unfinished
    return joined


def _findings(table: pd.DataFrame | None) -> list[Section]:
    """What was run, what it shows, and what it does not show."""
    if table is None:
        return [Section("What was run", paragraphs=("No run is scored.",))]
    said = findings(table)
    ran = list(said.ran)
    if table.attrs["unfinished"]:
        ran.append(f"Left out, not finished: {', '.join(table.attrs['unfinished'])}.")

    sections = [Section("What was run", paragraphs=tuple(ran))]
    if said.found:
        sections.append(Section("What was found", points=said.found))
    if said.limits:
        sections.append(Section("What this does not settle", points=said.limits))
    return sections


def claims_sections(table: pd.DataFrame | None) -> list[Section]:
    """The papers' claims, for each model and data of which one of them can be tested."""
    if table is None:
        return []
    sections = []
    kinds = [kind for _, kind in table.groupby(COMPARABLE, sort=False)]
    for kind in kinds:
        found = claims(kind)
        if any(claim.evidence for claim in found):
            first = kind.iloc[0]
            of = f": {first.model} on {first.manifest}" if len(kinds) > 1 else ""
            sections.append(_claims_of(found, f"Which claims of the papers hold{of}"))
    return sections


def _claims_of(found: Sequence[Claim], heading: str) -> Section:
    rows = []
    for claim in found:
        asked = claim.question
        rows.append((f"{asked.letter}. {asked.text}", asked.paper, claim.verdict, claim.said))
    nowhere = len(rows) * ("",)
    whole = Table(
        ("claim", "paper", "here", "numbers with 95 % intervals over seeds"),
        tuple(rows),
        anchors=len(rows) * ((),),
        links=nowhere,
    )
    return Section(heading, paragraphs=(CLAIMS,), table=whole)


def _runs(table: pd.DataFrame, jobs: Sequence[Job], out: Path) -> Section:
    """A row per tuned run, which the points of the figures link to."""
    rows = tuned_runs(table)
    page_of_run = _pages_of_runs(jobs, list(rows.run), out)
    lines = []
    anchors = []
    links = []
    seen: set[str] = set()
    for row in rows.to_dict("records"):
        names = [anchor_of_run(row["run"])]
        if row["recipe"] not in seen:
            names.append(anchor_of_recipe(row["recipe"]))  # the first of its runs stands for it
            seen.add(row["recipe"])
        anchors.append(tuple(names))
        links.append(page_of_run.get(row["run"], ""))
        lines.append(_line(row))
    head = tuple(lines[0]) if lines else ()
    cells = tuple(tuple(line.values()) for line in lines)
    about = "Test accuracies of the tuned model, in percent; a run's name opens its notebook."
    whole = Table(head, cells, anchors=tuple(anchors), links=tuple(links))
    return Section("Runs", paragraphs=(about,), table=whole)


def _line(row: Mapping[Any, Any]) -> dict[str, str]:
    """The texts of one run's row."""
    line = {
        "run": row["run"],
        "method": title_of(row["method"]),
        **told_of(row["lr"], row["steps"]),
        "seed": str(row["seed"]),
    }
    for name, title, factor, digits in NUMBERS:
        value = factor * row[name]
        line[title] = ABSENT if math.isnan(value) else f"{value:.{digits}f}"
    return line


def _pages_of_runs(jobs: Sequence[Job], runs: Sequence[str], out: Path) -> dict[str, str]:
    """Run -> the page of the first notebook that names it, which is the one that made it."""
    page_of_run: dict[str, str] = {}
    without_page = set(runs)
    for job in jobs:
        executed = job.folder / "run.ipynb"
        if not without_page:
            break
        if not executed.exists():
            continue
        text = executed.read_text(encoding="utf-8")
        for run in without_page.intersection(NAME.findall(text)):
            page_of_run[run] = _address(job.page, out)
            without_page.remove(run)
    return page_of_run


def _how(jobs: Sequence[Job], command: str) -> Section:
    """The command, when and on what the jobs ran, and with which versions."""
    records = []
    for job in jobs:
        status = job.folder / "status.json"
        if status.exists():
            records.append(read_json(status))
    dates = sorted(record["date"] for record in records if "date" in record)
    facts = [("command", command)]
    if dates:
        facts.append(("date", dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"))
    facts.append(("jobs", f"{len(records)}, {sum(record['seconds'] for record in records):.0f} s"))
    machines = dict.fromkeys(record["machine"] for record in records if "machine" in record)
    facts += [("machine", machine) for machine in machines]
    versions = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        for record in records
        if "versions" in record
    )
    facts += [("versions", line) for line in versions]
    return Section("How it was made", facts=tuple(facts))


def _files(jobs: Sequence[Job], figures: Sequence[Path], out: Path) -> Section:
    """Links to the table of results, every figure alone, and every executed notebook."""
    links = []
    if (out / "results.csv").exists():
        links.append(
            ("results.csv: every number, a row per run, alpha, split and metric", "results.csv")
        )
    for figure in figures:
        page = f"figures/{figure.stem}.html"
        links.append((page, page))
    for job in jobs:
        if job.page.exists():
            links.append((job.title, _address(job.page, out)))
    return Section("Files", links=tuple(links))


def _address(page: Path, out: Path) -> str:
    """A job's page as the index links to it."""
    return page.relative_to(out).as_posix()
