"""A login that ended becomes a reference, or does not: after the reply, when nobody looks any more.

Nothing in here changes the outcome of an attempt. What fails is recorded, and that is all.
"""

from __future__ import annotations

import os
import pwd
import select
import threading
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pam_faceid.apps import wiring
from pam_faceid.core.adaptation import (
    Adapted,
    AdaptedReference,
    Origin,
    Sample,
    candidate,
    in_force,
    is_due,
    with_reference,
)
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.facts import ROOT
from pam_faceid.core.types import Embedding, Observation, Outcome
from pam_faceid.core.verification import Help

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pam_faceid.apps.protocol import LetIn, Peer
    from pam_faceid.apps.settings import Settings
    from pam_faceid.core.ports import KeyProvider
    from pam_faceid.core.types import ReferenceTemplate
    from pam_faceid.layout import Layout

NEAR_MISS_SECONDS: Final = 20.0  # to type the password, once more if need be
MOST_SAMPLES: Final = 32
MOST_NEAR_MISSES: Final = 8


@dataclass(slots=True, eq=False)
class Gathered:
    """The samples of one attempt, until they are wiped.

    Args:
        user, service: Of the request.
        peer: Who asked.
        wanted: Whether anything may come of them.
        best_score: Of all frames; None when nothing was compared.
        samples: Copies of what was compared, the latest.
    """

    user: str
    service: str
    peer: Peer
    wanted: bool = False
    best_score: float | None = None
    samples: list[Sample] = field(default_factory=list)

    def see(self, observation: Observation) -> None:
        """Copy what is compared; the attempt wipes its own."""
        if not self.wanted or observation.embedding is None or observation.quality is None:
            return
        seen = observation.embedding
        copy = Embedding(array("f", seen.vector), seen.model_id)
        self.samples.append(Sample(copy, observation.quality))
        if len(self.samples) > MOST_SAMPLES:
            self.samples.pop(0).embedding.wipe()

    def handed_over(self) -> Gathered:
        """Return one that has the samples, which this one has no more."""
        samples, self.samples = self.samples, []
        return replace(self, samples=samples)

    def wipe(self) -> None:
        """Overwrite every embedding."""
        for sample in self.samples:
            sample.embedding.wipe()
        self.samples.clear()

    def __enter__(self) -> Gathered:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.wipe()


@dataclass(slots=True, eq=False)
class _NearMiss:
    """An attempt that the password may confirm.

    Args:
        process: The pidfd of who asked: the same program has to say that the password was right.
        until: Monotonic seconds.
    """

    gathered: Gathered
    process: int
    until: float

    def end(self) -> None:
        self.gathered.wipe()
        with suppress(OSError):
            os.close(self.process)

    def is_of(self, request: LetIn, peer: Peer) -> bool:
        asked = self.gathered
        return (
            time.monotonic() < self.until
            and (asked.user, asked.service) == (request.user, request.service)
            and (asked.peer.pid, asked.peer.uid) == (peer.pid, peer.uid)
            and peer.uid == ROOT
            # It has not ended, so that its number is still its own.
            and not select.select([self.process], [], [], 0)[0]
        )


