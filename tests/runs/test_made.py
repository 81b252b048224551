"""How a run was made: written beside it, no part of what it is, and its parts add up."""

import json
import math
import platform
import subprocess
from importlib import metadata

import pandas as pd
import pytest
import torch
from conftest import QUIET

from clipft import Run, __version__, combine, cost_table, mixture, results, results_table, score
from clipft.disk.files import file_digest
from clipft.errors import RunError
from clipft.figures.tables import table_figure
from clipft.models.load import device_name
from clipft.runs import machine
from clipft.runs.made import Made, new_part, with_part
from clipft.training import loop
from clipft.training.state import State


def record(run):
    return json.loads((run.path / "made.json").read_text())


def write(run, **changes):
    """Change the first part of a run's record."""
    made = record(run)
    made["parts"][0] |= changes
    (run.path / "made.json").write_text(json.dumps(made))


def test_a_run_records_how_it_was_made(world):
    run = world.train()
    (part,) = record(run)["parts"]
    assert part["versions"]["clipft"] == __version__
    assert part["versions"]["Python"] == platform.python_version()
    for package in ("torch", "open_clip_torch"):
        assert part["versions"][package] == metadata.version(package)
    assert (part["work"], part["precision"], part["steps"]) == ("training", "32-true", 12)
    assert part["device"] == device_name("cpu") and part["threads"] == torch.get_num_threads()
    assert 0 < part["step_seconds"] < part["seconds"] < 600
    assert run.made.seconds_per_step == pytest.approx(part["step_seconds"] / 12)
    assert record(run)["weights_digest"] == file_digest(run.folder.weights_file)
    score(run, [0, 1], gap_texts=50, reading=QUIET)
    score(run, [0.5], gap_texts=50, reading=QUIET)
    _, scoring = record(run)["parts"]
    assert (scoring["alphas"], scoring["gap_texts"]) == ([0.0, 0.5, 1.0], 50)
    assert str(run.made).startswith(f"made on {device_name('cpu')}, 1 thread, with clipft ")
    assert f"trained in {part['seconds']:.3g} s" in run._repr_html_()


def test_the_commit_is_that_of_this_checkout():
    git = ["git", "-C", machine.__file__.rpartition("/clipft/")[0]]
    done = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if done.returncode:
        assert machine.commit() == {}
        return
    changed = subprocess.run([*git, "status", "--porcelain", "clipft"], capture_output=True)
    wanted = {"commit": done.stdout.strip(), "clean": not changed.stdout}
    machine.commit.cache_clear()
    assert machine.commit() == wanted


def test_without_git_there_is_no_commit(monkeypatch):
    machine.commit.cache_clear()
    monkeypatch.setattr(machine, "ask", lambda *_: ())
    assert machine.commit() == {}
    machine.commit.cache_clear()


def test_it_is_no_part_of_the_run(world, tmp_path):
    run = world.train()
    other = world.train(tmp_path / "other")
    for name in ("config.json", "weights.safetensors", "metrics.jsonl"):
        assert (run.path / name).read_bytes() == (other.path / name).read_bytes()
    assert run.id == other.id


class Killed(BaseException):
    pass


