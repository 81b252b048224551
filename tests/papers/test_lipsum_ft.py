"""The paper's items against pandas on our tidy rows and against the CSV of the paper's numbers."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from test_table import fake

from clipft.data import manifests
from clipft.diagnostics.energy_map import EnergyMap
from clipft.errors import ConfigError
from clipft.papers.lipsum_ft import ITEMS, PAPER
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
METHODS += ["kld_random", "ft+tpgm", "ft+tpgm_c", "lipsum+tpgm_c", "ft+greedy_soup"]
TYPED = yaml.safe_load((Path(__file__).parent / "lipsum_ft_items.yaml").read_text())
TABLE = fake(recipes=[(name, 1e-4) for name in METHODS])
MOVED = TABLE[TABLE.metric == "nll"].assign(metric="feature_distortion")
TABLE = pd.concat([TABLE, MOVED], ignore_index=True)
WITHOUT_RUNS = {
    "table_5": "model=",
    "table_8": "text_count=",
    "table_10": "reference=",
    "table_11": "cub_gzsl.yaml",
}
WITHOUT_RUNS |= {"figure_2": "method=ft lr=", "figure_9": "model=", "figure_12": "model="}
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

    before, after = np.random.default_rng(0).normal(size=(2, 5, 2))
    splits = ("real/test",) * 3 + ("art/test",) * 2
    places = EnergyMap(splits, tuple("abcde"), np.arange(5), before, after)
    monkeypatch.setattr(maps, "energy_map", lambda run: places)


def block(made, start):
    """The one block of a table whose title starts so."""
    (frame,) = [frame for title, frame in made.rows.items() if title.startswith(start)]
    return frame


def test_every_item_of_the_paper_is_there():
    want = [f"table_{n}" for n in range(1, 12)] + [f"figure_{n}" for n in range(1, 17)]
    assert list(ITEMS) == want
    assert PAPER.file_name("table_1") == "lipsum_ft_table_01"
    assert PAPER.file_name("figure_12") == "lipsum_ft_figure_12"


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_is_a_figure_with_a_caption(name, tmp_path):
    made = PAPER.make(name, TABLE, tmp_path)
    text = made.figure.to_json()
    # Without a data set at hand there are no images to show.
    assert json.loads(text)["data"] or name == "figure_16"
    assert "NaN" not in text
    assert made.caption.endswith((".", "!"))
    # A drawing has no runs.
    assert ("n = " in made.caption and "seeds" in made.caption) or name == "figure_1"
    beside = "Lipsum-FT's table" in made.caption or "no numbers of the paper" in made.caption
    assert beside == ITEMS[name].has_numbers
    if name in WITHOUT_RUNS:
        assert WITHOUT_RUNS[name] in made.caption


@pytest.mark.parametrize("name", ["table_5", "table_8", "table_10", "table_11"])
def test_an_item_without_runs_of_ours_says_so(name, tmp_path):
    made = PAPER.make(name, TABLE, tmp_path)
    assert "n = 0 runs" in made.caption
    assert not [title for title in made.rows if title.startswith("Ours")]


def test_an_unknown_item_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"unknown item 'tabel_1'; did you mean 'table_1'"):
        PAPER.make("tabel_1", TABLE, "")


def test_our_rows_are_pandas_means(tmp_path):
    frame = block(PAPER.make("table_1", TABLE, tmp_path), "Ours").set_index("method")
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
    made = PAPER.make("table_2", TABLE, tmp_path)
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
    made = PAPER.make(f"table_{number}", TABLE, tmp_path)
    theirs = {title: frame for title, frame in made.rows.items() if title.startswith("Paper")}
    theirs = {title: frame for title, frame in theirs.items() if "difference" not in title}
    seen = set()
    wanted = [row for row in paper if row["table"] == str(number)]
    for row in wanted:
        unit, factor, digits = UNITS[row["metric"]]
        kind = f"{row['benchmark']}, {row['model']}, reference {row['reference']}"
        title = f"Paper, table {number}: {kind}: {unit}"
        frame = theirs[title]
        rows = frame[frame.method == PUBLISHED.get(row["method"], row["method"])]
        if "setting" in frame:
            inferred = " (inferred)" if row["variant"].startswith("alpha") else ""
            rows = rows[rows.setting == row["variant"].replace(";", ", ") + inferred]
        want = f"{factor * float(row['mean']):.{digits}f}"
        want += f" ± {factor * float(row['std']):.{digits}f}" if row["std"] else ""
        # one row, but for table 8's default, which stands there twice
        assert want in list(rows[row["split"]])
        seen.add(title)
    assert seen == theirs.keys()
    count = 0
    for frame in theirs.values():
        others = {"source", "method", "setting", "mean shift", "mean of all"}
        count += len(frame) * len(frame.columns.difference(others))
    assert count == len(wanted)


def test_table_3_has_four_rows_and_their_differences(tmp_path):
    made = PAPER.make("table_3", TABLE, tmp_path)
    theirs = block(made, "Paper, table 3")
    assert [name.removesuffix(" (likely)") for name in theirs.method] == TYPED["table_3"]["rows"]
    # Read off the paper's page: first row plain, then the difference to it.
    assert theirs.painting.tolist() == ["64.4", "65.7 (+1.3)", "66.0 (+1.6)", "66.3 (+1.9)"]
    ours = block(made, "Ours")
    assert ours.method.tolist() == TYPED["table_3"]["rows"]
    at = TABLE[(TABLE.alpha == 1) & (TABLE.metric == "accuracy") & (TABLE.split == "art/test")]
    means = 100 * at.groupby("method")["mean"].mean()
    want = f"{means.lipsum:.1f} ({means.lipsum - means.car:+.1f})"
    assert ours.art.iloc[-1] == want and "(" not in ours.art.iloc[0]


def test_table_9_has_differences_on_imagenet_and_then_deviations(tmp_path):
    made = PAPER.make("table_9", TABLE, tmp_path)
    theirs = [title for title in made.rows if title.startswith("Paper")]
    assert len(theirs) == TYPED["table_9"]["blocks"]
    assert "imagenet" in theirs[0] and "difference" in theirs[0]
    assert "±" in made.rows[theirs[1]].to_string() and "±" in made.rows[theirs[2]].to_string()


def test_table_10_averages_all_domains_and_table_4_the_shifts(paper, tmp_path):
    made = PAPER.make("table_10", TABLE, tmp_path)
    frame = block(made, "Paper, table 10: domainnet, ViT-B-16, reference sketch")
    rows = [row for row in paper if row["table"] == "10" and row["reference"] == "sketch"]
    values = [100 * float(row["mean"]) for row in rows if row["method"] == "FT"]
    assert len(values) == 5
    assert frame.set_index("method").loc["FT", "mean of all"] == f"{np.mean(values):.1f}"
    four = block(PAPER.make("table_4", TABLE, tmp_path), "Paper, table 4: domainnet, ViT-B-16")
    # The paper's own averages of the four shifts, which it took before rounding.
    means = four.set_index("method")["mean shift"].astype(float)
    assert means["FT"] == pytest.approx(54.7, abs=0.11)
    assert means["LP-FT"] == pytest.approx(46.0, abs=0.11)


def test_table_6_has_every_alpha_and_names_mu(tmp_path):
    run = TABLE[TABLE.method == "lipsum+tpgm_c"].run.iloc[0]
    for one in TABLE[TABLE.method == "lipsum+tpgm_c"].run.unique():
        (tmp_path / one).mkdir()
        config = {"after": {"name": "tpgm_c", "options": {"mu": 0.5}}}
        (tmp_path / one / "config.json").write_text(json.dumps(config))
    frame = block(PAPER.make("table_6", TABLE, tmp_path), "Ours")
    settings = frame.groupby("method").setting.apply(list)
    assert settings["FT + WiSE"] == settings["Lipsum-FT + WiSE"] == ["alpha=1.0", "alpha=0.5"]
    theirs = block(PAPER.make("table_6", TABLE, tmp_path), "Paper")
    wise = theirs[theirs.method == "WiSE"].setting
    assert wise.tolist() == [
        f"alpha={alpha} (inferred)" for alpha in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
    ]
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
    made = PAPER.make("table_8", lengths(tmp_path), tmp_path)
    assert block(made, "Ours").setting.tolist() == ["", "L=8, M=20", "L=8, M=80"]
    assert "n = 4 runs" in made.caption and "clipft train" not in made.caption


@pytest.mark.parametrize(("key", "item"), [("model", "table_5"), ("reference", "table_10")])
def test_kinds_have_a_block_each_and_are_never_mixed(key, item, tmp_path):
    changes = {key: "other", "run": TABLE.run + "x", "recipe": TABLE.recipe + "x"}
    if key == "model":
        changes["model_digest"] = "other"
    other = TABLE.assign(**changes)
    both = pd.concat([TABLE, other])
    made = PAPER.make(item, both, tmp_path)
    assert len([title for title in made.rows if title.startswith("Ours")]) == 2
    assert "clipft train" not in made.caption
    for name in ("table_1", "figure_4", "figure_2"):
        with pytest.raises(ConfigError, match=f"several kinds of {key}"):
            PAPER.make(name, both, tmp_path)


@pytest.mark.parametrize("name", [name for name in TYPED if name.startswith("table")])
def test_the_papers_side_of_a_table_is_as_typed(name, tmp_path):
    """Rows, splits and blocks, and what table 8 varies, of what was typed before the drawing."""
    typed = TYPED[name]
    made = PAPER.make(name, TABLE, tmp_path)
    blocks = [frame for title, frame in made.rows.items() if title.startswith("Paper")]
    splits = set()
    for frame in blocks:
        others = ["source", "method", "setting", "mean shift", "mean of all"]
        splits |= set(frame.columns.difference(others))
        methods = [method.removesuffix(" (likely)").split(" (")[0] for method in frame.method]
        if "rows" in typed:
            assert set(methods) == set(typed["rows"])
        if "lengths" in typed:
            found = frame.setting.str.extract(r"L=(\d+), M=(\d+)").astype(int)
            assert set(found[0]) == set(typed["lengths"])
            assert set(found[1]) == set(typed["counts"])
        if "mu" in typed:
            mu = frame.setting.str.extract(r"mu=([\d.]+)")[0].dropna().astype(float)
            assert set(mu) == set(typed["mu"])
    assert len(blocks) == typed.get("blocks", 1)
    if "columns" in typed:
        # The paper's letters; ours are seen, unseen and harmonic.
        assert {split[0].upper() for split in splits} == set(typed["columns"])
    else:
        assert len(splits) == typed["splits"]


@pytest.mark.parametrize("name", [name for name in TYPED if TYPED[name].get("names")])
def test_the_methods_of_a_figure_are_as_typed(name):
    titles = {title_of(method) for method in ITEMS[name].methods}
    names = set(TYPED[name]["names"])
    # WiSE is no method of a run: it is drawn from runs of what is mixed.
    mixed = {each for each in names if each.endswith("+ WiSE")}
    assert names - mixed <= titles
    assert {each.removesuffix(" + WiSE") for each in mixed} <= titles
    if name not in ("figure_5", "figure_14"):  # their runs of TPGM stand in tables 6 and 7 alone
        assert titles == names - mixed


# --- figures


def drawn(figure, **where):
    """The traces of a figure with these values."""
    return [t for t in figure.data if all(getattr(t, key) == want for key, want in where.items())]


@pytest.mark.parametrize(
    "name", [name for name in TYPED if "x" in TYPED[name] or "y" in TYPED[name]]
)
def test_axes_are_the_papers(name, tmp_path):
    typed = TYPED[name]
    figure = PAPER.make(name, TABLE, tmp_path).figure
    titles = [
        [axis.title.text or "" for axis in axes]
        for axes in (figure.select_xaxes(), figure.select_yaxes())
    ]
    if "x" in typed:
        assert any(typed["x"].removeprefix("shift ") in title for title in titles[0])
    assert any(typed["y"] in title for title in titles[1])
    if "star" in typed:
        assert {t.marker.symbol for t in figure.data if (t.name or "").startswith("Zero-shot")} == {
            "star",
            "star-open",
        }


@pytest.mark.parametrize("name", ["figure_2", "figure_5", "figure_7", "figure_14"])
def test_every_published_point_is_a_row_of_the_file(name, paper, tmp_path):
    made = PAPER.make(name, TABLE, tmp_path)
    theirs = made.drawn[made.drawn.published.astype(bool)]
    benchmark = TYPED[name]["benchmark"]
    for point in theirs.itertuples():
        table = "4" if point.name == "Zero-shot" else point.table
        method = point.method.replace("L2-SP", "L2SP")
        rows = [row for row in paper if row["table"] == table and row["benchmark"] == benchmark]
        rows = [row for row in rows if row["model"] == "ViT-B-16" and row["metric"] == "accuracy"]
        rows = [row for row in rows if row["method"] == method and row["variant"] == point.variant]
        on = [100 * float(row["mean"]) for row in rows if row["split"] == row["reference"]]
        off = [100 * float(row["mean"]) for row in rows if row["split"] != row["reference"]]
        assert point.y == pytest.approx(on[0])
        assert point.x == pytest.approx(np.mean(off))
    assert set(theirs.name) >= {"Zero-shot", *(n for n in TYPED[name]["names"] if "+" in n)}


def test_figure_2_has_two_families_of_ft_alone(tmp_path):
    table = fake(recipes=[("ft", 1e-5), ("ft", 1e-4), ("ft", 1e-3), ("lipsum", 1e-4)])
    made = PAPER.make("figure_2", table, tmp_path)
    ours = made.drawn[~made.drawn.published.astype(bool)]
    assert set(ours.name) == {"Zero-shot", "FT, learning rate varied", "FT, steps varied"}
    rates = ours[ours.name == "FT, learning rate varied"]
    assert rates.lr.tolist() == [1e-5, 1e-4, 1e-3]
    accuracy = table[(table.metric == "accuracy") & (table.method == "ft") & (table.alpha == 1)]
    by_role = 100 * accuracy.groupby(["lr", "role"])["mean"].mean()
    assert rates.y.tolist() == pytest.approx([by_role[lr, "reference"] for lr in rates.lr])
    assert rates.x.tolist() == pytest.approx([by_role[lr, "shift"] for lr in rates.lr])
    assert "Lipsum-FT" not in {t.name for t in made.figure.data}


def test_figures_3_and_11_set_the_reference_beside_the_shifts(tmp_path):
    for name in ("figure_3", "figure_11"):
        figure = PAPER.make(name, TABLE, tmp_path).figure
        bars = [t for t in figure.data if t.type == "bar"]
        assert [t.name for t in bars] == sorted(
            TYPED[name]["names"], key=[t.name for t in bars].index
        )
        assert bars[0].x[0] == "real (reference)"
        (ft,) = [t for t in bars if t.name == "FT"]
        want = MOVED[(MOVED.method == "ft") & (MOVED.alpha == 1) & (MOVED.split == "real/test")]
        assert ft.y[0] == pytest.approx(want["mean"].mean())


def test_figure_4_has_a_point_of_wise_and_of_tpgm(tmp_path):
    made = PAPER.make("figure_4", TABLE, tmp_path)
    names = {t.name for t in made.figure.data}
    assert names >= set(TYPED["figure_4"]["names"])
    assert "MSE, context" not in names
    assert "alpha 0.5" in " ".join(made.drawn.run.unique())


def test_figure_5_joins_the_alphas_of_a_method(tmp_path):
    figure = PAPER.make("figure_5", TABLE, tmp_path).figure
    (trace,) = drawn(figure, name="FT + WiSE")
    ft = TABLE[(TABLE.method == "ft") & (TABLE.metric == "accuracy")]
    mean = 100 * ft.groupby(["role", "alpha"])["mean"].mean()
    for values, role in ((trace.y, "reference"), (trace.x, "shift")):
        assert list(values) == pytest.approx([mean[role, alpha] for alpha in (1.0, 0.5)])
    names = {t.name for t in figure.data}
    assert not {"FT + TPGM", "FT + TPGM, published"} & names
    assert {
        "FT + WiSE, published",
        "Lipsum-FT + TPGM-C, published",
        "Lipsum-FT, published",
    } <= names


def test_figure_15_has_one_map_for_each_method(tmp_path):
    figure = PAPER.make("figure_15", TABLE, tmp_path).figure
    titles = [note.text for note in figure.layout.annotations]
    assert titles == TYPED["figure_15"]["names"]


def test_without_soups_the_figure_says_what_makes_them(tmp_path):
    made = PAPER.make("figure_6", TABLE[TABLE.method != "ft+greedy_soup"], tmp_path)
    assert "clipft combine greedy_soup" in made.caption
    assert "no soup" in made.figure.layout.annotations[0].text
    with_one = PAPER.make("figure_6", TABLE, tmp_path)
    assert {"FT", "Lipsum-FT", title_of("ft+greedy_soup")} <= {t.name for t in with_one.figure.data}


def test_what_is_drawn_is_written_with_run_ids_seeds_and_the_command(tmp_path):
    for name in ("figure_2", "figure_4", "table_3"):
        PAPER.save_rows(PAPER.make(name, TABLE, tmp_path), tmp_path, name)
    points = pd.read_csv(tmp_path / "lipsum_ft_figure_02.csv")
    ours = points[~points.published & (points.name != "Zero-shot")]
    assert ours.runs.tolist() == 2 * ["ft-0.0001-0 ft-0.0001-1"] and set(ours.seeds) == {2}
    assert points.command.str.contains("clipft train method=ft").all()
    gaps = pd.read_csv(tmp_path / "lipsum_ft_figure_04.csv")
    assert {"run", "seed", "n", "mean", "low", "high", "command"} <= set(gaps.columns)
    assert pd.read_csv(tmp_path / "lipsum_ft_table_03.csv").block.nunique() == 2
    PAPER.save_rows(PAPER.make("table_3", TABLE, tmp_path), "", "table_3")


def test_the_batch_runs_every_item():
    spec = yaml.safe_load((Path(__file__).parents[2] / "papermill_runs/lipsum_ft.yaml").read_text())
    assert [items for (items,) in spec["stages"][0]["grid"][0]["items"]] == list(ITEMS)
