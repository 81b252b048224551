"""The paper's items against pandas on our tidy rows and against the CSV of the paper's numbers."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from test_table import ALPHAS, fake

from clipft.data import manifests
from clipft.diagnostics.energy_map import EnergyMap
from clipft.errors import ConfigError
from clipft.figures.energy_map import energy_map_figure
from clipft.papers import beside, lipsum_ft
from clipft.papers.published import PUBLISHED
from clipft.reports import energy_map as maps
from clipft.runs.names import title_of

METHODS = [
    "ft",
    "scratch_ft",
    "lp",
    "lp_ft",
    "ema",
    "l2sp",
    "kd",
    "car",
    "lipsum",
    "mse_class",
    "mse_context",
]
METHODS += ["kld_random", "ft+tpgm", "lipsum+tpgm_c", "ft+greedy_soup"]
TABLE = fake(recipes=[(name, 1e-4) for name in METHODS])
WITHOUT_RUNS = {
    "table_5": "model=",
    "table_8": "text_count=",
    "table_10": "reference=",
    "table_11": "gzsl_table",
}
WITHOUT_RUNS |= {"figure_9": "model=", "figure_12": "text_count=", "figure_13": "reference="}
UNITS = {
    "accuracy": ("accuracy (%)", 100, 1),
    "nll": ("NLL (nats)", 1, 2),
    "ece": ("ECE (%)", 100, 1),
}


@pytest.fixture(scope="module")
def paper():
    """The CSV as it lies, a dictionary a row."""
    with open(manifests.manifests_folder() / "published/lipsum_ft.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(autouse=True)
def no_models(monkeypatch):
    """What opens runs is given made-up records."""

    def distortion_table(runs):
        assert len(runs) == 2 * (len(METHODS))
        rows = [
            {"run": run.name, "method": "ft", "split": "art/test", "kind": "raw", "verdict": "open"}
            for run in runs
        ]
        settings = {"lr": 1e-4, "steps": 9, "seed": 0}
        means = {"reference": 1.5, "shifted": 2.5, "difference": -1.0, "low": -1.5, "high": -0.5}
        return pd.DataFrame(rows).assign(**settings, **means)

    before, after = np.random.default_rng(0).normal(size=(2, 5, 2))
    splits = ("real/test",) * 3 + ("art/test",) * 2
    places = EnergyMap(splits, tuple("abcde"), np.arange(5), before, after)
    monkeypatch.setattr(lipsum_ft, "distortion_table", distortion_table)
    monkeypatch.setattr(maps, "energy_map", lambda run: places)


def block(made, start):
    """The one block of a table whose title starts so."""
    (frame,) = [frame for title, frame in made.rows.items() if title.startswith(start)]
    return frame


def test_every_item_of_the_paper_is_there():
    want = [f"table_{n}" for n in range(1, 12)] + [f"figure_{n}" for n in range(2, 16)]
    assert list(lipsum_ft.ITEMS) == want
    assert lipsum_ft.file_name("table_1") == "table_01"
    assert lipsum_ft.file_name("figure_12") == "figure_12"


@pytest.mark.parametrize("name", lipsum_ft.ITEMS)
def test_an_item_is_a_figure_with_a_caption(name, tmp_path):
    made = lipsum_ft.make(name, TABLE, tmp_path)
    text = made.figure.to_json()
    assert json.loads(text)["data"] and "NaN" not in text
    assert "n = " in made.caption and "seeds" in made.caption and made.caption.endswith((".", "!"))
    assert ("paper" in made.caption) or ("Lipsum-FT's table" in made.caption)
    if name in WITHOUT_RUNS:
        assert WITHOUT_RUNS[name] in made.caption


@pytest.mark.parametrize("name", ["table_5", "table_8", "table_10", "table_11", "figure_12"])
def test_an_item_without_runs_of_ours_says_so(name, tmp_path):
    made = lipsum_ft.make(name, TABLE, tmp_path)
    assert "n = 0 runs" in made.caption
    assert not [title for title in made.rows if title.startswith("Ours")]


def test_an_unknown_item_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"unknown item 'tabel_1'; did you mean 'table_1'"):
        lipsum_ft.make("tabel_1", TABLE, "")


def test_our_rows_are_pandas_means(tmp_path):
    frame = block(lipsum_ft.make("table_1", TABLE, tmp_path), "Ours").set_index("method")
    assert list(frame.index) == ["Zero-shot", "FT", "EMA", "L2-SP", "KD", "CAR-FT", "Lipsum-FT"]
    assert list(frame.columns) == [
        "source",
        "setting",
        "seeds",
        "real",
        "art",
        "sketch",
        "mean shift",
    ]
    assert set(frame.source) == {"ours"} and set(frame.seeds[1:]) == {"2"}
    for method in ("ft", "car", "lipsum"):
        part = TABLE[(TABLE.method == method) & (TABLE.alpha == 1) & (TABLE.metric == "accuracy")]
        for split in ("real", "art", "sketch"):
            values = 100 * part[part.split == f"{split}/test"]["mean"]
            want = f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"
            assert frame.loc[title_of(method), split] == want
        shift = 100 * part[part.role == "shift"].groupby("seed")["mean"].mean()
        want = f"{shift.mean():.1f} ± {shift.std(ddof=1):.1f}"
        assert frame.loc[title_of(method), "mean shift"] == want


def test_our_calibration_has_its_units(tmp_path):
    made = lipsum_ft.make("table_2", TABLE, tmp_path)
    for metric in ("nll", "ece"):
        unit, factor, digits = UNITS[metric]
        ours = [title for title in made.rows if title.startswith("Ours")]
        (title,) = [title for title in ours if title.endswith(unit)]
        part = TABLE[(TABLE.method == "kd") & (TABLE.alpha == 1) & (TABLE.metric == metric)]
        values = factor * part[part.split == "real/test"]["mean"]
        want = f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"
        assert made.rows[title].set_index("method").loc["KD", "real"] == want


@pytest.mark.parametrize("number", [1, 2, 4, 5, 6, 7, 8, 9, 10, 11])
def test_the_papers_rows_are_the_files(number, paper, tmp_path):
    made = lipsum_ft.make(f"table_{number}", TABLE, tmp_path)
    theirs = {title: frame for title, frame in made.rows.items() if title.startswith("Paper")}
    seen = set()
    wanted = [row for row in paper if row["table"] == str(number)]
    for row in wanted:
        unit, factor, digits = UNITS[row["metric"]]
        kind = f"{row['benchmark']}, {row['model']}, reference {row['reference']}"
        title = f"Paper, table {number}: {kind}: {unit}"
        frame = theirs[title]
        rows = frame[frame.method == PUBLISHED.get(row["method"], row["method"])]
        if "setting" in frame:
            rows = rows[rows.setting == row["variant"].replace(";", ", ")]
        want = f"{factor * float(row['mean']):.{digits}f}"
        want += f" ± {factor * float(row['std']):.{digits}f}" if row["std"] else ""
        # one row, but for table 8's default, which stands there twice
        assert want in list(rows[row["split"]])
        seen.add(title)
    assert seen == theirs.keys()
    count = 0
    for frame in theirs.values():
        others = {"source", "method", "setting", "mean shift"}
        count += len(frame) * len(frame.columns.difference(others))
    assert count == len(wanted)


def test_table_3_has_no_published_numbers(paper, tmp_path):
    made = lipsum_ft.make("table_3", TABLE, tmp_path)
    assert not [row for row in paper if row["table"] == "3"]
    assert "not in data_manifests/published" in made.caption
    frame = block(made, "Ours")
    pairs = itertools.product(("KLD", "MSE"), ("class head", "context", "random texts"))
    assert set(frame.setting[1:]) == {f"{loss}, {texts}" for loss, texts in pairs}
    nine = block(lipsum_ft.make("table_9", TABLE, tmp_path), "Ours")
    assert set(nine.method[1:]) == {"CAR-FT", "Lipsum-FT", "MSE, context", "KLD, random texts"}


def test_table_6_has_every_alpha_and_names_mu(tmp_path):
    run = TABLE[TABLE.method == "lipsum+tpgm_c"].run.iloc[0]
    for one in TABLE[TABLE.method == "lipsum+tpgm_c"].run.unique():
        (tmp_path / one).mkdir()
        config = {"after": {"name": "tpgm_c", "options": {"mu": 0.5}}}
        (tmp_path / one / "config.json").write_text(json.dumps(config))
    frame = block(lipsum_ft.make("table_6", TABLE, tmp_path), "Ours")
    settings = frame.groupby("method").setting.apply(list)
    assert settings["FT + WiSE"] == settings["Lipsum-FT + WiSE"] == ["alpha=1.0", "alpha=0.5"]
    assert settings["Lipsum-FT + TPGM-C"] == ["mu=0.5"] and run
    at = TABLE[(TABLE.method == "ft") & (TABLE.alpha == 0.5) & (TABLE.split == "art/test")]
    values = 100 * at[at.metric == "accuracy"]["mean"]
    row = frame[(frame.method == "FT + WiSE") & (frame.setting == "alpha=0.5")]
    assert row.art.item() == f"{values.mean():.1f} ± {values.std():.1f}"


def lengths(tmp_path):
    """Lipsum-FT at two numbers of texts, which only the configurations tell."""
    table = fake(recipes=[("lipsum", 1e-4), ("lipsum", 1e-5)])
    for run, lr in table[["run", "lr"]].drop_duplicates().itertuples(index=False):
        (tmp_path / run).mkdir()
        config = {"text_length": 8, "text_count": 80 if lr == 1e-4 else 20}
        (tmp_path / run / "config.json").write_text(json.dumps(config))
    return table


def test_table_8_reads_lengths_from_the_runs(tmp_path):
    made = lipsum_ft.make("table_8", lengths(tmp_path), tmp_path)
    assert block(made, "Ours").setting.tolist() == ["", "L=8, M=20", "L=8, M=80"]
    assert "n = 4 runs" in made.caption and "clipft train" not in made.caption


def test_figure_12_draws_our_lengths_too(tmp_path):
    table = lengths(tmp_path)
    figure = lipsum_ft.make("figure_12", table, tmp_path).figure
    (trace,) = [t for t in figure.data if t.name == "mean shift" and t.xaxis == "x2"]
    shift = table[(table.metric == "accuracy") & (table.role == "shift")]
    moved = shift.groupby(["lr", "alpha"])["mean"].mean()
    want = [100 * (moved[lr, 1.0] - moved[lr, 0.0]) for lr in (1e-5, 1e-4)]
    assert list(trace.x) == [20, 80] and list(trace.y) == pytest.approx(want)
    (trace,) = [t for t in figure.data if t.name == "mean shift" and t.xaxis == "x"]
    assert list(trace.x) == [8] and list(trace.y) == pytest.approx(want[1:])
    (trace,) = [t for t in figure.data if t.name == "reference, published" and t.xaxis == "x"]
    assert list(trace.x) == [1, 2, 4, 8, 8, 16, 32]


@pytest.mark.parametrize(("key", "item"), [("model", "table_5"), ("reference", "table_10")])
def test_kinds_have_a_block_each_and_are_never_mixed(key, item, tmp_path):
    changes = {key: "other", "run": TABLE.run + "x", "recipe": TABLE.recipe + "x"}
    if key == "model":
        changes["model_digest"] = "other"
    other = TABLE.assign(**changes)
    both = pd.concat([TABLE, other])
    made = lipsum_ft.make(item, both, tmp_path)
    assert len([title for title in made.rows if title.startswith("Ours")]) == 2
    assert "clipft train" not in made.caption
    for name in ("table_1", "figure_4", "figure_2"):
        with pytest.raises(ConfigError, match=f"several kinds of {key}"):
            lipsum_ft.make(name, both, tmp_path)


def test_hollow_points_are_differences_of_the_files(paper):
    def of(table, method, split, reference, variant=""):
        where = {"table": table, "method": method, "split": split, "reference": reference}
        where |= {"variant": variant, "model": "ViT-B-16"}
        (row,) = [row for row in paper if where.items() <= row.items()]
        return 100 * float(row["mean"])

    shifts = ["painting", "clipart", "infograph", "sketch"]
    points = beside.hollow(beside.paper_points("6", "domainnet"))
    row = points[(points.method == "TPGM-C") & (points.variant == "mu=0.5")].iloc[0]
    start = {split: of("4", "Zero-shot", split, "real") for split in ["real", *shifts]}
    assert row.x == pytest.approx(of("6", "TPGM-C", "real", "real", "mu=0.5") - start["real"])
    want = np.mean([of("6", "TPGM-C", split, "real", "mu=0.5") - start[split] for split in shifts])
    assert row.y == pytest.approx(want)
    points = beside.hollow(beside.paper_points("10", "domainnet"))
    row = points[(points.method == "EMA") & (points.domain == "sketch")].iloc[0]
    assert row.x == pytest.approx(of("10", "EMA", "sketch", "sketch") - start["sketch"])


def test_figure_6_joins_the_alphas_of_a_method(tmp_path):
    figure = lipsum_ft.make("figure_6", TABLE, tmp_path).figure
    (trace,) = [t for t in figure.data if t.name == "FT + WiSE"]
    ft = TABLE[(TABLE.method == "ft") & (TABLE.metric == "accuracy")]
    mean = ft.groupby(["role", "alpha"])["mean"].mean()
    for values, role in ((trace.x, "reference"), (trace.y, "shift")):
        want = [100 * (mean[role, alpha] - mean[role, 0.0]) for alpha in ALPHAS]
        assert list(values) == pytest.approx(want)
    hollow = {t.name for t in figure.data if "open" in t.marker.symbol}
    assert {"FT + WiSE, published", "Lipsum-FT + TPGM-C, published"} <= hollow


def test_figure_5_gives_each_method_a_row(tmp_path):
    figure = lipsum_ft.make("figure_5", TABLE, tmp_path).figure
    titles = [note.text for note in figure.layout.annotations]
    assert titles == ["FT: zero-shot", "FT: tuned", "Lipsum-FT: zero-shot", "Lipsum-FT: tuned"]
    one = energy_map_figure(maps.energy_map("any"))
    traces = sorted(one.data, key=lambda t: t.xaxis)
    assert [list(t.x) for t in figure.data] == 2 * [list(t.x) for t in traces]
    assert [t.name for t in figure.data if t.showlegend] == ["real", "art"]


def test_without_soups_the_figure_says_what_makes_them(tmp_path):
    made = lipsum_ft.make("figure_7", TABLE[TABLE.method != "ft+greedy_soup"], tmp_path)
    assert "clipft combine greedy_soup" in made.caption
    assert "no soup" in made.figure.layout.annotations[0].text


def test_on_the_papers_own_data_every_shift_has_its_points(tmp_path):
    mine = fake().assign(manifest="domainnet")
    mine = mine[mine.split != "art/test"]
    for table, count in ((mine, 2), (fake(), 1)):
        figure = lipsum_ft.make("figure_2", table, tmp_path).figure
        assert len([t for t in figure.data if t.name == "FT, published"]) == count


def test_the_batch_runs_every_item():
    spec = yaml.safe_load((Path(__file__).parents[2] / "papermill_runs/lipsum_ft.yaml").read_text())
    assert [items for (items,) in spec["stages"][0]["grid"][0]["items"]] == list(lipsum_ft.ITEMS)
