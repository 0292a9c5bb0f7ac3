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
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, Sample, extract, load_pipeline
from benchmarks.lfw import Pair, every_pair, images_of, people_of, person, read_images, read_pairs
from benchmarks.statistics import Comparisons, ErrorRates, error_rates, wilson
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.matching import comparison_score

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        pipeline = load_pipeline(
            options.models, options.embedder, threads=1, min_face_px=options.min_face_px
        )
        pairs = read_pairs(options.pairs)
        extra = read_images(options.extra) if options.extra else []
        used = sorted({*images_of(pairs), *extra})
        samples = extract(options.images, used, pipeline, cache=options.cache)
        scores = [score(pair, samples) for pair in pairs]
        write_scores(options.out, pairs, scores, samples)
        listed = error_rates(
            _listed(pairs, scores), LISTED_RATES, replicates=options.replicates, seed=options.seed
        )
        everything = None
        if options.all_pairs:
            everything = error_rates(
                all_comparisons(samples),
                ALL_PAIRS_RATES,
                replicates=options.replicates,
                seed=options.seed,
            )
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.verification: {error}", file=sys.stderr)
        return 2
    facts = {
        "embedder": pipeline.embedder.model_id,
        "images": str(options.images),
        "pairs": f"{options.pairs.name}: {len(pairs)}",
        "extra images": f"{options.extra.name}: {len(extra)}" if options.extra else "none",
        "people": str(len(people_of(used))),
        "bootstrap": f"{options.replicates} replicates over people, seed {options.seed}",
        **report.machine(),
    }
    acquisition = acquisition_of(samples)
    if options.json:
        print(json.dumps(_as_json(facts, acquisition, listed, everything), indent=2))
    else:
        print(_as_text(facts, acquisition, listed, everything))
    return 0


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


def _as_json(
    facts: dict[str, str],
    acquisition: Acquisition,
    listed: ErrorRates,
    everything: ErrorRates | None,
) -> dict[str, Any]:
    return {
        "facts": facts,
        "acquisition": asdict(acquisition),
        "listed_pairs": asdict(listed),
        "all_pairs": asdict(everything) if everything else None,
    }


def _as_text(
    facts: dict[str, str],
    acquisition: Acquisition,
    listed: ErrorRates,
    everything: ErrorRates | None,
) -> str:
    parts = [
        report.describe(facts),
        "Failures to acquire\n" + _acquisition_table(acquisition),
        "Listed pairs\n" + _rates_table(listed),
    ]
    if everything is not None:
        parts.append("All pairs of these images\n" + _rates_table(everything))
    parts.append(
        "Intervals: 95 %, bootstrap over people; of failures, Wilson. TAR counts compared pairs.\n"
        f"* fewer than {FEW} false matches: the threshold rests on chance."
    )
    return "\n\n".join(parts)


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
    parser.add_argument("--embedder", default="sface", help="its name in the manifest")
    parser.add_argument("--all-pairs", action="store_true", help="compare every image with every")
    parser.add_argument("--extra", type=Path, help="further images, one path a line, for all pairs")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--min-face-px", type=int, help="default: the configuration's")
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
