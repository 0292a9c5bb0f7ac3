"""A RealSense through its maker's package, pyrealsense2, where that is installed.

Never run on a device by us: see docs/depth.md. Its package is optional, and an import of it starts
threads, so it happens where frames are first asked for. Source: librealsense, `pipeline`, `align`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from pam_faceid.adapters.cameras.pairing import Pairing
from pam_faceid.adapters.cameras.rig import Lens, Noise, Rig
from pam_faceid.core.depth_frames import DepthFrame, DepthKind
from pam_faceid.core.errors import CameraError

WIDTH: Final = 640
HEIGHT: Final = 480
FRAMES_PER_SECOND: Final = 30
WAIT_MS: Final = 5000
# z**2 * 0.08 px / (focal * baseline) at 1 m, for a D435 of 380 px and 50 mm; as `DepthNoise`.
ERROR_MM: Final = 4.2


class RealSense:
    """Implements `DepthSource`.

    Args:
        serial: Of the device; empty for the only one.
    """

    def __init__(self, serial: str = "") -> None:
        self._serial = serial
        self._pipeline: Any = None

    @property
    def is_recording(self) -> bool:
        """Never."""
        return False

    def depth_frames(self) -> Iterator[DepthFrame]:
        """Yield frames until `close`, depth registered to colour by the package.

        Raises:
            CameraError: The package or the device is missing, or silent, or gives what cannot be
                believed; see `Pairing`.
        """
        rs = _package()
        settings = rs.config()
        if self._serial:
            settings.enable_device(self._serial)
        settings.enable_stream(rs.stream.color, WIDTH, HEIGHT, rs.format.rgb8, FRAMES_PER_SECOND)
        settings.enable_stream(rs.stream.depth, WIDTH, HEIGHT, rs.format.z16, FRAMES_PER_SECOND)
        self._pipeline = rs.pipeline()
        try:
            profile = self._pipeline.start(settings)
            unit_mm = profile.get_device().first_depth_sensor().get_depth_scale() * 1000.0
            align = rs.align(rs.stream.color)
            pairing: Pairing | None = None
            while self._pipeline is not None:
                taken = self._pipeline.wait_for_frames(WAIT_MS)
                aligned = align.process(taken)
                colour, depth = aligned.get_color_frame(), aligned.get_depth_frame()
                if pairing is None:
                    pairing = Pairing(_rig(colour.profile.as_video_stream_profile().intrinsics))
                counted = np.asanyarray(depth.get_data()).astype(np.float64)
                yield pairing.pair(
                    np.array(colour.get_data(), np.uint8),
                    np.rint(np.clip(counted * unit_mm, 0, 65535)).astype(np.uint16),
                    colour_seconds=colour.get_timestamp() / 1000.0,
                    depth_seconds=depth.get_timestamp() / 1000.0,
                    name="the RealSense",
                    origin=f"realsense {self._serial}".strip(),
                )
        # The package raises RuntimeError for whatever the device does.
        except RuntimeError as error:
            raise CameraError(
                f"the RealSense gave no frame: {error}", hint="plug it into a USB 3 port"
            ) from error
        finally:
            self.close()

    def close(self) -> None:
        """Release the device. Safe to call twice, and between two frames."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            try:
                pipeline.stop()
            except RuntimeError:  # it had not started
                return


def _package() -> Any:  # noqa: ANN401 (it has no types)
    try:
        import pyrealsense2  # noqa: PLC0415
    except ImportError as error:
        raise CameraError(
            "a RealSense needs the package pyrealsense2, which is not installed",
            hint="pip install 'pam_faceid[realsense]' in the environment of pam_faceid",
        ) from error
    return pyrealsense2


def _rig(lens: Any) -> Rig:  # noqa: ANN401
    return Rig(
        unit="mm",
        registered=True,
        colour=Lens(
            width=lens.width,
            height=lens.height,
            focal_x=lens.fx,
            focal_y=lens.fy,
            centre_x=lens.ppx,
            centre_y=lens.ppy,
        ),
        noise=Noise(kind=DepthKind.STRUCTURED_LIGHT, error_mm=ERROR_MM),
    )
