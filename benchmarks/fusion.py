"""`python -m benchmarks.fusion`: what to make of two embedders, mirror images, and several images.

Each choice alone and together, at equal false match rates: mirror images, the mean face taken off,
two embedders in one vector whose cosine is the weighted mean of both, scores normalised against a
cohort; then templates of four references with each matcher, probed once and three times. The
person's other images are genuine, every other person an impostor. Labels are taken as published.

Intervals are 95 %, a bootstrap over people as in `benchmarks.statistics`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, extract, load_pipeline, of_mirror_images
from benchmarks.lfw import (
    every_image,
    every_pair,
    images_of,
    people_of,
    person,
    read_images,
    read_pairs,
)
from benchmarks.mean_face import mean_of_people, unit
from benchmarks.statistics import Interval, draw_people, percentiles
from pam_faceid.core.errors import FaceIdError

Vectors = Mapping[str, NDArray[np.float32]]

PAIR_RATES: Final = (1e-3, 1e-4, 1e-5)
TEMPLATE_RATES: Final = (1e-3, 1e-4, 1e-5, 1e-6)
SHARES: Final = (0.7, 0.8)  # of SFace in a fused vector
ENROLLED_WITH: Final = (
    "sface",
    "sface, mean off",
    "both 0.8, mirrored, mean off",
    "both 0.7, mirrored, mean off",
    "sface, mirrored, mean off",
)
REFERENCES: Final = 4
PROBES: Final = 3
MATCHERS: Final = ("nearest", "centre", "two nearest", "centre and nearest")
RULES: Final = ("best", "two in a row", "mean")
COHORT: Final = 200  # people most like an image, of those that are not in the pairs
TAIL: Final = 0.02  # share of impostor scores kept: the highest decide


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Genuine scores and the highest impostor scores, which decide at low false match rates.

    Args:
        genuine: (G,) scores.
        person: (G,) number of the person.
        impostor: (K,) the highest scores, falling.
        first, second: (K,) numbers of the two people.
        counts: (P, P) how many impostor comparisons there were of each two people.
    """

    genuine: NDArray[np.float32]
    person: NDArray[np.intp]
    impostor: NDArray[np.float32]
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    counts: NDArray[np.float64] = field(repr=False)

    def fnmr(self, rates: Sequence[float], draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the false non-match rate at each false match rate, (R, rates).

        Args:
            draws: (R, P) how often each person counts.
        """
        totals = ((draws @ self.counts) * draws).sum(axis=1)
        found = np.empty((len(draws), len(rates)))
        for row, (drawn, total) in enumerate(zip(draws, totals, strict=True)):
            above = np.cumsum(drawn[self.first] * drawn[self.second])
            weights = drawn[self.person]
            for column, rate in enumerate(rates):
                over = np.searchsorted(above, rate * total * (1 + 1e-12), side="right")
                missed = weights[~(self.genuine > self.impostor[int(over)])].sum()
                found[row, column] = missed / weights.sum()
        return found


@dataclass(frozen=True, slots=True)
class Row:
    """False non-match rates of one choice at some false match rates, with 95 % intervals."""

    choice: str
    genuine: int
    impostor: int
    rates: tuple[float, ...]
    fnmr: tuple[float, ...]
    intervals: tuple[Interval, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        choices = embeddings(options)
        pairs = images_of(read_pairs(options.pairs))
        extra = read_images(options.extra)
        names = options.people.read_text(encoding="utf-8").split()
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.fusion: {error}", file=sys.stderr)
        return 2
    used = sorted({*pairs, *extra})
    rows = [
        _measured(choice, _all_pairs(_only(vectors, used)), PAIR_RATES, options)
        for choice, vectors in choices.items()
    ]
    for choice in ENROLLED_WITH[-2:]:
        normed = _cohort_normalised(_only(choices[choice], used), extra)
        rows.append(_measured(f"{choice}, cohort of {COHORT}", normed, PAIR_RATES, options))
    templates = []
    for choice in ENROLLED_WITH:
        for label, tail in template_tails(
            choices[choice], names, draws=options.draws, seed=options.seed
        ):
            templates.append(_measured(f"{choice}: {label}", tail, TEMPLATE_RATES, options))
    facts = {
        "images": f"{options.images}: {len(used)} in pairs",
        "enrolled": f"{options.people.name}: {len(names)}, {options.draws} draws each",
        "bootstrap": f"{options.replicates} replicates over people, seed {options.seed}",
        **report.machine(),
    }
    if options.json:
        print(json.dumps({"facts": facts, "pairs": rows, "templates": templates}, default=_plain))
    else:
        print(report.describe(facts), _table("TAR", rows), _table("FNMR", templates), sep="\n\n")
    return 0


def embeddings(options: argparse.Namespace) -> dict[str, Vectors]:
    """Return the unit vectors of every choice, by image."""
    names = every_image(options.images)

    def vectors_of(embedder: str, *, mirror: bool) -> Vectors:
        pipeline = load_pipeline(options.models, embedder)
        pipeline = of_mirror_images(pipeline) if mirror else pipeline
        samples = extract(options.images, names, pipeline, cache=options.cache)
        return {i: s.vector for i, s in samples.items() if s.vector is not None}

    plain = {name: vectors_of(name, mirror=False) for name in ("sface", "mobilefacenet")}
    other = {name: vectors_of(name, mirror=True) for name in plain}
    mirrored = {
        name: {i: unit(v + other[name][i]) for i, v in plain[name].items()} for name in plain
    }
    choices: dict[str, Vectors] = {}
    for name, vectors in plain.items():
        choices[name] = vectors
        choices[f"{name}, mirrored"] = mirrored[name]
        choices[f"{name}, mean off"] = _mean_off(vectors)
        choices[f"{name}, mirrored, mean off"] = _mean_off(mirrored[name])
    for share in SHARES:
        choices[f"both {share}"] = _fused(plain, share)
        choices[f"both {share}, mirrored"] = _fused(mirrored, share)
        off = {name: _mean_off(vectors) for name, vectors in mirrored.items()}
        choices[f"both {share}, mirrored, mean off"] = _fused(off, share)
    return choices


def template_tails(
    vectors: Vectors, names: Sequence[str], *, draws: int, seed: int
) -> Iterator[tuple[str, Tail]]:
    """Enrol people from `REFERENCES` images drawn at random; yield one tail a matcher and rule.

    Genuine probes are the person's other images, impostor probes all images of everybody else; for
    three probes each person's images in random order are cut into threes.
    """
    images = sorted(vectors)
    matrix = np.stack([vectors[image] for image in images])
    people = people_of(images)
    number = {name: index for index, name in enumerate(people)}
    shows = np.array([number[person(image)] for image in images])
    kinds = [f"{matcher}, 1 probe" for matcher in MATCHERS]
    kinds += [f"{m}, {PROBES} probes, {rule}" for m in ("nearest", "centre") for rule in RULES]
    collected = {kind: _Collected(len(people)) for kind in kinds}
    generator = np.random.default_rng(seed)
    for name in names:
        own = np.flatnonzero(shows == number[name])
        for _ in range(draws):
            order = generator.permutation(own)
            rest = generator.permutation(np.setdiff1d(np.arange(len(images)), order[:REFERENCES]))
            scores = matched(matrix, matrix[order[:REFERENCES]])
            for matcher in MATCHERS:
                collected[f"{matcher}, 1 probe"].add(
                    scores[matcher][rest], shows[rest], number[name]
                )
            threes, of = _threes(rest[np.argsort(shows[rest], kind="stable")], shows)
            for matcher in ("nearest", "centre"):
                for rule, fused in over_probes(scores[matcher][threes]).items():
                    kind = f"{matcher}, {PROBES} probes, {rule}"
                    collected[kind].add(fused, of, number[name])
    for kind, found in collected.items():
        yield kind, found.tail()


def matched(
    probes: NDArray[np.float32], references: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Return the scores of (N, D) unit probes with a template, by matcher."""
    each = np.sort(probes @ references.T, axis=1)
    centre = probes @ unit(references.mean(axis=0))
    return {
        "nearest": each[:, -1],
        "centre": centre,
        "two nearest": each[:, -2:].mean(axis=1),
        "centre and nearest": (centre + each[:, -1]) / 2,
    }


def over_probes(scores: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return one score for each row of (N, 3) scores: the threshold at which a rule accepts it.

    "two in a row" is what `core.policy.decide` asks for; "mean" is the likelihood ratio of normal
    scores of equal spread.
    """
    pairs = np.minimum(scores[:, :-1], scores[:, 1:])
    return {
        "best": scores.max(axis=1),
        "two in a row": pairs.max(axis=1),
        "mean": scores.mean(axis=1),
    }


class _Collected:
    """Scores on their way to a tail."""

    def __init__(self, people: int) -> None:
        self._genuine: list[NDArray[np.float32]] = []
        self._person: list[int] = []
        self._impostor: list[NDArray[np.float32]] = []
        self._first: list[NDArray[np.intp]] = []
        self._second: list[NDArray[np.intp]] = []
        self._counts = np.zeros((people, people))

    def add(self, scores: NDArray[np.float32], shows: NDArray[np.intp], enrolled: int) -> None:
        genuine = shows == enrolled
        self._genuine.append(scores[genuine])
        self._person += [enrolled] * int(genuine.sum())
        scores, shows = scores[~genuine], shows[~genuine]
        np.add.at(self._counts[enrolled], shows, 1)
        kept = np.argsort(-scores)[: max(1, int(TAIL * len(scores)))]
        self._impostor.append(scores[kept])
        self._first.append(np.full(len(kept), enrolled))
        self._second.append(shows[kept])

    def tail(self) -> Tail:
        impostor = np.concatenate(self._impostor)
        falling = np.argsort(-impostor, kind="stable")
        return Tail(
            genuine=np.concatenate(self._genuine),
            person=np.array(self._person),
            impostor=impostor[falling],
            first=np.concatenate(self._first)[falling],
            second=np.concatenate(self._second)[falling],
            counts=self._counts,
        )


def _threes(
    ordered: NDArray[np.intp], shows: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Cut images, person after person, into threes of one person: (N, 3), and whose they are."""
    groups = np.split(ordered, np.flatnonzero(np.diff(shows[ordered])) + 1)
    threes = [g[: len(g) // PROBES * PROBES].reshape(-1, PROBES) for g in groups]
    cut = np.concatenate(threes)
    return cut, shows[cut[:, 0]]


def _all_pairs(vectors: Vectors) -> Tail:
    scores = np.stack(list(vectors.values()))
    return _tail_of_pairs(scores @ scores.T, list(vectors))


def _cohort_normalised(vectors: Vectors, cohort: Sequence[str]) -> Tail:
    """Measure each score from the mean and spread of both images' scores with their own cohorts.

    Source: Cumani et al., "Comparison of Speaker Recognition Approaches for Real Applications"
    (2011), adaptive symmetric normalisation.
    """
    images = list(vectors)
    matrix = np.stack([vectors[image] for image in images])
    position = {image: index for index, image in enumerate(images)}
    others = np.array([position[image] for image in cohort if image in position])
    with_cohort = matrix @ matrix[others].T
    with_cohort[others, np.arange(len(others))] = -1  # nobody is of their own cohort
    nearest = np.sort(with_cohort, axis=1)[:, -COHORT:]
    mean, spread = nearest.mean(axis=1), nearest.std(axis=1)
    scores = matrix @ matrix.T
    normed = (scores - mean[:, None]) / spread[:, None]
    return _tail_of_pairs((normed + normed.T) / 2, images)


def _tail_of_pairs(scores: NDArray[np.float32], images: Sequence[str]) -> Tail:
    people = people_of(images)
    number = {name: index for index, name in enumerate(people)}
    shows = np.array([number[person(image)] for image in images])
    rows, columns = every_pair(len(images))
    first, second, values = shows[rows], shows[columns], scores[rows, columns]
    genuine = first == second
    each = np.bincount(shows).astype(np.float64)
    counts = np.triu(np.outer(each, each), k=1)
    values_of_impostors = values[~genuine]
    kept = np.argsort(-values_of_impostors)[: int(TAIL * len(values_of_impostors))]
    return Tail(
        genuine=values[genuine],
        person=first[genuine],
        impostor=values_of_impostors[kept],
        first=first[~genuine][kept],
        second=second[~genuine][kept],
        counts=counts,
    )


def _mean_off(vectors: Vectors) -> Vectors:
    mean = mean_of_people(vectors)
    return {image: unit(vector - mean) for image, vector in vectors.items()}


def _fused(embedders: Mapping[str, Vectors], share: float) -> Vectors:
    """Return vectors whose cosine is `share` of SFace's cosine and the rest of the other's."""
    first, second = embedders["sface"], embedders["mobilefacenet"]
    weights = np.sqrt(np.array([share, 1 - share], dtype=np.float32))
    return {i: np.concatenate([weights[0] * v, weights[1] * second[i]]) for i, v in first.items()}


def _only(vectors: Vectors, images: Sequence[str]) -> Vectors:
    return {image: vectors[image] for image in images if image in vectors}


def _measured(choice: str, tail: Tail, rates: Sequence[float], options: argparse.Namespace) -> Row:
    people = len(tail.counts)
    draws = draw_people(people, replicates=options.replicates, seed=options.seed)
    return Row(
        choice=choice,
        genuine=len(tail.genuine),
        impostor=int(tail.counts.sum()),
        rates=tuple(rates),
        fnmr=tuple(tail.fnmr(rates, np.ones((1, people)))[0]),
        intervals=tuple(percentiles(column) for column in tail.fnmr(rates, draws).T),
    )


def _table(what: str, rows: Sequence[Row]) -> str:
    accepts = what == "TAR"
    lines = []
    for row in rows:
        cells = [row.choice]
        for value, (low, high) in zip(row.fnmr, row.intervals, strict=True):
            shown = (1 - value, Interval(1 - high, 1 - low)) if accepts else (value, (low, high))
            cells.append(f"{shown[0]:.4f} {report.interval(Interval(*shown[1]))}")
        lines.append([*cells, f"{row.genuine}", f"{row.impostor}"])
    header = [what, *(f"FMR {rate:.0e}" for rate in rows[0].rates), "genuine", "impostor"]
    return report.table(header, lines)


def _plain(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in Row.__slots__}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fusion", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    parser.add_argument("--pairs", type=Path, required=True, help="pairs whose images are used")
    parser.add_argument("--extra", type=Path, required=True, help="further images, one a line")
    parser.add_argument("--people", type=Path, required=True, help="whom to enrol, one a line")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--draws", type=int, default=10, help="templates a person")
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
