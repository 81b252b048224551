"""Reports of finished runs against pandas on what the runs keep: images.parquet, scores,
weights.
"""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CLASSES, QUIET, Trained, World
from scipy import stats

from clipft import results, trade_off_figure, wise_slider_figure
from clipft.config import GAP_TEXTS
from clipft.diagnostics import large_map
from clipft.diagnostics.class_similarity import nearest_classes
from clipft.diagnostics.energy_map import energy_coordinates
from clipft.disk.cache import default_cache
from clipft.errors import ClipftError, ConfigError, MissingExtra
from clipft.figures.wise import wise_curve_figure
from clipft.reports import energy_gap as reports, energy_map as maps
from clipft.reports.class_similarity import class_similarity
from clipft.reports.energy_map import energy_map
from clipft.reports.weight_paths import layer_table, path_table
from clipft.runs.reading import (
    barrier_table,
    class_table,
    compare_runs,
    distortion_table,
    gzsl_table,
    reliability_of,
)
from clipft.runs.run import Run
from clipft.training.combine import combine

ALPHAS = (0.0, 0.5, 1.0)
SPLITS = ["real/val", "real/test", "sketch/test", "clipart/test"]
METHODS = ("ft", "lipsum", "flyp")


@pytest.fixture(scope="module")
def environment(tree, manifest_file, model_folder, tmp_path_factory):
    """The miniature world, once for all of this file."""
    with pytest.MonkeyPatch.context() as patch:
        base = tmp_path_factory.mktemp("reports")
        patch.setenv("CLIPFT_DATA", str(tree))
        patch.setenv("CLIPFT_CACHE", str(base / "cache"))
        patch.setattr(Trained, "gap_texts_count", GAP_TEXTS)
        yield World(manifest_file, model_folder, base / "runs")


@pytest.fixture(scope="module")
def finished(environment):
    """A scored run of each method by name; do not change them."""
    runs = {method: environment.train(method=method) for method in METHODS}
    for run in runs.values():
        run.score(ALPHAS)
    return runs


@pytest.fixture
def trained(environment, tmp_path):
    """A scored run that a test may change, alone in its folder."""
    run = environment.train(runs=tmp_path / "own", steps=6)
    run.score(ALPHAS)
    return run


@pytest.fixture(scope="module")
def ensemble(finished, environment):
    members = [environment.train(method="ft", seed=1)]
    run = Trained.of(combine("output_ensemble", members, reading=QUIET))
    run.score(ALPHAS)
    return run


def images(run, split, alpha):
    """The rows of images.parquet of one split and alpha."""
    table = pd.read_parquet(run.path / "images.parquet")
    return table[(table.split == split) & (table.alpha == alpha)].reset_index(drop=True)


def means(run, metric, alpha):
    """Split -> value of a metric, from the run's scores."""
    table = pd.read_parquet(run.path / "scores.parquet")
    return table[(table.metric == metric) & (table.alpha == alpha)].set_index("split")["mean"]


# --- energy gap


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_the_gap_table_is_the_metric_of_the_scores(finished, method, alpha):
    run = finished[method]
    table = reports.gap_table(run, alpha).set_index("split")
    assert list(table.index) == SPLITS
    want = means(run, "energy_gap", alpha)[SPLITS]
    np.testing.assert_allclose(table.energy_gap, want, rtol=1e-5)
    np.testing.assert_allclose(table.cosine_gap, want / run.clip.scale**2, rtol=1e-5)
    assert table.n.tolist() == [len(images(run, split, alpha)) for split in SPLITS]
    for split in SPLITS:
        rows = images(run, split, alpha).energy_gap
        assert table.image_error[split] == pytest.approx(rows.std() / len(rows) ** 0.5, rel=1e-4)


