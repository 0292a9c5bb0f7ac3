"""What the guest is given: a checkout, wheels, and people to stand before its camera."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np

from tests.e2e.feeder import fitted, packed, pictures

PINS = ("install.txt", "build.txt")
KEPT_OUT = ("tests/", "benchmarks/")


def share_checkout(repository: Path, share: Path) -> None:
    """Put what install.sh needs of the working tree into `checkout.tar`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    with tarfile.open(share / "checkout.tar", "w") as archive:
        for name in filter(None, listed):
            if not name.startswith(KEPT_OUT) and (repository / name).exists():
                archive.add(repository / name, name)


def share_wheels(repository: Path, cache: Path) -> Path:
    """Download what install.sh downloads, once, and return the folder."""
    pins = [repository / "requirements" / name for name in PINS]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in pins)).hexdigest()
    folder = cache / f"wheels-{digest[:16]}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        named = [word for path in pins for word in ("-r", str(path))]
        subprocess.run(
            [
                *("/usr/bin/python3", "-I", "-m", "pip", "--quiet", "download"),
                *("--require-hashes", "--only-binary", ":all:", "--dest", str(partial), *named),
            ],
            check=True,
        )
        partial.rename(folder)
    return folder


def share_person(name: str, source: Path, share: Path, pixel_format: str = "YUYV") -> None:
    """Write the frames of a picture or a video as the camera would give them."""
    with (share / f"{name}.{pixel_format.lower()}").open("wb") as file:
        for bgr in pictures(str(source)):
            file.write(packed(fitted(bgr), pixel_format))


def share_wall(share: Path) -> None:
    """Nobody."""
    (share / "wall.yuyv").write_bytes(packed(np.full((480, 640, 3), 120, np.uint8), "YUYV"))
