"""Runs that mix each image by itself: scores against NumPy on the models' own logits, and what such
a run is to the rest of the house.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import FEW_TEXTS, QUIET, Trained
from scipy import special
from torch.nn import functional as F

from clipft import Run, combine, prune, score, verify
from clipft.config import Reading
from clipft.errors import RunError
from clipft.evaluation.beside import score_beside
from clipft.evaluation.per_image import PerImageJudge
from clipft.methods import POSTHOC
from clipft.models.checkpoints import read_weights, write_weights
from clipft.posthoc.dawin import beta_means
from clipft.posthoc.per_image import PerImage
from clipft.posthoc.wise import wise

ALPHAS = [0.0, 0.4, 1.0]
NAMES = [name for name, entry in POSTHOC.items() if entry.rule is not None]
SHARP = [0.1, 0.05]  # temperatures at which the random model's images are unlike
SPLIT = "sketch/test"
COLUMNS = ("prediction", "confidence", "nll", "entropy", "logsumexp")
OF_WEIGHTS = ("dawin",)  # of NAMES, which have logits of their own


@pytest.fixture
def run(world):
    return world.train(lr=3e-3, steps=8, selection="last")


def made_of(run, name, **options):
    return Trained.of(combine(name, [run], options, reading=QUIET))


def fitted(made, **changes):
    """What the run keeps, after some of it is exchanged."""
    kept = read_weights(made.folder.mixture_file)
    if changes:
        kept |= {name: torch.tensor(value, dtype=torch.float64) for name, value in changes.items()}
        write_weights(made.folder.mixture_file, kept)
    return kept


def logits_at(run, alpha, split=SPLIT):
    """(logits (N, C), unit embeddings (N, D)) of the run's model at an alpha, float64."""
    features = run.features(split, alpha)
    run.student.load_state_dict(wise(run.anchor, run.tuned, alpha))
    with torch.no_grad():
        weight, bias = (tensor.double().numpy() for tensor in run.student.linear())
    rows = F.normalize(torch.from_numpy(features.embeddings).double(), dim=-1).numpy()
    return rows @ weight + bias, rows, features.label


def entropies(run, temperatures, split=SPLIT):
    found = []
    for alpha, warmth in zip((0.0, 1.0), temperatures, strict=True):
        logits, _, _ = logits_at(run, alpha, split)
        found.append(special.entr(special.softmax(logits / warmth, axis=1)).sum(1))
    return np.array(found)


def expertise(both, *, offset):
    """As in the release."""
    cv = both.std(1, ddof=1) / both.mean(1)
    o = cv.mean() if offset else 0.0
    r = both.mean(1).sum() / both.mean(1)[0]
    before, after = np.exp(-both)
    return (after + o / r) / (before + after + o)


def assert_scores(scores, logits, label, **about):
    logs = special.log_softmax(logits, axis=1)
    np.testing.assert_allclose(scores.nll, -logs[np.arange(len(label)), label], **about)
    np.testing.assert_array_equal(scores.prediction, logs.argmax(1))
    np.testing.assert_allclose(scores.confidence, np.exp(logs.max(1)), **about)
    np.testing.assert_allclose(scores.entropy, special.entr(np.exp(logs)).sum(1), **about)


CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize("name", NAMES)
def test_alpha_0_is_zero_shot_bit_for_bit(run, name):
    run.score([0.0])
    made = made_of(run, name)
    made.score(ALPHAS)
    for split, before in run.scores(0.0).items():
        found = made.scores(0.0)[split]
        # Probabilities have no energy.
        columns = COLUMNS if name in OF_WEIGHTS else COLUMNS[:-1]
        assert (found.logsumexp is None) == (name not in OF_WEIGHTS)
        for column in columns:
            np.testing.assert_array_equal(getattr(found, column), getattr(before, column))
    assert "energy_gap" not in set(made.table().metric)


def assert_looked_up(run, made, lam, nearest):
    """Each image has the scores of the weights nearest to its own alpha * lam."""
    for alpha in ALPHAS:
        wanted = nearest(alpha * lam)
        logits, _, label = logits_at(run, 0.0)
        for point in np.unique(wanted):
            logits[wanted == point] = logits_at(run, float(point))[0][wanted == point]
        assert_scores(made.scores(alpha)[SPLIT], logits, label, **CLOSE)