def test_the_error_over_texts_is_of_the_runs_texts(finished):
    run, split = finished["ft"], "sketch/test"
    now, before = (torch.tensor(run.features(split, a).embeddings) for a in (1.0, 0.0))
    change = now / now.norm(dim=1, keepdim=True) - before / before.norm(dim=1, keepdim=True)
    per_text = ((run.clip.scale * change @ run.gap_texts.T) ** 2).mean(0).double()
    assert len(per_text) == GAP_TEXTS
    found = reports.gap_table(run).set_index("split").text_error[split]
    assert found == pytest.approx(float(per_text.std() / GAP_TEXTS**0.5), rel=1e-4)


def test_zero_shot_has_no_gap_and_a_folder_is_a_run(finished):
    table = reports.gap_table(str(finished["ft"].path), 0.0)
    assert (table.energy_gap == 0).all() and (table.image_error == 0).all()
    pd.testing.assert_frame_equal(
        reports.gap_table(finished["ft"].folder), reports.gap_table(finished["ft"])
    )


# --- classes


@pytest.mark.parametrize("split", ["sketch/test", "real/val"])
def test_the_class_table_is_pandas_by_class(finished, split):
    run = finished["lipsum"]
    before, after = (images(run, split, alpha) for alpha in (0.0, 1.0))
    groups = after.groupby("label")
    table = class_table(run, split)
    assert table["class"].tolist() == [name.replace("_", " ") for name in CLASSES]
    assert table.n.tolist() == groups.size().tolist()
    zero = (before.prediction == before.label).groupby(before.label).mean()
    tuned = (after.prediction == after.label).groupby(after.label).mean()
    np.testing.assert_allclose(table.zero_shot, zero)
    np.testing.assert_allclose(table.accuracy, tuned)
    np.testing.assert_allclose(table.change, tuned - zero, atol=1e-12)
    np.testing.assert_allclose(table.energy_gap, groups.energy_gap.mean(), rtol=1e-5)


# --- feature distortion


def test_the_distortion_table_is_of_the_same_numbers_as_the_scores(finished):
    table = distortion_table([finished[name] for name in METHODS])
    assert len(table) == len(METHODS) * 2 * 2  # shifts, kinds
    columns = {"raw": "feature_distortion", "normalised": "feature_distortion_normalised"}
    for row in table.itertuples():
        run = finished[row.method]
        assert (row.run, row.seed) == (run.id, run.config.seed)
        means_of = means(run, columns[row.kind], 1.0)
        assert row.reference == pytest.approx(means_of["real/test"], rel=1e-5)
        assert row.shifted == pytest.approx(means_of[row.split], rel=1e-5)
        base, shift = (
            images(run, split, 1.0)[columns[row.kind]] for split in ("real/test", row.split)
        )
        interval = stats.ttest_ind(base, shift, equal_var=False).confidence_interval()
        assert (row.low, row.high) == pytest.approx(
            (interval.low, interval.high), rel=1e-4, abs=1e-6
        )
        assert row.verdict == ("holds" if row.low > 0 else "fails" if row.high < 0 else "open")


def test_zero_shot_is_not_distorted(finished):
    table = distortion_table([finished["ft"]], alpha=0.0)
    assert (table[["reference", "shifted", "difference", "low", "high"]] == 0).all(axis=None)
    assert set(table.verdict) == {"open"}


# --- maps


def test_an_energy_map_is_made_once(finished, monkeypatch):
    asked = {"per_split": 4, "perplexity": 3.0, "layout": "joint", "seed": 11}
    first = energy_map(finished["ft"], **asked)
    assert "energy maps" in {entry.kind for entry in default_cache().entries()}

    def no_more(*_, **__):
        raise AssertionError("made again")

    monkeypatch.setattr("sklearn.manifold.TSNE", no_more)
    again = energy_map(finished["ft"].folder, **asked)
    np.testing.assert_array_equal(first.before, again.before)
    np.testing.assert_array_equal(first.after, again.after)
    for other in (
        {"seed": 12},
        {"perplexity": 2.0},
        {"layout": "reused"},
        {"pca": False},
        {"per_split": 5},
    ):
        with pytest.raises(AssertionError, match="made again"):
            energy_map(finished["ft"], **asked | other)
    with pytest.raises(AssertionError, match="made again"):
        energy_map(finished["lipsum"], **asked)


