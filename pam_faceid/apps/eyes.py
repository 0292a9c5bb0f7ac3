"""What the observer does once it has no privilege: load, look, and say what it saw.

Two frames are worked on at once, each by one thread. That takes less time than two threads that
share the work of one frame, because a small network does not divide well.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from pam_faceid.adapters.models.manifest import read_model
from pam_faceid.apps.order import Order
from pam_faceid.apps.protocol import Channel

if TYPE_CHECKING:
    from pam_faceid.adapters.cameras.recording import Unreadable
    from pam_faceid.apps import sightings
    from pam_faceid.core.ports import Embedder, FaceDetector, FrameSource
    from pam_faceid.core.types import Frame

FRAMES_AT_ONCE: Final = 2

T = TypeVar("T")


def look(channel: Channel, order: Order) -> None:
    """Send one line a frame until a recording ends or the parent hangs up.

    Raises:
        FaceIdError: The camera or a model failed.
        OSError: The parent is gone.
    """
    # Importing holds the interpreter lock; reading, hashing and loading models hardly do.
    models = _Background(lambda: [read_model(spec) for spec in (*order.detector, order.embedder)])
    import onnxruntime  # noqa: F401

    from pam_faceid.apps import wiring

    pnet, rnet, onet, embedding = models.result()
    embedder = _Background(lambda: wiring.embedder(order, embedding))
    detector = _Background(lambda: wiring.detector(order, (pnet, rnet, onet)))
    from pam_faceid.apps.sightings import Finished

    source = wiring.frame_source(order)
    try:
        looking = _Looking(channel, order, source)
        looking.run(detector.result, embedder.result)
        channel.send(Finished())
    finally:
        source.close()


class _Looking:
    """Threads that take turns at the camera, work side by side, and speak in order."""

    def __init__(self, channel: Channel, order: Order, source: FrameSource) -> None:
        self._channel = channel
        self._limits = order.quality
        self._items = enumerate(_items(source, order))
        self._camera = threading.Lock()
        self._turn = threading.Condition()
        self._next = 0

    def run(self, detector: Callable[[], FaceDetector], embedder: Callable[[], Embedder]) -> None:
        """Look until the source ends. Arguments wait for a model."""
        threads = min(FRAMES_AT_ONCE, len(os.sched_getaffinity(0)))
        others = [_Background(lambda: self._work(detector, embedder)) for _ in range(threads - 1)]
        self._work(detector, embedder)
        for other in others:
            other.result()

    def _work(self, detector: Callable[[], FaceDetector], embedder: Callable[[], Embedder]) -> None:
        while True:
            started = time.perf_counter()
            with self._camera:
                index, item = next(self._items, (-1, None))
            if item is None:
                return
            captured = time.perf_counter()
            message: sightings.Seen | sightings.Unreadable | None = None
            try:
                message = self._message(index, item, detector(), embedder(), captured - started)
            finally:
                # Also after a failure: the other thread must not wait for this frame for ever.
                self._speak(index, message)

    def _message(
        self,
        index: int,
        item: Frame | Unreadable,
        detector: FaceDetector,
        embedder: Embedder,
        capture_seconds: float,
    ) -> sightings.Seen | sightings.Unreadable:
        from pam_faceid.apps import sightings
        from pam_faceid.core.observation import observe
        from pam_faceid.core.types import Frame

        if not isinstance(item, Frame):
            return sightings.Unreadable(item.name, item.error.message, item.error.hint)
        observation = observe(
            item,
            index=index,
            detector=detector,
            embedder=embedder,
            limits=self._limits,
            clock=time.perf_counter,
        )
        observation.stage_ms["capture"] = capture_seconds * 1e3
        return sightings.Seen.of(observation)

    def _speak(self, index: int, message: sightings.Seen | sightings.Unreadable | None) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._next == index)
            try:
                if message is not None:
                    self._channel.send(message)
            finally:
                self._next = index + 1
                self._turn.notify_all()


def _items(source: FrameSource, order: Order) -> Iterator[Frame | Unreadable]:
    """Yield frames, and each file that cannot be decoded of those that are shown once."""
    from pam_faceid.adapters.cameras.recording import Recording

    if not order.loop and isinstance(source, Recording):
        return source.items()
    return source.frames()


class _Background(Generic[T]):
    """A value that a thread of its own makes, or the error that it met.

    Args:
        make: Called at once, in the thread.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._made: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(make,), daemon=True)
        self._thread.start()

    def _run(self, make: Callable[[], T]) -> None:
        try:
            self._made.append(make())
        except BaseException as error:  # raised again where it is wanted
            self._error = error

    def result(self) -> T:
        """Wait for the value; raise what was raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._made[0]
