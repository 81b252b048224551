"""A checkpoint that was tuned elsewhere becomes a finished run, with the zero-shot model as its
other end.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..config import Reading, RunConfig
from ..errors import ConfigError
from ..evaluation.bench import Bench, compare_digests
from ..evaluation.recorder import record_weights, recorded
from ..models.checkpoints import Checkpoint, read_checkpoint, write_weights
from ..models.fit import load_checkpoint
from ..models.foreign_head import Linear, fit_head, read_linear
from ..models.head import Head
from ..models.students import Student, TwoTowers
from ..posthoc.weights import HEAD, Weights
from ..progress import write
from ..runs.adopted import DEFAULT_NAME, Adopted, AdoptedConfig, stated
from ..runs.checks import check_adoption
from ..runs.folder import RunFolder
from ..runs.formats import HEAD as HEAD_FILE
from ..runs.identity import as_kept, run_id
from ..runs.made import ADOPTING
from ..runs.run import Run

NEAR = 0.5  # cosine of two towers' weights; below it they hardly are of one pre-training
HALVES = (torch.float16, torch.bfloat16)  # how a file may have rounded what was not tuned
SCALE = ("logit_scale", "logit_bias")  # of the pair of towers; of neither
VISION = "visual."


def adopt(
    checkpoint: Path | str,
    *,
    name: str = DEFAULT_NAME,
    head: Path | str = "",
    runs: Path | str = "runs",
    reading: Reading | None = None,
    **settings: str,
) -> Run:
    """Make a finished run of a checkpoint that was tuned elsewhere; nothing is trained.

    Its other end is the zero-shot model that it was tuned from, so that sweeps, energy gaps, soups,
    explorers and exports work as on a run of clipft's. The weights are kept in the run's folder;
    the checkpoint is not asked again. The same weights are adopted once: the same call finds them.

    Where only the vision tower changed, the head is the zero-shot head; where the text tower
    changed, too, it is built from the tuned one. A head that is given, or that lies in the
    checkpoint, goes before; which way round it lies and whether it holds the logit scale is looked
    at and said. What was held out here may have been trained on there.

    Arguments:
        checkpoint: a file of weights of the whole model, or what of it was tuned.
        name: what its method is called in tables and figures.
        head: head.safetensors of an export, or another file of tensors `weight` and `bias`.
        runs: the folder of the runs.
        reading: on which device.
        settings: manifest and model, and where they are needed pretrained (the weights that it was
            tuned from), reference (the domain) and selection (how its weights were chosen, as far
            as is known): as in `RunConfig`.

    Returns:
        The run; `score` measures it.

    Raises:
        ConfigError: for an unknown model or data set, a name that cannot be a method's, and a
            checkpoint that is the zero-shot model itself.
        WeightsError: for a file of another model, a head of other classes, and weights that are
            not finite.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> file = clipft.export(run, "tuned") / "open_clip_model.safetensors"
        >>> own = clipft.new_manifest("mine", root="photos", reference="studio")
        >>> start = {"model": run.config.model, "pretrained": run.config.pretrained}
        >>> theirs = clipft.adopt(file, manifest="mine.yaml", name="theirs", **start)
        open_clip_model.safetensors: a CLIP, ...
        >>> theirs.title
        'theirs, not trained here'
    """
    about = stated(settings)
    check_adoption(checkpoint, about, name=name, head=head, runs=runs)
    bench = Bench(about, reading or Reading())
    found = _look_at(bench, checkpoint, head)
    for note in found.notes:
        write(note)

    student, config = _student_of(bench, about.model_copy(update={"method": name}), found)
    _check_tuned(bench, config, student, str(checkpoint))
    made_of = bench.made_of(config)
    kept = as_kept(config, bench.manifest)
    folder = RunFolder(Path(runs) / run_id(kept, bench.manifest, made_of))
    if _is_adopted(folder, made_of, about.model):  # without the lock: nothing is written
        return Run.open(folder)
    with folder.lock():
        if _is_adopted(folder, made_of, about.model):  # by another process, meanwhile
            return Run.open(folder)
        folder.begin_anew()
        origin = {"checkpoint": Path(checkpoint).name, "found": found.notes}
        with recorded(folder, bench.device, ADOPTING, **origin):
            write_weights(folder.weights_file, student.state_dict())
        record_weights(folder, folder.weights_file)
        folder.write_manifest(bench.manifest.copy_for_run())
        recorded_config = kept.model_dump(mode="json") | made_of | {"title": name}
        folder.write_config(recorded_config)  # last: now it is finished
    return Run.open(folder)


def _is_adopted(folder: RunFolder, made_of: dict[str, str], model: str) -> bool:
    """Whether the run is there; raises RunError where it was made of something else."""
    if not (folder.is_begun and folder.has_weights):
        return False
    compare_digests(folder, folder.config(), made_of, model)
    return True


@dataclass(frozen=True)
class _Found:
    """What lies in a checkpoint: a whole model, a head of its own, and what is to be said of it."""

    model: Any  # open_clip's kinds of CLIP have no typed base
    head: Head | None
    trains: Literal["vision", "both"]
    notes: Sequence[str]


def _look_at(bench: Bench, file: Path | str, head_file: Path | str) -> _Found:
    """Put a checkpoint into a copy of the zero-shot model, and see what of it was tuned."""
    clip = bench.clip
    checkpoint = read_checkpoint(file)
    model = copy.deepcopy(clip.model)
    _check_activation(bench, checkpoint)
    notes = [checkpoint.found, *load_checkpoint(model, checkpoint, clip.name)]
    head, said = _head_of(bench, checkpoint, head_file)
    if said:
        notes.append(said)

    changed = _changed(model.state_dict(), clip.model.state_dict())
    vision = [name for name in changed if name.startswith(VISION)]
    text = [name for name in changed if not name.startswith((VISION, *SCALE))]
    towers = f"{len(vision)} tensors of the vision tower and {len(text)} of the text tower changed"
    trains: Literal["vision", "both"] = "vision"
    if text and head is None:
        trains = "both"
        towers += "; its own text tower makes the head"
    elif text:
        towers += "; the head stands in place of the text tower"
    elif head is None:
        towers += "; the zero-shot head stays"
    notes.append(towers)
    nearness = _nearness(model.visual, clip.model.visual)
    if nearness < NEAR:
        far = f"the vision tower is far from that of {clip.name} (cosine {nearness:.2f})"
        notes.append(f"{far}: was it tuned from these weights? A mixture of others says nothing")
    return _Found(model, head, trains, notes)


def _check_activation(bench: Bench, checkpoint: Checkpoint) -> None:
    """Raise ConfigError where a file says another activation than the zero-shot model has."""
    quick_gelu = bool((bench.clip.config["model_cfg"] or {}).get("quick_gelu"))
    if checkpoint.quick_gelu in (None, quick_gelu):
        return
    mine, theirs = ("QuickGELU", "GELU") if quick_gelu else ("GELU", "QuickGELU")
    fault = f"{checkpoint.file} says {theirs}, {bench.clip.name} has {mine}"
    raise ConfigError(f"{fault}: every score would be off; choose the model of its activation")


def _head_of(bench: Bench, checkpoint: Checkpoint, file: Path | str) -> tuple[Head | None, str]:
    """The head that is given, or that of the checkpoint; and what was found of it."""
    if file:
        source = str(file)
        linear = read_linear(file, len(bench.zero_shot))
    elif checkpoint.head is not None:
        source = checkpoint.file.name
        linear = Linear(*checkpoint.head)
    else:
        return None, _unused_head(checkpoint.file)
    head, said = fit_head(linear, bench.zero_shot, bench.clip.scale, source)
    if head.classes:
        head.check_classes(bench.manifest.names, bench.manifest.name)
    return head, f"the head of {source}: {said}"


def _unused_head(checkpoint: Path) -> str:
    """A line where an export's head lies beside its towers."""
    beside = checkpoint.with_name(HEAD_FILE)
    if not beside.is_file():
        return ""
    return f"{beside} lies beside it and is not used; to take it: --head {beside}"


