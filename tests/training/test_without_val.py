"""Training to the end, `selection=last`, needs no val split; few shots follow what there is."""

import os
from pathlib import Path

import pytest
import torch
import yaml
from conftest import CLASSES, QUIET, Trained, World

import clipft
from clipft.errors import ConfigError
from clipft.evaluation.zero_shot import evaluate
from clipft.runs.checks import check_adoption, check_reported, check_training
from clipft.runs.table import results, results_table
from clipft.training.combine import combine
from clipft.training.loop import validate

SETTINGS = {"steps": 4, "eval_every": 2, "selection": "last"}


def rows_of(world: World, part: str) -> list[str]:
    """The lines of a list with these rows of the reference."""
    split = world.bench().manifest.split(f"real/{part}")
    return [f"{name} {label}\n" for name, label in zip(split.ids, split.labels, strict=True)]


def without_val(world: World, folder: Path, keep) -> World:
    """The same rows as the world's, in lists of their own: train as `keep` makes it, no val."""
    tree = Path(os.environ["CLIPFT_DATA"]) / "mini"
    root = folder / "mini"
    root.mkdir(parents=True)
    for entry in tree.iterdir():
        (root / entry.name).symlink_to(entry)
    (root / "real_train.txt").unlink()
    (root / "real_train.txt").write_text("".join(keep(rows_of(world, "train"))))

    manifest = folder / "mini.yaml"
    values = yaml.safe_load(world.manifest_file.read_text()) | {"root": str(root)}
    del values["holdout"]
    manifest.write_text(yaml.safe_dump(values))
    (folder / "mini.classes.yaml").write_text(yaml.safe_dump(CLASSES))
    return World(manifest, world.model_folder, folder / "runs")


@pytest.fixture
def bare(world, tmp_path, monkeypatch) -> World:
    """The world without its val rows."""
    made = without_val(world, tmp_path / "bare", list)
    monkeypatch.delenv("CLIPFT_DATA")
    return made


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_last_weights_are_those_of_the_same_rows_with_a_val(world, tmp_path, monkeypatch):
    with_val = world.train(**SETTINGS)
    expected = with_val.score((0.0, 1.0))
    bare = without_val(world, tmp_path / "bare", list)
    monkeypatch.delenv("CLIPFT_DATA")

    run = bare.train(**SETTINGS)
    assert same(run.tuned, with_val.tuned)
    tests = expected[expected.role != "val"].reset_index(drop=True)
    found = run.score((0.0, 1.0))
    assert set(expected.role) - set(found.role) == {"val"}
    assert found.equals(tests)
    assert not [row for row in run.history().to_dict("records") if "val_accuracy" in row]


def test_it_goes_on_where_it_was_stopped(bare, tmp_path, monkeypatch):
    whole = bare.train(tmp_path / "whole", **SETTINGS)
    stop = []

    def stopped_at_first(training, state):
        validate(training, state)
        if not stop:
            stop.append(state.step)
            raise KeyboardInterrupt

    monkeypatch.setattr("clipft.training.loop.validate", stopped_at_first)
    with pytest.raises(KeyboardInterrupt):
        bare.train(**SETTINGS)
    assert stop == [2]
    resumed = bare.train(**SETTINGS)
    assert same(resumed.tuned, whole.tuned)


def test_tables_and_explorers_show_a_run_without_val(bare):
    run = bare.train(**SETTINGS)
    run.score((0.0, 0.5, 1.0))
    table = results_table(results(bare.runs))
    assert table.alpha.tolist() == ["0", "1"]  # no mixture: there is nothing to choose it on
    assert set(table.selection) == {"last"}
    opened = clipft.Run.open(run.path)
    for explored in (bare.runs, opened):
        assert clipft.explore(explored)
    assert clipft.training_figure(opened.history())
    with pytest.raises(ConfigError, match="validation"):
        clipft.best_by_val(results(bare.runs))


