"""Objectives against float64 NumPy transcriptions, their limits, and what they may touch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from open_clip.loss import ClipLoss
from scipy.special import log_softmax

from clipft.diagnostics.energy_gap import energy_gap
from clipft.errors import ConfigError
from clipft.methods import METHODS, Method
from clipft.objectives.ldifs import distance
from clipft.objectives.loss import loss_terms
from clipft.objectives.step import FIELDS, Step
from clipft.options import check_options

sizes = st.fixed_dictionaries(
    {k: st.integers(1, top) for k, top in {"b": 8, "d": 12, "c": 9, "t": 6, "m": 10}.items()}
)
drawn = given(sizes, st.integers(0, 2**32 - 1), st.floats(0.5, 50))
property_test = settings(deadline=None, max_examples=25)

PROJECTIONS = ("image_projection", "text_projection")
LEAVES = ("images", "head", "captions", "spurious", "tower", *PROJECTIONS)
AT_THETA0 = ["l2sp", "kd", "car", "feat_kd", "ldifs", "lipsum", "mse_class", "mse_context"]
AT_THETA0 += ["kld_random", "starft_ce"]


def rows_of_length_one(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def arrays(size, seed, scale=10.0):
    """One step as float64 arrays; `head` (D, C) makes the logits, `tower` is what else trains."""
    rng = np.random.default_rng(seed)
    b, d, c, t, m = (size[k] for k in "bdctm")
    return {
        "images": rng.standard_normal((b, d)) * 3,
        "labels": rng.integers(0, c, b),
        "scale": scale,
        "head": rng.standard_normal((d, c)),
        "tower": rng.standard_normal(5),
        "anchor": rng.standard_normal((b, d)) * 5,
        "zero_shot": rows_of_length_one(rng.standard_normal((c, d))).T,
        "context": rows_of_length_one(rng.standard_normal((t, d))).T,
        "random_texts": rows_of_length_one(rng.standard_normal((m, d))),
        "captions": rows_of_length_one(rng.standard_normal((b, d))),
        "tower0": rng.standard_normal(5),
        "teacher_images": rng.standard_normal((b, d)) * 3,
        "teacher_captions": rows_of_length_one(rng.standard_normal((b, d))),
        "teacher_scale": 0.7 * scale,
        "teacher_logits": rng.standard_normal((b, c)) * 5,
        "image_projection": rng.standard_normal((d + 2, d)),
        "text_projection": rng.standard_normal((5, d)),
        "spurious": rows_of_length_one(rng.standard_normal((b, d))),
        "spurious_anchor": rows_of_length_one(rng.standard_normal((b, d))),
        "start_scale": 0.7 * scale,
        "progress": 0.25,
    }


def states_of(images, stack):
    """Hidden states (B, 3, D) by layer, of which the first has 2 tokens, as a patch embedding."""
    tokens = [images, images[:, list(range(images.shape[1]))[::-1]], 2 - images]
    states = {"conv1": stack(tokens[1:], 1)}
    for number, name in enumerate(("positions", "dropout", "ln_pre", "block 1", "block 2")):
        states[name] = stack(tokens, 1) + number
    return states | {"block 3": stack(tokens, 1) * 3, "ln_post": images[:, None]}


def step_of(values):
    """The same as (Step, leaves): the tensors that are trained ask for a gradient."""
    given = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in values.items()}
    leaves = {name: given[name].requires_grad_(True) for name in LEAVES}
    head = given.pop("head")
    tower = given.pop("tower")
    start = given.pop("tower0")
    given["logits"] = given["scale"] * torch.nn.functional.normalize(given["images"], dim=-1) @ head
    given["hidden"] = states_of(given["images"], torch.stack)
    given["hidden_anchor"] = states_of(given["anchor"], torch.stack)
    given["weights"] = {"visual.w": tower, "weight": head}
    given["start"] = {"visual.w": start, "weight": given["zero_shot"]}
    return Step(**given), leaves


def some(**changed):
    return arrays({"b": 6, "d": 8, "c": 5, "t": 4, "m": 7}, 0) | changed


def terms_of(name, values, lam=None, **options):
    return {
        key: float(term.detach())
        for key, term in loss_terms(METHODS[name], step_of(values)[0], lam, **options).items()
    }


def scores(a, images, texts):
    """s f T^T for the rows of texts."""
    return a["scale"] * rows_of_length_one(a[images]) @ texts.T


def plain_ce(a):
    logits = log_softmax(scores(a, "images", a["head"].T), axis=1)
    return -np.mean([logits[i, y] for i, y in enumerate(a["labels"])])


def plain_kl(u, v, tau=1.0):
    """KL(softmax(v / tau) || softmax(u / tau)), mean over the rows."""
    p = log_softmax(v / tau, axis=1)
    q = log_softmax(u / tau, axis=1)
    return np.mean(np.sum(np.exp(p) * (p - q), axis=1))


def plain_mse(u, v):
    return np.mean([np.sum((u[i] - v[i]) ** 2) / (2 * u.shape[1]) for i in range(len(u))])


def plain_flyp(a, mask=False):
    """-log of each pair's share, in both directions; mask: without other pairs of its class."""
    s = scores(a, "images", a["captions"])
    y = a["labels"]
    total = 0.0
    for i in range(len(y)):
        kept = [j for j in range(len(y)) if j == i or not mask or y[j] != y[i]]
        for row in (s[i], s[:, i]):
            total += np.logaddexp.reduce(row[kept]) - row[i]
    return total / (2 * len(y))


