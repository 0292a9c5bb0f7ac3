"""One authentication as it goes along, from what policy asks to the line of the audit log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from pam_faceid.adapters.models.manifest import model_id
from pam_faceid.apps import last_word, ordering, rules, wiring
from pam_faceid.apps.adapting import Adapting, Gathered
from pam_faceid.apps.admission import LADDER, Charge, Surroundings
from pam_faceid.apps.protocol import (
    Authenticate,
    Channel,
    Confirm,
    Confirmed,
    Info,
    Peer,
    Skip,
    Within,
    wait_for_line,
)
from pam_faceid.core import policy
from pam_faceid.core.camera_settings import stand_in
from pam_faceid.core.errors import (
    CameraError,
    FaceIdError,
    NotEnrolledError,
    StateError,
)
from pam_faceid.core.facts import Reason, Refused, Request
from pam_faceid.core.types import SAID_OF_PICTURES, Observation, Outcome, Verdict

if TYPE_CHECKING:
    from pam_faceid.apps.asking import Asking
    from pam_faceid.apps.observer import Sight
    from pam_faceid.apps.order import Order
    from pam_faceid.apps.settings import Settings
    from pam_faceid.core.challenge import Challenge
    from pam_faceid.core.config import Config
    from pam_faceid.core.policy import DecisionRule
    from pam_faceid.core.ports import KeyProvider
    from pam_faceid.core.types import ReferenceTemplate
    from pam_faceid.core.verification import Help
    from pam_faceid.layout import Layout

T = TypeVar("T")

STARTING_SECONDS: Final = 10.0  # to load libraries and models on a slow, cold disk
CONFIRMING_SECONDS: Final = 60.0
ANSWERING_SECONDS: Final = 5.0  # to settle and record

LOOKING: Final = "Looking for your face"
HUNG_UP: Final = "hung_up"
CONFIRM: Final = "Your face was recognised. Press Enter to go on: "


class _SkippedError(Exception):
    """The person wants to type, or the one who asked is gone."""


@dataclass(frozen=True, slots=True)
class Means:
    """What every attempt of a service is made with.

    Args:
        layout: Where everything lives.
        settings: Gives those in force. Raises ConfigError.
        look: Has an observer look; leaving the context ends the look.
        one_shot: The process serves one attempt, so loading time counts more than frame time.
        confine: Called between the last look at the key and the first word of the observer, to
            give up what is needed for neither. None where the service manager sees to that.
        challenge: Makes what is asked of a person, given the match threshold; tests know what.
        adapting: Has what templates gained by being used.
    """

    layout: Layout
    settings: Callable[[], Settings]
    look: Callable[[Order], AbstractContextManager[Sight]]
    one_shot: bool
    confine: Callable[[Sight], None] | None
    challenge: Callable[[float], Challenge]
    adapting: Adapting


class Attempt:
    """One authentication, and what the audit line will say of it.

    Args:
        request: Who asks.
        means: What it is made with.
        channel: The line to the client.
        peer: The client.
        cleanup: Ends the look, once the reply is on its way: that takes its time.
    """

    def __init__(
        self,
        request: Authenticate,
        means: Means,
        channel: Channel,
        peer: Peer,
        cleanup: contextlib.ExitStack,
    ) -> None:
        self.gathered = Gathered(request.user, request.service, peer)
        self._request = request
        self._means = means
        self._channel = channel
        self._peer = peer
        self._cleanup = cleanup
        self._started = time.monotonic()
        # Before this process is confined: it reads from the configuration whether to seal.
        self._audit = wiring.audit_log(means.layout)
        self._store = wiring.state_store(means.layout)
        self._charge = Charge(self._store, request.user, means.layout)
        self._failed = False  # a face was compared, and no match came of it so far
        self._last_word = ""
        self._facts: dict[str, str | int | float | bool | None] = {}

    def outcome(self) -> Outcome:
        """Authenticate, settle the charge, record, and only then say how it ended."""
        outcome = self._settled(self._ended())
        if self._last_word:
            with contextlib.suppress(_SkippedError):  # nobody is there to hear it
                self._say(self._last_word)
        self._record(outcome)
        return outcome

    @property
    def password_was_due(self) -> bool:
        """Whether it was refused for that alone, so that the face may be asked for next."""
        return self._facts.get("reason") == Reason.PASSWORD_FIRST.value

    def refusal(self) -> Outcome | None:
        """Refuse and record what policy does not admit; None where only an attempt can tell."""
        try:
            config = self._means.settings().config
            person = self._surroundings(config)
            refused = policy.admit(self._question(), config, person, ladder=LADDER)
        except Exception:  # the attempt will meet it too, and record it
            return None
        if refused is None:
            return None
        outcome = self._refuse(refused)
        self._record(outcome)
        return outcome

    def _record(self, outcome: Outcome) -> None:
        self._audit.record(
            "authenticate",
            attempt=self._charge.attempt,
            user=self._request.user,
            service=self._request.service,
            peer_uid=self._peer.uid,
            peer_pid=self._peer.pid,
            rhost=self._request.rhost,
            tty=self._request.tty,
            outcome=outcome.value,
            milliseconds=round(self._elapsed_ms(), 1),
            **self._facts,
        )

    def _ended(self) -> Outcome:
        try:
            outcome = self._authenticate()
        except NotEnrolledError:
            outcome = Outcome.NOT_ENROLLED
        except _SkippedError:
            outcome = Outcome.SKIPPED
        except CameraError as error:
            outcome = Outcome.FAILURE_TO_ACQUIRE
            self._facts["error"] = str(error)
            self._last_word = last_word.of_camera(error)
        except FaceIdError as error:
            outcome = Outcome.INTERNAL_ERROR
            self._facts["error"] = str(error)
        except Exception as error:  # a fault of ours or of a library: the record shall name it
            outcome = Outcome.INTERNAL_ERROR
            self._facts["error"] = repr(error)
        return outcome

    def _settled(self, outcome: Outcome) -> Outcome:
        """Strike the charge out unless a face was refused: else it stands, as from the start."""
        try:
            if outcome is Outcome.MATCH:
                self._charge.matched()
            elif not self._failed:
                self._charge.refund()
        except StateError as error:
            self._facts["error"] = str(error)
            return Outcome.INTERNAL_ERROR if outcome is Outcome.MATCH else outcome
        return outcome

    def _authenticate(self) -> Outcome:
        settings = self._means.settings()
        config = settings.config
        limit = config.attempt.timeout_seconds
        self._tell(Within(limit + STARTING_SECONDS))
        person = self._surroundings(config)
        refused = policy.admit(self._question(), config, person, ladder=LADDER)
        if refused is not None:
            return self._refuse(refused)
        rule, matcher = settings.rule_for(self._request.service), settings.matcher
        self._say(LOOKING)
        # From here to the look nothing may fail: a recording's files are open.
        order = ordering.order_of(settings, self._request.service, one_shot=self._means.one_shot)
        self._facts["recording"] = bool(order.recording)
        self._facts["depth"] = True if order.depth else None
        # Whatever was before the camera: this machine takes a program for one.
        self._facts["allow_virtual"] = True if config.camera.allow_virtual else None
        # Before the key is read: a forked observer inherits memory; and it has the longer way.
        sight = self._cleanup.enter_context(self._means.look(order))
        self._facts["embedder"] = model_id(order.embedder)
        self._facts["detector"] = ",".join(map(model_id, order.detector))
        self._facts["attack_mode"] = config.attack_mode(self._request.service)
        if order.judge:
            judges = (order.attack_detector, *order.second_opinion)
            self._facts["attack_detector"] = ",".join(map(model_id, judges))
        locked = self._charge.make(LADDER)
        if locked is not None:
            return self._refuse(policy.refused_by_failures(locked))
        with wiring.one_key(self._means.layout) as keys:
            template = wiring.template_store(self._means.layout, keys).load(
                self._request.user, person.account.pw_uid
            )
            self._cleanup.callback(template.wipe)
            help_ = self._help(template, keys)
        rule = rules.of_person(rule, template, settings.manifest)
        if self._means.confine is not None:
            self._means.confine(sight)
        from pam_faceid.core.verification import verify

        asking = self._asking(rule) if order.follow else None
        try:
            verdict = verify(
                self._observations(sight, until=self._started + limit, asking=asking),
                template,
                rule=rule,
                matcher=matcher,
                help_=help_,
                challenge=None if asking is None else asking.challenge,
            )
        finally:
            self._facts.update({} if asking is None else asking.facts())
        sight.enough()
        self.gathered.best_score = verdict.best_score
        self._note(verdict)
        if rule.attack is not None and self._facts.get("camera") in rule.attack.taken_off:
            self._facts["held_to_enrolment"] = True
        asked = asking is not None and asking.challenge.begun
        self._last_word = last_word.of_verdict(verdict, asked=asked)
        if verdict.outcome is Outcome.MATCH:
            self._failed = False
            if config.service(self._request.service).confirm == "enter":
                self._confirm()
        return verdict.outcome

    def _asking(self, rule: DecisionRule) -> Asking:
        from pam_faceid.apps.asking import Asking

        return Asking(
            self._means.challenge(rule.threshold),
            say=self._say,
            within=lambda seconds: self._tell(Within(seconds + ANSWERING_SECONDS)),
        )

    def _help(self, template: ReferenceTemplate, keys: KeyProvider) -> Help | None:
        """Return what the template gained by being used; without it the enrolled one will do."""
        help_, broken = self._means.adapting.open(self.gathered, template, keys)
        if help_ is not None:
            self._cleanup.callback(help_.wipe)
            self._facts["adapted"] = len(help_.references)
        if broken:
            self._facts["adapted_error"] = broken
        return help_

    def _observations(
        self, sight: Sight, *, until: float, asking: Asking | None
    ) -> Iterator[Observation]:
        """Yield what the observer sees until the time is up.

        Args:
            asking: What the person is told between two frames.

        Raises:
            _SkippedError: The client said so, or hung up.
            FaceIdError: The observer failed or died.
        """
        while True:
            if asking is not None:
                until = asking.go_on(until)
            ready = wait_for_line([self._channel, sight.channel], until=until)
            if ready is None:
                return
            if ready is self._channel:
                self._hear(msgspec.json.Decoder(Skip).decode)
                raise _SkippedError
            observation = sight.next()
            if observation is None:
                raise FaceIdError("the camera ended before the attempt did")
            # A print is no face, but whoever holds one up has tried.
            if observation.refusal is None or observation.refusal in SAID_OF_PICTURES:
                self._failed = True
            if observation.refusal is None:
                self._facts.setdefault("first_probe_ms", round(self._elapsed_ms(), 1))
            self._facts.setdefault("camera", observation.origin)
            self.gathered.see(observation)
            for stage, milliseconds in observation.stage_ms.items():
                self._facts[f"{stage}_ms"] = round(milliseconds, 1)
            try:
                yield observation
            finally:
                if observation.embedding is not None:
                    observation.embedding.wipe()

    def _confirm(self) -> None:
        """Wait for a deliberate key, with the camera released.

        Raises:
            _SkippedError: It did not come.
        """
        self._cleanup.close()
        self._tell(Within(CONFIRMING_SECONDS + ANSWERING_SECONDS))
        self._tell(Confirm(CONFIRM))
        if wait_for_line([self._channel], until=time.monotonic() + CONFIRMING_SECONDS) is None:
            raise _SkippedError
        answer = self._hear(msgspec.json.Decoder(Confirmed | Skip).decode)
        if not isinstance(answer, Confirmed):
            raise _SkippedError

    def _refuse(self, refused: Refused) -> Outcome:
        self._facts["reason"] = refused.reason.value
        self._facts["detail"] = refused.detail or None
        if refused.text:
            self._say(refused.text)
        return refused.outcome

    def _surroundings(self, config: Config) -> Surroundings:
        return Surroundings(
            self._request.user,
            self._peer,
            self._means.layout,
            self._store,
            recording=bool(stand_in(config.camera)),
        )

    def _question(self) -> Request:
        return Request(
            user=self._request.user,
            service=self._request.service,
            rhost=self._request.rhost,
            tty=self._request.tty,
            seat=self._request.seat,
            peer_uid=self._peer.uid,
        )

    def _note(self, verdict: Verdict) -> None:
        self._facts["frames"] = verdict.frames
        self._facts["compared"] = verdict.compared
        self._facts["threshold"] = round(verdict.threshold, 4)
        if verdict.best_score is not None:
            self._facts["best_score"] = round(verdict.best_score, 4)
        if verdict.bona_fide is not None:
            self._facts["presentation"] = "bona_fide" if verdict.bona_fide else "attack"
        if verdict.advice is not None:
            self._facts["refused_samples"] = verdict.advice.value

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._started) * 1e3

    def _hear(self, decode: Callable[[bytearray], T]) -> T:
        """Read a line of the client's. Raises _SkippedError when it has hung up."""
        line = self._channel.receive(decode)
        if line is None:
            self._facts["reason"] = HUNG_UP
            raise _SkippedError
        return line

    def _say(self, text: str) -> None:
        self._tell(Info(text))

    def _tell(self, message: Confirm | Info | Within) -> None:
        try:
            self._channel.send(message)
        except OSError:  # whose limit was over before the first line, say
            self._facts["reason"] = HUNG_UP
            raise _SkippedError from None
