"""Looks: a person as they are with glasses, or a hat, or another beard, under one name each."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

from pam_faceid.core.errors import EnrolmentError
from pam_faceid.core.matching import How, compare
from pam_faceid.core.types import Pose, Reference, ReferenceTemplate

# Of all looks together. Each reference is one more face that a stranger may happen to be like.
MAX_REFERENCES: Final = 24


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The references of one look.

    Args:
        name: As the person called it.
        references: At least one.
    """

    name: str
    references: tuple[Reference, ...]

    @property
    def added_at(self) -> float:
        """When the first of them was taken, seconds since the epoch."""
        return min(reference.enrolled_at for reference in self.references)

    @property
    def poses(self) -> dict[Pose, int]:
        """How many references of each pose, in the order in which they are asked for."""
        counts = Counter(reference.pose for reference in self.references)
        return {pose: counts[pose] for pose in Pose if counts[pose]}


def looks_of(template: ReferenceTemplate) -> list[Look]:
    """Return the looks of a template, oldest first."""
    by_name: dict[str, list[Reference]] = {}
    for reference in template.references:
        by_name.setdefault(reference.look, []).append(reference)
    looks = [Look(name, tuple(references)) for name, references in by_name.items()]
    return sorted(looks, key=lambda look: look.added_at)


@dataclass(frozen=True, slots=True)
class Extension:
    """What a new look may be added by. See docs/adr/0018.

    Args:
        matcher: Of a login.
        threshold: Of a login; the median score of the new samples must reach it.
        agreement: Comparison score that each of them must reach.
        same: Comparison score with one reference above which a sample only repeats it.
    """

    matcher: How
    threshold: float
    agreement: float
    same: float


def extended(
    enrolled: ReferenceTemplate, added: ReferenceTemplate, rule: Extension
) -> ReferenceTemplate:
    """Return a template with one more look, or with more references of one.

    The new samples are compared with the references of the first enrolment alone: compared with
    all, looks could be chained from one face to another.

    Args:
        enrolled: What is there.
        added: Samples of one sitting, of one person.
        rule: When they are of the enrolled person.

    Raises:
        EnrolmentError: They are not, or there would be more references than a template may have.
        FaceIdError: They are of another model.
    """
    new = tuple(
        r for r in added.references if compare(r.embedding, enrolled, "nearest") <= rule.same
    )
    if not new:
        raise EnrolmentError(
            f"every new sample repeats a reference that {enrolled.user!r} has",
            hint="put the glasses on first, or whatever the look is",
        )
    count = len(enrolled.references) + len(new)
    if count > MAX_REFERENCES:
        raise EnrolmentError(
            f"{enrolled.user!r} would have {count} references, and {MAX_REFERENCES} is the most",
            hint=f"remove a look: faceid-admin remove-user {enrolled.user} --look LOOK",
        )
    first = replace(enrolled, references=_first_enrolment(enrolled))
    scores = [compare(r.embedding, first, rule.matcher) for r in added.references]
    median = statistics.median(scores)
    # Written so that NaN is refused.
    if not (median >= rule.threshold and min(scores) >= rule.agreement):
        raise EnrolmentError(
            f"the new samples are not like {enrolled.user!r} as enrolled: their scores have the "
            f"median {median:.2f} and the lowest is {min(scores):.2f}; a median of "
            f"{rule.threshold:.2f} and no score below {rule.agreement:.2f} are needed",
            hint="in the light and pose of the enrolment; hide less of the face; or enrol anew: "
            f"faceid-admin add-user {enrolled.user} --replace",
        )
    return replace(enrolled, references=(*enrolled.references, *new))


def without_look(template: ReferenceTemplate, name: str) -> ReferenceTemplate:
    """Return a template without one of its looks.

    Raises:
        EnrolmentError: It has no such look, or no other.
    """
    kept = tuple(reference for reference in template.references if reference.look != name)
    if len(kept) == len(template.references):
        names = ", ".join(look.name for look in looks_of(template))
        raise EnrolmentError(
            f"{template.user!r} has no look {name!r}", hint=f"the looks are: {names}"
        )
    if not kept:
        raise EnrolmentError(
            f"{name!r} is the only look of {template.user!r}",
            hint=f"to remove the person: faceid-admin remove-user {template.user}",
        )
    return replace(template, references=kept)


def _first_enrolment(template: ReferenceTemplate) -> tuple[Reference, ...]:
    """Return the references of the oldest sitting, which share their time."""
    oldest = min(reference.enrolled_at for reference in template.references)
    return tuple(r for r in template.references if r.enrolled_at == oldest)
