"""Each owner of a secret overwrites it; what is left in a process is in test_biometrics."""

from __future__ import annotations

import contextlib
import math
import socket
from array import array
from pathlib import Path

import msgspec
import pytest

from pam_faceid.adapters.vault import sealing
from pam_faceid.adapters.vault.templates import SealedTemplateStore
from pam_faceid.apps.protocol import Authenticate, Channel
from pam_faceid.apps.sightings import Seen
from pam_faceid.core.errors import ProtocolError
from pam_faceid.core.types import (
    Embedding,
    Observation,
    Reference,
    ReferenceTemplate,
    SampleQuality,
)

DIMENSIONS = 64
MODEL = "sface@0123456789ab"
QUALITY = SampleQuality(
    size_px=100.0,
    yaw=0.0,
    pitch=0.0,
    roll_degrees=0.0,
    sharpness=100.0,
    brightness=100.0,
    contrast=50.0,
)


def embedding() -> Embedding:
    return Embedding(array("f", [1 / math.sqrt(DIMENSIONS)] * DIMENSIONS), MODEL)


def template() -> ReferenceTemplate:
    reference = Reference(embedding(), enrolled_at=0.0, quality=QUALITY, source="camera")
    return ReferenceTemplate("someone", 1000, MODEL, (reference,), created_at=0.0)


class Keys:
    """Gives a key, and remembers the buffers that it gave."""

    def __init__(self) -> None:
        self.given: list[bytearray] = []

    def key(self) -> bytearray:
        self.given.append(bytearray(range(32)))
        return self.given[-1]

    def next_key(self) -> None:
        return None


def test_a_template_that_is_wiped_holds_no_number() -> None:
    wiped = template()
    wiped.wipe()
    assert wiped.references[0].embedding.vector.tolist() == [0.0] * DIMENSIONS


def test_the_key_does_not_outlive_the_opening_of_a_template(tmp_path: Path) -> None:
    keys = Keys()
    store = SealedTemplateStore(tmp_path / "templates", keys)
    store.save(template(), replace=False)
    opened = store.load("someone", 1000)
    assert opened.references[0].embedding.vector == embedding().vector
    assert len(keys.given) >= 2
    assert not any(map(any, keys.given))


def test_what_a_template_was_opened_into_is_its_callers_to_overwrite() -> None:
    key = bytes(range(32))
    sealed = sealing.seal(b"body", key=key, user="someone", uid=1000, model_id=MODEL)
    plaintext = sealing.unseal(sealed, key=key, user="someone", uid=1000, origin="FILE").body
    assert isinstance(plaintext, bytearray)
    sealing.wipe(plaintext)
    assert plaintext == bytes(4)


def test_a_sighting_is_overwritten_when_it_becomes_an_observation() -> None:
    observation = Observation(
        index=0,
        captured_at=0.0,
        refusal=None,
        quality=QUALITY,
        embedding=embedding(),
        stage_ms={},
    )
    seen = Seen.of(observation)
    rebuilt = seen.observation(model_id=MODEL, dimensions=DIMENSIONS)
    assert rebuilt.embedding is not None
    assert rebuilt.embedding.vector == embedding().vector
    assert seen.vector == bytes(4 * DIMENSIONS)


@pytest.mark.parametrize(
    "line", [b'{"op":"authenticate","user":"u","service":"s"}\n', b"not in the protocol\n"]
)
def test_a_line_is_overwritten_once_it_was_read(line: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(line)
        channel = Channel(theirs)
        lines: list[bytearray] = []

        def decode(given: bytearray) -> Authenticate:
            lines.append(given)
            assert given == line
            return msgspec.json.decode(given, type=Authenticate)

        with contextlib.suppress(ProtocolError):
            channel.receive(decode)
        assert lines == [bytearray(len(line))]
        channel.close()
