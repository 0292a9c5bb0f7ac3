"""A challenge through real libpam: who does what is asked, and what a picture does instead."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.performances import STOCKS, Shot, Stock, pictures, straight_ahead, way
from benchmarks.tilted_photos import Held, rendered
from pam_faceid.apps.last_word import NOT_DONE
from pam_faceid.core.challenge import WORDS
from pam_faceid.core.movements import Action
from tests.integration.conftest import Account, Machine, Program, new_machine

if TYPE_CHECKING:
    from tests.integration.conftest import Ended

pytestmark = pytest.mark.root

Picture = NDArray[np.uint8]

OWNER, OTHER = STOCKS[0], STOCKS[1]
ASKED = (Action.RIGHT, Action.NOD)
SECONDS = 120  # longer than the longest attempt that a client allows
THINNED = 4  # every fourth frame of a movement: a busy machine looks at few in a second

# Only root writes the line of a service, and so only root can name another worker than ours.
WORKER = """
import sys
from pam_faceid.apps import worker
from pam_faceid.core.challenge import Challenge, Pace
from pam_faceid.core.movements import Action
asked = ({asked})
# As many frames as it takes: what is tested is what they show, and not this machine.
pace = Pace(action={action}, settle=60.0, whole=70.0, gap=30.0, hold=0.0, reaction=0.0)
worker.main(
    sys.argv[1:], challenge=lambda limit: Challenge(asked, threshold=limit, pace=pace)
)
"""


@dataclass(frozen=True)
class Set:
    """A machine on which the owner is enrolled and asked for what the test knows.

    Args:
        owner, other: Every frame of two people's recordings.
    """

    machine: Machine
    owner: Sequence[Picture]
    other: Sequence[Picture]

    def asks(self, *actions: Action, seconds: float = 60.0) -> None:
        """Have the worker of the service ask for these."""
        root = self.machine.layout.root
        script, python = root / "asks.py", root / "python"
        asked = "".join(f"Action({action.value!r}), " for action in actions)
        script.write_text(WORKER.format(asked=asked, action=seconds))
        # Called as an interpreter: -I -B -m MODULE --root DIR.
        python.write_text(
            f'#!/bin/sh\nshift 4\nexec {self.machine.program.python} -I -B {script} "$@"\n'
        )
        python.chmod(0o755)
        self.machine.write_service(python=python)

    def films(self, frames: Sequence[Picture], *, mode: str = "challenge") -> None:
        """Put pictures before the recorded camera."""
        folder = Path(tempfile.mkdtemp(dir=self.machine.layout.root))
        files = []
        for number, frame in enumerate(frames):
            files.append(folder / f"{number:03}.png")
            assert cv2.imwrite(str(files[-1]), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self.machine.show(*files)
        shutil.rmtree(folder)
        text = self.machine.layout.config_file.read_text().replace('[attack]\nmode = "off"\n', "")
        self.machine.configure(
            f'{text}[attack]\nmode = "{mode}"\n[attempt]\ntimeout_seconds = 50.0\n'
        )

    def refused(self) -> tuple[Ended, dict[str, str]]:
        """Try; the password decides, and counts, so that nobody is locked out."""
        password = self.machine.account.password
        ended = self.machine.authenticate(password, "authenticate", "setcred", seconds=SECONDS)
        assert ended.accepted
        assert ended.asked_password
        return ended, self.machine.audit()[-1]


def acted(stock: Stock, frames: Sequence[Picture], *actions: Action) -> list[Picture]:
    """The person looks ahead, does one after the other, and looks ahead again."""
    ahead = straight_ahead(stock)
    shots: list[Shot] = [next(ahead) for _ in range(6)]
    for action in actions:
        shots += way(stock, action)[::THINNED]
        shots += [next(ahead) for _ in range(6)]
    return [frames[shot.frame] for shot in shots]


@pytest.fixture(scope="module")
def made(account: Account, program: Program, models_copy: Path, shared_data: Path) -> Iterator[Set]:
    with new_machine(account, program, models_copy) as machine:
        # The challenge alone: the detector has tests of its own, and weights that change.
        models = machine.layout.root / "models"
        shutil.copytree(models_copy, models)
        manifest = (models / "manifest.toml").read_text()
        head, detector, rest = manifest.partition('name = "attack_detector"\n')
        before, _, after = rest.partition("threshold = ")
        rest = f"{before}threshold = -100.0\n{after.partition(chr(10))[2]}"
        (models / "manifest.toml").write_text(head + detector + rest)
        machine.layout.models.unlink()
        machine.layout.models.symlink_to(models)
        machine.enrol(OWNER.selfie(shared_data))
        yield Set(machine, pictures(OWNER, shared_data), pictures(OTHER, shared_data))


def test_who_does_what_is_asked_is_let_in_and_told_each_word_in_turn(made: Set) -> None:
    made.asks(*ASKED)
    made.films(acted(OWNER, made.owner, *ASKED))
    ended = made.machine.authenticate(None, seconds=SECONDS)
    line = made.machine.audit()[-1]
    assert ended.accepted, (ended.output, line)
    assert not ended.asked_password
    told = [ended.output.index(WORDS[action]) for action in ASKED]
    assert told == sorted(told)
    assert line["outcome"] == "match"
    assert line["attack_mode"] == "challenge"
    assert line["challenge"] == "turn_right,nod"
    assert "challenge_failed" not in line


def test_a_video_of_another_challenge_is_an_attack(made: Set) -> None:
    made.asks(Action.LEFT, Action.NOD)
    made.films(acted(OWNER, made.owner, *ASKED))
    ended, line = made.refused()
    assert WORDS[Action.LEFT] in ended.output
    assert WORDS[Action.NOD] not in ended.output
    assert (line["outcome"], line["challenge_failed"]) == ("presentation_attack", "another_action")


def test_a_photo_that_is_held_still_is_an_attack(made: Set) -> None:
    made.asks(*ASKED, seconds=2.0)
    made.films(acted(OWNER, made.owner)[:1])
    ended, line = made.refused()
    assert NOT_DONE in ended.output
    assert (line["outcome"], line["challenge_failed"]) == ("presentation_attack", "left_undone")


def test_a_photo_that_is_tilted_and_moved_is_an_attack(made: Set) -> None:
    made.asks(*ASKED, seconds=6.0)
    height, width = made.owner[OWNER.straight[0]].shape[:2]
    photo = made.owner[OWNER.straight[0]][height - width :]
    held = [Held()] * 12 + [Held(turn=45.0 * share) for share in (0.3, 0.7, 1.0, 1.0, 0.7, 0.3)]
    held += [Held(turn=-one.turn, away=one.away) for one in held[12:]] + [Held(away=0.46)] * 6
    made.films([rendered(photo, one, None) for one in held])
    ended, line = made.refused()
    assert WORDS[Action.RIGHT] in ended.output
    assert line["outcome"] == "presentation_attack"


def test_somebody_else_who_does_the_rest_is_not_let_in(made: Set) -> None:
    made.asks(*ASKED)
    first = acted(OWNER, made.owner, Action.RIGHT)
    made.films([*first, *acted(OTHER, made.other, Action.NOD)])
    _, line = made.refused()
    assert line["outcome"] in ("non_match", "presentation_attack")
    assert line["challenge_failed"] in ("another_face", "face_jumped")


def test_a_second_face_during_a_challenge_ends_it(made: Set) -> None:
    made.asks(*ASKED)
    alone = acted(OWNER, made.owner)
    beside = made.other[OTHER.straight[0]]
    wall = np.full_like(beside, 128)
    made.films(
        [np.hstack([picture, wall]) for picture in alone]
        + [np.hstack([picture, beside]) for picture in alone]
    )
    _, line = made.refused()
    assert (line["outcome"], line["challenge_failed"]) == ("non_match", "several_faces")


def test_a_face_that_leaves_and_another_that_returns_is_not_let_in(made: Set) -> None:
    made.asks(*ASKED)
    first, then = acted(OWNER, made.owner), acted(OTHER, made.other, *ASKED)
    made.films([*first, *[np.full_like(first[0], 128)] * 8, *then])
    _, line = made.refused()
    assert line["outcome"] in ("non_match", "presentation_attack")


def test_a_camera_that_is_unplugged_half_way_ends_at_the_password_and_counts(made: Set) -> None:
    made.asks(*ASKED)
    made.films(acted(OWNER, made.owner, Action.RIGHT))
    *_, last = sorted((made.machine.layout.root / "recording").iterdir())
    last.write_bytes(b"no picture any more")
    ended, line = made.refused()
    assert WORDS[Action.RIGHT] in ended.output
    assert line["outcome"] == "failure_to_acquire"
    assert line["challenge_failed"] == "unfinished"


def test_only_the_services_that_want_it_ask(made: Set) -> None:
    made.asks(*ASKED)
    made.films(acted(OWNER, made.owner)[:2])
    text = made.machine.layout.config_file.read_text()
    made.machine.configure(f'{text}[services.{made.machine.service}]\nattack = "off"\n')
    ended = made.machine.authenticate(None)
    assert ended.accepted
    assert not any(words in ended.output for words in WORDS.values())
    assert "challenge" not in made.machine.audit()[-1]