def on_classes(a):
    return scores(a, "images", a["head"].T), scores(a, "anchor", a["zero_shot"].T)


def on_context(a):
    return scores(a, "images", a["context"].T), scores(a, "anchor", a["context"].T)


def on_random(a):
    return scores(a, "images", a["random_texts"]), scores(a, "anchor", a["random_texts"])


def plain_ldifs(a, names, axis):
    """As the release: normalised over `axis`, means over channels, tokens, layers, then images."""
    tuned, start = states_of(a["images"], np.stack), states_of(a["anchor"], np.stack)
    diffs = []
    for name in names:
        norms = [np.sqrt(np.sum(h[name] ** 2, axis=axis, keepdims=True)) for h in (tuned, start)]
        diff = (tuned[name] / (norms[0] + 1e-10) - start[name] / (norms[1] + 1e-10)) ** 2
        diffs.append(diff.mean(-1).mean(-1))
    return np.stack(diffs, 1).mean(-1).mean(0)


def plain_clipood(a, margin):
    """As the release: a part of the true class is taken from the unit image, then softmax."""
    texts = a["zero_shot"].T
    f = rows_of_length_one(a["images"]) - margin * texts[a["labels"]]
    y = log_softmax(a["scale"] * f @ texts.T, axis=1)
    return -np.mean(y[np.arange(len(y)), a["labels"]])


def plain_starft(a):
    """As the release: both logits by the start's scale, pairs of one class at -1e8, batchmean."""
    same = a["labels"].reshape(-1, 1) == a["labels"].reshape(1, -1)
    start = a["start_scale"] * rows_of_length_one(a["anchor"]) @ a["spurious_anchor"].T
    start[same] = -1e8
    tuned = a["start_scale"] * rows_of_length_one(a["images"]) @ a["spurious"].T
    tuned[same] = -1e8
    return plain_kl(tuned, start)


FIRST_SIX = ("conv1", "positions", "dropout", "ln_pre", "block 1", "block 2")
BLOCKS = ("block 1", "block 2", "block 3", "ln_post")


def plain_soft_ce(u, v):
    """The cross-entropy of softmax(u) to the teacher's softmax(v), mean over the rows."""
    return -np.mean(np.sum(np.exp(log_softmax(v, axis=1)) * log_softmax(u, axis=1), axis=1))


def plain_carot(a, oc=0.2, sd=1.5, x=0.05, temperature=1.0):
    """The release's lines: an F-norm of V @ T.T, a root of squares, a sum of both directions."""
    v = a["image_projection"]
    loss = plain_flyp(a) + x * np.linalg.norm(v @ a["text_projection"].T, "fro")
    loss += oc * ((v.T @ v - np.eye(v.shape[1])) ** 2).sum() ** (1 / 2)
    logits = scores(a, "images", a["captions"])
    images = rows_of_length_one(a["teacher_images"])
    logits_t = a["teacher_scale"] * images @ a["teacher_captions"].T / temperature
    both = np.exp(log_softmax(logits_t, axis=1)) * log_softmax(logits, axis=1)
    both = both + np.exp(log_softmax(logits_t.T, axis=1)) * log_softmax(logits.T, axis=1)
    return loss + sd * -np.sum(both, axis=1).mean()


