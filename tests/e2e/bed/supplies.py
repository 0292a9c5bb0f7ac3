"""What the guest is given: a checkout, wheels, and people to stand before its camera."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.e2e.feeder import EVERY, fitted, packed, pictures

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


def share_wheels(repository: Path) -> Path:
    """Return the folder with what install.sh downloads, as `make wheels` does."""
    (repository / "build").mkdir(exist_ok=True)
    fetch = ("flock", "build/wheels.lock", "packaging/fetch.sh", "build/wheels")
    subprocess.run(fetch, cwd=repository, check=True)
    return repository / "build/wheels"


def share_packages(names: Sequence[str], share: Path) -> None:
    """Make `packages/` a source for apt, with these as apt of this machine has them."""
    folder = share / "packages"
    folder.mkdir()
    subprocess.run(["apt-get", "--quiet=2", "download", *names], cwd=folder, check=True)
    index = []
    for package in sorted(folder.glob("*.deb")):
        said = subprocess.run(
            ["dpkg-deb", "--field", package.name],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        data = package.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        index.append(f"{said}Filename: ./{package.name}\nSize: {len(data)}\nSHA256: {digest}\n")
    (folder / "Packages").write_text("\n".join(index))


def share_person(
    name: str, source: Path, share: Path, pixel_format: str = "YUYV", every: int = EVERY
) -> None:
    """Write the frames of a picture, or every so many of a video, as the camera would give them."""
    with (share / f"{name}.{pixel_format.lower()}").open("wb") as file:
        for bgr in pictures(str(source), every):
            file.write(packed(fitted(bgr), pixel_format))


def share_wall(share: Path) -> None:
    """Nobody."""
    (share / "wall.yuyv").write_bytes(packed(np.full((480, 640, 3), 120, np.uint8), "YUYV"))
