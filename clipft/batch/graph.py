"""Which earlier jobs a job needs, and the order in which jobs may run.

A job that trains, or combines, needs the earlier jobs that train what it asks for; one that draws
needs those that write into its folder of runs, and where it has `where`, those that may fit. Both
need every earlier job of which nobody knows what it writes; such a job needs all earlier ones. What
a stage says with `after` goes before all this.

Jobs go by their numbers. Many jobs often need the same: a gate stands between, so that there are as
many edges as jobs, not their product.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePath
from typing import Any

from ..config import RunConfig, digest
from ..errors import ConfigError, unknown
from ..runs.identity import model_name
from ..runs.model_names import LOCAL
from .work import Work

# settings of which a run's row in a table has the very value that was asked for
PLAIN = ("model", "lr", "steps", "batch_size", "seed", "text_length", "text_count")


@dataclass(frozen=True, eq=False)
class Gate:
    """What has to be done first: jobs, and all that other gates want. `key` names their content."""

    jobs: tuple[int, ...] = ()
    gates: tuple[Gate, ...] = ()
    key: str = ""


NOTHING = Gate()


@dataclass(frozen=True)
class Asks:
    """What a job's parameters say of its needs.

    runs: its folder of runs, figures: that of its figures, "" where it has none. draws: whether it
    reads runs and writes figures alone. inputs: other texts among its parameters that lie in the
    batch's folder.
    """

    work: Work
    runs: str = ""
    figures: str = ""
    draws: bool = False
    where: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether it is known what it writes."""
        return self.draws or bool(self.work.trainings)


class Needs:
    """The gates of a batch's jobs, stage by stage, in the order in which they are planned."""

    def __init__(self, out: str):
        self._out = out
        self._keys: dict[int, str] = {}
        self._stages: dict[str, list[Gate]] = defaultdict(list)
        self._earlier = NOTHING  # all jobs of earlier stages
        self._unknown = NOTHING  # those of earlier stages of which nobody knows what they write
        self._first_maker: dict[tuple[str, str], int] = {}
        self._writers: dict[str, _Writers] = {}  # by folder of runs
        self._written: set[str] = set()  # folders of runs and figures
        self._stage: list[tuple[int, Asks]] = []

    def of(self, asks: Asks, after: Sequence[str] | None) -> Gate:
        """The gate of a job of the stage that is being planned."""
        if after is not None:
            return self._named(after)
        if not asks.is_known or any(map(self._is_written, asks.inputs)):
            return self._earlier
        if asks.draws:
            own = self._of_folder(asks)
        else:
            own = self._makers(asks)
        return self._joined(own, self._unknown)

    def add(self, number: int, key: str, asks: Asks) -> None:
        """Note a job of the stage that is being planned; key: the name of its content."""
        self._keys[number] = key
        self._stage.append((number, asks))

    def end_stage(self, names: Iterable[str], key: str) -> None:
        """What was noted is earlier from here on. names: what `after` may call it."""
        numbers = tuple(number for number, _ in self._stage)
        self._earlier = Gate(numbers, (self._earlier,) if self._earlier.key else (), key)
        gate = Gate(numbers, key=digest([self._keys[number] for number in numbers]))
        for name in names:
            self._stages[name].append(gate)

        unknown_jobs = []
        for number, asks in self._stage:
            if not asks.is_known:
                unknown_jobs.append(number)
            if asks.work.trainings:
                self._writers.setdefault(asks.runs, _Writers()).add(number, asks.work)
                self._written.add(asks.runs)
                for run in asks.work.makes:
                    self._first_maker.setdefault((asks.runs, run), number)
            if asks.draws:
                self._written.add(asks.figures)
        if unknown_jobs:
            new = Gate(tuple(unknown_jobs), key=digest([self._keys[job] for job in unknown_jobs]))
            self._unknown = self._joined(new, self._unknown)
        self._stage = []

    def _named(self, after: Sequence[str]) -> Gate:
        gates = [gate for name in after for gate in self._stages[name]]
        if not gates:
            return NOTHING
        return Gate(gates=tuple(gates), key=digest([gate.key for gate in gates]))

    def _makers(self, asks: Asks) -> Gate:
        """The first jobs that make what this one asks for, too."""
        makers = {self._first_maker.get((asks.runs, run)) for run in asks.work.makes}
        numbers = tuple(sorted(number for number in makers if number is not None))
        if not numbers:
            return NOTHING
        return Gate(numbers, key=digest([self._keys[number] for number in numbers]))

    def _of_folder(self, asks: Asks) -> Gate:
        """The jobs that write into a folder of runs, or into the folder of a single run."""
        for folder in (asks.runs, str(PurePath(asks.runs).parent)):
            if folder in self._writers:
                return self._writers[folder].gate(asks.where, self._keys)
        return self._earlier if asks.runs.startswith(self._out) else NOTHING

    def _is_written(self, text: str) -> bool:
        """Whether a path lies in a folder that an earlier job writes to."""
        path = PurePath(text.removeprefix(LOCAL))
        return any(str(folder) in self._written for folder in (path, *path.parents))

    @staticmethod
    def _joined(*gates: Gate) -> Gate:
        wanted = tuple(gate for gate in gates if gate.key)
        if len(wanted) < 2:
            return wanted[0] if wanted else NOTHING
        return Gate(gates=wanted, key=digest([gate.key for gate in wanted]))


