"""A login that ended becomes a reference, or does not: after the reply, when nobody looks any more.

Nothing in here changes the outcome of an attempt. What fails is recorded, and that is all. What
only a login that learns needs is imported late: most attempts do without.
"""

from __future__ import annotations

import pwd
import time
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pam_faceid.apps import wiring
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.facts import ROOT
from pam_faceid.core.types import Embedding, Outcome
from pam_faceid.layout import ADAPTED_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pam_faceid.apps.near_misses import NearMisses
    from pam_faceid.apps.protocol import LetIn, Peer
    from pam_faceid.apps.settings import Settings
    from pam_faceid.core.adaptation import Adapted, AdaptedReference, Origin
    from pam_faceid.core.ports import KeyProvider
    from pam_faceid.core.types import Observation, ReferenceTemplate, SampleQuality
    from pam_faceid.core.verification import Help
    from pam_faceid.layout import Layout

MOST_SAMPLES: Final = 32


class Gathered:
    """The samples of one attempt, until they are wiped.

    Args:
        user, service: Of the request.
        peer: Who asked.

    Attributes:
        wanted: Whether anything may come of them.
        best_score: Of all frames; None when nothing was compared.
        samples: Copies of what was compared, the latest, with its quality.
    """

    def __init__(self, user: str, service: str, peer: Peer) -> None:
        self.user = user
        self.service = service
        self.peer = peer
        self.wanted = False
        self.best_score: float | None = None
        self.samples: list[tuple[Embedding, SampleQuality]] = []

    def see(self, observation: Observation) -> None:
        """Copy what is compared; the attempt wipes its own."""
        if not self.wanted or observation.embedding is None or observation.quality is None:
            return
        seen = observation.embedding
        copy = Embedding(array("f", seen.vector), seen.model_id)
        self.samples.append((copy, observation.quality))
        if len(self.samples) > MOST_SAMPLES:
            self.samples.pop(0)[0].wipe()

    def handed_over(self) -> Gathered:
        """Return one that has the samples, which this one has no more."""
        other = Gathered(self.user, self.service, self.peer)
        other.samples, self.samples = self.samples, []
        return other

    def wipe(self) -> None:
        """Overwrite every embedding."""
        for embedding, _ in self.samples:
            embedding.wipe()
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


class Adapting:
    """What comes of attempts when they are over.

    Args:
        layout: Where everything lives.
        settings: Gives those in force. Raises ConfigError.
        near_misses: Keeps what the password may confirm; None in a process that ends with its
            reply, where nothing is made.

    Attributes:
        between_looks: Has something done while nobody is looked at; it raises nothing.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        settings: Callable[[], Settings],
        near_misses: NearMisses | None,
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._near_misses = near_misses
        self.between_looks: Callable[[Callable[[], None]], None] = _at_once

    def begin(self, user: str) -> None:
        """Forget a near miss of a user: another attempt of theirs begins."""
        if self._near_misses is not None:
            self._near_misses.forget(user)

    def open(
        self, gathered: Gathered, template: ReferenceTemplate, keys: KeyProvider
    ) -> tuple[Help | None, str]:
        """Return what a template gained by being used, and why that cannot be had, else "".

        To be called before the look, while there is a key.
        """
        try:
            return self._open(gathered, template, keys), ""
        except Exception as error:  # the enrolled references will do, whatever is wrong with these
            gathered.wanted = self._near_misses is not None
            return None, error.message if isinstance(error, FaceIdError) else repr(error)

    def _open(
        self, gathered: Gathered, template: ReferenceTemplate, keys: KeyProvider
    ) -> Help | None:
        lasts = self._near_misses is not None
        there = (self._layout.adapted / f"{template.user}{ADAPTED_SUFFIX}").exists()
        if not (there or lasts):
            return None
        rule, now = self._settings().adaptation, time.time()
        if rule is None:
            return None
        from pam_faceid.core.adaptation import in_force, is_due
        from pam_faceid.core.verification import Help

        kept = None
        if there:
            kept = wiring.adapted_store(self._layout, keys).load(template.user, template.uid)
        gathered.wanted = lasts and is_due(kept, rule, now=now)
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
        if not gathered.samples or self._near_misses is None:
            return
        from pam_faceid.core.adaptation import Origin

        try:
            if outcome is Outcome.MATCH:
                self._adapt(gathered, Origin.AFTER_MATCH)
            elif outcome is Outcome.NON_MATCH and self._is_near(gathered):
                self._near_misses.keep(gathered)
        except Exception as error:  # it would have been comfort
            self._record(gathered.user, error=repr(error))

    def let_in(self, request: LetIn, peer: Peer) -> None:
        """See what comes of a near miss, now that something else let the person in."""
        if self._near_misses is None:
            return
        gathered = self._near_misses.take(request, peer)
        if gathered is None:
            return
        from pam_faceid.core.adaptation import Origin

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
        from pam_faceid.core.adaptation import Sample, candidate, with_reference

        samples = [Sample(embedding, quality) for embedding, quality in gathered.samples]
        uid = pwd.getpwnam(user).pw_uid
        facts: dict[str, str | int | None] = {}
        with wiring.one_key(self._layout) as keys:
            templates = wiring.template_store(self._layout, keys)

            def transition(known: Adapted | None, broken: str) -> Adapted | None:
                # As it is now: it may have been removed, or made anew, since the look.
                template = templates.load(user, uid)
                try:
                    added = candidate(
                        samples,
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
