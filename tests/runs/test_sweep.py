"""Sweeps against pandas, scikit-learn and plain loops, and what stays of a run whose data set is
elsewhere.
"""

import base64
import io
import json
import shutil
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from conftest import CLASSES, SCORED, carried
from hypothesis import given, settings, strategies as st
from PIL import Image
from sklearn.calibration import calibration_curve

from clipft.data.images import TILE, decode
from clipft.errors import ClipftError, ConfigError, RunError
from clipft.runs.folder import THUMBNAILS as PACK
from clipft.runs.run import Run, read_sweep
from clipft.runs.scores import Scores, from_frame, to_frame
from clipft.runs.sweep import Sweep
from clipft.runs.thumbnails import Thumbnails, pack_thumbnails

SPLITS = ("real/val", "sketch/test", "real/test", "clipart/test")
ALPHAS = (0.0, 0.25, 0.6, 1.0)


def toy(seed=0, alphas=ALPHAS, splits=SPLITS, n=9, classes=4, gap=True):
    """Scores of one model at several alphas, half of them right."""
    rng, found = np.random.default_rng(seed), []
    labels = {split: rng.integers(0, classes, n) for split in splits}
    for alpha in alphas:
        for split in splits:
            drawn = rng.integers(0, classes, n)
            prediction = np.where(rng.random(n) < 0.5, labels[split], drawn)
            ids = tuple(f"{split}/{number}.png" for number in range(n))
            more = {"energy_gap": alpha * rng.uniform(1, 9, n)} if gap else {}
            found.append(
                Scores(
                    split,
                    alpha,
                    ids,
                    labels[split],
                    prediction,
                    rng.random(n),
                    rng.random(n),
                    **more,
                )
            )
    return found


def toy_sweep(*args, **more):
    return Sweep.of(toy(*args, **more), "real", "toy", CLASSES)


def equal(one, other, leave=("folder", "about", "title", "classes")):
    for field in fields(Sweep):
        if field.name not in leave:
            assert np.array_equal(getattr(one, field.name), getattr(other, field.name)), field.name


SWEEPS = st.builds(
    toy,
    st.integers(0, 10**6),
    st.sets(st.integers(1, 99), max_size=4).map(
        lambda some: (0.0, *(one / 100 for one in sorted(some)), 1.0)
    ),
    st.sampled_from([SPLITS, SPLITS[1:], ("real/test",), ("art/test", "real/test")]),
    st.integers(1, 12),
    st.integers(1, 5),
)
QUICK = settings(deadline=None, max_examples=40)


@QUICK
@given(SWEEPS)
def test_accuracies_are_pandas_means(scores):
    sweep, frame = Sweep.of(scores, "real"), to_frame(scores)
    tests = frame[frame.split.str.endswith("/test")]
    want = (tests.prediction == tests.label).groupby([tests.alpha, tests.split]).mean().unstack()
    assert sweep.splits == ["real/test", *sorted(set(want.columns) - {"real/test"})]
    assert sweep.alphas.tolist() == want.index.tolist()
    np.testing.assert_allclose(sweep.accuracy, want[sweep.splits])
    shifts = want.drop(columns="real/test")
    if shifts.columns.empty:
        assert np.isnan(sweep.shift_accuracy).all()
    else:
        np.testing.assert_allclose(sweep.shift_accuracy, shifts.mean(axis=1))
    assert sorted(np.concatenate(list(sweep.rows.values())).tolist()) == [
        row for row, split in enumerate(sweep.split) if split.endswith("/test")
    ]


@QUICK
@given(SWEEPS, st.floats(0, 1))
def test_accuracy_between_scored_alphas_is_on_the_line(scores, alpha):
    sweep = Sweep.of(scores, "real")
    for place, scored_alpha in enumerate(sweep.alphas):
        assert np.array_equal(sweep.accuracy_at(scored_alpha), sweep.accuracy[place])
    above = next(place for place, one in enumerate(sweep.alphas) if one >= alpha)
    below = max(above - 1, 0)
    a, b = sweep.alphas[below], sweep.alphas[above]
    part = (alpha - a) / (b - a) if b > a else 0
    want = (1 - part) * sweep.accuracy[below] + part * sweep.accuracy[above]
    np.testing.assert_allclose(sweep.accuracy_at(alpha), want, atol=1e-12)


