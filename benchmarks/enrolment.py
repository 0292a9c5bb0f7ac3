"""`python -m benchmarks.enrolment`: does an enrolment take one person, and never two.

Samples of people with many images in LFW, drawn at random, go through `core.enrolment.Enroller` as
`faceid-admin add-user` has it: of one person, and mixed of two.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, Pipeline, extract, load_pipeline
from benchmarks.lfw import person
from benchmarks.statistics import wilson
from benchmarks.templates import calibrated_thresholds
from pam_faceid.apps.admin.add_user import HALVES_FMR, SAMPLES_FMR
from pam_faceid.core.enrolment import Enroller
from pam_faceid.core.errors import EnrolmentError, FaceIdError
from pam_faceid.core.types import Embedding, Observation, SampleQuality

FEWEST: Final = 10  # images of a person
MIXTURES: Final = ((4, 0), (8, 0), (10, 0), (1, 1), (2, 2), (1, 7), (4, 4), (10, 1), (10, 10))
GOOD: Final = SampleQuality(200.0, 0.0, 0.0, 0.0, 200.0, 110.0, 45.0)

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """One mixture: so many samples of one person and of another, in random order."""

    first: int
    second: int
    tries: int
    refused: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        samples, halves = calibrated_thresholds(
            options.models, options.embedder, (SAMPLES_FMR, HALVES_FMR)
        )
        pipeline = load_pipeline(options.models, options.embedder)
        people = _people(options, pipeline)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.enrolment: {error}", file=sys.stderr)
        return 2
    random = np.random.default_rng(options.seed)
    rows = [
        Row(
            first,
            second,
            options.tries,
            sum(
                not is_taken(_draw(people, first, second, random), samples, halves)
                for _ in range(options.tries)
            ),
        )
        for first, second in MIXTURES
    ]
    facts = {
        "embedder": pipeline.embedder.model_id,
        "people": f"{len(people)} with {FEWEST} images or more that pass the gate of a login",
        "agreement": f"{samples:.4f} of two samples, {halves:.4f} of two means",
        **report.machine(),
    }
    if options.json:
        print(json.dumps({"facts": facts, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print(report.describe(facts), _table(rows), sep="\n\n")
    return 0


def is_taken(vectors: Vectors, samples: float, halves: float) -> bool:
    """Whether an enrolment makes a template of these samples.

    Args:
        vectors: (N, D) embeddings.
        samples, halves: `agreement` and `halves_agreement` of the `Enroller`.
    """
    enroller = Enroller(
        user="user",
        uid=1000,
        references=8,
        agreement=samples,
        halves_agreement=halves,
        spacing_seconds=0.0,
    )
    for index, vector in enumerate(vectors):
        enroller.add(Observation(index, 0.0, None, GOOD, Embedding(vector, "model"), {}))
    try:
        enroller.template(now=0.0)
    except EnrolmentError:
        return False
    return True


def _draw(
    people: Sequence[Vectors], first: int, second: int, random: np.random.Generator
) -> Vectors:
    one, other = random.choice(len(people), 2, replace=False)
    mixed = np.concatenate(
        [
            random.permutation(people[one])[:first],
            random.permutation(people[other])[:second],
        ]
    )
    return np.asarray(random.permutation(mixed), dtype=np.float32)


def _people(options: argparse.Namespace, pipeline: Pipeline) -> list[Vectors]:
    samples = extract(options.images, list(_names(options.images)), pipeline, cache=options.cache)
    by_person: dict[str, list[Vectors]] = {}
    for image, sample in samples.items():
        if sample.vector is not None and not sample.gate:
            by_person.setdefault(person(image), []).append(sample.vector)
    return [np.stack(own) for own in by_person.values() if len(own) >= FEWEST]


def _names(folder: Path) -> Iterator[str]:
    for own in sorted(folder.iterdir()):
        photos = sorted(own.glob("*.jpg"))
        if len(photos) >= FEWEST:
            yield from (photo.relative_to(folder).as_posix() for photo in photos)


def _table(rows: Sequence[Row]) -> str:
    lines = [
        [
            f"{row.first} of one, {row.second} of another" if row.second else f"{row.first} of one",
            f"{row.refused}/{row.tries}",
            f"{100 * row.refused / row.tries:.2f} %",
            report.interval(wilson(row.refused, row.tries)),
        ]
        for row in rows
    ]
    return report.table(["samples", "refused", "share", "95 %"], lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.enrolment", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of LFW")
    parser.add_argument("--embedder", default="sface", help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
