"""`python -m benchmarks.verification`: error rates of one image against one, on pairs of LFW."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, Sample, extract, load_pipeline
from benchmarks.lfw import Pair, every_pair, images_of, people_of, person, read_images, read_pairs
from benchmarks.statistics import (
    Comparisons,
    ErrorRates,
    FixedThreshold,
    error_rates,
    rates_at,
    wilson,
)
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.matching import comparison_score, match_threshold

LISTED_RATES: Final = (1e-2, 1e-3)
ALL_PAIRS_RATES: Final = (1e-2, 1e-3, 1e-4, 1e-5)
FEW: Final = 10  # false matches below which an operating point rests on chance


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How many images gave a sample.

    Args:
        images: Images asked for.
        failed: Images without a sample, by reason.
        gated: Images that the quality gate of a login would not have compared, by reason. Their
            samples are compared here all the same: the gate is for a person who can look again.
    """

    images: int
    failed: dict[str, int]
    gated: dict[str, int]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that a run found out.

    Args:
        facts: What was measured, where and how.
        acquisition: Of every image.
        listed_pairs: Of the pairs of the file.
        all_pairs: Of every image with every other one, when that was asked for.
        calibrated: All pairs at the thresholds that the model's calibration gives, by the rate
            that it promises: whether the promise holds on these images.
    """

    facts: dict[str, str]
    acquisition: Acquisition
    listed_pairs: ErrorRates
    all_pairs: ErrorRates | None
    calibrated: dict[str, FixedThreshold]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        result = measure(options)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.verification: {error}", file=sys.stderr)
        return 2
    print(json.dumps(asdict(result), indent=2) if options.json else _as_text(result))
    return 0


def measure(options: argparse.Namespace) -> Result:
    """Embed the images, write the scores of the listed pairs, and count errors."""
    bootstrap = {"replicates": options.replicates, "seed": options.seed}
    pipeline = load_pipeline(
        options.models, options.embedder, threads=1, min_face_px=options.min_face_px
    )
    pairs = read_pairs(options.pairs)
    extra = read_images(options.extra) if options.extra else []
    used = sorted({*images_of(pairs), *extra})
    samples = extract(options.images, used, pipeline, cache=options.cache)
    scores = [score(pair, samples) for pair in pairs]
    write_scores(options.out, pairs, scores, samples)
    listed = _listed(pairs, scores)
    calibration = load_manifest(options.models).find(options.embedder).calibration
    everything, calibrated = None, {}
    comparisons = listed
    if options.all_pairs:
        comparisons = all_comparisons(samples)
        everything = error_rates(comparisons, ALL_PAIRS_RATES, **bootstrap)
        points = calibration.points if calibration is not None else ()
        found = rates_at(comparisons, [point.threshold for point in points], **bootstrap)
        calibrated = {f"{p.fmr:.0e}": at for p, at in zip(points, found, strict=True)}
    if options.plots:
        # Imported here: the figures need no matplotlib.
        from benchmarks import plots  # noqa: PLC0415

        threshold = match_threshold(MatchingConfig(), calibration, model=options.embedder)
        plots.write(
            options.plots, plots.draw(samples, comparisons, threshold=threshold, **bootstrap)
        )
    return Result(
        facts={
            "embedder": pipeline.embedder.model_id,
            "images": str(options.images),
            "pairs": f"{options.pairs.name}: {len(pairs)}",
            "extra images": f"{options.extra.name}: {len(extra)}" if options.extra else "none",
            "people": str(len(people_of(used))),
            "bootstrap": f"{options.replicates} replicates over people, seed {options.seed}",
            **report.machine(),
        },
        acquisition=acquisition_of(samples),
        listed_pairs=error_rates(listed, LISTED_RATES, **bootstrap),
        all_pairs=everything,
        calibrated=calibrated,
    )


def score(pair: Pair, samples: Mapping[str, Sample]) -> float | None:
    """Return the comparison score of a pair, or None when an image gave no sample."""
    first, second = samples[pair.first].vector, samples[pair.second].vector
    if first is None or second is None:
        return None
    return comparison_score(first, second[None], "nearest")


def write_scores(
    path: Path, pairs: Sequence[Pair], scores: Sequence[float | None], samples: Mapping[str, Sample]
) -> None:
    """Write one line a pair: both images, label, score, or why there is none."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["first", "second", "label", "score", "failure"])
        for pair, value in zip(pairs, scores, strict=True):
            failures = (
                f"{image}: {samples[image].failure}"
                for image in (pair.first, pair.second)
                if samples[image].failure
            )
            writer.writerow(
                [
                    pair.first,
                    pair.second,
                    "genuine" if pair.genuine else "impostor",
                    "" if value is None else f"{value:.6f}",
                    "; ".join(failures),
                ]
            )


