"""What an observer does while its models load."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import pytest

from pam_faceid.adapters.models.manifest import ModelSpec, load_manifests, read_model
from pam_faceid.apps import eyes, ordering, wiring
from pam_faceid.apps.order import Order
from pam_faceid.apps.protocol import Channel
from pam_faceid.apps.sightings import Finished, Seen
from pam_faceid.core.config import Config
from pam_faceid.layout import Layout

if TYPE_CHECKING:
    from pam_faceid.core.ports import FrameSource
    from pam_faceid.core.types import Frame

PORTRAIT = Path(eyes.__file__).parents[1] / "demo/portraits/collins.jpg"
HANGS = 30  # s


class Ears:
    """What is said to the service."""

    def __init__(self) -> None:
        self.heard: list[type[msgspec.Struct]] = []

    def send(self, message: msgspec.Struct) -> None:
        """Hear one message."""
        self.heard.append(type(message))


class Patience(threading.Event):
    """Set when whoever asked gives up; tells when it was first looked at, and was not set."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_at = threading.Event()

    def is_set(self) -> bool:
        """As of any event."""
        given_up = super().is_set()
        self.looked_at.set()
        return given_up


@pytest.fixture
def order(tmp_path: Path, models_dir: Path) -> Callable[[], Order]:
    """Makes an order to look at a portrait, once."""
    layout = Layout(tmp_path)
    layout.models.parent.mkdir(parents=True)
    layout.models.symlink_to(models_dir)
    manifest = load_manifests(layout)
    return lambda: ordering.order_for(
        Config(), manifest, one_shot=True, recording=[PORTRAIT], judge=True
    )


def test_models_that_nobody_waits_for_any_more_are_there_for_the_next(
    order: Callable[[], Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow machine each login would else load them from the beginning, and see none."""
    may_read = threading.Event()
    read: list[str] = []

    def slowly(spec: ModelSpec) -> bytes:
        read.append(spec.name)
        may_read.wait()
        return read_model(spec)

    monkeypatch.setattr(eyes, "read_model", slowly)
    ears = Ears()
    watcher = eyes.Eyes(cast("Channel", ears))
    enough = Patience()
    first = threading.Thread(target=watcher.look, args=(order(), enough), daemon=True)
    first.start()
    assert enough.looked_at.wait(HANGS)
    enough.set()  # whoever asked has used the password
    first.join(HANGS)
    assert not first.is_alive()
    assert ears.heard == [Finished]

    may_read.set()
    enough.clear()
    ears.heard.clear()
    watcher.look(order(), enough)
    assert ears.heard == [Seen, Finished]
    assert len(read) == len(set(read))


def test_models_are_loaded_before_anybody_looks_and_no_camera_is_opened(
    order: Callable[[], Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a password is typed, say; a look that comes meanwhile is kept waiting by nobody."""
    read: list[str] = []
    opened: list[Order] = []

    def counted(spec: ModelSpec) -> bytes:
        read.append(spec.name)
        return read_model(spec)

    def watched(wanted: Order) -> FrameSource:
        opened.append(wanted)
        return frame_source(wanted)

    monkeypatch.setattr(eyes, "read_model", counted)
    frame_source = wiring.frame_source
    monkeypatch.setattr(wiring, "frame_source", watched)
    ears = Ears()
    watcher = eyes.Eyes(cast("Channel", ears))
    given = order()
    watcher.load(given, lambda: False)
    assert (ears.heard, opened) == ([], [])
    for file in given.recording:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file.fd)
    loaded = list(read)
    assert "attack_detector" in loaded

    watcher.look(order(), threading.Event())
    assert ears.heard == [Seen, Finished]
    assert read == loaded


class Camera:
    """One that nobody may look through."""

    is_recording = False
    closed = False

    def frames(self) -> Iterator[Frame]:
        """Fail."""
        raise AssertionError("the camera was opened")

    def close(self) -> None:
        """As of any camera."""
        self.closed = True


def test_each_model_has_run_before_anybody_looks_and_no_camera_is_opened(
    order: Callable[[], Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first run takes longer: it shall not be that of the first login after a boot."""
    ran: list[str] = []
    camera = Camera()

    def counting(name: str, method: str) -> None:
        make = getattr(wiring, name)

        def made(*given: object) -> object:
            model = make(*given)
            run = getattr(model, method)
            monkeypatch.setattr(
                type(model), method, lambda _, *of: (ran.append(name), run(*of))[1], raising=True
            )
            return model

        monkeypatch.setattr(wiring, name, made)

    for name, method in (
        ("detector", "detect"),
        ("embedder", "embed"),
        ("landmarker", "locate"),
        ("cover_detector", "covered"),
        ("attack_detector", "score"),
    ):
        counting(name, method)
    monkeypatch.setattr(wiring, "frame_source", lambda _: camera)
    given = order()
    for file in given.recording:
        os.close(file.fd)
    live = dataclasses.replace(given, recording=())

    eyes.Eyes(cast("Channel", Ears())).load(live, lambda: False)

    assert set(ran) == {"detector", "embedder", "landmarker", "cover_detector", "attack_detector"}
    assert camera.closed


def test_whoever_looks_waits_for_no_errand_but_the_models(
    order: Callable[[], Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_read = threading.Event()

    def slowly(spec: ModelSpec) -> bytes:
        may_read.wait()
        return read_model(spec)

    monkeypatch.setattr(eyes, "read_model", slowly)
    ears = Ears()
    watcher = eyes.Eyes(cast("Channel", ears))
    watcher.load(order(), lambda: True)  # or this would hang
    may_read.set()
    watcher.look(order(), threading.Event())
    assert ears.heard == [Seen, Finished]
