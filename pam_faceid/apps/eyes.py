"""What the observer does once it has no privilege: load, look, and say what it saw."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

import msgspec

from pam_faceid.adapters.models.manifest import read_model
from pam_faceid.apps.observing import LIBRARY_ENVIRONMENT
from pam_faceid.apps.order import Enough, Load, Look, Order
from pam_faceid.apps.protocol import Channel
from pam_faceid.core.camera_settings import DepthBy, depth_by
from pam_faceid.core.errors import FaceIdError, ModelError

if TYPE_CHECKING:
    from pam_faceid.adapters.cameras.recording import Unreadable
    from pam_faceid.core.config import CameraConfig
    from pam_faceid.core.ports import (
        AttackDetector,
        CoverDetector,
        DepthEmbedder,
        Embedder,
        FaceDetector,
        FaceLandmarker,
        FrameSource,
    )
    from pam_faceid.core.types import Frame

DECIDING_SECONDS: Final = 0.002  # what a comparison takes, and the way there and back
POLL_SECONDS: Final = 0.02

T = TypeVar("T")


def serve(channel: Channel) -> NoReturn:
    """Look as often as the service asks, until it hangs up; then end the process.

    Raises:
        ConnectionError: The service is gone.
    """
    errands = _Errands(channel)
    first = errands.first()
    try:
        _confine(first)
    except FaceIdError as error:
        _say_failure(channel, error)
        os._exit(1)
    errands.listen()
    eyes = Eyes(channel)
    while True:
        try:
            errand = errands.next()
            if isinstance(errand, Load):
                eyes.load(errand.order, errands.are_waiting)
            else:
                eyes.look(errand.order, errands.enough)
        except ConnectionError:
            raise
        except FaceIdError as error:
            _say_failure(channel, error)
        except Exception as error:  # of a library: the service records it
            _say_failure(channel, FaceIdError(f"the observer failed: {error!r}"[:2000]))


class Eyes:
    """Models that stay loaded from one look to the next.

    Args:
        channel: To the service.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._loaded: _Models | None = None

    def look(self, order: Order, enough: threading.Event) -> None:
        """Send one line a frame until a recording ends or the service has seen enough.

        Raises:
            FaceIdError: The camera or a model failed.
            OSError: The service is gone.
        """
        models = self._models_for(order)
        judges = models.judges(order)
        # Who asked may give up while they load. They go on loading, for whoever asks next: ended
        # here, each would begin anew, and on a slow machine none would ever see them loaded.
        if models.library_is_loaded(enough.is_set):
            self._watch(order, models, judges, enough)
        from pam_faceid.apps.sightings import Finished

        self._channel.send(Finished())
        models.settle(judges, enough.is_set)

    def load(self, order: Order, unwanted: Callable[[], bool]) -> None:
        """Load the models of an order. Its open files are closed, and no camera is opened.

        Args:
            unwanted: Whether to go on to something else while they load.

        Raises:
            FaceIdError: A model failed.
        """
        for file in order.recording:
            os.close(file.fd)
        models = self._models_for(order)
        judges = models.judges(order)
        models.settle(judges, unwanted)
        # After that: it asks for the memory that a look does.
        if models.library_is_loaded(unwanted) and models.are_loaded(judges, unwanted):
            from pam_faceid.apps.rehearsal import rehearse

            rehearse(
                order,
                detector=models.detector.result(),
                embedder=models.embedder.result(),
                landmarker=models.landmarker.result(),
                cover_detector=models.cover_detector.result(),
                judges=judges.asked() if judges else (),
                unwanted=unwanted,
            )

    def _models_for(self, order: Order) -> _Models:
        if self._loaded is None or not self._loaded.serve(order):
            self._loaded = _Models(order)
        return self._loaded

    def _watch(
        self, order: Order, models: _Models, judges: _Judges | None, enough: threading.Event
    ) -> None:
        from pam_faceid.adapters.cameras.recording import Unreadable
        from pam_faceid.apps import sightings, wiring
        from pam_faceid.core.observation import observe

        follower = wiring.face_follower() if judges else None
        source = wiring.frame_source(order)
        try:
            started = time.perf_counter()
            for index, item in enumerate(_items(source, order)):
                captured = time.perf_counter()
                if enough.is_set() or not models.are_loaded(judges, enough.is_set):
                    break
                if isinstance(item, Unreadable):
                    error = item.error
                    self._channel.send(sightings.Unreadable(item.name, error.message, error.hint))
                    continue
                observation = observe(
                    item,
                    index=index,
                    detector=models.detector.result(),
                    embedder=models.embedder.result(),
                    landmarker=models.landmarker.result(),
                    cover_detector=models.cover_detector.result(),
                    limits=order.quality,
                    clock=time.perf_counter,
                    attack_detector=judges.detector.result() if judges else None,
                    second_opinion=judges.second.result() if judges else None,
                    follower=follower,
                    follow=order.follow,
                )
                observation.stage_ms["capture"] = (captured - started) * 1e3
                seen = sightings.Seen.of(observation)
                try:
                    self._channel.send(seen)
                finally:
                    seen.wipe()
                    if observation.embedding is not None:
                        observation.embedding.wipe()
                # A further frame would take the processors from the login that this one lets in.
                if observation.embedding is not None and enough.wait(DECIDING_SECONDS):
                    break
                started = time.perf_counter()
        except ModelError:
            self._loaded = None  # tried again: the file may be put right
            raise
        finally:
            source.close()


