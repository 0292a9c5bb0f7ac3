"""What the frames of one attempt say by their movement: what a login uses, and what was tried."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.extraction import Pipeline
from benchmarks.presentations import gate
from pam_faceid.adapters.face_tracker import FACE_WIDTH, FaceTracker
from pam_faceid.adapters.models.landmarks import SIDE, placement
from pam_faceid.core import parallax
from pam_faceid.core.mesh import RIGID
from pam_faceid.core.motion import (
    LEAST_CORNERS,
    LEAST_MOVED,
    Movement,
    blinks,
    fused_relief,
    moves_like_a_picture,
    relief_log_odds,
)
from pam_faceid.core.observation import presented
from pam_faceid.core.types import Face, FaceMesh, Frame, PresentationEvidence, Refusal

# Higher is more like a person, all of them.
CUES: Final = ("relief", "turn a width", "of the mesh", "stays around", "no bands")
LEAST_FRAMES: Final = 4
NOTHING: Final = 0.0  # what an attempt is given by a cue that says nothing


@dataclass(frozen=True, slots=True)
class Attempt:
    """Frames that follow each other, judged together.

    Args:
        kind, source, clip: What it is of.
        said: Log-odds of relief, one a compared frame.
        cues: By name in `CUES`.
        blinks: Whether it has a blink.
        spent_ms: Of a processor, for each frame that was tracked.
    """

    kind: str
    source: str
    clip: str
    said: tuple[float | None, ...]
    cues: Mapping[str, float]
    blinks: bool
    spent_ms: tuple[float, ...]

    def relief(self, frames: int) -> float | None:
        """Return what the first frames say."""
        return fused_relief(self.said[:frames])

    def refused(self, frames: int) -> bool:
        """Whether the first frames are refused for how they move."""
        return moves_like_a_picture(self.said[:frames])


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    pixels: NDArray[np.uint8]
    face: Face
    mesh: FaceMesh
    compared: bool

    @property
    def presented(self) -> PresentationEvidence:
        return presented(self.face, self.mesh, None)


def attempts_of(
    frames: Sequence[Frame], pipeline: Pipeline, *, kind: str, source: str, clip: str, size: int
) -> Iterator[Attempt]:
    """Cut a recording into attempts of as many compared frames, at least `LEAST_FRAMES`."""
    seen: list[_Seen] = []
    compared = 0
    for frame in frames:
        faces = pipeline.detector.detect(frame.pixels)
        refusal = gate(frame, faces, pipeline)
        if refusal not in ("", Refusal.EYES_CLOSED.value):
            continue
        mesh = pipeline.landmarker.locate(frame.pixels, faces[0])
        seen.append(_Seen(frame.pixels, faces[0], mesh, not refusal))
        compared += not refusal
        if compared == size:
            yield _attempt(seen, kind, source, clip)
            seen, compared = [], 0
    if compared >= LEAST_FRAMES:
        yield _attempt(seen, kind, source, clip)


def _attempt(seen: Sequence[_Seen], kind: str, source: str, clip: str) -> Attempt:
    tracker = FaceTracker()
    moved: list[Movement | None] = []
    spent = []
    for one in seen:
        started = time.process_time()
        movement = tracker.follow(one.pixels, one.face, one.mesh)
        spent.append((time.process_time() - started) * 1e3)
        if one.compared:
            moved.append(movement)
    said = tuple(None if one is None else relief_log_odds(one) for one in moved)
    return Attempt(
        kind, source, clip, said, _cues(seen, moved), blinks([one.presented for one in seen]),
        tuple(spent),
    )  # fmt: skip


def _cues(seen: Sequence[_Seen], moved: Sequence[Movement | None]) -> dict[str, float]:
    found = [one for one in moved if one is not None]
    compared = [one for one in seen if one.compared]
    said = [odds for odds in map(relief_log_odds, found) if odds is not None]
    turns = [one.turn / one.moved for one in found if one.moved >= LEAST_MOVED]
    follows = [one.follow / one.around for one in found if one.around >= LEAST_CORNERS]
    meshes = [_of_the_mesh(compared[0], one) for one in compared[1:]]
    told = [turn for turn in meshes if turn is not None]
    bands = [_bands(compared[0], one) for one in compared[1:]]
    return {
        "relief": float(np.mean(said)) if said else NOTHING,
        "turn a width": min(float(np.mean(turns)), 1.0) if turns else 1.0,
        "of the mesh": min(float(np.mean(told)), 1.0) if told else 1.0,
        "stays around": -float(np.mean(follows)) if follows else NOTHING,
        "no bands": -float(np.median(bands)),
    }


def _of_the_mesh(first: _Seen, now: _Seen) -> float | None:
    """Return the same fit, made to where the mesh says that the points are."""
    placed = placement(first.face)
    scale = float(np.hypot(*placed[:, 0])) / FACE_WIDTH
    points = [
        (one.mesh.points[list(RIGID), :2] @ placed[:, :2].T + placed[:, 2] - SIDE / 2) / FACE_WIDTH
        for one in (first, now)
    ]
    depth = first.mesh.points[list(RIGID), 2].astype(np.float64) * scale
    fitted = parallax.fit(points[0], points[1], depth, np.tile(1e6 * np.eye(2), (len(RIGID), 1, 1)))
    if fitted is None or not fitted.moved >= LEAST_MOVED:
        return None
    return fitted.turn / fitted.moved


def _bands(first: _Seen, now: _Seen) -> float:
    """Return how much more the brightness of rows changes than that of columns, log."""
    squares = []
    for one in (first, now):
        grey = cv2.cvtColor(one.pixels, cv2.COLOR_RGB2GRAY)
        square = cv2.warpAffine(grey, placement(one.face), (SIDE, SIDE))[40:160, 50:142]
        squares.append(np.log(np.asarray(square, np.float32) + 10))
    changed = squares[1] - squares[0]
    rows, columns = (_rough(np.median(changed, axis=axis)) for axis in (1, 0))
    return float(np.log((rows + 1e-4) / (columns + 1e-4)))


def _rough(profile: NDArray[np.float32]) -> float:
    """Return the spread of a profile about its own slow course."""
    place = np.linspace(-1, 1, len(profile))
    fast = profile - np.polyval(np.polyfit(place, profile, 2), place)
    return float(np.std(np.convolve(fast, np.ones(5) / 5, "valid")))
