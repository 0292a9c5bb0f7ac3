"""One image file's bytes, whoever made them, become RGB pixels or a clear refusal."""

from __future__ import annotations

import struct
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.errors import CameraError

MAX_SIDE_PX: Final = 10_000
MAX_PIXELS: Final = 40_000_000
LONGER_SIDE_PX: Final = 1280  # a face that fills a tenth of it still exceeds the embedders' 112 px

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_SOF_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HEIF_BRANDS: Final = (b"heic", b"heix", b"mif1", b"msf1", b"avif")


def decode_image(data: bytes, *, name: str) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, WebP, BMP or PNM image.

    Turned as its EXIF orientation says, 16 bits a channel scaled to 8, grey repeated on three
    channels, transparency dropped (the colours under it are kept), and shrunk so that the longer
    side is at most `LONGER_SIDE_PX`.

    Args:
        data: The whole file.
        name: The file's name, for messages.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        CameraError: It is empty, not such an image, larger than `MAX_SIDE_PX` or `MAX_PIXELS`, or
            damaged.
    """
    if not data:
        raise CameraError(f"{name} is empty (0 bytes)", hint="copy the image again")
    size = image_size(data)
    if size is None:
        raise CameraError(f"{name} is not an image{_guess(data)}", hint="use JPEG, PNG or WebP")
    width, height = size
    check_size(width, height, name=name)
    # Orientation is applied, and 16 bits are reduced to 8, by every mode but the UNCHANGED ones.
    bgr = _imdecode(data)
    if bgr is None:
        raise CameraError(f"{name} is damaged or incomplete", hint="copy the image again")
    return shrink(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8))


def decode_exactly(data: bytes, *, width: int, height: int, name: str) -> NDArray[np.uint8]:
    """Decode an image whose pixels mean places: neither turned by EXIF nor shrunk.

    Args:
        data: The whole file.
        width, height: That it must have, px.
        name: The file's name, for messages.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        CameraError: It is no image, of another size, or damaged.
    """
    size = image_size(data)
    if size is None:
        raise CameraError(f"{name} is not an image", hint="use JPEG or PNG")
    if size != (width, height):
        raise CameraError(
            f"{name} is {size[0]} x {size[1]} px; recording.json says {width} x {height}",
            hint="check width and height under colour",
        )
    bgr = _imdecode(data, flags=cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None or bgr.shape[:2] != (height, width):
        raise CameraError(f"{name} is damaged or incomplete", hint="copy the image again")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def check_size(width: int, height: int, *, name: str) -> None:
    """Refuse an image that would take gigabytes to decode.

    Raises:
        CameraError: A side is 0 or above `MAX_SIDE_PX`, or the area is above `MAX_PIXELS`.
    """
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise CameraError(
            f"{name} is {width} x {height} px; a side has 1 to {MAX_SIDE_PX}",
            hint="scale it to about 1280 px",
        )
    if width * height > MAX_PIXELS:
        raise CameraError(
            f"{name} is {width} x {height} px; at most {MAX_PIXELS // 1_000_000} megapixels",
            hint="scale it to about 1280 px",
        )


def shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale down by area so that the longer side is at most `LONGER_SIDE_PX`; never up."""
    height, width = pixels.shape[:2]
    scale = LONGER_SIDE_PX / max(width, height)
    if scale >= 1.0:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def image_size(data: bytes) -> tuple[int, int] | None:
    """Read (width, height) off the header, before orientation; None when it is no known image.

    Decodes nothing. Sources: ITU-T T.81 B.2.2 (JPEG), PNG 11.2.2, RFC 9649 (WebP), BITMAPINFOHEADER
    (BMP), netpbm's ppm(5).
    """
    try:
        return _read_size(data)
    except struct.error:  # the header is cut off
        return None


def _read_size(data: bytes) -> tuple[int, int] | None:
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    if data.startswith(_PNG) and data[12:16] == b"IHDR":
        return _pair(struct.unpack_from(">II", data, 16))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_size(data)
    if data.startswith(b"BM"):
        width, height = _pair(struct.unpack_from("<ii", data, 18))
        return width, abs(height)  # a negative height means that the top row comes first
    if data[:1] == b"P" and data[1:2] in b"123456":
        return _pnm_size(data)
    return None


def _imdecode(data: bytes, *, flags: int = cv2.IMREAD_COLOR) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _pair(values: tuple[Any, ...]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _SOF_MARKERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if kind == b"VP8 ":
        width, height = _pair(struct.unpack_from("<HH", data, 26))
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _pnm_size(data: bytes) -> tuple[int, int] | None:
    lines = (line.split(b"#", 1)[0] for line in data[2:1024].splitlines())
    numbers = b" ".join(lines).split()[:2]
    if len(numbers) < 2 or not all(number.isdigit() for number in numbers):
        return None
    return int(numbers[0]), int(numbers[1])


def _guess(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return " (HEIF or AVIF: convert it)" if data[8:12] in _HEIF_BRANDS else " but a video"
    if data.startswith((b"II*\0", b"MM\0*")):
        return " of a kind that is read here (TIFF)"
    if data.startswith(b"GIF8"):
        return " of a kind that is read here (GIF)"
    return ""
