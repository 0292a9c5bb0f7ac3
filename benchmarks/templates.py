"""`python -m benchmarks.templates`: what more references do to the error rates of a template.

The calibration is of one image against one. A template has several references: "nearest" gives a
stranger as many chances as there are references, "centre" one chance against a cleaner vector.
People with enough images are enrolled from images drawn at random; the rest of theirs and one
image of everybody else are compared with the template.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, Sample, extract, load_pipeline
from benchmarks.lfw import every_image, people_of, person
from benchmarks.statistics import Comparisons, FixedThreshold, OperatingPoint, rates_at
from pam_faceid.adapters.models.manifest import ModelSpec, load_manifest
from pam_faceid.adapters.models.spread import read_spread
from pam_faceid.core.cohort import template_scores
from pam_faceid.core.config import Matcher, MatchingConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.fused import Fused
from pam_faceid.core.matching import How, threshold_for

SIZES: Final = (1, 2, 4, 8)
RATES: Final = (1e-3, 1e-4, 1e-5)
FEWEST_PROBES: Final = 2


@dataclass(frozen=True, slots=True)
class Row:
    """Error rates of one kind of template, for each of `RATES`.

    Args:
        calibrated: At the threshold that the calibration of one against one gives.
        own: Where this kind of template itself has the rate.
    """

    matcher: Matcher
    references: int
    calibrated: list[FixedThreshold]
    own: list[OperatingPoint]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        thresholds = calibrated_thresholds(options.models, options.embedder, RATES)
        pipeline = load_pipeline(options.models, options.embedder)
        names = every_image(options.images)
        samples = extract(options.images, names, pipeline, cache=options.cache)
        spec = load_manifest(options.models).find(options.embedder)
        drawn = {
            (matcher, size): template_comparisons(
                samples, ready(matcher, spec), size, draws=options.draws, seed=options.seed
            )
            for matcher in get_args(Matcher)
            for size in SIZES
        }
        rows = [
            Row(
                matcher,
                size,
                calibrated=rates_at(
                    comparisons, thresholds, replicates=options.replicates, seed=options.seed
                ),
                own=[comparisons.weigh().operating_point(rate) for rate in RATES],
            )
            for (matcher, size), comparisons in drawn.items()
        ]
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.templates: {error}", file=sys.stderr)
        return 2
    enrolled = enrolled_people(samples)
    some = next(iter(drawn.values()))
    facts = {
        "embedder": pipeline.embedder.model_id,
        "images": f"{options.images}: {len(samples)} of {len(people_of(samples))} people",
        "enrolled": f"{len(enrolled)} people, {options.draws} draws each",
        "comparisons": f"{len(some.genuine)} genuine, {len(some.impostor)} impostor a row",
        "bootstrap": f"{options.replicates} replicates over people, seed {options.seed}",
        **report.machine(),
    }
    if options.json:
        print(json.dumps({"facts": facts, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        tables = [_table(rows, index) for index in range(len(RATES))]
        print(report.describe(facts), *tables, sep="\n\n")
    return 0


def calibrated_thresholds(models: Path, embedder: str, rates: Sequence[float]) -> list[float]:
    """Return the thresholds that a manifest promises for false match rates.

    Raises:
        ValueError: The embedder was never calibrated.
        FaceIdError: The manifest cannot be read, or a rate is outside the calibration.
    """
    calibration = load_manifest(models).find(embedder).calibration
    if calibration is None:
        raise ValueError(f"{embedder} has no calibration: run benchmarks.calibrate")
    return [threshold_for(rate, calibration) for rate in rates]


def enrolled_people(samples: Mapping[str, Sample]) -> dict[str, list[str]]:
    """Return the images of everybody who has enough for the largest template and for probes."""
    by_person: dict[str, list[str]] = {}
    for image, sample in samples.items():
        if sample.vector is not None:
            by_person.setdefault(person(image), []).append(image)
    fewest = max(SIZES) + FEWEST_PROBES
    return {name: images for name, images in by_person.items() if len(images) >= fewest}


def template_comparisons(
    samples: Mapping[str, Sample], matcher: How, size: int, *, draws: int, seed: int
) -> Comparisons:
    """Enrol, and compare with the person's other images and with one image of everybody else.

    The same draws come out for every matcher; a smaller template is a part of a larger one.
    """
    generator = np.random.default_rng(seed)
    vectors = {i: s.vector for i, s in samples.items() if s.vector is not None}
    people = people_of(vectors)
    number = {name: index for index, name in enumerate(people)}
    by_person: dict[str, list[str]] = {name: [] for name in people}
    for image in vectors:
        by_person[person(image)].append(image)
    scores: list[NDArray[np.float32]] = []
    first: list[int] = []
    second: list[int] = []
    for name, images in enrolled_people(samples).items():
        for _ in range(draws):
            order = [images[k] for k in generator.permutation(len(images))]
            references = np.stack([vectors[image] for image in order[:size]])
            others = [by_person[p][generator.integers(len(by_person[p]))] for p in people]
            probes = [*order[max(SIZES) :], *(i for i in others if person(i) != name)]
            scores.append(
                template_scores(np.stack([vectors[i] for i in probes]), references, matcher)
            )
            first += [number[name]] * len(probes)
            second += [number[person(i)] for i in probes]
    return Comparisons(
        np.concatenate(scores),
        np.array(first, dtype=np.int32),
        np.array(second, dtype=np.int32),
        people=len(people),
    )


def enrolled_comparisons(
    samples: Mapping[str, Sample],
    names: Sequence[str],
    matcher: How,
    *,
    references: int,
    draws: int,
    seed: int,
) -> Comparisons:
    """Enrol given people from images drawn at random, and compare with every other image.

    Args:
        names: Whom to enrol; each has more images than `references`.
    """
    generator = np.random.default_rng(seed)
    found = {i: s.vector for i, s in sorted(samples.items()) if s.vector is not None}
    vectors = np.stack(list(found.values()))
    people = people_of(found)
    number = {name: index for index, name in enumerate(people)}
    shows = np.array([number[person(image)] for image in found], dtype=np.int32)
    scores: list[NDArray[np.float32]] = []
    second: list[NDArray[np.int32]] = []
    first: list[NDArray[np.int32]] = []
    for name in names:
        own = np.flatnonzero(shows == number[name])
        for _ in range(draws):
            enrolled = generator.permutation(own)[:references]
            probes = np.setdiff1d(np.arange(len(vectors)), enrolled)
            scores.append(template_scores(vectors[probes], vectors[enrolled], matcher))
            second.append(shows[probes])
            first.append(np.full(len(probes), number[name], dtype=np.int32))
    return Comparisons(
        np.concatenate(scores), np.concatenate(first), np.concatenate(second), people=len(people)
    )


def ready(matcher: Matcher, spec: ModelSpec) -> How:
    """Return a matcher with what it has to know of an embedder.

    Raises:
        ValueError: Nobody measured that.
    """
    if matcher != "fused":
        return matcher
    spread = read_spread(spec)
    if spread is None:
        raise ValueError(f"{spec.name} has no spread: run benchmarks.spread")
    return Fused.of(spread)


def _table(rows: Sequence[Row], index: int) -> str:
    header = ["references", "FMR", "95 %", "x", "TAR", "95 %", "own threshold", "TAR there"]
    lines = []
    for row in rows:
        at, own = row.calibrated[index], row.own[index]
        lines.append(
            [
                f"{row.matcher} of {row.references}",
                f"{at.fmr.value:.1e}",
                report.interval(at.fmr.interval, ".1e"),
                f"{at.fmr.value / RATES[index]:.1f}",
                f"{at.tar.value:.4f}",
                report.interval(at.tar.interval),
                f"{own.threshold:.4f}",
                f"{own.tar:.4f}",
            ]
        )
    title = f"At {rows[0].calibrated[index].threshold:.4f}, calibrated for {RATES[index]:.0e}"
    return f"{title}\n{report.table(header, lines)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.templates", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--draws", type=int, default=10, help="templates a person and size")
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
