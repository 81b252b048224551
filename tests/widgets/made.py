"""Made-up tables that several tests of explorers show."""

import itertools

import numpy as np
import pandas as pd

COLUMNS = ["run", "method", "lr", "steps", "seed", "split", "kind"]
COLUMNS += ["reference", "shifted", "difference", "low", "high", "verdict"]


def distortions():
    """As `distortion_table` has them: four runs on two shifts."""
    rng = np.random.default_rng(2)
    rows = []
    for method, seed, split, kind in itertools.product(
        ("ft", "lipsum"), (0, 1), ("sketch/test", "clipart/test"), ("raw", "normalised")
    ):
        reference, shifted = rng.uniform(1, 5, 2)
        difference = reference - shifted
        verdict = ["holds", "open", "fails"][len(rows) % 3]
        numbers = (reference, shifted, difference, difference - 1, difference + 1, verdict)
        rows.append((f"{method}{seed}", method, 1e-4, 100, seed, split, kind, *numbers))
    return pd.DataFrame(rows, columns=COLUMNS)
