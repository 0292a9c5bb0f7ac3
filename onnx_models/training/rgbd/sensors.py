"""What a depth camera makes of the truth: noise, steps, holes.

Structured light and stereo triangulate: an error of a share of a pixel in disparity is an error in
depth that grows with z**2 / (focal * baseline), smeared by the matching window; behind an edge,
what the projector cannot light is unknown. Sources: Khoshelham and Oude Elberink, Sensors 12, 2012
(Kinect: 1.4 mm at 1 m, steps of 2.8 mm); Intel, Best-Known-Methods for Tuning RealSense D400 (RMS
error = z**2 * subpixel / (focal * baseline), subpixel 0.05 to 0.1).

Time of flight counts light: an error of its own in each pixel that grows with distance and with how
dark the surface is; light that came a second way lengthens the path (some mm, slowly changing over
the image); an edge mixes near and far. Sources: Sarbolandi, Lefloch and Kolb, Computer Vision and
Image Understanding 139, 2015 (Kinect v2: 1 to 3 mm below 1.5 m).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from onnx_models.training.rgbd.raster import Pinhole

Floats = NDArray[np.float32]
Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class DepthSensor:
    """One camera.

    Args:
        kind: How it measures.
        baseline_mm: Of a triangulating one: projector to camera.
        subpixel: Of a triangulating one: standard error of a disparity, px at 580 px of focal.
        step_subpixel: Of a triangulating one: disparities are multiples of this.
        error_mm: Of a time of flight: standard error at 1 m on a surface of reflectance 0.5.
        multipath_mm: Of a time of flight: standard deviation of the slow error.
    """

    kind: Literal["structured_light", "time_of_flight"]
    baseline_mm: float = 0.0
    subpixel: float = 0.0
    step_subpixel: float = 0.0
    error_mm: float = 0.0
    multipath_mm: float = 0.0

    def error_at(self, depth_mm: Floats, *, focal_px: float) -> Floats:
        """Return the standard error in mm of each depth."""
        if self.kind == "structured_light":
            grown: Floats = depth_mm**2 * self.subpixel / (focal_px * self.baseline_mm)
            return grown
        counted: Floats = self.error_mm * np.maximum(depth_mm / 1000.0, 0.5)
        return counted


KINECT = DepthSensor("structured_light", baseline_mm=75.0, subpixel=0.062, step_subpixel=0.125)
REALSENSE = DepthSensor("structured_light", baseline_mm=50.0, subpixel=0.08, step_subpixel=1 / 32)
TRUEDEPTH = DepthSensor("structured_light", baseline_mm=27.0, subpixel=0.03, step_subpixel=1 / 64)
TIME_OF_FLIGHT = DepthSensor("time_of_flight", error_mm=2.0, multipath_mm=1.5)
SENSORS = {
    "kinect": KINECT,
    "realsense": REALSENSE,
    "truedepth": TRUEDEPTH,
    "time_of_flight": TIME_OF_FLIGHT,
}


def measure(
    truth_mm: Floats, infrared: Floats, sensor: DepthSensor, camera: Pinhole, rng: Generator
) -> NDArray[np.uint16]:
    """Return (H, W) uint16 mm, 0 where the camera knows nothing.

    Args:
        truth_mm: (H, W), finite.
        infrared: (H, W) reflectance there, 0 to 1.
        sensor, camera: What looks.
        rng: Of the frame.
    """
    if sensor.kind == "structured_light":
        depth, known = _triangulated(truth_mm, sensor, camera, rng)
    else:
        depth, known = _timed(truth_mm, infrared, sensor, camera, rng)
    known &= rng.random(truth_mm.shape) > 0.003
    known &= (depth > 100) & (depth < 10_000)
    return np.where(known, np.rint(depth), 0).astype(np.uint16)


def _triangulated(
    truth: Floats, sensor: DepthSensor, camera: Pinhole, rng: Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    product = camera.focal_px * sensor.baseline_mm
    # A window of 5 px is matched at once: noise of neighbours is alike.
    noise = _unit(cv2.GaussianBlur(_normal(rng, truth.shape), (0, 0), 1.2))
    disparity = product / _median(truth) + sensor.subpixel * noise
    disparity = np.rint(disparity / sensor.step_subpixel) * sensor.step_subpixel
    depth = product / np.maximum(disparity, 0.1)
    known = ~_shadow(truth, product)
    across = np.gradient(truth, axis=1) * camera.focal_px / truth
    down = np.gradient(truth, axis=0) * camera.focal_px / truth
    steep = np.sqrt(across**2 + down**2) > np.tan(np.radians(78))
    lost = steep & (rng.random(truth.shape) < 0.7)
    known &= cv2.morphologyEx(lost.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3))) == 0
    return depth.astype(np.float32), known


def _shadow(truth: Floats, product: float) -> NDArray[np.bool_]:
    """Return (H, W): what a projector to the right of the camera does not light."""
    columns = np.arange(truth.shape[1], dtype=np.float32)
    # Seen from the projector, a pixel lies at its column plus its disparity; the furthest to the
    # right of those before it in the row hides it.
    lies_at = columns + product / truth
    before = np.maximum.accumulate(lies_at, axis=1)
    before = np.concatenate([np.full((len(truth), 1), -np.inf), before[:, :-1]], axis=1)
    hidden: NDArray[np.bool_] = lies_at < before - 1.5
    return hidden


def _timed(
    truth: Floats, infrared: Floats, sensor: DepthSensor, camera: Pinhole, rng: Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    # The lens spreads light over an edge; the phase that is read lies between near and far.
    mixed = cv2.GaussianBlur(truth, (0, 0), 0.6)
    bright = np.maximum(infrared, 0.05)
    error = sensor.error_at(truth, focal_px=camera.focal_px) * np.sqrt(0.5 / bright)
    spread_px = max(40.0 * camera.focal_px / float(np.median(truth)), 2.0)
    slow = _unit(cv2.GaussianBlur(_normal(rng, truth.shape), (0, 0), min(spread_px, 60.0)))
    depth = mixed + error * _normal(rng, truth.shape) + sensor.multipath_mm * slow
    known = bright / (truth / 1000.0) ** 2 > 0.01
    return depth.astype(np.float32), known


def _median(truth: Floats) -> Floats:
    return np.asarray(cv2.medianBlur(truth, 3), dtype=np.float32)


def _normal(rng: Generator, shape: tuple[int, ...]) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32)


def _unit(noise: NDArray[Any]) -> Floats:
    spread = float(np.std(noise))
    return np.asarray(noise / max(spread, 1e-9), dtype=np.float32)
