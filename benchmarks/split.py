"""`python -m benchmarks.split`: whether a threshold keeps its promise on people it never saw.

People are split in two at random, again and again. Thresholds are set on every pair of images of
one half, and so is the mean face of the mirrored embedder; the false match rate is counted on the
other half. The threshold for 1e-4 of a half rests on about a hundred pairs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, extract, load_pipeline, of_mirror_images
from benchmarks.lfw import every_pair, images_of, people_of, person, read_images, read_pairs
from benchmarks.mean_face import mean_of_people, mirrored, unit
from benchmarks.statistics import percentiles, wilson
from pam_faceid.core.errors import FaceIdError

RATES: Final = (1e-3, 1e-4)
FACTOR: Final = 1.5
SPREAD_AT: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Spread:
    """How evenly false matches are spread over people, at the threshold that all of them give.

    Args:
        promised: The false match rate at that threshold.
        without: Share of people who take part in no false match.
        worst: Mean rate of the worst 1 % of people.
        share: Of all false matches, those in which one of the worst takes part.
        highest: Rate of the worst person.
    """

    embedder: str
    promised: float
    without: float
    worst: float
    share: float
    highest: float


@dataclass(frozen=True, slots=True)
class Row:
    """One embedder at one promised rate, over all splits.

    Args:
        ratios: True rate by promised rate of the halves: their median, and the middle 95 %.
        overall: All false matches of the other halves by those that were promised.
        within: Splits in which the rate was within `FACTOR` of the promised one, either way.
        tar: Share of genuine pairs of the other half above the threshold, median.
    """

    embedder: str
    promised: float
    ratios: tuple[float, float, float]
    overall: float
    within: int
    splits: int
    tar: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        used = sorted({*images_of(read_pairs(options.pairs)), *read_images(options.extra)})
        rows: list[Row] = []
        spreads = []
        for name in ("sface", "mobilefacenet"):
            pipeline = load_pipeline(options.models, name)
            samples = extract(options.images, used, pipeline, cache=options.cache)
            vectors = {i: s.vector for i, s in samples.items() if s.vector is not None}
            rows += splits(name, vectors, options, mean_off=False)
            spreads.append(spread(name, vectors))
            if name == "sface":
                mirrors = extract(
                    options.images, used, of_mirror_images(pipeline), cache=options.cache
                )
                both = mirrored(samples, mirrors)
                rows += splits("sface_mirrored, mean kept", both, options, mean_off=False)
                rows += splits("sface_mirrored", both, options, mean_off=True)
                mean = mean_of_people(both)
                off = {image: unit(vector - mean) for image, vector in both.items()}
                spreads.append(spread("sface_mirrored", off))
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.split: {error}", file=sys.stderr)
        return 2
    facts = {
        "images": f"{options.images}: {len(used)} of {len(people_of(used))} people",
        "splits": f"{options.splits}, seed {options.seed}",
        **report.machine(),
    }
    if options.json:
        found = {"rows": list(map(asdict, rows)), "spreads": list(map(asdict, spreads))}
        print(json.dumps({"facts": facts, **found}, indent=2))
    else:
        print(report.describe(facts), _table(rows), _spread_table(spreads), sep="\n\n")
    return 0


def splits(
    name: str,
    vectors: Mapping[str, NDArray[np.float32]],
    options: argparse.Namespace,
    *,
    mean_off: bool,
) -> list[Row]:
    """Set thresholds on one half of the people and count on the other, again and again."""
    generator = np.random.default_rng(options.seed)
    people = people_of(vectors)
    rates = np.empty((options.splits, len(RATES)))
    tars = np.empty((options.splits, len(RATES)))
    for index in range(options.splits):
        chosen = set(generator.permutation(people)[: len(people) // 2].tolist())
        ours = {i: v for i, v in vectors.items() if person(i) in chosen}
        theirs = {i: v for i, v in vectors.items() if person(i) not in chosen}
        if mean_off:
            mean = mean_of_people(ours)
            ours, theirs = ({i: unit(v - mean) for i, v in h.items()} for h in (ours, theirs))
        _, strangers = scores_of(ours)
        genuine, others = scores_of(theirs)
        falling = np.sort(strangers)[::-1]
        for column, rate in enumerate(RATES):
            threshold = falling[int(rate * len(falling))]
            rates[index, column] = (others > threshold).mean()
            tars[index, column] = (genuine > threshold).mean()
    return [
        Row(
            embedder=name,
            promised=rate,
            ratios=(float(np.median(ratio)), *percentiles(ratio)),
            overall=float(ratio.mean()),
            within=int(((ratio <= FACTOR) & (ratio >= 1 / FACTOR)).sum()),
            splits=options.splits,
            tar=float(np.median(tars[:, column])),
        )
        for column, rate in enumerate(RATES)
        for ratio in [rates[:, column] / rate]
    ]


def spread(name: str, vectors: Mapping[str, NDArray[np.float32]]) -> Spread:
    """Count whose the false matches at `SPREAD_AT` are."""
    matrix = np.stack(list(vectors.values()))
    number = {who: index for index, who in enumerate(people_of(vectors))}
    shows = np.array([number[person(image)] for image in vectors])
    rows, columns = every_pair(len(matrix))
    scores = (matrix @ matrix.T)[rows, columns]
    strangers = shows[rows] != shows[columns]
    falling = np.sort(scores[strangers])[::-1]
    matched = strangers & (scores > falling[int(SPREAD_AT * len(falling))])
    involved = np.stack([shows[rows[matched]], shows[columns[matched]]])
    images = np.bincount(shows)
    counts = np.bincount(involved.ravel(), minlength=len(images))
    rates = counts / (images * (len(shows) - images))
    worst = np.argsort(-rates)[: max(1, len(rates) // 100)]
    return Spread(
        embedder=name,
        promised=SPREAD_AT,
        without=float((counts == 0).mean()),
        worst=float(rates[worst].mean()),
        share=float(np.isin(involved, worst).any(axis=0).mean()),
        highest=float(rates.max()),
    )


def scores_of(
    vectors: Mapping[str, NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scores of every pair of images of one person, and of two people."""
    matrix = np.stack(list(vectors.values()))
    number = {name: index for index, name in enumerate(people_of(vectors))}
    shows = np.array([number[person(image)] for image in vectors])
    rows, columns = every_pair(len(matrix))
    scores = (matrix @ matrix.T)[rows, columns]
    same = shows[rows] == shows[columns]
    return scores[same], scores[~same]


