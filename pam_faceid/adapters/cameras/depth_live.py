"""Two V4L2 nodes as one depth camera: pictures from the one, distances from the other.

Frames are paired by the time at which the driver says that they were taken. Where the lenses are
comes from a file; see `rig`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.cameras.depth_nodes import depth_node_of, split_depth
from pam_faceid.adapters.cameras.nodes import CameraInfo, find_camera, list_cameras
from pam_faceid.adapters.cameras.pairing import MOST_APART_SECONDS, Pairing
from pam_faceid.adapters.cameras.rig import Rig
from pam_faceid.adapters.cameras.v4l2 import cannot_start, open_node, pixel_format_for
from pam_faceid.adapters.cameras.virtual import refuse_virtual
from pam_faceid.core.camera_settings import AUTO
from pam_faceid.core.config import CameraConfig
from pam_faceid.core.depth_frames import DepthFrame
from pam_faceid.core.errors import CameraError
from pam_faceid.core.types import Spectrum

PATIENCE_SECONDS: Final = 1.0  # with depth that cannot be believed, while a camera settles
_MOST_SKIPPED: Final = 30  # frames of one node, while the other one catches up
_DISTANCES: Final = ("Z16", "INZI")

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True, eq=False)
class Taken(Generic[T]):
    """One image of one node.

    Args:
        image: What it gave.
        seconds: When it was taken, monotonic.
    """

    image: T = field(repr=False)
    seconds: float


class DepthNodes:
    """Implements `DepthSource`. Opens the nodes when frames are first asked for.

    Args:
        config: `[camera]`: `device` and `depth`.
        rig: What the two are.
    """

    def __init__(self, config: CameraConfig, rig: Rig) -> None:
        self._config = config
        self._rig = rig
        self._open: list[cv2.VideoCapture] = []

    @property
    def is_recording(self) -> bool:
        """Never; whether a virtual camera plays one is `CameraInfo.is_virtual`."""
        return False

    def depth_frames(self) -> Iterator[DepthFrame]:
        """Yield frames until `close`.

        Raises:
            CameraError: A node is not there, busy, silent, vanished, virtual and not allowed, of
                another size than the calibration; or for `PATIENCE_SECONDS` nothing came that
                `Pairing` believes.
        """
        colour, depth = find_nodes(self._config)
        try:
            picture = self._start_colour(colour)
            distances = self._start_depth(depth)
            for _ in range(self._config.warm_up_frames):
                picture()
            pairing = Pairing(self._rig)

            def make(one: Taken[NDArray[np.uint8]], other: Taken[NDArray[np.uint16]]) -> DepthFrame:
                return pairing.pair(
                    one.image,
                    other.image,
                    colour_seconds=one.seconds,
                    depth_seconds=other.seconds,
                    name=depth.path,
                    origin=colour.path,
                )

            for frame in believed(together(picture, distances), make, clock=time.monotonic):
                yield frame
                if not self._open:
                    return
        finally:
            self.close()

    def close(self) -> None:
        """Release both nodes. Safe to call twice, and between two frames."""
        while self._open:
            self._open.pop().release()

    def _start_colour(self, camera: CameraInfo) -> Callable[[], Taken[NDArray[np.uint8]]]:
        lens = self._rig.colour
        code = pixel_format_for(camera, self._config, spectrum=camera.spectrum)
        capture = self._start(camera, width=lens.width, height=lens.height, code=code)

        def read() -> Taken[NDArray[np.uint8]]:
            image, seconds = _read(capture, camera)
            if image.shape[:2] != (lens.height, lens.width):
                raise _other_size(camera, image.shape[1], image.shape[0], lens.width, lens.height)
            kind = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
            return Taken(np.asarray(cv2.cvtColor(image, kind), dtype=np.uint8), seconds)

        return read

    def _start_depth(self, camera: CameraInfo) -> Callable[[], Taken[NDArray[np.uint16]]]:
        lens = self._rig.depth_lens
        offered = [pixel_format.fourcc for pixel_format in camera.formats]
        code = next((one for one in _DISTANCES if one in offered), None)
        if code is None:
            raise CameraError(
                f"{camera.path} has no format of distances but {', '.join(offered)}",
                hint=f"one of {', '.join(_DISTANCES)} is needed",
            )
        # OpenCV has no picture to make of them, and gives the buffer as it is.
        capture = self._start(
            camera,
            *(cv2.CAP_PROP_CONVERT_RGB, 0),
            width=lens.width,
            height=lens.height,
            code=code,
        )

        def read() -> Taken[NDArray[np.uint16]]:
            buffer, seconds = _read(capture, camera)
            distances, _ = split_depth(
                buffer.tobytes(),
                fourcc=code,
                width=lens.width,
                height=lens.height,
                name=camera.path,
            )
            return Taken(distances, seconds)

        return read

    def _start(
        self, camera: CameraInfo, *more: int, width: int, height: int, code: str | None
    ) -> cv2.VideoCapture:
        wanted = [
            *more,
            *((cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*code.ljust(4))) if code else ()),
            *(cv2.CAP_PROP_FRAME_WIDTH, width),
            *(cv2.CAP_PROP_FRAME_HEIGHT, height),
        ]
        capture, _ = open_node(camera, wanted, allow_virtual=self._config.allow_virtual)
        self._open.append(capture)
        return capture


def find_nodes(config: CameraConfig) -> tuple[CameraInfo, CameraInfo]:
    """Return the node of pictures and the node of distances that a configuration means.

    Raises:
        CameraError: One is not there or not of its kind, or virtual and not allowed.
    """
    colour = find_camera(config.device)
    if colour.spectrum is Spectrum.DEPTH:
        raise CameraError(
            f"{colour.path} gives distances, not pictures",
            hint="name the colour node of the same camera as [camera] device",
        )
    if config.depth == AUTO:
        depth = depth_node_of(colour, list_cameras())
    else:
        depth = find_camera(config.depth)
    judge_nodes(colour, depth, allow_virtual=config.allow_virtual)
    return colour, depth


def judge_nodes(colour: CameraInfo, depth: CameraInfo, *, allow_virtual: bool) -> None:
    """Refuse a node of distances that is none, and virtual ones that are not allowed.

    Raises:
        CameraError: See `find_nodes`.
    """
    if depth.spectrum is not Spectrum.DEPTH:
        raise CameraError(
            f"{depth.path} ({depth.card}) gives pictures, not distances",
            hint='name a node that offers Z16 or INZI in [camera] depth, or "auto"',
        )
    for camera in (colour, depth):
        refuse_virtual(camera, allowed=allow_virtual)


def together(
    picture: Callable[[], Taken[T]], distances: Callable[[], Taken[U]]
) -> Iterator[tuple[Taken[T], Taken[U]]]:
    """Yield images of one moment; whichever is behind is read again until it has caught up.

    A node that never does is not waited for: what it gives is yielded, to be refused by its time.
    """
    one, other, skipped = picture(), distances(), 0
    while True:
        behind = one.seconds - other.seconds
        # Written so that NaN is never of one moment.
        if abs(behind) <= MOST_APART_SECONDS / 2 or skipped >= _MOST_SKIPPED:
            yield one, other
            one, other, skipped = picture(), distances(), 0
            continue
        skipped += 1
        if behind > 0:
            other = distances()
        else:
            one = picture()


def believed(
    taken: Iterator[tuple[Taken[T], Taken[U]]],
    make: Callable[[Taken[T], Taken[U]], DepthFrame],
    *,
    clock: Callable[[], float],
) -> Iterator[DepthFrame]:
    """Yield what can be made of the images, and pass over what cannot, but not for long.

    Raises:
        CameraError: What `make` raised for `PATIENCE_SECONDS`.
    """
    good_at = clock()
    for one, other in taken:
        try:
            frame = make(one, other)
        except CameraError:
            if not clock() - good_at < PATIENCE_SECONDS:
                raise
            continue
        yield frame
        good_at = clock()


def _read(capture: cv2.VideoCapture, camera: CameraInfo) -> tuple[NDArray[np.uint8], float]:
    found, image = capture.read()
    if not found:
        raise cannot_start(camera)
    seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
    # A driver without a clock says 0; then the moment of reading has to do.
    known = math.isfinite(seconds) and seconds > 0
    return np.asarray(image), seconds if known else time.monotonic()


def _other_size(camera: CameraInfo, *sizes: int) -> CameraError:
    width, height, wanted_width, wanted_height = sizes
    return CameraError(
        f"{camera.path} gives {width} x {height} px; its calibration is for {wanted_width} x"
        f" {wanted_height}",
        hint="calibrate it at a size that it gives: v4l2-ctl --list-formats-ext",
    )
