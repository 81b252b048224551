"""`clipft` commands as processes that begin with torch imported: forks of one process.

`with Forks(folder) as forks: job = forks.start(["train", ...], cwd=..., log=...)`. A job is ended
from outside, by its id; `job.wait()` is its exit code, or minus the signal that ended it.
`python forks.py ADDRESS` is the one process.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn, Self

from browser.kernels import line_to

LONGEST = 1 << 20  # bytes of a request: arguments and environment
HANG = 120  # seconds after which nobody is there
IMPORTED = (
    *("clipft.cli", "clipft.batch.runner", "clipft.evaluation.score", "clipft.models.predict"),
    *("clipft.training.train", "clipft.training.combine", "clipft.training.adopt"),
    *("clipft.runs.thumbnails", "clipft.data.packs", "clipft.evaluation.zero_shot"),
    *("pyarrow.parquet", "resource", "traceback"),
)


@dataclass
class Job:
    """A command at work; log: what it writes to either stream."""

    pid: int
    log: Path
    line: socket.socket
    code: int | None = None

    @property
    def said(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.code is not None or self._asked(timeout=0.0)

    def send(self, number: int) -> None:
        """Send a signal, unless it is over: nobody else has its id before it was waited for."""
        if not self.is_over:
            os.kill(self.pid, number)
            if number == signal.SIGKILL:  # nor may what works for it stay
                os.killpg(self.pid, number)

    def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        if self.code is None:
            assert self._asked(timeout=HANG), f"{self.log} has not ended:\n{self.said}"
        assert self.code is not None
        return self.code

    def _asked(self, timeout: float) -> bool:
        self.line.settimeout(timeout)
        try:
            answer = self.line.recv(20)
        except (TimeoutError, BlockingIOError):
            return False
        self.code = int(answer)
        self.line.close()
        return True


class Forks:
    """The process that is forked, and a line to it."""

    def __init__(self, folder: Path):
        self._address = f"{folder}/forks"
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Self:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen([sys.executable, __file__, self._address], env=environment)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start(
        self,
        arguments: list[str],
        log: Path,
        env: dict[str, str] | None = None,
        *,
        file_size: int = -1,
        powerless: bool = False,
    ) -> Job:
        """Begin a command; file_size: bytes beyond which it may not write a file, -1: any;
        powerless: what modes of folders forbid is forbidden, to root as well.
        """
        line = line_to(self._address, HANG)
        asked = {
            "argv": [str(word) for word in arguments],
            "env": os.environ | (env or {}),
            "log": str(log),
            "cwd": str(Path.cwd()),
            "file_size": file_size,
            "powerless": powerless,
        }
        line.sendall(json.dumps(asked).encode() + b"\n")
        return Job(int(line.recv(20)), log, line)

    def run(self, arguments: list[str], log: Path, env: dict[str, str] | None = None) -> Job:
        """A command to its end."""
        job = self.start(arguments, log, env)
        job.wait()
        return job


# --- the process that is forked


def wait_for_requests(address: str) -> None:
    """Import what takes long, and make a fork of each line that comes."""
    for name in IMPORTED:
        import_module(name)
    pandas = import_module("pandas")
    pandas.DataFrame({"a": ["x"]}).astype("category")  # it imports more then

    assert threading.active_count() == 1, "a thread was started, which no fork would have"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ends are nobody's business here
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    while True:
        line, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            see_to_it(line)
        line.close()


def see_to_it(line: socket.socket) -> NoReturn:
    """Start the command of a line, say its id there, and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with line.makefile() as file:
        asked = json.loads(file.readline(LONGEST))
    child = os.fork()
    if child == 0:
        line.close()
        be_command(asked)
    line.sendall(b"%d" % child)
    _, status = os.waitpid(child, 0)
    line.sendall(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def be_command(asked: dict) -> NoReturn:
    """Be the command that is asked for."""
    import resource

    code = 1
    try:
        os.setsid()
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        if asked["file_size"] >= 0:
            # What is too long is refused as by a full disk, not by the signal of old.
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (asked["file_size"], resource.RLIM_INFINITY))
        if asked["powerless"]:
            _give_up_power()
        sys.argv = ["clipft", *asked["argv"]]

        from clipft.cli import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _give_up_power() -> None:
    """Capabilities go, for programs that are begun from here, too; see capabilities(7)."""
    libc = ctypes.CDLL(None)
    for may_pass_modes in (1, 2):  # DAC_OVERRIDE, DAC_READ_SEARCH
        libc.prctl(24, may_pass_modes, 0, 0, 0)  # CAPBSET_DROP
    version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
    libc.capset(version_3, (ctypes.c_uint32 * 6)())


if __name__ == "__main__":
    wait_for_requests(sys.argv[1])
