"""Whether a person's face would be accepted now, for `show-user`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pam_faceid.adapters.clock import moment
from pam_faceid.adapters.configuration import load_config
from pam_faceid.apps import wiring
from pam_faceid.apps.admin.output import iso_time
from pam_faceid.apps.admission import LADDER
from pam_faceid.core.ageing import password_due
from pam_faceid.core.errors import StateError
from pam_faceid.core.lockout import Record, locked_out
from pam_faceid.core.policy import DUE_TEXT, refused_by_failures

if TYPE_CHECKING:
    from pam_faceid.core.lockout import Moment
    from pam_faceid.layout import Layout


@dataclass(frozen=True, slots=True)
class Trust:
    """What is remembered of a person's attempts, and what follows.

    Args:
        accepted: Whether it lets the face be accepted; the rest of the policy aside.
        sentence: The same for a person, with the reason.
        failures: In a row; None when what is remembered cannot be believed.
        password_at, used_at: When the password, and when anything, last let them in: ISO 8601,
            local; None when never.
    """

    accepted: bool
    sentence: str
    failures: int | None
    password_at: str | None = None
    used_at: str | None = None


def trust_in(user: str, layout: Layout) -> Trust:
    """Look up what is remembered of a user.

    Raises:
        ConfigError: The configuration says nothing that can be believed.
    """
    rule = load_config(layout).password
    try:
        found, now = wiring.state_store(layout).load(user), moment(layout.proc)
    except StateError as error:
        return Trust(accepted=False, sentence=f"no: {error.message}", failures=None)
    record = found or Record()
    locked, due = locked_out(record, now, LADDER), password_due(found, now, rule)
    why = ""
    if locked is not None:
        why = refused_by_failures(locked).text
    elif due is not None:
        why = DUE_TEXT[due]
    return Trust(
        accepted=not why,
        sentence=f"no: {why}" if why else "yes",
        failures=len(record.charges),
        password_at=_local(record.password_at),
        used_at=_local(record.used_at),
    )


def _local(moment: Moment | None) -> str | None:
    return None if moment is None else iso_time(moment.wall)
