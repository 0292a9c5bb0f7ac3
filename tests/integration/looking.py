"""A real attempt that is caught in the middle."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.integration.conftest import BOUND_SECONDS, Machine
from tests.process_table import Holder, describe

T = TypeVar("T")
WITH_CORES = ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh"]


@dataclass(frozen=True)
class Looking:
    """An attempt that goes on.

    Args:
        machine: On which.
        client: Who asks, pamtester; without a limit on core files.
        keeper, observer: Ids of the two processes.
    """

    machine: Machine
    client: subprocess.Popen[bytes]
    keeper: int
    observer: int

    def confined(self) -> tuple[Holder, Holder]:
        """Wait until both processes have given up what they need no more, and describe them."""
        return (
            wait_for(lambda: _filtered(describe(self.keeper))),
            wait_for(lambda: _filtered(describe(self.observer))),
        )


@contextlib.contextmanager
def attempt_that_goes_on(machine: Machine, portraits: tuple[Path, Path]) -> Iterator[Looking]:
    """The second portrait is enrolled, the first is shown, and is not refused for long."""
    machine.show(portraits[1])
    machine.enrol(portraits[1])
    machine.show(portraits[0])
    text = machine.layout.config_file.read_text()
    machine.configure(
        f"{text}[attempt]\ntimeout_seconds = {BOUND_SECONDS}\n[matching]\nrefusing_frames = 300\n"
    )
    client = subprocess.Popen(
        [*WITH_CORES, "pamtester", machine.service, machine.account.name, "authenticate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        keeper, observer = machine.wait_for_processes(2)
        yield Looking(machine, client, keeper, observer)
    finally:
        client.kill()
        client.communicate()
        machine.wait_for_processes(0)


def wait_for(look: Callable[[], T | None]) -> T:
    """Look again and again until there is something."""
    deadline = time.monotonic() + BOUND_SECONDS
    while (found := look()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def _filtered(holder: Holder) -> Holder | None:
    return holder if holder.seccomp == "filter" else None
