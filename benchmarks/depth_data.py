"""Real RGB-D frames of the research data, through the reader of recordings.

Each is written as a recording into a temporary folder and read back as any other: what the reader
refuses, these would be refused for. They are looked at only to see whether real cameras lie within
what is rendered.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.extraction import SHIPPED_MODELS, load_detector, nearest_the_middle
from pam_faceid.adapters.cameras.depth_recording import (
    RECORDING_FILE,
    DepthRecording,
    open_depth_recording,
)
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.core.config import DetectionConfig
from pam_faceid.core.depth_frames import DepthFrame
from pam_faceid.core.types import Face

SMALLEST_FACE_PX: Final = 40
SVEN_UNKNOWN: Final = 9999


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """One real frame with its face.

    Args:
        name: Data set and frame.
        frame: Upright, registered.
        face: The one nearest the middle.
    """

    name: str
    frame: DepthFrame
    face: Face


def real_frames(data: Path) -> Iterator[Named]:
    """Yield what is there of truedepth_sven and nir_depth_zj with a face in it."""
    manifest = load_manifest(SHIPPED_MODELS)
    detector = load_detector(manifest, DetectionConfig(), min_face_px=SMALLEST_FACE_PX, threads=1)
    for name, frame in recorded(data):
        faces = detector.detect(frame.colour.pixels)
        if faces:
            yield Named(name, frame, nearest_the_middle(faces, frame.colour.pixels))


def recorded(data: Path) -> Iterator[tuple[str, DepthFrame]]:
    """Yield every frame by name, read back from a recording."""
    for make in (_sven, _zj):
        with tempfile.TemporaryDirectory() as folder:
            names = make(data, Path(folder))
            source = DepthRecording(
                open_depth_recording(Path(folder), require_root_owned=False), loop=False
            )
            try:
                yield from zip(names, source.depth_frames(), strict=True)
            finally:
                source.close()


def _sven(data: Path, folder: Path) -> list[str]:
    """A mannequin's head before an iPhone's TrueDepth camera, stored lying on its side."""
    source = data / "truedepth_sven/frames"
    lens = json.loads((source / "intrinsics.json").read_text())
    names, moments = [], []
    for index, depth in enumerate(sorted(source.glob("*_depth_mm.png"))):
        stem = depth.name.removesuffix("_depth_mm.png")
        colour = f"{stem}_rgb.png"
        (folder / depth.name).write_bytes(depth.read_bytes())
        (folder / colour).write_bytes((source / colour).read_bytes())
        names.append(f"sven {stem}")
        moments.append(_moment(colour, depth.name, seconds=index / 30))
    _write(
        folder,
        lens=_lens(lens["width"], lens["height"], lens["fx"], lens["cx"], lens["cy"]),
        moments=moments,
        unknown=SVEN_UNKNOWN,
        turned=SVEN_TURNED,
        noise={"kind": "structured_light", "error_mm": 2.0},
    )
    return names


def _zj(data: Path, folder: Path) -> list[str]:
    """A live person in near infrared. Its depth is stored in a mirror, and its numbers grow towards
    the camera: whatever they are, distances they are not. The intrinsics are not published: 68
    degrees are assumed.
    """
    source = data / "nir_depth_zj"
    infrared = cv2.imread(str(source / "ir_frontface.jpg"), cv2.IMREAD_COLOR)
    if infrared is None:
        raise FileNotFoundError(source)
    height, width = infrared.shape[:2]
    (folder / "infrared.jpg").write_bytes((source / "ir_frontface.jpg").read_bytes())
    stored = np.fromfile(source / "depth_u16_1280x720_mm.raw", "<u2").reshape(height, width)
    stored[:, ::-1].astype("<u2").tofile(folder / "depth.raw")
    _write(
        folder,
        lens=_lens(width, height, 949.0, (width - 1) / 2, (height - 1) / 2),
        moments=[_moment("infrared.jpg", "depth.raw", seconds=0.0)],
        unknown=0,
        turned=0,
        noise={"kind": "structured_light", "error_mm": 2.0},
    )
    return ["zj live infrared"]


SVEN_TURNED: Final = 90
# Silent-Face-Anti-Spoofing's nets, by the scale of their crop. Not shipped; a second opinion only.
TEXTURE_NETS: Final = {"minifasnet_v2_2.7": 2.7, "minifasnet_v1se_4.0": 4.0}
_TEXTURE_SIDE: Final = 80


def texture_opinion(named: Named, models: Path) -> float | None:
    """Return the lower probability of "live" of two texture nets; None without their files."""
    opinions = []
    for name, scale in TEXTURE_NETS.items():
        for path in models.glob(f"{name}*.onnx"):
            session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            crop = _around(named.frame.colour.pixels, named.face.box, scale=scale)
            planes = crop[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
            given = {session.get_inputs()[0].name: planes}
            opinions.append(float(session.run(None, given)[0][0][1]))
    return min(opinions) if opinions else None


def _around(
    pixels: NDArray[np.uint8], box: NDArray[np.float32], *, scale: float
) -> NDArray[np.uint8]:
    """Cut the box grown by `scale`, moved inside the picture, as those nets were trained to see."""
    height, width = pixels.shape[:2]
    size = box[2:] - box[:2]
    middle = (box[2:] + box[:2]) / 2
    half = size * min(scale, (width - 1) / size[0], (height - 1) / size[1]) / 2
    middle = np.clip(middle, half, np.array([width - 1, height - 1]) - half)
    (left, top), (right, bottom) = (middle - half).astype(int), (middle + half).astype(int)
    cut = pixels[top : bottom + 1, left : right + 1]
    return np.asarray(cv2.resize(cut, (_TEXTURE_SIDE, _TEXTURE_SIDE)), dtype=np.uint8)


def _lens(width: int, height: int, focal: float, x: float, y: float) -> dict[str, float]:
    return {
        "width": width,
        "height": height,
        "focal_x": focal,
        "focal_y": focal,
        "centre_x": x,
        "centre_y": y,
    }


def _moment(colour: str, depth: str, *, seconds: float) -> dict[str, Any]:
    return {
        "colour": colour,
        "depth": depth,
        "colour_seconds": seconds,
        "depth_seconds": seconds,
    }


def _write(
    folder: Path,
    *,
    lens: Mapping[str, float],
    moments: list[dict[str, Any]],
    unknown: int,
    turned: int,
    noise: Mapping[str, object],
) -> None:
    about = {
        "format": "pam_faceid-depth",
        "version": 1,
        "unit": "mm",
        "unknown": unknown,
        "registered": True,
        "turned": turned,
        "colour": lens,
        "noise": noise,
        "frames": moments,
    }
    (folder / RECORDING_FILE).write_text(json.dumps(about), encoding="utf-8")


def shown(depth_mm: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return (H, W) uint8: near is bright, for eyes."""
    known = depth_mm[depth_mm > 0]
    near, far = np.percentile(known, [2, 90])
    share = np.clip((far - depth_mm.astype(np.float64)) / max(far - near, 1.0), 0, 1)
    return np.where(depth_mm > 0, np.rint(share * 255), 0).astype(np.uint8)
