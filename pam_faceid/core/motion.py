"""What the movements of a face over the frames of an attempt say. Stdlib only, as `core.attack`.

How a face moves counts against a presentation or not at all: a phone on which a head turns shows
relief, too, and whatever is held in a hand moves more than a face that sits still. A blink of eyes
in a face that keeps still speaks for one, a little: paper has none, and screens have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pam_faceid.core.types import PresentationEvidence

LEAST_MOVED: Final = 0.025  # face widths; of less nothing is said
LEAST_CORNERS: Final = 6
STILL_CAMERA: Final = 0.15  # share of the corners far from the face that have to stay

# How far the view of a face turns for each of its own widths that it moves: shares of three kinds,
# each a spread of both components, radians. A head turns while it moves, or is seen from another
# side; few keep facing the camera. A sheet shows what was tracked wrongly, and how it is bent.
# Measured by benchmarks.motion; see docs/adr/0034-motion.md.
HEAD: Final = ((0.5, 1.2), (0.4, 0.35), (0.1, 0.1))
SHEET: Final = ((0.75, 0.035), (0.25, 0.12))

LOUDEST: Final = 8.0
# From here on a presentation is refused. Heads that are carried sideways and keep facing the camera
# came down to -1.2.
PICTURE: Final = -2.0

# Of what is close around the face, the share from which it goes where the face goes, as what is on
# the same sheet or screen does; and what that says.
FOLLOWING: Final = 0.5
FOLLOWS: Final = -1.5

SHUT: Final = 0.5  # of how far the same eyes are open before and after
BLINK_FRAMES: Final = 4  # that a blink may take, from open to open eyes
STILL_SHARE: Final = 0.08  # of its size, by which a face that blinks may move or grow meanwhile
STILL_DEGREES: Final = 6.0  # and turn
# What it says, if as many attacks come on paper as on screens, and those on screens blink as people
# do: log 2.
BLINK: Final = math.log(2)


@dataclass(frozen=True, slots=True)
class Movement:
    """How a face moved between two frames, and what was around it.

    Args:
        moved: How far, in widths of the face.
        turn: Parallax that its points show: about radians by which the view of a solid turned.
        spread: Standard deviation of each of the two components of `turn`.
        around: Corners close around the face that can tell following it from staying. This and the
            three others are 0 where the face moved less than `LEAST_MOVED`: nobody asks then.
        follow: Those that followed it.
        beyond: The same further out.
        stay: Those of them that stayed where they were.
    """

    moved: float
    turn: float
    spread: float
    around: int
    follow: int
    beyond: int
    stay: int


def relief_log_odds(movement: Movement) -> float | None:
    """Return the log likelihood ratio of a movement, head by sheet or screen, to +-`LOUDEST`.

    Returns:
        None where it says nothing: the face hardly moved, or nothing shows that the camera did not
        move; a camera that turns moves a face as if it were painted on a wall.
    """
    if not movement.moved >= LEAST_MOVED:
        return None
    if not movement.beyond >= LEAST_CORNERS or not movement.stay >= STILL_CAMERA * movement.beyond:
        return None
    odds = _density(movement, HEAD) - _density(movement, SHEET)
    if movement.around >= LEAST_CORNERS and movement.follow >= FOLLOWING * movement.around:
        odds += FOLLOWS
    return min(max(odds, -LOUDEST), LOUDEST) if math.isfinite(odds) else None


def fused_relief(said: Sequence[float | None]) -> float | None:
    """Return the mean of what the frames of an attempt say, each held to -`LOUDEST` and to 0.

    The frames are compared with one and the same, so they are not added. None speaks for anybody: a
    screen on which a head turns shows relief.

    Args:
        said: One a frame, None of those that say nothing.

    Returns:
        None when none says anything.
    """
    spoken = [min(max(odds, -LOUDEST), 0.0) for odds in said if odds is not None]
    return math.fsum(spoken) / len(spoken) if spoken else None


def moves_like_a_picture(said: Sequence[float | None]) -> bool:
    """Whether a presentation is refused for how it moves, whatever else speaks for it."""
    fused = fused_relief(said)
    return fused is not None and fused <= PICTURE


def blinks(frames: Sequence[PresentationEvidence]) -> bool:
    """Whether eyes shut and opened again while all else of the face was still.

    Args:
        frames: Of one attempt, oldest first, refused ones among them: eyes that are shut are not
            compared.
    """
    return any(
        _shut_between(frames[first], frames[middle], frames[last])
        for middle in range(1, len(frames) - 1)
        for first in range(max(0, middle - BLINK_FRAMES), middle)
        for last in range(middle + 1, min(len(frames), first + BLINK_FRAMES + 1))
    )


def _shut_between(
    before: PresentationEvidence, shut: PresentationEvidence, after: PresentationEvidence
) -> bool:
    if before.eye_aspect is None or shut.eye_aspect is None or after.eye_aspect is None:
        return False
    return (
        shut.eye_aspect <= SHUT * min(before.eye_aspect, after.eye_aspect)
        and _is_still(before, shut)
        and _is_still(before, after)
    )


def _is_still(one: PresentationEvidence, other: PresentationEvidence) -> bool:
    for mine, its in (
        (one.yaw_degrees, other.yaw_degrees),
        (one.pitch_degrees, other.pitch_degrees),
    ):
        if mine is None or its is None or not abs(mine - its) <= STILL_DEGREES:
            return False
    away = math.hypot(one.x_px - other.x_px, one.y_px - other.y_px)
    return max(away, abs(one.size_px - other.size_px)) <= STILL_SHARE * one.size_px


def _density(movement: Movement, kinds: Sequence[tuple[float, float]]) -> float:
    """Return the log density of the turn under a mixture of normals of two components."""
    logs = []
    for share, spread in kinds:
        variance = movement.spread**2 + (spread * movement.moved) ** 2
        logs.append(math.log(share / variance) - 0.5 * movement.turn**2 / variance)
    highest = max(logs)
    return highest + math.log(math.fsum(math.exp(log - highest) for log in logs))
