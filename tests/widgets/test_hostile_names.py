"""Names that look like code are texts: in every explorer, page, card and table on a terminal.

What a page would make of a text is asked of an HTML parser; in a browser: browser/test_hostile.py.
"""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from explorers import distortions, energy_map
from looking import unpacked
from test_sweep import toy_sweep
from test_table import fake

from clipft.batch.overview import figure_sections, write_overview
from clipft.batch.spec import Spec
from clipft.cli.terminal_tables import show
from clipft.data.images import sample_tiles
from clipft.data.splits import SplitName
from clipft.figures.images import contact_sheet_figure
from clipft.figures.markup import with_plain_names
from clipft.figures.pages import FIGURE, Section, Table, save_figure, write_index
from clipft.figures.tables import table_figure
from clipft.progress import say
from clipft.runs.card import _plain
from clipft.runs.run import Run
from clipft.widgets.calibration import ReliabilityExplorer
from clipft.widgets.classes import ClassExplorer
from clipft.widgets.distortion import DistortionExplorer
from clipft.widgets.energy_gap import EnergyGapExplorer
from clipft.widgets.energy_map import EnergyMapExplorer
from clipft.widgets.run_browser import RunBrowser
from clipft.widgets.wise import WiseExplorer

IMAGE = "<img src=x onerror=broken(1)>"
NAMES = [
    IMAGE,
    "'\"><script>broken(2)</script>",
    "${broken(3)}",
    "{{broken(4)}}",
    "[x](javascript:broken(5))",
    "$x^2$",
    "[red]x[/green]",
    "<a href='javascript:broken(6)'>x</a>",
]


class Elements(HTMLParser):
    """The elements that a text becomes, and what is seen of it."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.seen = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.seen += data


def check_html(text, also=()):
    """No element is made of a name; returns what is seen."""
    elements = Elements(text)
    for _, attributes in elements.found:
        assert not {"onerror", "onload"} & attributes.keys()
        assert attributes.get("src") != "x"
        assert "javascript" not in attributes.get("href", "")
    bodies = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert not any(body.startswith("broken") for body in bodies)
    return elements.seen


def check_figure(figure):
    """Every `<` in the texts of a figure begins a tag that figures are made with."""
    texts = []

    def walk(value):
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            list(map(walk, value.values()))
        elif isinstance(value, list):
            list(map(walk, value))

    walk(figure)
    for text in texts:
        assert re.sub(r"</?(b|br|i|sub|sup|extra)>", "", text).count("<") == 0
    return " ".join(texts)


@pytest.fixture(scope="module")
def sweep():
    plain = toy_sweep(n=30, classes=len(NAMES))
    called = {"clipart": IMAGE, "art": NAMES[3], "sketch": NAMES[6].replace("/", "")}
    split = [SplitName.parse(name) for name in plain.split]
    split = [f"{called.get(name.domain, name.domain)}/{name.part}" for name in split]
    ids = [f"{NAMES[number % 4]}{number}.png" for number in range(len(plain.ids))]
    kinds = {"split": np.array(split), "ids": np.array(ids)}
    about = {**plain.about, "method": NAMES[0], "manifest": NAMES[1], "run": NAMES[2]}
    return replace(plain, classes=tuple(NAMES), title=" ".join(NAMES), about=about, **kinds)


@pytest.fixture(scope="module")
def table():
    """Results whose runs, methods, models, data sets and domains are called so."""
    made = fake(recipes=[(IMAGE, 1e-4), (NAMES[1], 1e-4), ("lipsum", 1e-5)])
    for column in ("manifest", "model", "pretrained"):
        made[column] = NAMES[1]
    made["split"] = made["split"].str.replace("sketch", IMAGE).str.replace("art", NAMES[5])
    made["run"] = IMAGE + made["run"].astype(str)
    return made


def explorers(sweep, table):
    frame = distortions()
    frame["run"] = IMAGE + frame["run"]
    frame["method"] = frame["method"].replace({"ft": IMAGE})
    frame["split"] = frame["split"].str.replace("sketch", NAMES[3])
    few = energy_map(sweep)
    return {
        "wise": lambda: WiseExplorer([sweep, replace(sweep, title=IMAGE)]),
        "reliability": lambda: ReliabilityExplorer(sweep),
        "classes": lambda: ClassExplorer(sweep),
        "map": lambda: EnergyMapExplorer(few, sweep, selection=list(few.ids[:3])),
        "gap": lambda: EnergyGapExplorer(table),
        "distortion": lambda: DistortionExplorer(frame),
        "browser": lambda: RunBrowser(table, "none"),
    }


KINDS = ["wise", "reliability", "classes", "map", "gap", "distortion", "browser"]


@pytest.mark.parametrize("name", KINDS)
def test_explorers(sweep, table, name, tmp_path):
    """Pictures have no tag but their own; all else is text, which the page's script shows so."""
    explorer = explorers(sweep, table)[name]()
    seen = check_figure(explorer._repr_mimebundle_()[FIGURE])
    record = explorer.record()
    for key, kept in record["answers"].items():
        if "error" in kept:  # a text, too
            continue
        answer, _ = unpacked(record, key)
        if "figure" in answer:
            seen += check_figure([json.loads(answer["figure"] or "{}"), answer["moves"]])
    assert any(mark in seen for mark in ("onerror", "&lt;img", "${broken", "{{broken"))

    page = explorer.export(tmp_path / "page.html").read_text()
    check_html(page)
    plain = WiseExplorer(toy_sweep()).export(tmp_path / "plain.html").read_text()
    tags, plain_tags = ([tag for tag, _ in Elements(text).found] for text in (page, plain))
    assert tags == plain_tags
    explorer.close()


