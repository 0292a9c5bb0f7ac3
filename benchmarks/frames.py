"""`python -m benchmarks.frames`: how an attempt of several frames should be judged.

Live recordings are cut into attempts of `refusing_frames` compared frames. Each attempt is made
against templates of strangers, one image of everybody in LFW, and against a template of the same
person from another session or from the beginning of the recording: with 1, 2, 3 and 5 frames that
have to agree in a row, and with the model of scores over frames that the manifest has. Then the
person's own attempts are made harder: they begin with someone else, with the least like frames of
the recording, or with frames that were made worse. The decision is `core.policy.decide`. Intervals
are a bootstrap over the people recorded and over the strangers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.degradation import changes
from benchmarks.extraction import SHIPPED_MODELS, Sample, extract, load_pipeline
from benchmarks.lfw import every_image, person
from benchmarks.sequences import Recorded, development_sources, observe_sources
from benchmarks.statistics import Interval, draw_people, percentiles, wilson
from benchmarks.templates import calibrated_thresholds, ready
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.core import policy
from pam_faceid.core.cohort import template_scores
from pam_faceid.core.config import Matcher, MatchingConfig, refusing_frames
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.matching import How
from pam_faceid.core.policy import DecisionRule
from pam_faceid.core.types import FrameEvidence, Outcome

AGREEING: Final = (1, 2, 3, 5)
RATES: Final = (1e-2, 1e-3, 1e-4, 1e-5)
REFERENCES: Final = 8  # of a genuine template
LAGS: Final = (1, 5, 15)
REFUSED: Final = 2000  # strangers' attempts, drawn at random, whose frames are counted
WORSE: Final = ("blurred by 4 px", "smeared over 25 px", "dimmed to 15%")
WORSE_FRAMES: Final = (5, 8)  # at the beginning of an attempt
OTHER_FRAMES: Final = (3, 5, 7, 8, 9, 10)


@dataclass(frozen=True, slots=True)
class Row:
    """One threshold and one rule.

    Args:
        rate: The false match rate that the calibration promises of one comparison.
        rule: What decides.
        frame_rate: Share of the single frames of strangers that reached the threshold.
        strangers, false_matches: Attempts against strangers' templates, and those that matched.
        interval: Of the share that matched.
        genuine, non_matches: The person's own attempts, and those that did not match.
        median_frames, p95_frames: Compared frames until a genuine match.
        refused_after: Compared frames until a stranger is refused, median.
    """

    rate: float
    rule: str
    frame_rate: float
    strangers: int
    false_matches: int
    interval: Interval
    genuine: int
    non_matches: int
    median_frames: float
    p95_frames: float
    refused_after: float


@dataclass(frozen=True, slots=True)
class Harder:
    """The person's own attempts, made harder in one way.

    Args:
        kind: How.
        attempts: How many.
        failed: By the name of the rule, those that did not match.
    """

    kind: str
    attempts: int
    failed: dict[str, int]


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
        spec = load_manifest(options.models).find(options.embedder)
        thresholds = calibrated_thresholds(options.models, options.embedder, RATES)
        pipeline = load_pipeline(options.models, options.embedder)
        sources = development_sources(options.data)
        recorded = observe_sources(sources, pipeline)
        worse = {
            name: observe_sources(sources, pipeline, change)
            for name, change in changes()
            if name in WORSE
        }
        lfw = options.data / "lfw-deepfunneled"
        names = every_image(lfw)
        samples = extract(lfw, names, pipeline, cache=options.cache)
        strangers = one_image_each(samples)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.frames: {error}", file=sys.stderr)
        return 2
    length = refusing_frames(MatchingConfig())
    matcher = ready(options.matcher, spec)
    attempts = attempts_of(recorded, strangers, length, matcher=matcher)
    made = harder(recorded, worse, attempts, matcher=matcher, seed=options.seed)
    rows, harder_rows = [], []
    for rate, threshold in zip(RATES, thresholds, strict=True):
        rules = {
            f"{agreeing} in a row": DecisionRule(threshold, agreeing, length)
            for agreeing in AGREEING
        }
        model = spec.evidence.get(options.matcher)
        if model is not None:
            agreeing = MatchingConfig().agreeing_frames
            rules["evidence"] = DecisionRule(threshold, agreeing, length, model)
        rows += [
            judge(attempts, rule, name=name, rate=rate, options=options)
            for name, rule in rules.items()
        ]
        compared = {name: rule for name, rule in rules.items() if rule.agreeing_frames == 2}
        harder_rows.append((rate, [_failed(kind, scores, compared) for kind, scores in made]))
    facts = {
        "embedder": pipeline.embedder.model_id,
        "recordings": ", ".join(_described(r) for r in recorded),
        "strangers' templates": f"{len(strangers)} people of LFW, one image each",
        "genuine templates": f"{REFERENCES} frames of another session, or else the first ones",
        "attempt": f"{length} compared frames, {options.matcher}",
        **{
            f"correlation, {lag} apart": f"{correlation(recorded, strangers, lag):.2f}"
            for lag in LAGS
        },
        "bootstrap": f"{options.replicates} replicates over people, seed {options.seed}",
        **report.machine(),
    }
    if options.json:
        found = {
            "facts": facts,
            "rows": [asdict(row) for row in rows],
            "harder": [
                {"rate": rate, "rows": [asdict(row) for row in of_rate]}
                for rate, of_rate in harder_rows
            ],
        }
        print(json.dumps(found, indent=2))
    else:
        tables = [_harder_table(rate, of_rate) for rate, of_rate in harder_rows]
        print(report.describe(facts), _table(rows), *tables, sep="\n\n")
    return 0


def attempts_of(
    recorded: Sequence[Recorded],
    strangers: NDArray[np.float32],
    length: int,
    *,
    matcher: How,
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
        genuine=np.array(
            [w for _, scores in own_scores(recorded, matcher) for w in _windows(scores, length)]
        ),
    )


def own_scores(
    recorded: Sequence[Recorded], matcher: How
) -> list[tuple[Recorded, NDArray[np.float32]]]:
    """Return the scores of each recording's frames with a template of the same person.

    The template is of another session, or else of the recording's first frames, which are then left
    out.
    """
    found = []
    for one in recorded:
        references, first = _own_references(one, recorded)
        if len(one.vectors) > first:
            found.append((one, template_scores(one.vectors[first:], references, matcher)))
    return found


def harder(
    recorded: Sequence[Recorded],
    worse: Mapping[str, Sequence[Recorded]],
    attempts: Attempts,
    *,
    matcher: How,
    seed: int,
) -> list[tuple[str, NDArray[np.float32]]]:
    """Return the person's own attempts made harder, by how.

    Args:
        worse: The same recordings with every frame made worse, by how.
        attempts: As recorded.
    """
    genuine = attempts.genuine
    length = genuine.shape[1]
    someone = attempts.strangers[
        np.random.default_rng(seed).integers(len(attempts.strangers), size=len(genuine))
    ]
    made = [
        (f"begins with {k} frames of someone else", np.c_[someone[:, :k], genuine[:, : length - k]])
        for k in OTHER_FRAMES
    ]
    own = own_scores(recorded, matcher)
    for k in WORSE_FRAMES:
        rows = [
            np.r_[np.sort(scores)[:k], window[: length - k]]
            for _, scores in own
            for window in _windows(scores, length)
        ]
        made.append((f"begins with its {k} least like frames", np.array(rows)))
    for name, changed in worse.items():
        for k in (*WORSE_FRAMES, length):
            rows = []
            for one, other in zip(recorded, changed, strict=True):
                references, first = _own_references(one, recorded)
                for vectors in _begun_worse(one, other, first=first, frames=k, length=length):
                    rows.append(template_scores(vectors, references, matcher))
            how = "throughout" if k == length else f"for {k} frames"
            made.append((f"{name} {how}", np.array(rows)))
    return made


def judge(
    attempts: Attempts, rule: DecisionRule, *, name: str, rate: float, options: argparse.Namespace
) -> Row:
    """Decide every attempt with one rule."""
    matched = np.zeros(len(attempts.strangers), dtype=bool)
    # Without so many frames that reach the threshold no rule matches: nearly all attempts.
    reached = (attempts.strangers >= rule.threshold).sum(axis=1)
    for index in np.flatnonzero(reached >= rule.agreeing_frames):
        matched[index] = _ended(attempts.strangers[index], rule)[0] is Outcome.MATCH
    drawn = np.random.default_rng(options.seed).permutation(len(matched))[:REFUSED]
    refused = [_ended(attempts.strangers[i], rule)[1] for i in drawn if not matched[i]]
    own = [_ended(scores, rule) for scores in attempts.genuine]
    frames = [count for outcome, count in own if outcome is Outcome.MATCH]
    return Row(
        rate=rate,
        rule=name,
        frame_rate=float((attempts.strangers >= rule.threshold).mean()),
        strangers=len(matched),
        false_matches=int(matched.sum()),
        interval=_interval(attempts, matched, replicates=options.replicates, seed=options.seed),
        genuine=len(own),
        non_matches=len(own) - len(frames),
        median_frames=float(np.median(frames)) if frames else float("nan"),
        p95_frames=float(np.percentile(frames, 95)) if frames else float("nan"),
        refused_after=float(np.median(refused)) if refused else float("nan"),
    )


def correlation(recorded: Sequence[Recorded], strangers: NDArray[np.float32], lag: int) -> float:
    """Return how strongly a stranger's scores of frames `lag` apart hang together.

    Pearson's coefficient over videos and templates: 1 says that a further frame brings nothing.
    """
    return pooled_correlation(
        [strangers @ r.vectors.T for r in recorded if r.source.in_order and len(r.vectors)], lag
    )


def pooled_correlation(scores: Sequence[NDArray[np.float32]], lag: int) -> float:
    """Return the correlation of scores `lag` frames apart over (..., frames) rows of all videos."""
    long = [row for row in scores if row.shape[-1] > lag]
    earlier = np.concatenate([row[..., :-lag].ravel() for row in long])
    later = np.concatenate([row[..., lag:].ravel() for row in long])
    return float(np.corrcoef(earlier, later)[0, 1])


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


def one_image_each(samples: Mapping[str, Sample]) -> NDArray[np.float32]:
    """Return the first image of everybody that gave a sample."""
    first: dict[str, NDArray[np.float32]] = {}
    for image, sample in sorted(samples.items()):
        if sample.vector is not None:
            first.setdefault(person(image), sample.vector)
    return np.stack(list(first.values()))


def _ended(scores: NDArray[np.float32], rule: DecisionRule) -> tuple[Outcome, int]:
    """Return how an attempt ends, and after how many compared frames."""
    evidence: list[FrameEvidence] = []
    for index, score in enumerate(scores):
        evidence.append(FrameEvidence(index, float(score), None))
        verdict = policy.decide(evidence, rule)
        if verdict is not None:
            return verdict.outcome, index + 1
    return policy.conclude(evidence, rule).outcome, len(scores)


def _own_references(one: Recorded, recorded: Sequence[Recorded]) -> tuple[NDArray[np.float32], int]:
    """Return a template of the same person, and how many of this recording's frames are in it."""
    for other in recorded:
        if other.source.person == one.source.person and other is not one and len(other.vectors):
            return other.vectors[:REFERENCES], 0
    return one.vectors[:REFERENCES], REFERENCES


