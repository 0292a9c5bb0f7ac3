"""The live images and real prints that training starts from, with the face that each shows.

Held out for measuring, never trained on: one LFW person in five, ten of the forty people of ORL,
and every phone video of the development data (`td_live_real`, `td_replay`, `pad_pyimagesearch`).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

REPOSITORY: Final = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY))  # pam_faceid need not be installed to train its models

from pam_faceid.adapters.models.manifest import load_manifest, read_model  # noqa: E402
from pam_faceid.adapters.models.mtcnn import Mtcnn  # noqa: E402
from pam_faceid.core.types import Face  # noqa: E402

MIN_FACE_PX: Final = 40
HELD_OUT_ORL: Final = frozenset(f"s{number}" for number in range(31, 41))


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image with one face.

    Args:
        source: "lfw", "orl" or "nuaa".
        person: Whom it shows.
        path: Below the folder of development data.
        live: False for a real print.
        held_out: Whether it is only for measuring.
        box: (4,) float32 px.
    """

    source: str
    person: str
    path: str
    live: bool
    held_out: bool
    box: NDArray[np.float32]

    def pixels(self, data: Path) -> NDArray[np.uint8]:
        """Return the image, (H, W, 3) uint8 RGB."""
        image = cv2.imread(str(data / self.path), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(image[:, :, ::-1])


def listing(data: Path) -> list[tuple[str, str, str, bool, bool]]:
    """Name every image: source, person, path below `data`, live, held out."""
    found = []
    for path in sorted((data / "lfw-deepfunneled").glob("*/*.jpg")):
        who = path.parent.name
        held = zlib.crc32(who.encode()) % 5 == 0
        found.append(("lfw", who, path.relative_to(data).as_posix(), True, held))
    for path in sorted((data / "orl_faces").glob("s*/*.pgm")):
        who = path.parent.name
        held = who in HELD_OUT_ORL
        found.append(("orl", who, path.relative_to(data).as_posix(), True, held))
    for kind, live in (("live", True), ("print", False)):
        lines = (data / f"splits/nuaa_dev_{kind}.txt").read_text(encoding="utf-8").split()
        for line in sorted(lines):
            found.append(("nuaa", line.split("/")[1], f"nuaa/{line}", live, False))
    return found


def pictures(data: Path, cache: Path) -> list[Picture]:
    """Return every image in which a face was found, from `cache` when it is there."""
    wanted = listing(data)
    if not cache.exists():
        _detect(data, wanted, cache)
    with np.load(cache, allow_pickle=False) as stored:
        boxes = dict(zip(stored["paths"].tolist(), stored["boxes"], strict=True))
    return [
        Picture(source, person, path, live, held, boxes[path])
        for source, person, path, live, held in wanted
        if path in boxes
    ]


def first_of_each(found: Sequence[Picture]) -> list[Picture]:
    """Leave out further images of the same person of LFW: more people say more."""
    first = {one.person: one.path for one in reversed(found) if one.source == "lfw"}
    return [one for one in found if one.source != "lfw" or first[one.person] == one.path]


def _detect(data: Path, wanted: list[tuple[str, str, str, bool, bool]], cache: Path) -> None:
    manifest = load_manifest(REPOSITORY / "onnx_models")
    nets = (read_model(manifest.find(name)) for name in ("pnet", "rnet", "onet"))
    detector = Mtcnn(
        *nets, min_face_px=MIN_FACE_PX, stage_thresholds=(0.6, 0.7, 0.7), threads=1, optimise=True
    )
    paths, boxes = [], []
    for number, (source, _, path, _, _) in enumerate(wanted):
        if number % 500 == 0:
            print(f"finding faces: {number} of {len(wanted)}", file=sys.stderr, flush=True)
        image = cv2.imread(str(data / path), cv2.IMREAD_COLOR)
        faces = detector.detect(np.ascontiguousarray(image[:, :, ::-1]))
        if faces:
            # LFW names the person in the middle; a print is held before other people.
            face = _nearest(faces, image.shape) if source == "lfw" else faces[0]
            paths.append(path)
            boxes.append(face.box)
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez(cache, paths=np.array(paths), boxes=np.stack(boxes))


def _nearest(faces: list[Face], shape: tuple[int, ...]) -> Face:
    middle = np.array([shape[1], shape[0]]) / 2
    return min(faces, key=lambda face: float(np.hypot(*(face.points.mean(axis=0) - middle))))
