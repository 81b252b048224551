"""How many processes decode images where that is left to us; nothing of it changes a pixel."""

import multiprocessing
import shutil
from pathlib import Path

import torch

from ..config import Reading
from ..data.splits import Split
from ..runs.machine import processors

MOST = 8
SMALL = 16_000  # bytes of a file: below it an image is decoded as fast as it is handed over
WORTH = 100_000_000  # bytes of files to read: a few seconds of decoding, which pay for the forks
LOOKED_AT = 16  # files of a split
IMAGE = 3 * 384 * 384  # bytes of one image on its way to us, at most for most models
AHEAD = 2  # batches that each process has ready, at least
SHARED = Path("/dev/shm")  # where they lie; 64 MB in a plain container


def worker_count(
    reading: Reading,
    split: Split,
    *,
    images: int,
    batch_size: int,
    training: bool = False,
    waiting: int = 0,
) -> int:
    """The reading's workers; auto: as many as there are cores, up to MOST, or none.

    None where forking costs more than it gives: for few images or small ones; and in training on
    the processor itself, which has its decoded images in memory. None, too, where processes are not
    forked, or may not have any of their own. images: how many will be read; waiting: how many all
    processes together have ready, at least. The ranks of a machine share cores and memory.
    """
    if reading.workers != "auto":
        return int(reading.workers)
    if not _can_fork() or (training and not on_card(reading.device)):
        return 0
    size = _mean_size(split)
    if size < SMALL or size * images < WORTH:
        return 0
    fit = _room() // IMAGE
    if fit < waiting:
        return 0
    fit //= AHEAD * batch_size
    cores = processors() if processors() > 1 else 0  # one alone is this process's
    return min(cores // reading.devices, MOST, fit // reading.devices)


def _can_fork() -> bool:
    set_method = multiprocessing.get_start_method(allow_none=True)
    method = set_method or multiprocessing.get_all_start_methods()[0]
    return method == "fork" and not multiprocessing.current_process().daemon


def on_card(device: str) -> bool:
    """Whether a reading's device is a card."""
    if device == "auto":
        return torch.cuda.is_available()
    return device.startswith("cuda")


def _room() -> int:
    """Bytes of shared memory that are free."""
    return shutil.disk_usage(SHARED).free if SHARED.is_dir() else 0


def _mean_size(split: Split) -> float:
    """Mean bytes of a file, of a few all over the split; 0 where none is there."""
    every = max(1, len(split) // LOOKED_AT)
    files = [split.root / name for name in split.ids[::every]]
    sizes = [file.stat().st_size for file in files if file.is_file()]
    return sum(sizes) / len(sizes) if sizes else 0
