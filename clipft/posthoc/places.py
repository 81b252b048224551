"""Where a tensor stands in its tower, by its name: before the blocks, in one, or after them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Lists of blocks in open_clip, timm and transformers; a ResNet's four stages. Of nested ones the
# outer one counts.
BLOCK = re.compile(r"(?:^|\.)(?:resblocks|blocks|stages|layers?)\.?(?P<number>\d+)\.")
STEM = ("patch_embed", "stem")  # before the blocks, whatever stands in it
DECODER = "text_decoder"  # CoCa's, which makes no embedding: in no block
AFTER = re.compile(
    r"(?:^|\.)(?:proj|ln_post|norm|fc_norm|head|attnpool|attn_pool|final_conv"
    r"|ln_final|text_projection|pooler)(?:\.|$)"
)
OF_NONE = ("weight", "bias", "logit_scale", "logit_bias")  # of a head, or of the pair of towers
OUTSIDE = -1


@dataclass(frozen=True)
class Place:
    """Where a tensor stands.

    tower: image or text; "": head and scale. block: 1 ... count; 0: before them; count + 1: after.
    """

    tower: str
    block: int
    count: int

    @property
    def is_block(self) -> bool:
        """Whether it belongs to a block."""
        return 1 <= self.block <= self.count

    @property
    def is_after(self) -> bool:
        """Whether it follows the last block of a tower."""
        return bool(self.tower) and self.block > self.count

    @property
    def above(self) -> int:
        """How many blocks are above it."""
        return max(0, self.count - self.block)


def places(names: Iterable[str]) -> dict[str, Place]:
    """Where each tensor of a student stands, by its name; blocks are counted in each tower."""
    numbers: dict[str, dict[str, int]] = {"image": {}, "text": {}, "": {}}
    names = list(names)
    for name in names:
        own_name = name.removeprefix("clip.")
        numbers[_tower(own_name)][name] = _number(own_name)
    found = {}
    for tower, of_names in numbers.items():
        blocks = sorted({number for number in of_names.values() if number != OUTSIDE})
        for name, number in of_names.items():
            block = 0
            if number != OUTSIDE:
                block = blocks.index(number) + 1
            elif _is_after(name.removeprefix("clip.")):
                block = len(blocks) + 1
            found[name] = Place(tower, block, len(blocks))
    return {name: found[name] for name in names}


def _tower(name: str) -> str:
    if name.startswith("visual."):
        return "image"
    return "" if name in OF_NONE else "text"


def _number(name: str) -> int:
    """The number of a tensor's block, as its name has it; OUTSIDE: it belongs to none."""
    block = BLOCK.search(name)
    if block is None or _is_stem(name) or name.startswith(f"{DECODER}."):
        return OUTSIDE
    return int(block["number"])


def _is_stem(name: str) -> bool:
    return any(part in STEM for part in name.split("."))


def _is_after(name: str) -> bool:
    return not _is_stem(name) and AFTER.search(name) is not None
