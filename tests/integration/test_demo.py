"""The demo that README.md promises, on this machine."""

from __future__ import annotations

import pwd
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

DEMO_SECONDS = 600  # a hang, not a speed


def demo(machine: Machine) -> subprocess.Popen[str]:
    command = [machine.program.python, "-I", "-m", "pam_faceid.apps.admin"]
    return subprocess.Popen(
        [*command, "--root", machine.layout.root, "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def traces() -> set[str]:
    """Accounts, services and directories of a demo."""
    places = [
        *Path("/etc/pam.d").glob("pam_faceid-demo-*"),
        *Path("/run").glob("pam_faceid-demo-*"),
    ]
    accounts = {account.pw_name for account in pwd.getpwall() if "faceid-demo" in account.pw_name}
    return accounts | {str(path) for path in places}


def test_the_demo_ends_as_expected_and_leaves_nothing(machine: Machine) -> None:
    before = traces()

    running = demo(machine)
    output, _ = running.communicate(timeout=DEMO_SECONDS)

    assert running.returncode == 0, output
    assert "All 6 steps ended as expected" in output
    assert traces() == before


def test_a_step_that_ends_otherwise_is_told_and_fails_the_demo(machine: Machine) -> None:
    """Without models nobody can be enrolled; the password steps still end as they should."""
    machine.layout.models.unlink()
    machine.layout.models.mkdir()

    running = demo(machine)
    output, _ = running.communicate(timeout=DEMO_SECONDS)

    assert running.returncode == 1, output
    assert "did not end as expected" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_nothing(machine: Machine, number: signal.Signals) -> None:
    before = traces()
    running = demo(machine)
    while len(traces() - before) < 3:
        assert running.poll() is None
        time.sleep(0.02)
    time.sleep(1.0)  # somewhere in the enrolment

    running.send_signal(number)
    running.communicate(timeout=60)

    assert running.returncode != 0
    assert traces() == before