PENALTIES = {  # (method, options): its penalty
    ("l2sp", ()): lambda a: (
        np.sum((a["tower"] - a["tower0"]) ** 2) + np.sum((a["head"] - a["zero_shot"]) ** 2)
    ),
    ("kd", ()): lambda a: plain_kl(*on_classes(a)),
    ("kd", (("tau", 2.5),)): lambda a: 2.5**2 * plain_kl(*on_classes(a), 2.5),
    ("car", ()): lambda a: plain_kl(*on_context(a)),
    ("feat_kd", ()): lambda a: np.mean(np.linalg.norm(a["images"] - a["anchor"], axis=1) ** 2),
    ("ldifs", ()): lambda a: plain_ldifs(a, BLOCKS, 2),
    ("ldifs", (("over", "tokens"),)): lambda a: plain_ldifs(a, BLOCKS, 1),
    ("ldifs", (("layers", "release"), ("over", "tokens"))): lambda a: plain_ldifs(a, FIRST_SIX, 1),
    ("lipsum", ()): lambda a: plain_mse(*on_random(a)),
    ("clipood", ()): lambda a: plain_clipood(a, 0.3),
    ("clipood", (("margin", 1.0),)): lambda a: plain_clipood(a, 1.0),
    ("starft", ()): lambda a: (1 - 0.25) * plain_starft(a),
    ("starft", (("diminishing", False),)): plain_starft,
    ("starft_ce", ()): lambda a: (1 - 0.25) * plain_starft(a),
    ("mse_class", ()): lambda a: plain_mse(*on_classes(a)),
    ("mse_context", ()): lambda a: plain_mse(*on_context(a)),
    ("kld_random", ()): lambda a: plain_kl(*on_random(a)),
    ("self_distill", ()): lambda a: plain_soft_ce(
        scores(a, "images", a["head"].T), a["teacher_logits"]
    ),
    ("flyp", ()): plain_flyp,
    ("flyp", (("mask", True),)): lambda a: plain_flyp(a, mask=True),
    ("flyp_image", ()): plain_flyp,
    ("carot", ()): plain_carot,
    ("carot", (("oc", 2.0), ("sd", 0.5), ("x", 1.0))): lambda a: plain_carot(a, 2.0, 0.5, 1.0),
    ("tracer", ()): lambda a: plain_carot(a, 0.0, 1.5, 0.0),
    ("tracer", (("sd", 0.5), ("temperature", 3.0), ("oc", 1.0), ("x", 2.0))): lambda a: plain_carot(
        a, 1.0, 0.5, 2.0, 3.0
    ),
    ("flyp_with_ce", ()): plain_flyp,
    ("flyp_with_ce", (("mask", True),)): lambda a: plain_flyp(a, mask=True),
}


@pytest.mark.parametrize(("name", "options"), PENALTIES)
def test_formula(name, options):
    @property_test
    @drawn
    def check(size, seed, scale):
        values = arrays(size, seed, scale)
        lam = METHODS[name].lam
        want = {name: (1 if lam is None else lam) * PENALTIES[name, options](values)}
        if METHODS[name].base:
            want["flyp"] = plain_flyp(values)
        elif lam is not None:
            want["cross_entropy"] = plain_ce(values)
        assert terms_of(name, values, **dict(options)) == pytest.approx(want, rel=1e-6, abs=1e-6)

    check()


@pytest.mark.parametrize("name", ["ft", "scratch_ft", "lp", "lp_ft", "ema", "flyp_ce"])
def test_kin_of_ft_are_cross_entropy_alone(name):
    assert terms_of(name, some()) == pytest.approx({"cross_entropy": plain_ce(some())}, rel=1e-6)


def test_every_method_has_a_formula_here():
    assert {name for name, _ in PENALTIES} == {
        name for name, entry in METHODS.items() if entry.function
    }


@pytest.mark.parametrize("name", AT_THETA0)
def test_lam_weighs_the_penalty_alone(name):
    own = terms_of(name, some())
    seven = terms_of(name, some(), 7.0)
    assert seven[name] == pytest.approx(7 * own[name] / METHODS[name].lam)
    assert seven["cross_entropy"] == own["cross_entropy"]


@pytest.mark.parametrize("name", AT_THETA0)
def test_penalty_and_gradient_are_zero_at_theta0(name):
    a = some()
    theta0 = {"anchor": a["images"], "head": a["zero_shot"], "tower": a["tower0"]}
    step, leaves = step_of(a | theta0 | {"spurious": a["spurious_anchor"]})
    penalty = METHODS[name].load()(step)
    penalty.backward()
    assert penalty.item() == pytest.approx(0, abs=1e-12)
    reached = [leaf for leaf in leaves.values() if leaf.grad is not None]
    assert reached
    for leaf in reached:
        torch.testing.assert_close(leaf.grad, torch.zeros_like(leaf), atol=1e-12, rtol=0)


