"""Energy gap by the second moment against the N x M form: time, memory and agreement, in one run. `make bench`."""

import resource
import subprocess
import sys

import torch

from clipft.diagnostics import energy_gap
from clipft.energies import energy_vectors, squared_gap, unit

N, M, D, SCALE = 10_000, 10_000, 512, 100.0


def measure(form: str) -> tuple[float, float, float]:
    """Seconds, extra MB over the inputs, and the mean gap of one form, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, form], capture_output=True, text=True, check=True)
    seconds, megabytes, gap = map(float, done.stdout.split())
    return seconds, megabytes, gap


def test_second_moment_against_all_pairs():
    plain, short = measure("all pairs"), measure("second moment")
    print(f"\nenergy gap, N = {N}, M = {M}, D = {D}, {torch.get_num_threads()} threads")
    print(f"{'form':14} {'seconds':>9} {'extra MB':>9} {'mean gap':>14}")
    for name, (seconds, megabytes, gap) in (("all pairs", plain), ("second moment", short)):
        print(f"{name:14} {seconds:9.3f} {megabytes:9.0f} {gap:14.8f}")
    print(f"{plain[0] / short[0]:.1f} times faster; relative difference {abs(plain[2] - short[2]) / plain[2]:.1e}")
    assert abs(plain[2] - short[2]) <= 1e-5 * plain[2]
    assert plain[0] / short[0] >= 10
    assert short[1] < 300


if __name__ == "__main__":
    import time

    torch.manual_seed(0)
    anchors = torch.randn(N, D)
    images, texts = anchors + 0.1 * torch.randn(N, D), unit(torch.randn(M, D))
    energy_gap(images[:10], anchors[:10], texts[:10], SCALE)  # warm up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    if sys.argv[1] == "all pairs":
        v, v0 = (energy_vectors(unit(x), texts, SCALE) for x in (images, anchors))
        gap = squared_gap(v, v0).double().mean()
    else:
        gap = energy_gap(images, anchors, texts, SCALE).double().mean()
    seconds = time.perf_counter() - begun
    print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, float(gap))
