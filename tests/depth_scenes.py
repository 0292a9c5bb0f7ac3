"""A head and sheets of paper before a depth camera, from formulas: no research data is needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.depth_frames import DepthFrame, DepthKind, DepthNoise, Intrinsics
from pam_faceid.core.types import Face, Frame

FOCAL = 580.0
WIDTH, HEIGHT = 320, 320
LENS = Intrinsics(WIDTH, HEIGHT, FOCAL, FOCAL, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
NOISE = DepthNoise(DepthKind.STRUCTURED_LIGHT, 1.4)
# Eyes, nose and mouth corners, mm from the nose; y down.
FACE_MM = np.array([[-31.5, -35.0], [31.5, -35.0], [0.0, 0.0], [-26.0, 36.0], [26.0, 36.0]])

Height = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def head(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height in mm over the plane behind an ellipsoid with a nose."""
    inside = np.maximum(1 - (x / 78) ** 2 - ((y - 5) / 115) ** 2, 0)
    return 95 * np.sqrt(inside) + 22 * np.exp(-((x / 13) ** 2) - ((y + 4) / 20) ** 2)


def flat(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.3 * x + 0.2 * y


def rolled(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Paper around a tube of 80 mm."""
    return 80 * np.sqrt(np.maximum(1 - (x / 100) ** 2, 0)) + 0 * y


def scene(surface: Height, *, distance_mm: float = 500.0, seed: int = 1) -> NDArray[np.uint16]:
    """Depth of a surface whose nose is `distance_mm` away, with the noise of `NOISE`."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    scale = distance_mm / FOCAL
    x, y = (columns - LENS.centre_x) * scale, (rows - LENS.centre_y) * scale
    top = float(surface(np.zeros(1), np.zeros(1))[0])
    depth = distance_mm + top - surface(x, y)
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal(depth.shape), (0, 0), 1.2)
    depth += noise / noise.std() * NOISE.at(distance_mm)
    return np.rint(depth).astype(np.uint16)


def face_at(distance_mm: float = 500.0, *, scale: float = 1.0) -> Face:
    """The face of `scene`; `scale` prints it larger or smaller."""
    points = FACE_MM * scale * FOCAL / distance_mm + (LENS.centre_x, LENS.centre_y)
    return Face(np.array([0, 0, 1, 1], np.float32), points.astype(np.float32), 1.0)


def frame_of(depth_mm: NDArray[np.uint16]) -> DepthFrame:
    pixels = np.full((*depth_mm.shape, 3), 128, np.uint8)
    return DepthFrame(Frame(pixels, 0.0), depth_mm, LENS, NOISE, 0.0)


def lens(width: int = 64, height: int = 48, focal: float = 60.0) -> dict[str, float]:
    return {
        "width": width,
        "height": height,
        "focal_x": focal,
        "focal_y": focal,
        "centre_x": (width - 1) / 2,
        "centre_y": (height - 1) / 2,
    }


def about(frames: int = 1, **changes: Any) -> dict[str, Any]:
    """recording.json of frames named 0.png, 0.depth.png and so on."""
    return {
        "format": "pam_faceid-depth",
        "version": 1,
        "unit": "mm",
        "registered": True,
        "colour": lens(),
        "noise": {"kind": "structured_light", "error_mm": 1.4},
        "frames": [
            {
                "colour": f"{n}.png",
                "depth": f"{n}.depth.png",
                "colour_seconds": n / 30,
                "depth_seconds": n / 30,
            }
            for n in range(frames)
        ],
        **changes,
    }


def stored_depth(seed: int = 0) -> NDArray[np.uint16]:
    """(48, 64) mm around half a metre, some unknown."""
    depth = 500 + np.random.default_rng(seed).integers(0, 40, (48, 64))
    depth[:4] = 0
    return depth.astype(np.uint16)


def write_recording(folder: Path, frames: int = 1, **changes: Any) -> Path:
    """Write a whole recording; returns the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "recording.json").write_text(json.dumps(about(frames, **changes)))
    for n in range(frames):
        colour = np.full((48, 64, 3), (10, 20, 30 + n), np.uint8)
        cv2.imwrite(str(folder / f"{n}.png"), colour)
        cv2.imwrite(str(folder / f"{n}.depth.png"), stored_depth(n))
    return folder


def write_calibration(folder: Path, **changes: Any) -> Path:
    """Write the calibration of two nodes; what is changed to None is left out."""
    told = {
        key: value
        for key, value in about(**changes).items()
        if key not in ("format", "version", "frames") and value is not None
    }
    path = folder / "depth.json"
    path.write_text(json.dumps(told))
    path.chmod(0o644)
    return path


def before_a_lens(
    face: Face,
    shape: tuple[int, ...],
    surface: Height,
    *,
    distance_mm: float = 500.0,
    seed: int = 1,
) -> tuple[NDArray[np.uint16], Intrinsics]:
    """Depth of a surface where a picture shows a face, and the lens through which it fits.

    Eyes that are 63 mm apart are `distance_mm` away; what is not face is 400 mm behind.
    """
    height, width = shape[:2]
    nose = face.points[2].astype(np.float64)
    mm_per_px = 63.0 / float(np.linalg.norm(face.points[1] - face.points[0]))
    rows, columns = np.mgrid[:height, :width]
    x, y = (columns - nose[0]) * mm_per_px, (rows - nose[1]) * mm_per_px
    top = float(surface(np.zeros(1), np.zeros(1))[0])
    depth = distance_mm + top - surface(x, y)
    depth[(x / 90) ** 2 + (y / 130) ** 2 > 1] = distance_mm + 400
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal(depth.shape), (0, 0), 1.2)
    depth += noise / noise.std() * NOISE.at(distance_mm)
    focal = distance_mm / mm_per_px
    lens = Intrinsics(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
    return np.rint(depth).astype(np.uint16), lens


def write_shown(
    folder: Path,
    pixels: NDArray[np.uint8],
    face: Face,
    surface: Height,
    *,
    frames: int = 1,
    **changes: Any,
) -> Path:
    """Write a recording that shows a picture with the depth of a surface where its face is.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    folder.mkdir(exist_ok=True)
    told = about(frames)
    _, made = before_a_lens(face, pixels.shape, surface)
    for n in range(frames):
        depth, _ = before_a_lens(face, pixels.shape, surface, seed=n)
        cv2.imwrite(str(folder / f"{n}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(folder / f"{n}.depth.png"), depth)
    told["colour"] = {
        **lens(made.width, made.height, made.focal_x),
        "centre_x": made.centre_x,
        "centre_y": made.centre_y,
    }
    (folder / "recording.json").write_text(json.dumps({**told, **changes}))
    return folder