def _table(rows: Sequence[Row]) -> str:
    lines = [
        [
            row.embedder,
            f"{row.promised:.0e}",
            f"{row.ratios[0]:.2f}",
            f"[{row.ratios[1]:.2f}, {row.ratios[2]:.2f}]",
            f"{row.overall:.2f}",
            f"{row.within}/{row.splits}",
            report.interval(wilson(row.within, row.splits), ".2f"),
            f"{row.tar:.4f}",
        ]
        for row in rows
    ]
    within = f"within {FACTOR}"
    header = ["embedder", "promised", "true / promised", "95 %", "mean", within, "95 %", "TAR"]
    return report.table(header, lines)


def _spread_table(spreads: Sequence[Spread]) -> str:
    lines = [
        [
            one.embedder,
            f"{one.promised:.0e}",
            f"{one.without:.3f}",
            f"{one.worst:.1e}",
            f"{one.share:.3f}",
            f"{one.highest:.1e}",
        ]
        for one in spreads
    ]
    header = ["embedder", "FMR", "people without", "worst 1 %", "of all false matches", "worst one"]
    return report.table(header, lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.split", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    parser.add_argument("--pairs", type=Path, required=True, help="pairs whose images are used")
    parser.add_argument("--extra", type=Path, required=True, help="further images, one a line")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
