"""A command is killed at some moment, or its writes fail; the same command goes on to what the
uninterrupted one leaves, bit for bit. Everything is done from outside the process.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forks import Forks, Job
from watching import Watch
from works import Stock, Work, contents, parts_of_work, temporary

from clipft.disk.leftovers import MARKED, SAFETENSORS

MOST_KILLS = 3  # of one command, before it may end
ROOM = 64 << 20  # bytes of a disk that is large enough
SAID = 2048  # bytes of what a command says, which goes to a file, too


@dataclass
class Whole:
    """What the uninterrupted command leaves, how long it takes and how often it writes."""

    left: dict[str, str]
    parts: dict[str, list[str]]
    seconds: float
    changes: int
    size: int  # bytes of all it leaves, and of the largest file
    largest: int


@dataclass
class Outcome:
    """What was done to a command, in words; hit: something was being written when it was killed."""

    title: str
    moments: list[str] = field(default_factory=list)
    hits: int = 0
    kills: int = 0


class Faults:
    """Works of a stock, and the outcomes of their uninterrupted commands."""

    def __init__(self, folder: Path, forks: Forks):
        self.folder = folder
        self.forks = forks
        self.stock = Stock(folder / "stock")
        self.stock.make(forks)
        self.works = {work.title: work for work in self.stock.works()}
        self._wholes: dict[str, Whole] = {}

    def whole(self, work: Work) -> Whole:
        """The uninterrupted command, done once."""
        if work.title not in self._wholes:
            with self.place(work) as place, Watch(place) as watch:
                began = time.monotonic()
                job = self.start(work, place)
                watch.until(1 << 60, job)
                assert job.wait() == 0, f"{work.title}: {job.said}"
                seconds = time.monotonic() - began
                left = contents(place)
                sizes = [path.stat().st_size for path in place.rglob("*") if path.is_file()]
                assert temporary(place) == []
                self._wholes[work.title] = Whole(
                    left, parts_of_work(place), seconds, watch.seen, sum(sizes), max(sizes)
                )
        return self._wholes[work.title]

    @contextlib.contextmanager
    def place(self, work: Work) -> Iterator[Path]:
        """A folder of a command's own."""
        # Always of one name for a command: some of what is left says where.
        place = self.folder / work.title.replace(" ", "-")
        place.mkdir()
        self.fill(work, place)
        try:
            yield place
        finally:
            shutil.rmtree(place)

    def fill(self, work: Work, place: Path) -> None:
        shutil.copytree(self.stock.folder / (work.begins or "empty"), place, dirs_exist_ok=True)

    def start(self, work: Work, place: Path, **how) -> Job:
        log = self.folder / f"{place.name}.log"
        return self.forks.start(work.at(place), log, self.stock.environment(place), **how)

    def kill(
        self, work: Work, draw: random.Random, most: int = 1, *, surely: bool = False
    ) -> Outcome:
        """Kill a command up to `most` times, then let it end; surely: before it can be over.

        Raises AssertionError where what it leaves differs.
        """
        whole = self.whole(work)
        is_export = work.title == "export open_clip"
        predictions = self._predictions() if is_export else []
        outcome = Outcome(work.title)
        with self.place(work) as place:
            for _ in range(draw.randint(1, most)):
                if not self._kill_once(work, place, draw, outcome, surely=surely):
                    break
                if is_export:
                    self._check_export(place, predictions)
            self._ends_as(work, place, whole, outcome)
        return outcome

    def _kill_once(
        self, work: Work, place: Path, draw: random.Random, outcome: Outcome, *, surely: bool
    ) -> bool:
        """Whether it was killed before it was over."""
        whole = self.whole(work)
        with Watch(place) as watch:
            job = self.start(work, place)
            if draw.random() < 0.25 and not surely:
                seconds = draw.uniform(0, whole.seconds)
                moment = f"after {seconds:.3f} s"
                killed = watch.until(1 << 60, job, seconds)
            else:
                # How many there are varies: some that follow each other are told as one.
                change = draw.randint(1, whole.changes // 2 if surely else whole.changes)
                moment = f"at change {change} of {whole.changes}"
                killed = watch.until(change, job)
            if not killed or job.is_over:
                outcome.moments.append(f"{moment}: it was over")
                assert job.wait() == 0, f"{work.title}: {job.said}"
                return False
            kill_all(job)
            job.wait()
        left = temporary(place)
        unknown = [name for name in left if not is_marked(name)]
        assert unknown == [], f"nobody cleans {unknown}"
        outcome.moments.append(f"{moment}, left {len(left)} unfinished")
        outcome.kills += 1
        outcome.hits += "change" in moment or bool(left)
        return True

    def _check_export(self, place: Path, predictions: list[str]) -> None:
        """What is read of a folder that was killed is the older export, the new one, or a line."""
        job = self._predict(place)
        if job.code == 0:
            assert job.said in predictions, job.said
        else:
            assert job.code == 2 and one_line(job.said), job.said

    def _predict(self, place: Path) -> Job:
        image = next(self.stock.folder.glob("data/mini/sketch/bee/*"))
        command = ["predict", f"{place}/tuned", str(image)]
        return self.forks.run(command, self.folder / "log", self.stock.environment(place))

    def _predictions(self) -> list[str]:
        """What the older and the new export say of an image."""
        work = self.works["export open_clip"]
        with self.place(work) as place:
            older = self._predict(place).said
            assert self.start(work, place).wait() == 0
            newer = self._predict(place).said
        assert older != newer
        return [older, newer]

    def _ends_as(self, work: Work, place: Path, whole: Whole, outcome: Outcome) -> None:
        """The same command, to its end, leaves the same."""
        job = self.start(work, place)
        about = f"{work.title}, {'; '.join(outcome.moments)}"
        assert job.wait() == 0, f"{about}: {job.said}"
        found = contents(place)
        differing = {
            name for name in found.keys() | whole.left if found.get(name) != whole.left.get(name)
        }
        assert not differing, f"{about}: {sorted(differing)} differ"
        assert temporary(place) == [], f"{about}: {temporary(place)} stayed"
        parts = parts_of_work(place)
        assert parts == whole.parts, f"{about}: {parts}, expected {whole.parts}"

    # --- writes that fail

    def refuse(self, work: Work, draw: random.Random, ways: Sequence[str] = ()) -> Outcome:
        """Let a command's writes fail in one of these ways, then give it what it wants.

        () for all that this user may: a file that grows too long, a full disk, folders that may no
        longer be written.
        """
        known = {"too_long": self._too_long, "forbidden": self._forbidden}
        if can_mount():
            known["full"] = self._full
        name = draw.choice(sorted(ways or known))
        way = known[name]
        outcome = Outcome(f"{work.title} {name}")
        self.whole(work)
        with self.place(work) as place:
            way(work, place, draw, outcome)
            unknown = [name for name in temporary(place) if not is_marked(name)]
            assert unknown == [], f"nobody cleans {unknown}"
        return outcome

    def _too_long(self, work: Work, place: Path, draw: random.Random, outcome: Outcome) -> None:
        """No file may be longer than so many bytes."""
        size = max(SAID, int(self.whole(work).largest ** draw.random()))
        outcome.moments.append(f"no file beyond {size} bytes")
        self._said_in_a_line(self.start(work, place, file_size=size), outcome)
        self._ends_as(work, place, self.whole(work), outcome)

    def _full(self, work: Work, place: Path, draw: random.Random, outcome: Outcome) -> None:
        """A disk with little room, then a large one."""
        begun = sum(path.stat().st_blocks * 512 for path in place.rglob("*"))
        room = begun + draw.randint(1, max(2, self.whole(work).size - begun))
        room = -(-room // 4096) * 4096
        outcome.moments.append(f"a disk of {room} bytes")
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", place], check=True)
        try:
            with contextlib.suppress(shutil.Error, OSError):
                self.fill(work, place)
            self._said_in_a_line(self.start(work, place), outcome)
            remount = ["mount", "-o", f"remount,size={ROOM}", place]
            subprocess.run(remount, check=True)
            self.fill(work, place)  # what did not fit
            self._ends_as(work, place, self.whole(work), outcome)
        finally:
            subprocess.run(["umount", "-l", place], check=True)

    def _forbidden(self, work: Work, place: Path, draw: random.Random, outcome: Outcome) -> None:
        """All folders may no longer be written from some change on, as on a read-only disk."""
        change = draw.randint(1, self.whole(work).changes)
        outcome.moments.append(f"read-only from change {change}")
        with Watch(place) as watch:
            job = self.start(work, place, powerless=True)
            watch.until(change, job)
            set_modes(place, folder=0o555, file=0o444)
            self._said_in_a_line(job, outcome)
        set_modes(place, folder=0o755, file=0o644)
        self._ends_as(work, place, self.whole(work), outcome)

    def _said_in_a_line(self, job: Job, outcome: Outcome) -> None:
        code = job.wait()
        about = f"{outcome.title}, {outcome.moments}: exit {code}, {job.said[-2000:]}"
        assert code in (0, 1, 2), about
        assert "Traceback" not in job.said, about
        if code:
            assert one_line(job.said), about
        outcome.kills += code != 0


def one_line(said: str) -> bool:
    """Whether the last line is what clipft says of a fault, and the only one."""
    lines = [line for line in said.splitlines() if line.startswith("clipft: ")]
    return len(lines) == 1 and said.splitlines()[-1] == lines[0]


def is_marked(name: str) -> bool:
    """Whether a leftover, or a folder that it lies in, says who wrote it."""
    for part in Path(name).parts:
        if SAFETENSORS.fullmatch(part) or (MARKED.fullmatch(part) and "-" in part):
            return True
    return False


def kill_all(job: Job) -> None:
    """Kill a command and all that it started, as a machine that dies does."""
    family = [job.pid]
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    for pid in family:
        family += parents.get(pid, [])
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def set_modes(place: Path, folder: int, file: int) -> None:
    for path in [place, *place.rglob("*")]:
        with contextlib.suppress(FileNotFoundError):
            path.chmod(folder if path.is_dir() else file)


def can_mount() -> bool:
    """Whether this user may mount a small disk."""
    return (
        os.geteuid() == 0
        and subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
