"""`python -m benchmarks.matchers`: how else a probe could be compared with a template.

Every way that learns anything learns it from half of the people, drawn at random again and again,
and is judged on the other half: people enrolled from 4 images, their other images against them, and
all images of everybody else of that half. Twice: from images drawn at random, and from two looks of
two images each, for which a person's images are cut in two along the direction in which they differ
most. The last table is of one image against one: a linear map that could be a part of the embedder.

"Better" is the share of bootstrap replicates over the enrolled people in which a way turns away
fewer than the centre does, and fewer than the nearest reference, at the same false match rate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import (
    SHIPPED_MODELS,
    Pipeline,
    extract,
    load_pipeline,
    nearest_the_middle,
)
from benchmarks.lfw import every_image, every_pair, people_of, person
from benchmarks.statistics import Interval, draw_people, percentiles
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core import quality
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import FaceIdError

Vectors = NDArray[np.float64]  # (N, D), unit
Scores = NDArray[np.float64]

REFERENCES: Final = 4
RATES: Final = (1e-4, 1e-5, 1e-6)
PAIR_RATES: Final = (1e-3, 1e-4, 1e-5)
KEPT: Final = 60  # highest impostor scores of a template
MOST_IMAGES: Final = 8  # of one person, that count towards the spread within people
SHRUNK: Final = (0.1, 0.3)  # towards equal spread in every direction
WHITENED: Final = (0.3, 0.6, 0.9)
COHORT_TOP: Final = 100
SHARPEST: Final = 2.0  # weight of the sharpest sample, before the pose
BLURREST: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What one half of the people teaches.

    Args:
        mean: (D,) over people.
        spread: (D, D) covariance of one image each of everybody.
        within, between: (D, D) covariance within people, and of people.
        cohort: (C, D) one image each.
    """

    mean: Vectors
    spread: Vectors = field(repr=False)
    within: Vectors = field(repr=False)
    between: Vectors = field(repr=False)
    cohort: Vectors = field(repr=False)