def test_a_batchs_page_and_its_figures(tmp_path, table):
    for number, title in enumerate(NAMES):
        figure = table_figure(pd.DataFrame({title: [title, IMAGE]}))
        figure.update_layout(title=title, meta={"paper": title})
        save_figure(figure, tmp_path / "figures", f"f{number}", caption=title)
        check_html((tmp_path / f"figures/f{number}.html").read_text())
    for file in (tmp_path / "figures").glob("*.json"):
        check_figure(json.loads(file.read_text())["figure"])
    spec = Spec.read({"name": "t", "title": IMAGE, "stages": [], "images": []})
    write_overview(spec, [], tmp_path, f"clipft batch {IMAGE}")
    seen = check_html((tmp_path / "index.html").read_text())
    assert all(name in seen for name in NAMES if "script" not in name)


@pytest.mark.parametrize("name", ["\\u003cx", "\\\\u003cx", "\\<x", "<b>", "a\\"])
def test_backslashes_of_a_name_do_not_break_a_figure(name):
    figure = table_figure(pd.DataFrame({"name": [name]}))
    cells = json.loads(with_plain_names(figure.to_json()))["data"][0]["cells"]["values"]
    plain = name if name == "<b>" else name.replace("<", "&lt;")
    assert list(cells[0]) == [plain]


def test_every_part_of_a_page(tmp_path):
    one = (IMAGE, NAMES[1])
    rows = Table(one, (one, one), anchors=((IMAGE,), (NAMES[1],)), links=(NAMES[1], ""))
    sections = [
        Section(name, paragraphs=one, points=one, facts=(one,), table=rows, links=(one,))
        for name in NAMES
    ]
    write_index(tmp_path / "index.html", IMAGE, [*sections, *figure_sections([])])
    seen = check_html((tmp_path / "index.html").read_text())
    assert seen.count(IMAGE) >= 7 * len(NAMES)


def test_a_contact_sheet(at_home, tmp_path):
    names, tiles = sample_tiles(at_home.scored[0].manifest)
    tiles = {f"{IMAGE}{domain}": images for domain, images in tiles.items()}
    sheet = contact_sheet_figure(tiles, NAMES[: len(names)], title=IMAGE)
    file = save_figure(sheet, tmp_path, "sheet")
    assert IMAGE in check_html(file.read_text())
    check_figure(json.loads((tmp_path / "sheet.json").read_text()))


def test_a_run_in_a_notebook(at_home, tmp_path):
    run = at_home.scored[0]
    folder = tmp_path / IMAGE
    folder.symlink_to(run.path)
    text = Run.open(folder)._repr_html_()
    assert IMAGE in check_html(text)


def test_a_model_card():
    for name in NAMES:
        text = _plain(name)
        check_html(text)
        assert "](" not in text and "<" not in text


def test_a_terminal(capsys):
    """Nothing in a name is a style, an error, or a word to the terminal."""
    escapes = "\x1b[31mred\x1b]0;title\x07\u202e"
    rows = [{name: name for name in (*NAMES, escapes)}]
    show(rows, title=" ".join((*NAMES, escapes)))
    say([escapes])
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
        assert "x1b[31mred" in text.replace("\n", "").replace(" ", "")
    assert "[red]x[/green]" in shown.out
