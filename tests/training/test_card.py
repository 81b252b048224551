"""What a step costs changes none of its numbers: parts of a batch, precision, order in memory,
checkpointing, compilation, losses that are read now and then; and a step that does not fit.
"""

import contextlib
import copy
import math
from dataclasses import replace

import pytest
import torch
from conftest import QUIET, OnBench, Trained
from lightning_fabric import Fabric
from torch import nn

from clipft import train
from clipft.disk.files import read_jsonl
from clipft.errors import ConfigError, RunError, Stopped
from clipft.methods import METHODS, Method
from clipft.models import load
from clipft.models.checkpoints import read_weights
from clipft.models.precision import computing_in
from clipft.testing import check_method
from clipft.training import compiled, loop
from clipft.training.examples import PixelExamples
from clipft.training.gradients import Gradients
from clipft.training.losses import Losses
from clipft.training.observer import Observer
from clipft.training.state import State

LAST = {"selection": "last", "steps": 4, "eval_every": 2}


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def rows_of(run):
    return read_jsonl(run.path / "metrics.jsonl")


# --- parts of a batch


def spread(step):
    """A penalty that couples the images of a batch: their spread around their mean."""
    return (step.images - step.images.mean(0)).square().sum(-1).mean()


@pytest.fixture
def spreading(monkeypatch):
    """Somebody's method, of which nobody said that it is a mean over images."""
    monkeypatch.setitem(
        METHODS, "spread", Method("spread", "Spread", "mine", spread, needs={"anchor"}, lam=1.0)
    )


def gradients_of(world, parts, **changes):
    """Terms and gradients of the first batch, and the sizes of what went through the student."""
    config = world.config(accumulate=parts, **changes)
    run = OnBench(config)
    fabric = Fabric(accelerator="cpu", devices=1)
    student = run.student.train()
    state = State.begin(student, config, fabric)
    examples = PixelExamples(run.bench, config)
    with torch.no_grad():  # away from theta0, where penalties and their gradients are 0
        for number, weight in enumerate(student.parameters()):
            draw = torch.Generator().manual_seed(number)
            weight.add_(0.05 * torch.randn(weight.shape, generator=draw))
    sizes = []
    student.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    observe = Observer(run.bench, config, state, fabric, examples.train)
    batch = next(iter(examples.batches(range(1))))
    terms = Gradients(config, METHODS[config.method], fabric, observe).of(batch, 0)
    found = {name: weight.grad for name, weight in student.named_parameters()}
    return {name: float(term) for name, term in terms.items()}, found, sizes


STEPPED = [name for name, entry in METHODS.items() if entry.trains != "head"]


@pytest.mark.parametrize("method", [*STEPPED, "spread"])
def test_parts_of_a_batch_have_its_gradient(world, spreading, method):
    whole_terms, whole, sizes = gradients_of(world, 1, method=method)
    assert sizes == [8]
    terms, parts, sizes = gradients_of(world, 3, method=method)
    assert sizes == [3, 3, 2] * (1 if METHODS[method].is_mean else 2)
    assert terms == pytest.approx(whole_terms, rel=1e-5)
    assert parts.keys() == whole.keys()
    for name, gradient in whole.items():
        if gradient is None:
            assert parts[name] is None
        else:
            size = float(gradient.abs().max())
            torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-5 * size)


def test_the_loss_of_parts_that_couples_images_is_not_a_mean_over_them(world, spreading):
    """Else the test above could not fail."""
    apart = replace(METHODS["spread"], per_image=True)
    METHODS["spread"] = apart
    whole, _, _ = gradients_of(world, 1, method="spread")
    parts, _, _ = gradients_of(world, 3, method="spread")
    assert parts["spread"] < 0.95 * whole["spread"]
    with pytest.raises(ConfigError, match="says per_image and is no mean over images"):
        check_method(apart)