def test_an_energy_map_is_of_the_first_test_images(finished, monkeypatch):
    run, seen = finished["lipsum"], []
    monkeypatch.setattr(
        maps, "energy_tsne", lambda *places, **_: seen.extend(places) or [p[:, :2] for p in places]
    )
    found = energy_map(run, alpha=0.5, per_split=3)
    tests = [split for split in SPLITS if split.endswith("/test")]
    assert found.split == tuple(split for split in tests for _ in range(3))
    assert found.ids == tuple(
        name for split in tests for name in run.bench.manifest.split(split).ids[:3]
    )
    assert found.label.tolist() == [
        label for split in tests for label in run.bench.manifest.split(split).labels[:3]
    ]
    for alpha, place, drawn in ((0.0, seen[0], found.before), (0.5, seen[1], found.after)):
        embedded = np.concatenate([run.features(split, alpha).embeddings[:3] for split in tests])
        want = energy_coordinates(torch.tensor(embedded), run.gap_texts, run.clip.scale)
        np.testing.assert_allclose(place, want, atol=1e-4)
        np.testing.assert_array_equal(drawn, place[:, :2])


def test_a_map_of_too_few_images_is_refused(finished):
    with pytest.raises(ConfigError, match="t-SNE of 12 points at perplexity 30"):
        energy_map(finished["ft"], per_split=2)


def test_all_images_are_drawn_for_the_asking(finished):
    run = finished["ft"]
    tests = [split for split in SPLITS if split.endswith("/test")]
    ids = [name for split in tests for name in run.bench.manifest.split(split).ids]
    found = energy_map(run, per_split=None, perplexity=3.0)
    assert list(found.ids) == ids and found.before.shape == (len(ids), 2)


def test_the_engine_is_chosen_by_the_number_of_points(finished, monkeypatch):
    """A joint map has two for each image; maps of scikit-learn keep the key that they had."""
    made = []

    def by(name):
        return lambda before, *_, **__: made.append(name) or (before[:, :2], before[:, :2])

    keys = []
    real = type(default_cache()).remember

    def remember(self, kind, title, key, make):
        keys.append(key)
        return real(self, kind, title, key, make)

    monkeypatch.setattr(type(default_cache()), "remember", remember)
    monkeypatch.setattr(maps, "energy_tsne", by("sklearn"))
    monkeypatch.setattr(maps, "large_tsne", by("opentsne"))
    monkeypatch.setattr(maps, "MANY", 3 * 2 * 7)
    asked = {"perplexity": 3.0, "layout": "joint"}
    energy_map(finished["ft"], per_split=7, seed=71, **asked)
    energy_map(finished["ft"], per_split=8, seed=71, **asked)
    energy_map(finished["ft"], per_split=8, seed=72, **asked | {"layout": "reused"})
    energy_map(finished["ft"], per_split=8, seed=73, engine="sklearn", **asked)
    energy_map(finished["ft"], per_split=2, seed=74, engine="opentsne", **asked)
    assert made == ["sklearn", "opentsne", "sklearn", "sklearn", "opentsne"]
    by_sklearn, by_opentsne = keys[:2]
    assert by_sklearn.keys() == {"of", "seed", *asked}
    assert by_opentsne.keys() == {"of", "seed", *asked, "engine"}


def test_the_digest_of_a_map_is_that_of_an_older_clipft():
    places = [np.random.default_rng(seed).normal(size=(3 * maps.ROWS + 5, 3)) for seed in (0, 1)]
    rounded = b"".join(np.round(coordinates, 4).tobytes() for coordinates in places)
    assert maps._digest(places) == hashlib.sha256(rounded).hexdigest()[:16]


