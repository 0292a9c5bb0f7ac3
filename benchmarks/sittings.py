"""What may come before a camera in place of one person: morphs, and one picture again and again."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.extraction import Pipeline, nearest_the_middle
from benchmarks.morphs import Portrait, morph, portrait
from benchmarks.report import progress
from benchmarks.sequences import Source, frames_of
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.config import EnrolmentConfig
from pam_faceid.core.enrolment import Enroller, stricter
from pam_faceid.core.errors import EnrolmentError
from pam_faceid.core.guidance import Guidance
from pam_faceid.core.looks import Extension, extended
from pam_faceid.core.matching import compare
from pam_faceid.core.observation import observe
from pam_faceid.core.one_person import Agreement
from pam_faceid.core.self_check import self_check
from pam_faceid.core.types import (
    Embedding,
    Observation,
    Pose,
    ReferenceTemplate,
    SampleQuality,
)

GOOD: Final = SampleQuality(200.0, 0.0, 0.0, 0.0, 200.0, 110.0, 45.0)
REFERENCES: Final = EnrolmentConfig().references
VIDEO_RATE: Final = 30.0  # frames a second
EVERY: Final = 2
STEPS: Final = 21  # of a whole morph
MORPHED_TO: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
JPEG_QUALITIES: Final = (95, 90, 85, 80, 75, 70, 60, 50)
SCALES: Final = (1.0, 0.9)

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Judge:
    """An enrolment as `faceid-admin add-user` has it, of bare vectors.

    Args:
        agreement: When samples are of one person.
        threshold: Of a login.
    """

    agreement: Agreement
    threshold: float

    def enroller(self, guidance: Guidance | None) -> Enroller:
        """Return an enroller of nobody in particular."""
        return Enroller(
            user="user",
            uid=1000,
            look="default",
            references=REFERENCES,
            agreement=self.agreement,
            guidance=guidance,
        )

    def takes(self, vectors: Vector) -> bool:
        """Whether an enrolment makes a template of (N, D) embeddings."""
        return self.template(vectors, at=0.0) is not None

    def template(self, vectors: Vector, *, at: float) -> ReferenceTemplate | None:
        """Return the template of (N, D) embeddings, or None when they are refused."""
        enroller = self.enroller(None)
        for index, vector in enumerate(vectors):
            enroller.add(Observation(index, 0.0, None, GOOD, Embedding(vector, "model"), {}))
        try:
            template = enroller.template(now=at)
            self_check(template, threshold=self.threshold, matcher="nearest")
        except EnrolmentError:
            return None
        return template

    def extends(self, enrolled: ReferenceTemplate, look: ReferenceTemplate) -> bool:
        """Whether a look is added."""
        rule = Extension("nearest", self.threshold, self.agreement.samples, same=1.1)
        try:
            self_check(extended(enrolled, look, rule), threshold=self.threshold, matcher="nearest")
        except EnrolmentError:
            return False
        return True

    def lets_in(self, vector: Vector, template: ReferenceTemplate) -> bool:
        """Whether one frame would match at a login."""
        return compare(Embedding(vector, "model"), template, "nearest") >= self.threshold

    def takes_before_camera(self, vectors: Vector) -> bool:
        """Whether (N, D) embeddings that come one a second from a camera make a template."""
        enroller = self.enroller(Guidance(references=REFERENCES, patience_seconds=0.0))
        for index, vector in enumerate(vectors):
            embedding = Embedding(vector, "model")
            enroller.add(Observation(index, float(index), None, GOOD, embedding, {}))
        try:
            enroller.template(now=0.0)
        except EnrolmentError:
            return False
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Morph:
    """One person who becomes another.

    Args:
        vectors: (STEPS, D) embeddings, from the first to the second.
        other: (D,) of the second person, from an image that was not morphed where there is one.
    """

    vectors: Vector = field(repr=False)
    other: Vector = field(repr=False)

    def upto(self, share: float) -> Vector:
        """Return the embeddings up to a share of the second person."""
        return self.vectors[: round(share * (STEPS - 1)) + 1]


def morphs(
    images: Path, pipeline: Pipeline, count: int, random: np.random.Generator
) -> Iterator[Morph]:
    """Morph people of LFW, drawn at random, into others; nobody is in two morphs."""
    folders = sorted(images.iterdir())
    drawn = [folders[i] for i in random.permutation(len(folders))[: 2 * count]]
    for one, other in progress(list(zip(drawn[::2], drawn[1::2], strict=True)), label="morphs"):
        photos = sorted(other.glob("*.jpg"))
        first, second = _portrait(min(one.glob("*.jpg")), pipeline), _portrait(photos[0], pipeline)
        if first is None or second is None:
            continue
        frames = [morph(first, second, float(s)) for s in np.linspace(0.0, 1.0, STEPS)]
        vectors = [_embed(frame, pipeline) for frame in frames]
        again = _embed(decode_image(photos[-1].read_bytes(), name="photo"), pipeline)
        if again is not None and all(vector is not None for vector in vectors):
            yield Morph(np.stack([v for v in vectors if v is not None]), again)


def pictures(
    images: Path, pipeline: Pipeline, count: int, random: np.random.Generator
) -> Iterator[Vector]:
    """Yield (N, D) embeddings of one picture that was encoded again and again, for some of LFW."""
    folders = sorted(images.iterdir())
    drawn = [folders[i] for i in random.permutation(len(folders))[:count]]
    for folder in progress(drawn, label="pictures"):
        photo = min(folder.glob("*.jpg"))
        pixels = decode_image(photo.read_bytes(), name=photo.name)
        vectors = []
        for number, quality in enumerate(JPEG_QUALITIES):
            scale = SCALES[number % len(SCALES)]
            sized = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            options = [cv2.IMWRITE_JPEG_QUALITY, quality]
            data = cv2.imencode(".jpg", np.asarray(sized)[..., ::-1], options)[1]
            vectors.append(_embed(decode_image(data.tobytes(), name=photo.name), pipeline))
        found = [vector for vector in vectors if vector is not None]
        if found:
            yield np.stack(found)


@dataclass(frozen=True, slots=True)
class Turn:
    """A head-turn video, enrolled from as if it were the camera.

    Args:
        who: Of the development data.
        frames: In the video.
        usable: Those that the gate of an enrolment lets through.
        poses: Usable frames of each pose, beside the person's own straight look.
        complete_after: Seconds of the video until every pose was there; None when one never came.
        lowest: Of the scores of the self-check; None when there is no template.
    """

    who: str
    frames: int
    usable: int
    poses: Mapping[Pose, int]
    complete_after: float | None
    lowest: float | None


def turn(source: Source, pipeline: Pipeline, judge: Judge) -> Turn:
    """Enrol from every second frame of a video of 30 frames a second, as a slow machine would."""
    guidance = Guidance(references=REFERENCES, patience_seconds=math.inf)
    enroller = judge.enroller(guidance)
    poses: Counter[Pose] = Counter()
    complete_after = None
    frames = 0
    for index, frame in enumerate(frames_of(source)):
        if index % EVERY:
            continue
        frames += 1
        seen = observe(
            frame,
            index=index,
            detector=pipeline.detector,
            embedder=pipeline.embedder,
            landmarker=pipeline.landmarker,
            cover_detector=pipeline.cover_detector,
            limits=stricter(pipeline.limits),
            clock=time.perf_counter,
        )
        enroller.add(dataclasses.replace(seen, captured_at=index / VIDEO_RATE))
        if seen.quality is not None and seen.embedding is not None:
            poses[guidance.pose(seen.quality)] += 1
        if complete_after is None and enroller.is_complete:
            complete_after = index / VIDEO_RATE
    try:
        check = self_check(enroller.template(now=0.0), threshold=judge.threshold, matcher="nearest")
    except EnrolmentError:
        check = None
    lowest = None if check is None else check.lowest
    return Turn(source.person, frames, poses.total(), poses, complete_after, lowest)


def _portrait(photo: Path, pipeline: Pipeline) -> Portrait | None:
    pixels = decode_image(photo.read_bytes(), name=photo.name)
    faces = pipeline.detector.detect(pixels)
    return portrait(pixels, nearest_the_middle(faces, pixels).points) if faces else None


def _embed(pixels: NDArray[np.uint8], pipeline: Pipeline) -> Vector | None:
    faces = pipeline.detector.detect(pixels)
    if not faces:
        return None
    crop = pipeline.embedder.crop(pixels, nearest_the_middle(faces, pixels))
    return np.asarray(pipeline.embedder.embed(crop).vector)
