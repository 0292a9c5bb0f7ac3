"""`python -m benchmarks.evidence`: what scores over frames look like, written into the manifest.

`core.evidence` weighs the frames of an attempt with a model of scores. Its parts are measured here
for each embedder and matcher, and put into `[model.evidence.MATCHER]`:

- strangers' mean and spread: templates of LFW as in `benchmarks.calibrate`;
- the owner's: live recordings against the person's own template, everybody with the same weight;
- both correlations between frames: videos, over distances of 1 to 14 frames;
- how often a frame of the owner says nothing, and is followed by another such one: frames of the
  recordings that speak for a stranger, counted over all embedders together, for whoever looks away
  does so whatever the embedder. They are few, so the upper ends of their 95 % intervals are taken.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.calibrate import DRAWS, REFERENCES, with_table
from benchmarks.extraction import SHIPPED_MODELS, extract, load_pipeline
from benchmarks.frames import correlation, one_image_each, own_scores, pooled_correlation
from benchmarks.lfw import every_image, people_of
from benchmarks.sequences import Recorded, development_sources, observe_sources
from benchmarks.statistics import wilson
from benchmarks.templates import enrolled_comparisons, ready
from pam_faceid.adapters.models.manifest import MANIFEST, load_manifest
from pam_faceid.core.config import Matcher, MatchingConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.evidence import EvidenceModel, ScoreModel

LAGS: Final = tuple(range(1, 15))
DECAYS: Final = np.arange(0.0, 1.0, 0.005)
DIGITS: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Scores of one embedder and matcher.

    Args:
        model: With a guess for how often the owner looks away.
        own: The owner's scores, one row a recording.
    """

    embedder: str
    matcher: Matcher
    model: EvidenceModel
    own: list[NDArray[np.float32]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        manifest = load_manifest(options.models)
        names = options.embedder or [
            spec.name for spec in manifest.model if spec.kind == "embedder" and not spec.needs_depth
        ]
        found = [one for name in names for one in measured(name, options)]
        away, stays_away = looking_away(found)
        for one in found:
            model = msgspec.structs.replace(
                one.model, away=round(away, DIGITS), stays_away=round(stays_away, DIGITS)
            )
            table = f"evidence.{one.matcher}"
            written = table_text(model, table)
            if options.dry_run:
                print(f"{one.embedder}\n{written}")
                continue
            path = options.models / MANIFEST
            text = with_table(path.read_text(encoding="utf-8"), one.embedder, written, table=table)
            partial = path.with_suffix(".partial")
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
            load_manifest(options.models)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.evidence: {error}", file=sys.stderr)
        return 2
    return 0


def measured(name: str, options: argparse.Namespace) -> list[Measured]:
    """Measure one embedder with each matcher."""
    pipeline = load_pipeline(options.models, name)
    spec = load_manifest(options.models).find(name)
    recorded = observe_sources(development_sources(options.data), pipeline)
    lfw = options.data / "lfw-deepfunneled"
    images = every_image(lfw)
    samples = extract(lfw, images, pipeline, cache=options.cache)
    enrolled = options.people.read_text(encoding="utf-8").split()
    strangers = one_image_each(samples)
    of_strangers = [correlation(recorded, strangers, lag) for lag in LAGS]
    found = []
    for matcher in get_args(Matcher):
        how = ready(matcher, spec)
        own = own_scores(recorded, how)
        others = enrolled_comparisons(
            samples, enrolled, how, references=REFERENCES, draws=DRAWS, seed=options.seed
        ).impostor
        videos = [scores for one, scores in own if one.source.in_order]
        of_owner = [pooled_correlation(videos, lag) for lag in LAGS]
        model = EvidenceModel(
            data=f"LFW deep-funneled, development split: templates of {REFERENCES} images of each "
            f"of {len(enrolled)} people, {len(images)} images of {len(people_of(images))} people; "
            f"live recordings of {len({one.source.person for one, _ in own})} people: "
            "td_live_real, pad_pyimagesearch, NUAA",
            date=options.date.isoformat(),
            own_frames=sum(len(scores) for _, scores in own),
            stranger_comparisons=len(others),
            strangers=_score_model(float(others.mean()), float(others.std()), of_strangers),
            owner=_score_model(*_mean_and_spread(own), of_owner),
            away=0.01,
            stays_away=0.5,
        )
        found.append(Measured(name, matcher, model, [scores for _, scores in own]))
    return found


def looking_away(found: Sequence[Measured]) -> tuple[float, float]:
    """Return how often a frame of the owner says nothing, and is followed by another such one.

    Both are the upper ends of 95 % intervals. The matchers see the same frames, so one counts.
    """
    frames = away = followed = stayed = 0
    for one in found:
        if one.matcher != MatchingConfig().matcher:
            continue
        for scores in one.own:
            silent = np.array([one.model.log_ratio(float(s), frames=1) < 0.0 for s in scores])
            frames += len(silent)
            away += int(silent.sum())
            followed += int(silent[:-1].sum())
            stayed += int((silent[:-1] & silent[1:]).sum())
    return wilson(away, frames).high, wilson(stayed, followed).high


def fitted(correlations: Sequence[float], lags: Sequence[int] = LAGS) -> tuple[float, float]:
    """Fit `floor + (1 - floor) * decay ** lag` by least squares; return floor and decay."""
    wanted = np.asarray(correlations)
    best = (np.inf, 0.0, 0.0)
    for decay in DECAYS:
        falling = decay ** np.asarray(lags, dtype=np.float64)
        rest = 1.0 - falling
        floor = float(np.clip((rest * (wanted - falling)).sum() / (rest**2).sum(), 0.0, 1.0))
        error = float(((floor * rest + falling - wanted) ** 2).sum())
        best = min(best, (error, floor, float(decay)))
    return best[1], best[2]


def table_text(model: EvidenceModel, table: str) -> str:
    """Write a model as the TOML table of an embedder."""

    def inline(scores: ScoreModel) -> str:
        pairs = msgspec.structs.asdict(scores).items()
        return "{ " + ", ".join(f"{key} = {value}" for key, value in pairs) + " }"

    lines = [
        f"[model.{table}]",
        f'data = "{model.data}"',
        f'date = "{model.date}"',
        f"own_frames = {model.own_frames}",
        f"stranger_comparisons = {model.stranger_comparisons}",
        f"strangers = {inline(model.strangers)}",
        f"owner = {inline(model.owner)}",
        f"away = {model.away}",
        f"stays_away = {model.stays_away}",
    ]
    return "\n".join(lines) + "\n"


def _score_model(mean: float, spread: float, correlations: Sequence[float]) -> ScoreModel:
    floor, decay = fitted(correlations)
    return ScoreModel(
        mean=round(mean, DIGITS),
        spread=round(spread, DIGITS),
        floor=round(floor, DIGITS),
        decay=round(decay, DIGITS),
    )


def _mean_and_spread(own: Sequence[tuple[Recorded, NDArray[np.float32]]]) -> tuple[float, float]:
    """Return both as if everybody had the same number of frames."""
    people: dict[str, list[NDArray[np.float32]]] = {}
    for one, scores in own:
        people.setdefault(one.source.person, []).append(scores)
    each = [np.concatenate(scores) for scores in people.values()]
    means = np.array([scores.mean() for scores in each])
    within = np.mean([scores.var() for scores in each])
    return float(means.mean()), float(np.sqrt(within + means.var()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    parser.add_argument("--people", type=Path, required=True, help="whom to enrol, one a line")
    parser.add_argument("--embedder", action="append", help="default: every one of the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--date", type=datetime.date.fromisoformat, default=datetime.date.today())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dry-run", action="store_true", help="print the tables, write nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
