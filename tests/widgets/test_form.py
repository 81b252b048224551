"""The fine-tuning form without a page: fields are set, buttons pressed, texts and curves read."""

import html
import json
import os
import re
import signal
import threading
import time
from multiprocessing import active_children

import pytest
from hypothesis import given, settings, strategies as st
from looking import drawn, named

from clipft.config import Reading, RunConfig
from clipft.data.manifests import available
from clipft.disk.files import read_jsonl
from clipft.errors import ConfigError, RunError, Stopped
from clipft.methods import METHODS
from clipft.models.checkpoints import read_weights
from clipft.runs.recipes import presets, recipe
from clipft.training import train as training

pytest.importorskip("anywidget")

from clipft.widgets import form
from clipft.widgets.form import FineTuneForm
from clipft.widgets.texts import duration

CPU = Reading(device="cpu")
TRAIN = "clipft.training.train.train"
FIGURE = "application/vnd.plotly.v1+json"


def labels(made):
    """How each field is called, in the order of the page."""
    fields = (made.settings.preset, *made.settings.fields.values())
    return [field.description for field in fields]


@pytest.fixture(autouse=True)
def live(monkeypatch):
    monkeypatch.delenv("CLIPFT_HEADLESS", raising=False)


def fitting(method, lam, options, **others):
    """A configuration; lam and options where the method has such."""
    entry = METHODS[method]
    options = {name: value for name, value in options.items() if name in entry.options}
    return RunConfig(
        method=method, lam=None if entry.lam is None else lam, options=options, **others
    )


VALID = st.builds(
    fitting,
    manifest=st.sampled_from([*available(), "/some where/own.yaml"]),
    method=st.sampled_from(sorted(METHODS)),
    lam=st.none() | st.floats(0, 1e300),
    lr=st.floats(0, 1e300),
    steps=st.integers(1, 10**8),
    batch_size=st.integers(1, 10**6),
    eval_every=st.integers(1, 10**8),
    seed=st.integers(0, 10**9),
    crop=st.sampled_from([(0.08, 1.0), (0.5, 0.5)]),
    betas=st.sampled_from([(0.9, 0.999), (0, 0.5)]),
    train_domains=st.sampled_from([(), ("real", "sketch")]),
    shifts=st.sampled_from([(), ("clipart",)]),
    options=st.sampled_from([{}, {"tau": 2, "mask": True}]),
    clip_norm=st.none() | st.floats(1e-300, 10),
    ema=st.none() | st.floats(0, 1),
    shots=st.integers(0, 99),
    model=st.sampled_from(["emoji-tiny", "ViT-B-16", "local-dir:/some where"]),
    pretrained=st.sampled_from(["", "openai", "none", "/some where/else.pt"]),
    precision=st.sampled_from(["32-true", "bf16-mixed"]),
)


@settings(deadline=None, max_examples=30)
@given(VALID)
def test_a_configuration_is_the_same_after_the_form(config):
    back = FineTuneForm(config, "none").config
    assert back == config
    assert back.id == config.id


@pytest.mark.parametrize("changes", [{"seed": -1}, {"seed": 2**31}])
def test_a_large_or_negative_seed_is_the_same_after_the_form(changes):
    """Else the form trains another run than the one it was given, and says nothing."""
    config = RunConfig(**changes)
    assert FineTuneForm(config, "none").config == config


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("lr", "fast", "lr"),
        ("lr", "", "lr"),
        ("lr", "nan", "lr"),
        ("lr", "-1", "lr"),
        ("lam", "inf", "lam"),
    ],
)
def test_a_wrong_number_is_said_in_one_line(field, value, wanted):
    made = FineTuneForm(RunConfig(method="lipsum"), "none")
    made.settings.fields[field].value = value
    made.begin.click()
    assert made.state == "failed" and not made.begin.disabled
    assert not made.settings.fields[field].disabled
    assert f"the form: {wanted}" in made.note.value and "\n" not in made.note.value
    with pytest.raises(ConfigError, match=wanted):
        made.wait()
    made.settings.fields[field].value = "0.5"
    assert getattr(made.config, field) == 0.5


@pytest.mark.parametrize("name", [name for name, preset in presets().items() if not preset.after])
def test_a_recipe_fills_the_form(name):
    """As `clipft train --preset` would; the seed is the form's."""
    made = FineTuneForm(RunConfig(method="lipsum", lam=3.0, shots=7, seed=5, ema=0.5), "none")
    made.settings.preset.value = name
    assert made.config == recipe({"preset": name, "seed": 5})


