"""The pixel side: a process that sees frames and has no privilege, no key and no template.

It is forked before its parent reads anything secret, becomes the service user before it loads a
library that parses pixels, and says one line a frame. Its parent believes nothing it says beyond
the form: see `protocol.Seen.observation`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

from pam_faceid.adapters import sandbox
from pam_faceid.core import errors
from pam_faceid.layout import SERVICE_USER

if TYPE_CHECKING:
    from pam_faceid.apps.protocol import Channel, Order
    from pam_faceid.apps.sightings import Unreadable
    from pam_faceid.core.ports import FrameSource
    from pam_faceid.core.types import Frame, Observation

LIBRARY_ENVIRONMENT: Final = {
    "ORT_DISABLE_TELEMETRY": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENCV_LOG_LEVEL": "OFF",
}


class ObserverProcess:
    """The parent's end: implements `ports.Observer`.

    The process starts, and loads its libraries, at construction; it opens the camera only after
    `look`. Use it as a context manager: leaving kills the process and so releases the camera.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        # Before the fork: both sides want them, and a library reads them when it is imported.
        os.environ.update(LIBRARY_ENVIRONMENT)
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _run(theirs, parent)
        theirs.close()
        self._socket: socket.socket | None = ours
        self._channel: Channel | None = None
        self._order: Order | None = None
        self.unreadable: list[Unreadable] = []

    @property
    def channel(self) -> Channel:
        """The line to the process. Made late, so that starting one imports nothing large."""
        if self._channel is None:
            from pam_faceid.apps.protocol import Channel

            if self._socket is None:
                raise errors.FaceIdError("the observer was closed")
            self._channel = Channel(self._socket)
        return self._channel

    def look(self, order: Order, descriptors: list[int]) -> None:
        """Have it open the source and start observing.

        Args:
            descriptors: Open files of `order.recording`, in its order. They are closed here.
        """
        self._order = order
        try:
            self.channel.send(order)
            self.channel.send_descriptors(descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

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

        from pam_faceid.adapters.models.manifest import model_id
        from pam_faceid.apps import sightings

        if self._order is None:
            raise errors.FaceIdError("the observer has no order: call look first")
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
                raise _error(message.error, message.message, message.hint)
            if isinstance(message, sightings.Unreadable):
                self.unreadable.append(message)
                continue
            spec = self._order.embedder
            observation: Observation = message.observation(
                model_id=model_id(spec), dimensions=spec.dimensions
            )
            return observation

    def close(self) -> None:
        """Kill the process and collect it."""
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None
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


def _error(name: str, message: str, hint: str) -> errors.FaceIdError:
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.FaceIdError)):
        kind = errors.FaceIdError
    return kind(message, hint=hint)


def _run(connection: socket.socket, parent: int) -> NoReturn:
    """Be the observer. Leaves by `os._exit`: the parent's clean-up handlers are not ours."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's to judge
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        _observe(connection, parent)
        status = 0
    finally:
        os._exit(status)


def _observe(connection: socket.socket, parent: int) -> None:
    try:
        sandbox.drop_to(SERVICE_USER)
        sandbox.die_with_parent(parent)
        _close_others(connection.fileno())
        _look(connection)
    except ConnectionError:
        return  # the parent has seen enough
    except errors.FaceIdError as error:
        _say_failure(connection, type(error).__name__, error.message, error.hint)
    except BaseException as error:  # the parent records it
        _say_failure(connection, "FaceIdError", f"the observer failed: {error!r}"[:2000], "")


def _say_failure(connection: socket.socket, error: str, message: str, hint: str) -> None:
    from pam_faceid.apps.protocol import Channel
    from pam_faceid.apps.sightings import Failed

    Channel(connection).send(Failed(error, message, hint))


def _close_others(keep: int) -> None:
    """Close every descriptor but the standard three and one: the parent's secrets are not ours."""
    os.closerange(3, keep)
    os.closerange(max(keep + 1, 3), 65536)


class _Ordered(threading.Thread):
    """Receives the order and reads the model files while the main thread imports libraries."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(daemon=True)
        self._channel = channel
        self._error: BaseException | None = None
        self.order: Order | None = None
        self.descriptors: list[int] = []
        self.models: list[bytes] = []

    def run(self) -> None:
        import msgspec

        from pam_faceid.adapters.models.manifest import read_model
        from pam_faceid.apps.protocol import Order

        try:
            self.order = self._channel.receive(msgspec.json.Decoder(Order).decode)
            if self.order is None:
                return
            self.descriptors = self._channel.receive_descriptors(len(self.order.recording))
            self.models = [read_model(s) for s in (*self.order.detector, self.order.embedder)]
        except BaseException as error:  # raised again by `result`
            self._error = error

    def result(self) -> Order | None:
        """Wait, and raise what went wrong."""
        self.join()
        if self._error is not None:
            raise self._error
        return self.order


def _look(connection: socket.socket) -> None:
    # The protocol brings msgspec in: not before privilege is gone.
    from pam_faceid.apps.protocol import Channel

    channel = Channel(connection, takes_descriptors=True)
    ordered = _Ordered(channel)
    ordered.start()
    # Dynamic loading holds the interpreter lock; the reading and hashing of models does not.
    import onnxruntime  # noqa: F401

    order = ordered.result()
    if order is None:
        return
    from pam_faceid.apps import wiring
    from pam_faceid.apps.sightings import Finished, Seen
    from pam_faceid.core.observation import observe

    embedder = wiring.embedder(order, ordered.models[3])
    detector = wiring.detector(order, ordered.models[:3])
    source = wiring.frame_source(order, ordered.descriptors)
    try:
        started = time.perf_counter()
        for index, frame in enumerate(_frames(source, order, channel)):
            captured = time.perf_counter()
            observation = observe(
                frame,
                index=index,
                detector=detector,
                embedder=embedder,
                limits=order.quality,
                clock=time.perf_counter,
            )
            observation.stage_ms["capture"] = (captured - started) * 1e3
            channel.send(Seen.of(observation))
            started = time.perf_counter()
        channel.send(Finished())
    finally:
        source.close()


def _frames(source: FrameSource, order: Order, channel: Channel) -> Iterator[Frame]:
    """Yield frames; of files that are shown once, report the unreadable ones and go on."""
    from pam_faceid.adapters.cameras import recording
    from pam_faceid.apps.sightings import Unreadable

    if order.loop or not isinstance(source, recording.Recording):
        yield from source.frames()
        return
    for item in source.items():
        if isinstance(item, recording.Unreadable):
            channel.send(Unreadable(item.name, item.error.message, item.error.hint))
        else:
            yield item
