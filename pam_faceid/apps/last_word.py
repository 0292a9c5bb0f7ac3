"""What a person is told once a look has ended without a match.

Our own words alone: what the observer says of a camera could be anything, and is for the record. A
picture that was held up and somebody else's face are told alike, as they are to the client.
"""

from __future__ import annotations

from typing import Final

from pam_faceid.core.errors import CameraBusyError, CameraError
from pam_faceid.core.types import Outcome, Verdict

NOT_RECOGNISED: Final = "Your face was not recognised"
NOT_DONE: Final = "What you were asked to do was not seen"
BUSY: Final = "The camera is in use by another program"
NO_PICTURE: Final = "The camera gives no picture"


def of_verdict(verdict: Verdict, *, asked: bool) -> str:
    """Return it for what was seen; empty for a match.

    Args:
        asked: A challenge had begun, which it does only for a face that is recognised.
    """
    if verdict.outcome is Outcome.MATCH:
        return ""
    if asked:
        return NOT_DONE
    if verdict.outcome is Outcome.FAILURE_TO_ACQUIRE:
        from pam_faceid.core.quality import ADVICE

        return "" if verdict.advice is None else ADVICE[verdict.advice]
    return NOT_RECOGNISED


def of_camera(error: CameraError) -> str:
    """Return it for a camera that failed."""
    return BUSY if isinstance(error, CameraBusyError) else NO_PICTURE