def test_what_is_changed_after_a_recipe_stays():
    made = FineTuneForm(RunConfig(), "none")
    made.settings.preset.value = "lipsum_ft/domainnet_b16"
    made.settings.fields["steps"].value = 7
    made.settings.preset.value = ""
    changes = {"preset": "lipsum_ft/domainnet_b16", "steps": 7}
    assert made.config == recipe(changes)


def test_another_method_leaves_behind_what_belongs_to_the_recipes_own():
    """Options and ema have no field in which to take them back."""
    made = FineTuneForm(RunConfig(method="ema", ema=0.9, lr=0.5), "none")
    made.settings.fields["method"].value = "ft"
    assert made.config == RunConfig(method="ft", lr=0.5)


def test_every_field_has_a_label_of_its_own():
    made = FineTuneForm(RunConfig(), "none")
    assert all(labels(made)) and len(set(labels(made))) == len(labels(made))
    assert {"recipe", "model", "weights", "head", "precision"} <= set(labels(made))


def test_the_weights_of_the_model_are_offered():
    made = FineTuneForm(RunConfig(), "none")
    made.settings.fields["model"].value = "ViT-B-16"
    assert "openai" in made.settings.fields["pretrained"].options
    made.settings.fields["model"].value = "emoji-t"  # half typed
    assert made.settings.fields["pretrained"].options == ("none",)


def test_the_form_says_how_fast_it_goes_and_how_long_it_took(world, monkeypatch):
    monkeypatch.setattr(form, "REDRAW", -1)
    made = FineTuneForm(world.config(), world.runs, CPU)
    notes = []
    made.note.observe(lambda change: notes.append(change["new"]), "value")
    run = made.wait()
    assert "<p>running: step 1 of 12</p>" in notes
    pace = re.compile(r"running: step (\d+) of 12, [\d.e+]+ steps a second, about .+ left")
    steps = [int(match[1]) for match in map(pace.search, notes) if match]
    assert steps == sorted(steps) and {2, 6, 12} <= set(steps)
    assert re.fullmatch(f"<p>finished in .*: {run.path}</p>", made.note.value)


def test_the_time_left_is_that_of_the_steps_since_this_start():
    # 20 steps in 10 s, 60 to go: 30 s
    assert form.pace(20, 10.0, 140, 200) == (
        "step 140 of 200, 2 steps a second, about 30 seconds left"
    )
    assert form.pace(0, 3.0, 100, 200) == "step 100 of 200"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "less than a second"),
        (1, "1 second"),
        (59.7, "1 minute"),
        (61, "1 minute 1 second"),
        (3599.9, "1 hour"),
        (3629, "1 hour"),
        (7500, "2 hours 5 minutes"),
    ],
)
def test_times_are_said_in_words(seconds, words):
    assert duration(seconds) == words


def test_a_form_with_a_wrong_number_can_still_be_shown():
    """The cell is run again while a field is half typed: the widget comes, not a traceback."""
    made = FineTuneForm(RunConfig(), "none")
    made.settings.fields["lr"].value = "1e-"
    assert FIGURE in made._repr_mimebundle_()


def test_a_form_trains_and_gives_its_run(world):
    config = world.config(method="lipsum")
    made = FineTuneForm(config, world.runs, CPU)
    assert made.state == "ready" and made.halt.disabled
    assert made.figure().data[0].type == "table"
    states = []
    made.observe(lambda change: states.append(change["new"]), "state")
    run = made.wait()
    assert states == ["running", "finished"]
    assert run.path == world.folder(method="lipsum") and str(run.path) in made.note.value
    assert made.rows == read_jsonl(run.path / "metrics.jsonl")
    assert made.bar.value == made.bar.max == 12
    shown = drawn(made.plot)
    assert shown == json.loads(made.figure().to_json())
    losses = [row["loss"] for row in made.rows if "loss" in row]
    logged = named(made.plot, "loss as logged")
    assert (logged["x"], logged["y"]) == (list(range(1, 13)), losses)
    assert named(made.plot, "validation")["x"] == [4, 8, 12]
    title = f"Lipsum-FT, lr {config.lr:g}, 12 steps, seed 0, run {run.id}"
    assert shown["layout"]["title"]["text"] == title
    assert shown["layout"]["xaxis"]["range"] == [0, 12]
    assert made.wait() is run