class _Writers:
    """The jobs that write into one folder of runs, found by the settings of their runs."""

    def __init__(self) -> None:
        self._jobs: list[tuple[int, Work]] = []
        self._groups: dict[str, tuple[int, dict[Any, list[tuple[int, Work]]]]] = {}
        self._gates: dict[str, tuple[int, Gate]] = {}

    def add(self, number: int, work: Work) -> None:
        self._jobs.append((number, work))

    def gate(self, where: Mapping[str, Any], keys: Mapping[int, str]) -> Gate:
        """All of them that may make a run with these settings; it goes on from an earlier gate."""
        name = digest(where)
        wanted = {}
        for key in PLAIN:
            if key in where and not isinstance(where[key], list | dict):  # one of several: no help
                wanted[key] = where[key]
        jobs = self._jobs
        for key in wanted:
            group = self._group(key).get(wanted[key], [])
            if len(group) < len(jobs):
                jobs = group
        seen, before = self._gates.get(name, (0, NOTHING))
        new = []
        for number, work in self._jobs_after(jobs, seen):
            if any(_may_have(config, wanted) for config in work.trainings):
                new.append(number)
        gate = before
        if new:
            own_keys = [keys[number] for number in new]
            gate = Gate(tuple(new), (before,) if before.key else (), digest([before.key, own_keys]))
        self._gates[name] = (self._jobs[-1][0], gate)
        return gate

    @staticmethod
    def _jobs_after(jobs: Sequence[tuple[int, Work]], seen: int) -> Iterator[tuple[int, Work]]:
        """Those with numbers above `seen`; numbers rise."""
        first = len(jobs)
        while first and jobs[first - 1][0] > seen:
            first -= 1
        yield from jobs[first:]

    def _group(self, key: str) -> dict[Any, list[tuple[int, Work]]]:
        """Value of a setting -> jobs, brought up to date."""
        count, groups = self._groups.get(key, (0, {}))
        for number, work in self._jobs[count:]:
            for value in {_value(config, key) for config in work.trainings}:
                groups.setdefault(value, []).append((number, work))
        self._groups[key] = (len(self._jobs), groups)
        return groups


def _value(config: RunConfig, key: str) -> Any:
    value = getattr(config, key)
    return model_name(value) if key == "model" else value


def _may_have(config: RunConfig, wanted: Mapping[str, Any]) -> bool:
    return all(_value(config, key) == value for key, value in wanted.items())


def in_order(names: Sequence[Sequence[str]], after: Sequence[Sequence[str] | None]) -> list[int]:
    """The numbers of stages so that each comes behind those that it names; else as they stand.

    names: what each may be called. Raises ConfigError for an unknown name, and for a circle.
    """
    by_name: dict[str, list[int]] = defaultdict(list)
    for number, own in enumerate(names):
        for name in own:
            by_name[name].append(number)
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for number, wanted in enumerate(after):
        sorter.add(number, *_named(wanted or (), by_name))
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " before ".join(names[number][0] for number in error.args[1])
        raise ConfigError(f"stages wait for each other: {circle}; see `after`") from None

    order: list[int] = []
    ready = list(sorter.get_ready())
    heapq.heapify(ready)
    while ready:
        order.append(heapq.heappop(ready))
        sorter.done(order[-1])
        for number in sorter.get_ready():
            heapq.heappush(ready, number)
    return order


def _named(wanted: Sequence[str], by_name: Mapping[str, Sequence[int]]) -> Iterator[int]:
    for name in wanted:
        if name not in by_name:
            raise unknown("stage in after", name, by_name)
        yield from by_name[name]


# --- at work

Node = int | Gate


