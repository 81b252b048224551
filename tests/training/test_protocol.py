"""`protocol: release` against transcriptions of what the releases do, and what it leaves alone."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import QUIET

from clipft import RunConfig, combine, results, results_table, score, train
from clipft.data.images import decode
from clipft.errors import ConfigError
from clipft.inputs.batches import Stream
from clipft.inputs.release import CentralPixels
from clipft.posthoc.greedy import greedy_walk
from clipft.runs.protocol import OURS, Protocol, protocol_of
from clipft.training.coarse_adamw import CoarseAdamW
from clipft.training.examples import PixelExamples
from clipft.training.loop import learning_rate
from clipft.training.observer import Observer

RELEASE = {"protocol": "release"}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"method": "lipsum"}, Protocol(late_warmup=True, plain_resize=True)),
        (
            {"method": "car", "precision": "bf16-mixed"},
            Protocol(late_warmup=True, plain_resize=True, coarse_moment=True),
        ),
        ({"head": "absorbed"}, Protocol(short_batches=True)),
        ({"method": "flyp"}, Protocol(short_batches=True)),
        ({"method": "flyp", "shots": 4}, Protocol(short_batches=True, drawn_once=True)),
        ({"method": "lipsum", "protocol": "clipft"}, OURS),
    ],
    ids=str,
)
def test_whose_release_it_is(settings, wanted):
    assert protocol_of(RunConfig(**RELEASE | settings)) == wanted


def test_it_names_no_run_while_it_is_default():
    assert RunConfig(protocol="clipft").id == RunConfig().id != RunConfig(**RELEASE).id
    with pytest.raises(ConfigError, match="lp takes no steps, so protocol=release would do nothin"):
        RunConfig(method="lp", **RELEASE)
    assert RunConfig(method="lp", solver="adamw", **RELEASE).protocol == "release"


@pytest.mark.parametrize("steps", [1, 7, 40, 5000])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.25])
def test_the_learning_rate_is_optaxs(steps, warmup):
    """join_schedules of a linear_schedule from 0 and a cosine_decay_schedule."""
    config = RunConfig(method="lipsum", lr=2.0, steps=steps, warmup=warmup, **RELEASE)
    boundary = math.floor(warmup * steps)
    decay = max(1, math.floor((1 - warmup) * steps))
    for count in range(0, steps, max(1, steps // 100)):
        if count < boundary:
            wanted = 2.0 * count / boundary
        else:
            wanted = 2.0 * 0.5 * (1 + math.cos(math.pi * min(count - boundary, decay) / decay))
        assert learning_rate(count, config) == pytest.approx(wanted, abs=1e-12)


def bf16(number):
    """Round a float32 to bf16, to nearest and ties to even, by its bits."""
    bits = int(np.float32(number).view(np.uint32))
    bits += 0x7FFF + ((bits >> 16) & 1)
    return np.uint32(bits & 0xFFFF0000).view(np.float32)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_first_moment_is_optaxs_in_bf16(decay):
    """scale_by_adam with mu_dtype=bfloat16, add_decayed_weights, scale by -lr; number by number."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=5).astype(np.float32)
    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = CoarseAdamW([{"params": [weight]}], lr=0.01, betas=(0.9, 0.99), weight_decay=decay)
    plain = torch.nn.Parameter(torch.from_numpy(start.copy()))
    fine = torch.optim.AdamW([plain], lr=0.01, betas=(0.9, 0.99), weight_decay=decay)

    theta = start.astype(np.float64)
    mu, nu = np.zeros(5, np.float32), np.zeros(5)
    for count in range(1, 30):
        gradient = rng.normal(size=5).astype(np.float32)
        for k in range(5):
            fresh = np.float32(0.1) * gradient[k] + bf16(bf16(0.9) * mu[k])
            nu[k] = 0.01 * float(gradient[k]) ** 2 + 0.99 * nu[k]
            update = fresh / (1 - 0.9**count) / (math.sqrt(nu[k] / (1 - 0.99**count)) + 1e-8)
            theta[k] -= 0.01 * (update + decay * theta[k])
            mu[k] = bf16(fresh)
        for one in (weight, plain):
            one.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        fine.step()
        assert optimizer.state[weight]["exp_avg"].numpy() == pytest.approx(mu, rel=1e-2, abs=1e-5)
        assert weight.detach().numpy() == pytest.approx(theta, abs=2e-5)
    kept = optimizer.state[weight]["exp_avg"]
    assert torch.equal(kept, kept.bfloat16().float())
    assert (weight - plain).abs().max() > 1e-4


