"""`python -m benchmarks.calibrate`: what a comparison score means, written into the manifest.

Compares every image of the development pairs and of the extra impostors with every other one, and
puts thresholds, rates and their intervals into the `[model.calibration]` table of each embedder.
Then enrols people and compares every image with their templates, once for each matcher, for
`[model.templates.nearest]` and `[model.templates.centre]`.
Everything else in the manifest stays as it is. Labels are taken as they are: where LFW gives one
person two names, a genuine pair counts as a false match, so the lowest rates are overstated and
their thresholds too high, which is the safe side.
"""

from __future__ import annotations

import argparse
import datetime
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, get_args

from benchmarks.extraction import SHIPPED_MODELS, extract, load_pipeline
from benchmarks.lfw import every_image, images_of, people_of, read_images, read_pairs
from benchmarks.statistics import Comparisons, FixedThreshold, rates_at
from benchmarks.templates import enrolled_comparisons, ready
from benchmarks.verification import all_comparisons
from pam_faceid.adapters.models.manifest import MANIFEST, load_manifest
from pam_faceid.core.calibration import Calibration, CalibrationPoint
from pam_faceid.core.config import Matcher
from pam_faceid.core.errors import FaceIdError

CALIBRATION: Final = "calibration"  # the table of one image against one
REFERENCES: Final = 4  # of a template
DRAWS: Final = 20  # of everybody
RATES: Final = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6)
FEWEST_FALSE_MATCHES: Final = 10  # a point that rests on fewer is left out
DIGITS: Final = 4  # of a threshold, rounded up


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        manifest = load_manifest(options.models)
        names = options.embedder or [
            spec.name for spec in manifest.model if spec.kind == "embedder" and not spec.needs_depth
        ]
        for name in names:
            for table, calibration in calibrations(name, options):
                path = options.models / MANIFEST
                text = path.read_text(encoding="utf-8")
                if options.dry_run:
                    print(f"{name}\n{table_text(calibration, table)}")
                else:
                    partial = path.with_suffix(".partial")
                    partial.write_text(
                        with_calibration(text, name, calibration, table=table), encoding="utf-8"
                    )
                    partial.replace(path)
                    load_manifest(options.models)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.calibrate: {error}", file=sys.stderr)
        return 2
    return 0


def calibrations(name: str, options: argparse.Namespace) -> Iterator[tuple[str, Calibration]]:
    """Measure one embedder; yield tables of the manifest by name."""
    pipeline = load_pipeline(options.models, name)
    used = sorted({*images_of(read_pairs(options.pairs)), *read_images(options.extra)})
    samples = extract(options.images, used, pipeline, cache=options.cache)
    found = sum(sample.vector is not None for sample in samples.values())
    data = (
        f"LFW deep-funneled, development split: {found} images of {len(people_of(used))} "
        f"people, every pair, labels as published; {options.pairs.name}, {options.extra.name}"
    )
    if not options.matcher:
        yield CALIBRATION, calibration_of(all_comparisons(samples), data, options)
    if options.people is None:
        return
    enrolled = options.people.read_text(encoding="utf-8").split()
    names = every_image(options.images)
    samples = extract(options.images, names, pipeline, cache=options.cache)
    spec = load_manifest(options.models).find(name)
    for matcher in options.matcher or get_args(Matcher):
        comparisons = enrolled_comparisons(
            samples,
            enrolled,
            ready(matcher, spec),
            references=REFERENCES,
            draws=DRAWS,
            seed=options.seed,
        )
        data = (
            f"LFW deep-funneled, development split: templates of {REFERENCES} images drawn {DRAWS} "
            f"times for each of {len(enrolled)} people, against every other of {len(names)} images "
            f"of {len(people_of(names))} people, labels as published; {options.people.name}"
        )
        yield f"templates.{matcher}", calibration_of(comparisons, data, options)


