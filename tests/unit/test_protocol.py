"""What comes over a socket is believed for its form only."""

from __future__ import annotations

import contextlib
import json
import math
import socket
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pam_faceid.apps.protocol import MAX_LINE_BYTES, Authenticate, Channel, Skip
from pam_faceid.apps.sightings import Failed, Finished, Seen, Unreadable
from pam_faceid.core.errors import FaceIdError, ProtocolError
from pam_faceid.core.types import Embedding, Observation, Refusal, SampleQuality

QUALITY = SampleQuality(
    size_px=120.0,
    yaw=0.1,
    pitch=-0.1,
    roll_degrees=3.0,
    sharpness=200.0,
    brightness=110.0,
    contrast=50.0,
)
ANSWERS = msgspec.json.Decoder(Seen | Failed | Unreadable | Finished)


def unit_vector(dimensions: int = 8) -> np.ndarray:
    vector = np.arange(1, dimensions + 1, dtype=np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def seen(**changes: object) -> bytes:
    observation = Observation(
        index=3,
        captured_at=1.5,
        refusal=None,
        quality=QUALITY,
        embedding=Embedding(unit_vector(), "m@1"),
        stage_ms={"detect": 9.0},
        origin="camera",
    )
    line = json.loads(msgspec.json.encode(Seen.of(observation)))
    return json.dumps({**line, **changes}).encode()


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield Channel(ours), theirs
    theirs.close()


def test_an_observation_arrives_as_it_was_sent() -> None:
    observation = ANSWERS.decode(seen()).observation(model_id="m@1", dimensions=8)
    assert observation.index == 3
    assert observation.quality == QUALITY
    assert observation.refusal is None
    assert observation.embedding is not None
    np.testing.assert_array_equal(observation.embedding.vector, unit_vector())
    assert observation.embedding.model_id == "m@1"


def test_the_receiver_and_not_the_observer_says_which_model_it_was() -> None:
    message = ANSWERS.decode(seen())
    assert message.observation(model_id="other@2", dimensions=8).embedding.model_id == "other@2"


def _encoded(vector: np.ndarray) -> str:
    import base64

    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(8),
        np.full(8, math.nan),
        np.full(8, math.inf),
        unit_vector() * 2,
        unit_vector(7),
        unit_vector(9),
        np.array([]),
    ],
    ids=["zeros", "nan", "inf", "long", "short", "too many", "none"],
)
def test_a_vector_that_is_no_embedding_is_refused(vector: np.ndarray) -> None:
    message = ANSWERS.decode(seen(vector=_encoded(vector)))
    with pytest.raises(FaceIdError):
        message.observation(model_id="m@1", dimensions=8)


def test_a_refusal_with_a_vector_and_neither_of_both_are_refused() -> None:
    for line in (seen(refusal="blurred"), seen(vector=None)):
        with pytest.raises(FaceIdError, match="either refused or"):
            ANSWERS.decode(line).observation(model_id="m@1", dimensions=8)
    refused = ANSWERS.decode(seen(vector=None, refusal="blurred"))
    assert refused.observation(model_id="m@1", dimensions=8).refusal is Refusal.BLURRED


HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"match"',
    b'{"op": "match"}',
    b'{"op": "seen"}',
    b'{"outcome": "match"}',
    b"\xff\xfe",
    b"[" * 50000,
    b'{"op": "finished", "outcome": "match"}',
    seen(refusal="no_such_refusal"),
    seen(index="1"),
    seen(vector=[1, 2, 3]),
    seen(outcome="match"),
    seen(quality={"size_px": 1}),
    seen(stage_ms={"detect": "x"}),
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_a_line_outside_the_protocol_is_refused(
    ends: tuple[Channel, socket.socket], line: bytes
) -> None:
    channel, other = ends
    other.sendall(line + b"\n")
    with pytest.raises(ProtocolError):
        channel.receive(ANSWERS.decode)


def test_a_line_without_an_end_is_refused_before_memory_is(
    ends: tuple[Channel, socket.socket],
) -> None:
    import threading

    channel, other = ends
    sender = threading.Thread(target=lambda: _send_quietly(other, b"x" * (4 * MAX_LINE_BYTES)))
    sender.start()
    with pytest.raises(ProtocolError, match="longer"):
        channel.receive(ANSWERS.decode)
    channel.close()
    sender.join()


def _send_quietly(other: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        other.sendall(data)


def test_lines_are_told_apart_however_they_are_cut(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    stream = seen() + b"\n" + seen(index=4) + b"\n" + b'{"op": "finished"}\n'
    for i in range(0, len(stream), 7):
        other.sendall(stream[i : i + 7])
    assert channel.receive(ANSWERS.decode).index == 3
    assert channel.receive(ANSWERS.decode).index == 4
    assert channel.receive(ANSWERS.decode) == Finished()
    other.close()
    assert channel.receive(ANSWERS.decode) is None


def test_an_unfinished_line_of_a_dead_peer_is_no_line(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    other.sendall(b'{"op": "finished"}')
    other.close()
    assert channel.receive(ANSWERS.decode) is None


REQUESTS = msgspec.json.Decoder(Authenticate | Skip)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_make_no_request(line: bytes) -> None:
    assume(not any(op in line for op in (b"authenticate", b"skip")))  # drawn from sources, too
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(line.replace(b"\n", b" ") + b"\n")
        channel = Channel(ours)
        with pytest.raises(ProtocolError):
            channel.receive(REQUESTS.decode)
        channel.close()


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_arbitrary_json_makes_no_request(value: object) -> None:
    line = json.dumps(value).encode()
    with pytest.raises(msgspec.ValidationError):
        REQUESTS.decode(line)
