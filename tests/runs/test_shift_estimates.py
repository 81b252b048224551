"""Estimates of runs under shift: no label of the shift is looked at."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from clipft import shift_estimates
from clipft.errors import ConfigError
from clipft.metrics import without_labels as formulas
from clipft.runs.run import Run
from clipft.runs.scores import Listed, Scores, as_store
from clipft.runs.shift_estimates import ESTIMATORS, agreements, estimator_of

ONE_MODEL = [name for name, each in ESTIMATORS.items() if "models" not in each.needs]
ACCURACIES = [name for name in ONE_MODEL if ESTIMATORS[name].estimates]


def drawn(split="real/val", n=120, seed=0, alpha=1.0, **changes) -> Scores:
    """What a model might say of n images of 4 classes."""
    random = np.random.default_rng(seed)
    label = random.integers(0, 4, n)
    confidence = random.uniform(0.25, 1, n)
    prediction = np.where(random.random(n) < confidence, label, (label + 1) % 4)
    scores = Scores(
        split,
        alpha,
        tuple(f"{split}/{number}" for number in range(n)),
        label,
        prediction,
        confidence,
        nll=-np.log(confidence),
        entropy=1 - confidence**2,
        logsumexp=confidence,
        energy_gap=random.gamma(2, 1, n),
    )
    return replace(scores, **changes)


def test_scores_without_labels_tell_no_accuracy():
    scores = drawn(group=np.array(["a"] * 120)).without_labels()
    assert scores.lacks_labels and scores.group is None and np.isnan(scores.nll).all()
    with pytest.raises(ConfigError, match="the images of real/val have no labels"):
        _ = scores.correct
    assert not drawn().lacks_labels


@pytest.mark.parametrize("name", ONE_MODEL)
def test_shuffled_labels_of_the_shift_change_nothing(name):
    val, shift, zero_shot = drawn(), drawn("art/test", 90, 1), drawn("art/test", 90, 2)
    shuffled = replace(shift, label=shift.label[::-1].copy(), nll=shift.nll[::-1].copy())
    estimator = estimator_of(name)
    found = [
        estimator.estimate(val, of_shift, zero_shot, moved=0.5, resamples=40)
        for of_shift in (shift, shuffled, shift.without_labels())
    ]
    assert np.isfinite(found[0].value) and not found[0].why
    assert found[0] == found[1] == found[2] or not estimator.estimates
    assert found[0].value == found[1].value == found[2].value
    assert np.isfinite([found[0].accuracy, found[0].low]).all() == estimator.estimates


@pytest.mark.parametrize("name", ["atc", "atc_entropy", "doc", "val_accuracy"])
def test_without_a_shift_they_are_exact(name):
    val = drawn()
    found = estimator_of(name).estimate(val, val.without_labels(), resamples=0)
    assert found.accuracy == pytest.approx(val.correct.mean())


def test_what_only_orders_by_hand():
    val, shift, zero_shot = drawn(), drawn("art/test", 90, 1), drawn("art/test", 90, 2)
    want = {
        "agreement": np.mean(shift.prediction == zero_shot.prediction),
        "energy_gap": -shift.energy_gap.mean(),
        "entropy": -shift.entropy.mean(),
        "val_gap": -val.energy_gap.mean(),
        "moved": -0.25,
    }
    found = {
        name: ESTIMATORS[name].estimate(val, shift, zero_shot, moved=0.25).value for name in want
    }
    assert found == pytest.approx(want)
    assert set(want) == {name for name, each in ESTIMATORS.items() if not each.estimates}


def test_what_is_in_the_way_is_said():
    val, shift = drawn(), drawn("art/test", 90, 1)
    old = replace(shift, entropy=None, energy_gap=None)
    for name, words in [
        ("atc_entropy", "older clipft"),
        ("entropy", "older clipft"),
        ("energy_gap", "no energy gap"),
        ("agreement", "zero-shot was not scored"),
        ("aline_s", "several models"),
    ]:
        found = ESTIMATORS[name].estimate(val, old)
        assert words in found.why and np.isnan(found.value)
    with pytest.raises(ConfigError, match="agrement"):
        estimator_of("agrement")
    with pytest.raises(ConfigError, match="other images"):
        ESTIMATORS["agreement"].estimate(val, shift, drawn("art/test", 80))


# --- of runs


def opened(scored) -> list[Run]:
    return [Run.open(run.folder) for run in scored.scored]


@pytest.fixture(scope="module")
def table(scored) -> pd.DataFrame:
    return shift_estimates(opened(scored), resamples=30)


def test_a_row_for_each_run_alpha_shift_and_estimator(table, scored):
    keys = ["run", "alpha", "split", "estimator"]
    assert not table.duplicated(keys).any()
    assert len(table) == 2 * 3 * 2 * len(ESTIMATORS)
    assert set(table.split) == {"sketch/test", "clipart/test"}
    assert table.estimator.tolist()[: len(ESTIMATORS)] == list(ESTIMATORS)
    run = opened(scored)[0]
    scores = run.scores(0.5)
    rows = table[(table.run == run.id) & (table.alpha == 0.5) & (table.split == "sketch/test")]
    rows = rows.set_index("estimator")
    assert (rows.accuracy == scores["sketch/test"].correct.mean()).all()
    assert rows.loc["val_accuracy", "estimate"] == scores["real/val"].correct.mean()
    assert rows.loc["mean_confidence", "estimate"] == pytest.approx(
        scores["sketch/test"].confidence.mean()
    )
    same = scores["sketch/test"].prediction == run.scores(0.0)["sketch/test"].prediction
    assert rows.loc["agreement", "value"] == same.mean()
    assert rows.loc["moved", "value"] == pytest.approx(-0.5 * 3e-3 * 6)


def test_intervals_hold_their_estimates(table):
    rows = table[table.estimator.isin(ACCURACIES)]
    assert ((rows.low <= rows.estimate) & (rows.estimate <= rows.high)).all()
    assert rows[["low", "high"]].stack().between(0, 1).all()
    assert table[table.estimator == "agreement"].estimate.isna().all()


def test_zero_shot_agrees_with_itself(table):
    rows = table[(table.alpha == 0) & (table.estimator == "agreement")]
    assert (rows.value == 1).all()


def test_agreements_are_means_over_splits(table):
    found = agreements(table).set_index(["run", "alpha"]).agreement
    rows = table[(table.estimator == "agreement") & (table.alpha == 1)]
    run = rows.run.iloc[0]
    assert found[run, 1.0] == pytest.approx(rows[rows.run == run].value.mean())
    of_one = agreements(table, ["sketch/test"]).set_index(["run", "alpha"]).agreement
    wanted = rows[(rows.run == run) & (rows["split"] == "sketch/test")].value
    assert of_one[run, 1.0] == wanted.item()
    # A made shift is not mixed into the mean, but may be asked for.
    made = rows.assign(split="made_fog_3/test", value=0.0)
    both = pd.concat([table, made], ignore_index=True)
    pd.testing.assert_frame_equal(agreements(both), agreements(table))
    assert (agreements(both, ["made_fog_3/test"]).agreement == 0).all()
    with pytest.raises(ConfigError, match="no agreement with zero-shot"):
        agreements(table, ["photo/test"])


def test_images_beside_and_chosen_alphas_and_estimators(scored):
    run = opened(scored)[0]
    more = [drawn("mine/test", 50, int(10 * alpha), alpha=alpha) for alpha in (0.0, 1.0)]
    beside = Listed([replace(scores, ids=more[0].ids).without_labels() for scores in more])
    found = shift_estimates(
        run, [1], estimators=["doc", "agreement"], beside={run.id: beside}, resamples=0
    )
    assert set(found.split) == {"sketch/test", "clipart/test", "mine/test"}
    mine = found[found.split == "mine/test"].set_index("estimator")
    assert mine.accuracy.isna().all() and (mine.n == 50).all()
    agreement = np.mean(more[0].prediction == more[1].prediction)
    assert mine.loc["agreement", "value"] == agreement
    assert mine.loc["doc"].isna()[["low", "high"]].all()


def test_agreement_on_the_line_needs_five_models(scored):
    """Two runs at two alphas and zero-shot are five; one run is three."""
    of_one = shift_estimates(opened(scored)[0], estimators=["aline_s"], resamples=0)
    assert of_one.why.str.contains("of 3 models; wanted: at least 5").all()
    of_two = shift_estimates(opened(scored), estimators=["aline_s"], resamples=0, refuse=False)
    assert not of_two.why.str.contains("of 5 models").any()
    # Zero-shot is the same model in both runs.
    zero = of_two[of_two.alpha == 0].groupby("split").value
    assert (zero.nunique(dropna=False) == 1).all()


def test_agreement_on_the_line_is_refused_by_labels_of_other_shifts(scored, monkeypatch):
    """Where accuracy falls under one shift as it rises on val, the other's estimate is refused."""
    runs = opened(scored)
    told = []

    def line(found, accuracy_r):
        told.append(accuracy_r)
        raise ConfigError("refused")

    monkeypatch.setattr(formulas, "agreement_line", line)
    table = shift_estimates(runs, estimators=["aline_s", "val_accuracy"], resamples=0)
    assert (table[table.estimator == "aline_s"].why == "refused").all()
    models = table[table.estimator == "val_accuracy"]
    is_again = (models.alpha == 0) & (models.run != models.run.iloc[0])
    want = []
    for split in dict.fromkeys(models.split):
        others = models[~is_again & (models.split != split)]
        want.append(formulas.line_of_accuracies(others.val_accuracy, others.accuracy))
    np.testing.assert_allclose(told, want)


@pytest.mark.parametrize(
    ("given", "words"),
    [({"alphas": [0.37]}, "nothing to estimate"), ({"estimators": ["atk"]}, "atc")],
)
def test_nothing_to_estimate_is_one_line(scored, given, words):
    with pytest.raises(ConfigError, match=words):
        shift_estimates(opened(scored)[0], **given)


def test_no_val_is_one_line(scored, monkeypatch):
    run = opened(scored)[0]
    store = as_store([drawn("art/test")])
    monkeypatch.setattr(type(run.folder), "image_scores", lambda _self: store)
    with pytest.raises(ConfigError, match=r"no scores on real/val.*holdout"):
        shift_estimates(run)
