"""Images and videos in place of a camera, handed over as descriptors.

The privileged side opens (`open_recording`), the unprivileged side decodes (`Recording`): root
decodes nothing, and the decoder opens nothing. See docs/adr/0005. Importing this loads no decoder.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pam_faceid.core.errors import CameraError
from pam_faceid.core.types import Frame

MAX_FILE_BYTES: Final = 200_000_000
MAX_FILES: Final = 200  # each is an open descriptor of the worker and of the observer

IMAGE_SUFFIXES: Final = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".pgm", ".ppm"))
VIDEO_SUFFIXES: Final = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"))
DATA_SUFFIXES: Final = frozenset((".json", ".raw"))  # of depth recordings; see depth_recording.py

_READ_ONLY: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file of a recording, open for reading.

    Args:
        name: Its path, for messages.
        fd: Descriptor, close-on-exec. Whoever holds the `OpenFile` closes it.
        kind: Which decoder it goes to, told from its suffix.
    """

    name: str
    fd: int
    kind: Literal["image", "video", "data"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file of a recording that could not be decoded.

    Args:
        name: The file.
        error: What is wrong with it and what to do.
    """

    name: str
    error: CameraError


def open_recording(path: Path, *, require_root_owned: bool) -> list[OpenFile]:
    """Open an image, a video, or every image of a folder in the order of their names.

    Decodes nothing and follows no symbolic link in the last part of the path; with
    `require_root_owned`, in no part of it.

    Args:
        path: What to open.
        require_root_owned: Accept only what nobody but root can have put there: each folder from
            "/" on and each file is owned by root and not writable by others. A folder such as
            /tmp, in which nobody can replace another's entry, is accepted on the way.

    Raises:
        CameraError: It is missing, a symbolic link, no regular file or folder, not in root's hands
            alone, larger than `MAX_FILE_BYTES`, or a folder with no image or with more than
            `MAX_FILES`. Nothing stays open.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve follows symbolic links
    fd = _open_from_root(path) if require_root_owned else _open(path)
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        return [_accept(fd, path)]
    return _open_within(fd, path, suffixes=IMAGE_SUFFIXES, require_root_owned=require_root_owned)


def open_folder(
    path: Path, *, suffixes: frozenset[str], require_root_owned: bool
) -> list[OpenFile]:
    """Open every file of a folder that ends in one of `suffixes`, in the order of their names.

    Raises:
        CameraError: As `open_recording`, or it is no folder. Nothing stays open.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve follows symbolic links
    fd = _open_from_root(path) if require_root_owned else _open(path)
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise CameraError(f"{path} is not a folder", hint="name the folder of the recording")
    return _open_within(fd, path, suffixes=suffixes, require_root_owned=require_root_owned)


def open_recordings(paths: Sequence[Path]) -> list[OpenFile]:
    """Open images, videos and folders that the caller names, one after the other.

    Raises:
        CameraError: As `open_recording`, or there are more than `MAX_FILES` in all. Nothing stays
            open.
    """
    files: list[OpenFile] = []
    for path in paths:
        try:
            files += open_recording(path, require_root_owned=False)
        except CameraError:
            close_files(files)
            raise
        if len(files) > MAX_FILES:
            close_files(files)
            raise CameraError(
                f"these are more than {MAX_FILES} files in all, with those of {path}",
                hint="keep the best ones",
            )
    return files


def close_files(files: Sequence[OpenFile]) -> None:
    """Close every descriptor."""
    for file in files:
        os.close(file.fd)


class Recording:
    """Implements `FrameSource` with files that someone else opened.

    Needs no right to open anything, and owns the descriptors: `close` closes them.

    Args:
        files: In the order to show them.
        loop: True plays them again and again, as a camera that never ends; False shows each file
            once.
        frames_per_second: A video is thinned to this many frames of a second of its own. Looping,
            frames also come no faster than this on the clock. None: every frame, as fast as they
            are taken.
    """

    def __init__(
        self, files: Sequence[OpenFile], *, loop: bool, frames_per_second: float | None
    ) -> None:
        self._files = tuple(files)
        self._loop = loop
        self._rate = frames_per_second
        self._closed = False

    @property
    def is_recording(self) -> bool:
        """Always: no live camera is behind it."""
        return True

    def frames(self) -> Iterator[Frame]:
        """Yield frames; the first file that cannot be decoded ends it.

        Raises:
            CameraError: As `Unreadable.error`.
        """
        for item in self.items():
            if isinstance(item, Unreadable):
                raise item.error
            yield item

    def items(self) -> Iterator[Frame | Unreadable]:
        """Yield frames and, in its turn, each file that cannot be decoded. For enrolment."""
        due = time.monotonic()
        while not self._closed:
            for item in self._once():
                if self._loop and self._rate is not None:
                    time.sleep(max(0.0, due - time.monotonic()))
                    due = time.monotonic() + 1.0 / self._rate
                yield item
                if self._closed:
                    return
            if not self._loop:
                return

    def close(self) -> None:
        """Close the files. Safe to call twice, and between two frames."""
        if not self._closed:
            self._closed = True
            close_files(self._files)

    def _once(self) -> Iterator[Frame | Unreadable]:
        # The privileged side imports this module too, and must not load a decoder.
        from pam_faceid.adapters.cameras.images import decode_image  # noqa: PLC0415
        from pam_faceid.adapters.cameras.quiet import quieten_opencv  # noqa: PLC0415
        from pam_faceid.adapters.cameras.videos import video_frames  # noqa: PLC0415

        quieten_opencv()
        for file in self._files:
            try:
                if file.kind == "image":
                    pictures = iter((decode_image(read_file(file), name=file.name),))
                else:
                    pictures = video_frames(file.fd, name=file.name, frames_per_second=self._rate)
                for pixels in pictures:
                    yield Frame(pixels=pixels, captured_at=time.monotonic(), origin=file.name)
            except CameraError as error:
                yield Unreadable(name=file.name, error=error)


def read_file(file: OpenFile) -> bytes:
    """Return what is in an open file, up to a byte more than `MAX_FILE_BYTES`."""
    # pread: descriptors of one open file share their offset, also across processes.
    parts: list[bytes] = []
    size = 0
    while size <= MAX_FILE_BYTES and (part := os.pread(file.fd, 1 << 20, size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _open_within(
    fd: int, path: Path, *, suffixes: frozenset[str], require_root_owned: bool
) -> list[OpenFile]:
    """Open the files of the folder that `fd` opens, and close `fd`."""
    files: list[OpenFile] = []
    try:
        for name in _names(fd, path, suffixes=suffixes):
            file = _open(path / name, folder=fd)
            if require_root_owned:
                _require_root(file, path / name)
            files.append(_accept(file, path / name))
    except CameraError:
        close_files(files)
        raise
    finally:
        os.close(fd)
    return files


def _names(fd: int, path: Path, *, suffixes: frozenset[str]) -> list[str]:
    names = sorted(name for name in os.listdir(fd) if Path(name).suffix.lower() in suffixes)
    what = "image" if suffixes is IMAGE_SUFFIXES else "recorded file"
    if not names:
        raise CameraError(
            f"the folder {path} has no {what}",
            hint=f"{what}s are files that end in {', '.join(sorted(suffixes))}",
        )
    if len(names) > MAX_FILES:
        raise CameraError(
            f"the folder {path} has {len(names)} {what}s, more than {MAX_FILES}",
            hint="keep the best ones",
        )
    return names


def _open(path: Path, *, folder: int | None = None) -> int:
    """Open `path`; with `folder`, its last part in there."""
    # O_NONBLOCK: opening a FIFO must not wait for its other end.
    try:
        if folder is None:
            return os.open(path, _READ_ONLY)
        return os.open(path.name, _READ_ONLY, dir_fd=folder)
    except OSError as error:
        if path.is_symlink():
            raise CameraError(
                f"{path} is a symbolic link", hint="name the file or folder that it points to"
            ) from error
        raise CameraError(f"cannot open {path}: {error.strerror}") from error


def _open_from_root(path: Path) -> int:
    """Open `path` folder by folder, each judged through the descriptor that leads on."""
    fd = os.open("/", _READ_ONLY | os.O_DIRECTORY)
    for here in (*reversed(path.parents[:-1]), path):
        try:
            inner = _open(here, folder=fd)
        finally:
            os.close(fd)
        fd = inner
        _require_root(fd, here)
    return fd


def _require_root(fd: int, path: Path) -> None:
    """Refuse, and close `fd`, when someone other than root can have written what it opens."""
    found = os.fstat(fd)
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky
    if found.st_uid == 0 and not others_write:
        return
    os.close(fd)
    raise CameraError(
        f"{path} is owned by user {found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}: what "
        "stands in for a camera must be in root's hands alone",
        hint=f"chown root: {path}; chmod go-w {path}",
    )


def _accept(fd: int, path: Path) -> OpenFile:
    """Wrap what `fd` opens; refuse, and close it, when it is no file or too large."""
    found = os.fstat(fd)
    refusal = ""
    if not stat.S_ISREG(found.st_mode):
        refusal = f"{path} is not a regular file"
    elif found.st_size > MAX_FILE_BYTES:
        refusal = f"{path} has {found.st_size} bytes, more than {MAX_FILE_BYTES}"
    if refusal:
        os.close(fd)
        raise CameraError(refusal, hint="name an image, a video or a folder of images")
    kind: Literal["image", "video", "data"] = "image"
    if path.suffix.lower() in VIDEO_SUFFIXES:
        kind = "video"
    elif path.suffix.lower() in DATA_SUFFIXES:
        kind = "data"
    return OpenFile(name=str(path), fd=fd, kind=kind)
