"""Samples of one person become a reference template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.config import QualityConfig
from pam_faceid.core.errors import EnrolmentError
from pam_faceid.core.guidance import Guidance
from pam_faceid.core.one_person import Agreement, groups_apart
from pam_faceid.core.poses import pose_of
from pam_faceid.core.types import (
    Embedding,
    LiveScore,
    Observation,
    Pose,
    Reference,
    ReferenceTemplate,
    Refusal,
    SampleQuality,
)

# A picture that was encoded again scores above this with itself, and so does a quarter of the
# frames of a head that is held still, which say no more than one. See docs/enrolment.md.
SAME_SAMPLE: Final = 0.96

# Where all files are as alike as this and some repeat others, they are one picture, encoded again.
SAME_PICTURE: Final = 0.93

# For the head to move a little between two samples of one pose.
SPACING_SECONDS: Final = 0.4

# Good samples of a camera kept for each one wanted, so that those that differ most can be chosen.
POOL: Final = 4

# Share of all samples that one has to agree with to be kept.
MAJORITY: Final = 0.75

# A reference that is turned away or nods meets strangers who are turned alike: false matches double
# there. A login may look so, a reference should not.
MAX_YAW: Final = 0.6
MAX_PITCH: Final = 0.5

# Half a face in the dark is recognised, and makes a poor reference: see docs/quality.md.
MAX_SIDE_LIGHT: Final = 0.4


@dataclass(frozen=True, slots=True)
class Taken:
    """A sample was good.

    Args:
        pose: Its pose.
        source: Its origin.
    """

    pose: Pose
    source: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A sample was left out.

    Args:
        why: None for one that repeats an earlier sample.
        source: Its origin.
    """

    why: Refusal | None
    source: str


