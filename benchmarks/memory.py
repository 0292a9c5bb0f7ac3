"""Resident memory of the two processes of an authentication, watched while it runs."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bed import USER, Bed

PROC: Final = Path("/proc")
WORKER: Final = b"pam_faceid.apps.worker"
POLL_SECONDS: Final = 0.002


@dataclass(frozen=True, slots=True)
class Peak:
    """The most that was seen, MB (10^6 bytes).

    Args:
        worker_rss, observer_rss: Resident set of each process, shared pages counted in both.
        together_pss: Both processes at one moment, each shared page counted once.
    """

    worker_rss: float
    observer_rss: float
    together_pss: float


def peak_memory(bed: Bed) -> Peak:
    """Authenticate once and watch. Polling slows the attempt: its time means nothing."""
    worker = observer = together = 0
    client = subprocess.Popen(
        ["pamtester", bed.plain, USER, "authenticate"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while client.poll() is None:
        found = _workers(str(bed.layout.root).encode())
        for pid in found:
            resident = kilobytes(pid, "status", "VmHWM")
            # The observer is forked from the worker, so it is the one whose parent is found too.
            if _parent(pid) in found:
                observer = max(observer, resident)
            else:
                worker = max(worker, resident)
        together = max(together, sum(kilobytes(pid, "smaps_rollup", "Pss") for pid in found))
        time.sleep(POLL_SECONDS)
    megabyte = 1e6 / 1024
    return Peak(worker / megabyte, observer / megabyte, together / megabyte)


def _workers(root: bytes) -> list[int]:
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            words = _read(entry / "cmdline").split(b"\0")
            if WORKER in words and root in words:
                found.append(int(entry.name))
    return found


def _parent(pid: int) -> int:
    fields = _read(PROC / str(pid) / "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def kilobytes(pid: int, file: str, key: str) -> int:
    """Read a size from a file of a process in /proc; 0 when it is gone."""
    for line in _read(PROC / str(pid) / file).decode().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    return 0


def _read(path: Path) -> bytes:
    """Read a file of a process, which may end at any time."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
