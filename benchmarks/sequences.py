"""Recordings of live people as embeddings of the frames that a login would compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.extraction import Pipeline
from benchmarks.report import progress
from pam_faceid.adapters.cameras.recording import Recording, open_recording
from pam_faceid.core.observation import observe
from pam_faceid.core.types import Frame

Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Source:
    """A recording of one person.

    Args:
        person: Who; two sources of one person have the same.
        session: Which of that person's.
        paths: A video, or the images in order.
        in_order: Whether neighbouring frames follow each other as a camera gives them.
    """

    person: str
    session: str
    paths: tuple[Path, ...]
    in_order: bool


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """What a login would have compared of a source.

    Args:
        vectors: (N, D) embeddings of the frames that passed the quality gate.
        numbers: (N,) which frames those were, rising.
        frames: Frames seen.
    """

    source: Source
    vectors: NDArray[np.float32] = field(repr=False)
    numbers: NDArray[np.intp] = field(repr=False)
    frames: int


def development_sources(data: Path) -> list[Source]:
    """List the live recordings among the development data.

    Raises:
        FileNotFoundError: They are not there.
    """
    sources = []
    for folder in sorted((data / "td_live_real/samples").iterdir()):
        who = f"td {folder.name[-4:]}"
        sources.append(Source(who, "selfie", (folder / "live_selfie.jpg",), in_order=False))
        sources.append(Source(who, "video", (folder / "live_video.MOV",), in_order=True))
    pad = data / "pad_pyimagesearch"
    sources.append(Source("pad", "video", (pad / "real.mov",), in_order=True))
    by_session: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    for line in (data / "splits/nuaa_dev_live.txt").read_text(encoding="utf-8").split():
        path = data / "nuaa" / line
        subject, _, _, session, number = path.stem.split("_")
        by_session.setdefault((subject, session), []).append((int(number), path))
    for (subject, session), numbered in sorted(by_session.items()):
        paths = tuple(path for _, path in sorted(numbered))
        sources.append(Source(f"nuaa {subject}", session, paths, in_order=False))
    return sources


def observe_sources(
    sources: Sequence[Source], pipeline: Pipeline, change: Change | None = None
) -> list[Recorded]:
    """Look at every frame of every source as a login does, quality gate included.

    Args:
        change: What to do to the pixels of each frame beforehand.
    """
    return [_observe(source, pipeline, change) for source in progress(sources, label="observing")]


def _observe(source: Source, pipeline: Pipeline, change: Change | None) -> Recorded:
    vectors, numbers = [], []
    count = 0
    for frame in frames_of(source):
        count += 1
        seen = observe(
            replace(frame, pixels=change(frame.pixels)) if change else frame,
            index=count,
            detector=pipeline.detector,
            embedder=pipeline.embedder,
            landmarker=pipeline.landmarker,
            cover_detector=pipeline.cover_detector,
            limits=pipeline.limits,
            clock=time.perf_counter,
        )
        if seen.embedding is not None:
            vectors.append(seen.embedding.vector)
            numbers.append(count)
    shape = (len(vectors), -1) if vectors else (0, 1)
    return Recorded(
        source,
        np.array(vectors, dtype=np.float32).reshape(shape),
        np.array(numbers, dtype=np.intp),
        count,
    )


def frames_of(source: Source) -> Iterator[Frame]:
    """Yield every frame of a recording."""
    for path in source.paths:
        recording = Recording(
            open_recording(path, require_root_owned=False), loop=False, frames_per_second=None
        )
        try:
            yield from recording.frames()
        finally:
            recording.close()
