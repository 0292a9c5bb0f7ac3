"""`faceidd` in the foreground for a bed, and what it takes while it runs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bed import Bed
from benchmarks.memory import kilobytes

START_SECONDS: Final = 30.0
MEGABYTE: Final = 1e6 / 1024


@dataclass(frozen=True, slots=True)
class Served:
    """A running daemon.

    Args:
        keeper: Its process id.
    """

    keeper: int

    def observers(self) -> list[int]:
        """Process ids of the observers that it started."""
        children: list[int] = []
        for task in Path(f"/proc/{self.keeper}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
        return children

    def memory(self) -> float:
        """Proportional set size of keeper and observer together, MB (10^6 bytes)."""
        processes = [self.keeper, *self.observers()]
        return sum(kilobytes(pid, "smaps_rollup", "Pss") for pid in processes) / MEGABYTE

    def resident(self) -> float:
        """Resident set of the keeper and its observer, shared pages counted in both, MB."""
        processes = [self.keeper, *self.observers()]
        return sum(kilobytes(pid, "status", "VmRSS") for pid in processes) / MEGABYTE

    def descriptors(self) -> int:
        """Open files of the keeper and its observer."""
        processes = [self.keeper, *self.observers()]
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in processes)

    def wake_ups(self, *, seconds: float) -> float:
        """How often a second any of their threads was woken, watched for so long."""
        before = self._switches()
        time.sleep(seconds)
        return (self._switches() - before) / seconds

    def wait_until_dropped(self) -> None:
        """Wait until the models are gone."""
        while self.observers():
            time.sleep(0.05)

    def _switches(self) -> int:
        total = 0
        for pid in (self.keeper, *self.observers()):
            for task in Path(f"/proc/{pid}/task").iterdir():
                for line in (task / "status").read_text().splitlines():
                    if line.startswith("voluntary_ctxt_switches:"):
                        total += int(line.split()[1])
        return total


@contextmanager
def serve(bed: Bed) -> Iterator[Served]:
    """Start a daemon for the bed's tree; leaving ends it.

    Raises:
        RuntimeError: It does not start.
    """
    module = "pam_faceid.apps.daemon"
    process = subprocess.Popen(
        [bed.python, "-I", "-B", "-m", module, "--root", bed.layout.root, "--foreground"],
        env={},
        stdin=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + START_SECONDS
        while not bed.layout.socket.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("faceidd does not start")
            time.sleep(0.01)
        yield Served(process.pid)
    finally:
        process.terminate()
        process.wait()
