"""Is a login wired as it should be: PAM services, sudo, the record, the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Final

from pam_faceid.adapters import pam_stack, sudoers
from pam_faceid.adapters.pam_services import SUDO_SERVICES, PamServices
from pam_faceid.apps import wiring
from pam_faceid.apps.admin.checks.finding import REINSTALL, Finding, State
from pam_faceid.apps.admin.output import local_time, printable
from pam_faceid.apps.admin.pam_status import ServiceStatus, service_status
from pam_faceid.core.types import Outcome
from pam_faceid.layout import Layout

LOW_SPACE_BYTES: Final = 64 << 20
_ATTEMPT: Final = b"event=authenticate"
SLOW_FRAME_MS: Final = 1000.0  # two have to agree within the limit of an attempt, 5 s by default
_STAGES: Final = ("detect_ms", "align_ms", "look_ms", "embed_ms", "attack_ms", "follow_ms")


def pam(layout: Layout) -> Iterator[Finding]:
    """Which services ask for the face, and whether they may."""
    services = PamServices(layout.root)
    wired: dict[str, str] = {}
    for name in services.names():
        status = service_status(services, name)
        cure = _repair(status) or f"faceid-admin pam disable {name}"
        for fault in status.faults:
            yield Finding(State.FAIL, f"{name}: {fault}", cure)
        if status.enabled:
            wired[name] = status.client
            skipped = pam_stack.skipped_by_a_match(services.auth_stack(name))
            if skipped is not None:
                yield Finding(
                    State.WARN,
                    f"{name}: a match skips `{skipped}` ({skipped.service})",
                    "see pam_faceid(8), if it is meant as a second factor",
                )
    if any(wired.get(name) == pam_stack.Client.PAM_PYTHON.value for name in SUDO_SERVICES):
        for hazard in sudoers.path_hazards(layout.root):
            yield Finding(State.FAIL, hazard, "visudo: set secure_path for everybody")
    if wired:
        clients = ", ".join(f"{name} ({client})" for name, client in wired.items())
        yield Finding(State.OK, f"the face is asked for by {clients}")
    else:
        cure = "faceid-admin pam enable sudo"
        yield Finding(State.WARN, "no PAM service asks for the face yet", cure)


def _repair(status: ServiceStatus) -> str:
    """Return what brings back the files that a service lacks; empty when it lacks none."""
    if pam_stack.PYTHON_MODULE in status.missing:
        return "apt install --reinstall libpam-python"
    return REINSTALL if status.missing else ""


def password_service(layout: Layout) -> Iterator[Finding]:
    """The service that confirms who a person is before enrolment."""
    from pam_faceid.adapters.accounts import PASSWORD_SERVICE

    services = PamServices(layout.root)
    if PASSWORD_SERVICE not in services.names():
        what = f"{services.directory / PASSWORD_SERVICE} is missing, so nobody can be confirmed"
        yield Finding(State.FAIL, what, REINSTALL)
    elif any(entry.is_ours for entry in services.auth_stack(PASSWORD_SERVICE)):
        what = f"{services.directory / PASSWORD_SERVICE} lets a face stand for the password"
        yield Finding(State.FAIL, what, REINSTALL)
    else:
        yield Finding(State.OK, f"{services.directory / PASSWORD_SERVICE} asks for the password")


def audit(layout: Layout) -> Iterator[Finding]:
    """Whether an attempt can be recorded; without a record there is no match."""
    wiring.audit_log(layout).record("doctor")
    yield Finding(State.OK, f"{layout.audit_log} takes a record")


def last_attempt(layout: Layout) -> Iterator[Finding]:
    """What kept the newest attempt from a verdict: it may be mended by now, and leave no trace.

    And a machine that is too slow to see two frames in time.
    """
    from pam_faceid.adapters.audit.reading import read_lines, record_of

    files = [layout.audit_log] if layout.audit_log.exists() else []
    newest = None
    for line in read_lines(files):
        if _ATTEMPT in line.text:
            newest = line
    record = record_of(newest) if newest is not None else None
    told = record.pairs if record else {}
    if record is None or told.get("outcome") == Outcome.MATCH.value:
        yield Finding(State.OK, "the newest attempt met nothing that stopped it")
        return
    when = local_time(record.moment.timestamp())
    frame_ms = sum(float(told.get(stage, "0")) for stage in _STAGES)
    if error := told.get("error", ""):
        yield Finding(
            State.WARN,
            f"the newest attempt, of {when}, could not be judged: {printable(error)}",
            f"try again; if it comes again: journalctl --unit='faceid*' --since='{when}'",
        )
    elif frame_ms > SLOW_FRAME_MS:
        # Its person was told of a face that was not recognised, and is none the wiser.
        yield Finding(
            State.WARN,
            f"the newest attempt, of {when}: this machine looked {frame_ms / 1000:.1f} s "
            f"at a frame, and saw {told.get('frames', '?')}",
            'if it is always so slow: [matching] embedder = "mobilefacenet", and enrol again',
        )
    else:
        yield Finding(State.OK, "the newest attempt met nothing that stopped it")


def disk(layout: Layout) -> Iterator[Finding]:
    """Free space where templates and records are written."""
    for folder in (layout.config_dir, layout.audit_log.parent):
        if not folder.is_dir():
            yield Finding(State.FAIL, f"{folder} is missing", REINSTALL)
            continue
        free = shutil.disk_usage(folder).free
        if free < LOW_SPACE_BYTES:
            cure = "make room: without a record there is no match"
            yield Finding(State.WARN, f"{folder}: {free >> 20} MiB are free", cure)
        else:
            yield Finding(State.OK, f"{folder}: {free >> 20} MiB are free")