@property_test
@drawn
def test_lipsum_is_a_quadratic_form(size, seed, scale):
    a = arrays(size, seed, scale)
    d = rows_of_length_one(a["images"]) - rows_of_length_one(a["anchor"])
    t = a["random_texts"]
    want = scale**2 / (2 * len(t)) * np.mean([row @ t.T @ t @ row for row in d])
    assert terms_of("lipsum", a)["lipsum"] == pytest.approx(want, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "texts"), [("lipsum", "random_texts"), ("mse_context", "context")]
)
def test_mse_is_half_the_energy_gap(name, texts):
    a = some()
    rows = torch.tensor(a[texts] if texts == "random_texts" else a[texts].T)
    gap = (
        energy_gap(torch.tensor(a["images"]), torch.tensor(a["anchor"]), rows, a["scale"])
        .mean()
        .item()
    )
    assert terms_of(name, a)[name] == pytest.approx(gap / 2, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "of"), [("kd", on_classes), ("car", on_context), ("kld_random", on_random)]
)
def test_kld_at_a_high_temperature_is_the_mse_of_centred_scores(name, of):
    a = some()
    u, v = of(a)
    change = (u - v) - (u - v).mean(1, keepdims=True)
    want = np.mean(np.sum(change**2, axis=1)) / (2 * u.shape[1])
    assert terms_of(name, a, 1.0, tau=1e3)[name] == pytest.approx(want, rel=1e-2)
    assert terms_of(name, a, 1.0, tau=1e5)[name] == pytest.approx(want, rel=1e-4)


@property_test
@drawn
def test_flyp_is_open_clips_loss(size, seed, scale):
    step, _ = step_of(arrays(size, seed, scale))
    images = torch.nn.functional.normalize(step.images, dim=-1)
    theirs = ClipLoss()(images, step.captions, torch.tensor(scale, dtype=torch.float64))
    torch.testing.assert_close(
        loss_terms(METHODS["flyp"], step)["flyp"], theirs, rtol=1e-6, atol=1e-9
    )


def test_ldifs_of_one_unnormalised_layer_is_feat_kd():
    step, _ = step_of(some())
    held = distance(step.images[:, None], step.anchor[:, None]).item()
    assert held * 8 == pytest.approx(terms_of("feat_kd", some())["feat_kd"], rel=1e-9)


def test_ldifs_is_finite_at_a_state_of_zeros():
    step, leaves = step_of(some(images=np.zeros((6, 8)), anchor=np.ones((6, 8))))
    METHODS["ldifs"].load()(step).backward()
    assert leaves["images"].grad.isfinite().all()


def test_ldifs_says_what_a_tower_lacks():
    step, _ = step_of(some())
    states = {"stage 1": step.hidden["block 1"]}
    with pytest.raises(
        ConfigError, match="layers=release holds states of open_clip's ViT"
    ) as caught:
        METHODS["ldifs"].load()(replace(step, hidden=states), layers="release")
    assert "\n" not in str(caught.value)


def test_clipoods_margin_is_wider_for_a_class_further_from_the_true_one():
    a = some(scale=1.0)
    texts = a["zero_shot"].T
    # The paper's own form: margin (1 - <g_y, g_c>) added to each class, 0 to the true one.
    raised = scores(a, "images", texts) + 0.7 * (1 - texts[a["labels"]] @ texts.T)
    rows = log_softmax(raised, axis=1)
    want = -np.mean(rows[np.arange(6), a["labels"]])
    assert terms_of("clipood", a, margin=0.7)["clipood"] == pytest.approx(want, rel=1e-9)


def test_clipood_without_a_margin_is_cross_entropy_on_the_zero_shot_head():
    a = some()
    want = plain_ce(a | {"head": a["zero_shot"]})
    assert terms_of("clipood", a, margin=0.0)["clipood"] == pytest.approx(want, rel=1e-9)