def test_post_hoc_methods_that_ask_no_image_work_without_val(bare):
    pair = [bare.train(seed=seed, **SETTINGS) for seed in (0, 1)]
    soup = Trained.of(combine("uniform_soup", pair, reading=QUIET))
    mean = {name: (value + pair[1].tuned[name]) / 2 for name, value in pair[0].tuned.items()}
    for name, value in soup.tuned.items():
        assert torch.allclose(value, mean[name], atol=1e-6)
    with pytest.raises(ConfigError, match="no val images"):
        combine("greedy_soup", pair, reading=QUIET)


def test_what_chooses_weights_says_that_there_is_no_val(bare):
    for selection in ("holdout", "loss"):
        with pytest.raises(ConfigError, match=r"real_val\.txt.*selection=last"):
            check_training(bare.config(selection=selection), bare.runs)
    check_training(bare.config(selection="last"), bare.runs, scored=True)
    check_training(bare.config(selection="paper"), bare.runs, scored=True)


def test_a_logistic_probe_has_nothing_to_choose_on(bare):
    config = bare.config(method="lp", selection="last")
    with pytest.raises(ConfigError, match="mini has none; try solver=adamw"):
        check_training(config, bare.runs)
    with pytest.raises(ConfigError, match="mini has none; try solver=adamw"):
        bare.train(method="lp", selection="last")
    assert bare.train(method="lp", solver="adamw", **SETTINGS).tuned


def test_models_that_are_not_trained_here_need_no_val(bare, tmp_path):
    name = f"{bare.model}:{bare.pretrained}"
    table = evaluate(name, bare.manifest, reading=QUIET)
    assert set(table.split) == {"real/test", "sketch/test", "clipart/test"}
    about = bare.config()
    check_adoption(bare.pretrained, about, name="theirs", runs=bare.runs)
    check_reported(about)


def few_of(lines: list[str], counts: dict[int, int]) -> list[str]:
    """So many rows of each label, all of the labels that are not named."""
    kept, seen = [], dict.fromkeys(range(len(CLASSES)), 0)
    for line in lines:
        label = int(line.split()[-1])
        if seen[label] < counts.get(label, len(lines)):
            kept.append(line)
        seen[label] += 1
    return kept


@pytest.mark.parametrize("count", [1, 0])
def test_few_shots_of_a_class_with_one_image_or_none(world, tmp_path, monkeypatch, capsys, count):
    few = without_val(world, tmp_path / "few", lambda lines: few_of(lines, {1: count}))
    monkeypatch.delenv("CLIPFT_DATA")
    run = few.train(shots=2, **SETTINGS)
    assert sorted(run.train_split().labels) == sorted([0, 0, *[1] * count, 2, 2, 3, 3])
    said = "1 of 4 classes have no image in real/train, the first is 'bee'"
    assert (said in capsys.readouterr().out) == (count == 0)


def test_a_logistic_probe_names_the_class_without_an_image(world, tmp_path, monkeypatch):
    few = without_val(world, tmp_path / "few", lambda lines: few_of(lines, {1: 0}))
    monkeypatch.delenv("CLIPFT_DATA")
    (tmp_path / "few/mini/real_val.txt").write_text("".join(rows_of(few, "train")))
    with pytest.raises(ConfigError, match="class 'bee' has no training image in real/train"):
        check_training(few.config(method="lp"), few.runs)


def test_one_image_a_class_leaves_none_to_hold_out(world, tmp_path, monkeypatch):
    ones = dict.fromkeys(range(len(CLASSES)), 1)
    few = without_val(world, tmp_path / "few", lambda lines: few_of(lines, ones))
    monkeypatch.delenv("CLIPFT_DATA")
    values = yaml.safe_load(few.manifest_file.read_text()) | {"holdout": 0.25}
    few.manifest_file.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"real/val has no image.*selection=last"):
        few.train(shots=1)
    run = few.train(shots=1, **SETTINGS)
    assert run.train_split().labels == (0, 1, 2, 3)
    assert not run.bench.has_selection(run.config)
