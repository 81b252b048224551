"""An 11-alpha, 4-split sweep of EmojiShift against the bare forwards and against the usual way.
`make bench`.

The usual way is that of the released WiSE-FT code: for every alpha mix the weights, save a
checkpoint, load it again, and decode every image of every split anew. It finds accuracies alone.
For the table that a sweep makes it also has to embed each image by the zero-shot model and compare
both in every energy: measured, too.

The aim was 4 times faster than the usual way. It is out of reach here: bare forwards alone, which
no sweep can do without, are less than 4 times faster (2.4 for accuracies, 3.8 for the table), since
a 48 px PNG is quick to decode.
"""

import time
import warnings

import open_clip
import torch
from conftest import QUIET, OnBench
from torch.func import functional_call, vmap
from torch.utils.data import DataLoader, Dataset

from clipft.config import ALPHAS, GAP_TEXTS, RunConfig
from clipft.data.images import decode
from clipft.diagnostics.energies import energy_vectors, squared_gap, unit
from clipft.disk.cache import default_cache
from clipft.evaluation.mixtures import Mixtures
from clipft.inputs.batches import pixel_chunks
from clipft.models.embeddings import FORWARD
from clipft.posthoc.wise import wise


def timed(work) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def moved(run: OnBench) -> dict[str, torch.Tensor]:
    """A model a little away from zero-shot: what training made of it does not matter for time."""
    draw = torch.Generator().manual_seed(0)
    return {name: t + 0.01 * torch.randn(t.shape, generator=draw) for name, t in run.anchor.items()}


class Files(Dataset):
    """A split as open_clip users read it: decoded and preprocessed to a normalised float tensor."""

    def __init__(self, split, preprocess):
        self.split, self.preprocess = split, preprocess

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int):
        return self.preprocess(decode(self.split.root / self.split.ids[row])), self.split.labels[
            row
        ]


def bare(run: OnBench, tuned, pixels) -> None:
    """Nothing but the forwards: mixed weights, uint8 pixels in memory."""
    for alpha in ALPHAS:
        run.student.load_state_dict(wise(run.anchor, tuned, alpha))
        with torch.inference_mode():
            for part in pixels:
                run.student(part)


def usual(run: OnBench, tuned, splits, folder, with_gap: bool = False) -> list[tuple[float, float]]:
    """(accuracy, energy gap) of every alpha and split: a checkpoint per alpha, every image decoded
    for every alpha.
    """
    _, _, preprocess = open_clip.create_model_and_transforms("local-dir:clipft/assets/emoji-tiny")
    found = []
    for alpha in ALPHAS:
        torch.save(wise(run.anchor, tuned, alpha), folder / f"{alpha}.pt")
        run.student.load_state_dict(torch.load(folder / f"{alpha}.pt"))
        for split in splits:
            right, gap = 0, 0.0
            with torch.inference_mode():
                for images, labels in DataLoader(Files(split, preprocess), batch_size=FORWARD):
                    embedded = run.student.visual(images)
                    right += int((run.student.logits(embedded).argmax(-1) == labels).sum())
                    if with_gap:
                        pair = (embedded, run.clip.model.encode_image(images))
                        energies = [
                            energy_vectors(unit(one), run.gap_texts, run.clip.scale) for one in pair
                        ]
                        gap += float(squared_gap(*energies).sum())
            found.append((right / len(split), gap / len(split)))
    return found


def over_alphas(run: OnBench, tuned, pixels) -> None:
    """The forwards once more, all alphas of a batch at once through torch.func."""
    every = {
        k: torch.stack([wise(run.anchor, tuned, alpha)[k] for alpha in ALPHAS]) for k in run.anchor
    }
    tower = {
        name.removeprefix("visual."): tensor
        for name, tensor in every.items()
        if name.startswith("visual.")
    }

    def forward(weights, images):
        return functional_call(run.student.visual, weights, (images,))

    with torch.inference_mode():
        for part in pixels:
            with warnings.catch_warnings():
                # Attention has no batching rule: that is what is measured.
                warnings.simplefilter("ignore")
                vmap(forward, in_dims=(0, None))(tower, run.student.pixels(part))


def test_sweep_against_bare_forwards_and_the_usual_way(tmp_path, monkeypatch):
    run = OnBench(RunConfig(), QUIET, GAP_TEXTS)
    names = ["twemoji/test", *(f"{shift}/test" for shift in run.manifest.shifts())]
    splits = [run.manifest.split(name) for name in names]
    monkeypatch.setattr(default_cache(), "arrays", tmp_path / "arrays")
    run.student.eval()
    tuned, moment = moved(run), run.bench.gap_moment()
    mixtures = Mixtures(run.student, run.anchor, [tuned], lambda: moment, reading=QUIET)
    decoded = [
        chunk.pixels for split in splits for chunk in pixel_chunks(split, run.clip.transform)
    ]
    parts = [part for pixels in decoded for part in pixels.split(FORWARD)]
    bare(run, tuned, parts[:4])  # warm up
    scores = []

    def ours() -> None:
        scores[:] = mixtures.score(splits, ALPHAS)

    rounds = []
    for turn in range(2):
        monkeypatch.setattr(default_cache(), "arrays", tmp_path / f"arrays{turn}")
        rounds.append((timed(lambda: bare(run, tuned, parts)), timed(ours)))
    forwards, swept = (min(column) for column in zip(*rounds, strict=True))
    found = []
    alone = timed(lambda: usual(run, tuned, splits, tmp_path))
    whole = timed(lambda: found.extend(usual(run, tuned, splits, tmp_path, with_gap=True)))
    some = parts[:4]
    batched = timed(lambda: over_alphas(run, tuned, some)) / timed(lambda: bare(run, tuned, some))
    images = sum(map(len, splits))
    print(
        f"\n{len(ALPHAS)} alphas x {len(splits)} splits, {images} images,"
        f" {torch.get_num_threads()} threads"
    )
    rows = {
        "bare forwards": forwards,
        "sweep": swept,
        "usual way, accuracy alone": alone,
        "usual way, with gap": whole,
    }
    for name, seconds in rows.items():
        print(
            f"{name:28} {seconds:8.2f} s  {seconds / forwards:5.2f} x bare"
            f"  {seconds / swept:5.2f} x sweep"
        )
    print(
        f"{'torch.func over alphas':28} {'':10}  {batched:5.2f} x bare, {len(some)} batches,"
        " forwards alone"
    )
    ours_found = {
        (s.alpha, s.split): (float((s.prediction == s.label).mean()), s.energy_gap.mean())
        for s in scores
    }
    names = [(alpha, split.name) for alpha in ALPHAS for split in splits]
    for name, (accuracy, gap) in zip(names, found, strict=True):
        assert abs(ours_found[name][0] - accuracy) <= 2 / min(map(len, splits))
        assert abs(ours_found[name][1] - gap) <= 1e-3 * gap + 1e-6
    assert swept / forwards <= 1.15
    assert whole / swept >= 3
