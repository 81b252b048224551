"""`make test-faults N=50 SEED=0`: kills -9 over every kind of write, and writes that fail.

Each case is named by its number and the seed: `--only 17` repeats one.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]

from faults import MOST_KILLS, Faults  # noqa: E402
from forks import Forks  # noqa: E402

FAILING = 4  # of so many cases one has writes that fail, beside N kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--only", type=int, default=-1, help="one case, by its number")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, Forks(Path(folder)) as forks:
        failed = go_through(Faults(Path(folder), forks), given)
    sys.exit(failed > 0)


def go_through(faults: Faults, given: argparse.Namespace) -> int:
    """All cases, a line each; returns how many failed."""
    began = time.monotonic()
    kills, hits, refused = Counter(), 0, 0
    failures = []
    works = list(faults.works.values())
    random.Random(given.seed).shuffle(works)
    number = 0
    while sum(kills.values()) < given.kills:
        draw = random.Random(f"{given.seed}:{number}")
        # Every work in its turn, killed once; then all kinds alike; so are those that fail.
        is_failing = number % FAILING == FAILING - 1
        turn = number - number // FAILING
        kind = draw.choice(sorted({work.kind for work in works}))
        work = draw.choice([work for work in works if work.kind == kind])
        most = MOST_KILLS
        if turn < len(works) and not is_failing:
            work = works[turn]
            most = 1
        if given.only in (-1, number):
            try:
                outcome = faults.refuse(work, draw) if is_failing else faults.kill(work, draw, most)
            except AssertionError as error:
                failures.append(number)
                print(f"{number:4} FAILED {error}", flush=True)
                kills[work.kind] += not is_failing
            else:
                print(f"{number:4} {outcome.title}: {'; '.join(outcome.moments)}", flush=True)
                if is_failing:
                    refused += outcome.kills
                else:
                    kills[work.kind] += outcome.kills
                    hits += outcome.hits
        number += 1
        if given.only != -1 and number > given.only:
            break
    total = sum(kills.values())
    print(f"\n{total} kills, {hits} of them at a write: {dict(kills)}")
    print(f"{refused} commands whose writes failed; {time.monotonic() - began:.0f} s")
    print(f"{len(failures)} failed: {failures}, seed {given.seed}")
    return len(failures)


if __name__ == "__main__":
    main()
