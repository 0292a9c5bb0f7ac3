"""Samples of a near miss are kept for seconds, for who asked, and overwritten after that."""

from __future__ import annotations

import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_faceid.apps.adapting import MOST_SAMPLES, Adapting, Gathered
from pam_faceid.apps.near_misses import MOST_NEAR_MISSES, NearMisses
from pam_faceid.apps.protocol import LetIn, Peer
from pam_faceid.apps.settings import Settings
from pam_faceid.core.types import Embedding, Observation, Outcome, SampleQuality
from pam_faceid.layout import Layout

QUALITY = SampleQuality(200.0, 0.0, 0.0, 0.0, 100.0, 120.0, 50.0)
LET_IN = LetIn("alice", "sudo")


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A program of root's that waits."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield Peer(process.pid, 0)
    process.kill()
    process.wait()


def seen() -> Observation:
    vector = array("f", [1.0] + [0.0] * 63)
    return Observation(0, 0.0, None, QUALITY, Embedding(vector, "made@0"), {})


def gathered(peer: Peer, user: str = "alice", *, frames: int = 3) -> Gathered:
    made = Gathered(user, "sudo", peer)
    made.wanted = True
    for _ in range(frames):
        made.see(seen())
    return made


def is_wiped(vectors: list[Embedding]) -> bool:
    return all(not any(vector.vector) for vector in vectors)


def vectors_of(made: Gathered) -> list[Embedding]:
    return [embedding for embedding, _ in made.samples]


def test_what_was_asked_for_is_given_once(peer: Peer) -> None:
    misses, made = NearMisses(), gathered(peer)
    vectors = vectors_of(made)
    misses.keep(made)
    assert not made.samples, "who gives them away has none to wipe"
    taken = misses.take(LET_IN, peer)
    assert taken is not None
    assert vectors_of(taken) == vectors
    assert not is_wiped(vectors)
    with taken:
        pass
    assert is_wiped(vectors)
    assert misses.take(LET_IN, peer) is None


@pytest.mark.parametrize(
    ("request_", "change"),
    [
        (LetIn("bob", "sudo"), {}),
        (LetIn("alice", "login"), {}),
        (LET_IN, {"uid": 1000}),
        (LET_IN, {"pid": 1}),
    ],
)
def test_nobody_else_gets_them(peer: Peer, request_: LetIn, change: dict[str, int]) -> None:
    misses, made = NearMisses(), gathered(peer)
    vectors = vectors_of(made)
    misses.keep(made)
    other = Peer(change.get("pid", peer.pid), change.get("uid", peer.uid))
    assert misses.take(request_, other) is None
    if request_.user == "alice":
        assert is_wiped(vectors)
        assert misses.take(LET_IN, peer) is None


def test_a_program_that_has_ended_cannot_be_the_one_who_asked() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    peer = Peer(process.pid, 0)
    misses, made = NearMisses(), gathered(peer)
    vectors = vectors_of(made)
    misses.keep(made)
    process.kill()
    process.wait()
    assert misses.take(LET_IN, peer) is None
    assert is_wiped(vectors)


def test_after_its_time_it_is_wiped_and_given_to_nobody(peer: Peer) -> None:
    misses, made = NearMisses(seconds=0.0), gathered(peer)
    vectors = vectors_of(made)
    before = time.monotonic()
    misses.keep(made)
    due = misses.next_deadline()
    assert due is not None
    assert due >= before
    misses.expire()
    assert is_wiped(vectors)
    assert misses.next_deadline() is None
    late = gathered(peer)
    vectors = vectors_of(late)
    misses.keep(late)
    assert misses.take(LET_IN, peer) is None
    assert is_wiped(vectors)


def test_few_are_kept_and_nothing_stays_open(peer: Peer) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    misses = NearMisses()
    first = gathered(peer, "user0")
    vectors = vectors_of(first)
    misses.keep(first)
    for number in range(1, MOST_NEAR_MISSES + 1):
        misses.keep(gathered(peer, f"user{number}"))
    assert is_wiped(vectors)
    assert len([*Path("/proc/self/fd").iterdir()]) == before + MOST_NEAR_MISSES
    for number in range(MOST_NEAR_MISSES + 1):
        misses.forget(f"user{number}")
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_an_attempt_keeps_its_latest_samples_and_copies_them(peer: Peer) -> None:
    made = Gathered("alice", "sudo", peer)
    made.wanted = True
    observation = seen()
    assert observation.embedding is not None
    made.see(observation)
    first = made.samples[0][0]
    observation.embedding.wipe()
    assert not is_wiped([first])
    for _ in range(MOST_SAMPLES):
        made.see(seen())
    assert len(made.samples) == MOST_SAMPLES
    assert is_wiped([first])
    unwanted = Gathered("alice", "sudo", peer)
    unwanted.see(seen())
    assert not unwanted.samples


@pytest.mark.parametrize("outcome", [Outcome.NON_MATCH, Outcome.PRESENTATION_ATTACK])
def test_an_attack_teaches_nothing(
    peer: Peer, tmp_path: Path, models_dir: Path, outcome: Outcome
) -> None:
    """The password that follows confirms a face that came near, and no picture of one."""
    layout = Layout(tmp_path)
    layout.models.parent.mkdir(parents=True)
    layout.models.symlink_to(models_dir)
    layout.config_dir.mkdir(parents=True)
    layout.config_file.write_text("[adaptation]\nafter_password = true\n")
    misses, made = NearMisses(), gathered(peer)
    made.best_score = 0.99
    with made:
        Adapting(layout, settings=lambda: Settings(layout), near_misses=misses).ended(made, outcome)
    taken = misses.take(LET_IN, peer)
    assert (taken is not None) is (outcome is Outcome.NON_MATCH)
    if taken is not None:
        taken.wipe()