@pytest.mark.parametrize("offset", [True, False])
def test_dawin_looks_up_the_weights_of_each_image(run, offset):
    made = made_of(run, "dawin", offset=offset, points=1001)
    fitted(made, temperatures=SHARP)
    made.score(ALPHAS)
    lam = expertise(entropies(run, SHARP), offset=offset)
    assert len(np.unique(np.round(lam * 1000))) > 1
    assert_looked_up(run, made, lam, nearest=lambda wanted: np.round(wanted * 1000) / 1000)


def test_dawin_in_clusters_has_their_means(run):
    made = made_of(run, "dawin", by="beta", components=2)
    fitted(made, temperatures=SHARP)
    made.score(ALPHAS)
    lam = expertise(entropies(run, SHARP), offset=True)
    means = beta_means(torch.tensor(lam), 2).numpy()
    assert len(np.unique(means)) == 2
    assert_looked_up(run, made, means, nearest=lambda wanted: wanted)


@pytest.mark.parametrize("offset", [True, False])
def test_the_twin_mixes_probabilities(run, offset):
    made = made_of(run, "dawin_output", offset=offset)
    fitted(made, temperatures=SHARP)
    made.score(ALPHAS)
    assert_mixed(run, made, expertise(entropies(run, SHARP), offset=offset), SHARP)


def assert_mixed(run, made, lam, temperatures):
    ends = [logits_at(run, alpha)[0] for alpha in (0.0, 1.0)]
    label = logits_at(run, 0.0)[2]
    p0, p1 = (
        special.softmax(logits / warmth, axis=1)
        for logits, warmth in zip(ends, temperatures, strict=True)
    )
    for alpha in ALPHAS[1:]:
        share = alpha * lam[:, None]
        scores = made.scores(alpha)[SPLIT]
        assert_scores(scores, np.log((1 - share) * p0 + share * p1), label, **CLOSE)
        assert scores.logsumexp is None


def test_vrf_counts_by_the_distance_to_what_tuning_put_right(run):
    made = made_of(run, "vrf")
    kept = fitted(made)
    train = run.train_split()
    run.student.load_state_dict(run.anchor)
    before, _, label = logits_at_split(run, run.anchor, train)
    after, features, _ = logits_at_split(run, run.tuned, train)
    is_failure = (after.argmax(1) == label) & (before.argmax(1) != label)
    np.testing.assert_allclose(kept["failures"], features[is_failure], atol=1e-5)
    assert kept["neighbours"] == is_failure.sum() > 0

    made.score(ALPHAS)
    _, rows, _ = logits_at(run, 1.0)
    squares = ((rows[:, None] - features[is_failure][None]) ** 2).sum(-1)
    far = np.sort(squares, axis=1)[:, int(kept["neighbours"]) - 1]
    lam = special.expit(-(far - kept["a"].item()) / kept["b"].item())
    assert_mixed(run, made, lam, kept["temperatures"].tolist())


def logits_at_split(run, weights, split):
    from clipft.models.embeddings import extract

    run.student.load_state_dict(weights)
    features = extract(run.student, split, QUIET)
    with torch.no_grad():
        weight, bias = (tensor.double().numpy() for tensor in run.student.linear())
    rows = F.normalize(torch.from_numpy(features.embeddings).double(), dim=-1).numpy()
    return rows @ weight + bias, rows, features.label


# --- the judge alone


class Constant(PerImage):
    """Every image has one coefficient."""

    in_weights = True

    def __init__(self, share):
        super().__init__({})
        self.share = share

    def measure(self, seen):
        return torch.zeros(len(seen.features), 1, dtype=torch.float64)

    def coefficients(self, measured, _of_set, /):
        return torch.full((len(measured),), self.share, dtype=torch.float64)


def judged(run, rule, splits, alphas):
    run.student.load_state_dict(run.tuned)
    mixtures = replace(run.mixtures, is_ensemble=True, per_image=partial(PerImageJudge, rule=rule))
    return mixtures.score(splits, alphas)


