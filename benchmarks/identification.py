"""`python -m benchmarks.identification`: one stranger against many users, and how long that takes.

Users are drawn at random from everybody in LFW, one image each; all others are strangers. A
stranger who matches any user is a false match. Then a probe is compared with many made-up
references at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, extract, load_pipeline
from benchmarks.lfw import every_image, person
from benchmarks.statistics import Interval, percentiles
from benchmarks.templates import calibrated_thresholds
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import FaceIdError

USERS: Final = (1, 10, 100, 1000)
RATES: Final = (1e-3, 1e-4, 1e-5)
REFERENCES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Row:
    """Strangers who match any of so many users.

    Args:
        rate: The false match rate that the calibration promises of one comparison.
        found: Share of strangers, mean over draws of users, and the middle 95 % of the draws.
        independent: What it would be if every comparison were a chance of its own.
    """

    users: int
    rate: float
    found: float
    interval: Interval
    independent: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        thresholds = calibrated_thresholds(options.models, options.embedder, RATES)
        pipeline = load_pipeline(options.models, options.embedder)
        names = every_image(options.images)
        samples = extract(options.images, names, pipeline, cache=options.cache)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.identification: {error}", file=sys.stderr)
        return 2
    first = {person(i): s.vector for i, s in reversed(samples.items()) if s.vector is not None}
    rows = strangers_among(np.stack(list(first.values())), thresholds, options)
    milliseconds = comparison_ms(pipeline.sample(options.images / names[0]).vector, options.seed)
    facts = {
        "embedder": pipeline.embedder.model_id,
        "people": f"{len(first)} of {options.images}, one image each",
        "draws": f"{options.draws} of the users, seed {options.seed}",
        f"one probe against {REFERENCES}": f"{milliseconds:.2f} ms, median; to reach 20 ms",
        **report.machine(),
    }
    if options.json:
        print(json.dumps({"facts": facts, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print(report.describe(facts), _table(rows), sep="\n\n")
    return 0


def strangers_among(
    vectors: NDArray[np.float32], thresholds: Sequence[float], options: argparse.Namespace
) -> list[Row]:
    """Draw users among (P, D) people, and count the others who match any of them."""
    generator = np.random.default_rng(options.seed)
    scores = vectors @ vectors.T
    rows = []
    for users in USERS:
        found = np.empty((options.draws, len(thresholds)))
        for draw in range(options.draws):
            order = generator.permutation(len(vectors))
            best = scores[np.ix_(order[users:], order[:users])].max(axis=1)
            found[draw] = [(best >= threshold).mean() for threshold in thresholds]
        rows += [
            Row(
                users=users,
                rate=rate,
                found=float(found[:, column].mean()),
                interval=percentiles(found[:, column]),
                independent=1 - (1 - rate) ** users,
            )
            for column, rate in enumerate(RATES)
        ]
    return rows


def comparison_ms(probe: NDArray[np.float32] | None, seed: int) -> float:
    """Return the median milliseconds of one probe against `REFERENCES` unit vectors.

    Raises:
        ValueError: There is no probe.
    """
    if probe is None:
        raise ValueError("the first image shows no face to compare")
    made_up = np.random.default_rng(seed).normal(size=(REFERENCES, len(probe)))
    references = (made_up / np.linalg.norm(made_up, axis=1, keepdims=True)).astype(np.float32)
    times = []
    for _ in range(20):
        started = time.perf_counter()
        int((references @ probe).argmax())
        times.append((time.perf_counter() - started) * 1e3)
    return report.median(times)


def _table(rows: Sequence[Row]) -> str:
    lines = [
        [
            f"{row.users}",
            f"{row.rate:.0e}",
            f"{row.found:.1e}",
            report.interval(row.interval, ".1e"),
            f"{row.independent:.1e}",
        ]
        for row in rows
    ]
    header = ["users", "promised", "strangers who match any", "95 % of draws", "if independent"]
    return report.table(header, lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.identification", description=(__doc__ or "").splitlines()[0]
    )
    embedder = MatchingConfig().embedder
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