def test_more_parts_than_images_that_were_read():
    images = torch.arange(2)
    from clipft.training.observer import Shown

    assert [len(part.labels) for part in Shown(images, images).parts(5)] == [1, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accumulate": 9}, "accumulate is 9, expected at most batch_size, 8"),
        ({"accumulate": 0}, "accumulate: .*greater than or equal to 1"),
        ({"accumulate": 2, "method": "lp"}, "lp trains no tower, so accumulate would"),
        ({"compile": True, "method": "lp"}, "lp trains no tower, so compile would"),
        ({"layer_decay": 0.5, "method": "lp"}, "lp trains no tower, so layer_decay would"),
        ({"adapter": "lora", "method": "lp"}, "lp trains no tower, so adapter would"),
        ({"train_only": ["head"], "method": "lp"}, "lp trains no tower, so train_only would"),
    ],
)
def test_settings_that_cannot_be_are_one_line(world, changes, words):
    with pytest.raises(ConfigError, match=words) as caught:
        world.config(**changes)
    assert "\n" not in str(caught.value)


def test_parts_are_refused_where_statistics_are_of_the_whole_batch(world, resnet_folder):
    resnet = {"model": f"local-dir:{resnet_folder}", "pretrained": str(resnet_folder / "random.pt")}
    with pytest.raises(ConfigError, match=r"has BatchNorm.*; leave out accumulate=2$"):
        world.train(**resnet, accumulate=2)
    assert not world.runs.exists()


# --- precision


def fp32_precisions():
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision


@pytest.mark.parametrize("precision", ["32-true", "tf32", "bf16-mixed"])
def test_a_step_has_its_precision_forwards_and_backwards(world, monkeypatch, precision):
    seen = []

    def spy(step):
        seen.append(fp32_precisions())
        step.images.register_hook(lambda _: seen.append(fp32_precisions()))
        return step.images.mean()

    monkeypatch.setitem(METHODS, "spy", Method("spy", "Spy", "mine", spy, lam=1.0))
    before = fp32_precisions()
    run = world.train(method="spy", precision=precision, **LAST | {"steps": 1})
    kind = "tf32" if precision == "tf32" else "ieee"
    assert seen == [(kind, kind)] * 2
    assert fp32_precisions() == before
    if precision == "tf32":  # which is a way of a card
        plain = world.train(method="spy", **LAST | {"steps": 1})
        assert same(run.tuned, plain.tuned) and run.id != plain.id


def test_precision_is_as_it_was_after_an_error():
    before = fp32_precisions()
    seen = []
    with contextlib.suppress(RunError), computing_in("tf32", "cpu"):
        seen.append(fp32_precisions())
        raise RunError("stopped")
    assert seen == [("tf32", "tf32")]
    assert fp32_precisions() == before


# --- order in memory


def test_channels_last_changes_no_file(world, resnet_folder, tmp_path, monkeypatch):
    settings = LAST | {"model": f"local-dir:{resnet_folder}", "method": "lipsum"}
    settings["pretrained"] = str(resnet_folder / "random.pt")
    plain = world.train(tmp_path / "plain", **settings)

    # A copy: another name, so that the tests' memory of models is not asked.
    monkeypatch.setattr("clipft.evaluation.bench.load_clip", load.load_clip)
    monkeypatch.setattr(load, "_wants_channels_last", lambda *_: True)
    whole = world.train(tmp_path / "whole", **settings)
    convolution = whole.clip.model.visual.conv1.weight
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    assert whole.student.visual.conv1.weight.stride() == convolution.stride()
    assert whole.id == plain.id
    for name, tensor in plain.tuned.items():
        assert whole.tuned[name].is_contiguous()
        torch.testing.assert_close(whole.tuned[name], tensor, rtol=0, atol=5e-3)  # Adam's steps

    def stop(row):
        if row["step"] == 3:
            raise Stopped("here")

    with pytest.raises(Stopped):
        train(world.config(**settings), world.runs, reading=QUIET, watch=stop)
    assert same(world.train(**settings).tuned, whole.tuned)
    exported = read_weights(whole.export(tmp_path / "out") / "open_clip_model.safetensors")
    torch.testing.assert_close(exported["visual.conv1.weight"], whole.tuned["visual.conv1.weight"])


def test_only_convolutions_beyond_the_patches_want_it(world, resnet_folder):
    vit = world.bench().clip.model
    resnet = load.load_clip(f"local-dir:{resnet_folder}", str(resnet_folder / "random.pt")).model
    wants = load._wants_channels_last
    assert [wants(vit, "cuda"), wants(resnet, "cuda:1"), wants(resnet, "cpu")] == [0, 1, 0]


