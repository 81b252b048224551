"""Confusions against plain loops over every image, and against those of a sweep."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from conftest import CLASSES
from hypothesis import given, settings, strategies as st
from test_sweep import ALPHAS, SWEEPS, toy_sweep

from clipft.errors import ClipftError
from clipft.runs.confusion import confusion_table
from clipft.runs.run import Run, open_runs
from clipft.runs.scores import Scores
from clipft.runs.sweep import Sweep

QUICK = settings(deadline=None, max_examples=40)


def counted(sweep, splits, alpha):
    """Pair -> (zero-shot, at alpha), and class -> images, image by image."""
    counts = (Counter(), Counter())
    images = Counter()
    place = sweep.alphas.tolist().index(alpha)
    for number, split in enumerate(sweep.split):
        if split not in splits:
            continue
        label = sweep.label[number]
        images[sweep.name_of(label)] += 1
        for count, at in zip(counts, (0, place), strict=True):
            taken_for = sweep.prediction[at, number]
            if taken_for != label:
                count[sweep.name_of(label), sweep.name_of(taken_for)] += 1
    pairs = {pair: (counts[0][pair], counts[1][pair]) for pair in counts[0] | counts[1]}
    return pairs, images


@QUICK
@given(SWEEPS, st.data())
def test_every_pair_is_counted(scores, data):
    sweep = Sweep.of(scores, "real", "toy", CLASSES)
    split = data.draw(st.sampled_from(["", *sweep.splits]))
    alpha = data.draw(st.sampled_from(sweep.alphas.tolist()))
    pairs, images = counted(sweep, [split] if split else sweep.splits, alpha)
    table = confusion_table(sweep, split, alpha)
    found = {}
    for row in table.to_dict("records"):
        found[row["class"], row["taken for"]] = (row["zero_shot"], row["here"])
        assert row["change"] == row["here"] - row["zero_shot"]
        assert row["n"] == images[row["class"]]
    assert found == pairs and len(table) == len(pairs) == table.attrs["pairs"]
    order = [(-here, -change) for here, change in zip(table.here, table.change, strict=True)]
    assert order == sorted(order)


def test_the_nearest_alpha_of_a_sweep_is_taken_and_said():
    sweep = toy_sweep(n=30)
    near = confusion_table(sweep, alpha=0.7)
    assert near.equals(confusion_table(sweep, alpha=0.6)) and near.attrs["alpha"] == 0.6


def test_at_most_so_many_rows_are_the_first_ones():
    sweep = toy_sweep(n=60)
    table = confusion_table(sweep)
    assert confusion_table(sweep, most=3).equals(table.head(3))


def test_names_that_are_not_at_hand_are_numbers():
    sweep = replace(toy_sweep(n=30), classes=())
    assert set(confusion_table(sweep)["class"]) <= {f"class {label}" for label in range(4)}


def test_a_model_that_is_always_right_confuses_nothing():
    sweep = toy_sweep(n=5)
    right = replace(sweep, prediction=np.tile(sweep.label, (len(ALPHAS), 1)))
    table = confusion_table(right)
    assert table.empty and table.columns.tolist()[:2] == ["class", "taken for"]


def test_a_run_answers_as_its_sweep_does(scored):
    run = open_runs(scored.runs)[0]
    sweep = run.sweep()
    for split in ("", *sweep.splits, "real/val"):
        for alpha in sweep.alphas[[0, -1]]:
            of_run = confusion_table(run, split, float(alpha))
            of_sweep = confusion_table(sweep, split, alpha)
            assert of_run.equals(of_sweep) and of_run.attrs == of_sweep.attrs
    assert confusion_table(run.path).equals(confusion_table(run))


def test_images_that_one_alpha_lacks_are_left_out(scored, monkeypatch):
    run = open_runs(scored.runs)[0]
    whole = Run.scores

    def without_two(self, alpha):
        found = whole(self, alpha)
        lost = 0 if alpha == 0 else 3
        return {name: _without(scores, lost) for name, scores in found.items()}

    monkeypatch.setattr(Run, "scores", without_two)
    table = confusion_table(run, "sketch/test")
    label = whole(run, 1.0)["sketch/test"].label
    kept = np.delete(label, [0, 3])
    names = run.manifest.names
    for row in table.to_dict("records"):
        assert row["n"] == (kept == names.index(row["class"])).sum()


def _without(scores: Scores, lost: int) -> Scores:
    arrays = {name: np.delete(array, lost) for name, array in scores.columns().items()}
    ids = scores.ids[:lost] + scores.ids[lost + 1 :]
    return replace(scores, ids=ids, **arrays)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"split": "sketch/tset"}, "did you mean 'sketch/test'"),
        ({"alpha": 1.5}, r"expected 0 \(zero-shot\) ... 1 \(tuned\)"),
        ({"most": 0}, "most is 0, expected 1 or more, or None: all"),
    ],
)
def test_a_mistake_is_one_line(asked, words, scored):
    for given_ in (toy_sweep(), open_runs(scored.runs)[0]):
        with pytest.raises(ClipftError, match=words) as raised:
            confusion_table(given_, **asked)
        assert "\n" not in str(raised.value)


def test_an_alpha_that_was_not_scored_is_said(scored):
    with pytest.raises(ClipftError, match=r"not scored at alpha 0\.123; score it"):
        confusion_table(open_runs(scored.runs)[0], alpha=0.123)
