"""Whatever a peer says, it is a message of the protocol or a refusal, within bounded memory."""

from __future__ import annotations

import json
import math
import random
import socket
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from pam_faceid.apps import protocol, sightings
from pam_faceid.apps.order import Enough, Look
from pam_faceid.apps.protocol import Channel
from pam_faceid.core.errors import FaceIdError, ProtocolError
from pam_faceid.core.policy import DecisionRule
from pam_faceid.core.types import (
    Embedding,
    Observation,
    Outcome,
    Reference,
    ReferenceTemplate,
    SampleQuality,
)
from pam_faceid.core.verification import verify
from tests.fuzz.harness import mutate, tries
from tests.unit.test_hook import load

DIMENSIONS = 8
MODEL = "sface@0ba9fbfa01b5"
QUALITY = SampleQuality(
    size_px=200.0,
    yaw=0.0,
    pitch=0.0,
    roll_degrees=0.0,
    sharpness=99.0,
    brightness=120.0,
    contrast=40.0,
)
WORDS = [
    *(b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"\n", b"null", b"true", b"1e999", b"-0"),
    *(b"NaN", b"Infinity", b"\\ud800", b"\\u0000", b"\xff\xfe", b"\xf0\x9f\x98\x80", b"9" * 400),
    *(b'"op"', b'"authenticate"', b'"let_in"', b'"skip"', b'"confirmed"', b'"seen"', b'"failed"'),
    *(b'"user"', b'"service"', b'"root"', b'"vector"', b'"stage_ms"', b'"outcome"', b'"match"'),
    *(b'"within"', b'"info"', b'"confirm"', b"[" * 3000, b'{"a":' * 3000, b"x" * 70_000),
]


@contextmanager
def heard(data: bytes, *, split: int, max_line: int) -> Iterator[Channel]:
    """A channel that has heard these bytes and then the end, some of them before it was made."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    channel = Channel(theirs, received=data[:split], max_line=max_line)
    try:
        with ours:
            ours.sendall(data[split:])
        yield channel
    finally:
        channel.close()


def messages(
    data: bytes, decode: Callable[[bytes], object], *, split: int, max_line: int
) -> list[object]:
    """Every message up to the first that is refused, or the end."""
    found = []
    with heard(data, split=split, max_line=max_line) as channel:
        while True:
            try:
                message = channel.receive(decode)
            except ProtocolError:
                return found
            if message is None:
                return found
            found.append(message)


def said(chance: random.Random, corpus: list[bytes]) -> bytes:
    return b"\n".join(mutate(chance, corpus, WORDS) for _ in range(chance.choice((1, 1, 2, 4)))) + (
        b"\n" * chance.randrange(2)
    )


def test_whatever_a_client_says_is_a_request_or_a_refusal() -> None:
    kinds = protocol.Authenticate | protocol.LetIn | protocol.Skip | protocol.Confirmed
    decode = msgspec.json.Decoder(kinds).decode
    corpus = [
        *map(
            msgspec.json.encode,
            (
                protocol.Authenticate(user="alice", service="sudo", rhost="h", tty="/dev/pts/3"),
                protocol.LetIn(user="alice", service="gdm-password"),
                protocol.Skip(),
                protocol.Confirmed(),
            ),
        ),
        b'{"op": "authenticate", "user": "a", "service": "s"}\n{"op": "skip"}',
    ]
    for chance in tries("requests", count=60_000):
        data = said(chance, corpus)
        found = messages(
            data, decode, split=chance.randint(0, len(data)), max_line=protocol.MAX_REQUEST_BYTES
        )
        for message in found:
            assert isinstance(message, kinds)
            # No half of a surrogate pair gets in, which could be neither logged nor looked up.
            assert decode(msgspec.json.encode(message)) == message, chance


def seen(chance: random.Random) -> bytes:
    vector = [chance.gauss(0, 1) for _ in range(DIMENSIONS)]
    norm = math.sqrt(sum(number * number for number in vector))
    embedding = Embedding(array("f", [number / norm for number in vector]), MODEL)
    observation = Observation(
        index=chance.randrange(9),
        captured_at=chance.random(),
        refusal=None,
        quality=QUALITY,
        embedding=embedding,
        stage_ms={"detect": 20.0},
        origin="/dev/video0",
    )
    return msgspec.json.encode(sightings.Seen.of(observation))


def template() -> ReferenceTemplate:
    vector = array("f", [1.0, *[0.0] * (DIMENSIONS - 1)])
    return ReferenceTemplate(
        user="alice",
        uid=1000,
        model_id=MODEL,
        references=(Reference(Embedding(vector, MODEL), 0.0, QUALITY, "x"),),
        created_at=0.0,
    )


def test_whatever_an_observer_says_is_an_observation_or_a_refusal() -> None:
    """An observer that was taken over makes up embeddings, and can do no more than that."""
    kinds = sightings.Seen | sightings.Failed | sightings.Unreadable | sightings.Finished
    decode = msgspec.json.Decoder(kinds).decode
    others = [
        msgspec.json.encode(message)
        for message in (
            sightings.Failed(error="CameraError", message="gone", hint="plug it in"),
            sightings.Unreadable(name="a.jpg", message="damaged", hint=""),
            sightings.Finished(),
        )
    ]
    rule = DecisionRule(threshold=0.999, agreeing_frames=1, refusing_frames=15)
    enrolled = template()
    for chance in tries("sightings", count=30_000):
        data = said(chance, [seen(chance), seen(chance), *others])
        split = chance.randint(0, len(data))
        observations = []
        for message in messages(data, decode, split=split, max_line=protocol.MAX_LINE_BYTES):
            assert isinstance(message, kinds)
            if isinstance(message, sightings.Seen):
                try:
                    observations.append(message.observation(model_id=MODEL, dimensions=DIMENSIONS))
                except FaceIdError:
                    continue
        verdict = verify(observations, enrolled, rule=rule, matcher="nearest")
        near = [
            observation
            for observation in observations
            if observation.embedding is not None and observation.embedding.vector[0] >= 0.998
        ]
        assert verdict.outcome is not Outcome.MATCH or near, chance


def test_whatever_the_service_orders_is_an_order_or_a_refusal(models_dir: Path) -> None:
    """The other direction: the observer's parser is not a way back into it."""
    decode = msgspec.json.Decoder(Look | Enough).decode
    corpus = [msgspec.json.encode(Enough()), b'{"op":"look","order":{"camera":{},"detection":{}}}']
    for chance in tries("orders", count=20_000):
        data = said(chance, corpus)
        for message in messages(data, decode, split=0, max_line=protocol.MAX_LINE_BYTES):
            assert isinstance(message, Look | Enough)


