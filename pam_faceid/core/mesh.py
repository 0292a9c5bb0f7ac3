"""What the mesh of a face tells: how far the eyes are open, how the head is held.

Points are numbered as MediaPipe numbers them; left and right are the person's own.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.types import FaceMesh

# Of each eye: outer and inner corner, then two points of the upper lid, each with the point of the
# lower lid below it.
RIGHT_EYE: Final = (33, 133, 160, 144, 158, 153)
LEFT_EYE: Final = (263, 362, 387, 373, 385, 380)
FOREHEAD, CHIN = 10, 152
NOSE_TIP = 1
RIGHT_MOUTH, LEFT_MOUTH = 61, 291

# Points that keep their places when a face blinks, talks and is seen a little from the side:
# without lids, lips and outline, spread evenly.
RIGID: Final = (
    1,
    2,
    6,
    8,
    9,
    18,
    27,
    31,
    32,
    34,
    35,
    36,
    43,
    46,
    47,
    49,
    50,
    51,
    55,
    63,
    66,
    68,
    69,
    71,
    83,
    92,
    100,
    101,
    104,
    105,
    106,
    107,
    108,
    110,
    111,
    116,
    118,
    123,
    124,
    135,
    137,
    138,
    139,
    140,
    147,
    151,
    165,
    167,
    169,
    170,
    171,
    174,
    175,
    177,
    182,
    186,
    187,
    190,
    192,
    193,
    194,
    195,
    198,
    199,
    200,
    201,
    202,
    203,
    204,
    205,
    206,
    207,
    208,
    210,
    211,
    212,
    213,
    214,
    215,
    216,
    220,
    221,
    222,
    224,
    227,
    230,
    232,
    238,
    240,
    245,
    247,
    254,
    259,
    262,
    264,
    265,
    266,
    277,
    278,
    280,
    281,
    283,
    285,
    296,
    298,
    299,
    301,
    305,
    313,
    329,
    330,
    333,
    334,
    335,
    336,
    337,
    340,
    347,
    348,
    359,
    364,
    366,
    367,
    368,
    369,
    391,
    393,
    394,
    395,
    396,
    399,
    401,
    406,
    410,
    411,
    414,
    417,
    418,
    421,
    422,
    423,
    424,
    425,
    426,
    427,
    428,
    430,
    431,
    432,
    434,
    435,
    440,
    441,
    442,
    443,
    445,
    447,
    448,
    452,
    465,
)


def eye_opening(mesh: FaceMesh) -> float:
    """Return how far the eye that is further open is open: height over width of what lids leave.

    About 0.25 of open eyes, under 0.1 of closed ones. One eye is enough: not everybody has two.
    Source: the eye aspect ratio of Soukupova and Cech 2016.
    """
    # Not the built-in max, whose answer for NaN depends on the order.
    return float(np.fmax(_opening(mesh, RIGHT_EYE), _opening(mesh, LEFT_EYE)))


def head_turn(mesh: FaceMesh) -> tuple[float, float]:
    """Return yaw and pitch in degrees: positive to the person's left, and down.

    Told from the depth that the model gives points far apart. Of a head that is held level pitch is
    not quite 0, because foreheads lean back: compare it with the same person's.
    """
    return (
        _lean(mesh.points[LEFT_EYE[0]] - mesh.points[RIGHT_EYE[0]]),
        _lean(mesh.points[CHIN] - mesh.points[FOREHEAD]),
    )


def nose_place(mesh: FaceMesh) -> tuple[float, float]:
    """Return where the tip of the nose is seen, between the eyes and the mouth.

    The first number counts half the distance of the outer corners of the eyes, from the middle
    towards the person's left; the second the way from the eyes down to the mouth. About 0 and 0.5
    of a face that looks straight ahead. No tilt of a flat picture seen from afar changes them,
    because it maps its plane affinely; a head that turns moves its nose before the rest.

    Returns:
        NaN twice when eyes and mouth are in a line.
    """
    at = mesh.points[:, :2].astype(np.float64)
    right, left = at[RIGHT_EYE[0]], at[LEFT_EYE[0]]
    middle = (right + left) / 2
    axes = np.column_stack([(left - right) / 2, (at[RIGHT_MOUTH] + at[LEFT_MOUTH]) / 2 - middle])
    try:
        across, down = np.linalg.solve(axes, at[NOSE_TIP] - middle)
    except np.linalg.LinAlgError:
        return math.nan, math.nan
    return float(across), float(down)


def lid_gap(mesh: FaceMesh) -> float:
    """Return how far the lids of the eye that is further open are apart, of the way to the mouth.

    About 0.1 of open eyes. Unlike `eye_opening` it does not shrink when a picture is tilted back,
    so a picture cannot seem to blink; NaN when there is no way from the eyes to the mouth.
    """
    at = mesh.points[:, :2].astype(np.float64)
    eyes = (at[RIGHT_EYE[0]] + at[LEFT_EYE[0]]) / 2
    down = float(np.linalg.norm((at[RIGHT_MOUTH] + at[LEFT_MOUTH]) / 2 - eyes))
    gaps = [
        np.linalg.norm(at[eye[2]] - at[eye[3]]) + np.linalg.norm(at[eye[4]] - at[eye[5]])
        for eye in (RIGHT_EYE, LEFT_EYE)
    ]
    return float(max(gaps)) / 2 / down if down > 0 else math.nan


def _lean(along: NDArray[np.float32]) -> float:
    """Return by how many degrees a vector (3,) points away from the camera."""
    right, down, away = (float(part) for part in along)
    return math.degrees(math.atan2(away, math.hypot(right, down)))


def _opening(mesh: FaceMesh, eye: tuple[int, ...]) -> float:
    outer, inner, *lids = mesh.points[list(eye), :2].astype(np.float64)
    width = float(np.linalg.norm(outer - inner))
    heights = (np.linalg.norm(lids[0] - lids[1]), np.linalg.norm(lids[2] - lids[3]))
    # Written so that NaN, which no limit passes, is what a mesh without width gives.
    return float(sum(heights)) / 2 / width if width > 0 else float("nan")
