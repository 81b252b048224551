"""The ranks of a run are started, by Fabric or by torchrun, and end together: what goes wrong in
one of them is one line of the first.

Nothing interrupts a sum that waits for a rank which is gone, so beside the work a thread listens.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import distributed, nn

from ..config import Precision, Reading
from ..disk.files import is_writing
from ..errors import ClipftError, ConfigError, RunError, first_line
from ..inputs.ranks import ALONE, Ranks
from ..models.load import pick_device
from ..progress import LAUNCHED, TORCHRUN, is_first, started
from ..runs.machine import processors
from ..stops import be_deaf

HANG = timedelta(hours=1)  # after which a sum that waits for a rank is given up
LOOK = 0.2  # seconds between two looks at the processes that were started
SOON = 5.0  # seconds within which ranks that live hear what went wrong
PATIENCE = 10.0  # seconds for a rank to end by itself, once the others do
# what went wrong; that the first rank knows, and says it; that another knows that
FAILED, TOLD, HEARD = "failed", "told", "heard {}"


class SharedWork(DDPStrategy):
    """Fabric's ranks around a plain module.

    DistributedDataParallel wants every weight to pass through its forward: a head and a scale, a
    penalty on weights, and a batch's two passes in parts do not. `Ranks.add_gradients` asks for
    nothing.
    """

    def setup_module(self, module: nn.Module) -> Any:
        """The module itself."""
        return module


@contextlib.contextmanager
def sharing(reading: Reading) -> Iterator[tuple[Ranks, Reading]]:
    """Which rank this is of those that share what is done inside, and its own reading.

    Starts the others where none were, once a process: they run the same command, or script, from
    its beginning. Raises ConfigError where there are no such devices.
    """
    count = _count(reading)
    if count == 1:
        yield ALONE, reading
        return
    if not _GROUP:
        _GROUP.append(_begun(reading, count))
    group = _GROUP[0]
    with group.together():
        yield group.ranks, replace(reading, device=group.device, devices=_here(count))


def fabric_of(reading: Reading, precision: Precision, ranks: Ranks) -> Fabric:
    """Fabric for the reading's device, or for the ranks that were started."""
    # tf32 is a way to compute in fp32
    mixed: Any = "bf16-mixed" if precision == "bf16-mixed" else "32-true"
    kind, _, index = pick_device(reading.device).partition(":")
    if ranks.is_alone:
        return Fabric(accelerator=kind, devices=[int(index)] if index else 1, precision=mixed)
    fabric = _shared_fabric(kind, ranks.count, mixed)
    fabric.launch()
    return fabric


def _shared_fabric(kind: str, count: int, precision: Any = "32-true") -> Fabric:
    here = _here(count)
    environment = TorchElasticEnvironment() if TORCHRUN in os.environ else LightningEnvironment()
    return Fabric(
        accelerator=kind,
        devices=here,
        num_nodes=count // here,
        strategy=SharedWork(timeout=HANG),
        plugins=[environment],
        precision=precision,
    )


