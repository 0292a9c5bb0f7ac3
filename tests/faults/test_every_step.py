"""A fault at every step of an attempt costs at most the face: never a login, a charge or a file.

An attempt is first watched by strace, stage by stage: each system call that the keeper or its
observer makes on the files of a stage is a step, numbered as it comes. Then each step is struck,
one attempt a step and fault, with a stranger before the camera: the password is asked for, the
right one is accepted, no record is torn, no charge is lost and no process is left.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import FILE_CALLS, STAGES, TALK_CALLS, Crowd, Stage, Step, Struck

if TYPE_CHECKING:
    from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

EVERY_CALL = {*FILE_CALLS.split(","), *TALK_CALLS.split(",")}
FAULTS = {
    "killed": ("signal=KILL", EVERY_CALL),
    # Of the errors, those calls at which Linux can answer them.
    "EIO": ("error=EIO", {"openat", "read", "pread64", "write", "fsync", "rename"}),
    "ENOSPC": ("error=ENOSPC", {"openat", "write", "fsync", "rename", "linkat", "mkdir"}),
    "EMFILE": ("error=EMFILE", {"openat", "socketpair"}),
    "ENOMEM": (
        "error=ENOMEM",
        {
            *("openat", "read", "write", "flock", "rename", "mkdir"),
            *("fork", "vfork", "clone", "clone3", "sendto", "sendmsg", "recvfrom", "recvmsg"),
        },
    ),
}
STOPPED_SECONDS = 2
YEAR_SECONDS = 365 * 24 * 3600


def by_name(stage: Stage) -> str:
    return stage.name.replace(" ", "-")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stage", STAGES, ids=by_name)
def test_a_fault_at_any_step_costs_at_most_the_face(crowd: Crowd, stage: Stage, fault: str) -> None:
    inject, possible = FAULTS[fault]
    steps = crowd.steps(stage, possible)

    def strike(struck: Struck, step: Step) -> bool:
        call, number = step
        struck.strike(stage, f"{call}:{inject}:when={number}")
        struck.check(f"{stage.name}: {call} {number}, {fault}")
        return struck.calls()[call] >= number

    reached = crowd.share(strike, steps)
    # Threads race: a step may come in another order, and the camera be read once more or less than
    # when they were counted. A stage of which not even half is struck shows nothing.
    assert reached >= 0.5 * len(steps), f"only {reached} of {len(steps)} steps were reached"
    crowd.check_undisturbed()


@pytest.mark.parametrize("stage", STAGES, ids=by_name)
def test_a_process_stopped_at_any_step_costs_at_most_the_face(waiting: Crowd, stage: Stage) -> None:
    """SIGSTOP: the host goes on at its deadline, and kills what is stopped."""
    steps = waiting.steps(stage, EVERY_CALL)

    def stop(struck: Struck, step: Step) -> bool:
        call, number = step
        struck.look_for(STOPPED_SECONDS)
        struck.strike(stage, f"{call}:signal=STOP:when={number}")
        struck.check(f"{stage.name}: {call} {number}, stopped")
        return struck.calls()[call] >= number

    reached = waiting.share(stop, steps)
    assert reached >= 0.5 * len(steps), f"only {reached} of {len(steps)} steps were reached"
    waiting.struck[0].check_undisturbed()


@pytest.mark.parametrize("clock", [time.CLOCK_REALTIME, time.CLOCK_BOOTTIME])
def test_the_clock_jumps_when_it_is_told_to(struck: Struck, clock_jump: Path, clock: int) -> None:
    """Or the test below would prove nothing."""
    struck.jump(clock_jump, clock, at=3, seconds=YEAR_SECONDS)
    read = f"import time; print(*(time.clock_gettime({clock}) for _ in range(4)))"
    ended = subprocess.run(
        [struck.server.program, "-I", "-c", read], capture_output=True, text=True, check=True
    )
    first, *later = map(float, ended.stdout.split())
    jumped = [each - first > YEAR_SECONDS / 2 for each in later]
    assert (jumped, struck.readings()) == ([False, True, True], 4)


@pytest.mark.parametrize(
    ("clock", "seconds"),
    [
        (time.CLOCK_REALTIME, -10 * YEAR_SECONDS),
        (time.CLOCK_REALTIME, 10 * YEAR_SECONDS),
        (time.CLOCK_BOOTTIME, YEAR_SECONDS),
    ],
    ids=["set back", "set ahead", "suspended"],
)
def test_a_clock_that_jumps_at_any_reading_costs_at_most_the_face(
    crowd: Crowd, clock_jump: Path, clock: int, seconds: int
) -> None:
    """A jump can be noticed by nothing but a reading, so these are its steps."""
    readings = crowd.struck[0].readings_undisturbed(clock_jump, clock)
    assert readings > 0

    def jump(struck: Struck, number: int) -> bool:
        struck.jump(clock_jump, clock, at=number, seconds=seconds)
        struck.check(f"reading {number} of {readings}")
        return struck.readings() >= number

    assert crowd.share(jump, range(1, readings + 1)) == readings
    crowd.check_undisturbed()


def test_a_slow_disk_costs_time_and_nothing_else(
    struck: Struck, portraits: tuple[Path, Path]
) -> None:
    """Each call on a file takes 20 ms: the stranger is refused and the owner let in, as ever."""
    machine: Machine = struck.machine
    everything = Stage(
        "files", FILE_CALLS, lambda m: [file for stage in STAGES for file in stage.files(m)]
    )
    struck.strike(everything, f"{FILE_CALLS}:delay_enter=20000")
    struck.check("slow disk")
    charged = struck.fresh()
    assert not struck.server.authenticate("wrong").accepted
    assert struck.charges() == charged + 1
    picture = next((machine.layout.root / "recording").iterdir())
    picture.write_bytes(portraits[0].read_bytes())
    struck.strike(everything, f"{FILE_CALLS}:delay_enter=20000")
    struck.fresh()
    ended = struck.server.authenticate("")
    picture.write_bytes(portraits[1].read_bytes())
    assert ended.accepted, ended.output
    assert not ended.asked_password
    assert struck.charges() == 0