class Handle:
    """What pam_python hands to the hook; the person presses Enter at every prompt."""

    PAM_TEXT_INFO = 4
    PAM_PROMPT_ECHO_OFF = 1
    PAM_SILENT = 0x8000
    service = "sudo"
    rhost = None
    tty = None
    env: ClassVar[dict[str, str]] = {}

    def get_user(self, prompt: object) -> str:
        return "alice"

    def Message(self, style: int, text: str) -> tuple[int, str]:
        assert type(text) is str
        return style, text

    class Answer:
        resp = ""
        resp_retcode = 0

    def conversation(self, message: object) -> Answer:
        return self.Answer()


class Service:
    """Listens where `faceidd` would, and says the same bytes to whoever connects."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self.says = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                try:
                    connection.recv(4096)
                    connection.sendall(self.says)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):  # what the client still says
                        pass
                except OSError:
                    continue


def first_outcome(data: bytes) -> object:
    """What a reference reading of the protocol makes of the bytes; None without an outcome."""
    for line in data.split(b"\n")[:-1]:
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(reply, dict):
            return None
        if "outcome" in reply:
            return reply["outcome"]
    return None


@pytest.mark.root  # the hook believes only a listener of root's
def test_whatever_the_service_replies_opens_nothing_but_by_the_one_word(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "etc/pam_faceid/templates").mkdir(parents=True)
    (tmp_path / "etc/pam_faceid/templates/alice.template").touch()
    (tmp_path / "run/pam_faceid").mkdir(parents=True)
    service = Service(tmp_path / "run/pam_faceid/socket")
    corpus = [
        b'{"within":15.0}\n{"info":"Looking for your face"}\n{"outcome":"match"}\n',
        b'{"within": 1}\n{"outcome": "non_match"}\n',
        b'{"within": 90}\n{"confirm": "Press Enter"}\n{"outcome": "match"}\n',
        b'{"outcome":"not_permitted"}\n',
    ]
    accepted = 0
    for chance in tries("replies", count=2_000):
        service.says = mutate(chance, corpus, WORDS)
        hook = load(repository)  # as pam_python does for each PAM handle
        code = hook.pam_sm_authenticate(Handle(), 0, ["hook.py", f"root={tmp_path}"])
        assert type(code) is int
        assert code in hook.PAM_CODES.values()
        if code == hook.PAM_SUCCESS:
            accepted += 1
            assert first_outcome(service.says) == "match", chance
    assert accepted, "no reply got through, so nothing was tried"