def before_row(monkeypatch, step, act):
    """Do something just before the form sees the row of this step."""
    whole = training.train

    def train(*args, watch, **more):
        def seen(row):
            if row["step"] == step:
                act()
            watch(row)

        return whole(*args, watch=seen, **more)

    monkeypatch.setattr(TRAIN, train)


@pytest.mark.parametrize(("method", "step"), [("ft", 1), ("ft", 4), ("car", 7), ("lipsum", 12)])
def test_a_form_stopped_and_gone_on_equals_the_uninterrupted_run(
    world, tmp_path, monkeypatch, method, step
):
    import torch

    monkeypatch.setattr(form, "REDRAW", -1)
    whole = world.train(tmp_path / "whole", method=method)
    made = FineTuneForm(world.config(method=method), world.runs, CPU)
    with monkeypatch.context() as patch:
        before_row(patch, step, made.stop)
        made.begin.click()
        made.thread.join()
    assert made.state == "stopped" and isinstance(made.error, Stopped)
    assert f"stopped at step {step}; run goes on from the last validation" in made.note.value
    assert not made.begin.disabled and made.halt.disabled
    made.begin.click()
    run = made.wait()
    assert made.state == "finished"
    weights = [read_weights(one.path / "weights.safetensors") for one in (run, whole)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    assert made.rows == read_jsonl(whole.path / "metrics.jsonl")


def test_curves_of_a_resumed_run_never_go_back(world, monkeypatch):
    """Rows after the last validation come again: meanwhile each step is drawn once."""
    monkeypatch.setattr(form, "REDRAW", -1)
    made = FineTuneForm(world.config(), world.runs, CPU)
    with monkeypatch.context() as patch:
        before_row(patch, 7, made.stop)
        made.start()
        made.thread.join()
    seen = []
    made.plot.observe(lambda _: seen.append(named(made.plot, "loss")["x"]), "figure")
    made.wait()
    assert seen and [steps for steps in seen if steps != sorted(set(steps))] == []


def test_a_run_begun_elsewhere_goes_on_in_the_form(world, tmp_path):
    from test_training import Killed, killed_at

    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, 5)
        with pytest.raises(Killed):
            world.train()
    made = FineTuneForm(world.config(), world.runs, CPU)
    run = made.wait()
    assert [row["step"] for row in made.rows if "val_accuracy" in row] == [4, 8, 12]
    assert read_jsonl(world.train(tmp_path / "whole").path / "metrics.jsonl") == made.rows
    assert run.path.parent == world.runs


class Slow:
    """A training that begins, waits to be let go, and counts how often it was begun."""

    def __init__(self, raises=None):
        self.calls = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        self.raises = raises

    def __call__(self, config, folder, watch=None, **more):
        self.calls += 1
        self.begun.set()
        assert self.go.wait(20)
        if watch:
            watch({"step": 1, "loss": 1.0})
        raise self.raises or RunError("over")


def test_two_quick_clicks_train_once(monkeypatch, tmp_path):
    slow = Slow()
    monkeypatch.setattr(TRAIN, slow)
    made = FineTuneForm(RunConfig(), tmp_path)
    made.begin.click()
    made.begin.click()
    made.start()
    assert slow.begun.wait(20) and made.begin.disabled and not made.halt.disabled
    slow.go.set()
    made.thread.join()
    assert slow.calls == 1


def test_stop_before_the_first_step_stops_there(monkeypatch, tmp_path):
    slow = Slow()
    monkeypatch.setattr(TRAIN, slow)
    made = FineTuneForm(RunConfig(), tmp_path)
    made.begin.click()
    made.halt._handle_custom_msg("stop", [])  # as from the page
    assert "stopping" in made.note.value
    slow.go.set()
    made.thread.join()
    assert made.state == "stopped" and "stopped at step 1" in made.note.value


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("<b>no memory</b>"),
        SystemExit(3),
        KeyError(),
        ZeroDivisionError(),
        RunError("a < b"),
    ],
)
def test_an_error_in_the_thread_is_shown_and_raised(monkeypatch, tmp_path, error):
    slow = Slow(error)
    monkeypatch.setattr(TRAIN, slow)
    slow.go.set()
    made = FineTuneForm(RunConfig(), tmp_path)
    with pytest.raises(type(error)) as caught:
        made.wait()
    assert caught.value is error
    assert made.state == "failed" and not made.begin.disabled
    said = html.escape(str(error)) or type(error).__name__
    assert made.note.value == f"<p>failed: {said}</p>"