def test_a_large_map_is_made_by_opentsne_and_kept(finished, monkeypatch, capsys):
    monkeypatch.setattr(maps, "SLOW", 10)
    asked = {"per_split": None, "perplexity": 3.0, "engine": "opentsne"}
    first = energy_map(finished["ft"], **asked)
    assert "t-SNE of " in (said := capsys.readouterr().out) and "by openTSNE" in said
    monkeypatch.setattr("openTSNE.TSNE", None)
    again = energy_map(finished["ft"], **asked)
    np.testing.assert_array_equal(first.before, again.before)
    np.testing.assert_array_equal(first.after, again.after)
    assert capsys.readouterr().out == ""


def test_a_missing_engine_is_said_before_anything_is_computed(finished, monkeypatch):
    monkeypatch.setattr(large_map, "find_spec", lambda _: None)
    monkeypatch.setattr(maps, "energy_coordinates", None)
    with pytest.raises(MissingExtra, match=r"clipft\[maps\]"):
        energy_map(finished["ft"], engine="opentsne")


# --- classes that are alike


@pytest.mark.parametrize("most", [1, 2, 5])
def test_classes_that_are_alike_are_numpys(finished, most):
    run = finished["ft"]
    head = run.bench.zero_shot.numpy().astype(float)
    columns = head / np.linalg.norm(head, axis=0)
    cosines = columns.T @ columns
    names = [name.replace("_", " ") for name in CLASSES]
    table = class_similarity(run, most)
    assert table["class"].tolist() == np.repeat(names, min(most, 3)).tolist()
    for label, name in enumerate(names):
        others = sorted(set(range(4)) - {label}, key=lambda other: -cosines[label, other])[:most]
        rows = table[table["class"] == name]
        assert rows.similar.tolist() == [names[other] for other in others]
        np.testing.assert_allclose(rows.cosine, cosines[label, others], rtol=1e-6)


def test_equally_near_classes_stay_in_their_order():
    head = torch.tensor([[1.0, 0.0, 3.0, 2.0], [0.0, 1.0, 0.0, 0.0]])
    nearest, cosines = nearest_classes(head, 2)
    assert nearest.tolist() == [[2, 3], [0, 2], [0, 3], [0, 2]]
    assert cosines.tolist() == [[1, 1], [0, 0], [1, 1], [1, 1]]
    assert nearest_classes(head[:, :1], 2)[0].shape == (1, 0)


# --- the path


def test_the_barrier_table_is_plain(finished):
    run = finished["flyp"]
    table = barrier_table(run, ALPHAS).set_index("split")
    assert list(table.index) == SPLITS
    for split in SPLITS:
        rows = [images(run, split, alpha) for alpha in ALPHAS]
        for name, (zero, half, one) in {
            "nll": [part.nll.mean() for part in rows],
            "error": [(part.prediction != part.label).mean() for part in rows],
        }.items():
            rise = half - (zero + one) / 2
            assert table[f"{name}_barrier"][split] == pytest.approx(max(0, rise), abs=1e-6)
            assert table[f"{name}_alpha"][split] == (
                0.5 if table[f"{name}_barrier"][split] > 0 else 0
            )


def test_a_barrier_needs_both_ends(finished):
    with pytest.raises(ConfigError, match="needs alpha 0 and 1"):
        barrier_table(finished["ft"], [0.0, 0.5])


