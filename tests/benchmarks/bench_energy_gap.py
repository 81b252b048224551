"""Energy gap by second moments against the N x M form: time, memory and agreement, in one run.
`make bench`.

Each measurement is a process of its own, so that its peak memory is its own. N images, M texts, D =
512 dimensions.
"""

import itertools
import resource
import subprocess
import sys

import torch

from clipft.diagnostics.energies import energy_vectors, squared_gap, unit
from clipft.diagnostics.energy_gap import energy_gap, measure_gap

D, SCALE = 512, 100.0


def measure(form: str, n: int, m: int) -> tuple[float, float, float]:
    """Seconds, extra MB over the inputs, and the mean gap."""
    command = [sys.executable, __file__, form, str(n), str(m)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes, gap = map(float, done.stdout.split())
    return seconds, megabytes, gap


def test_second_moment_against_all_pairs():
    n = m = 10_000
    plain, short = measure("all pairs", n, m), measure("per image", n, m)
    print(f"\nenergy gap, N = {n}, M = {m}, D = {D}, {torch.get_num_threads()} threads")
    print(f"{'form':14} {'seconds':>9} {'extra MB':>9} {'mean gap':>14}")
    for name, (seconds, megabytes, gap) in (("all pairs", plain), ("second moment", short)):
        print(f"{name:14} {seconds:9.3f} {megabytes:9.0f} {gap:14.8f}")
    difference = abs(plain[2] - short[2]) / plain[2]
    print(f"{plain[0] / short[0]:.1f} times faster; relative difference {difference:.1e}")
    assert difference <= 1e-5
    assert plain[0] / short[0] >= 10
    assert short[1] < 300


def test_gaps_with_their_errors_of_50_000_images_and_10_000_texts():
    seconds, megabytes, gap = measure("errors", 50_000, 10_000)
    print("\n50 000 images, 10 000 texts, with errors:")
    print(f"{seconds:.2f} s, {megabytes:.0f} MB extra (gap {gap:.4f})")
    assert seconds < 3
    assert megabytes < 500


def test_cost_as_images_and_texts_grow():
    print(f"\n{'images':>8} {'texts':>7} {'seconds':>8} {'extra MB':>9}")
    for n, m in itertools.product((1000, 10_000, 100_000), (1000, 10_000)):
        seconds, megabytes, _ = measure("errors", n, m)
        print(f"{n:8} {m:7} {seconds:8.3f} {megabytes:9.0f}")


if __name__ == "__main__":
    import time

    form, n, m = sys.argv[1], *map(int, sys.argv[2:])
    torch.manual_seed(0)
    anchors = torch.randn(n, D)
    images = anchors.clone()
    for part in images.split(1000):  # in parts: the inputs' own making must not set the peak
        part.add_(0.1 * torch.randn(part.shape))
    texts = unit(torch.randn(m, D))
    energy_gap(images[:10], anchors[:10], texts[:10], SCALE)  # warm up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    if form == "all pairs":
        v, v0 = (energy_vectors(unit(x), texts, SCALE) for x in (images, anchors))
        gap = float(squared_gap(v, v0).double().mean())
    elif form == "errors":
        found = measure_gap(images, anchors, texts, SCALE)
        gap = found.mean + 0 * found.error
    else:
        gap = float(energy_gap(images, anchors, texts, SCALE).double().mean())
    seconds = time.perf_counter() - begun
    print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, gap)
