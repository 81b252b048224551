"""What a machine does in a second of each part of the work, and which part a training waits for.

The table is measured by `reports.throughput`; here stands what it means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..methods import METHODS

if TYPE_CHECKING:
    import pandas as pd

DECODE, RESIZE, LOAD, COPY = "decode", "resize", "load", "copy"
FORWARD, TEXTS = "forward", "texts"
BASE = "ft"  # the method whose step others are told against
# Parts that are no training step, in the order of the work.
PARTS = {
    DECODE: "decode a JPEG",
    RESIZE: "resize it",
    LOAD: "decode and crop to train",
    COPY: "copy to the device",
    FORWARD: "evaluate",
    TEXTS: "embed texts",
}
BY_PROCESSES = (DECODE, RESIZE, LOAD)  # the others are the device's
HERE = "this process"  # which decodes where no other does
ADVICE = {
    LOAD: "try decoder=fast, clipft datasets pack, or more cores",
    COPY: "try a larger batch_size",
    BASE: "images come fast enough",
}
CLOSE = 1.1  # rates nearer than this are alike


@dataclass(frozen=True)
class StepTimes:
    """Seconds on this machine: of an image that is read, of one that is disturbed as it is read,
    of one that goes through the model, and of a random text; of a training step of each method.
    refused: why others cannot be tuned by, a line each.
    """

    read: float
    forward: float
    step: Mapping[str, float]
    read_made: float = 0.0
    text: float = 0.0
    refused: tuple[str, ...] = ()


def title_of_part(part: str) -> str:
    """A part of the work in words; of a method, its training step."""
    return PARTS[part] if part in PARTS else f"train {METHODS[part].title}"


def processes(count: int) -> str:
    """Who decodes with so many workers."""
    if not count:
        return HERE
    return "1 process" if count == 1 else f"{count} processes"


def bottleneck(table: pd.DataFrame, method: str = BASE) -> str:
    """The part that a training of this method waits for: load, copy, or the method itself.

    Others run beside the steps, so the slowest decides; what this process decodes is done between
    them, where the slowest takes the most time.
    """
    rates = table.set_index("part")["rate"]
    parts = [part for part in (method, LOAD, COPY) if part in rates.index]
    return min(parts, key=lambda part: rates[part])


def verdict(table: pd.DataFrame, method: str = BASE) -> str:
    """The sentence on what a training of this method will wait for, with its numbers."""
    rows = table.set_index("part")
    part = bottleneck(table, method)
    title = METHODS[method].title
    step = f"{_number(rows.rate[method])} images/s"
    load = f"{_number(rows.rate[LOAD])} of {rows.by[LOAD]}"
    between = " between the steps" if rows.by[LOAD] == HERE else ""

    if part == LOAD:
        rate = f"{_number(rows.rate[LOAD])} images/s of {rows.by[LOAD]}{between}"
        found = f"wait for decoding: {rate} against {step} of its steps"
    elif part == COPY:
        rate = f"{_number(rows.rate[COPY])} images/s"
        found = f"wait for copying: {rate} to {rows.by[COPY]} against {step} of its steps"
    else:
        found = f"not wait for images: its steps take {step}, decoding gives {load}{between}"
    advice = ADVICE.get(part, ADVICE[BASE])
    if part == method and rows.rate[LOAD] < CLOSE * rows.rate[method]:
        advice = f"but barely: {ADVICE[LOAD]}"
    return f"training {title} will {found}; {advice}"


def shown(table: pd.DataFrame) -> Sequence[dict[str, Any]]:
    """The table as people read it: parts in words, rates in three digits."""
    rows = []
    for row in table.to_dict("records"):
        factor = "" if row["of_ft"] != row["of_ft"] else f"{row['of_ft']:.2f}"
        rows.append(
            {
                "part": title_of_part(row["part"]),
                "a second": f"{_number(row['rate'])} {row['unit']}",
                "by": row["by"],
                "seconds, of FT's": factor,
            }
        )
    return rows


def _number(rate: float) -> str:
    """Three digits that count: 9.31, 310, 12,300."""
    return f"{float(f'{rate:.3g}'):,g}"
