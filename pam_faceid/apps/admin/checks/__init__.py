"""What doctor looks at, in the order in which one thing depends on another.

Each check imports what it needs itself, so that a broken library spoils its own check only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from pam_faceid.apps.admin.checks import (
    attacks,
    cameras,
    depth_camera,
    login,
    machine,
    program,
    recognition,
)
from pam_faceid.apps.admin.checks.finding import REINSTALL, Finding, State
from pam_faceid.core.errors import FaceIdError
from pam_faceid.layout import Layout

__all__ = ["CHECKS", "Check", "Finding", "State", "run_checks"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that doctor looks at.

    Args:
        name: For the report.
        look: Yields what it finds.
        needs: Names of checks without which it could only repeat their failure.
    """

    name: str
    look: Callable[[Layout], Iterator[Finding]]
    needs: tuple[str, ...] = ()


CHECKS: Final = (
    Check("file systems", machine.file_systems),
    Check("Python", machine.python),
    Check("libraries", program.environment),
    Check("interpreter", program.interpreter),
    Check("hook", program.hook),
    Check("service user", program.service_user),
    Check("confinement", program.confinement),
    Check("units", machine.units),
    Check("daemon", program.daemon),
    Check("configuration", recognition.configuration),
    Check("models", recognition.models),
    Check("threshold", recognition.threshold, needs=("configuration", "models")),
    Check("attacks", attacks.detection, needs=("configuration",)),
    Check("key", recognition.key),
    Check("templates", recognition.templates, needs=("configuration", "models", "key")),
    Check("adaptation", recognition.adapted, needs=("configuration", "models", "key")),
    Check("camera", cameras.camera, needs=("configuration", "service user")),
    Check("camera nodes", machine.camera_nodes, needs=("configuration", "camera")),
    Check("infrared", cameras.infrared, needs=("configuration",)),
    Check("depth", depth_camera.depth, needs=("configuration",)),
    Check("PAM services", login.pam),
    Check("password", login.password_service),
    Check("left half done", machine.leftover),
    Check("audit log", login.audit),
    Check("last attempt", login.last_attempt),
    Check("disk", login.disk),
)


def run_checks(layout: Layout) -> Iterator[tuple[str, Finding]]:
    """Yield the name of a check with each of its findings, in order."""
    failed: set[str] = set()
    for check in CHECKS:
        missing = [name for name in check.needs if name in failed]
        if missing:
            found = [Finding(State.SKIPPED, f"not looked at: first repair {missing[0]}")]
            failed.add(check.name)
        else:
            found = _findings(check, layout)
        for finding in found:
            if finding.state is State.FAIL:
                failed.add(check.name)
            yield check.name, finding


def _findings(check: Check, layout: Layout) -> list[Finding]:
    """Run one check; what stops it is a finding too."""
    found = []
    try:
        for finding in check.look(layout):
            found.append(finding)
    except FaceIdError as error:
        found.append(Finding(State.FAIL, error.message, error.hint))
    except ImportError as error:
        found.append(Finding(State.FAIL, f"cannot be looked at: {error}", REINSTALL))
    except Exception as error:  # doctor is for broken machines: it goes on
        found.append(Finding(State.FAIL, f"cannot be looked at: {type(error).__name__}: {error}"))
    return found
