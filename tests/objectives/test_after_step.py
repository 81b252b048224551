"""SPD and FTP against plain transcriptions of their releases' own lines, and hooks of other people
in a real, tiny run.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from clipft.config import RunConfig
from clipft.disk.files import read_jsonl
from clipft.errors import ConfigError
from clipft.methods import METHODS, Method
from clipft.objectives.ftp import ftp
from clipft.objectives.move import Move
from clipft.objectives.spd import spd
from clipft.runs.run import open_runs
from clipft.testing import check_method

SHAPES = {"conv": (4, 3, 2, 2), "linear": (5, 3), "bias": (6,), "scale": ()}
STEPS, LR = 16, 0.05


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Adam:
    """The step that both releases take before their own lines; its size for one tensor."""

    def __init__(self, shape):
        self.m, self.v, self.t = torch.zeros(shape).double(), torch.zeros(shape).double(), 0

    def step(self, grad):
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * grad
        self.v = 0.999 * self.v + 0.001 * grad**2
        bias2 = math.sqrt(1 - 0.999**self.t)
        return LR / (1 - 0.9**self.t) * self.m / (self.v.sqrt() / bias2 + 1e-8)


def grads(shape, seed=0):
    """Gradients that mostly agree for some steps, and then turn round."""
    draw = torch.Generator().manual_seed(seed)
    way, *noise = torch.randn(STEPS + 1, *shape, generator=draw, dtype=torch.float64)
    for step, some in enumerate(noise):
        yield (1 if step < STEPS // 2 else -1) * way + 0.3 * some


def walk(hook, shape, start, is_head=False):
    """The tensor after each step of Adam and the hook, on the same gradients."""
    adam, before, kept = Adam(shape), start.clone(), {}
    for step, grad in enumerate(grads(shape), 1):
        move = Move(
            name="w",
            step=step,
            before=before,
            after=before - adam.step(grad),
            grad=grad,
            start=start,
            is_head=is_head,
            kept=kept,
        )
        before = hook(move)
        yield move, before


def spd_release(shape, start, decay):
    """What adamSPD.py does with one tensor, in NumPy; its `weight_decay` is our decay."""
    adam, start = Adam(shape), start.numpy()
    p = start.copy()
    for grad in grads(shape):
        new = p - adam.step(grad).numpy()
        condition = -np.sum(grad.numpy() * (p - start))
        if condition < 0:
            now, before = (np.sqrt(np.sum((each - start) ** 2)) for each in (new, p))
            new = new - decay * np.clip((now - before) / now, 0, 1) * (new - start)
        p = new
        yield torch.tensor(p)


def ftp_release(shape, start, k):
    """What util/FTP.py does with one tensor, in NumPy; its counter t is 1 at the first step."""
    adam, start = Adam(shape), start.numpy()
    p = start.copy()
    # The release sums over `dim=()` for a vector, which in torch is all of it.
    axes = tuple(range(1, p.ndim)) or None
    first = second = 0.0
    gamma, last = 1e-8, None
    for t, grad in enumerate(grads(shape), 1):
        c = p - adam.step(grad).numpy() - start
        norms = np.sum(np.abs(c), axis=axes, keepdims=True) + 1e-8
        if last is not None:
            last_c, scale = last
            slope = np.sum(np.sum(grad.numpy() * last_c, axis=axes, keepdims=True) * scale)
            slope *= k if slope > 0 else 1
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope**2
            root = np.sqrt(second / (1 - 0.999**t)) + 1e-8
            gamma -= 1e-2 * first / (1 - 0.9**t) / root
            gamma = min(max(gamma, 1e-8), norms.max())
        p = start + np.clip(gamma / norms, 0, 1) * c
        p = p.reshape(shape)
        last = (c, 1 / norms)
        yield torch.tensor(p)


@pytest.fixture(params=SHAPES)
def start(request):
    draw = torch.Generator().manual_seed(9)
    return torch.randn(SHAPES[request.param], generator=draw, dtype=torch.float64)


# --- SPD


@pytest.mark.parametrize("decay", [0.0, 0.3, 1.0, 2.0])
def test_spd_is_its_release(start, decay):
    ours = [kept for _, kept in walk(lambda move: spd(move, decay), start.shape, start)]
    for one, other in zip(ours, spd_release(start.shape, start, decay), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    plain = [kept for _, kept in walk(lambda move: move.after, start.shape, start)]
    assert torch.equal(ours[-1], plain[-1]) == (decay == 0)


def test_spd_of_decay_one_keeps_the_radius_where_it_acts(start):
    acted = 0
    for move, kept in walk(spd, start.shape, start):
        old, new = ((tensor - start).norm() for tensor in (move.before, move.after))
        goes_back = (move.grad * (move.before - start)).sum() > 0
        if goes_back and new > old:
            acted += 1
            torch.testing.assert_close((kept - start).norm(), old, rtol=1e-5, atol=1e-6)
        else:  # a shrinking radius, a good way, and the first step
            assert torch.equal(kept, move.after)
    assert acted or start.dim() == 0


def test_spd_of_a_tensor_that_came_back_is_finite(start):
    away = start + 1
    move = Move(
        name="w", step=2, before=away, after=start, grad=away, start=start, is_head=False, kept={}
    )
    assert torch.equal(spd(move), start)


# --- FTP


@pytest.mark.parametrize("k", [0.0, 0.5, 1.0])
def test_ftp_is_its_release(start, k):
    ours = [kept for _, kept in walk(lambda move: ftp(move, k), start.shape, start)]
    for one, other in zip(ours, ftp_release(start.shape, start, k), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_ftp_holds_the_first_step_at_theta0_and_every_row_within_gamma(start):
    for move, kept in walk(ftp, start.shape, start):
        change = (kept - start).abs()
        rows = change.sum() if start.dim() < 2 else change.flatten(1).sum(1)
        assert (rows <= move.kept["gamma"] + 2e-6).all()
        if move.step == 1:
            torch.testing.assert_close(kept, start, rtol=0, atol=1e-6)
            assert move.kept["gamma"].item() == 1e-8


def test_with_k_zero_gamma_only_grows_and_with_no_bound_the_step_is_adams(start):
    gammas = []
    for move, _ in walk(lambda move: ftp(move, 0.0), start.shape, start):
        gammas.append(move.kept["gamma"].item())
        largest = (1 / move.kept["inverse"]).max().item()
        assert len(gammas) < 2 or gammas[-1] >= min(gammas[-2], 0.999 * largest)

    def unbounded(move):
        if move.kept:
            move.kept["gamma"] = torch.tensor(math.inf, dtype=torch.float64)
        return ftp(move, 0.0)

    for move, kept in walk(unbounded, start.shape, start):
        if move.step > 1:
            torch.testing.assert_close(kept, move.after, rtol=1e-5, atol=1e-6)


def test_ftp_leaves_the_head_alone(start):
    for move, kept in walk(ftp, start.shape, start, is_head=True):
        assert kept is move.after and not move.kept


# --- in a run


def test_spd_without_decay_is_ft_bit_for_bit(world):
    ft = world.train(steps=8, lr=1e-2)
    plain = world.train(steps=8, lr=1e-2, method="spd", options={"decay": 0.0})
    assert same(plain.tuned, ft.tuned)
    assert not same(world.train(steps=8, lr=1e-2, method="spd").tuned, ft.tuned)


def test_k_holds_a_run_of_ftp_and_its_head_is_free(world):
    settings = {"steps": 8, "lr": 1e-2, "selection": "last"}
    ft = world.train(**settings)
    held = [world.train(**settings, method="ftp", options={"k": k}) for k in (0.0, 1.0)]
    far = []
    for run in (ft, *held):
        tower = [name for name in run.anchor if name.startswith("visual.")]
        far.append(sum((run.tuned[name] - run.anchor[name]).abs().sum() for name in tower))
    assert far[0] > far[1] >= far[2] > 0
    assert not torch.equal(held[1].tuned["weight"], held[1].anchor["weight"])


@pytest.fixture
def registered():
    """Adds a method, which is gone after the test."""
    before = dict(METHODS)
    yield METHODS.add
    METHODS.clear()
    METHODS.update(before)


def clip_to(move, far: float = 1e-3):
    """Somebody's hook: no number goes further than this from theta0."""
    return move.start + (move.after - move.start).clamp(-far, far)


