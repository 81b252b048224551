"""A class, file, run, domain, method and data set that are called as code: no browser runs it.

What each text becomes is asked of an HTML parser in widgets/test_hostile_names.py; here everything
is on a page at once.
"""

import json
import shutil

import pandas as pd
import pytest

from clipft import (
    contact_sheet_figure,
    energy_gap_figure,
    results,
    table_figure,
    wise_slider_figure,
)
from clipft.batch.notebook import to_html
from clipft.batch.overview import write_overview
from clipft.batch.spec import Spec
from clipft.figures import pages

from . import lab
from .lab import cell

IMAGE = "<img src=x onerror=window.broken=1>"
NAMES = [
    IMAGE,
    '"><svg onload=window.broken=2>',
    "${window.broken=3}",
    "{{window.broken=4}}",
    "[x](javascript:window.broken=5)",
    "$\\href{javascript:window.broken=6}{x}$",
    "<a href=javascript:window.broken=7>x",
]
# what ran, and which elements were made of names
BROKEN = """() => [window.broken ?? null, document.querySelectorAll(
    'img[src="x"], [onerror], [onload], a[href^="javascript"], svg a').length]"""
SET_UP = """
import numpy as np
from dataclasses import replace
from pathlib import Path
import clipft
from clipft.diagnostics.energy_map import EnergyMap
runs = Path({runs!r})
table = clipft.results(str(runs))
folders = sorted(runs.iterdir())
sweep = clipft.read_sweep(folders[0])
rows = np.arange(0, len(sweep.ids), 20)
before, after = np.random.default_rng(0).normal(size=(2, len(rows), 2))
places = EnergyMap(tuple(sweep.split[rows]), tuple(sweep.ids[rows]), sweep.label[rows], before, after)
display(clipft.Run.open(folders[0]), table.head())
"""
CELLS = (
    "clipft.EnergyGapExplorer(table, runs)",
    "clipft.DistortionExplorer(clipft.distortion_table(runs))",
    "clipft.EnergyMapExplorer(places, sweep, selection=list(places.ids[:2]))",
    "clipft.RunBrowser(table, runs)",
    "clipft.WiseExplorer(sweep, 0.5)",
    "clipft.ReliabilityExplorer(sweep)",
    "clipft.explore(folders[0])",
    "clipft.ClassExplorer(sweep)",
    "clipft.Workspace(runs, maps=False)",
)


def renamed(source, target):
    """Copies of scored runs in which all that has a name is called as code."""
    for number, run in enumerate(sorted(file.parent for file in source.glob("*/config.json"))):
        folder = target / f"{IMAGE}{number}"
        shutil.copytree(run, folder)
        (folder / "weights.safetensors").unlink(missing_ok=True)
        manifest = json.loads((folder / "manifest.json").read_text())
        domains = {
            name: f"{NAMES[place % 4]} {name}" for place, name in enumerate(manifest["domains"])
        }
        manifest |= {"name": f"x{IMAGE}", "title": NAMES[1], "domains": list(domains.values())}
        manifest |= {"reference": domains[manifest["reference"]], "captions": {}}
        for place, row in enumerate(manifest["class_names"]):
            row["name"] = f"{NAMES[place % len(NAMES)]} {place}"
        (folder / "manifest.json").write_text(json.dumps(manifest))
        config = json.loads((folder / "config.json").read_text())
        config |= {"title": NAMES[2], "manifest": manifest["name"], "reference": ""}
        config["method"] = config["method"] if number % 2 else IMAGE
        (folder / "config.json").write_text(json.dumps(config))
        for name in ("images.parquet", "scores.parquet"):
            rename_rows(folder / name, domains)
    return target


def rename_rows(file, domains):
    rows = pd.read_parquet(file)
    if "domain" in rows:
        rows["domain"] = rows["domain"].astype(str).map(domains)
    parts = rows["split"].astype(str).str.partition("/")
    rows["split"] = parts[0].map(domains) + "/" + parts[2]
    if "id" in rows:
        rows["id"] = IMAGE + rows["id"].astype(str).str.replace("/", " ")
    rows.to_parquet(file)


@pytest.fixture(scope="module")
def hostile_runs(demo_runs, tmp_path_factory):
    return renamed(demo_runs, tmp_path_factory.mktemp("hostile") / "runs")


@pytest.fixture(scope="module")
def hostile_desk(server, browser, hostile_runs):
    sources = [SET_UP.format(runs=str(hostile_runs)), *CELLS]
    with lab.desk(server, browser, server.root / "hostile.ipynb", sources) as view:
        yield view


def test_no_explorer_runs_a_name(hostile_desk):
    assert lab.failures(hostile_desk) == []
    for number, source in enumerate((SET_UP, *CELLS)):
        shown = cell(hostile_desk, number)
        for menu in shown.locator("select").all():
            if menu.is_visible():
                menu.press("ArrowDown")
        assert "onerror=" in shown.evaluate("part => part.textContent"), source
    assert hostile_desk.evaluate(BROKEN) == [None, 0]


def test_no_page_runs_a_name(browser, hostile_runs, hostile_desk, tmp_path):
    table = results(hostile_runs)
    figures = [wise_slider_figure(table), energy_gap_figure(table)]
    figures.append(table_figure(pd.DataFrame({name: [name] for name in NAMES})))
    tile = pd.DataFrame([[0]]).to_numpy(dtype="uint8").repeat(3).reshape(1, 1, 3)
    figures.append(contact_sheet_figure({IMAGE: [tile]}, [NAMES[1]], title=IMAGE))
    (tmp_path / "runs").symlink_to(hostile_runs)
    for number, figure in enumerate(figures):
        pages.save_figure(figure, tmp_path / "figures", f"{IMAGE}{number}", " ".join(NAMES))
    spec = Spec.read({"name": "t", "title": IMAGE, "stages": [], "images": []})
    write_overview(spec, [], tmp_path, f"clipft batch {IMAGE}")
    lab.save(hostile_desk)
    executed = to_html(hostile_desk.path, tmp_path / "executed.html")
    files = [tmp_path / "index.html", executed, *sorted((tmp_path / "figures").glob("*.html"))]
    for file in files:
        with lab.page(browser, ("file:",)) as page:
            page.goto(file.as_uri())
            lab.expect(page.locator(".js-plotly-plot:has(.main-svg)").first).to_be_attached()
            assert "onerror=" in page.evaluate("document.body.textContent")
            assert page.evaluate(BROKEN) == [None, 0]
        assert page.errors == []
