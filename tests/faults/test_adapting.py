"""A fault at any step of learning costs what would have been learnt, and never the outcome.

The daemon is traced: each system call that it makes on the directory of adapted references while
the owner, with glasses, is let in is a step, and each is struck in a daemon of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.daemons import running
from tests.faults.conftest import FILE_CALLS
from tests.integration.conftest import Machine
from tests.integration.test_adaptation import adapted, looks, put_before

pytestmark = pytest.mark.root

__all__ = ["looks"]

FAULTS = {
    "killed": ("signal=KILL", set(FILE_CALLS.split(","))),
    "EIO": ("error=EIO", {"openat", "read", "write", "fsync", "rename"}),
    "ENOSPC": ("error=ENOSPC", {"openat", "write", "fsync", "rename", "mkdir"}),
}


def attempt(machine: Machine, *, inject: str) -> tuple[str | None, Counter[str]]:
    """Let the owner in by a daemon that is struck; return the outcome and the calls made."""
    folder = machine.layout.adapted
    trace = machine.layout.root / "trace"
    trace.unlink(missing_ok=True)
    traced = machine.layout.root / "python"
    file = folder / f"{machine.account.name}.adapted"
    traced.write_text(
        f"#!/bin/sh\nexec strace -DDD -f --seccomp-bpf -qq -o {trace} -P {folder} -P {file} "
        f'-e trace={FILE_CALLS} {inject} {machine.program.python} "$@"\n'
    )
    traced.chmod(0o755)
    struck = replace(machine, program=replace(machine.program, python=traced))
    with running(struck) as daemon, daemon.client() as client:
        outcome = client.outcome()
        client.receive()  # hangs up when it is done with what it learns, or is dead
    machine.wait_for_processes(0)
    calls = re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE)
    return outcome, Counter(calls)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_while_it_learns_never_changes_the_outcome(
    machine: Machine,
    enrolment: Machine,
    portraits: tuple[Path, Path],
    looks: tuple[Path, Path],
    fault: str,
) -> None:
    put_before(machine, portraits[0])
    machine.enrol_like(enrolment)
    put_before(machine, looks[0])
    machine.layout.adapted.mkdir(mode=0o700, parents=True)
    outcome, calls = attempt(machine, inject="")
    assert outcome == "match"
    assert adapted(machine) is not None
    injected, possible = FAULTS[fault]
    steps = [(call, n + 1) for call in sorted(possible) for n in range(calls[call])]
    assert steps
    for call, number in steps:
        for left in machine.layout.adapted.iterdir():
            left.unlink()
        outcome, _ = attempt(machine, inject=f"-e inject={call}:{injected}:when={number}")
        assert outcome == "match", f"{call} {number}, {fault}"
        assert machine.authenticate(machine.account.password).accepted
    outcome, _ = attempt(machine, inject="")
    assert outcome == "match"
