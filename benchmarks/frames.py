"""`python -m benchmarks.frames`: how many frames should agree before a match.

Live recordings are cut into attempts of `refusing_frames` compared frames. Each attempt is made
against templates of strangers, one image of everybody in LFW, and against a template of the same
person from another session or from the beginning of the recording, with 1, 2, 3 and 5 frames that
have to agree. The decision is `core.policy.decide`. Intervals are a bootstrap over the people
recorded and over the strangers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, Sample, extract, load_pipeline
from benchmarks.lfw import person
from benchmarks.sequences import Recorded, development_sources, observe_sources
from benchmarks.statistics import Interval, draw_people, percentiles, wilson
from benchmarks.templates import calibrated_thresholds, template_scores
from pam_faceid.core import policy
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.policy import DecisionRule
from pam_faceid.core.types import FrameEvidence, Outcome

AGREEING: Final = (1, 2, 3, 5)
RATES: Final = (1e-2, 1e-3, 1e-4, 1e-5)
REFERENCES: Final = 8  # of a genuine template
LAGS: Final = (1, 5, 15)
MATCHER: Final = "nearest"


@dataclass(frozen=True, slots=True)
class Row:
    """One threshold and one number of agreeing frames.

    Args:
        rate: The false match rate that the calibration promises of one comparison.
        agreeing: Frames in a row that must reach the threshold.
        frame_rate: Share of the single frames of strangers that reached the threshold.
        strangers, false_matches: Attempts against strangers' templates, and those that matched.
        interval: Of the share that matched.
        genuine, non_matches: The person's own attempts, and those that did not match.
        median_frames, p95_frames: Compared frames until a genuine match.
    """

    rate: float
    agreeing: int
    frame_rate: float
    strangers: int
    false_matches: int
    interval: Interval
    genuine: int
    non_matches: int
    median_frames: float
    p95_frames: float


@dataclass(frozen=True, slots=True, eq=False)
class Attempts:
    """Scores of attempts, each a row of compared frames.

    Args:
        strangers: (A, L) against templates of strangers.
        who, claimed: (A,) number of the person recorded, and of the stranger.
        genuine: (G, L) against the person's own template.
    """

    strangers: NDArray[np.float32]
    who: NDArray[np.int32]
    claimed: NDArray[np.int32]
    genuine: NDArray[np.float32]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        thresholds = calibrated_thresholds(options.models, options.embedder, RATES)
        pipeline = load_pipeline(options.models, options.embedder)
        recorded = observe_sources(development_sources(options.data), pipeline)
        lfw = options.data / "lfw-deepfunneled"
        names = sorted(path.relative_to(lfw).as_posix() for path in lfw.glob("*/*.jpg"))
        samples = extract(lfw, names, pipeline, cache=options.cache)
        strangers = _one_image_each(samples)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.frames: {error}", file=sys.stderr)
        return 2
    length = MatchingConfig().refusing_frames
    attempts = attempts_of(recorded, strangers, length)
    rows = [
        judge(attempts, rate=rate, threshold=threshold, agreeing=agreeing, options=options)
        for rate, threshold in zip(RATES, thresholds, strict=True)
        for agreeing in AGREEING
    ]
    facts = {
        "embedder": pipeline.embedder.model_id,
        "recordings": ", ".join(_described(r) for r in recorded),
        "strangers' templates": f"{len(strangers)} people of LFW, one image each",
        "genuine templates": f"{REFERENCES} frames of another session, or else the first ones",
        "attempt": f"{length} compared frames, {MATCHER}",
        **{
            f"correlation, {lag} apart": f"{correlation(recorded, strangers, lag):.2f}"
            for lag in LAGS
        },
        "bootstrap": f"{options.replicates} replicates over people, seed {options.seed}",
        **report.machine(),
    }
    if options.json:
        print(json.dumps({"facts": facts, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print(report.describe(facts), _table(rows), sep="\n\n")
    return 0


def attempts_of(
    recorded: Sequence[Recorded], strangers: NDArray[np.float32], length: int
) -> Attempts:
    """Cut recordings into attempts and compare them.

    Args:
        strangers: (S, D), a template of one reference each.
        length: Compared frames of an attempt.
    """
    people = sorted({one.source.person for one in recorded})
    scores, who = [], []
    for one in recorded:
        for window in _windows(one.vectors, length):
            scores.append(strangers @ window.T)
            who += [people.index(one.source.person)] * len(strangers)
    return Attempts(
        strangers=np.concatenate(scores),
        who=np.array(who, dtype=np.int32),
        claimed=np.tile(np.arange(len(strangers), dtype=np.int32), len(scores)),
        genuine=_genuine_attempts(recorded, length),
    )


def judge(
    attempts: Attempts,
    *,
    rate: float,
    threshold: float,
    agreeing: int,
    options: argparse.Namespace,
) -> Row:
    """Decide every attempt with one rule."""
    rule = DecisionRule(
        threshold=threshold, agreeing_frames=agreeing, refusing_frames=attempts.genuine.shape[1]
    )
    matched = np.zeros(len(attempts.strangers), dtype=bool)
    # An attempt without a frame that reaches the threshold cannot match: nearly all of them.
    for index in np.flatnonzero((attempts.strangers >= threshold).any(axis=1)):
        matched[index] = _frames_to_match(attempts.strangers[index], rule) is not None
    to_match = [_frames_to_match(scores, rule) for scores in attempts.genuine]
    frames = [number for number in to_match if number is not None]
    return Row(
        rate=rate,
        agreeing=agreeing,
        frame_rate=float((attempts.strangers >= threshold).mean()),
        strangers=len(matched),
        false_matches=int(matched.sum()),
        interval=_interval(attempts, matched, replicates=options.replicates, seed=options.seed),
        genuine=len(to_match),
        non_matches=len(to_match) - len(frames),
        median_frames=float(np.median(frames)) if frames else float("nan"),
        p95_frames=float(np.percentile(frames, 95)) if frames else float("nan"),
    )


def correlation(recorded: Sequence[Recorded], strangers: NDArray[np.float32], lag: int) -> float:
    """Return how strongly a stranger's scores of frames `lag` apart hang together.

    Pearson's coefficient over videos and templates: 1 says that a further frame brings nothing.
    """
    earlier, later = [], []
    for one in recorded:
        if one.source.in_order and len(one.vectors) > lag:
            scores = strangers @ one.vectors.T
            earlier.append(scores[:, :-lag].ravel())
            later.append(scores[:, lag:].ravel())
    return float(np.corrcoef(np.concatenate(earlier), np.concatenate(later))[0, 1])


def _interval(
    attempts: Attempts, matched: NDArray[np.bool_], *, replicates: int, seed: int
) -> Interval:
    people, strangers = int(attempts.who.max()) + 1, int(attempts.claimed.max()) + 1
    cells = attempts.who * strangers + attempts.claimed
    shape = (people, strangers)
    tried = np.bincount(cells, minlength=people * strangers).reshape(shape)
    won = np.bincount(cells, weights=matched, minlength=people * strangers).reshape(shape)
    of_people = draw_people(people, replicates=replicates, seed=seed)
    of_strangers = draw_people(strangers, replicates=replicates, seed=seed + 1)
    wins = np.einsum("rp,ps,rs->r", of_people, won, of_strangers, optimize=True)
    tries = np.einsum("rp,ps,rs->r", of_people, tried, of_strangers, optimize=True)
    low, high = percentiles(wins / tries)
    # A bootstrap cannot show what did not happen once.
    return Interval(low, max(high, wilson(int(matched.sum()), len(matched)).high))


def _one_image_each(samples: Mapping[str, Sample]) -> NDArray[np.float32]:
    """Return the first image of everybody that gave a sample."""
    first: dict[str, NDArray[np.float32]] = {}
    for image, sample in sorted(samples.items()):
        if sample.vector is not None:
            first.setdefault(person(image), sample.vector)
    return np.stack(list(first.values()))


def _frames_to_match(scores: NDArray[np.float32], rule: DecisionRule) -> int | None:
    evidence: list[FrameEvidence] = []
    for index, score in enumerate(scores):
        evidence.append(FrameEvidence(index, float(score), None))
        verdict = policy.decide(evidence, rule)
        if verdict is not None:
            return index + 1 if verdict.outcome is Outcome.MATCH else None
    return None


def _genuine_attempts(recorded: Sequence[Recorded], length: int) -> NDArray[np.float32]:
    """A recording against another session of the same person, or what follows its beginning."""
    attempts = []
    for one in recorded:
        others = [
            other
            for other in recorded
            if other.source.person == one.source.person and other is not one and len(other.vectors)
        ]
        references, probes = one.vectors[:REFERENCES], one.vectors[REFERENCES:]
        if others:
            references, probes = others[0].vectors[:REFERENCES], one.vectors
        attempts += [
            template_scores(window, references, MATCHER)[None]
            for window in _windows(probes, length)
        ]
    return np.concatenate(attempts)


def _windows(vectors: NDArray[np.float32], length: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(vectors) - length + 1, length):
        yield vectors[start : start + length]


def _described(one: Recorded) -> str:
    return f"{one.source.person} {one.source.session} {len(one.vectors)}/{one.frames}"


def _table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        lines.append(
            [
                f"{row.rate:.0e}",
                f"{row.frame_rate:.1e}",
                f"{row.agreeing}",
                f"{row.false_matches}/{row.strangers}",
                f"{row.false_matches / row.strangers:.1e}",
                report.interval(row.interval, ".1e"),
                f"{row.non_matches}/{row.genuine}",
                f"{row.median_frames:.0f}",
                f"{row.p95_frames:.0f}",
            ]
        )
    header = [
        "FMR of one comparison",
        "of a frame here",
        "agreeing",
        "strangers matched",
        "rate",
        "95 %",
        "genuine not matched",
        "frames, median",
        "95th",
    ]
    return report.table(header, lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.frames", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
