"""The service's end of an observer: the process that sees frames and holds no secret.

Nothing that it says is believed beyond the form; see `sightings.Seen.observation`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from pam_faceid.adapters.models.manifest import model_id
from pam_faceid.apps.order import Enough, Load, Look, Order
from pam_faceid.apps.protocol import Channel, wait_for_line
from pam_faceid.core import errors

if TYPE_CHECKING:
    from pam_faceid.apps.sightings import Failed, Unreadable
    from pam_faceid.core.types import Observation

SETTLING_SECONDS: Final = 2.0  # for the frame in hand, once it was enough
REAPING_SECONDS: Final = 0.005


class Observer:
    """The service's end of an observer process.

    Args:
        connection: To the process; owned from now on.
        pid: To be killed and collected at the end; None when it is not our child.
    """

    def __init__(self, connection: socket.socket, *, pid: int | None) -> None:
        self.channel = Channel(connection)
        self.pid = pid
        self._closed = False

    def look(self, order: Order) -> Sight:
        """Have it look. Its open files go over to the process, and are closed here.

        Raises:
            FaceIdError: The process is gone.
        """
        self._send(Look(order))
        return Sight(self, order)

    def load(self, order: Order) -> None:
        """Have it load what a look would take. The open files as with `look`.

        Raises:
            FaceIdError: The process is gone.
        """
        self._send(Load(order))

    def _send(self, message: Look | Load) -> None:
        files = message.order.recording
        try:
            self.channel.send(message, descriptors=[file.fd for file in files])
        except OSError as error:
            raise errors.FaceIdError("the observer is gone") from error
        finally:
            _close_files(message.order)

    def is_waiting(self) -> bool:
        """Whether the process is there and has nothing left to say."""
        readable, _, _ = select.select([self.channel], [], [], 0)
        return not (self._closed or readable or self.channel.has_line())

    def close(self) -> None:
        """Hang up, which ends the process and so releases the camera. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.channel.close()
        if self.pid is not None:
            _kill(self.pid)


class Sight:
    """One look: implements `ports.Observer`."""

    def __init__(self, observer: Observer, order: Order) -> None:
        self.channel = observer.channel
        self.pid = observer.pid
        self.unreadable: list[Unreadable] = []
        self._observer = observer
        self._embedder = order.embedder
        self._device = order.camera.infrared if order.infrared else order.camera.device
        self._files = 0 if order.loop else len(order.recording)
        self._ended = False
        self._failed = False
        self._told_enough = False

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
                self._ended = True
                return None
            if isinstance(message, sightings.Failed):
                self._failed = True
                raise self._failure(message)
            if isinstance(message, sightings.Unreadable):
                if len(self.unreadable) >= self._files:
                    raise errors.ProtocolError("the observer named more files than it was given")
                self.unreadable.append(message)
                continue
            observation: Observation = message.observation(
                model_id=model_id(self._embedder), dimensions=self._embedder.dimensions
            )
            return observation

    def enough(self) -> None:
        """Have the process stop after the frame in hand. Safe to call twice."""
        if not (self._told_enough or self._ended or self._failed):
            self._told_enough = True
            with contextlib.suppress(OSError):  # it is gone, as `settle` will see
                self.channel.send(Enough())

    def settle(self) -> bool:
        """Say that it was enough and wait until the camera is released.

        Returns:
            Whether the process may look again. Not when it went on looking: what it says later
            belongs to this look. Nor when it failed: a camera that was plugged in again is one
            that it may not open, confined as it is to what was there when it started.
        """
        until = time.monotonic() + SETTLING_SECONDS
        self.enough()
        with contextlib.suppress(errors.FaceIdError, OSError):
            while not self._ended and not self._failed:
                if wait_for_line([self.channel], until=until) is None:
                    break
                unwanted = self.next()
                if unwanted is not None and unwanted.embedding is not None:
                    unwanted.embedding.wipe()
        return self._ended

    def _failure(self, message: Failed) -> errors.FaceIdError:
        error = _error(message.error, message.message, message.hint)
        if isinstance(error, errors.CameraBusyError):
            from pam_faceid.adapters.cameras.nodes import name_holders

            return name_holders(error, self._device, besides=self.pid)
        return error


class WarmObserver:
    """An observer whose models stay loaded from one look to the next.

    Args:
        start: Makes one when there is none.
        cameras: Tells which are plugged in: it may open only those that were when it started.
    """

    def __init__(
        self, start: Callable[[], Observer], *, cameras: Callable[[], frozenset[tuple[str, int]]]
    ) -> None:
        self._start = start
        self._cameras = cameras
        self._observer: Observer | None = None
        self._serves: tuple[object, ...] = ()

    @contextlib.contextmanager
    def look(self, order: Order) -> Iterator[Sight]:
        """Look once, and be ready for the next look at the end."""
        observer = self._ready_for(order)
        try:
            sight = observer.look(order)
        except BaseException:
            self.drop()
            raise
        try:
            yield sight
        finally:
            # A frame of this look, taken for one of the next, would let in whoever just left.
            if not sight.settle():
                self.drop()

    def prepare(self, order: Order) -> None:
        """Have models loaded before anybody looks. Its open files are closed.

        Raises:
            FaceIdError: There is no observer to be had.
        """
        observer = self._ready_for(order)
        try:
            observer.load(order)
        except BaseException:
            self.drop()
            raise

    @property
    def is_loaded(self) -> bool:
        """Whether there is a process, which holds models."""
        return self._observer is not None

    def drop(self) -> None:
        """End the process, which gives the memory of the models back."""
        if self._observer is not None:
            self._observer.close()
            self._observer = None

    def _ready_for(self, order: Order) -> Observer:
        try:
            return self._observer_for(order)
        except BaseException:
            _close_files(order)
            raise

    def _observer_for(self, order: Order) -> Observer:
        # It may open no other models and no other camera than those that it was started for.
        sees = "recordings" if order.recording else self._cameras()
        serves = (*order.models, order.camera, sees)
        if self._observer is not None and not (
            self._serves == serves and self._observer.is_waiting()
        ):
            self.drop()  # or it died meanwhile, or speaks unasked
        if self._observer is None:
            self._observer = self._start()
            self._serves = serves
        return self._observer


def _close_files(order: Order) -> None:
    for file in order.recording:
        os.close(file.fd)


def _kill(pid: int) -> None:
    """Kill and collect a child; one that a driver holds in the kernel is left to die later."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + SETTLING_SECONDS
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < until:
        time.sleep(REAPING_SECONDS)


def _error(name: str, message: str, hint: str) -> errors.FaceIdError:
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.FaceIdError)):
        kind = errors.FaceIdError
    return kind(message, hint=hint)
