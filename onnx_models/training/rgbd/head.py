"""Heads of people who do not exist: ICT-FaceKit's mesh, moved by random weights.

Source: ICT-FaceKit (USC Institute for Creative Technologies, MIT licence). Its identity shapes are
principal components in units of their standard deviation, so weights are drawn from N(0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Triangles = NDArray[np.int32]

IDENTITY_SHAPES: Final = 100
EXPRESSIONS: Final = (
    *("eyeBlink_L", "eyeBlink_R", "jawOpen", "mouthSmile_L", "mouthSmile_R"),
    *("browInnerUp_L", "browInnerUp_R"),
)
MM: Final = 10.0  # the mesh is in cm

# Parts of the mesh, by the numbers of their vertices.
SKIN: Final = slice(0, 11_248)  # face, head and neck
MOUTH: Final = slice(11_248, 21_451)  # socket, gums, tongue, teeth
EYEBALLS: Final = (slice(21_451, 23_021), slice(23_021, 24_591))  # the person's left and right
_END: Final = 24_591  # beyond lie lashes and films thinner than a depth camera resolves

# Vertices at the places of the 68-point scheme, left and right as they lie in the image.
EYE_RIMS: Final = (
    (1507, 1542, 1537, 1528, 1518, 1511),
    (3742, 3751, 3756, 3721, 3725, 3732),
)
NOSE_TIP: Final = 4857
MOUTH_CORNERS: Final = (5708, 6213)
BROWS: Final = ((268, 493, 1914, 2044, 1401), (3615, 4240, 4114, 2734, 2509))
LIPS: Final = (5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841)


@dataclass(frozen=True, slots=True, eq=False)
class HeadModel:
    """The mesh and the ways in which it can be moved.

    Args:
        neutral: (V, 3) float32 mm; x to the person's left, y up, z out of the face.
        triangles: (T, 3) int32.
        identity: (100, V, 3) float32 mm.
        expression: (7, V, 3) float32 mm, in the order of `EXPRESSIONS`.
    """

    neutral: Floats = field(repr=False)
    triangles: Triangles = field(repr=False)
    identity: Floats = field(repr=False)
    expression: Floats = field(repr=False)

    def person(self, weights: Floats) -> Floats:
        """Return (V, 3) mm: a head of the given (100,) identity weights."""
        moved: Floats = self.neutral + np.tensordot(weights, self.identity, 1)
        return moved

    def expressed(self, person: Floats, weights: Floats) -> Floats:
        """Return a head with an expression: (7,) weights from 0 to 1."""
        moved: Floats = person + np.tensordot(weights, self.expression, 1)
        return moved


def load(path: Path) -> HeadModel:
    """Read `ict_facekit_compact.npz`: neutral, tris, identity and one array an expression."""
    with np.load(path, allow_pickle=False) as arrays:
        triangles = arrays["tris"]
        triangles = triangles[(triangles < _END).all(axis=1)]
        return HeadModel(
            neutral=arrays["neutral"][:_END] * np.float32(MM),
            triangles=triangles.astype(np.int32),
            identity=arrays["identity"][:, :_END].astype(np.float32) * np.float32(MM),
            expression=np.stack(
                [arrays[f"expr_{name}"][:_END].astype(np.float32) * MM for name in EXPRESSIONS]
            ).astype(np.float32),
        )


def face_points(head: Floats) -> Floats:
    """Return (5, 3) mm: eyes, nose, mouth corners, in the order of `core.types.Face`."""
    eyes = [head[list(rim)].mean(axis=0) for rim in EYE_RIMS]
    return np.stack([*eyes, head[NOSE_TIP], *head[list(MOUTH_CORNERS)]]).astype(np.float32)


def normals(head: Floats, triangles: Triangles) -> Floats:
    """Return (V, 3) unit normals, each the mean over its triangles by area."""
    corners = head[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = np.stack(
        [
            np.bincount(
                triangles.ravel(), weights=np.repeat(faces[:, axis], 3), minlength=len(head)
            )
            for axis in range(3)
        ],
        axis=1,
    )
    lengths = np.linalg.norm(summed, axis=1, keepdims=True)
    return np.asarray(summed / np.maximum(lengths, 1e-9), dtype=np.float32)