def _windows(rows: NDArray[np.float32], length: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(rows) - length + 1, length):
        yield rows[start : start + length]


def _begun_worse(
    one: Recorded, other: Recorded, *, first: int, frames: int, length: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors of attempts of which the first frames are made worse.

    What the quality gate refuses of those is not compared, so the attempt goes on later.
    """
    for start in range(first, len(one.vectors) - length + 1, length):
        begun = np.isin(other.numbers, one.numbers[start : start + frames])
        vectors = one.vectors[start + frames :]
        if begun.any():
            vectors = np.concatenate([other.vectors[begun], vectors])
        if len(vectors) >= length:
            yield vectors[:length]


def _failed(kind: str, scores: NDArray[np.float32], rules: Mapping[str, DecisionRule]) -> Harder:
    failed = {
        name: sum(_ended(row, rule)[0] is not Outcome.MATCH for row in scores)
        for name, rule in rules.items()
    }
    return Harder(kind, len(scores), failed)


def _described(one: Recorded) -> str:
    return f"{one.source.person} {one.source.session} {len(one.vectors)}/{one.frames}"


def _table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        lines.append(
            [
                f"{row.rate:.0e}",
                f"{row.frame_rate:.1e}",
                row.rule,
                f"{row.false_matches}/{row.strangers}",
                f"{row.false_matches / row.strangers:.1e}",
                report.interval(row.interval, ".1e"),
                f"{row.non_matches}/{row.genuine}",
                f"{row.median_frames:.0f}",
                f"{row.p95_frames:.0f}",
                f"{row.refused_after:.0f}",
            ]
        )
    header = [
        "FMR of one comparison",
        "of a frame here",
        "rule",
        "strangers matched",
        "rate",
        "95 %",
        "genuine not matched",
        "frames, median",
        "95th",
        "strangers' frames",
    ]
    return report.table(header, lines)


def _harder_table(rate: float, rows: Sequence[Harder]) -> str:
    names = list(rows[0].failed)
    lines = [
        [row.kind, f"{row.attempts}", *(f"{row.failed[name]}" for name in names)] for row in rows
    ]
    header = ["own attempts, made harder", "attempts", *(f"not matched: {name}" for name in names)]
    return f"At the threshold for {rate:.0e}\n{report.table(header, lines)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.frames", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    matcher = MatchingConfig().matcher
    parser.add_argument("--matcher", choices=get_args(Matcher), default=matcher)
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
