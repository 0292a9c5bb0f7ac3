"""What `faceid-admin calibrate` found, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pam_faceid.apps.admin.output import facts, paragraph, table
from pam_faceid.core.matching import rate_at
from pam_faceid.core.own_rates import Advice, Person, Proposal, Spread, spread

if TYPE_CHECKING:
    from pam_faceid.core.calibration import Calibration
    from pam_faceid.core.cohort import Cohort
    from pam_faceid.core.config import Matcher
    from pam_faceid.core.own_rates import OwnRate

DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Told:
    """Everything that is told.

    Args:
        people: Who was measured.
        threshold: In force, cosine.
        target: False match rate that it stands for; NaN where no calibration tells.
        matcher, model: What scores are of.
        calibration: Of both.
        cohort: Whom the people were compared with.
        proposal: What to do.
        config_file: Where it would be done.
        refused: Frames of probes that the quality gate refused, by reason.
        left_out: Users and files that were not measured, and why.
    """

    people: Sequence[Person]
    threshold: float
    target: float
    matcher: Matcher
    model: str
    calibration: Calibration | None
    cohort: Cohort | None
    proposal: Proposal
    config_file: Path
    refused: Mapping[str, int]
    left_out: tuple[str, ...]

    @property
    def look_alikes(self) -> list[tuple[str, str, float]]:
        """Two users of whom one reaches the threshold with the other's template."""
        return [
            (other, person.user, score)
            for person in self.people
            for other, score in person.others.items()
            if score >= self.threshold
        ]


def tell(told: Told) -> None:
    """Write tables, notes and the proposal."""
    facts(
        {
            "match threshold": f"{told.threshold:.4f}, a cosine of {told.model}, {told.matcher}",
            "stands for": _rate(told.target),
            "strangers": _strangers(told),
        }
    )
    columns = ("User", "Own scores", "Lowest", "Median", "Below", "Highest of another user")
    table(columns, [row for person in told.people for row in _rows(person, told)])
    rates = [(p.user, p.strangers.rate(told.threshold)) for p in told.people if p.strangers]
    if rates:
        table(
            ("User", "Strangers let in", "False match rate", "95 %"),
            [(user, f"{rate.reached} of {rate.compared:,}", *_of(rate)) for user, rate in rates],
        )
    for note in _notes(told):
        click.echo(paragraph(note, lead="- ", indent="  "))
    click.echo("")
    _tell_proposal(told)


def _tell_proposal(told: Told) -> None:
    proposal = told.proposal
    if proposal.threshold is None:
        click.echo(paragraph(f"Nothing is proposed: {proposal.why}.", lead="", indent=""))
        return
    if proposal.advice is Advice.KEEP:
        text = (
            f"The threshold in force may stay: {proposal.why}. Of own scores, {proposal.missed} "
            f"fall below it. The template of {proposal.user}, which most strangers are near, has "
            f"the wanted rate between {proposal.threshold.low:.4f} and "
            f"{proposal.threshold.high:.4f} (95 %)."
        )
        click.echo(paragraph(text, lead="", indent=""))
        return
    which = (
        "A TIGHTER threshold is recommended"
        if proposal.advice is Advice.TIGHTER
        else "A LOOSER threshold would be possible, AND LETS MORE STRANGERS IN. Have a reason, and "
        "try another look first (faceid-admin add-user NAME --extend)"
    )
    stands = _stands_for(told)
    text = (
        f"{which}: {proposal.why}. It is {proposal.threshold.value:.4f}, 95 % "
        f"[{proposal.threshold.low:.4f}, {proposal.threshold.high:.4f}], set by {proposal.user}; "
        f"{proposal.missed} own scores fall below it. {stands} Nothing was changed. In "
        f"{told.config_file}:"
    )
    click.echo(paragraph(text, lead="", indent=""))
    click.echo("")
    for line in lines_for(told):
        click.echo(line)


def lines_for(told: Told) -> list[str]:
    """Return what to put into the configuration; nothing where it may stay as it is."""
    own = told.proposal.threshold
    if own is None or told.proposal.advice is Advice.KEEP:
        return []
    threshold = math.ceil(own.value * 1e4) / 1e4
    lines = ["[matching]", f"threshold = {threshold:.4f}"]
    rate = None if told.calibration is None else rate_at(threshold, told.calibration)
    if rate is not None and rate.between is not None:
        lines.append(f'# or, which says nearly the same: target_fmr = "{_rounded_down(rate.low)}"')
    return lines


def _stands_for(told: Told) -> str:
    own = told.proposal.threshold
    if own is None or told.calibration is None:
        return ""
    rate = rate_at(own.value, told.calibration)
    value = f"{rate.low:.2g}" if rate.low == rate.high else f"{rate.low:.2g} to {rate.high:.2g}"
    return (
        f"For anybody's template it stands for a target_fmr of {value}, "
        f"95 % [{rate.interval_low:.2g}, {rate.interval_high:.2g}]."
    )


