"""Which V4L2 nodes make a depth camera: one of colour, one of 16-bit distances.

The kernel says what a node delivers, not where its lens is: the calibration comes from a file,
whose format docs/depth.md has. Source: the Linux Media Infrastructure userspace API, "Depth data
formats": V4L2_PIX_FMT_Z16 ("Z16 ", 16 bits of distance, little-endian) and V4L2_PIX_FMT_INZI
("INZI", a plane of 10-bit infrared in 16 bits, then a plane of Z16).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.cameras.depth_images import decode_depth_raw
from pam_faceid.adapters.cameras.nodes import CameraInfo
from pam_faceid.core.errors import CameraError
from pam_faceid.core.types import Spectrum

_INFRARED_BITS: Final = 10


def depth_node_of(colour: CameraInfo, cameras: Sequence[CameraInfo]) -> CameraInfo:
    """Return the node of distances that sits in the same device as a colour node.

    Args:
        colour: The node of the pictures.
        cameras: Every node, as `nodes.list_cameras` gives them.

    Raises:
        CameraError: There is none, or several.
    """
    found = [
        camera
        for camera in cameras
        if camera.spectrum is Spectrum.DEPTH and camera.bus == colour.bus
    ]
    if len(found) == 1:
        return found[0]
    everywhere = ", ".join(c.path for c in cameras if c.spectrum is Spectrum.DEPTH)
    raise CameraError(
        f"{colour.path} has {len(found)} nodes of distances beside it on {colour.bus}",
        hint=f"nodes of distances here: {everywhere or 'none'}",
    )


def split_depth(
    data: bytes, *, fourcc: str, width: int, height: int, name: str
) -> tuple[NDArray[np.uint16], NDArray[np.uint8] | None]:
    """Return one buffer of a node as distances, and as infrared where that comes with them.

    Args:
        data: The buffer.
        fourcc: Its format, without trailing spaces.
        width, height: Px.
        name: Of the node, for messages.

    Returns:
        (H, W) uint16, in the node's unit; (H, W) uint8, or None.

    Raises:
        CameraError: The format is not one of distances, or the buffer is of another size.
    """
    if fourcc == "Z16":
        return decode_depth_raw(data, width=width, height=height, name=name), None
    if fourcc == "INZI":
        # Two planes of 16 bits, one below the other.
        planes = decode_depth_raw(data, width=width, height=2 * height, name=name)
        infrared = planes[:height] >> (_INFRARED_BITS - 8)
        return planes[height:], np.minimum(infrared, 255).astype(np.uint8)
    raise CameraError(
        f"{name} gives {fourcc}, which holds no distances", hint="distances are Z16 or INZI"
    )