def _changed(tuned: Weights, start: Weights) -> list[str]:
    """Names of the tensors that differ by more than a file's rounding to 16 bits."""
    return [name for name, tensor in tuned.items() if not _is_same(tensor, start[name])]


def _is_same(tuned: Tensor, start: Tensor) -> bool:
    if torch.equal(tuned, start):
        return True
    return start.is_floating_point() and any(
        torch.equal(tuned, start.to(half).to(start.dtype)) for half in HALVES
    )


@torch.no_grad()
def _nearness(tuned: torch.nn.Module, start: torch.nn.Module) -> float:
    """The cosine of the weights of two towers, norms and biases left out."""
    products = torch.zeros(3, dtype=torch.float64)
    for mine, theirs in zip(tuned.parameters(), start.parameters(), strict=True):
        if mine.ndim > 1:
            one = mine.double().flatten()
            other = theirs.double().flatten()
            pairs = [one @ other, one @ one, other @ other]
            products += torch.stack(pairs).cpu()
    both, one, other = products.tolist()
    return both / max((one * other) ** 0.5, 1e-30)


def _student_of(bench: Bench, about: RunConfig, found: _Found) -> tuple[Student, AdoptedConfig]:
    """The student of a run with the weights that were found in it, and the run's configuration."""
    settings = about.model_dump(exclude={"lr", "steps", "head"})
    settings["head"] = "absorbed" if found.head is not None and found.head.bias.any() else "fixed"
    unnamed = AdoptedConfig(**settings, adopted=Adopted(trains=found.trains, weights=""))
    student: Any = bench.student(unnamed)
    if isinstance(student, TwoTowers):
        student.clip.load_state_dict(found.model.state_dict())
    else:
        student.visual.load_state_dict(found.model.visual.state_dict())
        _set_head(bench, student, found)
    adopted = Adopted(trains=found.trains, weights=_digest(student.state_dict()))
    return student, unnamed.model_copy(update={"adopted": adopted})


def _set_head(bench: Bench, student: Student, found: _Found) -> None:
    """The head that was found; else the zero-shot head, by the scale that was found."""
    head = found.head
    if head is None:
        scale = found.model.logit_scale.detach()
        if _is_same(scale, bench.clip.model.logit_scale):
            return
        weight = scale.exp() * bench.zero_shot
        head = Head(weight, torch.zeros_like(weight[0]), ())
    student.start_from(head.weight.to(student.device), head.bias.to(student.device))


def _check_tuned(bench: Bench, config: AdoptedConfig, student: Student, source: str) -> None:
    """Raise ConfigError where nothing differs from the zero-shot model."""
    start = bench.student(config).state_dict()
    for name in _changed(student.state_dict(), start):
        # A head that was multiplied and divided by the scale is not equal to the bit.
        tuned = student.state_dict()[name]
        if name not in HEAD or not torch.allclose(tuned, start[name], rtol=1e-5, atol=1e-7):
            return
    fault = f"{source} is the zero-shot model itself: nothing of it was tuned"
    advice = "to score it without a run: clipft evaluate --model NAME:TAG --manifest NAME"
    raise ConfigError(f"{fault}; {advice}")


def _digest(weights: Weights) -> str:
    """12 letters that name the weights: not the file, nor how it held them."""
    whole = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        whole.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()[:12]