def _here(count: int) -> int:
    """How many of so many ranks are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", count)) if TORCHRUN in os.environ else count


def _count(reading: Reading) -> int:
    """How many ranks there are, or shall be; raises ConfigError where others were started."""
    count = started()
    if not count:
        return reading.devices
    if reading.devices not in (1, _here(count)):
        fault = f"devices is {reading.devices}, and {_here(count)} processes were started for it"
        raise ConfigError(f"{fault}; leave devices out")
    return count


def _check_devices(reading: Reading, here: int) -> str:
    """The kind of device; raises ConfigError where there are not so many."""
    kind, _, index = pick_device(reading.device).partition(":")
    cards = torch.cuda.device_count()
    if index:
        raise ConfigError(f"{reading.device} is one device, and devices is {here}; leave out one")
    if kind == "mps":
        raise ConfigError(f"devices is {here}, but mps is one device; leave devices out")
    if kind == "cpu" and reading.device != "cpu":
        wanted = f"for {here} processes on the processor say so: device cpu"
        raise ConfigError(f"devices is {here}, and no card is here; {wanted}")
    if kind == "cpu" and here > processors():
        wanted = f"at most {processors()}: so many cores are here for a process each"
        raise ConfigError(f"devices is {here}, expected {wanted}")
    if kind == "cuda" and here > cards:
        raise ConfigError(f"devices is {here}, expected at most {cards}: so many cards are here")
    return kind


def _check_script() -> None:
    """Raise ConfigError where nothing is there that other ranks could run, too."""
    main = sys.modules["__main__"]
    is_interactive = hasattr(sys, "ps1") or "ipykernel" in sys.modules
    if is_interactive or not (getattr(main, "__spec__", None) or Path(sys.argv[0]).is_file()):
        fault = "several devices need a script or a command, which is started once for each"
        raise ConfigError(f"{fault}; wanted: clipft train --devices N, or devices=1 here")


def _begun(reading: Reading, count: int) -> Group:
    """The ranks are started, unless they were, and know each other."""
    kind = _check_devices(reading, _here(count))
    if not started():
        _check_script()
        os.environ[LAUNCHED] = "1"
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # it warns of every end of a rank
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = _shared_fabric(kind, count)
    if not is_first():
        be_deaf()  # the first one hears a signal to all, keeps the state, and ends the others
    fabric.launch()

    launcher: Any = fabric.strategy.launcher
    children = list(launcher.procs)
    launcher.procs.clear()  # or Fabric would end this process before it can say which rank is gone
    device = fabric.device
    ranks = Ranks(fabric.global_rank, count, device if kind == "cuda" else "cpu")
    host = os.environ["MASTER_ADDR"]
    server = None
    if ranks.is_first:
        server = distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False)
    port = ranks.first_says(lambda: server.port if server else 0)
    ranks.store = distributed.TCPStore(host, port, is_master=False)
    listening = distributed.TCPStore(host, port, is_master=False)
    return Group(ranks, str(device), children, server, listening)


@dataclass(eq=False)
class Group:
    """The ranks of this process, and what they say to each other where one of them fails.

    children: the processes that were started here. server: the first rank's, kept alive.
    """

    ranks: Ranks
    device: str
    children: list[Any]
    server: Any
    listening: Any
    line: str = ""  # what went wrong
    is_told: bool = False  # to the first rank, which says it

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._heard = threading.Event()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is done inside is done by all ranks, or by none: one that fails ends the others."""
        if self._heard.is_set():
            raise RunError(f"the processes of this run ended before: {self.line}")
        self._over.clear()
        listener = threading.Thread(target=self._listen, daemon=True)
        listener.start()
        try:
            yield
            self.ranks.wait_for_first()
            self.ranks.total(torch.zeros(1))
        except BaseException as error:
            ending = self._ending(error)
            if ending is error:
                raise
            raise ending from None
        finally:
            self._over.set()
            listener.join()

    # --- what the work itself does

    def _ending(self, error: BaseException) -> BaseException:
        """What this rank ends with: its own error, what another told, or nothing to say."""
        is_lost = _is_lost(error)
        if is_lost:
            self._heard.wait(SOON)
            told = self.line or "another process of this run ended, or did not answer"
        else:
            told = self._tell(_line_of(error))
        ends_in_line = is_lost or isinstance(error, ClipftError)
        if self.ranks.is_first:
            self._let_others_hear()
        elif ends_in_line and self._first_knows():
            return SystemExit(0)  # the first rank has said it
        else:
            self._say_heard()
        if is_lost:
            error = RunError(f"{told}; the same command goes on from the last checkpoint")
        if ends_in_line and not self.ranks.is_first:
            print(f"clipft: {error}", file=sys.stderr, flush=True)  # noqa: T201
            return SystemExit(2)
        return error

    def _tell(self, line: str) -> str:
        """Tell all what went wrong, unless another did; what they know then."""
        with contextlib.suppress(distributed.DistError, RuntimeError):
            return self.ranks.store.compare_set(FAILED, "", line).decode()
        return line

    def _let_others_hear(self) -> None:
        """The first rank knows; wait until all others that live know that."""
        self.ranks.store.set(TOLD, "")
        gone = {rank for rank, child in enumerate(self.children, 1) if child.poll() is not None}
        living = [rank for rank in range(1, self.ranks.count) if rank not in gone]
        given_up = time.monotonic() + SOON
        while living and time.monotonic() < given_up:
            time.sleep(LOOK / 4)
            living = [rank for rank in living if not self.ranks.store.check([HEARD.format(rank)])]

    def _say_heard(self) -> None:
        """Tell the first rank that this one knows, and ends."""
        with contextlib.suppress(distributed.DistError, RuntimeError):
            self.ranks.store.set(HEARD.format(self.ranks.rank), "")

    def _first_knows(self) -> bool:
        """Whether the first rank says what went wrong; else this one has to."""
        self._heard.wait(SOON)
        return self.is_told or self.ranks.rank > 1  # one voice is enough

    # --- what the thread beside it does

    def _listen(self) -> None:
        """Wait for what goes wrong elsewhere; end this process where the work does not."""
        while not self._hears():
            if self._over.wait(LOOK):
                return
        self._heard.set()
        if self._over.wait(PATIENCE):
            return
        while is_writing():  # a checkpoint that needs nobody else
            if self._over.wait(LOOK):
                return
        if self.ranks.is_first or (self.ranks.rank == 1 and not self.is_told):
            print(f"clipft: {self.line}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(0 if self.is_told else 2)

    def _hears(self) -> bool:
        """Whether something went wrong elsewhere."""
        try:
            self._look()
            if not self.listening.check([FAILED if self.ranks.is_first else TOLD]):
                return False
            self.line = self.listening.get(FAILED).decode()
            if self.ranks.is_first:
                self.listening.set(TOLD, "")
            else:
                self.is_told = True
                # By the thread's own line: the other may be held by a rank that waits.
                self.listening.set(HEARD.format(self.ranks.rank), "")
        except (distributed.DistError, RuntimeError):
            self.line = "the first process of this run was ended from outside"
        return True

    def _look(self) -> None:
        """Tell all of a process that ended without a word."""
        for rank, child in enumerate(self.children, 1):
            if child.poll() is not None:
                how = _how(child.returncode)
                name = f"process {rank + 1} of {self.ranks.count}"
                self.listening.compare_set(FAILED, "", f"{name} {how}")


_GROUP: list[Group] = []  # of this process, once it has one


def _how(code: int) -> str:
    """How a process ended."""
    if code < 0:
        return f"was ended from outside ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"


def _is_lost(error: BaseException) -> bool:
    """Whether a sum or a message failed for what happened to another rank."""
    if isinstance(error, distributed.DistError):
        return True
    return type(error) is RuntimeError and "gloo" in str(error)


def _line_of(error: BaseException) -> str:
    if isinstance(error, ClipftError):
        return " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    return f"{type(error).__name__}: {first_line(error)}"
