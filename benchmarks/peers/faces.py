"""Who stands before the camera: films for a container, frames as a node gives them for a guest.

People and prints come from research data beside the checkout; nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.cameras.images import decode_image
from tests.conftest import SHARED_DATA
from tests.e2e.bed.bed import VIDEOS
from tests.e2e.bed.conftest import FILMED
from tests.e2e.feeder import fitted, packed

FRAMES_PER_SECOND: Final = 30
STRAIGHT: Final = 60  # frames at the start of each film, before the person turns their head
STILL_FRAMES: Final = 6  # of the camera, for each single frame of NUAA: five of those a second
SHORTEST: Final = 8  # single frames of a presentation
LONGEST: Final = 12
ENROLLED: Final = 12
WALL: Final = "wall"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Subject:
    """A person of NUAA, as the files are named.

    Args:
        enrolled: The person, to enrol from.
        live: The same person on another day; empty where there is none.
        prints: Photographs of them, printed and held by hand, one name a presentation.
    """

    name: str
    enrolled: str
    live: str
    prints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Faces:
    """The folder that a machine sees them in.

    Args:
        raw: Frames as a camera node gives them, else films.
    """

    folder: Path
    raw: bool

    def write_people(self) -> None:
        """Write each person as they look into the camera, pictures to enrol from, and nobody."""
        for name, person in FILMED.items():
            (film,) = VIDEOS.rglob(f"*{person}/*.MOV")
            frames = list(_film(film))
            self._write(name, frames[:STRAIGHT])
            self._write_pictures(name, frames)
        self._write(WALL, [np.full((480, 640, 3), 120, np.uint8)] * FRAMES_PER_SECOND)

    def write_subjects(self) -> list[Subject]:
        """Write the people of NUAA and the prints of each."""
        subjects = []
        for folder in sorted((SHARED_DATA / "nuaa/ClientRaw").iterdir()):
            names = []
            for sitting, files in _recordings(folder).items():
                frames = [_read(file) for file in files]
                names.append(f"nuaa-live-{sitting}")
                self._write_stills(names[-1], frames)
                if len(names) == 1:
                    self._write_pictures(names[0], frames)
            prints = []
            for presentation, files in _recordings(
                SHARED_DATA / "nuaa/ImposterRaw" / folder.name
            ).items():
                if len(files) >= SHORTEST:
                    prints.append(f"nuaa-print-{presentation}")
                    self._write_stills(prints[-1], [_read(file) for file in files])
            live = names[1] if len(names) > 1 else ""
            subjects.append(Subject(folder.name, names[0], live, tuple(prints)))
        return subjects

    def _write_pictures(self, name: str, frames: list[Pixels]) -> None:
        folder = self.folder / f"{name}-pictures"
        folder.mkdir()
        for index in np.linspace(0, len(frames) - 1, ENROLLED).astype(int):
            cv2.imwrite(str(folder / f"{index:04}.png"), fitted(frames[index]))

    def _write_stills(self, name: str, frames: list[Pixels]) -> None:
        self._write(name, [bgr for bgr in frames[:LONGEST] for _ in range(STILL_FRAMES)])

    def _write(self, name: str, frames: Iterable[Pixels]) -> None:
        if self.raw:
            with (self.folder / f"{name}.yuyv").open("wb") as file:
                for bgr in frames:
                    file.write(packed(fitted(bgr), "YUYV"))
            return
        film = cv2.VideoWriter(
            str(self.folder / f"{name}.avi"),
            cv2.VideoWriter.fourcc(*"MJPG"),
            FRAMES_PER_SECOND,
            (640, 480),
        )
        for bgr in frames:
            film.write(fitted(bgr))
        film.release()


def _recordings(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each recording in the order in which they were taken."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for file in folder.glob("*.jpg"):
        recording, _, number = file.stem.rpartition("_")
        found.setdefault(recording, []).append((int(number), file))
    return {name: [file for _, file in sorted(found[name])] for name in sorted(found)}


def _film(film: Path) -> Iterable[Pixels]:
    video = cv2.VideoCapture(str(film), cv2.CAP_FFMPEG)
    while video.grab():
        yield np.asarray(video.retrieve()[1], np.uint8)


def _read(file: Path) -> Pixels:
    return decode_image(file.read_bytes(), name=file.name)
