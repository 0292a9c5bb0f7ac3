"""One depth file's bytes, whoever made them, become millimetres or a clear refusal."""

from __future__ import annotations

import struct
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.cameras.images import image_size
from pam_faceid.core.depth_frames import UNKNOWN_MM
from pam_faceid.core.errors import CameraError

# Nothing lies nearer to a depth camera than some centimetres: what does is in other units.
NEAREST_MM: Final = 60
_BYTES: Final = 2


def decode_depth_png(data: bytes, *, width: int, height: int, name: str) -> NDArray[np.uint16]:
    """Decode a grey PNG of 16 bits.

    Args:
        data: The whole file.
        width, height: That it must have, px.
        name: The file's name, for messages.

    Returns:
        (height, width) uint16, as stored.

    Raises:
        CameraError: It is no such PNG, of another size, or damaged.
    """
    size = image_size(data)
    if size is None or not data.startswith(b"\x89PNG") or len(data) < 26:
        raise CameraError(f"{name} is not a PNG", hint="store depth as PNG or as raw numbers")
    depth, colour = struct.unpack_from(">BB", data, 24)
    if (depth, colour) != (16, 0):
        raise CameraError(
            f"{name} has {depth} bits a channel and PNG colour type {colour}; depth is grey "
            "(type 0) of 16 bits",
            hint="a picture of depth, coloured or of 8 bits, has lost the millimetres",
        )
    _check_size(size, (width, height), name=name)
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        decoded = None
    if decoded is None or decoded.dtype != np.uint16 or decoded.shape != (height, width):
        raise CameraError(f"{name} is damaged or incomplete", hint="copy the file again")
    return np.asarray(decoded, dtype=np.uint16)


def decode_depth_raw(data: bytes, *, width: int, height: int, name: str) -> NDArray[np.uint16]:
    """Read little-endian 16-bit numbers, row after row.

    Raises:
        CameraError: There are not exactly width * height of them.
    """
    if len(data) != width * height * _BYTES:
        raise CameraError(
            f"{name} has {len(data)} bytes; {width} x {height} depths of 16 bits are "
            f"{width * height * _BYTES}",
            hint="check width and height under depth, or colour, in recording.json",
        )
    return np.frombuffer(data, "<u2").reshape(height, width).astype(np.uint16)


def known_depth(stored: NDArray[np.uint16], *, unknown: int, name: str) -> NDArray[np.uint16]:
    """Return stored depth with 0 where nothing is known.

    Args:
        stored: (H, W) uint16.
        unknown: What the file has where nothing is known; 0 always means that too.
        name: The file's name, for messages.

    Raises:
        CameraError: Nothing is known, or the numbers cannot be millimetres.
    """
    depth = np.where(stored == unknown, UNKNOWN_MM, stored).astype(np.uint16)
    known = depth[depth != UNKNOWN_MM]
    if not known.size:
        raise CameraError(
            f"{name} has no known depth: every number is 0 or {unknown}, which mean unknown",
            hint="record it again; nothing was within the camera's reach",
        )
    middle = float(np.median(known))
    if not middle >= NEAREST_MM:
        raise CameraError(
            f"{name} has a median of {middle:g}: such numbers are not millimetres",
            hint="multiply metres by 1000 before storing them as 16-bit numbers",
        )
    return depth


def _check_size(found: tuple[int, int], wanted: tuple[int, int], *, name: str) -> None:
    if found != wanted:
        raise CameraError(
            f"{name} is {found[0]} x {found[1]} px; recording.json says {wanted[0]} x {wanted[1]}",
            hint="check width and height under depth, or colour",
        )
