"""One request, one reply: the code behind the embedded worker and the daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from pam_faceid.apps import ordering, rules, wiring
from pam_faceid.apps.adapting import Adapting
from pam_faceid.apps.admission import Surroundings
from pam_faceid.apps.attempt import Attempt, Means
from pam_faceid.apps.protocol import NOTED, Authenticate, Channel, Ended, LetIn, Peer
from pam_faceid.core import lockout
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.facts import ROOT
from pam_faceid.core.types import Outcome

if TYPE_CHECKING:
    from pam_faceid.apps.near_misses import NearMisses
    from pam_faceid.apps.observer import Sight
    from pam_faceid.apps.order import Order
    from pam_faceid.apps.settings import Settings
    from pam_faceid.core.challenge import Challenge
    from pam_faceid.layout import Layout


class Service:
    """Answers requests, one at a time.

    Args: as the fields of `Means`, and
        near_misses: Keeps what the password may confirm; None where no login teaches anything.
        prepare: Has models loaded for a look that may come; None where none outlives an attempt.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        settings: Callable[[], Settings],
        look: Callable[[Order], AbstractContextManager[Sight]],
        one_shot: bool,
        confine: Callable[[Sight], None] | None = None,
        near_misses: NearMisses | None = None,
        prepare: Callable[[Order], None] | None = None,
        challenge: Callable[[float], Challenge] = rules.challenge,
    ) -> None:
        self.adapting = Adapting(layout, settings=settings, near_misses=near_misses)
        self._prepare = prepare
        self._means = Means(
            layout=layout,
            settings=settings,
            look=look,
            one_shot=one_shot,
            confine=confine,
            challenge=challenge,
            adapting=self.adapting,
        )

    def answer(self, request: Authenticate | LetIn, channel: Channel, peer: Peer) -> None:
        """Do what was asked and send the outcome.

        Raises:
            FaceIdError: The attempt could not be recorded, so there is no outcome.
            OSError: The client is gone.
        """
        if isinstance(request, LetIn):
            channel.send(Ended(self._let_in(request, peer)))
            self.adapting.let_in(request, peer)
            return
        self.adapting.begin(request.user)
        cleanup = contextlib.ExitStack()
        attempt = Attempt(request, self._means, channel, peer, cleanup)
        with attempt.gathered as gathered:
            with cleanup:
                outcome = attempt.outcome()
                channel.send(Ended(_told(outcome).value))
            # Nobody looks any more, and nobody waits.
            self.adapting.ended(gathered, outcome)
        if attempt.password_was_due:
            self._get_ready(request.service)

    def answer_at_once(self, request: Authenticate | LetIn, channel: Channel, peer: Peer) -> bool:
        """Answer if that needs no look. May run beside `answer`.

        Returns:
            Whether it did. If not, `answer` asks policy again when its turn has come.

        Raises:
            FaceIdError, OSError: As `answer`.
        """
        with contextlib.ExitStack() as cleanup:
            if isinstance(request, Authenticate):
                refused = Attempt(request, self._means, channel, peer, cleanup).refusal()
                if refused is None:
                    return False
                channel.send(Ended(refused.value))
            else:
                self.answer(request, channel, peer)
        return True

    def _get_ready(self, service: str) -> None:
        """Load models while a person types: the next login, on a screen or by sudo, finds them."""
        if self._prepare is None:
            return
        with contextlib.suppress(FaceIdError):  # a look meets it too, and records it
            self._prepare(ordering.order_of(self._means.settings(), service, one_shot=False))
        # And what opens templates and compares: a tenth of a second, from a cold disk.
        from pam_faceid.adapters.vault import adapted, templates  # noqa: F401
        from pam_faceid.core import verification  # noqa: F401

    def _let_in(self, request: LetIn, peer: Peer) -> str:
        """Remember that something else than the face let a person in. Only root is believed."""
        if peer.uid != ROOT:
            return Outcome.NOT_PERMITTED.value
        store = wiring.state_store(self._means.layout)
        person = Surroundings(request.user, peer, self._means.layout, store)
        if person.is_enrolled():
            store.replace(request.user, lockout.password_used(person.now()))
        return NOTED


def _told(outcome: Outcome) -> Outcome:
    """Return what the client hears, which may be a program of the person's.

    Who holds up a picture shall not hear that it is of the right face.
    """
    return Outcome.NON_MATCH if outcome is Outcome.PRESENTATION_ATTACK else outcome