class NearMisses:
    """Attempts that were nearly a match, in memory alone, for seconds. Any thread may ask.

    Args:
        seconds: For how many.
    """

    def __init__(self, *, seconds: float = NEAR_MISS_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._by_user: dict[str, _NearMiss] = {}

    def keep(self, gathered: Gathered) -> None:
        """Take over the samples of an attempt."""
        process = os.pidfd_open(gathered.peer.pid)
        with self._lock:
            self._end(gathered.user)
            while len(self._by_user) >= MOST_NEAR_MISSES:
                self._end(next(iter(self._by_user)))
            self._by_user[gathered.user] = _NearMiss(
                gathered.handed_over(), process, time.monotonic() + self._seconds
            )

    def take(self, request: LetIn, peer: Peer) -> Gathered | None:
        """Return the samples that this confirms, for the caller to wipe; others of the user go."""
        with self._lock:
            found = self._by_user.pop(request.user, None)
        if found is None:
            return None
        taken = found.gathered.handed_over() if found.is_of(request, peer) else None
        found.end()
        return taken

    def forget(self, user: str) -> None:
        """Wipe what is kept of a user."""
        with self._lock:
            self._end(user)

    def next_deadline(self) -> float | None:
        """When `expire` has something to do; monotonic seconds."""
        with self._lock:
            return min((each.until for each in self._by_user.values()), default=None)

    def expire(self) -> None:
        """Wipe what nobody confirmed in time."""
        now = time.monotonic()
        with self._lock:
            for user in [u for u, each in self._by_user.items() if each.until <= now]:
                self._end(user)

    def _end(self, user: str) -> None:
        found = self._by_user.pop(user, None)
        if found is not None:
            found.end()


class Adapting:
    """What comes of attempts when they are over.

    Args:
        layout: Where everything lives.
        settings: Gives those in force. Raises ConfigError.
        lasts: Whether the process goes on after its reply: else nothing is made.

    Attributes:
        between_looks: Has something done while nobody is looked at; it raises nothing.
    """

    def __init__(self, layout: Layout, *, settings: Callable[[], Settings], lasts: bool) -> None:
        self._layout = layout
        self._settings = settings
        self._lasts = lasts
        self.between_looks: Callable[[Callable[[], None]], None] = _at_once
        self.near_misses = NearMisses()

    def open(
        self, gathered: Gathered, template: ReferenceTemplate, keys: KeyProvider
    ) -> tuple[Help | None, str]:
        """Return what a template gained by being used, and why that cannot be had, else "".

        To be called before the look, while there is a key.
        """
        try:
            return self._open(gathered, template, keys), ""
        except Exception as error:  # the enrolled references will do, whatever is wrong with these
            gathered.wanted = self._lasts
            return None, error.message if isinstance(error, FaceIdError) else repr(error)

    def _open(
        self, gathered: Gathered, template: ReferenceTemplate, keys: KeyProvider
    ) -> Help | None:
        rule, now = self._settings().adaptation, time.time()
        if rule is None:
            return None
        store = wiring.adapted_store(self._layout, keys)
        kept = store.load(template.user, template.uid) if store.exists(template.user) else None
        gathered.wanted = self._lasts and is_due(kept, rule, now=now)
        if kept is None:
            return None
        used: tuple[AdaptedReference, ...] = ()
        try:
            used = in_force(kept, template, rule, now=now)
        finally:
            for reference in kept.references:
                if reference not in used:
                    reference.embedding.wipe()
        return Help(used, rule) if used else None

    def ended(self, gathered: Gathered, outcome: Outcome) -> None:
        """See what comes of an attempt whose outcome was said and whose look is over."""
        if not gathered.samples:
            return
        try:
            if outcome is Outcome.MATCH:
                self._adapt(gathered, Origin.AFTER_MATCH)
            elif outcome is Outcome.NON_MATCH and self._is_near(gathered):
                self.near_misses.keep(gathered)
        except Exception as error:  # it would have been comfort
            self._record(gathered.user, error=repr(error))

    def let_in(self, request: LetIn, peer: Peer) -> None:
        """See what comes of a near miss, now that something else let the person in."""
        gathered = self.near_misses.take(request, peer)
        if gathered is None:
            return

        def learn() -> None:
            with gathered:
                try:
                    self._adapt(gathered, Origin.AFTER_PASSWORD)
                except Exception as error:  # as above
                    self._record(gathered.user, error=repr(error))

        # Somebody else may be looked at just now, and this needs the key.
        self.between_looks(learn)

    def _is_near(self, gathered: Gathered) -> bool:
        settings = self._settings()
        rule = settings.adaptation
        return (
            rule is not None
            and settings.config.adaptation.after_password
            # Whose word that the password was right will be believed, and who can be told again.
            and gathered.peer.uid == ROOT
            and gathered.peer.pid > 0
            and gathered.best_score is not None
            and gathered.best_score >= rule.floor
        )

    def _adapt(self, gathered: Gathered, origin: Origin) -> None:
        settings = self._settings()
        rule, user = settings.adaptation, gathered.user
        if rule is None:
            return
        uid = pwd.getpwnam(user).pw_uid
        facts: dict[str, str | int | None] = {}
        with wiring.one_key(self._layout) as keys:
            templates = wiring.template_store(self._layout, keys)

            def transition(known: Adapted | None, broken: str) -> Adapted | None:
                # As it is now: it may have been removed, or made anew, since the look.
                template = templates.load(user, uid)
                try:
                    added = candidate(
                        gathered.samples,
                        origin,
                        template,
                        known,
                        rule=rule,
                        limits=settings.config.quality,
                        now=time.time(),
                    )
                    if added is None:
                        return None
                    changed = with_reference(known, template, added, rule)
                finally:
                    template.wipe()
                facts.update(origin=origin.value, references=len(changed.references))
                facts.update(replaced=broken or None)
                return changed

            wiring.adapted_store(self._layout, keys).change(user, uid, transition)
        if facts:
            self._record(user, **facts)

    def _record(self, user: str, **facts: str | int | None) -> None:
        with suppress(Exception):  # there is nobody left to tell
            wiring.audit_log(self._layout).record("adaptation", user=user, **facts)


def _at_once(errand: Callable[[], None]) -> None:
    errand()
