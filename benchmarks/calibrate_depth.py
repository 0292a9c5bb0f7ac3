"""`python -m benchmarks.calibrate_depth`: what scores of embedders of depth mean, on renders.

As `benchmarks.calibrate`, but on rendered people whom nothing was trained, tuned or measured on:
no RGB-D pictures of many real people may be used here. What the rates are worth on real people is
not known.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.calibrate import CALIBRATION, REFERENCES, calibration_of, with_calibration
from benchmarks.extraction import Sample
from benchmarks.rendered import CALIBRATED_ON, joined, options_of, rendered, siamese_vectors
from benchmarks.templates import enrolled_comparisons
from benchmarks.verification import all_comparisons
from pam_faceid.adapters.models.manifest import MANIFEST, ModelSpec, load_manifest
from pam_faceid.core.calibration import Calibration
from pam_faceid.core.config import Matcher

DRAWS: Final = 10  # of everybody: 4 of 6 days can be chosen in 15 ways
MATCHERS: Final[tuple[Matcher, ...]] = ("nearest", "centre")


def tables(
    samples: dict[str, Sample], options: argparse.Namespace
) -> Iterator[tuple[str, Calibration]]:
    """Yield tables of the manifest by name."""
    people = sorted({name.rpartition("/")[0] for name in samples})
    whom = (
        f"rendered people {options.first} to {options.first + options.people - 1} of"
        f" onnx_models/training/rgbd, {options.sessions} days of each"
    )
    yield CALIBRATION, calibration_of(all_comparisons(samples), f"{whom}, every pair", options)
    for matcher in MATCHERS:
        compared = enrolled_comparisons(
            samples, people, matcher, references=REFERENCES, draws=DRAWS, seed=options.seed
        )
        data = f"{whom}: templates of {REFERENCES} days drawn {DRAWS} times, against every other"
        yield f"templates.{matcher}", calibration_of(compared, data, options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write into the manifest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options_of(parser, first=CALIBRATED_ON, people=240)
    parser.add_argument("--date", type=datetime.date.fromisoformat, default=datetime.date.today())
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    shown = rendered(options)
    solid = siamese_vectors(options.models, shown.crops)
    specs: list[ModelSpec] = [
        spec
        for spec in load_manifest(options.models).model
        if spec.kind == "embedder" and spec.needs_depth
    ]
    path = options.models / MANIFEST
    for spec in specs:
        vectors = joined(spec, solid, shown.beside)
        samples = {
            f"{who:05}/{number:06}": Sample(vector, failure="", gate="", faces=1)
            for number, (who, vector) in enumerate(zip(shown.person, vectors, strict=True))
        }
        for table, calibration in tables(samples, options):
            print(f"{spec.name}: {table}", file=sys.stderr, flush=True)
            text = path.read_text(encoding="utf-8")
            path.write_text(
                with_calibration(text, spec.name, calibration, table=table), encoding="utf-8"
            )
            load_manifest(options.models)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
