"""Cost of a training step of every method, relative to FT, all in one process on one thread. `make
bench`.

The bounds are on CPU seconds: with one thread they are the wall's on an idle machine, and
neighbours disturb them less.
"""

import statistics
import time

import torch
from conftest import QUIET, OnBench
from lightning_fabric import Fabric

from clipft.config import RunConfig
from clipft.inputs.batches import Batch
from clipft.methods import METHODS
from clipft.training.after_step import AfterStep
from clipft.training.loop import Training, take_step
from clipft.training.observer import Observer
from clipft.training.state import State

ROUNDS, SIZE = 15, 128
BOUNDS = {"kd": 1.45, "car": 1.45, "feat_kd": 1.45, "lipsum": 1.45, "ema": 1.08, "l2sp": 1.08}
BOUNDS |= {"spd": 1.08, "ftp": 1.12}


class Begun:
    """A training at its first step, and what it is fed: LP sees embeddings, all others pixels.

    Where the head starts does not matter for time: everybody starts at zero-shot.
    """

    def __init__(self, name: str, batch: Batch):
        more = {"solver": "adamw"} if METHODS[name].trains == "head" else {}
        config = RunConfig(method=name, lr=1e-5, steps=1000, batch_size=SIZE, **more)
        run, fabric = OnBench(config, QUIET), Fabric(accelerator="cpu", devices=1)
        student, split = run.student.train(), run.train_split()
        self.batch = batch
        if METHODS[name].trains == "head":
            student.visual.requires_grad_(False)
            with torch.no_grad():
                self.batch = Batch(student(batch.pixels)[0], batch.labels, batch.rows)
        self.state = State.begin(student, config, fabric)
        observe = Observer(run.bench, config, self.state, fabric, split)
        parts = {"folder": None, "reading": QUIET, "examples": None, "watch": print, "steps": 1000}
        parts |= {"record": None, "after_step": AfterStep.of(run.bench, config)}
        self.training = Training(
            config=config, method=METHODS[name], fabric=fabric, observe=observe, **parts
        )

    def step(self) -> None:
        take_step(self.training, self.state, self.batch)


def test_step_cost_relative_to_ft():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        draw = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (SIZE, 3, 32, 32), dtype=torch.uint8, generator=draw)
        batch = Batch(pixels, torch.arange(SIZE), torch.arange(SIZE))
        begun = {name: Begun(name, batch) for name in METHODS}
        wall, cpu = ({name: [] for name in METHODS} for _ in range(2))
        names = list(METHODS)
        # Round robin, begun elsewhere each time; the first two warm up.
        for turn in range(ROUNDS + 2):
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                start, used = time.perf_counter(), time.process_time()
                begun[name].step()
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
        times = f"{1000 * wall[name]:8.1f} {wall[name] / wall['ft']:6.2f}"
        times += f" {1000 * cpu[name]:8.1f} {ratio[name]:6.2f}"
        print(f"{name:14} {times} {BOUNDS.get(name, ''):>6}")
    assert {name: ratio[name] for name, bound in BOUNDS.items() if ratio[name] > bound} == {}