def all_comparisons(samples: Mapping[str, Sample]) -> Comparisons:
    """Compare every image that gave a sample with every other one."""
    found = {i: s.vector for i, s in sorted(samples.items()) if s.vector is not None}
    vectors = np.stack(list(found.values()))
    rows, columns = every_pair(len(found))
    people = people_of(found)
    number = {name: index for index, name in enumerate(people)}
    shows = np.array([number[person(image)] for image in found], dtype=np.int32)
    scores = (vectors @ vectors.T)[rows, columns]
    return Comparisons(scores, shows[rows], shows[columns], people=len(people))


def acquisition_of(samples: Mapping[str, Sample]) -> Acquisition:
    """Count the images that gave no sample, and those that a login would have refused."""
    return Acquisition(
        images=len(samples),
        failed=dict(Counter(s.failure for s in samples.values() if s.failure).most_common()),
        gated=dict(Counter(s.gate for s in samples.values() if s.gate).most_common()),
    )


def _listed(pairs: Sequence[Pair], scores: Sequence[float | None]) -> Comparisons:
    people = people_of(images_of(pairs))
    number = {name: index for index, name in enumerate(people)}

    def indices(images: Sequence[str]) -> NDArray[np.int32]:
        return np.array([number[person(image)] for image in images], dtype=np.int32)

    compared = [(p, s) for p, s in zip(pairs, scores, strict=True) if s is not None]
    return Comparisons(
        np.array([value for _, value in compared], dtype=np.float32),
        indices([pair.first for pair, _ in compared]),
        indices([pair.second for pair, _ in compared]),
        people=len(people),
    )


def _as_text(result: Result) -> str:
    parts = [
        report.describe(result.facts),
        "Failures to acquire\n" + _acquisition_table(result.acquisition),
        "Listed pairs\n" + _rates_table(result.listed_pairs),
    ]
    if result.all_pairs is not None:
        parts.append("All pairs of these images\n" + _rates_table(result.all_pairs))
    if result.calibrated:
        parts.append("All pairs at the calibrated thresholds\n" + _kept_table(result.calibrated))
    parts.append(
        "Intervals: 95 %, bootstrap over people; of failures, Wilson. TAR counts compared pairs.\n"
        f"* fewer than {FEW} false matches: the threshold rests on chance."
    )
    return "\n\n".join(parts)


def _kept_table(calibrated: Mapping[str, FixedThreshold]) -> str:
    rows = [
        [
            rate,
            f"{at.threshold:.4f}",
            f"{at.fmr.value:.1e}",
            report.interval(at.fmr.interval, ".1e"),
            f"{at.false_matches}",
            f"{at.tar.value:.4f}",
            report.interval(at.tar.interval),
        ]
        for rate, at in calibrated.items()
    ]
    header = ["promised FMR", "threshold", "FMR", "95 %", "false matches", "TAR", "95 %"]
    return report.table(header, rows)


def _acquisition_table(acquisition: Acquisition) -> str:
    rows = []
    for kind, reasons in (("no sample", acquisition.failed), ("login's gate", acquisition.gated)):
        for reason, count in (("all", sum(reasons.values())), *reasons.items()):
            bounds = report.interval(wilson(count, acquisition.images))
            share = count / acquisition.images
            rows.append([f"{kind}: {reason}", f"{count}", f"{share:.4f}", bounds])
    return report.table([f"of {acquisition.images} images", "count", "rate", "95 %"], rows)


def _rates_table(rates: ErrorRates) -> str:
    rows = [["EER", f"{rates.eer.value:.4f}", report.interval(rates.eer.interval), "", ""]]
    for point, tar in zip(rates.points, rates.tar, strict=True):
        few = "*" if point.false_matches < FEW else ""
        rows.append(
            [
                f"TAR at FMR {point.target:.0e}{few}",
                f"{tar.value:.4f}",
                report.interval(tar.interval),
                f"{point.threshold:.4f}",
                f"{point.false_matches:.0f}",
            ]
        )
    counts = f"{rates.genuine} genuine, {rates.impostor} impostor"
    return report.table([counts, "value", "95 %", "threshold above", "false matches"], rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verification", description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    parser.add_argument("--pairs", type=Path, required=True, help="pairs in the format of LFW")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write, one line a pair")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--all-pairs", action="store_true", help="compare every image with every")
    parser.add_argument("--extra", type=Path, help="further images, one path a line, for all pairs")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--min-face-px", type=int, help="default: the configuration's")
    parser.add_argument("--plots", type=Path, help="folder for pictures; needs matplotlib")
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
