"""MTCNN: find faces and their five points, in three stages from coarse to fine.

P-net looks at a pyramid of the whole image, R-net at the candidates, O-net at what is left. Each
stage is a function that takes candidates and returns fewer and better ones.

Source: Zhang et al. 2016, with the pixel conventions of facenet-pytorch 2.6.0, whose weights these
are. The two agree to well under half a pixel; see docs/models.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pam_faceid.adapters.models.resampling import Integral, cut, integral_image, shrink
from pam_faceid.adapters.models.session import open_session
from pam_faceid.core.geometry import (
    Boxes,
    shifted,
    smaller_overlap,
    squared,
    suppress,
    union_overlap,
)
from pam_faceid.core.types import Face

CELL_PX: Final = 12
STRIDE_PX: Final = 2
PYRAMID_FACTOR: Final = 0.709
CROPS_A_RUN: Final = 256


class Mtcnn:
    """A face detector. One instance serves one thread.

    Args:
        pnet, rnet, onet: The three serialised models.
        min_face_px: Smallest face searched for; the cost falls with its square.
        stage_thresholds: Probabilities that the three stages must reach.
        threads: Threads for one run.
        optimise: See `open_session`.
    """

    def __init__(
        self,
        pnet: bytes,
        rnet: bytes,
        onet: bytes,
        *,
        min_face_px: int,
        stage_thresholds: tuple[float, float, float],
        threads: int,
        optimise: bool = False,
    ) -> None:
        def load(model: bytes, name: str) -> ort.InferenceSession:
            return open_session(model, name=name, threads=threads, optimise=optimise)

        self._pnet, self._rnet, self._onet = (
            load(pnet, "pnet"),
            load(rnet, "rnet"),
            load(onet, "onet"),
        )
        self._min_face_px = min_face_px
        self._thresholds = stage_thresholds

    def detect(self, pixels: NDArray[np.uint8]) -> Sequence[Face]:
        """Return every face in (H, W, 3) uint8 RGB, largest first."""
        sums = integral_image(pixels)
        boxes = self._propose(sums)
        if len(boxes):
            boxes = self._refine(sums, boxes)
        if not len(boxes):
            return ()
        boxes, points, scores = self._locate(sums, boxes)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return tuple(Face(boxes[i], points[i], float(scores[i])) for i in np.argsort(-areas))

    def _propose(self, sums: Integral) -> Boxes:
        """First stage: P-net over the pyramid. Returns square candidates."""
        found = []
        for scale in pyramid(sums.shape[0] - 1, sums.shape[1] - 1, self._min_face_px):
            boxes, scores, regression = self._scan(sums, scale)
            kept = suppress(boxes, _first_of_equals(scores), overlap=union_overlap, threshold=0.5)
            found.append((boxes[kept], scores[kept], regression[kept]))
        if not found:
            return np.empty((0, 4), np.float32)
        boxes, scores, regression = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = suppress(boxes, _first_of_equals(scores), overlap=union_overlap, threshold=0.7)
        return squared(shifted(boxes[kept], regression[kept], pixel=0))

    def _scan(
        self, sums: Integral, scale: float
    ) -> tuple[Boxes, NDArray[np.float32], NDArray[np.float32]]:
        """One level of the pyramid: boxes in the image, scores, regression."""
        height, width = (
            int(length * scale + 1) for length in (sums.shape[0] - 1, sums.shape[1] - 1)
        )
        level = shrink(sums, height=height, width=width)
        probability, regression = self._pnet.run(None, {"pixels": level})
        rows, columns = np.nonzero(probability[0, 0] >= self._thresholds[0])
        cells = np.stack([columns, rows], axis=1).astype(np.float32) * STRIDE_PX
        corners = [cells + 1, cells + CELL_PX]
        boxes = np.floor(np.concatenate(corners, axis=1) / np.float32(scale))
        return boxes, probability[0, 0, rows, columns], regression[0, :, rows, columns]

    def _refine(self, sums: Integral, boxes: Boxes) -> Boxes:
        """Second stage: R-net. Returns square candidates."""
        boxes, crops = _crops(sums, boxes, side=24)
        scores, regression = _run(self._rnet, crops)
        passed = scores[:, 0] > self._thresholds[1]
        boxes, scores, regression = boxes[passed], scores[passed, 0], regression[passed]
        kept = suppress(boxes, _first_of_equals(scores), overlap=union_overlap, threshold=0.7)
        return squared(shifted(boxes[kept], regression[kept], pixel=1))

    def _locate(
        self, sums: Integral, boxes: Boxes
    ) -> tuple[Boxes, NDArray[np.float32], NDArray[np.float32]]:
        """Third stage: O-net. Returns boxes, (N, 5, 2) points, scores."""
        boxes, crops = _crops(sums, boxes, side=48)
        scores, regression, places = _run(self._onet, crops)
        passed = scores[:, 0] > self._thresholds[2]
        boxes, scores = boxes[passed], scores[passed, 0]
        sides = boxes[:, 2:] - boxes[:, :2] + 1
        fractions = places[passed].reshape(-1, 2, 5).transpose(0, 2, 1)  # all x, then all y
        points = fractions * sides[:, None] + boxes[:, None, :2] - 1
        boxes = shifted(boxes, regression[passed], pixel=1)
        kept = suppress(boxes, _last_of_equals(scores), overlap=smaller_overlap, threshold=0.7)
        return boxes[kept], points[kept], scores[kept]


def pyramid(height: int, width: int, min_face_px: int) -> list[float]:
    """Return the scales at which P-net's cell of 12 px is a face of min_face_px or more."""
    scale = CELL_PX / min_face_px
    shorter = min(height, width) * scale
    scales = []
    while shorter >= CELL_PX:
        scales.append(scale)
        scale *= PYRAMID_FACTOR
        shorter *= PYRAMID_FACTOR
    return scales


def _first_of_equals(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.argsort(-scores, kind="stable")


def _last_of_equals(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Rank for the last stage, where facenet-pytorch suppresses with code of its own."""
    return np.argsort(scores, kind="stable")[::-1]


def _crops(sums: Integral, boxes: Boxes, *, side: int) -> tuple[Boxes, NDArray[np.float32]]:
    """Cut each box out of the image; boxes that lie outside it are dropped."""
    limits = np.array([sums.shape[1] - 1, sums.shape[0] - 1])
    whole = np.trunc(boxes).astype(np.intp)
    # The convention counts pixels from 1, and the last one as inside.
    regions = np.concatenate([np.maximum(whole[:, :2], 1) - 1, np.minimum(whole[:, 2:], limits)], 1)
    inside = (regions[:, 2:] > regions[:, :2]).all(axis=1)
    return boxes[inside], cut(sums, regions[inside], side=side)


def _run(session: ort.InferenceSession, crops: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Run a net over any number of crops, in batches that keep memory bounded."""
    batches = [
        session.run(None, {"pixels": crops[i : i + CROPS_A_RUN]})
        for i in range(0, max(len(crops), 1), CROPS_A_RUN)
    ]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]