def test_the_path_table_is_that_of_both_runs(trained):
    table = path_table(trained, ALPHAS)
    made = [folder for folder in trained.path.parent.iterdir() if folder != trained.path]
    assert len(made) == 1 and sorted(set(table.alpha)) == [*ALPHAS]
    for kind, run in (("wise", trained), ("ensemble", Run.open(made[0]))):
        for alpha, split in ((0.5, "sketch/test"), (1.0, "real/test")):
            (row,) = table[(table.alpha == alpha) & (table.split == split)].to_dict("records")
            rows = images(run, split, alpha)
            assert row[f"{kind}_accuracy"] == pytest.approx((rows.prediction == rows.label).mean())
            assert row[f"{kind}_nll"] == pytest.approx(rows.nll.mean(), rel=1e-5)
    ends = table[table.alpha.isin([0, 1])]
    np.testing.assert_allclose(ends.wise_nll, ends.ensemble_nll, rtol=1e-5)
    np.testing.assert_array_equal(ends.wise_accuracy, ends.ensemble_accuracy)
    np.testing.assert_allclose(ends.wise_distance, 0, atol=1e-6)
    assert (ends.wise_agreement == 1).all() and (table[table.alpha == 0.5].wise_distance > 0).all()
    pd.testing.assert_frame_equal(path_table(trained, ALPHAS), table)  # made once
    assert len([*trained.path.parent.glob("*/config.json")]) == 2


def test_the_path_table_has_only_what_was_asked(trained):
    """The run is scored at more alphas than the ensemble is: no row stands without one."""
    table = path_table(trained, [0.0, 1.0])
    assert sorted(set(table.alpha)) == [0.0, 1.0]
    assert not table.isna().any(axis=None)


def test_results_with_the_ensemble_of_a_path_are_drawn(trained):
    path_table(trained, [0.0, 1.0])
    table = results(trained.path.parent)
    assert set(table.method) == {"ft", "ft+output_ensemble"}
    for figure in (wise_slider_figure, trade_off_figure, wise_curve_figure):
        assert figure(table).data


# --- layers


@pytest.mark.parametrize("method", METHODS)
def test_layers_are_the_runs_weights(finished, method):
    run = finished[method]
    table = layer_table(run).set_index("layer")
    anchor, tuned = run.anchor, run.tuned
    whole = sum(float((tuned[name] - x).square().sum()) for name, x in anchor.items())
    assert float((table.distance**2).sum()) == pytest.approx(whole, rel=1e-5) and whole > 0
    (name,) = [name for name in anchor if name.endswith("visual.conv1.weight")]
    moved = (tuned[name] - anchor[name]).norm()
    assert table.distance["visual.conv1"] == pytest.approx(float(moved), rel=1e-5)
    assert table.relative["visual.conv1"] == pytest.approx(
        float(moved / anchor[name].norm()), rel=1e-5
    )


@pytest.mark.parametrize("method", ["lp", "flyp_image"])
def test_layers_that_do_not_train_stay(environment, method):
    table = layer_table(environment.train(method=method, steps=4))
    frozen = (
        table.layer.str.startswith("visual.")
        if method == "lp"
        else ~table.layer.str.startswith("visual.")
    )
    frozen &= table.layer != "logit_scale"
    frozen &= table.layer != "head"
    assert frozen.sum() >= 3 and (table.distance[frozen] == 0).all()
    assert (table.distance[~frozen] > 0).any()


# --- two runs


def test_two_runs_are_compared_image_by_image(finished):
    first, second = finished["ft"], finished["flyp"]
    table = compare_runs(first, second.path, 0.5)
    assert table.split.tolist() == SPLITS
    for row in table.itertuples():
        a, b = (
            part.prediction == part.label
            for part in (images(run, row.split, 0.5) for run in (first, second))
        )
        assert (row.n, row.first, row.second) == (
            len(a),
            pytest.approx(a.mean()),
            pytest.approx(b.mean()),
        )
        assert (row.only_first, row.only_second) == ((a & ~b).sum(), (b & ~a).sum())
        differ = int((a != b).sum())
        p = stats.binomtest(int((a & ~b).sum()), differ).pvalue if differ else 1.0
        assert row.p == pytest.approx(p) and row.difference == pytest.approx(b.mean() - a.mean())
        assert row.low <= row.difference <= row.high


def test_a_run_does_not_differ_from_itself(finished):
    table = compare_runs(finished["ft"], finished["ft"])
    assert (table.p == 1).all() and (
        table[["difference", "low", "high", "only_first", "only_second"]] == 0
    ).all(axis=None)


