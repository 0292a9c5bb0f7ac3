"""The nouns of depth: where each pixel is, and how well that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from pam_faceid.core.errors import CameraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pam_faceid.core.types import Frame

UNKNOWN_MM: Final = 0


class DepthKind(str, Enum):
    """How a depth camera measures, which says how it errs."""

    STRUCTURED_LIGHT = "structured_light"  # and stereo: whatever triangulates
    TIME_OF_FLIGHT = "time_of_flight"


@dataclass(frozen=True, slots=True)
class DepthNoise:
    """The standard error of one depth, as its camera has it.

    Triangulating cameras err with the square of the distance, `z**2 * subpixel / (focal *
    baseline)`; a time of flight about in proportion to it. Source: Intel, Best-Known-Methods for
    Tuning RealSense D400; Sarbolandi, Lefloch and Kolb 2015.

    Args:
        kind: How it grows.
        error_mm: At 1 m.
    """

    kind: DepthKind
    error_mm: float

    def at(self, depth_mm: float) -> float:
        """Return mm of standard error at a distance."""
        metres = depth_mm / 1000.0
        if self.kind is DepthKind.STRUCTURED_LIGHT:
            return self.error_mm * metres**2
        return self.error_mm * max(metres, 0.5)


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A camera without distortion.

    Args:
        width, height: Of the image, px.
        focal_x, focal_y: Px.
        centre_x, centre_y: Principal point, px; the middle of the first pixel is 0.
    """

    width: int
    height: int
    focal_x: float
    focal_y: float
    centre_x: float
    centre_y: float


@dataclass(frozen=True, slots=True)
class Extrinsics:
    """From the depth camera's frame to the colour camera's: x right, y down, z away.

    Args:
        rotation: 3 rows of 3.
        translation_mm: Of the depth camera, as the colour camera sees it.
    """

    rotation: tuple[tuple[float, float, float], ...]
    translation_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        rows = self.rotation
        for i, one in enumerate(rows):
            for j, other in enumerate(rows):
                product = sum(a * b for a, b in zip(one, other, strict=True))
                # Written so that NaN is refused.
                if not abs(product - (i == j)) <= 1e-3:
                    raise CameraError(
                        "rotation is none: its rows are not of length 1 and at right angles",
                        hint="copy it from the camera's calibration, row by row",
                    )
        if not all(map(math.isfinite, self.translation_mm)):
            raise CameraError("translation_mm is not finite")


@dataclass(frozen=True, slots=True, eq=False)
class DepthFrame:
    """Colour and depth of one moment, pixel on pixel.

    Args:
        colour: The colour, or infrared, image.
        depth_mm: (H, W) uint16 of the colour's pixels, 0 where unknown.
        intrinsics: Of the colour camera, and so of both.
        noise: Of the depth camera.
        depth_captured_at: Seconds on the clock of `colour.captured_at`.
    """

    colour: Frame
    depth_mm: NDArray[np.uint16] = field(repr=False)
    intrinsics: Intrinsics
    noise: DepthNoise
    depth_captured_at: float
