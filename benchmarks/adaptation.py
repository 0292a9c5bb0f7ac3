"""`python -m benchmarks.adaptation`: what references that a template gains by being used are worth.

Four questions, each asked with the rules that a login has (`core.adaptation`), one login a day:

- Benefit and false matches: people of LFW are enrolled, log in with some of their other images, and
  are then tried with the rest; every image of everybody else is an impostor. Once as they are, once
  with glasses, a beard or both drawn on every image after the enrolment, and on impostors.
- Impostors: a thousand other people before a template that has adapted to its owner.
- Lookalikes: other people whose image is a near miss, and who know the password.
- Chains: a face that becomes another one, a step a day, with the password at hand.

LFW does not say when an image was taken, so the order is drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.drawn_looks import LOOKS
from benchmarks.extraction import SHIPPED_MODELS, Pipeline, extract, load_pipeline
from benchmarks.extraction import nearest_the_middle as nearest
from benchmarks.lfw import person
from benchmarks.morphs import Portrait, morph, portrait
from benchmarks.statistics import Interval, Measured, percentiles, wilson
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.core.adaptation import (
    DAY_SECONDS,
    WEIGHT,
    AdaptationRule,
    Adapted,
    AdaptedReference,
    Origin,
    Sample,
    adaptation_rule,
    candidate,
    in_force,
    with_reference,
)
from pam_faceid.core.config import AdaptationConfig, MatchingConfig, QualityConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.matching import threshold_for
from pam_faceid.core.types import Embedding, Reference, ReferenceTemplate, SampleQuality

Vectors = NDArray[np.float32]

TARGET: Final = 1e-5
PLAIN: Final = "as they are"
FEWEST: Final = 10  # images of somebody who is enrolled as they are
FEWEST_DRAWN: Final = 7
MOST_DRAWN: Final = 14  # images of one person that are drawn on
IMPOSTORS: Final = 1000
STEPS: Final = 40  # of a morph, one a day
FRAMES: Final = 5  # of an attempt
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


@dataclass(frozen=True, slots=True)
class Attack:
    """What came of attempts by others.

    Args:
        name: Of the attack.
        attackers: Who tried it.
        learnt: Of them, those of whom something was adapted.
        before, after: Of them, those of whom any image matched without and with it.
        interval: Of the share after.
    """

    name: str
    attackers: int
    learnt: int
    before: int
    after: int
    interval: Interval


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        rule = login_rule(options.models, options.embedder)
        pipeline = load_pipeline(options.models, options.embedder, threads=options.threads)
        names = sorted(
            path.relative_to(options.images).as_posix() for path in options.images.glob("*/*.jpg")
        )
        samples = extract(options.images, names, pipeline, cache=options.cache)
        plain = {name: s.vector for name, s in samples.items() if s.vector is not None}
        drawn = drawn_vectors(options.images, plain, pipeline, cache=options.cache)
        trial = Trial(plain, drawn, rule, model=pipeline.embedder.model_id, seed=options.seed)
        rows = [
            trial.row(
                look,
                enrolled,
                after_password=after_password,
                draws=options.draws,
                replicates=options.replicates,
            )
            for after_password in (False, True)
            for look, enrolled in ((PLAIN, 4), (PLAIN, 1), *((look, 4) for look in LOOKS))
        ]
        attacks = [
            trial.impostors(after_password=True),
            trial.lookalikes(after_password=False),
            trial.lookalikes(after_password=True),
            *chains(options.images, plain, pipeline, trial, count=options.chains),
        ]
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.adaptation: {error}", file=sys.stderr)
        return 2
    facts = {
        "embedder": pipeline.embedder.model_id,
        "images": f"{options.images}: {len(plain)}, drawn on: {len(drawn)}",
        "rule": f"threshold {rule.threshold:.4f}, floor {rule.floor:.4f}, strong "
        f"{rule.strong:.4f}, margin {rule.margin:.4f}, weight {WEIGHT:.2f}",
        "bootstrap": f"{options.replicates} replicates over people, seed {options.seed}",
        **report.machine(),
    }
    if options.json:
        print(
            json.dumps(
                {
                    "facts": facts,
                    "rows": [asdict(row) for row in rows],
                    "attacks": [asdict(attack) for attack in attacks],
                },
                indent=2,
            )
        )
    else:
        print(report.describe(facts), _rows(rows), _attacks(attacks), sep="\n\n")
    return 0


def login_rule(models: Path, embedder: str) -> AdaptationRule:
    """Return the rule of a login with the default settings.

    Raises:
        ValueError: The embedder has no calibration that reaches so far.
        FaceIdError: The manifest cannot be read.
    """
    matcher = MatchingConfig().matcher
    calibration = load_manifest(models).find(embedder).calibration_of(matcher)
    if calibration is None:
        raise ValueError(f"{embedder} has no calibration: run benchmarks.calibrate")
    rule = adaptation_rule(
        AdaptationConfig(enabled=True),
        matcher=matcher,
        threshold=threshold_for(TARGET, calibration),
        calibration=calibration,
    )
    if rule is None:
        raise ValueError(f"the calibration of {embedder} does not reach far enough")
    return rule


def helped_scores(
    scores: Vectors, probes: Vectors, used: Sequence[AdaptedReference], rule: AdaptationRule
) -> Vectors:
    """Return `core.adaptation.raised` of each row of (P, D) unit probes at once."""
    if not used:
        return scores
    adapted = np.array([r.embedding.vector for r in used], np.float32)
    best = (probes @ adapted.T).max(axis=1)
    helped = np.maximum(scores, (1 - WEIGHT) * scores + WEIGHT * best - rule.margin)
    return np.where(scores >= rule.floor, helped, scores).astype(np.float32)


def drawn_vectors(
    images: Path, plain: Mapping[str, Vectors], pipeline: Pipeline, *, cache: Path | None
) -> dict[tuple[str, str], Vectors]:
    """Return the embedding of each look drawn on images of people who have enough of them.

    Args:
        cache: A folder to keep them in, as `extraction.extract` does.
    """
    kept: dict[tuple[str, str], Vectors] = {}
    path = None if cache is None else cache / f"adaptation-{pipeline.fingerprint}.npz"
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as stored:
            keys = zip(stored["looks"].tolist(), stored["images"].tolist(), strict=True)
            kept = dict(zip(keys, stored["vectors"], strict=True))
    wanted = [
        name
        for own in by_person(plain).values()
        if len(own) >= FEWEST_DRAWN
        for name in own[:MOST_DRAWN]
    ]
    missing = [name for name in wanted if not any((look, name) in kept for look in LOOKS)]
    for name in report.progress(missing, label="drawing") if missing else ():
        pixels = decode_image((images / name).read_bytes(), name=name)
        points = nearest(pipeline.detector.detect(pixels), pixels).points
        for look, draw in LOOKS.items():
            vector = embedding_of(draw(pixels, points), pipeline)
            if vector is not None:
                kept[look, name] = vector
    if missing and path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        np.savez(
            path,
            looks=np.array([look for look, _ in kept]),
            images=np.array([name for _, name in kept]),
            vectors=np.stack(list(kept.values())),
        )
    return kept


def embedding_of(pixels: NDArray[np.uint8], pipeline: Pipeline) -> Vectors | None:
    """Return the embedding of the face nearest the middle; None where there is none."""
    faces = pipeline.detector.detect(pixels)
    if not faces:
        return None
    crop = pipeline.embedder.crop(pixels, nearest(faces, pixels))
    return np.asarray(pipeline.embedder.embed(crop).vector, np.float32)


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
        self._plain = plain
        self._drawn = drawn
        self._model = model
        self._seed = seed
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
        self, template: ReferenceTemplate, known: Adapted | None, probes: Vectors
    ) -> tuple[Vectors, Vectors]:
        """Return the scores of (P, D) probes without and with what was adapted."""
        before = (probes @ centre_of(template)).astype(np.float32)
        if known is None:
            return before, before
        used = in_force(known, template, self.rule, now=known.last_at)
        return before, helped_scores(before, probes, used, self.rule)

    def row(
        self, look: str, enrolled: int, *, after_password: bool, draws: int, replicates: int
    ) -> Row:
        """Measure one look; see `Row`."""
        generator = np.random.default_rng(self._seed)
        shown = dict(self._plain)
        if look != PLAIN:
            shown = {image: vector for (drew, image), vector in self._drawn.items() if drew == look}
        fewest = FEWEST if look == PLAIN else FEWEST_DRAWN
        whom = {name: own for name, own in by_person(shown).items() if len(own) >= fewest}
        # Whoever wears the same is the harder impostor; there are fewer of them.
        others = [*self._plain.items(), *(shown.items() if look != PLAIN else ())]
        stack = np.stack([vector for _, vector in others])
        of = np.array([self._number[person(image)] for image, _ in others], np.int32)
        counts = Counts(len(self.people))
        learnt = []
        for name, own in whom.items():
            for _ in range(draws):
                order = [own[k] for k in generator.permutation(len(own))]
                template = self.template(name, [self._plain[image] for image in order[:enrolled]])
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
                    scores >= self.rule.threshold for scores in self.scores(template, known, probes)
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
            return counts.rate(counted, genuine=genuine, replicates=replicates, seed=self._seed)

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

    def impostors(self, *, after_password: bool) -> Attack:
        """A thousand people, each once before one template that has adapted to its owner."""
        generator = np.random.default_rng(self._seed)
        owners = [name for name, own in self.people.items() if len(own) >= FEWEST]
        before = after = learnt = 0
        everybody = list(self.people)
        templates = {}
        for name in owners:
            own = [self._plain[i] for i in generator.permutation(np.array(self.people[name]))]
            template = self.template(name, own[:4])
            templates[name] = (
                template,
                self.learn(template, own[4:], after_password=after_password),
            )
        for number in range(IMPOSTORS):
            name = owners[number % len(owners)]
            who = everybody[generator.integers(len(everybody))]
            while who == name:
                who = everybody[generator.integers(len(everybody))]
            probes = np.stack([self._plain[image] for image in self.people[who]])
            template, known = templates[name]
            scores = self.scores(template, known, probes)
            before += int((scores[0] >= self.rule.threshold).any())
            after += int((scores[1] >= self.rule.threshold).any())
            learnt += known is not None
        return Attack(
            "impostors before an adapted template",
            *(IMPOSTORS, learnt, before, after, wilson(after, IMPOSTORS)),
        )

    def lookalikes(self, *, after_password: bool) -> Attack:
        """Others whose best image is no match but reaches the floor: do their others match?

        Without the password nothing is learnt of them; with it, from each of their images a day.
        """
        generator = np.random.default_rng(self._seed)
        tried = learnt = before = after = 0
        several = {name: own for name, own in self.people.items() if len(own) >= 2}
        stacks = {n: np.stack([self._plain[i] for i in own]) for n, own in several.items()}
        for name, own in several.items():
            if len(own) < 5:
                continue
            for _ in range(20):
                order = generator.permutation(len(own))[:4]
                template = self.template(name, [self._plain[own[k]] for k in order])
                centre = centre_of(template)
                for who, theirs in stacks.items():
                    scores = theirs @ centre
                    best = float(scores.max())
                    if who == name or not self.rule.floor <= best:
                        continue
                    shown = theirs[int(scores.argmax())]
                    rest = np.delete(theirs, int(scores.argmax()), axis=0)
                    tried += 1
                    known = self.learn(template, [shown] * 2, after_password=after_password)
                    learnt += known is not None
                    found = self.scores(template, known, rest)
                    before += int((found[0] >= self.rule.threshold).any())
                    after += int((found[1] >= self.rule.threshold).any())
        name = "lookalikes who know the password" if after_password else "lookalikes who do not"
        return Attack(name, tried, learnt, before, after, wilson(after, tried))


def centre_of(template: ReferenceTemplate) -> Vectors:
    """Return the unit mean of the enrolled references."""
    vectors = np.array([list(r.embedding.vector) for r in template.references])
    mean = vectors.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def chains(
    images: Path, plain: Mapping[str, Vectors], pipeline: Pipeline, trial: Trial, *, count: int
) -> list[Attack]:
    """Morph one person into another, a step a day, and then try every image of the other."""
    generator = np.random.default_rng(1)
    several = [name for name, own in trial.people.items() if len(own) >= 5]
    results: dict[bool, list[tuple[bool, bool, bool]]] = {False: [], True: []}
    pairs = [generator.choice(len(several), 2, replace=False).tolist() for _ in range(count)]
    for one, other in report.progress(pairs, label="morphing"):
        owner, stranger = several[one], several[other]
        template = trial.template(owner, [plain[i] for i in trial.people[owner][:4]])
        faces = [_portrait(images / trial.people[name][-1], pipeline) for name in (owner, stranger)]
        made = (
            embedding_of(morph(faces[0], faces[1], step / (STEPS - 1)), pipeline)
            for step in range(STEPS)
        )
        logins = [vector for vector in made if vector is not None]
        probes = np.stack([plain[image] for image in trial.people[stranger]])
        for after_password, found in results.items():
            known = trial.learn(template, logins, after_password=after_password)
            before, after = trial.scores(template, known, probes)
            threshold = trial.rule.threshold
            found.append(
                (
                    known is not None,
                    bool((before >= threshold).any()),
                    bool((after >= threshold).any()),
                )
            )
    return [
        Attack(
            f"morphs of {STEPS} steps, password {'known' if after_password else 'not known'}",
            attackers=len(found),
            learnt=sum(each[0] for each in found),
            before=sum(each[1] for each in found),
            after=sum(each[2] for each in found),
            interval=wilson(sum(each[2] for each in found), len(found)),
        )
        for after_password, found in results.items()
    ]


def _portrait(path: Path, pipeline: Pipeline) -> Portrait:
    pixels = decode_image(path.read_bytes(), name=path.name)
    return portrait(pixels, nearest(pipeline.detector.detect(pixels), pixels).points)


def _rows(rows: Sequence[Row]) -> str:
    header = ["after the enrolment", "enrolled", "people", "learnt", "comparisons", "false matches"]
    header += ["FMR before", "after", "added", "genuine", "FNMR before", "after", "saved"]

    def cell(rate: Measured, form: str) -> str:
        return f"{rate.value:{form}} {report.interval(rate.interval, form)}"

    return report.table(
        header,
        [
            [
                f"{row.look}, {'password too' if row.after_password else 'match alone'}",
                *(str(row.enrolled), str(row.people), f"{row.learnt:.1f}", str(row.impostors)),
                f"{row.false_matches[0]} to {row.false_matches[1]}",
                *(cell(rate, ".1e") for rate in (*row.fmr, row.added)),
                str(row.genuine),
                *(cell(rate, ".4f") for rate in (*row.fnmr, row.saved)),
            ]
            for row in rows
        ],
    )


def _attacks(attacks: Sequence[Attack]) -> str:
    header = ["attack", "attackers", "learnt from", "match before", "match after", "95 %"]
    return report.table(
        header,
        [
            [
                *(a.name, str(a.attackers), str(a.learnt), str(a.before), str(a.after)),
                report.interval(a.interval),
            ]
            for a in attacks
        ],
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adaptation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--draws", type=int, default=10, help="templates a person")
    parser.add_argument("--chains", type=int, default=100, help="pairs of people that are morphed")
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
