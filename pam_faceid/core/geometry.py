"""Boxes and alignment: what is computed on coordinates, never on pixels.

Boxes are (N, 4) float32 px: left, top, right, bottom. Points are (5, 2) float32 px, in the order
of `core.types.Face`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.errors import FaceIdError

Boxes = NDArray[np.float32]
Overlap = Callable[[Boxes, Boxes], NDArray[np.float32]]

# Where ArcFace puts the two eyes, the nose and the mouth corners in a crop of 112x112 px.
# Source: InsightFace, `arcface_dst`; every embedder trained on such crops expects these.
ARCFACE_SIDE: Final = 112
ARCFACE_POINTS: Final = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


LEADING_BOXES: Final = 64


def union_overlap(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Return intersection over union of boxes (..., 4) with others; the shapes broadcast."""
    shared = _shared_area(boxes, others, pixel=0)
    overlap: NDArray[np.float32] = shared / (
        _area(boxes, pixel=0) + _area(others, pixel=0) - shared
    )
    return overlap


def smaller_overlap(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Return intersection over the smaller area, counting the last pixel as inside.

    MTCNN judges its final boxes by this: a box around a mouth lies in the box around its face.
    """
    shared = _shared_area(boxes, others, pixel=1)
    areas = np.minimum(_area(boxes, pixel=1), _area(others, pixel=1))
    overlap: NDArray[np.float32] = (shared / areas).astype(np.float32, copy=False)
    return overlap


def suppress(
    boxes: Boxes, order: NDArray[np.intp], *, overlap: Overlap, threshold: float
) -> NDArray[np.intp]:
    """Non-maximum suppression.

    Args:
        boxes: (N, 4).
        order: Indices of the boxes, best first. The caller ranks them, because it knows which of
            two equals goes first, and saturated probabilities are often equal.
        overlap: How much of two boxes is the same.
        threshold: A box that overlaps a better one by more is dropped.

    Returns:
        Indices of the boxes kept, best first.
    """
    kept: list[int] = []
    while order.size:
        # Some at a time: all at once would cost memory by the square of a crowd's candidates.
        leading = order[:LEADING_BOXES]
        covers = overlap(boxes[leading, None], boxes[order]) > threshold  # (leading, order)
        covered = np.zeros(order.size, np.bool_)
        for rank, index in enumerate(leading):
            if not covered[rank]:
                kept.append(index)
                covered |= covers[rank]
        order = order[leading.size :][~covered[leading.size :]]
    return np.array(kept, dtype=np.intp)


def squared(boxes: Boxes) -> Boxes:
    """Return boxes grown around their centres to squares of the longer side."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = sides.max(axis=1, keepdims=True)
    corners = boxes[:, :2] + sides * 0.5 - longest * 0.5
    return np.concatenate([corners, corners + longest], axis=1, dtype=np.float32)


def shifted(boxes: Boxes, regression: NDArray[np.float32], *, pixel: int) -> Boxes:
    """Move each edge of each box by a fraction of the box's side.

    Args:
        boxes, regression: (N, 4).
        pixel: 1 when the last pixel counts as inside, so that sides are one longer.
    """
    sides = boxes[:, 2:] - boxes[:, :2] + pixel
    moved: Boxes = boxes + regression * np.concatenate([sides, sides], axis=1)
    return moved


def similarity(points: NDArray[np.float32], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (2, 3) rotation, scale and shift that best lays points on a target.

    Least squares over both (N, 2) sets of points, without reflection. Writing a point as a complex
    number makes the similarity `z -> a z + b`, for which least squares has a closed form.
    Source: Umeyama 1991, for two dimensions.

    Raises:
        FaceIdError: All points are the same.
    """
    source = points.astype(np.float64) @ (1, 1j)
    wanted = target @ (1, 1j)
    centred = source - source.mean()
    spread = np.vdot(centred, centred).real
    if not spread > 0:
        raise FaceIdError("the points of a face cannot all be the same")
    a = np.vdot(centred, wanted) / spread
    b = wanted.mean() - a * source.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def arcface_alignment(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the (2, 3) matrix that takes an image to its 112x112 aligned face."""
    return similarity(points, np.array(ARCFACE_POINTS))


def with_margin(
    box: Boxes, *, margin: int, side: int, width: int, height: int
) -> tuple[int, int, int, int]:
    """Return the box to cut, px: the face box with a margin, inside the image.

    Args:
        box: (4,).
        margin: Px of margin, both edges together, in the crop after it was resized.
        side: Of that crop, px.
        width, height: Of the image, px.

    Source: facenet-pytorch `extract_face`, whose crops its embedders were trained on.
    """
    across = margin * float(box[2] - box[0]) / (side - margin) / 2
    down = margin * float(box[3] - box[1]) / (side - margin) / 2
    # A box outside the image still gives a pixel: the quality gate refuses it, nothing crashes.
    left = min(int(max(box[0] - across, 0)), width - 1)
    top = min(int(max(box[1] - down, 0)), height - 1)
    right = max(int(min(box[2] + across, width)), left + 1)
    bottom = max(int(min(box[3] + down, height)), top + 1)
    return left, top, right, bottom


def square_around(box: Boxes, *, scale: float, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return left, top and side, px, of the square around a box, moved and shrunk into the image.

    Args:
        box: (4,).
        scale: The square's side over the longer side of the box, where the image has room for it.
        shape: Of the image, height first.
    """
    height, width = shape[:2]
    side = round(scale * float(max(box[2] - box[0], box[3] - box[1])))
    side = min(max(side, 1), height, width)
    left = round(float(box[0] + box[2]) / 2 - side / 2)
    top = round(float(box[1] + box[3]) / 2 - side / 2)
    return min(max(left, 0), width - side), min(max(top, 0), height - side), side


def _area(boxes: Boxes, *, pixel: int) -> NDArray[np.float32]:
    area: NDArray[np.float32] = (boxes[..., 2] - boxes[..., 0] + pixel) * (
        boxes[..., 3] - boxes[..., 1] + pixel
    )
    return area


def _shared_area(boxes: Boxes, others: Boxes, *, pixel: int) -> NDArray[np.float32]:
    corner = np.maximum(boxes[..., :2], others[..., :2])
    sides = np.maximum(np.minimum(boxes[..., 2:], others[..., 2:]) - corner + pixel, 0)
    shared: NDArray[np.float32] = sides[..., 0] * sides[..., 1]
    return shared
