"""Is there somebody who does what is asked: movements drawn at random, one after the other.

A state machine without a clock, fed one frame at a time. It never says that somebody matches. It
says whether the one face that was there throughout did what it was asked to, when it was asked, and
from which frame on `core.policy` is to compare once more, so that nobody takes another's place
between the movements and the comparison. Stdlib only, as all that decides.

Docs/attacks.md has what the numbers below were measured on, and what they do not stop.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import permutations
from typing import TYPE_CHECKING, Final

from pam_faceid.core.movements import Action, Seen, Watch
from pam_faceid.core.types import Refusal

if TYPE_CHECKING:
    from random import Random

    from pam_faceid.core.types import FrameEvidence, PresentationEvidence


WORDS: Final = {
    Action.LEFT: "Turn your head to the left, and back.",
    Action.RIGHT: "Turn your head to the right, and back.",
    Action.NOD: "Nod your head.",
    Action.BLINK: "Blink twice.",
    Action.CLOSER: "Move a little closer.",
}
ACTIONS: Final = 2  # of one challenge
# What a photograph can be made to do: brought nearer, or bent and tipped, which reads as a nod.
ON_PAPER: Final = frozenset((Action.NOD, Action.CLOSER))
CHALLENGES: Final = tuple(
    actions for actions in permutations(Action, ACTIONS) if not ON_PAPER.issuperset(actions)
)


class Failure(str, Enum):
    """Why a challenge was not met. The words of the audit log."""

    LEFT_UNDONE = "left_undone"
    ANOTHER_ACTION = "another_action"
    TOO_EARLY = "too_early"
    JUMPED = "face_jumped"
    ANOTHER_FACE = "another_face"
    FACE_GONE = "face_gone"
    SEVERAL_FACES = "several_faces"

    @property
    def is_like_a_picture(self) -> bool:
        """Whether it is what a picture does that cannot know what is asked.

        The others are what people do, too: they leave, or somebody looks over their shoulder.
        """
        return self in (
            Failure.LEFT_UNDONE,
            Failure.ANOTHER_ACTION,
            Failure.TOO_EARLY,
            Failure.JUMPED,
        )


class Stage(Enum):
    """How far a challenge has come."""

    WAITING = "the face is not recognised yet"
    ASKED = "a movement is asked for"
    SETTLING = "it was seen; the face has to come back"
    MET = "everything was seen; the face is compared once more"
    FAILED = "it was not met"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a person has, in seconds.

    Args:
        action: From the words to the movement.
        settle: From the movement until the face is straight and still again.
        whole: From the first words to the end.
        gap: How long the face may not be seen: blurred, or turned too far for the detector.
        hold: How long the face is straight and still before anything is asked.
        reaction: Nobody acts on words sooner.
    """

    action: float = 6.0
    settle: float = 4.0
    whole: float = 20.0
    gap: float = 0.6
    hold: float = 0.3
    reaction: float = 0.15


HOLD_FRAMES: Final = 3
STEADY: Final = 8.0  # degrees between the frames of a hold
STEADY_SIZE: Final = 1.2  # a detector's boxes of one face differ by as much as a tenth
NEUTRAL: Final = 10.0  # degrees off the straight look at the beginning
AHEAD: Final = (15.0, 25.0)  # degrees of yaw and pitch that still are a straight look

# How far a face moves and grows between two frames, in its own size: and then by the second.
MOVES: Final = (0.25, 4.0)
GROWS: Final = (1.35, 1.5)
COMPARED_WITHIN: Final = 30.0  # degrees of turn up to which the owner was still recognised


def draw(random: Random | None = None) -> tuple[Action, ...]:
    """Return what to ask for: one of `CHALLENGES`."""
    if random is None:
        from secrets import SystemRandom  # noqa: PLC0415 (most logins ask for nothing)

        random = SystemRandom()
    return random.choice(CHALLENGES)


