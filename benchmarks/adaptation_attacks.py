"""Others before a template that adapts: impostors, lookalikes, and faces that become another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import report
from benchmarks.adaptation_trial import FEWEST, Trial, Vectors, centre_of
from benchmarks.drawn_samples import embedding_of
from benchmarks.extraction import Pipeline, nearest_the_middle
from benchmarks.morphs import Portrait, morph, portrait
from benchmarks.statistics import Interval, wilson
from pam_faceid.adapters.cameras.images import decode_image

IMPOSTORS: Final = 1000
STEPS: Final = 40  # of a morph, one a day


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


def impostors(trial: Trial, *, after_password: bool) -> Attack:
    """A thousand people, each once before one template that has adapted to its owner."""
    generator = np.random.default_rng(trial.seed)
    owners = [name for name, own in trial.people.items() if len(own) >= FEWEST]
    before = after = learnt = 0
    everybody = list(trial.people)
    templates = {}
    for name in owners:
        own = [trial.plain[i] for i in generator.permutation(np.array(trial.people[name]))]
        template = trial.template(name, own[:4])
        templates[name] = (
            template,
            trial.learn(template, own[4:], after_password=after_password),
        )
    for number in range(IMPOSTORS):
        name = owners[number % len(owners)]
        who = everybody[generator.integers(len(everybody))]
        while who == name:
            who = everybody[generator.integers(len(everybody))]
        probes = np.stack([trial.plain[image] for image in trial.people[who]])
        template, known = templates[name]
        scores = trial.scores(template, known, probes)
        before += int((scores[0] >= trial.rule.threshold).any())
        after += int((scores[1] >= trial.rule.threshold).any())
        learnt += known is not None
    return Attack(
        "impostors before an adapted template",
        *(IMPOSTORS, learnt, before, after, wilson(after, IMPOSTORS)),
    )


def lookalikes(trial: Trial, *, after_password: bool) -> Attack:
    """Others whose best image is no match but reaches the floor: do their others match?

    Without the password nothing is learnt of them; with it, from each of their images a day.
    """
    generator = np.random.default_rng(trial.seed)
    tried = learnt = before = after = 0
    several = {name: own for name, own in trial.people.items() if len(own) >= 2}
    stacks = {n: np.stack([trial.plain[i] for i in own]) for n, own in several.items()}
    for name, own in several.items():
        if len(own) < 5:
            continue
        for _ in range(20):
            order = generator.permutation(len(own))[:4]
            template = trial.template(name, [trial.plain[own[k]] for k in order])
            centre = centre_of(template)
            for who, theirs in stacks.items():
                scores = theirs @ centre
                best = float(scores.max())
                if who == name or not trial.rule.floor <= best:
                    continue
                shown = theirs[int(scores.argmax())]
                rest = np.delete(theirs, int(scores.argmax()), axis=0)
                tried += 1
                known = trial.learn(template, [shown] * 2, after_password=after_password)
                learnt += known is not None
                found = trial.scores(template, known, rest)
                before += int((found[0] >= trial.rule.threshold).any())
                after += int((found[1] >= trial.rule.threshold).any())
    name = "lookalikes who know the password" if after_password else "lookalikes who do not"
    return Attack(name, tried, learnt, before, after, wilson(after, tried))


def chains(
    images: Path, plain: Mapping[str, Vectors], pipeline: Pipeline, trial: Trial, *, count: int
) -> list[Attack]:
    """Morph the picture of one person into another's, a step a day."""
    points = {}

    def steps(owner: str, stranger: str) -> list[Vectors]:
        faces = []
        for name in (owner, stranger):
            path = images / trial.people[name][-1]
            if path not in points:
                points[path] = _portrait(path, pipeline)
            faces.append(points[path])
        made = (
            embedding_of(morph(faces[0], faces[1], step / (STEPS - 1)), pipeline)
            for step in range(STEPS)
        )
        return [vector for vector in made if vector is not None]

    return _chained(plain, trial, steps, "morphs", count=count)


def ideal_chains(plain: Mapping[str, Vectors], trial: Trial, *, count: int) -> list[Attack]:
    """The same in the space of the embedder, by the shortest way: no picture can do better."""

    def steps(owner: str, stranger: str) -> list[Vectors]:
        one, other = (plain[trial.people[name][-1]] for name in (owner, stranger))
        angle = np.arccos(np.clip(one @ other, -1, 1))
        made = [
            np.sin((1 - share) * angle) * one + np.sin(share * angle) * other
            for share in np.linspace(0, 1, STEPS)
        ]
        return [np.asarray(v / np.linalg.norm(v), np.float32) for v in made]

    return _chained(plain, trial, steps, "shortest ways", count=count)


def _chained(
    plain: Mapping[str, Vectors],
    trial: Trial,
    steps: Callable[[str, str], list[Vectors]],
    what: str,
    *,
    count: int,
) -> list[Attack]:
    """Show the owner the steps to a stranger, and then try every image of the stranger."""
    generator = np.random.default_rng(1)
    several = [name for name, own in trial.people.items() if len(own) >= 5]
    pairs = [(one, other) for one in several for other in several if one != other]
    found: dict[bool, list[tuple[bool, bool, bool]]] = {False: [], True: []}
    drawn = [pairs[k] for k in generator.permutation(len(pairs))[:count].tolist()]
    for owner, stranger in report.progress(drawn, label=what):
        template = trial.template(owner, [plain[i] for i in trial.people[owner][:4]])
        logins = steps(owner, stranger)
        probes = np.stack([plain[image] for image in trial.people[stranger]])
        for after_password, results in found.items():
            known = trial.learn(template, logins, after_password=after_password)
            before, after = trial.scores(template, known, probes)
            threshold = trial.rule.threshold
            results.append(
                (
                    known is not None,
                    bool((before >= threshold).any()),
                    bool((after >= threshold).any()),
                )
            )
    return [
        Attack(
            f"{what}, {STEPS} steps, password {'known' if after_password else 'not known'}",
            attackers=len(results),
            learnt=sum(each[0] for each in results),
            before=sum(each[1] for each in results),
            after=sum(each[2] for each in results),
            interval=wilson(sum(each[2] for each in results), len(results)),
        )
        for after_password, results in found.items()
    ]


def _portrait(path: Path, pipeline: Pipeline) -> Portrait:
    pixels = decode_image(path.read_bytes(), name=path.name)
    return portrait(pixels, nearest_the_middle(pipeline.detector.detect(pixels), pixels).points)