def hold(step, power: float = 2.0):
    """Somebody's penalty."""
    return step.images.abs().pow(power).mean()


def test_a_hook_of_ones_own_beside_a_penalty(world, registered):
    entry = Method("mine", "Mine", "yours", hold, lam=0.1, per_image=True, after_step=clip_to)
    check_method(entry)
    registered(entry)
    assert entry.options == {"power": 2.0, "far": 1e-3}
    assert entry.source_digest() not in ("", "unknown", Method("x", "X", "", hold).source_digest())
    run = world.train(method="mine", options={"far": 2e-3}, lr=1e-2, steps=3, selection="last")
    far = max((run.tuned[name] - run.anchor[name]).abs().max().item() for name in run.anchor)
    assert far == pytest.approx(2e-3, rel=1e-3)
    (folder,) = [found for found in open_runs(world.runs) if found.config.method == "mine"]
    assert "mine" in read_jsonl(folder.path / "metrics.jsonl")[0]
    with pytest.raises(ConfigError, match="unknown option of mine 'fare'; did you mean 'far'"):
        RunConfig(method="mine", options={"fare": 1.0})


COUNT = []


def counting(move):
    """Breaks the contract: it remembers elsewhere."""
    COUNT.append(move)
    return move.after + len(COUNT)


def in_place(move):
    """Breaks the contract."""
    return move.after.add_(1)


def keeps_words(move):
    """Breaks the contract."""
    move.kept["a.b"] = move.after
    return move.after


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (counting, "another tensor of the same move; what it remembers belongs into move.kept"),
        (in_place, "changes move.after in place"),
        (keeps_words, "'a.b'.* no tensor by a name without a dot"),
        (lambda move: move.after / 0, "after step 1 it makes Tensor"),
        (lambda move: move.after.sum(0), "fails after a step|of shape"),
        (lambda move, far: move.after, "argument far has no default"),
        (lambda move: move.nothing, "fails after a step: AttributeError"),
    ],
)
def test_a_hook_that_breaks_the_contract_is_named(hook, words):
    entry = replace(METHODS["ft"], name="mine", after_step=hook)
    with pytest.raises(ConfigError, match=words) as caught:
        check_method(entry)
    assert "\n" not in str(caught.value)