class _Errands:
    """What the service asks for, read in a thread of its own: it may change its mind."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: SimpleQueue[Look | Load] = SimpleQueue()
        self.enough = threading.Event()
        self._decoder = msgspec.json.Decoder(Look | Load | Enough)

    def first(self) -> Order:
        """Wait for the first order, which is also that of the first `next`; start no thread yet."""
        while not self.are_waiting():
            self._take_one()
        errand = self._waiting.get()
        self._waiting.put(errand)
        return errand.order

    def listen(self) -> None:
        """Take orders from now on while this thread is busy."""
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> Look | Load:
        """Wait for the next thing to do."""
        return self._waiting.get()

    def are_waiting(self) -> bool:
        """Whether there is a next thing to do already."""
        return not self._waiting.empty()

    def _listen(self) -> None:
        try:
            while True:
                self._take_one()
        finally:
            os._exit(0)

    def _take_one(self) -> None:
        message = self._channel.receive(self._decoder.decode)
        if message is None:
            # Whatever it is doing, a camera that does not answer included: nobody wants to know.
            os._exit(0)
        if isinstance(message, Enough):
            self.enough.set()
            return
        self.enough.clear()
        self._waiting.put(type(message)(self._with_descriptors(message.order)))

    def _with_descriptors(self, order: Order) -> Order:
        received = self._channel.take_descriptors()
        files = [replace(file, fd=fd) for file, fd in zip(order.recording, received, strict=True)]
        return replace(order, recording=tuple(files))


class _Judges:
    """What tells attacks, loading side by side.

    Args:
        order: Says which.
        imported: Set once the library is.
    """

    def __init__(self, order: Order, imported: threading.Event) -> None:
        self._order = order
        self._imported = imported
        self.detector = _Background(self._load_detector)
        self.second = _Background(self._load_second)

    def _load_detector(self) -> AttackDetector:
        model = read_model(self._order.attack_detector)
        self._imported.wait()
        from pam_faceid.apps import wiring

        return wiring.attack_detector(self._order, model)

    def asked(self) -> list[AttackDetector]:
        """Return both, or the one there is. Raises what was raised."""
        judges = [self.detector.result(), self.second.result()]
        return [judge for judge in judges if judge is not None]

    def _load_second(self) -> AttackDetector | None:
        models = [read_model(spec) for spec in self._order.second_opinion]
        if not models:
            return None
        self._imported.wait()
        from pam_faceid.apps import wiring

        return wiring.second_opinion(self._order, models)


class _Models:
    """What looks at a frame, loading side by side while the library is imported.

    Args:
        order: Says which, and how.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._settled = False  # what loading left behind is given back
        # Before there are threads; who started this process may have kept one of them back.
        os.environ.update(LIBRARY_ENVIRONMENT)
        # Importing holds the interpreter lock; reading, hashing and loading models hardly do.
        self._imported = threading.Event()
        self._library = _Background(self._import_library)
        self.detector = _Background(self._load_detector)
        self.embedder = _Background(self._load_embedder)
        self.landmarker = _Background(self._load_landmarker)
        self.cover_detector = _Background(self._load_cover_detector)
        self._judges: _Judges | None = None

    def serve(self, order: Order) -> bool:
        """Whether these are the models that an order wants."""
        return all(
            getattr(self._order, part) == getattr(order, part)
            for part in ("models", "detection", "optimise")
        )

    def judges(self, order: Order) -> _Judges | None:
        """Return what tells attacks, loaded the first time that an order wants it."""
        if not order.judge:
            return None
        if self._judges is None:
            self._judges = _Judges(order, self._imported)
        return self._judges

    def library_is_loaded(self, unwanted: Callable[[], bool]) -> bool:
        """Wait for onnxruntime; False once nobody wants to know."""
        if not _made([self._library], unwanted):
            return False
        self._library.result()
        return True

    def settle(self, judges: _Judges | None, unwanted: Callable[[], bool]) -> None:
        """Wait until all are loaded, and give back once what that leaves behind."""
        if not self._settled and self.are_loaded(judges, unwanted):
            self._settled = True
            _give_back_memory()

    def are_loaded(self, judges: _Judges | None, unwanted: Callable[[], bool]) -> bool:
        """Wait until all are loaded, or have failed to; False once nobody wants to know."""
        parts: list[_Background[Any]] = [self.detector, self.embedder]
        parts += [self.landmarker, self.cover_detector]
        if judges is not None:
            parts += [judges.detector, judges.second]
        return _made(parts, unwanted)

    def _import_library(self) -> None:
        import onnxruntime  # noqa: F401

        self._imported.set()

    def _load_detector(self) -> FaceDetector:
        models = [read_model(spec) for spec in self._order.detector]
        self._imported.wait()
        from pam_faceid.apps import wiring

        return wiring.detector(self._order, models)

    def _load_embedder(self) -> Embedder | DepthEmbedder:
        model = read_model(self._order.embedder)
        joined = None if self._order.joined is None else read_model(self._order.joined)
        self._imported.wait()
        from pam_faceid.apps import wiring

        return wiring.embedder(self._order, model, joined)

    def _load_landmarker(self) -> FaceLandmarker:
        model = read_model(self._order.landmarks)
        self._imported.wait()
        from pam_faceid.apps import wiring

        return wiring.landmarker(self._order, model)

    def _load_cover_detector(self) -> CoverDetector:
        model = read_model(self._order.cover)
        self._imported.wait()
        from pam_faceid.apps import wiring

        return wiring.cover_detector(self._order, model)


