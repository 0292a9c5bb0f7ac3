"""`python -m benchmarks.cohort`: strangers to compare a template with, and what they are worth.

Writes `NAME.cohort.json` beside each embedder with `--write`; with new noise each time, so with
other bytes. Everything that is printed is of people who had no part in what they are measured with:
people are split in two at random, again and again, a cohort is made from one half as the shipped
one is from all, and the other half is asked

- who was averaged: can it be told from the cohort, by whoever has everybody's picture;
- how near a made-up stranger comes to a real person, beside how near real strangers come;
- what a template's own false match rate is, beside what the cohort says of it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks import cohort_privacy, cohort_rates, report
from benchmarks.cohort_making import Vectors, cohort_of, write
from benchmarks.cohort_privacy import Privacy, who_was_averaged
from benchmarks.cohort_rates import Row, picture, rates_of_templates, stated
from benchmarks.extraction import SHIPPED_MODELS, Sample, extract, load_pipeline
from benchmarks.lfw import every_image, person
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.core.errors import FaceIdError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    privacy: list[Privacy] = []
    rows: list[Row] = []
    try:
        manifest = load_manifest(options.models)
        names = every_image(options.images)
        every = [spec.name for spec in manifest.model if spec.kind == "embedder"]
        for name in options.embedder or every:
            spec = manifest.find(name)
            pipeline = load_pipeline(options.models, name)
            samples = extract(options.images, names, pipeline, cache=options.cache)
            people = by_person(samples)
            privacy.append(who_was_averaged(name, people, options))
            found = rates_of_templates(name, people, options)
            rows += found
            if options.write:
                made = cohort_of(
                    people, spec, factor=stated(found), seed=options.seed, date=options.date
                )
                write(options.models, name, made)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.cohort: {error}", file=sys.stderr)
        return 2
    facts = {
        "images": f"{options.images}: {len(names)} of {len({person(i) for i in names})} people",
        "splits": f"{options.splits}, seed {options.seed}",
        **report.machine(),
    }
    if options.plot is not None:
        options.plot.write_bytes(picture(rows))
    if options.json:
        told = {"privacy": list(map(asdict, privacy)), "rows": list(map(asdict, rows))}
        print(json.dumps({"facts": facts, **told}, indent=2))
    else:
        print(
            report.describe(facts),
            cohort_privacy.table(privacy),
            cohort_rates.table(rows),
            sep="\n\n",
        )
    return 0


def by_person(samples: Mapping[str, Sample]) -> dict[str, Vectors]:
    """Return the (N, D) vectors of each person, in the order of their images."""
    found: dict[str, list[Vectors]] = {}
    for image, sample in sorted(samples.items()):
        if sample.vector is not None:
            found.setdefault(person(image), []).append(sample.vector)
    return {name: np.stack(vectors) for name, vectors in found.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cohort", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    parser.add_argument("--embedder", action="append", help="default: every one of the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--date", type=datetime.date.fromisoformat, default=datetime.date.today())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the cohorts and their hashes")
    parser.add_argument("--plot", type=Path, help="PNG to draw, measured by estimated rates")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
