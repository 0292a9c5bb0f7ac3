"""Tells a person what a challenge asks for, and the client how long that may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pam_faceid.core.challenge import Challenge

STALLED_SECONDS: Final = 1.0  # beyond its own deadlines, which only frames make run out


class Asking:
    """A challenge on its way to the person.

    Args:
        challenge: Fed by whoever verifies.
        say: Shows a text.
        within: Tells the client within how many seconds something follows.
    """

    def __init__(
        self,
        challenge: Challenge,
        *,
        say: Callable[[str], None],
        within: Callable[[float], None],
    ) -> None:
        self.challenge = challenge
        self._say = say
        self._within = within
        self._words = ""

    def go_on(self, until: float) -> float:
        """Say what is to be said since the last frame; return how long to look (monotonic).

        Args:
            until: How long that was so far.
        """
        words = self.challenge.words
        if not words or words == self._words:
            return until
        if not self._words:
            longest = self.challenge.pace.whole + STALLED_SECONDS
            self._within(longest)
            until = time.monotonic() + longest
        self._words = words
        self._say(words)
        return until

    def facts(self) -> dict[str, str]:
        """Return what the audit log keeps of it."""
        told = {"challenge": ",".join(action.value for action in self.challenge.actions)}
        if self.challenge.failure is not None:
            told["challenge_failed"] = self.challenge.failure.value
        elif not self.challenge.is_met:
            told["challenge_failed"] = "unfinished" if self.challenge.begun else "not_begun"
        return told