@QUICK
@given(SWEEPS, st.floats(0, 1), st.sampled_from([0.0, 1.0]))
def test_flips_are_those_of_a_plain_loop(scores, alpha, against):
    sweep = Sweep.of(scores, "real")
    near = min(sweep.alphas, key=lambda one: (abs(one - alpha), one))
    said = {
        (one.split, name): (int(p), int(label))
        for one in scores
        if one.alpha == near
        for name, p, label in zip(one.ids, one.prediction, one.label, strict=True)
    }
    then = {
        (one.split, name): int(p)
        for one in scores
        if one.alpha == against
        for name, p in zip(one.ids, one.prediction, strict=True)
    }
    want = {"all": set(), "gained": set(), "lost": set()}
    for key, (now, label) in said.items():
        if key[0].endswith("/val") or now == then[key]:
            continue
        want["all"].add(key)
        if now == label:
            want["gained"].add(key)
        if then[key] == label:
            want["lost"].add(key)
    found = sweep.flips(alpha, against)
    keys = {name: {(sweep.split[r], sweep.ids[r]) for r in rows} for name, rows in found.items()}
    assert keys == want
    change = len(found["gained"]) - len(found["lost"])
    images = np.array([len(rows) for rows in sweep.rows.values()])
    rise = images @ (sweep.accuracy[sweep.nearest(alpha)] - sweep.accuracy[sweep.nearest(against)])
    assert change == pytest.approx(rise)


@QUICK
@given(SWEEPS)
def test_nothing_flips_against_itself(scores):
    sweep = Sweep.of(scores, "real")
    for end in (0.0, 1.0):
        assert all(len(rows) == 0 for rows in sweep.flips(end, end).values())
    for kind, other in (("all", "all"), ("gained", "lost"), ("lost", "gained")):
        assert np.array_equal(sweep.flips(0.0, 1.0)[kind], sweep.flips(1.0, 0.0)[other])


@QUICK
@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([1, 5, 15]))
def test_reliability_is_that_of_scikit_learn(seed, n, bins):
    scores = toy(seed, n=n)
    sweep = Sweep.of(scores, "real")
    one = next(s for s in scores if s.split == "sketch/test" and s.alpha == 0.6)
    found = sweep.reliability("sketch/test", 0.62, bins)
    right = one.prediction == one.label
    accuracy, confidence = calibration_curve(right, one.confidence, n_bins=bins)
    full = found.count > 0
    np.testing.assert_allclose(found.accuracy[full], accuracy)
    np.testing.assert_allclose(found.confidence[full], confidence)
    assert found.count.sum() == n
    edges = np.linspace(0, 1, 16)
    want = 0.0
    for low, high in pairwise(edges):
        inside = (one.confidence >= low) & (one.confidence < high)
        if inside.any():
            want += inside.mean() * abs(right[inside].mean() - one.confidence[inside].mean())
    assert sweep.ece("sketch/test", 0.62) == pytest.approx(want)