def test_resumed_parts_add_up(world, monkeypatch):
    """Killed at step 6: the four steps to the last validation count, the two after it do not."""
    take_step = loop.take_step

    def dying(training, state, batch):
        if state.step == 6:
            raise Killed
        take_step(training, state, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", dying)
        with pytest.raises(Killed):
            world.train()
    run = world.train()
    first, second = record(run)["parts"]
    assert (first["steps"], second["steps"]) == (4, 8)
    assert run.made.seconds == first["seconds"] + second["seconds"]
    total = first["step_seconds"] + second["step_seconds"]
    assert run.made.seconds_per_step == pytest.approx(total / 12)


def test_what_a_record_says_beyond_the_checkpoint_was_not_kept(world, monkeypatch):
    """Killed after it was written that step 6 is done, before the state of step 6 was."""
    plain = State.save

    def killed(self, file):
        if self.step == 6:
            raise KeyboardInterrupt
        plain(self, file)

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            world.train(eval_every=3)
    run = world.train(eval_every=3)
    first, second = record(run)["parts"]
    assert (first["steps"], second["steps"]) == (3, 9)
    assert 0 < first["step_seconds"] < first["seconds"]


def test_validations_are_no_steps(world, monkeypatch):
    """A clock that a validation moves by 100 seconds, and nothing else."""
    now = [0.0]
    validate_on = loop.validate_on

    def slow(*given):
        now[0] += 100
        return validate_on(*given)

    monkeypatch.setattr("clipft.evaluation.recorder.perf_counter", lambda: now[0])
    monkeypatch.setattr(loop, "validate_on", slow)
    (part,) = record(world.train())["parts"]
    assert (part["seconds"], part["step_seconds"]) == (300, 0)


def test_what_was_made_of_runs_says_so(world):
    run = world.train()
    soup = combine("uniform_soup", [run, world.train(seed=1)], reading=QUIET)
    (part,) = record(soup)["parts"]
    assert part["work"] == "combining" and part["seconds"] > 0
    assert record(soup)["weights_digest"] == file_digest(soup.folder.weights_file)
    assert math.isnan(soup.made.seconds) and math.isnan(soup.made.seconds_per_step)
    ensemble = combine("output_ensemble", [run], reading=QUIET)
    assert "weights_digest" not in record(ensemble)


@pytest.mark.parametrize("text", [None, "[]", "{", '{"parts": 3}', '{"parts": [3]}'])
def test_an_older_run_opens_as_before(at_home, tmp_path, text):
    import shutil

    shutil.copytree(at_home.scored[0].path, tmp_path / "run")
    if text is None:
        (tmp_path / "run/made.json").unlink()
    else:
        (tmp_path / "run/made.json").write_text(text)
    run = Run.open(tmp_path / "run")
    assert str(run.made) == "how it was made is not recorded"
    assert len(run.accuracies()) == 3 and "not recorded" in run._repr_html_()
    row = results(run).iloc[0]
    assert (row.device, row.versions, row.threads) == ("not recorded",) * 3
    assert math.isnan(row.seconds_per_step) and row.precision == "32-true"


def test_scorings_that_differ_are_two_parts():
    one = new_part("scoring", "A", 1, alphas=[0.0], gap_texts=5) | {"seconds": 2.0}
    same = one | {"alphas": [1.0]}
    made = with_part(with_part(Made(), one), same)
    assert [(part["alphas"], part["seconds"]) for part in made.parts] == [([0.0, 1.0], 4.0)]
    for change in ({"device": "B"}, {"threads": 2}, {"gap_texts": 6}):
        assert len(with_part(made, one | change).parts) == 2
    assert with_part(made, one | {"device": "B"}).devices == "A + B"


@pytest.fixture
def pair(world):
    """Two scored runs that were made alike."""
    runs = [world.train(seed=seed, steps=2) for seed in (0, 1)]
    score(runs, [0, 1], gap_texts=50, reading=QUIET)
    return runs


MIXTURES = [
    ({"device": "Some GPU"}, "devices (Some GPU in 1 run)"),
    ({"versions": {"clipft": "9", "torch": "1.0"}, "commit": "abcdefabcdef", "clean": False},
     "versions (clipft 9 at abcdefa+ in 1 run, torch 1.0 in 1 run)"),
    ({"threads": 77}, "numbers of threads (77 in 1 run)"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), MIXTURES, ids=["device", "versions", "threads"])
def test_a_table_says_what_it_mixes(pair, world, changes, words, capsys):
    assert mixture(results(world.runs)) == ""
    write(pair[1], **changes)
    table = results(world.runs)
    assert mixture(table) == f"this table mixes {words}"
    capsys.readouterr()
    frame = results_table(table)
    assert capsys.readouterr().out == f"this table mixes {words}\n"
    assert table_figure(frame).layout.annotations[0].text == f"this table mixes {words}"
    assert not table_figure(results_table(results(pair[0]))).layout.annotations


def test_precisions_are_mixed_too(pair, world):
    table = results(world.runs)
    table.loc[table.run == pair[0].id, "precision"] = "bf16-mixed"
    line = mixture(table)
    assert line == "this table mixes precisions (32-true in 1 run, bf16-mixed in 1 run)"
    many = pd.concat([table.assign(run=f"r{n}", device=f"D{n}") for n in range(6)])
    assert "D0 in 1 run, D1 in 1 run, D2 in 1 run, D3 in 1 run, 2 more" in mixture(many)


def test_scores_of_other_precisions_are_mixed_too(pair, world):
    assert set(results(world.runs).scored_in) == {"32-true"}
    made = Made.of(pair[1].folder)
    parts = [part | {"precision": "bf16-mixed"} for part in made.parts if part["work"] == "scoring"]
    Made(tuple(parts), made.weights).write(pair[1].folder)
    line = mixture(results(world.runs))
    assert "precisions of scores (32-true in 1 run, bf16-mixed in 1 run)" in line
    assert "mixes precisions (" not in line  # both trained in one


def test_a_setting_that_is_new_renames_no_old_recipe(pair, world):
    """And a run of an older clipft, which did not record it, is still found."""
    recipe = set(results(world.runs).recipe)
    file = pair[0].path / "config.json"
    config = json.loads(file.read_text())
    for key in ("protocol", "text_rate"):
        del config[key]
    file.write_text(json.dumps(config))
    table = results(world.runs)
    assert set(table.recipe) == recipe and len(recipe) == 1
    assert set(table.protocol) == {"clipft"}
    assert world.train(seed=0, steps=2).path == pair[0].path
    from clipft.runs.identity import find_begun

    assert find_begun(world.runs, world.config(seed=0, steps=2)).path == pair[0].path


# --- what a step costs


def test_costs_are_against_ft_on_the_same_machine(world):
    """Means over runs of typed seconds; another device has its own FT, or none."""
    seconds = {
        ("ft", 0): ("A", 1.0), ("ft", 1): ("A", 3.0), ("lipsum", 0): ("A", 2.4),
        ("kd", 0): ("B", 5.0), ("ft", 2): ("B", 4.0), ("l2sp", 0): ("C", 9.0),
    }  # fmt: skip
    for (method, seed), (device, per_step) in seconds.items():
        run = world.train(method=method, seed=seed, steps=2)
        write(run, device=device, step_seconds=2 * per_step)
    unknown = world.train(method="ema", steps=2)
    (unknown.path / "made.json").unlink()
    combine("uniform_soup", [world.train(seed=0, steps=2)], reading=QUIET)

    table = cost_table(world.runs)
    assert list(zip(table.device, table.method, strict=True)) == [
        *[("A", "ft"), ("A", "lipsum"), ("B", "ft"), ("B", "kd"), ("C", "l2sp")]
    ]
    assert table.seconds_per_step.tolist() == pytest.approx([2.0, 2.4, 4.0, 5.0, 9.0])
    assert table.relative.tolist() == pytest.approx([1.0, 1.2, 1.0, 1.25, math.nan], nan_ok=True)
    assert table.runs.tolist() == [2, 1, 1, 1, 1]
    assert table["std"].tolist()[0] == pytest.approx(math.sqrt(2))
    assert table.title.tolist()[:2] == ["FT", "Lipsum-FT"]


def test_a_run_on_two_devices_costs_nothing_that_can_be_compared(world):
    run = world.train(steps=2)
    made = record(run)
    made["parts"].append(made["parts"][0] | {"device": "B"})
    (run.path / "made.json").write_text(json.dumps(made))
    with pytest.raises(RunError, match="records its seconds per step; train one: clipft train"):
        cost_table(run)


def test_batch_sizes_are_not_compared(world):
    world.train(steps=2)
    world.train(steps=2, method="lipsum", batch_size=4)
    assert cost_table(world.runs).relative.isna().tolist() == [True, False]