def test_a_constant_coefficient_is_wise_bit_for_bit(run):
    splits = [run.manifest.split(name) for name in (SPLIT, "real/test")]
    found = judged(run, Constant(0.3), splits, [0.0, 0.5, 1.0])
    for alpha, same in ((0.0, 0.0), (0.5, 0.15), (1.0, 0.3)):
        plain = run.mixtures.score(splits, [same])
        for split in splits:
            for column in COLUMNS:
                one = getattr(found.read((split.name, alpha)), column)
                other = getattr(plain.read((split.name, same)), column)
                np.testing.assert_array_equal(one, other)


def test_classes_that_may_not_be_predicted_have_no_share(run):
    made = made_of(run, "dawin_output")
    split = replace(run.manifest.split(SPLIT), allowed=(0, 1))
    split = split.take([row for row, label in enumerate(split.labels) if label < 2])
    kept = fitted(made)
    mixtures = made.mixtures
    scores = mixtures.score([split], [1.0]).read((SPLIT, 1.0))
    rows = [list(run.manifest.split(SPLIT).ids).index(name) for name in split.ids]
    p = []
    both = []
    for alpha, warmth in zip((0.0, 1.0), kept["temperatures"].tolist(), strict=True):
        chances = special.softmax(logits_at(run, alpha)[0][rows, :2] / warmth, axis=1)
        p.append(chances)
        both.append(special.entr(chances).sum(1))
    lam = expertise(np.array(both), offset=True)[:, None]
    want = np.log((1 - lam) * p[0] + lam * p[1])
    assert_scores(scores, want, np.array(split.labels), **CLOSE)


# --- to the rest of the house


@pytest.mark.parametrize("name", NAMES)
def test_it_verifies_and_its_file_counts(run, name):
    made = made_of(run, name)
    score(made, ALPHAS, gap_texts=FEW_TEXTS, reading=QUIET)
    found = verify(made, reading=QUIET)
    assert found.is_equal, str(found)
    fitted(made, temperatures=[3.0, 0.2])
    faults = verify(made, reading=QUIET).faults
    assert f"{made.folder.mixture_file} is not the file that was written" in faults[0]


def test_it_has_no_weights_and_stands_on_its_member(run, tmp_path):
    made = made_of(run, "dawin")
    for use in (
        lambda: made.export(tmp_path / "out"),
        lambda: combine("wise", [made], reading=QUIET),
        lambda: combine("uniform_soup", [made], reading=QUIET),
    ):
        with pytest.raises(RunError, match="mixes each image anew and has no weights") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    run.score([1.0])
    assert prune(run, weights=True).fate.tolist() == ["stays: another run needs it"]
    made.folder.mixture_file.unlink()
    beside = partial(score_beside, splits=[run.manifest.split("real/train")])
    for scored in (score, beside):
        with pytest.raises(RunError, match=r"a copy without mixture.safetensors.*clipft combine"):
            scored(made, alphas=[0.5], reading=QUIET)
    assert combine("dawin", [run], reading=QUIET).id == made.id
    assert made.folder.mixture_file.exists()


def test_it_is_made_of_combinations_too(run):
    mixed = combine("lines", [run], {"a": 0.5}, reading=QUIET)
    made = made_of(mixed, "dawin_output")
    assert str(Run.open(made.path).name) == "ft+lines+dawin_output"
    assert made.score([1.0]).query("metric == 'accuracy'")["mean"].between(0, 1).all()


def test_images_that_cannot_be_read_are_left_out(run, world, tree, monkeypatch, tmp_path):
    import shutil

    made = made_of(run, "dawin")
    own = tmp_path / "data"
    shutil.copytree(tree, own)
    monkeypatch.setenv("CLIPFT_DATA", str(own))
    split = Run.open(made.path).manifest.split(SPLIT)
    (split.root / split.ids[3]).write_bytes(b"no image")
    look = Reading(device="cpu", progress=False, skip_bad=True)
    score(made, [1.0], gap_texts=FEW_TEXTS, reading=look)
    ids = made.scores(1.0)[SPLIT].ids
    assert split.ids[3] not in ids and len(ids) == len(split) - 1
