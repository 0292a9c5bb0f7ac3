"""A colour image and a depth image become one frame, or a clear refusal.

What every depth camera can get wrong is refused here, for recordings and live ones alike.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.cameras.depth_images import known_depth
from pam_faceid.adapters.cameras.rig import Rig
from pam_faceid.core.depth_frames import DepthFrame, Intrinsics
from pam_faceid.core.errors import CameraError
from pam_faceid.core.registration import register
from pam_faceid.core.types import Frame

# Colour and depth of cameras that are not triggered together are up to a frame apart, at 30 a
# second; a hand moves some centimetres in it.
MOST_APART_SECONDS: Final = 0.050
# A sensor's noise never gives the same image twice.
FROZEN_AFTER: Final = 2


class Pairing:
    """Makes frames of a stream. Remembers the last depth, to see that it changes.

    Args:
        rig: What the cameras are.
        turned: Degrees, clockwise, to turn both by.
    """

    def __init__(self, rig: Rig, *, turned: int = 0) -> None:
        self._rig = rig
        self._turned = turned
        self._seen: int | None = None
        self._repeated = 1

    def pair(
        self,
        colour: NDArray[np.uint8],
        depth: NDArray[np.uint16],
        *,
        colour_seconds: float,
        depth_seconds: float,
        name: str,
        origin: str,
    ) -> DepthFrame:
        """Return both as one upright frame.

        Args:
            colour: (H, W, 3) uint8 RGB, as the rig's colour camera gives it.
            depth: (h, w) uint16, as its depth camera gives it.
            colour_seconds, depth_seconds: When they were taken, on one clock.
            name: Of the depth, for messages.
            origin: Of the frame.

        Raises:
            CameraError: They are from different moments, the depth stands still, is all unknown or
                not in mm.
        """
        apart = abs(colour_seconds - depth_seconds)
        # Written so that NaN is refused.
        if not apart <= MOST_APART_SECONDS:
            raise CameraError(
                f"{name} was taken {apart:.3f} s from the colour beside it; at most "
                f"{MOST_APART_SECONDS} s may lie between",
                hint="compare colour_seconds and depth_seconds; let one trigger start both cameras",
            )
        # First: where nothing is known, nothing changes either.
        known = known_depth(depth, unknown=self._rig.unknown, name=name)
        self._refuse_frozen(depth, name=name)
        lens = self._rig.colour.intrinsics()
        extrinsics = self._rig.extrinsics()
        if extrinsics is not None:
            known = register(
                known,
                depth=self._rig.depth_lens.intrinsics(),
                colour=lens,
                extrinsics=extrinsics,
            )
            if not known.any():
                raise CameraError(
                    f"{name}: no depth falls into the colour image",
                    hint="check depth_to_colour: its direction, and millimetres, not metres",
                )
        quarters = self._turned // 90
        return DepthFrame(
            colour=Frame(
                pixels=np.ascontiguousarray(np.rot90(colour, -quarters)),
                captured_at=colour_seconds,
                origin=origin,
            ),
            depth_mm=np.ascontiguousarray(np.rot90(known, -quarters)),
            intrinsics=turned(lens, quarters=quarters),
            noise=self._rig.depth_noise(),
            depth_captured_at=depth_seconds,
        )

    def _refuse_frozen(self, depth: NDArray[np.uint16], *, name: str) -> None:
        seen = zlib.crc32(depth.tobytes())
        self._repeated = self._repeated + 1 if seen == self._seen else 1
        self._seen = seen
        if self._repeated >= FROZEN_AFTER:
            raise CameraError(
                f"{name} is the depth before it, to the last bit: the camera stands still",
                hint="plug it out and in again; a recording must hold every depth once",
            )


def turned(lens: Intrinsics, *, quarters: int) -> Intrinsics:
    """Return the intrinsics of an image that was turned clockwise by quarters of a turn."""
    for _ in range(quarters % 4):
        lens = Intrinsics(
            width=lens.height,
            height=lens.width,
            focal_x=lens.focal_y,
            focal_y=lens.focal_x,
            centre_x=lens.height - 1 - lens.centre_y,
            centre_y=lens.centre_x,
        )
    return lens
