"""Cost of a training step of every method, relative to FT, all in one process on one thread. `make bench`.

The bounds are on CPU seconds: with one thread they are the wall's on an idle machine, and neighbours disturb them less.
"""

import statistics
import time

import torch
from lightning_fabric import Fabric

from clipft.config import RunConfig
from clipft.inputs.batches import Batch
from clipft.models.head import Head
from clipft.objectives.registry import METHODS
from clipft.runs.run import Run
from clipft.training import loop as training
from clipft.training.loop import Loop

ROUNDS, SIZE = 15, 128
BOUNDS = {"kd": 1.45, "car": 1.45, "feat_kd": 1.45, "lipsum": 1.45, "ema": 1.08, "l2sp": 1.08}


def begun(name: str, runs, batch: Batch) -> tuple[Loop, Batch]:
    """A training loop at its first step, and what it is fed: LP sees embeddings, all others pixels."""
    more = {"solver": "adamw"} if METHODS[name].trains == "head" else {}
    run = Run.create(RunConfig(method=name, lr=1e-5, steps=1000, batch_size=SIZE, **more), runs)
    run.folder.mkdir(parents=True)
    loop = Loop(
        run, Fabric(accelerator="cpu", devices=1), workers=0, skip_bad=False, progress=False
    )
    loop.student.train()
    if METHODS[name].trains != "head":
        return loop, batch
    with torch.no_grad():
        return loop, Batch.of(loop.student(batch.pixels)[0], batch.labels, batch.rows)


def test_step_cost_relative_to_ft(tmp_path, monkeypatch):
    def zero_shot_probe(run, *_):  # where the head starts does not matter here
        weight, bias = run.student.linear()
        return Head(weight.detach().clone(), bias.clone(), ())

    monkeypatch.setattr(training, "probe_head", zero_shot_probe)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        draw = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (SIZE, 3, 32, 32), dtype=torch.uint8, generator=draw)
        batch = Batch.of(pixels, torch.arange(SIZE), torch.arange(SIZE))
        loops = {name: begun(name, tmp_path, batch) for name in METHODS}
        wall, cpu = ({name: [] for name in METHODS} for _ in range(2))
        names = list(METHODS)
        for turn in range(
            ROUNDS + 2
        ):  # round robin, begun elsewhere each time; the first two warm up
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                loop, fed = loops[name]
                start, used = time.perf_counter(), time.process_time()
                loop._update(fed, ["twemoji"] * SIZE)
                loop.step += 1
                if turn >= 2:
                    wall[name].append(time.perf_counter() - start)
                    cpu[name].append(time.process_time() - used)
    finally:
        torch.set_num_threads(threads)
    wall, cpu = (
        {name: statistics.median(values) for name, values in each.items()} for each in (wall, cpu)
    )
    ratio = {name: value / cpu["ft"] for name, value in cpu.items()}
    print(f"\none step of {SIZE} images, emoji-tiny, 1 thread, median of {ROUNDS}")
    print(f"{'method':14} {'wall ms':>8} {'of FT':>6} {'CPU ms':>8} {'of FT':>6} {'bound':>6}")
    for name in METHODS:
        times = f"{1000 * wall[name]:8.1f} {wall[name] / wall['ft']:6.2f} {1000 * cpu[name]:8.1f} {ratio[name]:6.2f}"
        print(f"{name:14} {times} {BOUNDS.get(name, ''):>6}")
    assert {name: ratio[name] for name, bound in BOUNDS.items() if ratio[name] > bound} == {}
