"""How an observer is had: forked, spawned, or reached behind a socket.

It becomes the service user before it loads a library that parses pixels.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from pam_faceid.adapters import sandbox
from pam_faceid.adapters.cameras.quiet import CAPTURE_ENVIRONMENT
from pam_faceid.apps.observer import Observer, Sight
from pam_faceid.apps.protocol import Channel, peer_of
from pam_faceid.core.errors import FaceIdError
from pam_faceid.layout import SERVICE_USER

if TYPE_CHECKING:
    from pathlib import Path

    from pam_faceid.apps.order import Order
    from pam_faceid.core.config import Config
    from pam_faceid.layout import Layout

LIBRARY_ENVIRONMENT: Final = {
    "ORT_DISABLE_TELEMETRY": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENCV_LOG_LEVEL": "OFF",
    # What OpenCV sets when it is imported, or is told when a camera or a video is opened. A new
    # variable moves all of them, under a thread in which onnxruntime just looks for one.
    "LD_LIBRARY_PATH": "",
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "",
    **CAPTURE_ENVIRONMENT,
}
# Read when a process starts, so for those that outlive an attempt and start anew: one arena, and
# what is large goes back to the kernel. Else each look leaves a little more behind.
LASTING_ENVIRONMENT: Final = {
    **LIBRARY_ENVIRONMENT,
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
}
SERVICE_MODULE: Final = "pam_faceid.apps.observer_service"
CONNECTING_SECONDS: Final = 5.0
MAX_ORDER_BYTES: Final = 1 << 20  # a recording of many files with long names
MAX_DESCRIPTOR: Final = 65536


def fork_observer() -> Observer:
    """Start an observer quickly, from a process that has handled no secret yet.

    The child inherits this process's memory: after the first secret, `spawn_observer` is the way.
    """
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    # Before the fork: a library reads them when it is imported.
    os.environ.update(LIBRARY_ENVIRONMENT)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_child(theirs, parent)
    theirs.close()
    return Observer(ours, pid=pid)


def spawn_observer() -> Observer:
    """Start an observer with a memory of its own, from a process that may hold secrets."""
    ours, theirs = socket.socketpair()
    with theirs:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-B", "-m", SERVICE_MODULE],
            LASTING_ENVIRONMENT,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
            setsid=True,  # a Ctrl-C is the service's to judge
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
        )
    return Observer(ours, pid=pid)


def start_observer(path: Path) -> Observer:
    """Reach the observer of the system where there is one, else start one.

    Args:
        path: Where the system would have it.

    Raises:
        FaceIdError: It cannot be reached, or there is none and only root could start another.
    """
    if path.exists():
        return connect_observer(path)
    # As this user it could read what this process may: the key and every template.
    if os.geteuid() != 0:
        raise FaceIdError(
            f"there is no observer at {path}", hint="systemctl enable --now faceid-observer.socket"
        )
    return spawn_observer()


def connect_observer(path: Path) -> Observer:
    """Reach the observer that the system starts behind a socket.

    Raises:
        FaceIdError: Nobody is there, or not the system: its socket is root's.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECTING_SECONDS)
    try:
        connection.connect(str(path))
        connection.settimeout(None)
        listener = peer_of(connection)
    except OSError as error:
        connection.close()
        raise FaceIdError(
            f"cannot reach the observer at {path}: {error}",
            hint="systemctl status faceid-observer.socket",
        ) from error
    if listener.uid != 0:
        connection.close()
        raise FaceIdError(f"{path} is not root's socket: user id {listener.uid} listens")
    return Observer(connection, pid=None)


@contextlib.contextmanager
def one_look(order: Order) -> Iterator[Sight]:
    """Look with an observer that is forked for this and killed at the end."""
    observer = fork_observer()
    try:
        yield observer.look(order)
    finally:
        observer.close()


@contextlib.contextmanager
def open_observer(
    config: Config,
    layout: Layout,
    *,
    recording: Sequence[Path] | None = None,
    infrared: bool = False,
    judge: bool = False,
) -> Iterator[Sight]:
    """Look with an observer of one's own, for a long run.

    Args:
        recording: Files or folders to look at once; None for the configured camera.
        infrared: Look through the infrared camera.
        judge: Ask the attack detector.
    """
    from pam_faceid.adapters.models.manifest import load_manifests
    from pam_faceid.apps import ordering

    manifest = load_manifests(layout)
    order = ordering.order_for(
        config, manifest, one_shot=False, recording=recording, infrared=infrared, judge=judge
    )
    with one_look(order) as sight:
        yield sight


def become_observer(connection: socket.socket, parent: int | None) -> NoReturn:
    """Give up all privilege and look for the service at the other end until it hangs up.

    Args:
        connection: To the service; every other descriptor but the standard three is closed.
        parent: The service's pid when it is our parent: its end is ours.

    Raises:
        ConnectionError: The service is gone.
    """
    from pam_faceid.adapters.sandbox.memory import lock_memory

    channel = Channel(connection, max_line=MAX_ORDER_BYTES, max_descriptors=_most_descriptors())
    try:
        # First, because it may take root to lift a limit.
        lock_memory(limit_counts=True)
        sandbox.drop_to(SERVICE_USER)
        if parent is not None:
            sandbox.die_with_parent(parent)
    except FaceIdError as error:
        from pam_faceid.apps.sightings import Failed

        channel.send(Failed.of(error))
        os._exit(1)
    from pam_faceid.apps import eyes

    eyes.serve(channel)


def _most_descriptors() -> int:
    from pam_faceid.adapters.cameras.recording import MAX_FILES

    return MAX_FILES


def _be_child(connection: socket.socket, parent: int) -> NoReturn:
    """Be the observer. Leaves by `os._exit`: the parent's clean-up handlers are not ours."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's to judge
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        _close_others(keep=[connection.fileno()])
        become_observer(connection, parent)
    finally:
        os._exit(1)


def _close_others(*, keep: list[int]) -> None:
    """Close every descriptor but the standard three and these: the parent's are not ours."""
    bounds = [2, *sorted(keep), MAX_DESCRIPTOR]
    for low, high in itertools.pairwise(bounds):
        os.closerange(low + 1, high)
