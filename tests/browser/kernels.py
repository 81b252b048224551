"""Kernels that begin with torch and open_clip imported: forks of one process.

The import takes longer than what a kernel of the tests does after it. JupyterLab starts
`python kernels.py SOCKET -f CONNECTION_FILE ...` where it would start a kernel: that asks the one
process for a fork, is its standard output and error, passes signals on, and ends when it ends.
`python kernels.py SOCKET` is the one process.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

STREAMS = (1, 2)
LONGEST = 1 << 20  # bytes of a request: arguments and environment
HANG = 60  # seconds after which nobody is there


@contextlib.contextmanager
def ready(folder: Path) -> Iterator[dict[str, str]]:
    """Start the process that is forked; yields what a server's environment needs for its kernels
    to be forks.
    """
    address = str(folder / "forks")
    spec = folder / "kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    command = [sys.executable, "-I", "-S", __file__, address, "-f", "{connection_file}"]
    names = {"display_name": "Python 3", "language": "python", "metadata": {"debugger": False}}
    spec.write_text(json.dumps({"argv": command} | names))
    process = subprocess.Popen([sys.executable, __file__, address])
    try:
        yield {"JUPYTER_PATH": str(folder)}
    finally:
        process.kill()
        process.wait()


# --- in the place of a kernel


def stand_in(address: str, arguments: list[str]) -> None:
    """Ask for a fork with these arguments and stay until it ends."""
    with line_to(address) as line:
        asked = {"argv": arguments, "env": dict(os.environ), "cwd": str(Path.cwd())}
        socket.send_fds(line, [b"\n"], STREAMS)
        line.sendall(json.dumps(asked).encode() + b"\n")
        fork = int(line.recv(20))
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda number, _: os.kill(fork, number))
        while line.recv(1):
            pass


def line_to(address: str, seconds: float = HANG) -> socket.socket:
    """A line to the process that is forked, which may be about to begin for so long."""
    end = time.monotonic() + seconds
    while True:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(address)
            return line
        except OSError:
            line.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


# --- the process that is forked


def wait(address: str) -> None:
    """Import what takes long, and make a fork of each line that comes."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    import ipykernel.kernelapp
    import ipywidgets
    import open_clip

    imported = (ipykernel.kernelapp, ipywidgets, open_clip)
    assert threading.active_count() == 1, f"{imported} started a thread, which no fork would have"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ends are nobody's business here
    while True:
        line, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            be_kernel(line)
        line.close()


def be_kernel(line: socket.socket) -> NoReturn:
    """Be the kernel that is asked for on a line."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        _, streams, _, _ = socket.recv_fds(line, 1, len(STREAMS))
        for given, own in zip(streams, STREAMS, strict=True):
            os.dup2(given, own)
            os.close(given)
        with line.makefile() as file:
            asked = json.loads(file.readline(LONGEST))
        line.sendall(b"%d" % os.getpid())
        threading.Thread(target=_end_with, args=[line], daemon=True).start()
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"], JPY_PARENT_PID=str(os.getppid()))
        sys.argv = ["ipykernel_launcher", *asked["argv"]]

        from ipykernel.kernelapp import launch_new_instance

        launch_new_instance()
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end_with(line: socket.socket) -> None:
    """End when who stands in for this kernel does."""
    while line.recv(1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    socket_address, *rest = sys.argv[1:]
    if rest:
        stand_in(socket_address, rest)
    else:
        wait(socket_address)
