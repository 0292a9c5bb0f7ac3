"""The socket that clients come to: systemd's, or our own."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Final

from pam_faceid.adapters.safe_files import open_directory
from pam_faceid.core.errors import FaceIdError

BACKLOG: Final = 4096  # clients do not wait for room; a flood must not take it all
FIRST_PASSED: Final = 3  # sd_listen_fds(3)
DIRECTORY_MODE: Final = 0o755
SOCKET_MODE: Final = 0o666  # whoever may ask is told by the kernel, not by the mode
LOCK: Final = "faceidd.lock"


def passed_listener(environment: MutableMapping[str, str]) -> socket.socket | None:
    """Return the listening socket that systemd passed to this process, or None.

    Args:
        environment: Loses what says so: it was meant for this process alone.

    Raises:
        FaceIdError: Something else was passed.
    """
    pid, count, _ = (environment.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()):
        return None
    if count != "1":
        raise FaceIdError(f"{count} sockets were passed, not one", hint="see faceidd.socket")
    listener = socket.socket(fileno=FIRST_PASSED)
    listener.set_inheritable(False)
    listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM or not listens:
        raise FaceIdError(
            "what was passed is no listening stream socket", hint="see faceidd.socket"
        )
    return listener


@contextlib.contextmanager
def own_listener(path: Path) -> Iterator[socket.socket]:
    """Listen at a path; leaving takes the socket away, and clients do without the daemon.

    Raises:
        FaceIdError: Another daemon listens there, or the directory is not root's alone.
    """
    if os.geteuid() != 0:
        raise FaceIdError(
            f"only root can listen at {path}: clients believe no other", hint="run this as root"
        )
    _make_directory(path.parent.parent)
    _make_directory(path.parent)
    with open_directory(path.parent, owner_uid=0) as directory:
        lock = os.open(
            LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=directory
        )
        with os.fdopen(lock, "rb"):
            _be_alone(lock, path)
            with _listen(path) as listener:
                mine = path.lstat().st_ino
                try:
                    yield listener
                finally:
                    with contextlib.suppress(FileNotFoundError):
                        if path.lstat().st_ino == mine:
                            path.unlink()


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir()
    except FileExistsError:
        return
    directory.chmod(DIRECTORY_MODE)  # whatever the umask is


def _be_alone(lock: int, path: Path) -> None:
    """Lock against another of us, and look for a socket of systemd's, which holds no lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            refused = probe.connect_ex(str(path))
    except BlockingIOError:
        refused = 0
    # A socket that nobody listens at is what a killed daemon leaves.
    if refused not in (errno.ENOENT, errno.ECONNREFUSED):
        raise FaceIdError(
            f"another faceidd listens at {path}",
            hint="systemctl stop faceidd.socket faceidd.service, or end the other one",
        )


def _listen(path: Path) -> socket.socket:
    """Bind beside the path and rename, so that there is never a socket with a narrower mode."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(beside))
    beside.chmod(SOCKET_MODE)
    listener.listen(BACKLOG)
    beside.replace(path)
    return listener