def _confine(order: Order) -> None:
    """Leave this process the models and the camera of its first order, and no other file.

    Raises:
        PrivilegeError: The kernel refused.
    """
    from pam_faceid.adapters.cameras.hardware import descriptor_files
    from pam_faceid.adapters.sandbox.profiles import confine_observer

    confine_observer(
        models=[str(spec.path) for spec in order.models],
        devices=() if order.recording else _devices(order.camera),
        about=() if order.recording else [str(path) for path in descriptor_files()],
        usb=not order.recording and depth_by(order.camera) is DepthBy.REALSENSE,
    )


def _devices(camera: CameraConfig) -> tuple[str, ...]:
    """Return every node that a look may open, whichever look it is."""
    depth = camera.depth if depth_by(camera) is DepthBy.NODE else ""
    return camera.device, camera.infrared, depth


def _give_back_memory() -> None:
    """Give back what loading has left behind: 40 MB, which the allocator would keep."""
    # Not after each look: the next one would wait for the pages that it needs again.
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):  # a function of glibc's
        library.malloc_trim(0)


def _say_failure(channel: Channel, error: FaceIdError) -> None:
    from pam_faceid.apps.sightings import Failed

    channel.send(Failed.of(error))


def _items(source: FrameSource, order: Order) -> Iterator[Frame | Unreadable]:
    """Yield frames, and each file that cannot be decoded of those that are shown once."""
    from pam_faceid.adapters.cameras.recording import Recording

    if not order.loop and isinstance(source, Recording):
        return source.items()
    return source.frames()


def _made(parts: Sequence[_Background[Any]], unwanted: Callable[[], bool]) -> bool:
    """Wait for all of them; False once nobody wants to know."""
    for part in parts:
        while not part.wait(POLL_SECONDS):
            if unwanted():
                return False
    return True


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

    def wait(self, seconds: float) -> bool:
        """Wait for so long, and tell whether there is a value or an error."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> T:
        """Wait for the value; raise what was raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._made[0]