# --- checkpointing


@pytest.mark.parametrize(
    "changes", [{"method": "lipsum"}, {"method": "ldifs"}, {"method": "flyp", "accumulate": 3}]
)
def test_checkpointing_keeps_the_bits(world, tmp_path, changes):
    plain = world.train(tmp_path / "plain", **LAST, **changes)
    lean = Trained.of(
        train(
            world.config(**LAST, **changes), world.runs, reading=replace(QUIET, checkpointing=True)
        )
    )
    assert lean.id == plain.id and same(lean.tuned, plain.tuned)


def test_checkpointing_computes_blocks_twice(world, monkeypatch):
    calls = []
    forward = nn.MultiheadAttention.forward
    monkeypatch.setattr(
        nn.MultiheadAttention,
        "forward",
        lambda self, *given, **more: (
            calls.append(torch.is_grad_enabled()) or forward(self, *given, **more)
        ),
    )
    counts = []
    for lean in (False, True):
        calls.clear()
        config = world.config(**LAST | {"steps": 1, "seed": int(lean)})
        train(config, world.runs, reading=replace(QUIET, checkpointing=lean))
        counts.append(sum(calls))
    assert counts == [2, 4]  # of two blocks


def test_a_tower_that_cannot_checkpoint_is_said(world, resnet_folder, capsys):
    config = world.config(
        model=f"local-dir:{resnet_folder}", pretrained=str(resnet_folder / "random.pt"), steps=1
    )
    train(config, world.runs, reading=replace(QUIET, checkpointing=True))
    said = capsys.readouterr().err
    assert said.count("--checkpointing does nothing for the image tower of local-dir:") == 1


# --- compilation


@pytest.fixture
def compiling(monkeypatch):
    """torch.compile, but for the C compiler; counts what is compiled."""
    asked = []
    plain = torch.compile

    def compile(forward, **options):
        asked.append(options)
        return plain(forward, **options, backend="eager")

    monkeypatch.setattr(torch, "compile", compile)
    yield asked
    torch._dynamo.reset()


def test_a_compiled_run_is_resumed_and_has_the_same_names(world, compiling, tmp_path):
    changes = LAST
    plain = world.train(tmp_path / "plain", **changes)
    whole = world.train(tmp_path / "whole", **changes, compile=True)
    assert compiling == [{"dynamic": False}]
    assert whole.id != plain.id
    assert same(whole.tuned, plain.tuned)  # backend eager computes nothing otherwise

    def stop(row):
        if row["step"] == 3:
            raise Stopped("here")

    with pytest.raises(Stopped):
        train(world.config(**changes, compile=True), world.runs, reading=QUIET, watch=stop)
    resumed = world.train(**changes, compile=True)
    assert same(resumed.tuned, whole.tuned) and rows_of(resumed) == rows_of(whole)
    world.train(**changes | {"steps": 1}, compile=True, method="kd")
    assert len(compiling) == 5  # a teacher, too


@pytest.mark.parametrize("where", ["forwards", "backwards"])
def test_what_cannot_be_compiled_goes_on_uncompiled(world, monkeypatch, capsys, tmp_path, where):
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(_, numbers):
            return numbers.clone()

        @staticmethod
        def backward(*_):
            raise RuntimeError("no compiler\nand more")

    def compile(forward, **_):
        def through(pixels):
            if where == "forwards":
                raise RuntimeError("no compiler\nand more")
            return Broken.apply(forward(pixels))

        return through

    monkeypatch.setattr(torch, "compile", compile)
    run = world.train(compile=True, **LAST, method="kd")
    said = capsys.readouterr().out
    assert said.count("torch.compile failed: no compiler; the run goes on uncompiled\n") == 1
    assert same(run.tuned, world.train(tmp_path / "plain", **LAST, method="kd").tuned)


def test_a_trial_leaves_nothing_in_the_model(compiling):
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).train()
    before = copy.deepcopy(net.state_dict())
    assert compiled.try_compiled(net.forward, net, torch.randn(4, 3)) is not None
    assert same(net.state_dict(), before)
    assert all(weight.grad is None for weight in net.parameters())


