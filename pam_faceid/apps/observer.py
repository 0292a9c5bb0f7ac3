"""The pixel side: a process that sees frames and has no privilege, no key and no template.

It is forked before its parent reads anything secret, becomes the service user before it loads a
library that parses pixels, and says one line a frame. Its parent believes nothing it says beyond
the form: see `sightings.Seen.observation`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

from pam_faceid.adapters import sandbox
from pam_faceid.adapters.models.manifest import model_id
from pam_faceid.apps.order import Order
from pam_faceid.apps.protocol import Channel
from pam_faceid.core import errors
from pam_faceid.layout import SERVICE_USER

if TYPE_CHECKING:
    from pathlib import Path

    from pam_faceid.apps.sightings import Failed, Unreadable
    from pam_faceid.core.config import Config
    from pam_faceid.core.types import Observation
    from pam_faceid.layout import Layout

LIBRARY_ENVIRONMENT: Final = {
    "ORT_DISABLE_TELEMETRY": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENCV_LOG_LEVEL": "OFF",
}
MAX_DESCRIPTOR: Final = 65536


class ObserverProcess:
    """The parent's end: implements `ports.Observer`.

    The process is forked at construction and starts to look at once, so the parent must hold no
    secret yet: a forked child inherits its memory. Use it as a context manager: leaving kills the
    process and so releases the camera.

    Args:
        order: Its open files go over to the process, and are closed here.
    """

    def __init__(self, order: Order) -> None:
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        # Before the fork: a library reads them when it is imported.
        os.environ.update(LIBRARY_ENVIRONMENT)
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _run(theirs, parent, order)
        theirs.close()
        for file in order.recording:
            os.close(file.fd)
        self.channel = Channel(ours)
        self.unreadable: list[Unreadable] = []
        self._embedder = order.embedder
        self._device = order.camera.device
        self._closed = False

    def observations(self) -> Iterator[Observation]:
        """Yield observations until the source ends. See `ports.Observer`."""
        while (observation := self.next()) is not None:
            yield observation

    def next(self) -> Observation | None:
        """Wait for one observation; None when the recording was seen to its end.

        Raises:
            FaceIdError: What the process said stopped it, as the class it named; or it died.
            ProtocolError: It said something that is not in the protocol.
        """
        import msgspec

        from pam_faceid.apps import sightings

        decoder = msgspec.json.Decoder(
            sightings.Seen | sightings.Failed | sightings.Unreadable | sightings.Finished
        )
        while True:
            message = self.channel.receive(decoder.decode)
            if message is None:
                raise errors.FaceIdError("the observer died")
            if isinstance(message, sightings.Finished):
                return None
            if isinstance(message, sightings.Failed):
                raise self._failure(message)
            if isinstance(message, sightings.Unreadable):
                self.unreadable.append(message)
                continue
            observation: Observation = message.observation(
                model_id=model_id(self._embedder), dimensions=self._embedder.dimensions
            )
            return observation

    def _failure(self, message: Failed) -> errors.FaceIdError:
        error = _error(message.error, message.message, message.hint)
        if isinstance(error, errors.CameraBusyError):
            from pam_faceid.adapters.cameras.nodes import name_holders

            return name_holders(error, self._device, besides=self.pid)
        return error

    def close(self) -> None:
        """Kill the process and collect it."""
        if self._closed:
            return
        self._closed = True
        self.channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def __enter__(self) -> ObserverProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_observer(
    config: Config, layout: Layout, *, recording: Sequence[Path] | None = None
) -> ObserverProcess:
    """Start an observer for a long run.

    Args:
        recording: Files or folders to look at once; None for the configured camera.
    """
    from pam_faceid.adapters.models.manifest import load_manifests
    from pam_faceid.apps import wiring

    manifest = load_manifests(layout)
    return ObserverProcess(wiring.order_for(config, manifest, one_shot=False, recording=recording))


def _error(name: str, message: str, hint: str) -> errors.FaceIdError:
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.FaceIdError)):
        kind = errors.FaceIdError
    return kind(message, hint=hint)


def _run(connection: socket.socket, parent: int, order: Order) -> NoReturn:
    """Be the observer. Leaves by `os._exit`: the parent's clean-up handlers are not ours."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's to judge
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        _observe(connection, parent, order)
        status = 0
    finally:
        os._exit(status)


def _observe(connection: socket.socket, parent: int, order: Order) -> None:
    channel = Channel(connection)
    try:
        sandbox.drop_to(SERVICE_USER)
        sandbox.die_with_parent(parent)
        _close_others(keep=[connection.fileno(), *(file.fd for file in order.recording)])
        from pam_faceid.apps.eyes import look

        look(channel, order)
    except ConnectionError:
        return  # the parent has seen enough
    except errors.FaceIdError as error:
        _say_failure(channel, type(error).__name__, error.message, error.hint)
    except BaseException as error:  # the parent records it
        _say_failure(channel, "FaceIdError", f"the observer failed: {error!r}"[:2000], "")


def _say_failure(channel: Channel, error: str, message: str, hint: str) -> None:
    from pam_faceid.apps.sightings import Failed

    channel.send(Failed(error, message, hint))


def _close_others(*, keep: list[int]) -> None:
    """Close every descriptor but the standard three and these: the parent's are not ours."""
    bounds = [2, *sorted(keep), MAX_DESCRIPTOR]
    for low, high in itertools.pairwise(bounds):
        os.closerange(low + 1, high)
