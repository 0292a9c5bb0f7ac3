"""doctor names what broke on a booted machine, with a cure that works."""

from __future__ import annotations

import json

import pytest

from tests.systemd.conftest import BY_FACE, SOCKETS, Bed

pytestmark = pytest.mark.root


def findings(bed: Bed, check: str) -> list[tuple[str, str]]:
    """State and cure of what one check says."""
    found = json.loads(bed.run("sh", "-c", "faceid-admin doctor --json 2>/dev/null", check=False))
    return [(f["state"], f["cure"]) for f in found["findings"] if f["check"] == check]


def test_a_stopped_socket_is_named_and_the_cure_starts_it(own_bed: Bed) -> None:
    assert [state for state, _ in findings(own_bed, "units")] == ["ok"]
    own_bed.run("systemctl", "disable", "--now", SOCKETS[0])

    ((state, cure),) = findings(own_bed, "units")

    assert state == "warn"
    own_bed.run("sh", "-c", cure)
    assert [state for state, _ in findings(own_bed, "units")] == ["ok"]
    own_bed.log_in()
    assert own_bed.sudo() == BY_FACE


def test_a_timer_that_was_stopped_is_named_and_the_cure_starts_it(own_bed: Bed) -> None:
    """A change waits, and nothing would undo it."""
    own_bed.run("faceid-admin", "pam", "enable", "login", "--confirm-within", "1h", "--yes")
    own_bed.run("systemctl", "stop", "faceid-pam-rollback.timer")

    ((state, cure),) = findings(own_bed, "left half done")

    assert state == "fail"
    own_bed.run("sh", "-c", cure.partition(";")[0])
    assert own_bed.state("faceid-pam-rollback.timer") == "active"
    assert [state for state, _ in findings(own_bed, "left half done")] == ["warn"]