# --- losses that are read now and then


def reading_every(monkeypatch, steps):
    """Losses are read as those of a card are, now and then."""
    monkeypatch.setattr(Losses, "on", classmethod(lambda cls, _: cls(steps)))


def test_losses_read_late_are_the_same(world, tmp_path, monkeypatch):
    changes = {"method": "lipsum", "steps": 12, "eval_every": 4}
    with monkeypatch.context() as patch:
        reading_every(patch, 50)
        late = world.train(**changes)
    now = world.train(tmp_path / "now", **changes)
    assert same(late.tuned, now.tuned) and rows_of(late) == rows_of(now)


@pytest.mark.parametrize("every", [1, 50])
def test_the_first_term_that_is_not_finite_is_named(world, monkeypatch, every):
    """However late it is read; nothing of after it is kept."""
    reading_every(monkeypatch, every)
    monkeypatch.setattr(loop, "LOGGED", 1)
    calls = []
    factors = [1.0] * 6 + [math.nan] * 14

    def sick(step):
        calls.append(factors[len(calls)])
        return calls[-1] * step.images.mean()

    monkeypatch.setitem(METHODS, "sick", Method("sick", "Sick", "mine", sick, lam=1.0))
    changes = {"method": "sick", "steps": 20, "eval_every": 4}
    with pytest.raises(RunError, match=r"^sick is nan at step 7: the run diverged") as caught:
        world.train(**changes)
    assert "\n" not in str(caught.value)
    assert len(calls) == (7 if every == 1 else 8)  # the second validation would be after step 8
    folder = world.folder(**changes)
    kept = read_weights(folder / "checkpoint.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values())
    assert [row["step"] for row in read_jsonl(folder / "metrics.jsonl")] == [4]

    calls.clear()
    factors[:] = [1.0] * 20
    assert rows_of(world.train(**changes))[-1]["step"] == 20


def test_losses_are_read_once_and_in_order():
    unread = Losses(every=3)
    for step in (1, 2, 3):
        assert not unread.is_due
        unread.add(step, {"a": torch.tensor(float(step)), "b": torch.tensor(0.5)})
    assert unread.is_due
    assert unread.read() == [(step, {"a": float(step), "b": 0.5}) for step in (1, 2, 3)]
    assert unread.last == {"a": 3.0, "b": 0.5} and unread.read() == []
    assert Losses.on(torch.device("cpu")).every == 1
    assert Losses.on(torch.device("cuda")).every > 1


# --- a step that does not fit


@pytest.mark.parametrize(
    ("changes", "lean", "advice"),
    [
        ({}, False, "--checkpointing (the same run goes on), accumulate=2, precision=bf16-mixed, "),
        ({"accumulate": 8, "precision": "bf16-mixed"}, True, ""),
        ({"accumulate": 2}, True, "accumulate=4, precision=bf16-mixed, "),
    ],
)
def test_a_step_that_does_not_fit_is_one_line(world, tmp_path, monkeypatch, changes, lean, advice):
    changes = LAST | changes
    whole = world.train(tmp_path / "whole", **changes)
    reading = replace(QUIET, checkpointing=lean)

    def full(self, batch, step, of=Gradients.of):
        if step == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")
        return of(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(Gradients, "of", full)
        with pytest.raises(RunError, match=r"^a step of 8 images .*does not fit into") as caught:
            train(world.config(**changes), world.runs, reading=reading)
    line = str(caught.value)
    assert "\n" not in line and world.model in line
    assert f"; try {advice}a smaller batch_size (the last checkpoint is kept in" in line
    resumed = Trained.of(train(world.config(**changes), world.runs, reading=reading))
    assert same(resumed.tuned, whole.tuned) and rows_of(resumed) == rows_of(whole)


def test_a_card_says_how_large_it_is(monkeypatch):
    from clipft.models.load import memory_of

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 << 29, 80 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A card")
    said = memory_of(torch.device("cuda:0"))
    assert said == "the 80.0 GiB of A card (free now: 1.5 GiB)"