@dataclass(slots=True, eq=False)
class Collected:
    """Scores of one way, from all splits."""

    genuine: list[Scores] = field(default_factory=list)
    whose: list[NDArray[np.intp]] = field(default_factory=list)
    impostor: list[Scores] = field(default_factory=list)
    against: list[NDArray[np.intp]] = field(default_factory=list)
    impostors: int = 0

    def add(self, scores: Scores, own: NDArray[np.bool_], name: int) -> None:
        """Take the scores of all probes with one template."""
        self.genuine.append(scores[own])
        self.whose.append(np.full(int(own.sum()), name))
        others = scores[~own]
        self.impostors += len(others)
        self.impostor.append(np.sort(others)[-KEPT:])
        self.against.append(np.full(len(self.impostor[-1]), name))

    def fnmr(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the false non-match rate at each of `RATES`, (R, rates)."""
        impostor, against = np.concatenate(self.impostor), np.concatenate(self.against)
        falling = np.argsort(-impostor, kind="stable")
        impostor, against = impostor[falling], against[falling]
        genuine, whose = np.concatenate(self.genuine), np.concatenate(self.whose)
        found = np.empty((len(draws), len(RATES)))
        for row, drawn in enumerate(draws):
            above = np.cumsum(drawn[against])
            total = self.impostors * drawn[np.unique(whose)].mean()
            weights = drawn[whose]
            for column, rate in enumerate(RATES):
                over = min(np.searchsorted(above, rate * total, side="right"), len(above) - 1)
                missed = weights[~(genuine > impostor[over])].sum()
                found[row, column] = missed / weights.sum()
        return found


@dataclass(frozen=True, slots=True)
class Row:
    """False non-match rates of one way at `RATES`, %, and how often it is better."""

    templates: str
    way: str
    genuine: int
    impostor: int
    fnmr: tuple[float, ...]
    intervals: tuple[Interval, ...]
    better_than_centre: tuple[float, ...]
    better_than_nearest: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PairRow:
    """True accept rates of one image against one on people not learned from, over all splits."""

    way: str
    tar: tuple[float, ...]
    middle: tuple[Interval, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        pipeline = load_pipeline(options.models, options.embedder)
        names = every_image(options.images)
        samples = extract(options.images, names, pipeline, cache=options.cache)
        enrolled = options.people.read_text(encoding="utf-8").split()
        found = {i: s.vector for i, s in samples.items() if s.vector is not None}
        weights = quality_weights(
            options.images, [i for i in found if person(i) in set(enrolled)], pipeline
        )
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.matchers: {error}", file=sys.stderr)
        return 2
    vectors = np.stack(list(found.values())).astype(np.float64)
    people = people_of(found)
    number = {name: index for index, name in enumerate(people)}
    shows = np.array([number[person(image)] for image in found])
    of_quality = np.array([weights.get(image, 1.0) for image in found])
    collected, pairs = measure(
        vectors, shows, [number[name] for name in enrolled], of_quality, options=options
    )
    rows = [row for kind, ways in collected.items() for row in _rows(kind, ways, options)]
    facts = {
        "embedder": pipeline.embedder.model_id,
        "images": f"{options.images}: {len(found)} of {len(people)} people",
        "enrolled": f"{len(enrolled)} people, when they are in the half that is judged, "
        f"{options.draws} draws of each kind in each of {options.splits} splits",
        "bootstrap": f"{options.replicates} replicates over people, seed {options.seed}",
        **report.machine(),
    }
    if options.json:
        print(
            json.dumps(
                {
                    "facts": facts,
                    "rows": [asdict(row) for row in rows],
                    "pairs": [asdict(row) for row in pairs],
                },
                indent=2,
            )
        )
    else:
        print(report.describe(facts), _table(rows), _pair_table(pairs), sep="\n\n")
    return 0


def measure(
    vectors: Vectors,
    shows: NDArray[np.intp],
    enrolled: Sequence[int],
    of_quality: NDArray[np.float64],
    *,
    options: argparse.Namespace,
) -> tuple[dict[str, dict[str, Collected]], list[PairRow]]:
    """Split the people, learn from one half and judge on the other, again and again.

    Args:
        shows: (N,) number of the person in each image.
        enrolled: Whom to enrol.
        of_quality: (N,) weight of each image.
    """
    generator = np.random.default_rng(options.seed)
    people = int(shows.max()) + 1
    collected: dict[str, dict[str, Collected]] = {"one look": {}, "two looks": {}}
    tars: dict[str, list[list[float]]] = {}
    for _ in report.progress(range(options.splits), label="splitting"):
        taught = np.isin(shows, generator.permutation(people)[: people // 2])
        learned = learn(vectors[taught], shows[taught])
        judged, of = vectors[~taught], shows[~taught]
        ways = ways_of(learned, judged)
        for way, scores in pair_ways(learned, judged):
            tars.setdefault(way, []).append(_tars(scores, of))
        for name in enrolled:
            own = np.flatnonzero(of == name)
            if not len(own):
                continue
            for kind, chosen in _templates(own, judged, generator, options.draws):
                probes = np.ones(len(judged), dtype=bool)
                probes[chosen] = False
                weights = of_quality[~taught][chosen]
                for way, compare in ways.items():
                    scores = compare(probes, chosen, weights)
                    collected[kind].setdefault(way, Collected()).add(
                        scores, of[probes] == name, name
                    )
    pairs = [
        PairRow(
            way,
            tar=tuple(float(v) for v in np.median(rates, axis=0)),
            middle=tuple(percentiles(column) for column in np.array(rates).T),
        )
        for way, rates in tars.items()
    ]
    return collected, pairs


def learn(vectors: Vectors, shows: NDArray[np.intp]) -> Learned:
    """Estimate means and covariances; a person with many images counts as one with eight."""
    _, first, inverse, counts = np.unique(
        shows, return_index=True, return_inverse=True, return_counts=True
    )
    means = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(means, inverse, vectors)
    means /= counts[:, None]
    capped = np.minimum(counts, MOST_IMAGES)
    weights = np.sqrt(capped / counts)[inverse]
    apart = (vectors - means[inverse]) * weights[:, None]
    within = apart.T @ apart / (capped * (counts - 1) / counts).sum()
    mean = means.mean(axis=0)
    between = (means - mean).T @ (means - mean) / len(means) - within * np.mean(1 / counts)
    cohort = vectors[first]
    return Learned(mean, np.cov(cohort.T), within, between, cohort)


Compare = Callable[[NDArray[np.bool_], NDArray[np.intp], NDArray[np.float64]], Scores]


def ways_of(learned: Learned, judged: Vectors) -> dict[str, Compare]:
    """Return each way to compare: probes, references and their weights to scores.

    Of four references the first two are one look and the last two another.
    """
    off = judged - learned.mean
    spreads = np.sqrt(_quadratic(off, learned.spread))

    def looks(chosen: NDArray[np.intp]) -> Vectors:
        return _unit(judged[chosen].reshape(2, -1, judged.shape[1]).mean(axis=1))

    def centre(probes: NDArray[np.bool_], chosen: NDArray[np.intp]) -> Vectors:
        del probes
        return _unit(judged[chosen].mean(axis=0))

    def each(probes: NDArray[np.bool_], chosen: NDArray[np.intp]) -> Scores:
        return judged[probes] @ judged[chosen].T

    def in_spread(probes: NDArray[np.bool_], template: Vectors, *, of_probe: bool) -> Scores:
        """Measure the score in the spread of strangers' scores with template and with probe."""
        centred = template - learned.mean
        spread = np.sqrt(_quadratic(centred, learned.spread))
        scores: Scores = off[probes] @ centred
        return scores / (np.sqrt(spread * spreads[probes]) if of_probe else spread)

    def nearest_look(p: NDArray[np.bool_], c: NDArray[np.intp]) -> Scores:
        found: Scores = (judged[p] @ looks(c).T).max(axis=1)
        return found

    def nearest_look_in_spread(p: NDArray[np.bool_], c: NDArray[np.intp]) -> Scores:
        found: Scores = np.max([in_spread(p, look, of_probe=True) for look in looks(c)], axis=0)
        return found

    def of_cohort(p: NDArray[np.bool_], c: NDArray[np.intp], top: int | None) -> Scores:
        template = centre(p, c)
        others = np.sort(learned.cohort @ template)[-top if top else None :]
        found: Scores = (judged[p] @ template - others.mean()) / others.std()
        return found

    ways: dict[str, Compare] = {
        "centre": lambda p, c, w: judged[p] @ centre(p, c),
        "nearest": lambda p, c, w: each(p, c).max(axis=1),
        "mean of centre and nearest": lambda p, c, w: (
            (judged[p] @ centre(p, c) + each(p, c).max(axis=1)) / 2
        ),
        "softest maximum": lambda p, c, w: np.log(np.exp(10 * each(p, c)).mean(axis=1)),
        "nearest look's centre": lambda p, c, w: nearest_look(p, c),
        "mean of centre and nearest look": lambda p, c, w: (
            (judged[p] @ centre(p, c) + nearest_look(p, c)) / 2
        ),
        "centre weighted by quality": lambda p, c, w: (
            judged[p] @ _unit((w[:, None] * judged[c]).mean(axis=0))
        ),
        "centre, against a cohort": lambda p, c, w: of_cohort(p, c, None),
        f"centre, against the nearest {COHORT_TOP} of it": lambda p, c, w: of_cohort(
            p, c, COHORT_TOP
        ),
        "centre in its spread": lambda p, c, w: in_spread(p, centre(p, c), of_probe=False),
        "centre in both spreads": lambda p, c, w: in_spread(p, centre(p, c), of_probe=True),
        "centre and nearest look in both spreads": lambda p, c, w: (
            in_spread(p, centre(p, c), of_probe=True) + nearest_look_in_spread(p, c)
        ),
    }
    for share in WHITENED:
        ways[f"within-class whitening, shrunk {share}, centre"] = _of_centre(
            _unit(judged @ _whitening(_shrunk(learned.within, share)))
        )
    for share in SHRUNK:
        ways[f"two covariances, shrunk {share}"] = _of_ratio(
            _two_covariances(learned, share), judged
        )
    return ways


def _of_centre(mapped: Vectors) -> Compare:
    return lambda p, c, w: mapped[p] @ _unit(mapped[c].mean(axis=0))


def _of_ratio(ratio: Callable[[Vectors, Vectors], Scores], judged: Vectors) -> Compare:
    return lambda p, c, w: ratio(judged[p], judged[c])


def pair_ways(learned: Learned, judged: Vectors) -> Iterator[tuple[str, Scores]]:
    """Yield the scores of every pair of images, (N, N), with each linear map."""
    yield "as it is", judged @ judged.T
    for share in WHITENED:
        mapped = _unit(judged @ _whitening(_shrunk(learned.within, share)))
        yield f"within-class whitening, shrunk {share}", mapped @ mapped.T
    off = judged - learned.mean
    spreads = np.sqrt(_quadratic(off, learned.spread))
    yield "in both spreads", off @ off.T / np.sqrt(np.outer(spreads, spreads))
    for share in SHRUNK:
        score = _two_covariances(learned, share)
        yield (
            f"two covariances, shrunk {share}",
            np.stack([score(judged, one[None]) for one in judged]),
        )


def quality_weights(directory: Path, images: Sequence[str], pipeline: Pipeline) -> dict[str, float]:
    """Return how much each image should weigh: sharp and frontal ones more."""
    measured = {}
    for image in report.progress(images, label="assessing"):
        pixels = decode_image((directory / image).read_bytes(), name=image)
        face = nearest_the_middle(pipeline.detector.detect(pixels), pixels)
        measured[image] = quality.assess(face, pipeline.embedder.crop(pixels, face))
    usual = float(np.median([one.sharpness for one in measured.values()]))
    return {
        image: float(np.clip(np.sqrt(one.sharpness / usual), BLURREST, SHARPEST))
        * max(0.1, 1.0 - abs(one.yaw))
        for image, one in measured.items()
    }


def _templates(
    own: NDArray[np.intp], judged: Vectors, generator: np.random.Generator, draws: int
) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Yield the kind of a template and its references, of which two and two are alike."""
    apart = judged[own] - judged[own].mean(axis=0)
    looks = apart @ np.linalg.svd(apart, full_matrices=False)[2][0] > 0
    one, other = own[looks], own[~looks]
    half = REFERENCES // 2
    for _ in range(draws):
        yield "one look", _paired(generator.permutation(own)[:REFERENCES], judged)
        if min(len(one), len(other)) > half:
            two = [generator.permutation(look)[:half] for look in (one, other)]
            yield "two looks", np.concatenate(two)


def _paired(chosen: NDArray[np.intp], judged: Vectors) -> NDArray[np.intp]:
    """Order four references so that the most alike stand beside each other."""
    scores = judged[chosen] @ judged[chosen].T
    orders = ([0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 1, 2])
    best = max(orders, key=lambda o: float(scores[o[0], o[1]] + scores[o[2], o[3]]))
    found: NDArray[np.intp] = chosen[best]
    return found


def _unit(vectors: Vectors) -> Vectors:
    found: Vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return found


def _quadratic(vectors: Vectors, matrix: Vectors) -> Scores:
    found: Scores = ((vectors @ matrix) * vectors).sum(axis=-1)
    return found


def _shrunk(matrix: Vectors, share: float) -> Vectors:
    size = len(matrix)
    found: Vectors = (1 - share) * matrix + share * np.trace(matrix) / size * np.eye(size)
    return found


def _whitening(matrix: Vectors) -> Vectors:
    values, directions = np.linalg.eigh(matrix)
    found: Vectors = (directions / np.sqrt(values)) @ directions.T
    return found


def _two_covariances(learned: Learned, share: float) -> Callable[[Vectors, Vectors], Scores]:
    """Return the log likelihood ratio of a probe and n references of one person.

    Source: Brummer and De Villiers, "The Speaker Partitioning Problem" (2010).
    """
    white = _whitening(_shrunk(learned.within, share))
    lambdas, turned = np.linalg.eigh(white @ _shrunk(learned.between, share) @ white)
    lambdas = np.maximum(lambdas, 0.0)
    basis = white @ turned

    def score(probes: Vectors, references: Vectors) -> Scores:
        x = (probes - learned.mean) @ basis
        n = len(references)
        mean = n * lambdas / (1 + n * lambdas) * ((references - learned.mean) @ basis).mean(axis=0)
        narrow, wide = 1 + lambdas / (1 + n * lambdas), 1 + lambdas
        found: Scores = 0.5 * (np.log(wide / narrow) + x**2 / wide - (x - mean) ** 2 / narrow).sum(
            axis=1
        )
        return found

    return score


def _tars(scores: Scores, of: NDArray[np.intp]) -> list[float]:
    rows, columns = every_pair(len(of))
    same = of[rows] == of[columns]
    values = scores[rows, columns]
    falling = np.sort(values[~same])[::-1]
    return [float((values[same] > falling[int(r * len(falling))]).mean()) for r in PAIR_RATES]


def _rows(kind: str, ways: Mapping[str, Collected], options: argparse.Namespace) -> Iterator[Row]:
    people = 1 + max(int(np.concatenate(way.whose).max()) for way in ways.values())
    some = np.unique(np.concatenate(next(iter(ways.values())).whose))
    draws = np.zeros((options.replicates, people))
    draws[:, some] = draw_people(len(some), replicates=options.replicates, seed=options.seed)
    everybody = np.zeros((1, people))
    everybody[:, some] = 1.0
    replicates = {way: found.fnmr(draws) for way, found in ways.items()}
    for way, found in ways.items():
        yield Row(
            templates=kind,
            way=way,
            genuine=sum(len(scores) for scores in found.genuine),
            impostor=found.impostors,
            fnmr=tuple(float(100 * v) for v in found.fnmr(everybody)[0]),
            intervals=tuple(percentiles(100 * column) for column in replicates[way].T),
            better_than_centre=_better(replicates[way], replicates["centre"]),
            better_than_nearest=_better(replicates[way], replicates["nearest"]),
        )


def _better(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(share) for share in (one < other).mean(axis=0))


def _table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        cells = [row.templates, row.way]
        for index in range(len(RATES)):
            cells += [
                f"{row.fnmr[index]:.2f}",
                report.interval(row.intervals[index], ".2f"),
                f"{row.better_than_centre[index]:.0%} {row.better_than_nearest[index]:.0%}",
            ]
        lines.append(cells)
    header = ["templates", "way"]
    for rate in RATES:
        header += [f"FNMR % at {rate:.0e}", "95 %", "better than centre, nearest"]
    return report.table(header, lines)


def _pair_table(rows: Sequence[PairRow]) -> str:
    lines = []
    for row in rows:
        cells = [row.way]
        for tar, middle in zip(row.tar, row.middle, strict=True):
            cells += [f"{tar:.4f}", report.interval(middle, ".4f")]
        lines.append(cells)
    header = ["one image against one, other people"]
    for rate in PAIR_RATES:
        header += [f"TAR at {rate:.0e}, median", "95 % of splits"]
    return report.table(header, lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.matchers", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    parser.add_argument("--people", type=Path, required=True, help="whom to enrol, one a line")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--draws", type=int, default=6, help="templates a person, kind and split")
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
