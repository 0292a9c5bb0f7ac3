"""The numbers behind the pictures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.error_rates import Interval, wilson
from pam_faceid.core.looks import looks_of
from pam_faceid.core.matching import How, compare
from pam_faceid.core.projection import (
    LEAST_FOR_COMPONENTS,
    LEAST_FOR_TSNE,
    Components,
    Neighbourhoods,
    principal_components,
    tsne,
)
from pam_faceid.core.sample_set import NOBODY, Sample, SampleSet
from pam_faceid.core.self_check import left_out_scores
from pam_faceid.core.trade_off import Lacking, TradeOff, lacking, trade_off
from pam_faceid.core.types import DEFAULT_LOOK, Embedding, Reference, ReferenceTemplate

IN_HEAT_MAP: Final = 60
IN_PROJECTION: Final = 400
REPLICATES: Final = 1000
SEED: Final = 1


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A frame that passed the quality gate.

    Args:
        person: Whom it was said to show, or `NOBODY`.
        label: Its file, and its place in a video.
        embedding: Of the face.
    """

    person: str
    label: str
    embedding: Embedding = field(repr=False)


@dataclass(frozen=True, slots=True)
class Scored:
    """A probe compared with every template.

    Args:
        person: Whom it was said to show, or `NOBODY`.
        label: As the probe's.
        scores: By user.
    """

    person: str
    label: str
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class LookScores:
    """How the references of one look fare with the rest of the template, as at a login.

    Args:
        references: How many there are.
        scores: Of each with all others, it left out; none where the template has one reference.
    """

    user: str
    look: str
    references: int
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Scores of one kind.

    Args:
        count: How many there are; without any, what follows is None.
        lowest, median, highest: Of them.
        wrong: How many the threshold decides wrongly.
        rate: 95 % interval of the share of those, as if each comparison stood for itself.
    """

    count: int
    lowest: float | None
    median: float | None
    highest: float | None
    wrong: int
    rate: Interval


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """Everything that is drawn.

    Args:
        threshold: In force, cosine.
        everything: All samples.
        genuine, impostor: Scores of pairs of samples, of one person and of two.
        scored: Each probe against each template.
        looks: Each look against the rest of its template.
        components, neighbourhoods: Of `projected`; None when there are too few samples.
        missing: What a trade-off still needs.
        curve: None when something is missing.
    """

    threshold: float
    everything: SampleSet
    genuine: NDArray[np.float32] = field(repr=False)
    impostor: NDArray[np.float32] = field(repr=False)
    scored: tuple[Scored, ...]
    looks: tuple[LookScores, ...]
    components: Components | None
    neighbourhoods: Neighbourhoods | None
    missing: Lacking
    curve: TradeOff | None

    @property
    def mapped(self) -> SampleSet:
        """The samples of the heat map."""
        return self.everything.thinned(IN_HEAT_MAP)

    @property
    def projected(self) -> SampleSet:
        """The samples of the projections."""
        return self.everything.thinned(IN_PROJECTION)

    def against_templates(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the scores of named probes against their own template and against others."""
        own: list[float] = []
        others: list[float] = []
        for probe in self.scored:
            for user, score in probe.scores.items():
                if probe.person != NOBODY:
                    (own if probe.person == user else others).append(score)
        return np.array(own, np.float64), np.array(others, np.float64)

    def identified(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each named probe's score with its own template, and its best with another's.

        Empty where there is one user: nobody can be taken for another.
        """
        pairs = [
            (
                probe.scores[probe.person],
                max(score for user, score in probe.scores.items() if user != probe.person),
            )
            for probe in self.scored
            if probe.person != NOBODY and len(probe.scores) > 1
        ]
        found = np.array(pairs, np.float64).reshape(-1, 2)
        return found[:, 0], found[:, 1]


def figures(
    templates: Sequence[ReferenceTemplate],
    probes: Sequence[Probe],
    *,
    matcher: How,
    threshold: float,
) -> Figures:
    """Compare everything with everything.

    Args:
        templates: Of different users, all of one model.
        probes: Of that model too.
        matcher: How a login compares a probe with a template.
        threshold: In force, cosine.
    """
    everything = SampleSet(
        [
            *(
                Sample(t.user, _label(number, r), is_probe=False, vector=_array(r.embedding))
                for t in templates
                for number, r in enumerate(_in_order(t), start=1)
            ),
            *(Sample(p.person, p.label, is_probe=True, vector=_array(p.embedding)) for p in probes),
        ],
        people=[t.user for t in templates],
    )
    pairs = everything.pairs()
    genuine, impostor = pairs.scores[pairs.genuine], pairs.scores[~pairs.genuine]
    missing = lacking(genuine=len(genuine), impostor=len(impostor), people=len(everything.people))
    projected = everything.thinned(IN_PROJECTION).vectors
    return Figures(
        threshold=threshold,
        everything=everything,
        genuine=genuine,
        impostor=impostor,
        scored=tuple(
            Scored(p.person, p.label, {t.user: compare(p.embedding, t, matcher) for t in templates})
            for p in probes
        ),
        looks=tuple(look for template in templates for look in _looks(template, matcher)),
        components=(
            principal_components(projected) if len(projected) >= LEAST_FOR_COMPONENTS else None
        ),
        neighbourhoods=tsne(projected) if len(projected) >= LEAST_FOR_TSNE else None,
        missing=missing,
        curve=None
        if missing
        else trade_off(
            everything.comparisons(), threshold=threshold, replicates=REPLICATES, seed=SEED
        ),
    )


def summary(scores: NDArray[np.floating], *, threshold: float, genuine: bool) -> Summary:
    """Return what can be said of scores in a line."""
    wrong = int((~(scores >= threshold) if genuine else scores >= threshold).sum())
    if not len(scores):
        return Summary(0, None, None, None, 0, wilson(0, 0))
    return Summary(
        count=len(scores),
        lowest=_rounded(scores.min()),
        median=_rounded(np.median(scores)),
        highest=_rounded(scores.max()),
        wrong=wrong,
        rate=wilson(wrong, len(scores)),
    )


def described(found: Figures) -> dict[str, object]:
    """Return the numbers for JSON: scores and counts, never a vector nor its place in a picture."""
    mapped = found.mapped
    own, others = found.against_templates()
    limit = found.threshold
    return {
        "threshold": limit,
        "samples": [
            {"person": s.person or None, "label": s.label, "probe": s.is_probe}
            for s in mapped.samples
        ],
        "scores": [[_rounded(score) for score in row] for row in mapped.scores()],
        "pairs": {
            "genuine": _kind(found.genuine, limit, genuine=True),
            "impostor": _kind(found.impostor, limit, genuine=False),
        },
        "probes": [
            {
                "person": probe.person or None,
                "label": probe.label,
                "scores": {user: _rounded(score) for user, score in probe.scores.items()},
            }
            for probe in found.scored
        ],
        "looks": [
            {
                "user": look.user,
                "look": look.look,
                "references": look.references,
                "lowest": min(map(_rounded, look.scores), default=None),
                "below": sum(not score >= limit for score in look.scores),
            }
            for look in found.looks
        ],
        "against_templates": {
            "genuine": _kind(own, limit, genuine=True),
            "impostor": _kind(others, limit, genuine=False),
        },
        "identification": _identification(found),
        "components": None
        if found.components is None
        else {"explained": [_rounded(share) for share in found.components.explained]},
        "neighbourhoods": None
        if found.neighbourhoods is None
        else {
            "perplexity": _rounded(found.neighbourhoods.perplexity),
            "divergence_nats": _rounded(found.neighbourhoods.divergence),
        },
        "trade_off": None if found.curve is None else _curve(found.curve),
        "missing_for_trade_off": asdict(found.missing) if found.missing else None,
    }


def _identification(found: Figures) -> dict[str, object] | None:
    own, others = found.identified()
    if not len(own):
        return None
    first = int((own > others).sum())
    return {
        "users": len(found.scored[0].scores),
        "probes": len(own),
        "rank_1": first,
        "rank_1_interval": wilson(first, len(own))._asdict(),
        "another_reaches": int((others >= found.threshold).sum()),
    }


def _kind(scores: NDArray[np.floating], threshold: float, *, genuine: bool) -> Mapping[str, object]:
    told = summary(scores, threshold=threshold, genuine=genuine)
    return {**asdict(told), "rate": told.rate._asdict()}


def _curve(curve: TradeOff) -> dict[str, object]:
    points = [curve.at_threshold, *curve.points]
    rows = [
        {
            "threshold": _rounded(point.threshold),
            "fmr": point.fmr,
            "fmr_interval": point.fmr_interval._asdict(),
            "fnmr": point.fnmr,
            "fnmr_interval": point.fnmr_interval._asdict(),
        }
        for point in points
        if point is not None
    ]
    return {"people": curve.people, "at_threshold": rows[0], "points": rows[1:]}


def _in_order(template: ReferenceTemplate) -> list[Reference]:
    """Return the references as `show-user` numbers them, look by look."""
    return [reference for look in looks_of(template) for reference in look.references]


def _looks(template: ReferenceTemplate, matcher: How) -> list[LookScores]:
    scores = left_out_scores(template, matcher)
    found = dict(zip(map(id, template.references), scores, strict=True)) if scores else {}
    return [
        LookScores(
            user=template.user,
            look=look.name,
            references=len(look.references),
            scores=tuple(found[id(each)] for each in look.references) if found else (),
        )
        for look in looks_of(template)
    ]


def _label(number: int, reference: Reference) -> str:
    """Return the number that `show-user` lists it under, and its look where it has one."""
    return f"{number}" if reference.look == DEFAULT_LOOK else f"{number} {reference.look}"


def _array(embedding: Embedding) -> NDArray[np.float32]:
    return np.frombuffer(embedding.octets(), dtype=np.float32)


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 4)