def test_runs_on_other_images_are_not_compared(finished, environment):
    other = environment.train(reference="sketch", steps=2)
    other.score([1.0])
    with pytest.raises(ConfigError, match="use one data set"):
        compare_runs(finished["ft"], other)


# --- unseen classes, calibration


def test_seen_and_unseen_classes_are_plain(finished):
    run = finished["ft"]
    table = gzsl_table(run, ["bee", "ice cream"]).set_index("split")
    assert list(table.index) == [split for split in SPLITS if split.endswith("/test")]
    for split, row in table.iterrows():
        rows = images(run, split, 1.0)
        right, new = rows.prediction == rows.label, rows.label.isin([1, 2])
        s, u = right[~new].mean(), right[new].mean()
        harmonic = 2 / (1 / s + 1 / u) if s and u else 0
        assert (row.seen, row.unseen, row.harmonic) == pytest.approx((s, u, harmonic))
        by_class = right.groupby(rows.label).mean()
        s, u = by_class[[0, 3]].mean(), by_class[[1, 2]].mean()
        harmonic = 2 / (1 / s + 1 / u) if s and u else 0
        named = (row.class_seen, row.class_unseen, row.class_harmonic)
        assert named == pytest.approx((s, u, harmonic))


def test_reliability_is_of_the_runs_images(finished):
    rows = images(finished["ft"], "sketch/test", 1.0)
    found = reliability_of(finished["ft"], "sketch/test", bins=4)
    assert found.count.sum() == len(rows) and len(found.count) == 4
    place = (rows.confidence * 4).astype(int).clip(upper=3)
    for bin_, part in rows.groupby(place):
        want = (len(part), part.confidence.mean(), (part.prediction == part.label).mean())
        assert (found.count[bin_], found.confidence[bin_], found.accuracy[bin_]) == pytest.approx(
            want, rel=1e-5
        )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda run: gzsl_table(run, ["be"]), "did you mean 'bee'"),
        (lambda run: gzsl_table(run, []), "no image of an unseen class"),
        (lambda run: class_table(run, "sketch/tset"), "did you mean 'sketch/test'"),
        (lambda run: reliability_of(run, "sketch/train"), "unknown reported split"),
        (lambda run: reports.gap_of(run, "sketsh/test"), "did you mean 'sketch'"),
        (lambda run: reports.gap_table(run.path / "nothing"), "no run at"),
        (lambda run: energy_map(run, layout="jiont", per_split=5, perplexity=3.0), "jiont"),
        (lambda run: class_similarity(run, most=0), "most is 0, expected 1 or more"),
        (lambda run: energy_map(run, engine="opentsen"), "did you mean 'opentsne'"),
        (lambda run: energy_map(run, per_split=0), "per_split is 0, expected 1 or more, or None"),
        (lambda run: reports.gap_table(run, 1.5), "0 .zero-shot. ... 1 .tuned."),
    ],
)
def test_a_mistake_is_one_line(finished, call, words):
    with pytest.raises(ClipftError, match=words) as raised:
        call(finished["ft"])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "call",
    [
        reports.gap_table,
        layer_table,
        energy_map,
        lambda run: distortion_table([run]),
        lambda run: path_table(run, [0.0, 1.0]),
    ],
)
def test_an_ensemble_has_no_features(ensemble, call):
    with pytest.raises(ClipftError, match="ensemble") as raised:
        call(ensemble)
    assert "\n" not in str(raised.value)


def test_an_ensemble_is_still_compared_by_its_predictions(ensemble, finished):
    assert len(class_similarity(ensemble, 1)) == len(CLASSES)
    assert class_table(ensemble, "sketch/test").accuracy.between(0, 1).all()
    assert len(barrier_table(ensemble, ALPHAS)) == len(SPLITS)
    assert len(compare_runs(ensemble, finished["ft"])) == len(SPLITS)
