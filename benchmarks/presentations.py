"""Presentations, bona fide and attacks, as the frames of clips and what detectors say of each."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.extraction import Pipeline
from benchmarks.report import progress
from benchmarks.sequences import Source, frames_of
from pam_faceid.adapters.cameras.recording import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from pam_faceid.core import quality
from pam_faceid.core.attack import fused_score
from pam_faceid.core.ports import AttackDetector
from pam_faceid.core.types import Face, Frame, Refusal

BONA_FIDE: Final = "bona fide"
Detectors = Mapping[str, AttackDetector]


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording: a video, or the images of a folder in the order of their names.

    Args:
        species: Of the attack, or `BONA_FIDE`.
        name: Folder or video, below what was named on the command line.
        paths: The video, or the images.
    """

    species: str
    name: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """One frame of a clip.

    Args:
        species, clip: Of the clip.
        index: Of the frame in its clip.
        refusal: Why a login would not compare it, else empty.
        size_px: Of the largest face; 0 without one.
        scores: By detector; empty without a face.
    """

    species: str
    clip: str
    index: int
    refusal: str
    size_px: float
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Some frames of a clip that follow each other, judged together.

    Args:
        species, clip: Of the clip.
        first: Index of its first frame.
        frames: Frames that a login would have compared.
        scores: Fused, by detector; empty when no frame could be compared.
    """

    species: str
    clip: str
    first: int
    frames: int
    scores: dict[str, float]


def clips_below(path: Path, species: str) -> list[Clip]:
    """Find the clips of a folder: each video in it, and each folder that has images.

    Raises:
        FileNotFoundError: There is none.
    """
    if path.is_file():
        return [Clip(species, path.name, (path,))]
    files = sorted(file for file in path.rglob("*") if file.is_file())
    clips = [
        Clip(species, file.relative_to(path.parent).as_posix(), (file,))
        for file in files
        if file.suffix.lower() in VIDEO_SUFFIXES
    ]
    folders: dict[Path, list[Path]] = {}
    for file in files:
        if file.suffix.lower() in IMAGE_SUFFIXES:
            folders.setdefault(file.parent, []).append(file)
    for folder, images in folders.items():
        name = folder.relative_to(path.parent).as_posix()
        clips.append(Clip(species, name, tuple(images)))
    if not clips:
        raise FileNotFoundError(f"{path} has neither an image nor a video")
    return clips


def look_at(
    clips: Sequence[Clip], pipeline: Pipeline, detectors: Detectors, *, every: int
) -> list[Look]:
    """Score each frame of each clip.

    Args:
        every: Frame of a video that is looked at: 2 leaves out every other one.
    """
    return [
        look
        for clip in progress(clips, label="looking")
        for look in _look_at(clip, pipeline, detectors, every=every)
    ]


def _look_at(clip: Clip, pipeline: Pipeline, detectors: Detectors, *, every: int) -> Iterator[Look]:
    source = Source(clip.name, clip.name, clip.paths, in_order=True)
    thinned = every if len(clip.paths) == 1 else 1
    for index, frame in enumerate(frames_of(source)):
        if index % thinned == 0:
            yield look(frame, pipeline, detectors, clip=clip, index=index)


def look(frame: Frame, pipeline: Pipeline, detectors: Detectors, *, clip: Clip, index: int) -> Look:
    """Score the largest face of a frame, and say what a login's gate makes of it."""
    faces = pipeline.detector.detect(frame.pixels)
    refusal = gate(frame, faces, pipeline)
    if not faces:
        return Look(clip.species, clip.name, index, refusal, 0.0, {})
    scores = {name: one.score(frame.pixels, faces[0]) for name, one in detectors.items()}
    return Look(clip.species, clip.name, index, refusal, faces[0].size_px, scores)


def gate(frame: Frame, faces: Sequence[Face], pipeline: Pipeline) -> str:
    """Return why a login would not compare a frame, or nothing."""
    if not faces:
        return Refusal.NO_FACE.value
    crop = pipeline.embedder.crop(frame.pixels, faces[0])
    measured = quality.assess(faces[0], crop)
    refusal = pipeline.refusal(frame.pixels, faces, faces[0], crop, measured)
    return refusal.value if refusal else ""


def attempts_of(looks: Sequence[Look], *, frames: int) -> list[Attempt]:
    """Cut each clip into attempts of as many comparable frames.

    What is left over at the end of a clip is an attempt only in a clip that has no other. A clip
    without a comparable frame is an attempt without a score.
    """
    by_clip: dict[tuple[str, str], list[Look]] = {}
    for one in looks:
        by_clip.setdefault((one.species, one.clip), []).append(one)
    attempts = []
    for (species, clip), seen in by_clip.items():
        good = [one for one in seen if not one.refusal]
        starts = range(0, max(len(good) - frames + 1, 1), frames)
        for start in starts:
            part = good[start : start + frames]
            scores = {
                name: fused_score([one.scores[name] for one in part], frames=frames)
                for name in (part[0].scores if part else ())
            }
            first = part[0].index if part else seen[0].index
            attempts.append(Attempt(species, clip, first, len(part), scores))
    return attempts


def write_csv(
    path: Path, looks: Sequence[Look], attempts: Sequence[Attempt], detectors: Sequence[str]
) -> None:
    """Write one line for each frame and each attempt."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["row", "species", "clip", "frame", "frames", "refusal", "size_px", *detectors]
        )
        for one in looks:
            scores = [_number(one.scores, name) for name in detectors]
            head = ["frame", one.species, one.clip, one.index, 1, one.refusal]
            writer.writerow([*head, f"{one.size_px:.0f}", *scores])
        for attempt in attempts:
            scores = [_number(attempt.scores, name) for name in detectors]
            head = ["attempt", attempt.species, attempt.clip, attempt.first, attempt.frames]
            writer.writerow([*head, "", "", *scores])


def _number(scores: Mapping[str, float], name: str) -> str:
    return f"{scores[name]:.4f}" if name in scores else ""
