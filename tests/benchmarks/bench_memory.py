"""What a sweep of 11 alphas, and its table, hold in memory beyond the model, at 100 000 images and
at a million. `make bench`.

No image is decoded and no tower runs: pixels are zeros, an embedding is a row of a table. What is
left is what a sweep keeps of each image. Each size is a process of its own. Counted is the memory
that is the process's own (RssAnon); files that are mapped or cached are the system's to take back.
"""

import subprocess
import sys

import pytest

ALPHAS = 11
LIMIT = 300  # MB beyond the model


@pytest.mark.parametrize("images", [100_000, 1_000_000])
def test_memory_does_not_grow_with_the_images(tmp_path, images):
    command = [sys.executable, __file__, str(images), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(f"\n{images} images, {ALPHAS} alphas")
    print(done.stdout)
    swept, summarised = map(float, done.stdout.split()[-2:])
    assert max(swept, summarised) < LIMIT


def own_memory() -> float:
    """MB that are this process's own."""
    with open("/proc/self/status") as file:
        (line,) = [line for line in file if line.startswith("RssAnon")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    import os
    import threading
    import time
    from pathlib import Path

    count, place = int(sys.argv[1]), Path(sys.argv[2])
    os.environ["CLIPFT_CACHE"] = str(place / "cache")

    import pandas as pd  # noqa: F401  # what any table loads
    import pyarrow.parquet as pq  # noqa: F401
    import scipy.sparse
    import scipy.stats  # noqa: F401
    import torch

    from clipft.config import Reading, RunConfig
    from clipft.data.splits import Split
    from clipft.evaluation.bench import Bench
    from clipft.evaluation.mixtures import Mixtures
    from clipft.inputs import batches
    from clipft.inputs.batches import CHUNK_BYTES, Batch
    from clipft.models import embeddings
    from clipft.models.students import Classifier
    from clipft.runs.image_scores import ImagesFile, write_images
    from clipft.runs.scores import table

    SIDE = 224

    def no_files(split):
        return "none"

    def zeros(split, _transform, _reading, **_):
        labels = torch.tensor(split.labels)
        step = -(-CHUNK_BYTES // (3 * SIDE * SIDE) // 256) * 256
        for rows in torch.arange(len(split)).split(max(step, 256)):
            pixels = torch.zeros((len(rows), 3, SIDE, SIDE), dtype=torch.uint8)
            yield Batch(pixels, labels[rows], rows)

    embeddings.files_digest = no_files
    batches.pixel_chunks = zeros
    bench = Bench(RunConfig(), Reading(device="cpu", progress=False), gap_texts=100)
    student = bench.student(bench.config)
    start = bench.student(bench.config).state_dict()
    width = len(start["weight"])
    drawn = torch.randn(256, width, generator=torch.Generator().manual_seed(0))
    Classifier.forward = lambda self, images, *_: (drawn[: len(images)] + self.weight[:, 0], 0, 0)
    draw = torch.Generator().manual_seed(0)
    tuned = {name: t + 0.01 * torch.randn(t.shape, generator=draw) for name, t in start.items()}
    moment = bench.gap_moment()
    classes = len(bench.manifest.names)
    ids = tuple(f"test/class_{row % classes:03d}/image_{row:08d}.JPEG" for row in range(count))
    labels = tuple(row % classes for row in range(count))
    split = Split("twemoji", "test", place, ids, labels)
    mixtures = Mixtures(student, start, [tuned], lambda: moment, reading=bench.reading)
    peaks = []

    def measured(work):
        before = own_memory()
        peak = [before]
        ended = threading.Event()

        def look():
            while not ended.wait(0.005):
                peak[0] = max(peak[0], own_memory())

        thread = threading.Thread(target=look)
        thread.start()
        began = time.perf_counter()
        result = work()
        ended.set()
        thread.join()
        peaks.append(peak[0] - before)
        print(f"{peaks[-1]:.0f} MB more in {time.perf_counter() - began:.0f} s")
        return result

    def sweep():
        scores = mixtures.score([split], [step / 10 for step in range(ALPHAS)])
        write_images(place / "images.parquet", scores)

    measured(sweep)
    measured(lambda: table(ImagesFile(place / "images.parquet", with_ids=False), "twemoji"))
    import resource

    print(f"ru_maxrss {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB in all")
    print(*peaks)
