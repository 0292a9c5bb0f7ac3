"""`faceid-admin demo`: enrol one portrait, let it in, refuse another, fall back to the password.

All through the real parts: `faceid-admin add-user`, libpam, pam_python, the hook, the worker, the
models and the vault. Only the camera is a recording, and what it shows are prints of photographs:
so attack detection is off, until the last step switches it on and has the same print refused.
"""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from pam_faceid.apps.admin.output import paragraph, table
from pam_faceid.core.types import Outcome
from pam_faceid.demo.camera import record_print
from pam_faceid.demo.stage import Login, Stage, set_up
from pam_faceid.layout import Layout

PORTRAITS: Final = Path(__file__).resolve().parent / "portraits"
ENROLLED: Final = "hopper"
STRANGER: Final = "collins"
TRUTH: Final = (
    "No person is before this camera: it is a recording, and shows prints of two public-domain "
    "photographs. So attack detection is off, as nobody should have it, until the last step "
    "switches it on. Real PAM decides."
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the demo shows.

    Args:
        what: Who is before the camera and what is typed.
        expected, got: How it should end and how it did.
        milliseconds: How long it took.
        said: What the programs wrote, for when it differs.
    """

    what: str
    expected: str
    got: str
    milliseconds: float
    said: str

    @property
    def passed(self) -> bool:
        """Whether it ended as it should."""
        return self.got == self.expected

    def row(self) -> tuple[str, ...]:
        """Return its line of the table."""
        got = "as expected" if self.passed else self.got
        return (self.what, self.expected, got, f"{self.milliseconds:.0f}")


def run_demo(layout: Layout) -> int:
    """Run the demo on a stage of its own and print a table.

    Args:
        layout: Of this machine, whose models are used.

    Returns:
        0, or 1 when a step ended otherwise than expected.

    Raises:
        FaceIdError: The stage cannot be set up.
    """
    click.echo(paragraph(TRUTH, lead="", indent=""))
    with set_up(layout) as stage:
        steps = _play(stage)
    table(
        ("Step", "Expected", "Got", "ms"),
        [step.row() for step in steps],
    )
    failed = [step for step in steps if not step.passed]
    for step in failed:
        click.echo(f"{step.what}:\n{step.said}", err=True)
    click.echo(
        f"{len(failed)} of {len(steps)} steps did not end as expected"
        if failed
        else f"All {len(steps)} steps ended as expected. Account, service and files are gone again."
    )
    return 1 if failed else 0


def _play(stage: Stage) -> list[Step]:
    recordings = stage.layout.root / "recordings"
    recordings.mkdir()
    portrait = PORTRAITS / f"{ENROLLED}.jpg"
    enrolled, stranger = (recordings / name for name in ("enrolled.avi", "stranger.avi"))
    record_print(portrait, enrolled, phase=math.pi / 7)
    record_print(PORTRAITS / f"{STRANGER}.jpg", stranger, phase=0.0)
    wrong = secrets.token_urlsafe(8)

    match, non_match = Outcome.MATCH.value, Outcome.NON_MATCH.value
    no_camera, attack = Outcome.FAILURE_TO_ACQUIRE.value, Outcome.PRESENTATION_ATTACK.value
    stage.show(enrolled)
    steps = [_enrol(stage, portrait)]
    steps.append(_step("enrolled face", f"{match}, in", stage.log_in(wrong)))
    stage.show(stranger)
    steps += [
        _step(
            "stranger, right password",
            f"{non_match}, password, in",
            stage.log_in(stage.password),
        ),
        _step(
            "stranger, wrong password",
            f"{non_match}, password, denied",
            stage.log_in(wrong),
        ),
    ]
    stage.show(recordings / "unplugged.avi")
    steps.append(
        _step(
            "no camera, right password",
            f"{no_camera}, password, in",
            stage.log_in(stage.password),
        )
    )
    stage.show(enrolled, attack_mode="passive")
    steps.append(
        _step(
            "same print, attack detection on, right password",
            f"{attack}, password, in",
            stage.log_in(stage.password),
        )
    )
    return steps


def _enrol(stage: Stage, portrait: Path) -> Step:
    began = time.monotonic()
    ended = stage.enrol(portrait)
    return Step(
        what="faceid-admin add-user",
        expected="enrolled",
        got="enrolled" if ended.returncode == 0 else f"exit code {ended.returncode}",
        milliseconds=(time.monotonic() - began) * 1e3,
        said=ended.stdout + ended.stderr,
    )


def _step(what: str, expected: str, login: Login) -> Step:
    asked = ["password"] if login.asked_password else []
    got = [login.outcome or "no record", *asked, "in" if login.accepted else "denied"]
    return Step(
        what=what,
        expected=expected,
        got=", ".join(got),
        milliseconds=login.milliseconds,
        said=login.output,
    )