def test_wait_raises_stopped_where_it_is_stopped_meanwhile(monkeypatch, tmp_path):
    slow = Slow()
    monkeypatch.setattr(TRAIN, slow)
    made = FineTuneForm(RunConfig(), tmp_path)
    made.start()
    made.stop()
    threading.Timer(0.2, slow.go.set).start()
    with pytest.raises(Stopped):
        made.wait()
    assert slow.calls == 1


class Interrupting(Slow):
    """A training whose cell is interrupted while it waits, and that then takes a while to end."""

    def __call__(self, config, folder, watch=None, **more):
        time.sleep(0.3)  # until it waits
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        return super().__call__(config, folder, watch=watch, **more)


def test_an_interrupt_stops_it_and_is_one_clear_error(monkeypatch, tmp_path):
    """With Thread.join, Python 3.11 took the interrupted thread for ended: wait() gave None."""
    slow = Interrupting()
    slow.go.set()
    monkeypatch.setattr(TRAIN, slow)
    made = FineTuneForm(RunConfig(), tmp_path)
    waiting = []
    made.halt.observe(lambda change: waiting.append(change["new"]), "waiting")
    with pytest.raises(Stopped, match="stopped at step 1; run goes on from the last validation"):
        made.wait()
    assert made.state == "stopped" and not made.begin.disabled
    assert waiting == [True, False]


def test_an_interrupt_does_not_end_the_processes_that_decode_images(world, tmp_path, monkeypatch):
    """A kernel's interrupt goes to all of its processes; the training is to end by itself."""
    whole = world.train(tmp_path / "whole")
    made = FineTuneForm(world.config(), world.runs, Reading(device="cpu", workers=1))
    hit = []

    def interrupt_all():
        hit.extend(active_children())
        for process in active_children():
            os.kill(process.pid, signal.SIGINT)

    before_row(monkeypatch, 2, interrupt_all)
    run = made.wait()
    assert hit
    assert made.state == "finished", made.note.value
    assert read_jsonl(run.path / "metrics.jsonl") == read_jsonl(whole.path / "metrics.jsonl")


def test_wait_in_another_thread_does_not_ask_for_interrupts(world):
    made = FineTuneForm(world.config(), world.runs, CPU)
    waiting = []
    made.halt.observe(lambda change: waiting.append(change["new"]), "waiting")
    thread = threading.Thread(target=made.wait)
    thread.start()
    thread.join()
    assert made.state == "finished" and waiting == []


def test_a_closed_form_stops_its_training(world, monkeypatch):
    """Its cell was run again: nobody could stop the old form's, which would lock the run."""
    monkeypatch.setattr(form, "REDRAW", -1)
    first = FineTuneForm(world.config(steps=2000, eval_every=500), world.runs, CPU)
    begun = threading.Event()
    first.plot.observe(lambda _: begun.set(), "figure")
    first.start()
    assert begun.wait(60)
    thread = first.thread
    first.close()
    thread.join(10)
    assert first.state == "stopped" and not thread.is_alive()


def test_a_batch_trains_in_its_own_thread(world, monkeypatch):
    monkeypatch.setenv("CLIPFT_HEADLESS", "1")
    made = FineTuneForm(world.config(), world.runs, CPU)
    run = made.wait()
    assert made.thread is None and made.state == "finished"
    assert made._repr_mimebundle_().keys() == {FIGURE, "text/plain"}
    assert run.path == world.folder()


def test_two_forms_on_one_run_do_not_write_over_each_other(world, monkeypatch):
    whole = training.train
    inside = threading.Event()
    go = threading.Event()

    def held(*args, watch, **more):
        def waiting(row):
            inside.set()
            assert go.wait(20)
            watch(row)

        return whole(*args, watch=waiting, **more)

    first, second = (FineTuneForm(world.config(), world.runs, CPU) for _ in range(2))
    monkeypatch.setattr(TRAIN, held)
    first.start()
    assert inside.wait(60)
    try:
        with pytest.raises(RunError, match="being written by another process"):
            second.wait()
    finally:
        go.set()
    first.wait()
    assert (first.state, second.state) == ("finished", "failed")
    assert second.wait().path == first.run.path
