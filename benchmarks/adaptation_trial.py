"""People who are enrolled, log in once a day, and are then tried, by the rules of a login."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.lfw import person
from benchmarks.statistics import Measured, percentiles
from pam_faceid.core.adaptation import (
    DAY_SECONDS,
    WEIGHT,
    AdaptationRule,
    Adapted,
    AdaptedReference,
    Origin,
    Sample,
    candidate,
    in_force,
    with_reference,
)
from pam_faceid.core.config import QualityConfig
from pam_faceid.core.types import Embedding, Reference, ReferenceTemplate, SampleQuality

Vectors = NDArray[np.float32]

PLAIN: Final = "as they are"
FEWEST: Final = 10  # images of somebody who is enrolled as they are
FEWEST_DRAWN: Final = 7
FRAMES: Final = 3  # of an attempt
# Of each image, since what is asked is what the scores do: quality can only keep samples out.
GOOD: Final = SampleQuality(200.0, 0.0, 0.0, 0.0, 1000.0, 120.0, 50.0)
LIMITS: Final = QualityConfig()


@dataclass(frozen=True, slots=True)
class Row:
    """One look, with and without what was adapted.

    Args:
        look: What was drawn on the images after the enrolment.
        after_password: Whether near misses taught, too.
        enrolled: References that were enrolled.
        people: Who was enrolled.
        learnt: Adapted references of a template, mean.
        impostors, genuine: Comparisons of each kind.
        false_matches: Without and with what was adapted.
        fmr, fnmr: Without and with it, each with its interval.
        added: Share of impostor comparisons that match with it alone.
        saved: Share of genuine comparisons that match with it alone.
    """

    look: str
    after_password: bool
    enrolled: int
    people: int
    learnt: float
    impostors: int
    genuine: int
    false_matches: tuple[int, int]
    fmr: tuple[Measured, Measured]
    fnmr: tuple[Measured, Measured]
    added: Measured
    saved: Measured


class Counts:
    """Comparisons by who was enrolled and who was shown.

    Args:
        people: How many there are.
    """

    def __init__(self, people: int) -> None:
        shape = (people, people)
        self.all = np.zeros(shape, np.int64)
        self.matches = (np.zeros(shape, np.int64), np.zeros(shape, np.int64))

    def add(
        self,
        enrolled: int,
        shown: NDArray[np.int32],
        before: NDArray[np.bool_],
        after: NDArray[np.bool_],
    ) -> None:
        """Count the comparisons with one template, and those that match without and with it."""
        np.add.at(self.all[enrolled], shown, 1)
        for counted, matched in zip(self.matches, (before, after), strict=True):
            np.add.at(counted[enrolled], shown[matched], 1)

    def rate(
        self, counted: NDArray[np.int64], *, genuine: bool, replicates: int, seed: int
    ) -> Measured:
        """Return the share of comparisons, with an interval over people in both places."""
        same = np.eye(len(self.all), dtype=bool)
        kept = same if genuine else ~same
        rows = np.flatnonzero(self.all.sum(axis=1))
        top, bottom = (np.where(kept, each, 0)[rows].astype(float) for each in (counted, self.all))
        generator = np.random.default_rng(seed)
        rates = []
        for _ in range(replicates):
            drawn = generator.integers(len(self.all), size=len(self.all))
            weights = np.bincount(drawn, minlength=len(self.all)).astype(float)
            # Who is drawn twice is in both places twice, but compared with themselves once each.
            others = np.ones_like(weights) if genuine else weights
            total = weights[rows] @ bottom @ others
            rates.append(weights[rows] @ top @ others / total if total else 0.0)
        return Measured(float(top.sum() / bottom.sum()), percentiles(np.array(rates)))


Combine = Callable[
    [Vectors, Vectors, Sequence[AdaptedReference], AdaptationRule, ReferenceTemplate], Vectors
]


def helped_scores(
    scores: Vectors,
    probes: Vectors,
    used: Sequence[AdaptedReference],
    rule: AdaptationRule,
    template: ReferenceTemplate | None = None,
) -> Vectors:
    """Return `core.adaptation.raised` of each row of (P, D) unit probes at once."""
    if not used:
        return scores
    best = (probes @ matrix(used).T).max(axis=1)
    helped = np.maximum(scores, (1 - WEIGHT) * scores + WEIGHT * best - rule.margin)
    return np.where(scores >= rule.floor, helped, scores).astype(np.float32)


def matrix(references: Sequence[AdaptedReference | Reference]) -> Vectors:
    """Return the embeddings as rows."""
    return np.array([list(r.embedding.vector) for r in references], np.float32)


def by_person(images: Mapping[str, Vectors]) -> dict[str, list[str]]:
    """Return the images of each person, sorted."""
    found: dict[str, list[str]] = {}
    for name in sorted(images):
        found.setdefault(person(name), []).append(name)
    return found


class Trial:
    """People who are enrolled, log in, and are tried.

    Args:
        plain: Embedding of each image.
        drawn: Of each look on an image.
        rule: Of a login.
        model: Whose embeddings they are.
    """

    def __init__(
        self,
        plain: Mapping[str, Vectors],
        drawn: Mapping[tuple[str, str], Vectors],
        rule: AdaptationRule,
        *,
        model: str,
        seed: int,
    ) -> None:
        self.rule = rule
        self.plain = plain
        self._drawn = drawn
        self._model = model
        self.seed = seed
        self.people = by_person(plain)
        self._number = {name: number for number, name in enumerate(self.people)}

    def template(self, name: str, references: Sequence[Vectors]) -> ReferenceTemplate:
        """Enrol somebody."""
        return ReferenceTemplate(
            user=name[:32],
            uid=1000,
            model_id=self._model,
            references=tuple(
                Reference(self.embedding(vector), 0.0, GOOD, "image") for vector in references
            ),
            created_at=0.0,
        )

    def embedding(self, vector: Vectors) -> Embedding:
        """Return a vector as a login has it."""
        return Embedding(array("f", vector.tolist()), self._model)

    def learn(
        self,
        template: ReferenceTemplate,
        logins: Sequence[Vectors],
        *,
        after_password: bool,
        known: Adapted | None = None,
        first_day: int = 1,
    ) -> Adapted | None:
        """Log in once a day; of each attempt every frame is the same."""
        centre = centre_of(template)
        for day, vector in enumerate(logins, start=first_day):
            now = day * DAY_SECONDS
            used = () if known is None else in_force(known, template, self.rule, now=now)
            score = np.array([vector @ centre], np.float32)
            matched = helped_scores(score, vector[None], used, self.rule)[0] >= self.rule.threshold
            if not matched and not after_password:
                continue
            added = candidate(
                [Sample(self.embedding(vector), GOOD)] * FRAMES,
                Origin.AFTER_MATCH if matched else Origin.AFTER_PASSWORD,
                template,
                known,
                rule=self.rule,
                limits=LIMITS,
                now=now,
            )
            if added is not None:
                known = with_reference(known, template, added, self.rule)
        return known

    def scores(
        self,
        template: ReferenceTemplate,
        known: Adapted | None,
        probes: Vectors,
        combine: Combine = helped_scores,
    ) -> tuple[Vectors, Vectors]:
        """Return the scores of (P, D) probes without and with what was adapted."""
        before = (probes @ centre_of(template)).astype(np.float32)
        if known is None:
            return before, before
        used = in_force(known, template, self.rule, now=known.last_at)
        return before, combine(before, probes, used, self.rule, template) if used else before

    def row(
        self,
        look: str,
        enrolled: int,
        *,
        after_password: bool,
        draws: int,
        replicates: int,
        combine: Combine = helped_scores,
    ) -> Row:
        """Measure one look; see `Row`."""
        generator = np.random.default_rng(self.seed)
        shown = dict(self.plain)
        if look != PLAIN:
            shown = {image: vector for (drew, image), vector in self._drawn.items() if drew == look}
        fewest = FEWEST if look == PLAIN else FEWEST_DRAWN
        whom = {name: own for name, own in by_person(shown).items() if len(own) >= fewest}
        # Whoever wears the same is the harder impostor; there are fewer of them.
        others = [*self.plain.items(), *(shown.items() if look != PLAIN else ())]
        stack = np.stack([vector for _, vector in others])
        of = np.array([self._number[person(image)] for image, _ in others], np.int32)
        counts = Counts(len(self.people))
        learnt = []
        for name, own in whom.items():
            for _ in range(draws):
                order = [own[k] for k in generator.permutation(len(own))]
                template = self.template(name, [self.plain[image] for image in order[:enrolled]])
                rest = order[enrolled:]
                half = (len(rest) + 1) // 2
                known = self.learn(
                    template, [shown[i] for i in rest[:half]], after_password=after_password
                )
                learnt.append(0 if known is None else len(known.references))
                strangers = of != self._number[name]
                probes = np.concatenate(
                    [np.stack([shown[image] for image in rest[half:]]), stack[strangers]]
                )
                mine = np.full(len(rest) - half, self._number[name], np.int32)
                before, after = (
                    scores >= self.rule.threshold
                    for scores in self.scores(template, known, probes, combine)
                )
                people = np.concatenate([mine, of[strangers]])
                counts.add(self._number[name], people, before, after)
        return self._counted(
            counts,
            look=look,
            after_password=after_password,
            enrolled=enrolled,
            people=len(whom),
            learnt=float(np.mean(learnt)),
            replicates=replicates,
        )

    def _counted(
        self,
        counts: Counts,
        *,
        look: str,
        after_password: bool,
        enrolled: int,
        people: int,
        learnt: float,
        replicates: int,
    ) -> Row:
        def rate(counted: NDArray[np.int64], *, genuine: bool) -> Measured:
            return counts.rate(counted, genuine=genuine, replicates=replicates, seed=self.seed)

        before, after = counts.matches
        same = np.eye(len(counts.all), dtype=bool)
        return Row(
            look=look,
            after_password=after_password,
            enrolled=enrolled,
            people=people,
            learnt=learnt,
            impostors=int(counts.all[~same].sum()),
            genuine=int(counts.all[same].sum()),
            false_matches=(int(before[~same].sum()), int(after[~same].sum())),
            fmr=(rate(before, genuine=False), rate(after, genuine=False)),
            fnmr=(
                rate(counts.all - before, genuine=True),
                rate(counts.all - after, genuine=True),
            ),
            added=rate(after - before, genuine=False),
            saved=rate(after - before, genuine=True),
        )


def centre_of(template: ReferenceTemplate) -> Vectors:
    """Return the unit mean of the enrolled references."""
    vectors = np.array([list(r.embedding.vector) for r in template.references])
    mean = vectors.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)
