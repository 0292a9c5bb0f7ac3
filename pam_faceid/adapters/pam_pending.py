"""Changes to service files that wait to be confirmed, and undo themselves if nobody does.

What undoes them is `pam_undo.sh`, of which a copy lies beside them, so that neither a broken Python
nor an upgrade or an uninstall takes the way back away. They lie under /etc: that is there whenever
/etc/pam.d is, and the way back takes no room on a full disk.

Nothing but the standard library, for the same reason as `pam_stack`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pam_faceid.adapters.safe_files import refused_as, write_atomically
from pam_faceid.core.errors import PamStackError

FOLDER: Final = "etc/pam_faceid/pam-pending"
UNDO: Final = Path(__file__).with_name("pam_undo.sh")
UNDO_NAME: Final = "undo.sh"
_LOCK: Final = ".lock"
_LOCK_SECONDS: Final = 30.0
_TIMES: Final = "times"
_BEFORE: Final = "before"


@dataclass(frozen=True, slots=True)
class PendingChange:
    """One service whose change nobody has confirmed yet.

    Args:
        service: Its name.
        made_at: When it was changed last, seconds since the epoch.
        until: When the change is undone, seconds since the epoch.
    """

    service: str
    made_at: int
    until: int


@dataclass(frozen=True, slots=True)
class PendingChanges:
    """All of them on one machine.

    Args:
        root: "/" on the running machine.
    """

    root: Path = Path("/")

    @property
    def folder(self) -> Path:
        """root 0700; there is none while nothing waits."""
        return self.root / FOLDER

    @property
    def undo(self) -> Path:
        """What undoes them: a shell script."""
        return self.folder / UNDO_NAME

    def all(self) -> list[PendingChange]:
        """Return what waits, by service."""
        try:
            entries = sorted(self.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PamStackError(f"{self.folder}: {error.strerror}") from error
        return [
            PendingChange(entry.name, *_times(entry))
            for entry in entries
            if entry.is_dir() and not entry.name.startswith(".")
        ]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the way back, and every other faceid-admin, away while files change.

        Raises:
            PamStackError: The folder cannot be made, or somebody holds it for too long.
        """
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                self.folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                self.folder.mkdir(mode=0o700, exist_ok=True)
                fd = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise PamStackError(
                    f"{self.folder}: {error.strerror}", hint="nothing was changed"
                ) from error
            try:
                if self._is_ours(fd):
                    yield
                    return
            finally:
                os.close(fd)
            if time.monotonic() > deadline:
                raise PamStackError(
                    f"{self.folder} is held by another faceid-admin or by the way back",
                    hint="try again in a minute; nothing was changed",
                )
            time.sleep(0.05)

    def _is_ours(self, fd: int) -> bool:
        """Take the lock, unless the way back has removed the folder since it was opened."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = (self.folder / _LOCK).stat()
        except OSError:
            return False
        return os.path.samestat(os.fstat(fd), there)

    def add(self, service: str, new: bytes, *, without: bytes, seconds: int) -> PendingChange:
        """Remember how a service file is, before it is changed. The caller holds the lock.

        A change of a service that waits already keeps the text from before the first one, unless
        somebody else has changed the file since: then it is what they made of it, without the face.

        Args:
            service: Its name.
            new: What its file will hold.
            without: What its file holds now, without the face.
            seconds: How long the change may be confirmed.

        Raises:
            PamStackError: It cannot be written.
        """
        now = int(time.time())
        change = PendingChange(service, now, now + seconds)
        entry = self.folder / service
        with refused_as(PamStackError):
            self._write(self.undo, UNDO.read_bytes())
            if entry.is_dir():
                if not self._knows(entry, (self.root / "etc/pam.d" / service).read_bytes()):
                    self._copy(self.root / "etc/pam.d" / service, entry / _BEFORE, without)
                number = len(list(entry.glob("after.*")))
                self._write(entry / f"after.{number}", new)
                self._write(entry / _TIMES, _as_line(change))
                return change
            draft = self.folder / f".{service}.new"
            shutil.rmtree(draft, ignore_errors=True)
            try:
                draft.mkdir(mode=0o700)
            except OSError as error:
                raise PamStackError(f"{draft}: {error.strerror}") from error
            self._write(draft / "after.0", new)
            self._write(draft / _TIMES, _as_line(change))
            path = self.root / "etc/pam.d" / service
            self._copy(path, draft / _BEFORE, path.read_bytes())
        draft.rename(entry)
        _sync(self.folder)
        return change

    def before(self, service: str) -> bytes | None:
        """Return the text that a service had when it was confirmed last, if a change waits."""
        path = self.folder / service / _BEFORE
        return path.read_bytes() if path.is_file() else None

    def drop(self, services: Sequence[str]) -> None:
        """Forget changes: they stay as they are. The caller holds the lock."""
        for service in services:
            # Out of sight first, so that the way back never meets half of one.
            gone = self.folder / f".{service}.gone"
            shutil.rmtree(gone, ignore_errors=True)
            with suppress(FileNotFoundError):
                (self.folder / service).rename(gone)
            _sync(self.folder)
            shutil.rmtree(gone, ignore_errors=True)

    def clear(self) -> None:
        """Remove the folder if nothing waits. The caller holds the lock."""
        if not self.all():
            shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _knows(entry: Path, text: bytes) -> bool:
        return any(each.read_bytes() == text for each in (entry / _BEFORE, *entry.glob("after.*")))

    @staticmethod
    def _copy(source: Path, target: Path, data: bytes) -> None:
        """Write a file with the owner and mode of another, whose place it will take by a link."""
        status = source.stat()
        write_atomically(
            target,
            data,
            mode=stat.S_IMODE(status.st_mode),
            owner_uid=os.geteuid(),
            group=status.st_gid,
            owner=status.st_uid,
            replace=True,
        )

    def _write(self, path: Path, data: bytes) -> None:
        write_atomically(path, data, mode=0o600, owner_uid=os.geteuid(), group=None, replace=True)


def _as_line(change: PendingChange) -> bytes:
    return f"{change.made_at} {change.until}\n".encode()


def _times(entry: Path) -> tuple[int, int]:
    try:
        made_at, until = map(int, (entry / _TIMES).read_text().split())
    except (OSError, ValueError):
        return 0, 0  # as the script has it: undone at once
    return made_at, until


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
