"""How long things take on the guest, with a camera of 30 frames a second; nothing is held to it.

Not among the scenarios of `make e2e`: `make e2e-guest E2E=times` prints the medians.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from math import comb
from pathlib import Path
from statistics import median

import pytest

from tests.e2e.bed import supplies
from tests.e2e.bed.bed import NODE, PATIENT, GuestBed
from tests.e2e.bed.conftest import filmed
from tests.e2e.bed.guest import SECONDS
from tests.e2e.conftest import told
from tests.systemd.conftest import PASSWORD, USER

RATE = 30
BOOTS, LOGINS = 3, 20
TYPING = (0.0, 5.0)  # s from the prompt to the password: a script's, and a person's
SERVICE, AT_ONCE = "/etc/pam.d/sudo", "auth sufficient pam_permit.so"
MOVING = "moving"
# As the user, and by the guest's clock: how long until a command of sudo has run, and how it ended.
LOG_IN = """
import json, subprocess, sys, time
password, times, typing = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
sudo = ["sudo", "-k", "-S", "-p", "PROMPT", "true"]
pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
ends = []
for _ in range(times):
    started, said = time.monotonic(), ""
    process = subprocess.Popen(sudo, **pipes, text=True)
    while "PROMPT" not in said and (letter := process.stderr.read(1)):
        said += letter
    asked = "PROMPT" in said
    time.sleep(typing if asked else 0)
    process.communicate(password + "\\n")
    took = round(1000 * (time.monotonic() - started))
    ends.append([took, process.returncode == 0, asked])
json.dump(ends, sys.stdout)
"""


def log_in(bed: GuestBed, password: str = "", times: int = 1, *, typing: float = 0.0) -> list[int]:
    """Log in by a password, or without one by face; return how long each took, ms.

    Args:
        typing: Seconds from the prompt to the password.
    """
    python = ("runuser", "-u", USER, "--", "/usr/bin/python3", "-I", "-c", LOG_IN)
    said = bed.machine.run(*python, password, str(times), str(typing), seconds=SECONDS).stdout
    ends = json.loads(said)
    assert {(granted, asked) for _, granted, asked in ends} == {(True, bool(password))}, ends
    return [took for took, _, _ in ends]


def spread(values: list[int]) -> str:
    """Tell the median, and in what the median of all such values lies, 95 times of 100."""
    low, high = interval(sorted(values))
    return f"median {median(values):.0f} ms [{low}, {high}] of {len(values)}"


def interval(ordered: list[int]) -> tuple[int, int]:
    """Return the order statistics about the median that hold it with 95 %; all, where few are."""
    count, outside, rank = len(ordered), 0.0, 0
    while (outside := outside + 2 * comb(count, rank) / 2**count) <= 0.05:
        rank += 1
    rank = max(rank - 1, 0)
    return ordered[rank], ordered[count - 1 - rank]


@pytest.fixture(scope="module")
def enrolled(bed: GuestBed, share: Path) -> GuestBed:
    """Alice, who is let into sudo by face, and all frames of her."""
    source = filmed(USER)
    if source is None:
        pytest.skip("nobody was filmed here at 30 frames a second")
    supplies.share_person(MOVING, source, share, every=1)
    assert "is enrolled" in bed.enrol().shown
    bed.run("faceid-admin", "pam", "enable", "sudo", "--yes", "--no-confirm-timer")
    return bed


@pytest.mark.parametrize("thrown_away", [2, 0], ids="warm_up_frames={}".format)
def test_a_login_through_sudo(enrolled: GuestBed, thrown_away: int) -> None:
    """In turns with one that pam_permit lets in: what is not the face's is in both."""
    enrolled.plug_in(MOVING, rate=RATE)
    camera = f'[camera]\ndevice = "{NODE}"\nallow_virtual = true\n'
    enrolled.configure(f"{camera}warm_up_frames = {thrown_away}\n{PATIENT}")
    log_in(enrolled, times=3)
    by_face, at_once = [], []
    for _ in range(LOGINS):
        by_face += log_in(enrolled)
        with let_in_at_once(enrolled):
            at_once += log_in(enrolled)
    told(f"sudo by face, warm, {thrown_away} frames thrown away: {spread(by_face)}")
    told(f"sudo with pam_permit in turns with it: {spread(at_once)}")
    more = [face - other for face, other in zip(by_face, at_once, strict=True)]
    told(f"of the face: {spread(more)}; two frames are {2000 // RATE} ms")
    told(f"the newest of them in the log: {enrolled.last_attempt()}")


@contextmanager
def let_in_at_once(bed: GuestBed) -> Iterator[None]:
    kept = bed.run("cat", SERVICE)
    bed.machine.write(SERVICE, f"{AT_ONCE}\n{kept}")
    yield
    bed.machine.write(SERVICE, kept)


@pytest.mark.parametrize("typing", TYPING, ids="password typed in {} s".format)
def test_a_boot_and_the_first_login_after_it(enrolled: GuestBed, typing: float) -> None:
    """The password comes first, and while it is typed the models are loaded."""
    ready, greeter, first, second = [], [], [], []
    for _ in range(BOOTS):
        enrolled.machine.power_off()
        enrolled.machine.boot()
        ready.append(active_after(enrolled, "faceidd.socket"))
        greeter.append(active_after(enrolled, "multi-user.target"))
        enrolled.plug_in(MOVING, rate=RATE)
        log_in(enrolled, PASSWORD, typing=typing)
        first += log_in(enrolled)
        second += log_in(enrolled, times=5)
    told(f"socket ready after the kernel's start: {spread(ready)}")
    told(f"where a greeter would start: {spread(greeter)}")
    told(
        f"first login by face after a boot and a password typed in {typing:.0f} s: "
        f"{spread(first)}; later: {spread(second)}"
    )
    assert all(socket < target for socket, target in zip(ready, greeter, strict=True))


def active_after(bed: GuestBed, unit: str) -> int:
    """Return when a unit became active, ms after the kernel started."""
    return int(bed.property(unit, "ActiveEnterTimestampMonotonic")) // 1000