@pytest.mark.parametrize(("rows", "size"), [(10, 4), (8, 4), (3, 5), (7, 1)])
def test_an_epoch_ends_with_a_short_batch(rows, size):
    """As a loader that drops nothing: each epoch is a shuffle cut into batches."""
    per_epoch = math.ceil(rows / size)
    steps = 3 * per_epoch
    batches = list(Stream(rows, size, range(steps), 0, short=True))
    for epoch in range(3):
        own = batches[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert [len(batch) for batch in own[:-1]] == [size] * (per_epoch - 1)
        seen = [row for batch in own for row, _ in batch]
        assert sorted(seen) == list(range(rows))
        assert len({draw for batch in batches for _, draw in batch}) == 3 * rows
    assert list(Stream(rows, size, range(2, steps), 0, short=True)) == batches[2:]


def test_pixels_are_the_releases_and_what_is_reported_stays(world):
    ours, theirs = (world.bench(**more) for more in ({}, RELEASE))
    config = theirs.config
    examples = PixelExamples(theirs.bench, config)
    assert isinstance(theirs.bench.selection_transform(config), CentralPixels)
    assert theirs.bench.selection_transform(ours.config) is theirs.clip.transform
    (batch,) = examples.batches(range(1))
    assert batch.pixels.is_floating_point() and batch.pixels.shape == (8, 3, 16, 16)
    (chosen_on,) = examples.selection
    first = chosen_on.pixels[0]
    split = theirs.selection_split()
    assert torch.equal(first, CentralPixels((16, 16))(decode(split.root / split.ids[0])))
    assert theirs.student.transform is theirs.clip.transform


def test_an_unreadable_image_is_left_out_here_too(world, tree, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPFT_DATA", str(shutil.copytree(tree, tmp_path / "data")))
    on_bench = world.bench(**RELEASE)
    split = on_bench.train_split()
    (split.root / split.ids[0]).write_bytes(b"no image")
    run = train(on_bench.config, world.runs, reading=replace(QUIET, skip_bad=True))
    assert run.folder.has_weights


def test_few_shots_of_flyp_are_cropped_and_captioned_once(world):
    on_bench = world.bench(method="flyp", shots=2, batch_size=8, **RELEASE)
    batches = list(PixelExamples(on_bench.bench, on_bench.config).batches(range(4)))
    for batch in batches[1:]:
        for row in range(8):
            same = int((batches[0].rows == batch.rows[row]).nonzero())
            assert torch.equal(batches[0].pixels[same], batch.pixels[row])
    anew = world.bench(method="flyp", shots=2, batch_size=8)
    first, second = PixelExamples(anew.bench, anew.config).batches(range(2))
    assert not torch.equal(first.pixels[first.rows.argsort()], second.pixels[second.rows.argsort()])

    class Nothing:
        student = module = teacher = None

    fabric = type("Fabric", (), {"device": torch.device("cpu")})()
    observer = Observer(on_bench.bench, on_bench.config, Nothing(), fabric, on_bench.train_split())
    first, *others = [
        observer._image_captions(batch, step)[batch.rows.argsort()]
        for step, batch in enumerate(batches)
    ]
    assert all(torch.equal(captions, first) for captions in others)


def test_a_release_run_learns_otherwise_and_is_told_apart(world, capsys):
    changes = {"method": "lipsum", "steps": 10, "eval_every": 5}
    ours, theirs = world.train(**changes), world.train(**changes, **RELEASE)
    rates = [row["lr"] for row in theirs.folder.history() if "lr" in row]
    assert rates[0] == 0 and len(rates) == 10
    assert any(not torch.equal(ours.tuned[name], theirs.tuned[name]) for name in ours.tuned)
    assert theirs.title == f"{ours.title}, protocol release"
    score([ours, theirs], (0.0, 1.0), gap_texts=50, reading=QUIET)
    table = results(world.runs)
    assert table.groupby("protocol").recipe.nunique().to_dict() == {"clipft": 1, "release": 1}
    frame = results_table(table)
    assert frame.method.tolist()[1:] == ["Lipsum-FT", "Lipsum-FT, release"]
    line = frame.attrs["mixture"]
    assert line == "this table mixes protocols (clipft in 1 run, release in 1 run)"
    assert line in capsys.readouterr().out
    zero_shot = table[(table.alpha == 0) & (table.metric == "nll")]
    assert (zero_shot.groupby("split")["mean"].nunique() == 1).all()


def test_ties_are_turned_round_as_the_release_of_soups_does():
    """sorted(...) by accuracy, then .reverse()."""
    accuracy = {0: 0.5, 1: 0.7, 2: 0.7, 3: 0.6, 4: 0.7}
    walked = []

    def of(positions):
        walked.append(positions)
        return accuracy[positions[0]] if len(positions) == 1 else 0.0

    plain = sorted(accuracy, key=accuracy.get)
    plain.reverse()
    greedy_walk(5, of, ties="turned")
    assert [positions[-1] for positions in walked[5:]] == plain[1:] and walked[5][0] == plain[0]
    walked.clear()
    greedy_walk(5, of)
    assert walked[5][0] == 1


def test_a_soup_of_release_runs_turns_ties_round(world):
    members = [world.train(seed=seed, steps=2, **RELEASE) for seed in (0, 1)]
    soup = combine("greedy_soup", members, reading=QUIET)
    assert soup.after.options == {"ties": "turned"}
    given = combine("greedy_soup", members, {"ties": "given"}, reading=QUIET)
    assert given.after.options == {"ties": "given"} and given.id != soup.id
    ours = [world.train(seed=seed, steps=2) for seed in (0, 1)]
    assert combine("greedy_soup", ours, reading=QUIET).after.options == {}
