"""Is the face in the infrared picture the one in the colour picture: same place, size and moment.

Two cameras side by side see a face in two places, and how far apart depends on how near it is. No
calibration target is asked for: what two cameras make of one face is learnt while a person enrols
(`PairGeometry`), and nearer or farther than then the two places may drift apart by no more than
the distance between the lenses allows. A screen shows a face to one of the two alone; a face held
beside another stands elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import Final

from pam_faceid.core.types import Face

MAX_APART_SECONDS: Final = 0.1  # three frames; a head moves a few centimetres a second
# Distances are in eye distances of the infrared picture: about 63 mm where the face is.
MAX_BASELINE: Final = 1.0  # between the lenses of one housing
MAX_OFFSET: Final = 0.4  # of two detections, of what moves between the frames
MAX_SIZE_RATIO: Final = 1.25
MAX_TILT_DEGREES: Final = 12.0
MAX_TURN: Final = 0.35  # of the nose between the eyes, as a share of their distance
FEWEST: Final = 3  # pairs that a geometry is learnt from
# Before anything is learnt: fields of view and mountings differ that much between models.
_UNKNOWN_SIZE_RATIO: Final = 2.5
_UNKNOWN_PLACE: Final = 0.25  # of the frame


class Disagreement(str, Enum):
    """Why two faces are not the same one."""

    NOT_TOGETHER = "not_together"  # not at the same time
    OTHER_SIZE = "other_size"
    OTHER_TILT = "other_tilt"
    OTHER_TURN = "other_turn"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A face in the frame of one camera.

    Args:
        face: Where it is.
        frame: (height, width) px.
        captured_at: Seconds, monotonic.
    """

    face: Face
    frame: tuple[int, int]
    captured_at: float


@dataclass(frozen=True, slots=True)
class PairGeometry:
    """What two cameras made of one face.

    Args:
        scale: Size in the infrared picture over that in the colour picture.
        offset: Place in the infrared picture less the scaled place in the colour picture, px.
        eyes_px: Eye distance in the infrared picture at which the offset was learnt.
    """

    scale: float
    offset: tuple[float, float]
    eyes_px: float


def learn(pairs: Sequence[tuple[Sighting, Sighting]]) -> PairGeometry | None:
    """Return the geometry of two cameras from colour and infrared sightings of one person.

    Medians, so that a wrong detection among them does no harm.

    Returns:
        None from fewer than `FEWEST` pairs of the same moment.
    """
    together = [pair for pair in pairs if _apart(*pair) <= MAX_APART_SECONDS]
    if len(together) < FEWEST:
        return None
    scale = median(_eyes(i.face) / _eyes(c.face) for c, i in together)
    offsets = [_offset(c.face, i.face, scale) for c, i in together]
    return PairGeometry(
        scale=scale,
        offset=(median(x for x, _ in offsets), median(y for _, y in offsets)),
        eyes_px=median(_eyes(i.face) for _, i in together),
    )


def compare(
    colour: Sighting, infrared: Sighting, geometry: PairGeometry | None
) -> Disagreement | None:
    """Say why two sightings are not of one face, or None when they may be.

    Args:
        geometry: Of the two cameras; None while nothing was learnt, which leaves wide bounds.
    """
    # Written so that NaN disagrees.
    if not _apart(colour, infrared) <= MAX_APART_SECONDS:
        return Disagreement.NOT_TOGETHER
    if not abs(_difference(_tilt(colour.face), _tilt(infrared.face))) <= MAX_TILT_DEGREES:
        return Disagreement.OTHER_TILT
    if not abs(_turn(colour.face) - _turn(infrared.face)) <= MAX_TURN:
        return Disagreement.OTHER_TURN
    if geometry is None:
        return _compare_roughly(colour, infrared)
    return _compare_closely(colour.face, infrared.face, geometry)


def _compare_closely(colour: Face, infrared: Face, geometry: PairGeometry) -> Disagreement | None:
    eyes = _eyes(infrared)
    ratio = eyes / _eyes(colour) / geometry.scale
    if not 1 / MAX_SIZE_RATIO <= ratio <= MAX_SIZE_RATIO:
        return Disagreement.OTHER_SIZE
    drift = math.dist(_offset(colour, infrared, geometry.scale), geometry.offset)
    if not drift <= MAX_OFFSET * eyes + MAX_BASELINE * abs(eyes - geometry.eyes_px):
        return Disagreement.ELSEWHERE
    return None


def _compare_roughly(colour: Sighting, infrared: Sighting) -> Disagreement | None:
    sizes = [_eyes(seen.face) / seen.frame[1] for seen in (colour, infrared)]
    if not max(sizes) <= _UNKNOWN_SIZE_RATIO * min(sizes):
        return Disagreement.OTHER_SIZE
    places = []
    for seen in (colour, infrared):
        across, down = _middle(seen.face)
        places.append((across / seen.frame[1], down / seen.frame[0]))
    if not math.dist(*places) <= _UNKNOWN_PLACE:
        return Disagreement.ELSEWHERE
    return None


def _apart(colour: Sighting, infrared: Sighting) -> float:
    return abs(colour.captured_at - infrared.captured_at)


def _middle(face: Face) -> tuple[float, float]:
    (ax, ay), (bx, by) = face.points[0], face.points[1]
    return float(ax + bx) / 2, float(ay + by) / 2


def _eyes(face: Face) -> float:
    (ax, ay), (bx, by) = face.points[0], face.points[1]
    return max(math.hypot(float(bx - ax), float(by - ay)), 1.0)


def _tilt(face: Face) -> float:
    (ax, ay), (bx, by) = face.points[0], face.points[1]
    return math.degrees(math.atan2(float(by - ay), float(bx - ax)))


def _turn(face: Face) -> float:
    """Return how far the nose is from the middle between the eyes, along their line."""
    tilt, eyes = math.radians(_tilt(face)), _eyes(face)
    across, down = _middle(face)
    nose = face.points[2]
    along = (float(nose[0]) - across) * math.cos(tilt) + (float(nose[1]) - down) * math.sin(tilt)
    return along / eyes


def _offset(colour: Face, infrared: Face, scale: float) -> tuple[float, float]:
    (cx, cy), (ix, iy) = _middle(colour), _middle(infrared)
    return ix - scale * cx, iy - scale * cy


def _difference(one: float, other: float) -> float:
    return (one - other + 180.0) % 360.0 - 180.0
