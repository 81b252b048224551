"""What a run trains of a model's blocks, and how fast, by where a tensor stands in its tower."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..config import RunConfig
from ..errors import ConfigError
from ..posthoc.places import BLOCK, Place, places
from .students import Student

RANGE = re.compile(r"(?P<end>first|last) (?P<count>[1-9]\d*) blocks?")
LISTED = 8  # names in one line


def rates(student: Student, config: RunConfig) -> dict[str, float]:
    """The learning rate of each trained tensor as a fraction of the run's, by its name.

        lr_l = lr * layer_decay^(L - l),   block l of L, 0 before them, L after

    That of a text tower is `text_rate` of it.
    Raises ConfigError for a tower of which no blocks are known, where they are asked for.
    Source: Clark et al., ELECTRA, arXiv:2003.10555; for CLIP, Dong et al., arXiv:2212.06138.
    """
    found = {}
    texts = student.text_tensors()
    stands = places(name for name, _ in student.named_parameters())
    for name, tensor in student.named_parameters():
        if tensor.requires_grad:
            place = stands[name]
            if config.layer_decay != 1 and place.tower and not place.count:
                fault = f"no blocks are known in the {place.tower} tower of {config.model}"
                raise ConfigError(f"{fault}, so layer_decay would do nothing; leave it out")
            rate = config.text_rate if name in texts else 1.0
            found[name] = rate * config.layer_decay**place.above
    return found


def freeze_others(student: Student, config: RunConfig) -> None:
    """Let a run train no more than `train_only` says; raises ConfigError for what names nothing."""
    if not config.train_only:
        return
    stands = places(name for name, _ in student.named_parameters())
    trained = [name for name, tensor in student.named_parameters() if tensor.requires_grad]
    kept: set[str] = set()
    for wanted in config.train_only:
        named = {name for name in trained if _is_named(name, stands[name], wanted)}
        if not named:
            raise ConfigError(_nothing(wanted, config, trained))
        kept |= named
    for name, tensor in student.named_parameters():
        tensor.requires_grad_(name in kept)


def _is_named(name: str, place: Place, wanted: str) -> bool:
    """Whether an entry of `train_only` names this tensor."""
    if wanted == "head":
        return not place.tower
    of_blocks = RANGE.fullmatch(wanted)
    if of_blocks:
        count = int(of_blocks["count"])
        nearest = place.block if of_blocks["end"] == "first" else place.above + 1
        return place.is_block and nearest <= count
    own_name = f"{name.removeprefix('clip.')}."
    return own_name.startswith(f"{wanted.removeprefix('clip.').rstrip('.')}.")


def _nothing(wanted: str, config: RunConfig, trained: Iterable[str]) -> str:
    """The line for what names no tensor that trains."""
    layers: dict[str, None] = {}
    for name in trained:
        own_name = name.removeprefix("clip.")
        block = BLOCK.search(own_name)
        layers[own_name[: block.end() - 1] if block else own_name] = None
    listed = ", ".join([*layers][:LISTED]) + (", ..." if len(layers) > LISTED else "")
    fault = f"train_only: {wanted!r} names nothing that {config.method} trains of {config.model}"
    return f"{fault}; say head, first 2 blocks, last 2 blocks, or how names begin: {listed}"