class Order:
    """Jobs as their turn comes: first those that need others, then as they are numbered.

    gates: what each job needs; what is not among their keys is done, or not asked for. makes: the
    runs that a job makes where they are not there; jobs that make the same one go one after the
    other, until it is made.
    """

    def __init__(self, gates: Mapping[int, Gate], makes: Mapping[int, Iterable[Hashable]]):
        self._makes = {number: set(makes.get(number, ())) for number in gates}
        self._made: set[Hashable] = set()
        self._being_made: set[Hashable] = set()
        self._queues: dict[Hashable, deque[int]] = defaultdict(deque)  # jobs that wait for a run
        self._ready: list[tuple[bool, int]] = []
        self._needs_none = {number for number, gate in gates.items() if gate is NOTHING}
        self._waits: dict[Node, int] = {}  # for how many others
        self._next: dict[Node, list[Node]] = defaultdict(list)
        self.not_run: dict[int, int] = {}  # job -> the one that it needs, which failed
        self._broken: set[Node] = set()
        for number, gate in gates.items():
            self._add(number, gate, gates)
        free = [node for node, count in self._waits.items() if not count]
        for node in free:
            self._open(node)

    def pop(self) -> int | None:
        """The next job to begin; None where none may begin now."""
        while self._ready:
            _, number = heapq.heappop(self._ready)
            runs = self._makes[number] - self._made
            held = next((run for run in runs if run in self._being_made), None)
            if held is None:
                self._being_made |= runs
                return number
            self._queues[held].append(number)
        return None

    def finished(self, number: int, *, ok: bool) -> None:
        """Note how a job ended: what needed it may begin, or is not run."""
        runs = self._makes[number] - self._made
        self._being_made -= runs
        for run in runs:
            queue = self._queues[run]
            if ok:
                self._made.add(run)
            # Where it was not made, the next one makes it.
            for _ in range(len(queue) if ok else min(1, len(queue))):
                self._push(queue.popleft())
        if ok:
            for node in self._next[number]:
                self._arrive(node)
        else:
            self._break(number)

    def _add(self, number: int, gate: Gate, chosen: Mapping[int, Gate]) -> None:
        """Edges from what a job needs to it; those of a gate once."""
        self._waits[number] = 0
        todo: list[tuple[Node, Gate]] = [(number, gate)]
        while todo:
            node, wanted = todo.pop()
            if wanted is NOTHING:
                continue
            self._next[wanted].append(node)
            self._waits[node] += 1
            if wanted in self._waits:
                continue
            self._waits[wanted] = 0
            for job in wanted.jobs:
                if job in chosen:
                    self._next[job].append(wanted)
                    self._waits[wanted] += 1
            todo += [(wanted, inner) for inner in wanted.gates]

    def _arrive(self, node: Node) -> None:
        self._waits[node] -= 1
        if not self._waits[node]:
            self._open(node)

    def _open(self, node: Node) -> None:
        """Let a job begin; or all that waited at a gate, and at those behind it."""
        todo = [node]
        while todo:
            opened = todo.pop()
            if isinstance(opened, int):
                self._push(opened)
                continue
            for behind in self._next[opened]:
                self._waits[behind] -= 1
                if not self._waits[behind]:
                    todo.append(behind)

    def _push(self, number: int) -> None:
        heapq.heappush(self._ready, (number in self._needs_none, number))

    def _break(self, failed: int) -> None:
        """Note what needs a job that failed, at whatever distance."""
        todo: list[Node] = [failed]
        while todo:
            for node in self._next[todo.pop()]:
                if node in self._broken:
                    continue
                self._broken.add(node)
                todo.append(node)
                if isinstance(node, int):
                    self.not_run[node] = failed


def behind(gates: Mapping[int, Gate], stuck: Iterable[int]) -> set[int]:
    """The jobs that need one of these, which do not end well, at whatever distance."""
    order = Order(gates, {})
    for number in stuck:
        order.finished(number, ok=False)
    return set(order.not_run)


def wall_clock(
    gates: Mapping[int, Gate],
    makes: Mapping[int, Iterable[Hashable]],
    seconds: Mapping[int, float],
    width: int,
) -> float:
    """Seconds until the last job has ended, where so many run side by side."""
    order = Order(gates, makes)
    under_way: list[tuple[float, int]] = []
    now = 0.0
    while True:
        while len(under_way) < width and (number := order.pop()) is not None:
            heapq.heappush(under_way, (now + seconds[number], number))
        if not under_way:
            return now
        now, number = heapq.heappop(under_way)
        order.finished(number, ok=True)
