"""Resize by area, many regions at once, from one integral image.

MTCNN was trained on images resized by area: each output pixel is the mean of the input pixels that
it covers, with whole pixels only (PyTorch's adaptive average pooling). OpenCV's INTER_AREA weighs
the pixels at the edges instead and gives other numbers. Any such mean costs four look-ups in an
integral image, however large the region.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# int32 or float64
Integral = NDArray[Any]
Starts = NDArray[np.intp]


def integral_image(pixels: NDArray[np.uint8]) -> Integral:
    """Return (H + 1, W + 1, 3) sums of all pixels above and to the left."""
    # Above 8.4 million pixels a sum no longer fits 32 bits; float64 is exact far beyond.
    fits = pixels.shape[0] * pixels.shape[1] * 255 < 2**31
    sums = cv2.integral(pixels, sdepth=cv2.CV_32S if fits else cv2.CV_64F)
    return np.asarray(sums, np.int32 if fits else np.float64)


def shrink(sums: Integral, *, height: int, width: int) -> NDArray[np.float32]:
    """Return the whole image resized, (1, 3, height, width) float32, 0 to 255."""
    top, bottom = _windows(np.array([0]), np.array([sums.shape[0] - 1]), height)
    left, right = _windows(np.array([0]), np.array([sums.shape[1] - 1]), width)
    rows = sums.take(bottom[0], axis=0) - sums.take(top[0], axis=0)
    totals = rows.take(right[0], axis=1) - rows.take(left[0], axis=1)  # (height, width, 3)
    areas = (bottom - top)[0, :, None] * (right - left)[0, None, :]
    return _planes(totals[None], areas[None])


def cut(sums: Integral, boxes: NDArray[np.intp], *, side: int) -> NDArray[np.float32]:
    """Return regions resized to squares, (N, 3, side, side) float32, 0 to 255.

    Args:
        sums: From `integral_image`.
        boxes: (N, 4) px inside the image: left, top, right, bottom; right and bottom excluded.
        side: Px.
    """
    left, right = _windows(boxes[:, 0], boxes[:, 2], side)
    top, bottom = _windows(boxes[:, 1], boxes[:, 3], side)
    stride = sums.shape[1]
    flat = sums.reshape(-1, 3)

    def corner(y: Starts, x: Starts) -> Integral:
        found: Integral = flat.take(y[:, :, None] * stride + x[:, None, :], axis=0)
        return found

    totals = corner(bottom, right)
    totals -= corner(top, right)
    totals -= corner(bottom, left)
    totals += corner(top, left)
    return _planes(totals, (bottom - top)[:, :, None] * (right - left)[:, None, :])


def _windows(start: Starts, stop: Starts, count: int) -> tuple[Starts, Starts]:
    """Divide [start, stop) into `count` windows of whole pixels; neighbours may share one."""
    lengths = (stop - start)[:, None]
    steps = np.arange(count)
    first = start[:, None] + steps * lengths // count
    last = start[:, None] - (-(steps + 1) * lengths // count)
    return first, last


def _planes(totals: Integral, areas: Starts) -> NDArray[np.float32]:
    """Divide (N, h, w, 3) sums by (N, h, w) areas, and put the channels first."""
    planes = np.empty((totals.shape[0], 3, *totals.shape[1:3]), np.float32)
    divisors = areas[:, None].astype(np.float32)
    # Unsafe by numpy's rules: a sum above 2**24 loses what a float32 mean cannot hold either.
    np.divide(
        totals.transpose(0, 3, 1, 2), divisors, out=planes, dtype=np.float32, casting="unsafe"
    )
    return planes