def stricter(limits: QualityConfig) -> QualityConfig:
    """Return the quality gate of an enrolment, for that of a login.

    Nobody else in view, however far back: a second face may be the one that is compared later.
    """
    return msgspec.structs.replace(
        limits,
        max_second_face=0.0,
        max_yaw=min(limits.max_yaw, MAX_YAW),
        max_pitch=min(limits.max_pitch, MAX_PITCH),
        max_side_light=min(limits.max_side_light, MAX_SIDE_LIGHT),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    embedding: Embedding
    quality: SampleQuality
    pose: Pose
    source: str
    captured_at: float
    live: LiveScore | None


class Enroller:
    """Collects observations, and makes a template of those that differ most.

    Args:
        user, uid: Who is enrolled.
        look: How they look, by name.
        references: Samples to keep.
        agreement: When samples are taken for one person.
        guidance: Asks a person before a camera for poses; None for files.
        detector: Model id of the attack detector that is asked of each sample; empty for none.
    """

    def __init__(
        self,
        *,
        user: str,
        uid: int,
        look: str,
        references: int,
        agreement: Agreement,
        guidance: Guidance | None,
        detector: str = "",
    ) -> None:
        self._user = user
        self._uid = uid
        self._look = look
        self._references = references
        self._agreement = agreement
        self._guidance = guidance
        self._detector = detector
        self._samples: list[_Sample] = []
        self._repeats = 0

    @property
    def count(self) -> int:
        """Good samples so far."""
        return len(self._samples)

    @property
    def is_complete(self) -> bool:
        """Whether a person before a camera need not go on. Of files every one is looked at."""
        return (
            self._guidance is not None
            and self._guidance.asked is None
            and len(self._samples) >= self._references
        )

    def add(self, observation: Observation) -> Taken | Refused | None:
        """Take one observation; None when it is good and not needed."""
        guidance = self._guidance
        if guidance is not None:
            guidance.wait(observation.captured_at, samples=len(self._samples))
        if observation.embedding is None or observation.quality is None:
            return Refused(observation.refusal, observation.origin)
        quality = observation.quality
        pose = pose_of(quality) if guidance is None else guidance.pose(quality)
        if guidance is not None and not self._is_due(pose, observation.captured_at, guidance):
            return None
        if self._repeats_one(observation.embedding):
            self._repeats += 1
            return Refused(None, observation.origin)
        self._samples.append(
            _Sample(
                observation.embedding,
                quality,
                pose,
                observation.origin,
                observation.captured_at,
                self._live(observation),
            )
        )
        if guidance is not None:
            guidance.take(pose, quality, at=observation.captured_at)
        return Taken(pose, observation.origin)

    def template(self, *, now: float) -> ReferenceTemplate:
        """Return the template of what was taken.

        Args:
            now: Seconds since the epoch.

        Raises:
            EnrolmentError: Too few samples were good or too few differ, or they show more than one
                person.
        """
        self._check_variety()
        self._check_one_person()
        references = tuple(
            Reference(
                embedding=sample.embedding,
                enrolled_at=now,
                quality=sample.quality,
                source=sample.source,
                look=self._look,
                pose=sample.pose,
                live=sample.live,
            )
            for sample in (self._samples[i] for i in self._chosen())
        )
        return ReferenceTemplate(
            user=self._user,
            uid=self._uid,
            model_id=references[0].embedding.model_id,
            references=references,
            created_at=now,
        )

    def odd_ones(self) -> list[str]:
        """Return the sources of samples that there is room for and that are unlike a chosen one."""
        chosen = self._chosen()
        if len(chosen) >= self._references:
            return []
        return [s.source for i, s in enumerate(self._samples) if i not in chosen]

    def _live(self, observation: Observation) -> LiveScore | None:
        said = observation.presentation
        if not self._detector or said is None or said.attack_score is None:
            return None
        return LiveScore(self._detector, said.attack_score)

    def _is_due(self, pose: Pose, at: float, guidance: Guidance) -> bool:
        same = [sample.captured_at for sample in self._samples if sample.pose is pose]
        if same and at - same[-1] < SPACING_SECONDS:
            return False
        return not guidance.has(pose) or len(self._samples) < POOL * self._references

    def _repeats_one(self, embedding: Embedding) -> bool:
        if not self._samples:
            return False
        scores = _vectors(self._samples) @ np.asarray(embedding.vector)
        return float(scores.max()) > SAME_SAMPLE

    def _check_variety(self) -> None:
        """Refuse one picture that stands for many: a frozen camera, a still, copies of a file."""
        if not self._samples and not self._repeats:
            raise EnrolmentError(
                "no sample was good enough to enrol from",
                hint="see why each was refused; look straight at the camera in even light",
            )
        needed = 2 if self._repeats else 1
        hint = "copies of one picture say no more than one: leave them out, or give others"
        if self._guidance is not None:
            needed = self._guidance.enough
            hint = "see what was left out; move the head a little, in even light"
        differ = 1 if self._are_one_picture() else len(self._samples)
        if differ < needed:
            repeats = self._repeats + len(self._samples) - differ
            again = f", {repeats} more repeat one of these" if repeats else ""
            raise EnrolmentError(
                f"good samples that differ: {differ}{again}; at least {needed} are needed, and "
                "nothing was kept",
                hint=hint,
            )

    def _are_one_picture(self) -> bool:
        """Whether files differ by no more than one picture from itself, encoded again.

        Of a head that is held still before a camera the same may be said, so it is not asked.
        """
        if self._guidance is not None or not self._repeats:
            return False
        vectors = _vectors(self._samples)
        return float((vectors @ vectors.T).min()) >= SAME_PICTURE

    def _check_one_person(self) -> None:
        groups = groups_apart(_vectors(self._samples), self._agreement)
        if len(groups) == 1:
            return
        odd = sorted({self._samples[i].source for group in groups[1:] for i in group})
        shown = ", ".join(odd[:5]) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
        raise EnrolmentError(
            f"the samples are not of one person: {shown} does not agree with the others",
            hint="enrol one person at a time, with nobody else in view; leave odd files out",
        )

    def _chosen(self) -> list[int]:
        """Return which samples to keep: of each pose as many as are wanted, then any."""
        vectors = _vectors(self._samples)
        scores = vectors @ vectors.T
        agreeing = (scores >= self._agreement.samples).mean(axis=1)
        # An odd sample is what differs most, and would keep the many that disagree with it out.
        typical = np.flatnonzero(agreeing >= min(MAJORITY, float(agreeing.max()))).tolist()
        chosen: list[int] = []
        for pose, count in ({} if self._guidance is None else self._guidance.wanted).items():
            among = [i for i in typical if self._samples[i].pose is pose]
            chosen += self._most_varied(scores, among, count, beside=chosen)
        return chosen + self._most_varied(
            scores, typical, self._references - len(chosen), beside=chosen
        )

    def _most_varied(
        self, scores: NDArray[np.float32], among: Sequence[int], count: int, *, beside: list[int]
    ) -> list[int]:
        """Choose the most typical sample, then again and again the one least like those chosen.

        Never one that disagrees with a chosen one: the ends of a morph do not both get in.

        Args:
            scores: (N, N) comparison scores.
            beside: Those chosen before.
        """
        chosen: list[int] = []
        while len(chosen) < count:
            before = [*beside, *chosen]
            left = [
                i
                for i in among
                if i not in before and (scores[i, before] >= self._agreement.samples).all()
            ]
            if not left:
                break
            if before:
                chosen.append(min(left, key=lambda i: float(scores[i, before].max())))
            else:
                chosen.append(max(left, key=lambda i: float(scores[i].mean())))
        return chosen


def _vectors(samples: Sequence[_Sample]) -> NDArray[np.float32]:
    return np.stack([np.asarray(sample.embedding.vector) for sample in samples])
