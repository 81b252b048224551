"""What a sweep costs as images and alphas grow: seconds and memory, each in a process of its own.
`make bench`.
"""

import resource
import subprocess
import sys

import torch


def measure(images: int, alphas: int, folder) -> tuple[float, float]:
    """Seconds and peak MB over those before the sweep."""
    command = [sys.executable, __file__, str(images), str(alphas), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def test_cost_as_images_and_alphas_grow(tmp_path):
    print(f"\nsweep of emoji-tiny, {torch.get_num_threads()} threads")
    print(f"{'images':>8} {'alphas':>7} {'seconds':>8} {'extra MB':>9} {'us a forward':>13}")
    for images, alphas in ((1000, 3), (1000, 11), (1000, 101), (10_000, 3), (100_000, 3)):
        seconds, megabytes = measure(images, alphas, tmp_path / f"{images}_{alphas}")
        cost = 1e6 * seconds / images / alphas
        print(f"{images:8} {alphas:7} {seconds:8.1f} {megabytes:9.0f} {cost:13.0f}")


if __name__ == "__main__":
    import time
    from dataclasses import replace
    from pathlib import Path

    from clipft.config import Reading, RunConfig
    from clipft.disk.cache import default_cache
    from clipft.evaluation.bench import Bench
    from clipft.evaluation.mixtures import Mixtures

    count, steps, place = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    config = RunConfig()
    bench = Bench(config, Reading(progress=False))
    start, moment = bench.student(config).state_dict(), bench.gap_moment()
    default_cache().arrays = place / "arrays"
    given = bench.manifest.split("twemoji/train")
    rows = [row % len(given) for row in range(count)]  # it has fewer images: they come again
    split = replace(given.take(rows), part="test")
    draw = torch.Generator().manual_seed(0)
    tuned = {name: t + 0.01 * torch.randn(t.shape, generator=draw) for name, t in start.items()}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    student = bench.student(config)
    mixtures = Mixtures(student, start, [tuned], lambda: moment, reading=bench.reading)
    mixtures.score([split], [i / (steps - 1) for i in range(steps)])
    print(
        time.perf_counter() - begun,
        (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    )
