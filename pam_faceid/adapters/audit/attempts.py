"""How near attempts came, as far as the log keeps it: one of three words, see docs/audit.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pam_faceid.adapters.audit.reading import Line, record_of

NOT_COMPARED: Final = "not compared"
STEPS: Final = (NOT_COMPARED, "far", "near", "reached")  # from below


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the log keeps of how near one attempt came.

    Args:
        moment: When.
        step: One of `STEPS`.
        outcome: Its word.
    """

    moment: datetime
    step: str
    outcome: str


def attempts_of(users: Iterable[str], lines: Iterable[Line]) -> dict[str, list[Attempt]]:
    """Return the attempts of each of these people, in the order of the log.

    A line that is no record is passed over, and one with another word for how near it came counts
    as not compared.
    """
    found: dict[str, list[Attempt]] = {user: [] for user in users}
    for line in lines:
        record = record_of(line)
        if record is None or record.pairs["event"] != "authenticate":
            continue
        mine = found.get(record.pairs.get("user", ""))
        if mine is not None:
            step = record.pairs.get("closeness", NOT_COMPARED)
            mine.append(
                Attempt(
                    moment=record.moment,
                    step=step if step in STEPS else NOT_COMPARED,
                    outcome=record.pairs.get("outcome", ""),
                )
            )
    return found