def _rounded_down(rate: float) -> str:
    """Write a rate with two digits, never looser than it is."""
    power = math.floor(math.log10(rate)) - 1
    return f"{math.floor(rate / 10.0**power + 1e-9) * 10.0**power:.1e}"


def _rows(person: Person, told: Told) -> list[tuple[str, ...]]:
    nearest = max(person.others, key=lambda user: person.others[user], default=None)
    other = "-" if nearest is None else f"{person.others[nearest]:.4f} ({nearest})"
    kinds = [("references", spread(person.references, threshold=told.threshold))]
    if person.probes:
        kinds.append(("probes", spread(person.probes, threshold=told.threshold)))
    return [
        (person.user if index == 0 else "", *_cells(kind, found), other if index == 0 else "")
        for index, (kind, found) in enumerate(kinds)
    ]


def _cells(kind: str, found: Spread) -> tuple[str, str, str, str]:
    if found.lowest is None or found.median is None:
        return f"no {kind} to compare", "-", "-", "-"
    return (
        f"{found.count} {kind}",
        f"{found.lowest:.4f}",
        f"{found.median:.4f}",
        f"{found.below} of {found.count}",
    )


def _of(rate: OwnRate) -> tuple[str, str]:
    return f"{rate.value:.2g}", f"[{rate.low:.2g}, {rate.high:.2g}]"


def _rate(rate: float) -> str:
    if math.isnan(rate):
        return "an unknown false match rate: this model was never calibrated"
    return f"a false match rate of {rate:.2g}"


def _strangers(told: Told) -> str:
    if told.cohort is None:
        return "none: this embedder has no cohort"
    return (
        f"made up as {told.cohort.model_id} sees people; one person's rate may be "
        f"{told.cohort.factor:g} times more or less, which the intervals hold"
    )


def _notes(told: Told) -> list[str]:
    notes = [f"left out: {why}" for why in told.left_out]
    if told.refused:
        why = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in told.refused.items())
        notes.append(f"frames that a login would not compare either: {why}")
    for person in told.people:
        if not person.references and not person.probes:
            notes.append(
                f"{person.user} has one reference, so nothing says how alike {person.user} is from "
                f"one look to the next: --probe {person.user}=PATH or --camera {person.user} does"
            )
        if spread(person.references, threshold=told.threshold).all_equal:
            notes.append(
                f"the references of {person.user} are copies of one picture: their scores say "
                "nothing of how the face varies, and strangers alone were measured"
            )
    if told.cohort is not None and not told.cohort.mean:
        notes.append(
            "this embedder has taken away what all faces share, so strangers are spread evenly and "
            "rates differ by the references of a template alone: docs/recognition.md says by how "
            "much real people differ beyond that"
        )
    if len(told.people) == 1:
        notes.append("there is one user, so nobody else's references were compared")
    for other, user, score in told.look_alikes:
        notes.append(
            f"a reference of {other} scores {score:.4f} with the template of {user}, and would be "
            f"let in: one person with two accounts, or two whom this threshold does not keep apart"
        )
    if not any(person.probes for person in told.people):
        notes.append(
            "references of one enrolment are minutes apart and more alike than a login on another "
            "day; --probe and --camera measure that"
        )
    return notes


def described(told: Told) -> dict[str, object]:
    """Return the same for JSON; no vector is in it."""
    own = told.proposal.threshold
    return {
        "threshold": told.threshold,
        "target_fmr": None if math.isnan(told.target) else told.target,
        "matcher": told.matcher,
        "model": told.model,
        "cohort": None
        if told.cohort is None
        else {"model": told.cohort.model_id, "factor": told.cohort.factor},
        "users": [_person(person, told) for person in told.people],
        "look_alikes": [
            {"of": other, "template": user, "score": round(score, DIGITS)}
            for other, user, score in told.look_alikes
        ],
        "proposal": {
            "advice": told.proposal.advice.value,
            "why": told.proposal.why,
            "user": told.proposal.user or None,
            "threshold": None if own is None else asdict(own),
            "own_scores_below": told.proposal.missed,
            "stands_for": None
            if own is None or told.calibration is None
            else rate_at(own.value, told.calibration)._asdict(),
            "lines": lines_for(told),
        },
        "refused": dict(told.refused),
        "left_out": list(told.left_out),
    }


def _person(person: Person, told: Told) -> dict[str, object]:
    return {
        "user": person.user,
        "references": _rounded(spread(person.references, threshold=told.threshold)),
        "probes": _rounded(spread(person.probes, threshold=told.threshold)),
        "others": {user: round(score, DIGITS) for user, score in person.others.items()},
        "false_match_rate": None
        if person.strangers is None
        else asdict(person.strangers.rate(told.threshold)),
    }


def _rounded(found: Spread) -> dict[str, object]:
    return {
        name: round(value, DIGITS) if isinstance(value, float) else value
        for name, value in asdict(found).items()
    }