@QUICK
@given(SWEEPS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(scores, random):
    frame = to_frame(scores)
    order = list(range(len(frame)))
    random.shuffle(order)
    one = Sweep.of(scores, reference="real")
    other = Sweep.of_frame(frame.iloc[order], reference="real")
    assert one.splits == other.splits
    assert np.array_equal(one.accuracy, other.accuracy)
    sort = [np.lexsort((sweep.ids, sweep.split)) for sweep in (one, other)]
    for name in ("split", "ids", "label"):
        assert np.array_equal(getattr(one, name)[sort[0]], getattr(other, name)[sort[1]])
    for name in ("prediction", "confidence", "energy_gap"):
        assert np.array_equal(getattr(one, name)[:, sort[0]], getattr(other, name)[:, sort[1]])


@QUICK
@given(st.integers(0, 10**6), st.data())
def test_images_that_are_not_there_at_every_alpha_are_left_out(seed, draw):
    frame = to_frame(toy(seed, n=5))
    gone = draw.draw(st.sets(st.integers(0, len(frame) - 1), max_size=12))
    left = frame.drop(index=list(gone))
    counts = left.groupby(["split", "id"]).alpha.count()
    whole = set(counts[counts == len(ALPHAS)].index)
    kept = [key in whole for key in zip(frame.split, frame.id, strict=True)]
    one, other = (Sweep.of_frame(some, reference="real") for some in (left, frame[kept]))
    assert set(zip(one.split, one.ids, strict=True)) == whole
    assert np.array_equal(one.accuracy, other.accuracy)
    assert one.energy_gap.sum() == pytest.approx(other.energy_gap.sum())


@pytest.mark.parametrize("alphas", [(0.0,), (1.0,), (0.5,), (0.0, 0.9)])
def test_alpha_0_and_1_are_needed(alphas):
    with pytest.raises(ConfigError, match="a sweep needs alpha 0 and 1") as caught:
        toy_sweep(alphas=alphas)
    assert "\n" not in str(caught.value)


def test_scores_without_a_test_split_are_refused():
    """Validation images alone: nothing to show, and no error from NumPy either."""
    with pytest.raises(ClipftError):
        Sweep.of(toy(splits=("real/val",)), "real").accuracy  # noqa: B018


def test_classes_have_names_or_numbers():
    sweep = toy_sweep()
    assert [sweep.name_of(label) for label in (0, 3, 4, -1)] == [
        "apple",
        "zebra",
        "class 4",
        "class -1",
    ]
    assert replace(sweep, classes=()).name_of(2) == "class 2"


def test_a_gap_that_was_left_out_is_none():
    assert toy_sweep(gap=False).energy_gap is None
    frame = to_frame(toy()).assign(energy_gap=np.nan)
    assert Sweep.of_frame(frame, reference="real").energy_gap is None


def test_a_folder_gives_the_sweep_of_its_scores(at_home):
    for run in at_home.scored:
        read = read_sweep(run.path)
        frame = pd.read_parquet(run.path / "images.parquet")
        for scores in (run.all_scores(SCORED), from_frame(frame)):
            equal(read, Sweep.of(scores, reference="real"))
        assert read.classes == tuple(run.manifest.names)
        assert read.title == f"{run.name.title}, lr 0.003, 6 steps, seed 0"
        table = run.score(SCORED)
        said = table[(table.metric == "accuracy") & (table.role != "val")].pivot_table(
            index="alpha", columns="split", values="mean"
        )
        np.testing.assert_allclose(read.accuracy, said[read.splits])


def test_a_carried_run_says_the_same(scored, elsewhere, monkeypatch):
    for run in scored.scored:
        away = read_sweep(elsewhere / run.id)
        with monkeypatch.context() as patch:
            patch.setenv("CLIPFT_DATA", str(scored.tree))
            equal(away, read_sweep(run.path))
        assert away.name_of(1) == CLASSES[1]
        assert away.splits[0] == "real/test"
        pictures = Thumbnails(away)
        assert [pictures[name] for name in away.ids] == [None] * len(away.ids)

        (elsewhere / run.id / "manifest.json").unlink()  # as an older clipft left it
        assert read_sweep(elsewhere / run.id).name_of(1) == "class 1"


def test_folders_that_hold_no_sweep_are_one_line(scored, tmp_path):
    with pytest.raises(RunError, match="no scores of single images; score it: clipft wise"):
        read_sweep(scored.unscored)
    with pytest.raises(RunError, match="no run at"):
        read_sweep(tmp_path)
    run = shutil.copytree(scored.scored[0].path, tmp_path / "run")
    frame = pd.read_parquet(run / "images.parquet")
    frame[frame.alpha != 1].to_parquet(run / "images.parquet")
    with pytest.raises(
        ConfigError, match=r"FT, lr 0.003, 6 steps, seed 0 has \[0.0, 0.5\]: clipft wise"
    ):
        read_sweep(run)
    (run / "images.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match="damaged"):
        read_sweep(run)


def opened(address):
    head, _, content = address.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_thumbnails_are_the_images_in_small(at_home):
    sweep = read_sweep(at_home.scored[0].path)
    pictures = Thumbnails(sweep)
    for name in sweep.ids[:4]:
        small, whole = opened(pictures[name]), decode(at_home.tree / "mini" / name)
        assert max(small.size) <= TILE
        seen, want = (
            np.asarray(one.convert("RGB").resize((6, 5)), float) for one in (small, whole)
        )
        assert np.abs(seen - want).mean() < 15
    assert pictures["real/apple/none.png"] is None
    assert Thumbnails(toy_sweep())["real/test/0.png"] is None


def test_packed_thumbnails_need_no_data_set(scored, tmp_path, monkeypatch):
    runs = shutil.copytree(scored.runs, tmp_path / "home")
    monkeypatch.setenv("CLIPFT_DATA", str(scored.tree))
    file = pack_thumbnails(runs)
    assert file == runs / PACK
    sweep = read_sweep(scored.scored[0].path)
    want = {name: Thumbnails(sweep)[name] for name in sweep.ids}
    table = pd.read_parquet(file)
    assert sorted(table.id) == sorted(set(sweep.ids)), "one image each, however many runs show it"
    away = carried(scored, tmp_path / "runs", monkeypatch)
    shutil.move(file, away / PACK)
    pictures = Thumbnails(read_sweep(away / scored.scored[0].id))
    assert {name: pictures[name] for name in sweep.ids} == want
    assert None not in want.values()


def test_images_of_another_manifest_are_not_taken_from_the_pack(elsewhere, scored):
    name = scored.scored[0].id
    sweep = read_sweep(elsewhere / name)
    rows = [("another", sweep.ids[0], b"x"), (sweep.about["manifest_digest"], sweep.ids[1], b"y")]
    pd.DataFrame(rows, columns=["manifest", "id", "image"]).to_parquet(elsewhere / PACK)
    pictures = Thumbnails(sweep)
    assert pictures[sweep.ids[0]] is None
    assert pictures[sweep.ids[1]] == "data:image/webp;base64,eQ=="


def test_an_image_that_cannot_be_read_is_left_out_of_the_pack(scored, tmp_path, monkeypatch):
    tree = shutil.copytree(scored.tree, tmp_path / "data")
    monkeypatch.setenv("CLIPFT_DATA", str(tree))
    runs = shutil.copytree(scored.runs, tmp_path / "runs")
    name = scored.scored[0].id
    ids = read_sweep(runs / name).ids
    (tree / "mini" / ids[0]).unlink()
    (tree / "mini" / ids[1]).write_bytes(b"no image")
    found = set(pd.read_parquet(pack_thumbnails(runs)).id)
    assert found == set(ids) - set(ids[:2])


def test_packing_nothing_is_one_line(tmp_path):
    with pytest.raises(RunError, match=r"no scored run under .*; score one: clipft wise RUN"):
        pack_thumbnails(tmp_path)
    assert not (tmp_path / PACK).exists()


def test_packing_damaged_scores_is_one_line(at_home, tmp_path):
    runs = shutil.copytree(at_home.runs, tmp_path / "runs")
    (runs / at_home.scored[0].id / "images.parquet").write_bytes(b"PAR1")
    with pytest.raises(ClipftError, match="damaged"):
        pack_thumbnails(runs)


def test_packing_without_the_data_set_keeps_the_old_pack(elsewhere):
    (elsewhere / PACK).write_bytes(b"old")
    with pytest.raises(ClipftError):
        pack_thumbnails(elsewhere)
    assert (elsewhere / PACK).read_bytes() == b"old"
    assert [file.name for file in elsewhere.glob(".*")] == []


def test_a_damaged_pack_says_how_to_mend_it(elsewhere, scored):
    (elsewhere / PACK).write_bytes(b"PAR1")
    with pytest.raises(RunError, match=r"damaged.*clipft thumbnails"):
        Thumbnails(read_sweep(elsewhere / scored.scored[0].id))


def test_a_combination_is_named_by_all_that_was_done(scored, tmp_path):
    run = shutil.copytree(scored.scored[0].path, tmp_path / "run")
    about = json.loads((run / "config.json").read_text())
    after = {"name": "output_ensemble", "options": {}, "of": ["tpgm"], "among": 1, "members": ["a"]}
    (run / "config.json").write_text(json.dumps(about | {"after": after, "title": "Tuned"}))
    assert read_sweep(run).title.startswith("Tuned, lr")
    del about["title"]  # an older clipft recorded none
    (run / "config.json").write_text(json.dumps(about | {"after": after}))
    assert read_sweep(run).title.startswith("FT + TPGM + ")
    assert Run.open(run).config.method == "ft"