def test_starft_gives_pairs_of_one_class_no_probability():
    a = some(labels=np.array([0, 0, 1, 1, 1, 2]))
    rows = []
    for i, label in enumerate(a["labels"]):  # over the captions of other classes alone
        others = a["labels"] != label
        u, v = (
            a["start_scale"] * rows_of_length_one(a[images])[i] @ a[texts][others].T
            for images, texts in (("images", "spurious"), ("anchor", "spurious_anchor"))
        )
        rows.append(plain_kl(u[None], v[None]))
    got = terms_of("starft", a, 1.0, diminishing=False)["starft"]
    assert got == pytest.approx(np.mean(rows), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_starft_of_one_class_is_zero_and_finite(dtype):
    step, leaves = step_of(some(labels=np.full(6, 3)))
    names = ("images", "anchor", "spurious", "spurious_anchor")
    penalty = METHODS["starft"].load()(
        replace(step, **{name: getattr(step, name).to(dtype) for name in names})
    )
    penalty.backward()
    assert penalty.item() == 0
    for name in ("images", "spurious"):
        assert torch.equal(leaves[name].grad, torch.zeros_like(leaves[name]))


def test_starft_falls_to_nothing_at_the_last_step():
    own = terms_of("starft", some(progress=0.5))
    assert terms_of("starft", some(progress=1.0))["starft"] == 0
    assert own["starft"] == pytest.approx(0.5 * terms_of("starft", some(progress=0.0))["starft"])
    assert own["flyp"] == terms_of("flyp", some())["flyp"]


def test_masked_flyp_of_one_class_is_zero_and_finite():
    step, leaves = step_of(some(labels=np.full(6, 3)))
    loss = METHODS["flyp"].load()(step, mask=True)
    loss.backward()
    assert loss.item() == 0
    for name in ("images", "captions"):
        assert torch.equal(leaves[name].grad, torch.zeros_like(leaves[name]))


def test_masked_flyp_of_distinct_classes_is_flyp():
    a = some(
        labels=np.arange(5),
        **{k: v[:5] for k, v in some().items() if k in ("images", "captions", "anchor")},
    )
    assert terms_of("flyp", a, mask=True) == terms_of("flyp", a)


def needed(name):
    """The fields of Step that a method may read."""
    entry = METHODS[name]
    several = {"teacher", "projections", "spurious_captions"}
    fields = {"images", "labels", "scale", "progress"} | (
        entry.needs - {"class_captions"} - several
    )
    for need in several & entry.needs:
        fields |= set(FIELDS[need])
    fields |= {"logits"} if entry.uses_cross_entropy else set()
    fields |= {"zero_shot"} if "anchor" in entry.needs else set()
    fields |= {"hidden_anchor"} if "hidden" in entry.needs else set()
    return fields | ({"start"} if "weights" in entry.needs else set())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_a_finite_scalar_of_what_it_needs(name):
    entry = METHODS[name]
    step, leaves = step_of(some())
    absent = vars(step).keys() - needed(name)
    step = replace(step, **dict.fromkeys(absent))
    loss = sum(loss_terms(entry, step).values())
    assert loss.shape == () and loss.isfinite()
    loss.backward()
    moved = {"images"} | ({"captions"} & entry.needs)
    moved |= {"spurious"} if "spurious_captions" in entry.needs else set()
    moved |= {"head"} if entry.uses_cross_entropy else set()
    moved |= {"tower"} if "weights" in entry.needs else set()
    moved |= set(PROJECTIONS) if name == "carot" else set()
    assert {key for key, leaf in leaves.items() if leaf.grad is not None} == moved
    for key in moved:
        assert leaves[key].grad.isfinite().all() and leaves[key].grad.abs().sum() > 0
    assert entry.title and "arXiv:" in entry.paper


def test_options_of_a_method():
    assert METHODS["kd"].options == {"tau": 1.0}
    assert METHODS["flyp"].options == {"mask": False}
    assert METHODS["ft"].options == {}


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("ft", {"tau": 1.0}, "unknown option of ft 'tau'"),
        ("kd", {"tua": 2.0}, "did you mean 'tau'"),
        ("kd", {"tau": True}, "option tau of kd is True, expected a number"),
        ("kd", {"tau": "hot"}, "option tau of kd is 'hot', expected a number"),
        ("flyp", {"mask": 1.0}, "option mask of flyp is 1.0, expected true or false"),
    ],
)
def test_odd_options_are_one_line(name, options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        check_options(name, options, METHODS[name].options)
    assert "\n" not in str(caught.value)


def test_a_whole_number_passes_for_a_float():
    check_options("kd", {"tau": 2}, METHODS["kd"].options)
    assert terms_of("kd", some(), tau=2) == terms_of("kd", some(), tau=2.0)


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown method 'lipsun'; did you mean 'lipsum'\?"):
        METHODS["lipsun"]


def test_a_name_is_registered_once():
    before = dict(METHODS)
    with pytest.raises(ConfigError, match="'ft' is registered twice"):
        METHODS.add(Method("ft", "again", "arXiv:0", None))
    assert before == METHODS
