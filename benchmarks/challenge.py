"""`python -m benchmarks.challenge`: who meets a challenge, and what a picture can make of one.

People of `td_live_real` are enrolled from a selfie and do what is asked, cut out of their head-turn
videos (`benchmarks.performances`); the same people do something else; recordings are played as they
are, the replays of phones among them; and photographs of LFW, flat and bent, are tilted and brought
nearer as is asked for. Frames go through `core.observation.observe`, scores through
`core.verification.helped_score`, and the decision is `core.policy.decide`, all as in a login.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks import report
from benchmarks.attack_rates import clopper_pearson
from benchmarks.challenged import RATE, Ended, attempt, evidence_of, observed, template_of
from benchmarks.extraction import SHIPPED_MODELS, Pipeline, load_pipeline
from benchmarks.performances import (
    STOCKS,
    Shot,
    Stock,
    pictures,
    shown,
    straight_ahead,
    way,
)
from benchmarks.tilted_photos import PhotoRow, photographs, tilted
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.apps.rules import decision_rule
from pam_faceid.core.challenge import CHALLENGES, Challenge
from pam_faceid.core.config import Config
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.movements import Action
from pam_faceid.core.policy import DecisionRule
from pam_faceid.core.types import FrameEvidence, Observation, Outcome, ReferenceTemplate

REACTION: Final = 0.8  # seconds from the words to the movement: assumed, nobody was asked
EVERY: Final = 48  # frames between two starts of a recording that is played as it is

Does = Callable[[Action], Action | None]


class Performer:
    """Looks at the camera until something is asked, and then does it, or something else.

    Args:
        stock: Whose pictures.
        does: What of what is asked; None for nothing.
        thinned: Every so many frames are shown.
    """

    def __init__(self, stock: Stock, does: Does, thinned: int) -> None:
        self._stock = stock
        self._does = does
        self._reaction = round(REACTION * RATE)
        self._thinned = thinned

    def shots(self, challenge: Challenge) -> Iterator[Shot]:
        """Yield pictures without an end, seeing what the challenge asks between two of them."""
        zoom, words = 1.0, ""
        straight = straight_ahead(self._stock)
        while True:
            if challenge.words and challenge.words != words:
                words = challenge.words
                asked = challenge.asked
                for _ in range(self._reaction // self._thinned):
                    yield next(straight)
                done = self._does(asked) if asked is not None else None
                if done is not None:
                    yield from way(self._stock, done, zoom)[:: self._thinned]
                if done is Action.CLOSER:
                    zoom *= way(self._stock, done)[-1].zoom
                    straight = straight_ahead(self._stock, zoom)
            yield next(straight)


class Person:
    """Somebody of a recording, enrolled, with each picture looked at once."""

    def __init__(self, stock: Stock, data: Path, pipeline: Pipeline) -> None:
        self.stock = stock
        self._pipeline = pipeline
        self._frames = pictures(stock, data)
        selfie = stock.selfie(data)
        self.template = template_of(decode_image(selfie.read_bytes(), name=selfie.name), pipeline)
        self._looked: dict[Shot, Observation] = {}

    def evidence(self, shot: Shot, template: ReferenceTemplate) -> FrameEvidence:
        """What a picture says of the claim to be whom a template is of."""
        if shot not in self._looked:
            self._looked[shot] = observed(shown(shot, self._frames), self._pipeline)
        return evidence_of(self._looked[shot], template)

    def try_(self, actions: Sequence[Action], does: Does, rule: DecisionRule, thin: int) -> Ended:
        """Let the person try one challenge."""
        challenge = Challenge(actions, threshold=rule.threshold)
        shots = Performer(self.stock, does, thin).shots(challenge)
        frames = (self.evidence(shot, self.template) for shot in shots)
        return attempt(challenge, frames, rule, rate=RATE / thin)

    def as_recorded(self, actions: Sequence[Action], start: int, rule: DecisionRule) -> Ended:
        """Play the recording as it is, from one frame on."""
        challenge = Challenge(actions, threshold=rule.threshold)
        shots = (Shot(number, 1.0) for number in range(start, len(self._frames)))
        frames = (self.evidence(shot, self.template) for shot in shots)
        return attempt(challenge, frames, rule, rate=RATE)

    @property
    def length(self) -> int:
        """Frames of the recording."""
        return len(self._frames)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        pipeline = load_pipeline(options.models, "sface_mirrored")
        rule = decision_rule(Config(), load_manifest(options.models))
        people = [Person(stock, options.data, pipeline) for stock in STOCKS]
        for title, tried in (
            ("does what is asked", _willing),
            ("does something else", _unwilling),
            ("recordings played as they are", _played),
        ):
            print(_table(title, tried(people, rule)), end="\n\n", flush=True)
        photos = photographs(options.data, options.photos, seed=options.seed)
        rows = tilted(photos, pipeline, rule)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.challenge: {error}", file=sys.stderr)
        return 2
    facts = {
        "people": ", ".join(stock.person for stock in STOCKS),
        "photographs": f"{options.photos} of LFW, seed {options.seed}",
        "reaction": f"{REACTION} s, assumed",
        **report.machine(),
    }
    print(_photo_table(rows), report.describe(facts), sep="\n\n")
    return 0


Tried = dict[str, list[Ended]]


def _willing(people: Sequence[Person], rule: DecisionRule) -> Tried:
    tried: Tried = {}
    for thin in (1, 2, 3):
        for person in people:
            for actions in CHALLENGES:
                if person.stock.can(actions):
                    ended = person.try_(actions, lambda asked: asked, rule, thin)
                    tried.setdefault(f"all, {RATE / thin:.0f} frames a second", []).append(ended)
                    if thin == 1:
                        tried.setdefault(person.stock.person, []).append(ended)
                        for action in actions:
                            tried.setdefault(f"with {action.value}", []).append(ended)
    return tried


def _unwilling(people: Sequence[Person], rule: DecisionRule) -> Tried:
    """Each pair of movements in the place of each other pair: a video of another challenge."""
    tried: Tried = {}
    for person in people:
        able = [actions for actions in CHALLENGES if person.stock.can(actions)]
        for asked in CHALLENGES:
            tried.setdefault("nothing at all", []).append(
                person.try_(asked, lambda _: None, rule, 1)
            )
            for done in able:
                if done != asked:
                    turn = dict(zip(asked, done, strict=True))
                    ended = person.try_(asked, turn.get, rule, 1)
                    tried.setdefault("another challenge", []).append(ended)
    return tried


def _played(people: Sequence[Person], rule: DecisionRule) -> Tried:
    tried: Tried = {}
    for person in people:
        for start in range(0, person.length - EVERY, EVERY):
            for actions in CHALLENGES:
                ended = person.as_recorded(actions, start, rule)
                tried.setdefault(person.stock.person, []).append(ended)
    return tried


def _table(title: str, tried: Tried) -> str:
    rows = []
    for name, ended in tried.items():
        met = [one for one in ended if one.outcome is Outcome.MATCH]
        bounds = clopper_pearson(len(met), len(ended))
        whys = Counter(one.why or one.outcome.value for one in ended)
        del whys[Outcome.MATCH.value]
        seconds = f"{report.median(one.seconds for one in met):.1f}" if met else "-"
        told = ", ".join(f"{why} {count}" for why, count in whys.most_common())
        rows.append(
            (name, str(len(ended)), str(len(met)), report.interval(bounds, ".3f"), seconds, told)
        )
    header = (title, "attempts", "let in", "95 %", "seconds", "else")
    return report.table(header, rows)


def _photo_table(rows: Sequence[PhotoRow]) -> str:
    return report.table(
        ("photograph", "photos", "degrees, median", "most", "nose, most", "pass as"),
        [
            (
                row.what,
                str(row.photos),
                f"{row.median_degrees:.1f}",
                f"{row.most_degrees:.1f}",
                f"{row.most_nose:.2f}",
                str(row.passed),
            )
            for row in rows
        ],
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.challenge", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the development data")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS)
    parser.add_argument("--photos", type=int, default=25, help="of LFW, to be tilted")
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
