"""What a table or a list of ImageNet's size costs to read, as multiples of what any reader of it
must do: take its text apart and hold the pieces. `make bench`.

Read are all splits, with the classes checked and 16 images a class drawn. What counts is the
processor's time, each in a process of its own; memory is what comes on top of the imports.
"""

import os
import subprocess
import sys

import pytest

ROWS = 1_281_167
CLASSES = 1000
FIRST = 10  # times the bare reading
AGAIN = 4
MEGABYTES = 600

MANIFEST = """
name: many
root: .
domains: [photo]
reference: photo
holdout: 0.02
{source}
templates: openai
classes:
"""
BARE = """
import sys
pieces = open(sys.argv[1]).read().replace(",", " ").split()
"""
READ = """
import sys
from pathlib import Path
from clipft.data.manifests import Manifest
from clipft.inputs.batches import few_shot
from clipft.inputs.seeds import rng

manifest = Manifest.open(Path(sys.argv[1]))
splits = [manifest.split(f"photo/{part}") for part in ("train", "val", "test")]
drawn = few_shot(splits[0], 16, rng(0, "few_shot"))
assert (len(splits[0]) > 1_200_000, len(drawn)) == (True, 16 * 1000)
"""
STEPS = """
import sys, time
from pathlib import Path
from clipft.config import Reading
from clipft.data.manifests import Manifest
from clipft.inputs.batches import Stream, train_batches, train_transform
from clipft.runs.rows import rows_digest

began = time.process_time()
whole = Manifest.open(Path(sys.argv[1])).split("photo/train")
rows_digest([whole])
seconds = []
for split in (whole, whole.take(range(1000))):
    stream = Stream(len(split), 8, range(41), 0)
    transform = train_transform(32, (0.5, 1.0), True)
    batches = train_batches(split, transform, stream, Reading(workers=0, skip_bad=True), 0)
    next(batches)
    if split is whole:
        print("first batch", time.process_time() - began, file=sys.stderr)
    start = time.process_time()
    for _ in range(40):
        next(batches)
    seconds.append(time.process_time() - start)
print(seconds[0] / seconds[1], "times", file=sys.stderr)
assert seconds[0] / seconds[1] < 1.5
"""
# pyarrow is loaded before the clock starts; so is torch, which the draw needs.
MEASURED = """
import resource, time
import clipft.inputs.batches, pyarrow.csv, pyarrow.compute, pyarrow.parquet
before, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{code}
more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
print(time.process_time() - before, more / 1024)
"""


def cost(code, file, folder):
    """(processor's seconds, megabytes on top) of a piece of code in a process of its own."""
    command = [sys.executable, "-c", MEASURED.format(code=code), str(file)]
    environment = os.environ | {"CLIPFT_CACHE": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def write_rows(folder, kind):
    """A manifest of many rows, and the file that holds them."""
    names = [f"n{label:08d}" for label in range(CLASSES)]
    source = "table: rows.csv" if kind == "table" else ""
    listed = "".join(f"- {name}\n" for name in names)
    (folder / "many.yaml").write_text(MANIFEST.format(source=source) + listed)
    file = folder / ("rows.csv" if kind == "table" else "photo_train.txt")
    with file.open("w") as opened:
        if kind == "table":
            opened.write("path,label,split\n")
        for row in range(ROWS):
            label = row * CLASSES // ROWS
            path = f"train/{names[label]}/{names[label]}_{row}.JPEG"
            split = ("val", "test")[row % 50] if row % 50 < 2 else "train"
            opened.write(
                f"{path},{names[label]},{split}\n" if kind == "table" else f"{path} {label}\n"
            )
    if kind == "list":
        rows = [
            f"val/{name}/{name}_{row}.JPEG {label}\n"
            for label, name in enumerate(names)
            for row in range(50)
        ]
        (folder / "photo_test.txt").write_text("".join(rows))
    return folder / "many.yaml", file


@pytest.mark.parametrize("kind", ["table", "list"])
def test_a_million_rows(tmp_path, kind):
    manifest, file = write_rows(tmp_path, kind)
    bare, held = cost(BARE, file, tmp_path)
    print(f"\n{kind} of {ROWS} rows; its text taken apart: {bare:.2f} s, {held:.0f} MB")
    for when, limit in (("first", FIRST), ("again", AGAIN)):
        seconds, megabytes = cost(READ, manifest, tmp_path)
        ratio = seconds / bare
        print(
            f"{when}: {ratio:.1f} of {limit} times: {seconds:.2f} s of a core, {megabytes:.0f} MB"
        )
        assert ratio <= limit
        assert megabytes <= MEGABYTES


def test_the_first_batch_and_a_step(tmp_path):
    """Under 6 s and 1 GB; a step takes what one of 1000 rows takes. Files are not there: what is
    measured is the rows.
    """
    manifest, _ = write_rows(tmp_path, "list")
    seconds, megabytes = cost(STEPS, manifest, tmp_path)
    print(f"\nto the first batch, and 81 steps: {seconds:.2f} s of a core, {megabytes:.0f} MB")
    assert seconds < 6 and megabytes < 1000
