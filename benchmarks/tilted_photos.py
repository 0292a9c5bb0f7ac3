"""Photographs of faces, flat or bent, that somebody tilts and brings nearer before a camera.

Each is rendered through a pinhole camera as a sheet of paper: a plane, or a piece of a cylinder
that stands upright. No print, no screen and no hand is drawn: this asks what geometry alone can do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.challenged import RATE, attempt, evidence_of, observed, template_of
from benchmarks.extraction import Pipeline
from benchmarks.report import median, progress
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.challenge import Challenge
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.movements import Action
from pam_faceid.core.policy import DecisionRule
from pam_faceid.core.types import FrameEvidence, Observation, Outcome, ReferenceTemplate

FOCAL: Final = 600.0  # px, of a webcam with 640x480
SHAPE: Final = (480, 640)
WIDE: Final = 0.30  # metres of an image of LFW, whose face then is as large as in life
AWAY: Final = 0.5  # metres
NEAR: Final = 0.36
STRAIGHT: Final = 25  # frames before and after a movement
TWICE: Final = 2  # frames for which each step is seen
ANGLES: Final = tuple(np.linspace(0.0, 60.0, 9).tolist())
ENDS: Final = (30.0, 45.0, 60.0)
BENT: Final = (("flat", None), ("bent to 15 cm", 0.15), ("bent to 8 cm", 0.08))


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """What one movement of one kind of paper came to.

    Args:
        what: Paper and movement.
        photos: How many were tried.
        median_degrees, most_degrees: Of the turn or nod that was read at the most.
        most_nose: How far the nose was seen to move at the most, as `core.mesh.nose_place` counts.
        passed: Photographs that met a challenge of this movement alone in at least one way.
    """

    what: str
    photos: int
    median_degrees: float
    most_degrees: float
    most_nose: float
    passed: int


@dataclass(frozen=True, slots=True)
class Held:
    """How a photograph is held: degrees about the upright and the level axis, and how far away."""

    turn: float = 0.0
    tip: float = 0.0
    away: float = AWAY


def photographs(data: Path, count: int, *, seed: int) -> list[Path]:
    """Return images of different people of LFW, drawn at random; more than `count` to choose from.

    Raises:
        FileNotFoundError: There are not so many.
    """
    images = sorted((data / "lfw-deepfunneled").glob("*/*_0001.jpg"))
    if len(images) < count:
        raise FileNotFoundError(f"{data} has no {count} people of LFW")
    order = np.random.default_rng(seed).permutation(len(images))
    return [images[index] for index in order[: 3 * count]]


def tilted(images: Sequence[Path], pipeline: Pipeline, rule: DecisionRule) -> list[PhotoRow]:
    """Try every movement with a third of the images: those that look straight ahead, held still."""
    wanted = len(images) // 3
    seen: dict[tuple[str, Action], list[tuple[float, float, bool]]] = {}
    tried = 0
    for path in progress(images, label="tilting"):
        if tried == wanted:
            continue
        photo = decode_image(path.read_bytes(), name=path.name)
        try:
            template = template_of(rendered(photo, Held(), None), pipeline)
        except FaceIdError:
            continue
        tried += 1
        for name, radius in BENT:
            looked: dict[Held, Observation] = {}
            for action in Action:
                passed, degrees, nose = False, 0.0, 0.0
                for movement in movements(action):
                    for held in movement:
                        if held not in looked:
                            looked[held] = observed(rendered(photo, held, radius), pipeline)
                    frames = [looked[held] for held in movement]
                    most = read(frames, action)
                    degrees, nose = max(degrees, most[0]), max(nose, most[1])
                    passed = passed or meets(frames, action, template, rule)
                seen.setdefault((name, action), []).append((degrees, nose, passed))
    return [
        PhotoRow(
            what=f"{name}, {action.value}",
            photos=len(of),
            median_degrees=median(degrees for degrees, _, _ in of),
            most_degrees=max(degrees for degrees, _, _ in of),
            most_nose=max(nose for _, nose, _ in of),
            passed=sum(passed for _, _, passed in of),
        )
        for (name, action), of in seen.items()
    ]


def movements(action: Action) -> Iterator[list[Held]]:
    """Yield what somebody could do with a photograph when this is asked for."""
    if action is Action.CLOSER:
        yield [Held(away=away) for away in np.linspace(AWAY, NEAR, 12).tolist()]
        return
    for sign in (1.0, -1.0):
        for end in ENDS:
            there = [sign * angle for angle in ANGLES if angle <= end]
            once = [*there, there[-1], *there[::-1]]
            if action is Action.NOD:
                yield [Held(tip=angle) for angle in once]
            elif action is Action.BLINK:
                yield [Held(tip=angle) for angle in [*once, *once]]
            else:
                yield [Held(turn=angle) for angle in once]


def read(frames: Sequence[Observation], action: Action) -> tuple[float, float]:
    """Return by how many degrees, and how far of the nose, frames turn or nod at the most."""
    said = [frame.presentation for frame in frames if frame.presentation is not None]
    if action in (Action.LEFT, Action.RIGHT):
        angles = [one.yaw_degrees for one in said if one.yaw_degrees is not None]
        noses = [one.nose_across for one in said if one.nose_across is not None]
    else:
        angles = [one.pitch_degrees for one in said if one.pitch_degrees is not None]
        noses = [one.nose_down for one in said if one.nose_down is not None]
    if not angles or not noses:
        return 0.0, 0.0
    return (
        max(abs(angle - angles[0]) for angle in angles),
        max(abs(nose - noses[0]) for nose in noses),
    )


def meets(
    frames: Sequence[Observation], action: Action, template: ReferenceTemplate, rule: DecisionRule
) -> bool:
    """Whether a challenge of one movement is met by these frames and the face is let in."""
    evidence = [evidence_of(frame, template) for frame in frames for _ in range(TWICE)]
    still: list[FrameEvidence] = [evidence[0]] * STRAIGHT
    last = [evidence[-1]] * STRAIGHT
    challenge = Challenge((action,), threshold=rule.threshold)
    ended = attempt(challenge, [*still, *evidence, *last], rule, rate=RATE)
    return ended.outcome is Outcome.MATCH


def rendered(photo: NDArray[np.uint8], held: Held, radius: float | None) -> NDArray[np.uint8]:
    """Return what a camera sees of a photograph, (480, 640, 3) uint8 RGB.

    Args:
        photo: (H, H, 3) uint8 RGB.
        radius: Metres of the cylinder that it is bent to, around an upright axis; None: flat.
    """
    turn, tip = np.radians([held.turn, held.tip])
    about_y = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    about_x = np.array([[1, 0, 0], [0, np.cos(tip), -np.sin(tip)], [0, np.sin(tip), np.cos(tip)]])
    to_camera = about_y @ about_x
    down, right = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float64)
    rays = np.stack(
        [(right - SHAPE[1] / 2) / FOCAL, (down - SHAPE[0] / 2) / FOCAL, np.ones(SHAPE)], axis=-1
    )
    eye = to_camera.T @ np.array([0.0, 0.0, -held.away])
    along = rays @ to_camera  # (480, 640, 3) in the frame of the paper
    across, below, hit = _on_a_plane(eye, along) if radius is None else _rolled(eye, along, radius)
    side = photo.shape[0]
    at = [
        np.where(hit, (place / WIDE + 0.5) * side, -side).astype(np.float32)
        for place in (across, below)
    ]
    picture = cv2.remap(
        photo,
        at[0],
        at[1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(150, 150, 150),
    )
    return picture.astype(np.uint8, copy=False)


Place = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


def _on_a_plane(eye: NDArray[np.float64], along: NDArray[np.float64]) -> Place:
    far = -eye[2] / along[..., 2]
    return eye[0] + far * along[..., 0], eye[1] + far * along[..., 1], far > 0


def _rolled(eye: NDArray[np.float64], along: NDArray[np.float64], radius: float) -> Place:
    """Where rays meet a cylinder that touches the place of a flat sheet; metres on the sheet."""
    behind = eye[2] - radius
    a = along[..., 0] ** 2 + along[..., 2] ** 2
    b = 2 * (eye[0] * along[..., 0] + behind * along[..., 2])
    root = b**2 - 4 * a * (eye[0] ** 2 + behind**2 - radius**2)
    far = (-b - np.sqrt(np.maximum(root, 0))) / (2 * a)
    angle = np.arctan2(eye[0] + far * along[..., 0], -(behind + far * along[..., 2]))
    return radius * angle, eye[1] + far * along[..., 1], (root > 0) & (far > 0)
