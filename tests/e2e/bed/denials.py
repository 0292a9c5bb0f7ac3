"""What the kernel denied keeper and observer while all of that ran: nothing that they need."""

from __future__ import annotations

import re

from tests.e2e.bed.bed import GuestBed

DENIED = re.compile(r'apparmor="DENIED" .*profile="(faceid[\w-]*)" .*comm="([^"]*)"')
# The program that stands in for somebody hostile in apparmor.py; ours is called python.
HOSTILE = "python3"


def denied(bed: GuestBed) -> dict[str, list[str]]:
    """Return what was denied under our profiles since they were loaded, by who wanted it."""
    found: dict[str, list[str]] = {}
    # The kernel's own log leaves out what comes too fast.
    for line in bed.run("journalctl", "--output=cat", "_TRANSPORT=audit").splitlines():
        match = DENIED.search(line)
        if match:
            found.setdefault(match[2], []).append(line)
    return found


def test_nothing_was_forbidden_but_what_was_tried_with_intent(bed: GuestBed) -> None:
    by_whom = denied(bed)
    assert by_whom.pop(HOSTILE), "the journal tells nothing"
    assert by_whom == {}


def test_both_were_confined_to_the_end(bed: GuestBed) -> None:
    bed.lets_the_face_in()
    for pid in (bed.keeper(), *bed.observers()):
        assert "(enforce)" in bed.run("cat", f"/proc/{pid}/attr/current")
