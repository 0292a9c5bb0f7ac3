"""A machine that boots in User Mode Linux, and takes orders over a serial line.

Nothing of it needs root, a network or a processor that virtualises. Its disk is a view of an image
whose changes lie in a file beside it, so it can be switched off at any moment and booted again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO

SECONDS = 600  # a hang, not a speed
MEMORY_FILES = "/dev/shm"  # on a disk, the guest would wait for it at each page
MEMORY = "1500M"
SHARE = "/mnt/host"
MODULES = "/lib/modules"
WAIT = "systemctl is-system-running --wait"


Ended = subprocess.CompletedProcess[str]


def _claim_processor() -> tuple[int, int]:
    """Return a processor, and a file that keeps other guests off it for as long as it is open.

    Each system call in a guest goes to its kernel and back, which are two processes of this
    machine. On two processors each wakes the other up, which takes three times as long.
    """
    processors = sorted(os.sched_getaffinity(0))
    for processor in processors:
        claim = os.open(f"{MEMORY_FILES}/guest-on-{processor}", os.O_CREAT | os.O_RDWR, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return processor, claim
        os.close(claim)
    return processors[-1], os.open(os.devnull, os.O_RDONLY)


class GuestError(Exception):
    """The guest does not answer, or a command in it failed."""


class Running:
    """A command that runs in the guest."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        self.argv = argv
        self._answers: SimpleQueue[Ended | None] = SimpleQueue()

    def finish(self, ended: Ended | None) -> None:
        """Tell how it ended; None when the guest ended first."""
        self._answers.put(ended)

    def result(self, seconds: float = SECONDS) -> Ended:
        """Wait until it has ended.

        Raises:
            GuestError: It did not, or the guest was switched off.
        """
        try:
            ended = self._answers.get(timeout=seconds)
        except Empty:
            raise GuestError(f"no answer in {seconds} s: {' '.join(self.argv)}") from None
        if ended is None:
            raise GuestError(f"the guest ended during: {' '.join(self.argv)}")
        return ended


class Guest:
    """One guest.

    Args:
        kernel: The folder that kernel.sh made.
        image: The folder that image.sh made.
        place: An empty folder for the changes to its disk, and its console's text.
        share: A folder of this machine that is at SHARE in the guest.
    """

    def __init__(self, *, kernel: Path, image: Path, place: Path, share: Path) -> None:
        self._kernel, self._image, self._place, self._share = kernel, image, place, share
        self._process: subprocess.Popen[bytes] | None = None
        self._orders = -1
        self._commands: dict[int, Running] = {}
        self._lock = threading.Lock()
        self._number = 0

    def boot(self, *options: str) -> float:
        """Switch it on, wait until its services have started, and return how long that took, s.

        Args:
            options: More of the kernel's command line.
        """
        started = time.monotonic()
        ready = Running(("boot",))
        self._commands = {0: ready}
        with (self._place / "console.log").open("ab") as console:
            answers = self._switch_on(console, *options)
        threading.Thread(target=self._listen, args=(answers,), daemon=True).start()
        try:
            ready.result()
            self.run("sh", "-c", f"{WAIT} || true")
            self.run("mkdir", "-p", SHARE)
            self._mount()
        except GuestError as error:
            text = (self._place / "console.log").read_text(errors="replace")
            self.switch_off()
            raise GuestError(f"it did not boot: {error}\n{text[-3000:]}") from None
        return time.monotonic() - started

    def _switch_on(self, console: BinaryIO, *options: str) -> int:
        """Start its process, and return where its answers are read."""
        orders, self._orders = os.pipe()
        answers, said = os.pipe()
        disk = f"{self._place / 'changes'},{self._image / 'disk.ext4'}"
        processor, claim = _claim_processor()
        self._process = subprocess.Popen(
            [
                *("taskset", "--cpu-list", str(processor)),
                str(self._kernel / "linux"),
                *(f"mem={MEMORY}", f"uml_dir={self._place}/", "umid=guest"),
                *(f"ubd0={disk}", "root=/dev/ubda", "rw", "quiet"),
                "audit=1",  # the journal tells what AppArmor denied
                *("con=null", "con0=null,fd:1", f"ssl0=fd:{orders},fd:{said}"),
                *("random.trust_cpu=on", "net.ifnames=0", *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            pass_fds=(orders, said, claim),
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin", "TMPDIR": MEMORY_FILES},
        )
        for ours in (orders, said, claim):
            os.close(ours)
        return answers

    def _mount(self) -> None:
        for folder, place in ((self._share, SHARE), (self._kernel / "lib/modules", MODULES)):
            self.run("mount", "-t", "hostfs", "-o", f"{folder},ro", "none", place)

    def _listen(self, answers: int) -> None:
        with os.fdopen(answers, "rb") as lines, contextlib.suppress(OSError):
            for line in lines:
                with contextlib.suppress(ValueError):  # what the kernel says when it starts
                    said = json.loads(line)
                    command = self._commands.pop(said["id"], None)
                    if command is not None:
                        status, out, err = said["status"], said["out"], said["err"]
                        command.finish(Ended(command.argv, status, out, err))
        for command in list(self._commands.values()):
            command.finish(None)

    def start(self, *argv: str | Path, given: str = "") -> Running:
        """Start a command as root, with a text on its standard input."""
        running = Running(tuple(map(str, argv)))
        with self._lock:
            self._number += 1
            self._commands[self._number] = running
            order = {"id": self._number, "argv": running.argv, "input": given}
            os.write(self._orders, json.dumps(order).encode() + b"\n")
        return running

    def run(
        self, *argv: str | Path, given: str = "", check: bool = True, seconds: float = SECONDS
    ) -> Ended:
        """Run a command as root.

        Raises:
            GuestError: It failed and `check` is set, or did not end.
        """
        ended = self.start(*argv, given=given).result(seconds)
        if check and ended.returncode != 0:
            said = f"{ended.returncode}\n{ended.stdout}{ended.stderr}"
            raise GuestError(f"{' '.join(map(str, argv))}: {said}")
        return ended

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.run("sh", "-c", 'cat >"$1"', "-", path, given=text)

    def wait(self, what: Callable[[], object], seconds: float = SECONDS) -> None:
        """Wait until something is so."""
        until = time.monotonic() + seconds
        while not what():
            if time.monotonic() > until:
                raise GuestError(f"it did not come true in {seconds} s")
            time.sleep(0.1)

    def power_off(self) -> None:
        """Shut it down as its owner would."""
        self.start("systemctl", "poweroff")
        assert self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS)
        self.switch_off()

    def switch_off(self) -> None:
        """Take its power away, whatever it does."""
        if self._process is not None:
            # Each of its processes is one of this machine, in the group of the first.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            # The disk is locked until the last of them has ended, and a boot ends before a word.
            with contextlib.suppress(ProcessLookupError):
                until = time.monotonic() + SECONDS
                while time.monotonic() < until:
                    os.killpg(self._process.pid, 0)
                    time.sleep(0.05)
            self._process = None
            os.close(self._orders)
