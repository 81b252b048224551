"""The documents beside notebooks and batches: they name what there is, and their examples hold."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from clipft.batch.spec import Spec, plan, read_spec
from clipft.data.manifests import available
from clipft.metrics.comparison import paired_difference
from clipft.runs.claims import ahead_along_curves, claims, mixtures_above_rates

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "notebooks/README.md").read_text(encoding="utf-8")
BATCHES = (ROOT / "papermill_runs/README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted(file.stem for file in (ROOT / "notebooks").glob("*.ipynb"))


def test_the_tour_has_a_row_a_part_and_a_picture_of_every_notebook():
    assert re.findall(r"^\| \[(.*?)\]\(#\1\)", TOUR, re.MULTILINE) == NOTEBOOKS
    assert re.findall(r"^## (.*)$", TOUR, re.MULTILINE) == ["Explorers", *NOTEBOOKS]
    pictures = re.findall(r"!\[.+?\]\((.*?)\)", TOUR)
    wanted = [f"../.github/pictures/{name}.png" for name in ("workspace", *NOTEBOOKS)]
    assert pictures == wanted


@pytest.mark.parametrize("name", [*NOTEBOOKS, "workspace", "wise_explorer", "energy_gap"])
def test_every_picture_is_there_and_small(name):
    picture = ROOT / f".github/pictures/{name}.png"
    assert 5_000 < picture.stat().st_size < 150_000


def test_every_batch_is_named():
    rows = re.findall(r"^\| `(.*?\.yaml)` \|", BATCHES, re.MULTILINE)
    assert sorted(rows) == sorted(file.name for file in (ROOT / "papermill_runs").glob("*.yaml"))


def test_the_example_of_a_spec_is_one():
    (example,) = re.findall(r"```yaml\n(.*?)```", BATCHES, re.DOTALL)
    spec = Spec.read(yaml.safe_load(example))
    stages = plan(spec, ROOT / "papermill_runs", ROOT / "papermill_runs/out/rates")
    assert [len(jobs) for jobs in stages] == [8, 1]


def test_what_is_said_of_the_table_is_in_the_table():
    """Accuracies that the reading names by method, against that method's row."""
    rows = {}
    for line in BATCHES.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 12 and "±" in line:
            rows[cells[0]] = [cell.split()[0] for cell in cells]
    reference, shift = 2, 6
    assert len(rows) > 25
    # what came later is read apart
    of_papers = [*rows.values()][: [*rows].index("FT, average=beta")]
    assert rows["L2-SP"][shift] == max((row[shift] for row in of_papers), key=float) == "38.9"
    for name, said in {
        "LP-FT": "8.7",
        "FLYP": "18.3",
        "MSE, context": "28.7",
        "KD": "31.1",
    }.items():
        assert rows[name][shift] == said and said in BATCHES.split("<!-- end -->")[1]
    for name in ("Lipsum-FT + TPGM-C", "FT + TPGM-C"):
        assert f"{name} has {rows[name][reference]} / {rows[name][shift]}" in BATCHES or (
            f"{name} {rows[name][reference]} / {rows[name][shift]}" in BATCHES
        )
    gained = [float(row[reference]) > 64.1 for row in rows.values()]
    lost = [float(row[shift]) < 55.2 for row in rows.values()]
    assert all(gained) and all(lost)  # "every row but the first gained ... every one lost"


INTERVAL = re.compile(r"[+-]\d+\.\d points \[-?\d+\.\d, -?\d+\.\d\]")


def test_what_is_said_of_the_records_is_in_the_records():
    """Every difference with an interval that the reading of notebook 09 names."""
    names = dict.fromkeys(["run", "recipe", "family", "manifest_digest", "model_digest"], str)
    records = pd.read_csv(ROOT / "papermill_runs/records/when_papers_hold.csv.gz", dtype=names)
    found = set()
    for _, runs in records[records.steps == 120].groupby("model"):
        evidence = [each for claim in claims(runs) for each in claim.evidence]
        for method in set(runs.method) - {"ft"}:
            evidence += ahead_along_curves(runs, method, "ft")
        evidence += mixtures_above_rates(runs)
        found.update(INTERVAL.findall(" ".join(map(str, evidence))))
    found.update(_against_ft(records))
    section = BATCHES.split("## Why EmojiShift disagrees")[1].split("\n## ")[0]
    said = INTERVAL.findall(" ".join(section.split()))
    assert len(said) > 10
    assert set(said) <= found


def _against_ft(records):
    """The differences of every other recipe to FT at the same model, rate and steps, by seed."""
    alike = ["model", "lr", "steps", "seed"]
    tuned = records[(records.alpha == 1) & (records.metric == "accuracy")]
    by_run = tuned.pivot_table(index=["recipe", "method", *alike], columns="role", values="mean")
    by_run = by_run.reset_index()
    plain = by_run[by_run.method == "ft"]
    for _, runs in by_run[by_run.method != "ft"].groupby(["recipe", "model"]):
        both = runs.merge(plain, on=alike, suffixes=("", "_ft"))
        for role in ("reference", "shift"):
            if len(both) > 1:
                difference = paired_difference(both[f"{role}_ft"], both[role]).points
                yield difference.partition(", n =")[0]


def test_the_linear_probe_is_of_every_data_set():
    """All that come with clipft, but for those on which nothing is reported."""
    folder = ROOT / "papermill_runs"
    (jobs,) = plan(read_spec(folder / "linear_probe.yaml"), folder, folder / "out/linear_probe")
    assert {job.parameters["method"] for job in jobs} == {"lp"}
    manifests = [job.parameters["manifest"] for job in jobs]
    assert sorted(manifests) == sorted(
        {*available()} - {"emoji_start", "emoji_pretrain", "emoji_made"}
    )
    for job in jobs:
        built_in = job.parameters["manifest"] == "emoji_shift"
        assert job.parameters["model"] == ("emoji-tiny" if built_in else "ViT-B-16")
