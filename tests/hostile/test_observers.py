"""What an observer that was taken over can do to the service: end the attempt at hand."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pam_faceid.adapters.cameras.recording import OpenFile
from pam_faceid.adapters.seat import plugged_in
from pam_faceid.apps import ordering
from pam_faceid.apps.observer import SETTLING_SECONDS, Observer, WarmObserver
from pam_faceid.apps.order import Order
from pam_faceid.apps.protocol import MAX_LINE_BYTES, wait_for_line
from pam_faceid.apps.sightings import Failed, Finished, Seen, Unreadable
from pam_faceid.core.config import CameraConfig, Config
from pam_faceid.core.errors import CameraError, FaceIdError, ProtocolError
from pam_faceid.core.types import Embedding, Observation, SampleQuality
from pam_faceid.layout import Layout

Play = Callable[[socket.socket], None]


@pytest.fixture
def order(tmp_path: Path, models_dir: Path) -> Order:
    """An order to look through a live camera."""
    from pam_faceid.adapters.models.manifest import load_manifests

    layout = Layout(tmp_path)
    layout.models.parent.mkdir(parents=True)
    layout.models.symlink_to(models_dir)
    return ordering.order_for(Config(), load_manifests(layout), one_shot=False)


def seen(order: Order, index: int = 0) -> bytes:
    """A line about a face, as the protocol has it."""
    vector = np.zeros(order.embedder.dimensions, np.float32)
    vector[0] = 1.0
    observation = Observation(
        index=index,
        captured_at=0.0,
        refusal=None,
        quality=SampleQuality(
            size_px=120.0,
            yaw=0.0,
            pitch=0.0,
            roll_degrees=0.0,
            sharpness=200.0,
            brightness=110.0,
            contrast=50.0,
        ),
        embedding=Embedding(vector, "m@1"),
        stage_ms={},
        origin="camera",
    )
    return line(Seen.of(observation))


def line(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message) + b"\n"


class Stage:
    """Observers that play what they were told, one after the other, each on a socket of its own."""

    def __init__(self, *plays: Play) -> None:
        self._plays = list(plays)
        self.started = 0

    def start(self) -> Observer:
        ours, theirs = socket.socketpair()
        play = self._plays[self.started]
        self.started += 1
        threading.Thread(target=_perform, args=(play, theirs), daemon=True).start()
        return Observer(ours, pid=None)


def _perform(play: Play, connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        play(connection)
        while connection.recv(65536):
            pass


def read_lines(connection: socket.socket, count: int) -> None:
    received = b""
    while received.count(b"\n") < count:
        received += connection.recv(1 << 20)


def honest(order: Order) -> Play:
    """One face a look, and `finished` after each `enough`."""

    def play(connection: socket.socket) -> None:
        orders = connection.makefile("rb")
        while orders.readline():
            connection.sendall(seen(order))
            orders.readline()
            connection.sendall(line(Finished()))

    return play


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """What the kernel knows: one camera."""
    (tmp_path / "sys/class/video4linux/video0").mkdir(parents=True)
    return tmp_path / "sys"


@pytest.fixture
def warm(sys: Path) -> Iterator[Callable[..., tuple[WarmObserver, Stage]]]:
    made = []

    def make(*plays: Play) -> tuple[WarmObserver, Stage]:
        stage = Stage(*plays)
        made.append(WarmObserver(stage.start, cameras=lambda: plugged_in(sys)))
        return made[-1], stage

    yield make
    for each in made:
        each.drop()


Warm = Callable[..., tuple[WarmObserver, Stage]]


def test_an_honest_observer_looks_again_and_again(warm: Warm, order: Order) -> None:
    """Or the tests below would prove nothing."""
    observer, stage = warm(honest(order))
    for _ in range(3):
        with observer.look(order) as sight:
            assert sight.next() is not None
    assert stage.started == 1


def test_who_was_had_to_load_models_looks_with_them(warm: Warm, order: Order) -> None:
    heard: list[str] = []

    def loads_first(connection: socket.socket) -> None:
        with connection.makefile("rb", buffering=0) as orders:
            heard.append(msgspec.json.decode(orders.readline())["op"])
        honest(order)(connection)

    observer, stage = warm(loads_first)
    observer.prepare(order)
    assert observer.is_loaded
    with observer.look(order) as sight:
        assert sight.next() is not None
    assert (stage.started, heard) == (1, ["load"])


def test_who_dies_of_loading_is_replaced(warm: Warm, order: Order) -> None:
    gone = threading.Event()

    def leave(connection: socket.socket) -> None:
        read_lines(connection, 1)
        connection.shutdown(socket.SHUT_RDWR)
        gone.set()

    observer, stage = warm(leave, honest(order))
    observer.prepare(order)
    assert gone.wait(60)
    with observer.look(order) as sight:
        assert sight.next() is not None
    assert stage.started == 2


def test_it_is_told_once_that_it_was_enough(warm: Warm, order: Order) -> None:
    """A second time would be taken for an answer to the next order."""
    observer, stage = warm(honest(order))
    for _ in range(3):
        with observer.look(order) as sight:
            assert sight.next() is not None
            sight.enough()
            sight.enough()
    assert stage.started == 1


def test_a_frame_of_one_look_is_never_taken_for_one_of_the_next(warm: Warm, order: Order) -> None:
    """Else whoever sat there before would be the one who is let in now."""

    def slow_to_stop(connection: socket.socket) -> None:
        read_lines(connection, 1)
        connection.sendall(seen(order, index=77))
        read_lines(connection, 1)  # `enough`, and then it goes on regardless
        for _ in range(5):
            connection.sendall(seen(order, index=77))
            time.sleep(SETTLING_SECONDS / 2)

    observer, stage = warm(slow_to_stop, honest(order))
    with observer.look(order) as sight:
        assert sight.next().index == 77
    with observer.look(order) as sight:
        assert sight.next().index == 0
    assert stage.started == 2


def test_an_observer_that_speaks_unasked_is_replaced(warm: Warm, order: Order) -> None:
    said = threading.Event()

    def forward(connection: socket.socket) -> None:
        read_lines(connection, 1)
        connection.sendall(line(Finished()) + seen(order, index=77))
        said.set()

    observer, stage = warm(forward, honest(order))
    with observer.look(order) as sight:
        assert sight.next() is None
    assert said.wait(60)
    with observer.look(order) as sight:
        assert sight.next().index == 0
    assert stage.started == 2


def test_an_observer_that_never_stops_talking_does_not_stop_the_clock(
    warm: Warm, order: Order
) -> None:
    def flood(connection: socket.socket) -> None:
        while True:
            connection.sendall(seen(order) * 50)

    observer, stage = warm(flood, honest(order))
    with observer.look(order) as sight:
        sight.next()
        while not sight.channel.has_line():
            sight.next()
        assert wait_for_line([sight.channel], until=time.monotonic()) is None
    with observer.look(order):
        assert stage.started == 2


def test_a_line_that_is_begun_and_not_ended_ends_the_attempt(warm: Warm, order: Order) -> None:
    observer, stage = warm(lambda connection: connection.sendall(seen(order)[:20]), honest(order))
    with pytest.raises(ProtocolError, match="in time"), observer.look(order) as sight:
        sight.next()
    with observer.look(order) as sight:
        assert sight.next() is not None
    assert stage.started == 2


def test_a_line_without_an_end_is_not_kept(warm: Warm, order: Order) -> None:
    def endless(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"x" * MAX_LINE_BYTES)

    observer, _ = warm(endless)
    with pytest.raises(ProtocolError, match="longer"), observer.look(order) as sight:
        sight.next()


def test_files_that_were_never_given_cannot_be_unreadable(warm: Warm, order: Order) -> None:
    """Such lines are kept until the end of the look, so they must be few."""

    def lament(connection: socket.socket) -> None:
        while True:
            connection.sendall(line(Unreadable("n", "m", "h")))

    observer, _ = warm(lament)
    with pytest.raises(ProtocolError, match="more files"), observer.look(order) as sight:
        sight.next()


def test_an_observer_that_hangs_up_ends_the_attempt_and_is_replaced(
    warm: Warm, order: Order
) -> None:
    observer, stage = warm(lambda connection: connection.close(), honest(order))
    with pytest.raises(FaceIdError), observer.look(order) as sight:
        sight.next()
    with observer.look(order) as sight:
        assert sight.next() is not None
    assert stage.started == 2


def test_after_a_failure_a_new_observer_looks(warm: Warm, order: Order) -> None:
    """A camera that was plugged in again is one that the old process may not open."""

    def failing(connection: socket.socket) -> None:
        read_lines(connection, 1)
        connection.sendall(line(Failed("CameraError", "no camera", "")))

    observer, stage = warm(failing, honest(order))
    with pytest.raises(CameraError), observer.look(order) as sight:
        sight.next()
    with observer.look(order) as sight:
        assert sight.next() is not None
    assert stage.started == 2


def test_another_camera_needs_another_observer(warm: Warm, order: Order) -> None:
    """It is confined to the camera and the models that it was started for."""
    observer, stage = warm(honest(order), honest(order), honest(order))
    other_camera = replace(order, camera=CameraConfig(device="/dev/v4l/by-id/other"))
    other_model = replace(order, embedder=msgspec.structs.replace(order.embedder, name="other"))
    for expected, each in enumerate((order, other_camera, other_model), start=1):
        for _ in range(2):
            with observer.look(each):
                assert stage.started == expected


def test_a_camera_that_was_plugged_in_again_needs_another_observer(
    warm: Warm, order: Order, sys: Path
) -> None:
    """Its node is another file, which the one that is confined to the old file may not open."""
    observer, stage = warm(honest(order), honest(order), honest(order))
    with observer.look(order):
        assert stage.started == 1
    again = sys / "class/video4linux/again"
    again.mkdir()
    again.rename(sys / "class/video4linux/video0")
    for _ in range(2):
        with observer.look(order):
            assert stage.started == 2
    (sys / "class/video4linux/video1").mkdir()
    with observer.look(order):
        assert stage.started == 3, 'which "auto" may mean'


def test_a_recordings_files_are_closed_when_no_observer_can_be_had(order: Order) -> None:
    def refuse() -> Observer:
        raise FaceIdError("nobody is there")

    def look(recorded: Order) -> None:
        with WarmObserver(refuse, cameras=frozenset).look(recorded):
            pass

    for ask in (look, WarmObserver(refuse, cameras=frozenset).prepare):
        fd = os.open(os.devnull, os.O_RDONLY)
        with pytest.raises(FaceIdError):
            ask(replace(order, recording=(OpenFile(name="0.png", fd=fd, kind="image"),)))
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
