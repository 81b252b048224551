"""What a paper's release does otherwise than clipft, and clipft on purpose: `protocol: release`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import DEFAULT

if TYPE_CHECKING:
    from ..config import RunConfig


@dataclass(frozen=True)
class Protocol:
    """The differences of one release, each on or off; all off is clipft's own way.

    late_warmup: the first step has a rate of 0, so warm-up is one step later; its length and that
    of the cosine are rounded down. coarse_moment: AdamW's first moment is kept in bf16.
    plain_resize: images are cut as TensorFlow does it and resized without antialiasing, not rounded
    to 8 bits; weights are chosen on the central 224 / 256 of the shorter side. short_batches: an
    epoch ends with a smaller batch, and the next begins with its own. drawn_once: each training
    image keeps the crop and the caption of its first draw.
    """

    late_warmup: bool = False
    coarse_moment: bool = False
    plain_resize: bool = False
    short_batches: bool = False
    drawn_once: bool = False


OURS = Protocol()
FLYP = "arXiv:2212.00638"


def protocol_of(config: RunConfig) -> Protocol:
    """What a run of this configuration does otherwise.

    A release is FLYP's for its methods, WiSE-FT's for heads that hold the scale (`head: absorbed`),
    else Lipsum-FT's, whose first moment is in the dtype of its activations.
    """
    if config.protocol == DEFAULT:
        return OURS
    if config.entry.two_towers:
        return Protocol(short_batches=True, drawn_once=config.shots > 0)
    if config.head == "absorbed":
        return Protocol(short_batches=True)
    coarse = config.precision == "bf16-mixed"
    return Protocol(late_warmup=True, coarse_moment=coarse, plain_resize=True)