def calibration_of(comparisons: Comparisons, data: str, options: argparse.Namespace) -> Calibration:
    """Return the operating points of comparisons."""
    whole = comparisons.weigh()
    wanted = [whole.operating_point(rate).threshold for rate in RATES]
    thresholds = [_above(threshold) for threshold in wanted]
    measured = rates_at(comparisons, thresholds, replicates=options.replicates, seed=options.seed)
    return Calibration(
        data=data,
        date=options.date.isoformat(),
        genuine_pairs=len(comparisons.genuine),
        impostor_pairs=len(comparisons.impostor),
        points=tuple(
            _point(rate, point)
            for rate, point in zip(RATES, measured, strict=True)
            if point.false_matches >= FEWEST_FALSE_MATCHES
        ),
    )


def with_calibration(
    text: str, name: str, calibration: Calibration, *, table: str = CALIBRATION
) -> str:
    """Return a manifest's text with one calibration of one model put in or replaced.

    Raises:
        ValueError: The manifest has no such model.
    """
    return with_table(text, name, table_text(calibration, table), table=table)


def with_table(text: str, name: str, written: str, *, table: str) -> str:
    """Return a manifest's text with one table of one model put in or replaced.

    Args:
        written: The table, its head included.
        table: Its name below `model`.

    Raises:
        ValueError: The manifest has no such model.
    """
    head, *models = re.split(r"^(?=\[\[model\]\]$)", text, flags=re.MULTILINE)
    for index, model in enumerate(models):
        if re.search(rf'^name = "{re.escape(name)}"$', model, flags=re.MULTILINE):
            replaced, found = re.subn(
                rf"^\[model\.{re.escape(table)}\]\n(?:.+\n)*",
                lambda _: written,
                model,
                flags=re.MULTILINE,
            )
            if not found:
                # What follows the last setting belongs to the next model.
                lines = model.splitlines(keepends=True)
                end = len(lines)
                while not lines[end - 1].strip() or lines[end - 1].startswith("#"):
                    end -= 1
                replaced = "".join([*lines[:end], "\n", written, *lines[end:]])
            models[index] = replaced
            return head + "".join(models)
    raise ValueError(f"the manifest has no model {name!r}")


def table_text(calibration: Calibration, table: str) -> str:
    """Write a calibration as the TOML table of a model."""
    lines = [
        f"[model.{table}]",
        f'data = "{calibration.data}"',
        f'date = "{calibration.date}"',
        f"genuine_pairs = {calibration.genuine_pairs}",
        f"impostor_pairs = {calibration.impostor_pairs}",
        "points = [",
        *(
            f"  {{ fmr = {p.fmr:.3g}, threshold = {p.threshold:.{DIGITS}f}, "
            f"low = {p.low:.3g}, high = {p.high:.3g} }},"
            for p in calibration.points
        ),
        "]",
    ]
    return "\n".join(lines) + "\n"


def _above(threshold: float) -> float:
    """Round up to where an impostor score equal to `threshold` is refused."""
    step = 10.0**-DIGITS
    return round((math.floor(threshold / step) + 1) * step, DIGITS)


def _point(rate: float, measured: FixedThreshold) -> CalibrationPoint:
    low, high = measured.fmr.interval
    # Rounding the threshold up can only lower the rate that is stated.
    return CalibrationPoint(
        fmr=rate, threshold=measured.threshold, low=min(low, rate), high=max(high, rate)
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calibrate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    parser.add_argument("--pairs", type=Path, required=True, help="pairs whose images are used")
    parser.add_argument("--extra", type=Path, required=True, help="further images, one a line")
    parser.add_argument("--people", type=Path, help="whom to enrol for the matchers, one a line")
    parser.add_argument(
        "--matcher",
        action="append",
        choices=get_args(Matcher),
        help="measure these alone; default: every one, and one image against one",
    )
    parser.add_argument("--embedder", action="append", help="default: every one of the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--date", type=datetime.date.fromisoformat, default=datetime.date.today())
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dry-run", action="store_true", help="print the tables, write nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
