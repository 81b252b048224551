"""Zero-shot models are scored without a run, and are baselines of effective robustness."""

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET

import clipft
from clipft.errors import ClipftError
from clipft.metrics.correlation import expected_shift
from clipft.papers import curves
from clipft.papers.item import Ours
from clipft.runs.model_names import named


@pytest.fixture
def models(at_home, tmp_path):
    """Two models of one architecture: the runs' zero-shot one, and a tuned one as its export."""
    clipft.export(at_home.scored[0], tmp_path / "tuned", reading=QUIET)
    return [f"{at_home.model}:{at_home.pretrained}", f"local-dir:{tmp_path}/tuned"]


def test_a_model_has_the_numbers_of_a_run_at_alpha_0(at_home, models):
    table = clipft.evaluate(models[0], at_home.manifest, reading=QUIET)
    run = at_home.scored[0].table()
    keys = ["split", "metric", "domain", "part", "role", "reference", "n"]
    both = table.merge(run[run.alpha == 0], on=keys, suffixes=("", "_run"), how="left")
    assert len(both) == len(table) and both["mean_run"].notna().all()
    for name in ("mean", "low", "high"):
        np.testing.assert_allclose(both[name], both[f"{name}_run"], atol=2e-4)
    assert set(run.metric) - set(table.metric) == {
        *("energy_gap", "feature_distortion", "feature_distortion_normalised")
    }
    assert table.model_digest.unique().tolist() == [run_digest(at_home)]
    assert not list(at_home.base.glob("runs/*zero*"))


def run_digest(world):
    return world.scored[0].made_of["model_digest"]


def test_another_reference_makes_other_shifts(at_home, models):
    table = clipft.evaluate(models[0], at_home.manifest, reference="sketch", reading=QUIET)
    assert set(table[table.role == "shift"].domain) == {"real", "clipart"}


def test_models_are_the_line_of_effective_robustness(at_home, models, tmp_path):
    results = clipft.results(at_home.runs)
    table = clipft.evaluate([*models, models[0]], at_home.manifest, reading=QUIET)
    assert table.run.unique().tolist() == models  # each once
    accuracies = table[(table.metric == "accuracy") & (table.part == "test")]
    reference = accuracies[accuracies.role == "reference"].set_index("run")["mean"]
    shift = accuracies[accuracies.role == "shift"].groupby("run")["mean"].mean()[reference.index]
    file = tmp_path / "baselines.csv"
    table.to_csv(file, index=False)
    for baselines in (table, file, str(file)):
        robust = clipft.effective(results, baselines)
        line = expected_shift(robust.reference_accuracy, shift, reference)
        np.testing.assert_allclose(robust.effective_robustness, robust.shift_accuracy - line)


def test_the_file_beside_the_runs_is_the_line_of_the_papers_figure(at_home, models, tmp_path):
    results = clipft.results(at_home.runs)
    table = clipft.evaluate(models, at_home.manifest, reading=QUIET)
    ours = Ours(results, tmp_path)
    assert curves.baselines(ours, results).empty
    table.to_csv(tmp_path / "baselines.csv", index=False)
    base = curves.baselines(ours, results)
    points = curves.our_curves(results)
    points = points[points.reference.between(0, 100, inclusive="neither")]  # else without logits
    drawn = curves.with_line(points, base)
    marks = drawn[drawn.mark == curves.BASELINE]
    assert marks.label.tolist() == models and drawn.expected.notna().all()


def test_digests_of_digits_stay_texts(at_home, models, tmp_path):
    table = clipft.evaluate(models[0], at_home.manifest, reading=QUIET)
    results = clipft.results(at_home.runs).assign(manifest_digest="000123456789")
    table.assign(manifest_digest="000123456789").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(ClipftError, match="a line needs two different ones"):
        clipft.effective(results, tmp_path / "b.csv")


def test_baselines_of_other_data_and_no_table_are_refused(at_home, models, tmp_path):
    results = clipft.results(at_home.runs)
    table = clipft.evaluate(models[0], at_home.manifest, reference="sketch", reading=QUIET)
    with pytest.raises(ClipftError, match="the baselines are of mini, reference sketch"):
        clipft.effective(results, table)
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ClipftError, match="has no column"):
        clipft.effective(results, tmp_path / "a.csv")
    for file in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(ClipftError, match="is no table of baselines"):
            clipft.effective(results, str(file))


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("ViT-B-16", ("ViT-B-16", "")),
        ("ViT-B-16:openai", ("ViT-B-16", "openai")),
        ("local-dir:a/b", ("local-dir:a/b", "")),
        ("local-dir:a/b:c.pt", ("local-dir:a/b", "c.pt")),
        ("hf-hub:owner/name", ("hf-hub:owner/name", "")),
    ],
)
def test_a_name_with_weights_is_taken_apart(text, want):
    assert named(text) == want


REFUSED = {
    "no model to evaluate": ([], {}),
    "unknown model": (["ViT-B-61:openai"], {}),
    "unknown checkpoint file or tag": (["ViT-B-16:opnai"], {}),
    "unknown data set": (["emoji-tiny"], {"manifest": "emoji_shfit"}),
    "unknown domain": (["emoji-tiny"], {"reference": "reel"}),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_be_evaluated_is_said_before_a_model_is_loaded(at_home, said, monkeypatch):
    models, changes = REFUSED[said]
    monkeypatch.setattr("clipft.evaluation.zero_shot.Bench", None)
    given = {"manifest": at_home.manifest} | changes
    with pytest.raises(ClipftError, match=said):
        clipft.evaluate(models, **given, reading=QUIET)
