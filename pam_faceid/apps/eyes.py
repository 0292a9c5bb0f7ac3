"""What the observer does once it has no privilege: load, look, and say what it saw."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from pam_faceid.adapters.models.manifest import read_model
from pam_faceid.apps.order import Order
from pam_faceid.apps.protocol import Channel

if TYPE_CHECKING:
    from pam_faceid.adapters.cameras.recording import Unreadable
    from pam_faceid.core.ports import Embedder, FaceDetector, FrameSource
    from pam_faceid.core.types import Frame

T = TypeVar("T")


def look(channel: Channel, order: Order) -> None:
    """Send one line a frame until a recording ends or the parent hangs up.

    Raises:
        FaceIdError: The camera or a model failed.
        OSError: The parent is gone.
    """
    # Importing holds the interpreter lock; reading, hashing and loading models hardly do.
    imported = threading.Event()
    detector = _Background(lambda: _load_detector(order, imported))
    embedder = _Background(lambda: _load_embedder(order, imported))
    import onnxruntime  # noqa: F401

    imported.set()
    from pam_faceid.adapters.cameras.recording import Unreadable
    from pam_faceid.apps import sightings, wiring
    from pam_faceid.core.observation import observe

    source = wiring.frame_source(order)
    try:
        started = time.perf_counter()
        for index, item in enumerate(_items(source, order)):
            captured = time.perf_counter()
            if isinstance(item, Unreadable):
                channel.send(sightings.Unreadable(item.name, item.error.message, item.error.hint))
                continue
            observation = observe(
                item,
                index=index,
                detector=detector.result(),
                embedder=embedder.result(),
                limits=order.quality,
                clock=time.perf_counter,
            )
            observation.stage_ms["capture"] = (captured - started) * 1e3
            channel.send(sightings.Seen.of(observation))
            started = time.perf_counter()
        channel.send(sightings.Finished())
    finally:
        source.close()


def _load_detector(order: Order, imported: threading.Event) -> FaceDetector:
    models = [read_model(spec) for spec in order.detector]
    imported.wait()
    from pam_faceid.apps import wiring

    return wiring.detector(order, models)


def _load_embedder(order: Order, imported: threading.Event) -> Embedder:
    model = read_model(order.embedder)
    imported.wait()
    from pam_faceid.apps import wiring

    return wiring.embedder(order, model)


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