class Challenge:
    """One challenge of one attempt.

    Args:
        actions: What to ask for, in order: `draw`.
        threshold: Comparison score that a straight face has to reach, as in the rule of the login.
        pace: How long each part may take.
    """

    def __init__(self, actions: Sequence[Action], *, threshold: float, pace: Pace = Pace()) -> None:
        self.actions = tuple(actions)
        self.stage = Stage.WAITING
        self.failure: Failure | None = None
        self.counts_from = 0
        self.pace = pace
        self._threshold = threshold
        self._todo = list(actions)
        self._frames = 0
        self._still: list[Seen] = []
        self._last: tuple[float, PresentationEvidence] | None = None
        self._began = self._since = 0.0
        self._several = self._unlike = 0
        self._watch: Watch | None = None  # from when on something was asked

    @property
    def words(self) -> str:
        """What the person is asked to do now; empty while there is nothing."""
        return WORDS[self.asked] if self.asked is not None else ""

    @property
    def asked(self) -> Action | None:
        """The movement that is asked for now."""
        return self._todo[0] if self.stage is Stage.ASKED else None

    @property
    def is_going_on(self) -> bool:
        """Whether something was asked that is not done yet."""
        return self.stage in (Stage.ASKED, Stage.SETTLING)

    @property
    def is_met(self) -> bool:
        """Whether everything was done. What `policy` still asks is who did it."""
        return self.stage is Stage.MET

    @property
    def begun(self) -> bool:
        """Whether anything was asked."""
        return self._watch is not None

    def see(self, frame: FrameEvidence, *, at: float, recognised: bool) -> None:
        """Take in a frame.

        Args:
            at: When it was captured, seconds on a clock that does not jump.
            recognised: Whether the frames so far would be a match.
        """
        self._frames += 1
        if self.stage is Stage.FAILED:
            return
        broken = self._follow(frame, at)
        if broken is not None:
            self._still.clear()
            if self.begun:
                self._fail(broken)
                return
        seen = None if frame.presentation is None else Seen.of(frame.presentation, at)
        if self.begun and self._is_another(frame, seen):
            self._fail(Failure.ANOTHER_FACE)
        elif self.stage is Stage.ASKED and self._watch is not None:
            self._judge(self._watch, seen, at)
        else:
            self._settle(frame, seen, at, recognised=recognised)

    def _follow(self, frame: FrameEvidence, at: float) -> Failure | None:
        """Say how the one face was lost, or None: it is where it must be."""
        last, said = self._last, frame.presentation
        self._several = self._several + 1 if frame.refusal is Refusal.SEVERAL_FACES else 0
        if said is not None:
            self._last = (at, said)
        if self._several > 1:
            return Failure.SEVERAL_FACES
        if last is None:
            return None
        apart = at - last[0]
        # Written so that NaN fails, and a clock that goes back.
        if not 0.0 < apart <= self.pace.gap:
            return Failure.FACE_GONE
        if said is not None and not _follows(last[1], said, apart):
            return Failure.JUMPED
        return None

    def _is_another(self, frame: FrameEvidence, seen: Seen | None) -> bool:
        """Whether two frames in a row are not of whom was recognised."""
        if frame.score is None or seen is None or self._watch is None:
            return False
        if abs(seen.yaw - self._watch.base.yaw) <= COMPARED_WITHIN:
            self._unlike = 0 if frame.score >= self._threshold else self._unlike + 1
        return self._unlike > 1

    def _settle(
        self, frame: FrameEvidence, seen: Seen | None, at: float, *, recognised: bool
    ) -> None:
        """Wait until the face is straight and still, and of whom it has to be; then go on."""
        limit = self._since + self.pace.settle
        if self.begun and not at <= min(limit, self._began + self.pace.whole):
            self._fail(Failure.LEFT_UNDONE)
            return
        if self.stage is Stage.MET:
            return
        watch = self._watch
        if self.stage is Stage.SETTLING and seen is not None and watch is not None:
            # It has to come back, and not to go on with something else.
            watch.see(seen, self.actions[len(self.actions) - len(self._todo) - 1])
            if watch.shows_another:
                self._fail(Failure.ANOTHER_ACTION)
                return
        if seen is None or frame.score is None or not frame.score >= self._threshold:
            self._still.clear()
            return
        straight = (
            abs(seen.yaw) <= AHEAD[0] and abs(seen.pitch) <= AHEAD[1]
            if watch is None
            else _near(seen, watch.base, NEUTRAL)
        )
        if not straight:
            self._still.clear()
            return
        self._still.append(seen)
        while not all(_is_still(seen, one) for one in self._still):
            self._still.pop(0)
        if len(self._still) < HOLD_FRAMES or at - self._still[0].at < self.pace.hold:
            return
        if self.stage is Stage.SETTLING or recognised:
            self._go_on(at)

    def _go_on(self, at: float) -> None:
        """Ask for the next movement, or have the face compared once more."""
        now = Seen._make(map(statistics.median, zip(*self._still, strict=True)))
        if self._watch is None:
            self._watch, self._began = Watch(now), at
        else:
            # Where somebody is after a movement, and how wide the eyes are, counts for the next.
            self._watch = Watch(self._watch.base._replace(lids=now.lids, size=now.size))
        self._since = at
        self.stage = Stage.ASKED if self._todo else Stage.MET
        if self.stage is Stage.MET:
            self.counts_from = self._frames - len(self._still)
        self._still.clear()

    def _judge(self, watch: Watch, seen: Seen | None, at: float) -> None:
        """See whether what was asked is done, or something else."""
        if not at <= min(self._since + self.pace.action, self._began + self.pace.whole):
            self._fail(Failure.LEFT_UNDONE)
        elif seen is None:
            watch.interrupt()
        elif at < self._since + self.pace.reaction:
            if not _near(seen, watch.base, NEUTRAL):
                self._fail(Failure.TOO_EARLY)
        else:
            watch.see(seen, self._todo[0])
            if watch.shows_another:
                self._fail(Failure.ANOTHER_ACTION)
            elif watch.shows_it:
                self._todo.pop(0)
                self._since = at
                self.stage = Stage.SETTLING

    def _fail(self, why: Failure) -> None:
        self.stage, self.failure = Stage.FAILED, why


def _near(seen: Seen, other: Seen, degrees: float) -> bool:
    return abs(seen.yaw - other.yaw) <= degrees and abs(seen.pitch - other.pitch) <= degrees


def _is_still(seen: Seen, other: Seen) -> bool:
    larger, smaller = max(seen.size, other.size), min(seen.size, other.size)
    return _near(seen, other, STEADY) and larger <= STEADY_SIZE * smaller


def _follows(last: PresentationEvidence, said: PresentationEvidence, apart: float) -> bool:
    """Whether a face can be the one of the frame before."""
    if not (last.size_px > 0 and said.size_px > 0):
        return False
    moved = max(abs(said.x_px - last.x_px), abs(said.y_px - last.y_px)) / last.size_px
    grown = max(said.size_px / last.size_px, last.size_px / said.size_px)
    return moved <= MOVES[0] + MOVES[1] * apart and grown <= GROWS[0] + GROWS[1] * apart
