"""Every reference of a template must match the others, as a probe would."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

from pam_faceid.core.errors import EnrolmentError
from pam_faceid.core.matching import How, compare
from pam_faceid.core.types import ReferenceTemplate


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """How well the references of a template agree with each other.

    Args:
        lowest, median, highest: Comparison score of each reference with the others, cosine.
        threshold: Of a login.
    """

    lowest: float
    median: float
    highest: float
    threshold: float


def self_check(template: ReferenceTemplate, *, threshold: float, matcher: How) -> SelfCheck | None:
    """Compare each reference with the others, it left out; None when there are no others.

    Args:
        threshold, matcher: Of a login.

    Raises:
        EnrolmentError: One would not be let in by the others.
    """
    scores = left_out_scores(template, matcher)
    if not scores:
        return None
    for left_out, score in zip(template.references, scores, strict=True):
        # Written so that NaN is refused.
        if not score >= threshold:
            raise EnrolmentError(
                f"a sample of {left_out.source} scores {score:.2f} with the others, and a login "
                f"needs {threshold:.2f}: it is too unlike them",
                hint="leave it out; where every sample is too low, the threshold is: "
                "faceid-admin config show",
            )
    return SelfCheck(min(scores), statistics.median(scores), max(scores), threshold)


def left_out_scores(template: ReferenceTemplate, matcher: How) -> tuple[float, ...]:
    """Return the score of each reference with the others, it left out; none where there is one."""
    if len(template.references) < 2:
        return ()
    return tuple(
        compare(
            each.embedding,
            replace(template, references=tuple(r for r in template.references if r is not each)),
            matcher,
        )
        for each in template.references
    )
