"""What an observer that was taken over says of a presentation: never more than one that was not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

BOUND_SECONDS = 240
# Two frames are enough to say what it is, and a loaded machine takes its time for them.
SETTINGS = """
[attempt]
timeout_seconds = 60
[matching]
refusing_frames = 2
[attack]
mode = "passive"
"""
FACE = '"x_px": 320, "y_px": 240, "size_px": 200'

# The service, before which an observer sees the right face, and says of it what it was told.
LYING = """
import contextlib, json, socket, sys
from pathlib import Path
import msgspec
from pam_faceid.apps.observing import one_look
from pam_faceid.apps.protocol import Authenticate, Channel, Peer
from pam_faceid.apps.service import Service
from pam_faceid.apps.settings import Settings
from pam_faceid.apps.sightings import Seen
from pam_faceid.core.errors import ProtocolError
from pam_faceid.layout import Layout

root, user, said = sys.argv[1:]
ours, theirs = socket.socketpair()

class Lying:
    def __init__(self, sight, order):
        self.channel, self.sight, self.embedder = sight.channel, sight, order.embedder

    def next(self):
        observation = self.sight.next()
        if observation.embedding is None:
            return observation
        line = json.loads(msgspec.json.encode(Seen.of(observation)))
        line.pop("presentation")
        text = json.dumps(line)[:-1] + (f', "presentation": {said}' if said else "") + "}"
        ends = socket.socketpair()
        ends[0].sendall(text.encode() + b"\\n")
        message = Channel(ends[1]).receive(msgspec.json.Decoder(Seen).decode)
        return message.observation(
            model_id=observation.embedding.model_id, dimensions=self.embedder.dimensions
        )

    def enough(self):
        self.sight.enough()

@contextlib.contextmanager
def look(order):
    with one_look(order) as sight:
        yield Lying(sight, order)

layout = Layout(Path(root))
service = Service(layout, settings=lambda: Settings(layout), look=look, one_shot=True)
service.answer(Authenticate(user, "test"), Channel(theirs), Peer(0, 0))
print(ours.recv(1 << 20).decode())
"""


@pytest.fixture
def enrolled(machine: Machine, enrolment: Machine, portraits: tuple[Path, Path]) -> Machine:
    machine.show(portraits[0])
    machine.enrol_like(enrolment)
    machine.configure(f'[camera]\nrecording = "{machine.layout.root}/recording"\n{SETTINGS}')
    return machine


def answer(machine: Machine, said: str) -> tuple[str, dict[str, str]]:
    """Return the word that the client hears, and the record."""
    ended = subprocess.run(
        [
            *(machine.program.python, "-I", "-c", LYING),
            *(machine.layout.root, machine.account.name, said),
        ],
        timeout=BOUND_SECONDS,
        check=True,
        capture_output=True,
        text=True,
    )
    replies = [json.loads(line) for line in ended.stdout.split("\n") if line]
    return replies[-1]["outcome"], machine.audit()[-1]


def test_a_presentation_that_passes_matches(enrolled: Machine) -> None:
    """Or the tests below would prove nothing."""
    assert answer(enrolled, f'{{{FACE}, "attack_score": 5.0}}')[0] == "match"


@pytest.mark.parametrize(
    "said",
    ["", f'{{{FACE}, "attack_score": null, "relief": 9.0}}'],
    ids=["left out", "another score alone"],
)
def test_a_presentation_of_which_nothing_is_said_is_an_attack(enrolled: Machine, said: str) -> None:
    """And the client, which may be a program of the person's, does not hear that it is one."""
    word, record = answer(enrolled, said)
    assert (word, record["outcome"]) == ("non_match", "presentation_attack")
    assert (record["closeness"], record["presentation"]) == ("reached", "attack")


@pytest.mark.parametrize(
    "said",
    [
        f'{{{FACE}, "attack_score": NaN}}',
        f'{{{FACE}, "attack_score": 1e999}}',
        f'{{{FACE}, "attack_score": 1e9}}',
        f'{{{FACE}, "attack_score": "8"}}',
    ],
    ids=["nan", "inf", "out of range", "text"],
)
def test_what_is_no_evidence_ends_the_attempt(enrolled: Machine, said: str) -> None:
    """tests/unit/test_presentation.py has more of these, as the decoder sees them."""
    word, record = answer(enrolled, said)
    assert (word, record["outcome"]) == ("internal_error", "internal_error")
    assert record["error"]
