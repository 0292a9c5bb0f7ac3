"""`python -m benchmarks.attacks`: which attacks pass, and which living people are refused.

Frames go through the detector and the quality gate of a login; each face gets a score, and the
scores of up to eight frames that follow each other are fused. Terms are those of ISO/IEC 30107-3:
APCER is the share of attacks of one species that pass, BPCER the share of bona fide presentations
that do not. A presentation is an attempt; one that gives no frame to compare gets in nowhere and is
counted apart. `--impersonate` runs attacks that show an enrolled person's face through detection,
quality, recognition and decision: IAPAR is the share that gets in.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.attack_rates import Counted, area_under_curve, bpcer_at, over_clips
from benchmarks.extraction import SHIPPED_MODELS, load_pipeline
from benchmarks.impersonation import Impersonation, impersonate, impersonation_table
from benchmarks.presentations import (
    BONA_FIDE,
    Attempt,
    Detectors,
    Look,
    attempts_of,
    clips_below,
    look_at,
    write_csv,
)
from benchmarks.statistics import Interval
from pam_faceid.adapters.models.attack_detector import OnnxAttackDetector
from pam_faceid.adapters.models.manifest import Presentation, load_manifest, read_model
from pam_faceid.adapters.models.minifasnet import MiniFasNet
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.ports import AttackDetector

OURS: Final = "attack_detector"
THEIRS: Final = "minifasnet"
EVEN_ODDS: Final = 0.0  # MiniFASNet's own rule: more likely live than not
APCERS: Final = (0.01, 0.05, 0.07)
SCALES: Final = {"2.7": 2.7, "4.0": 4.0, "4_0_0": 4.0}  # told from the names that upstream gives


@dataclass(frozen=True, slots=True)
class Row:
    """What one detector makes of one species.

    Args:
        passed: Attempts that reach the threshold; of living people, those that do not.
        silent: Attempts without a frame that a login compares; not among `passed`.
        frames: Frames with a face.
        frame_auc: Over those frames, against all bona fide ones; NaN for living people.
        frame_auc_interval: From a bootstrap over clips.
        bpcer: At each of `APCERS` of attempts, with its interval over clips.
    """

    detector: str
    species: str
    threshold: float
    passed: Counted
    silent: int
    frames: int
    frame_auc: float
    frame_auc_interval: Interval
    bpcer: tuple[tuple[float, Interval], ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        given, detectors = _detectors(options)
        pipeline = load_pipeline(options.models, options.embedder, min_face_px=options.min_face_px)
        clips = [clip for path in options.bona_fide for clip in clips_below(path, BONA_FIDE)]
        for species, path in options.attack:
            clips += clips_below(path, species)
        looks = look_at(clips, pipeline, detectors, every=options.every)
        attempts = attempts_of(looks, frames=given.frames)
        write_csv(options.out, looks, attempts, list(detectors))
        impostors = [
            impersonate(
                enrolled,
                clip,
                pipeline,
                detectors[OURS],
                given,
                options.models,
                every=options.every,
            )
            for enrolled, path in options.impersonate
            for clip in clips_below(path, "impersonation")
        ]
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.attacks: {error}", file=sys.stderr)
        return 2
    thresholds = {OURS: given.threshold, THEIRS: EVEN_ODDS}
    rows = [
        row
        for name in detectors
        for row in rows_of(name, thresholds[name], looks, attempts, options)
    ]
    facts = {
        "detector": detectors[OURS].model_id,
        "attempt": f"{given.frames} compared frames that follow each other",
        "bootstrap": f"{options.replicates} replicates over clips, seed {options.seed}",
        **report.machine(),
    }
    _say(facts, rows, impostors, as_json=options.json)
    return 0


def rows_of(
    name: str,
    threshold: float,
    looks: Sequence[Look],
    attempts: Sequence[Attempt],
    options: argparse.Namespace,
) -> list[Row]:
    """Count for one detector: living people first, then each species."""
    live_frames = _by_clip([one for one in looks if one.species == BONA_FIDE], name)
    live_attempts = _by_clip([one for one in attempts if one.species == BONA_FIDE], name)
    rows = []
    for species in sorted({one.species for one in looks}, key=lambda one: (one != BONA_FIDE, one)):
        own = [one for one in attempts if one.species == species]
        frames = _by_clip([one for one in looks if one.species == species], name)
        tried = _by_clip(own, name)
        scores = _joined(tried)
        live = species == BONA_FIDE
        wrong = ~(scores >= threshold) if live else scores >= threshold
        drawn = {"replicates": options.replicates, "seed": options.seed}
        at = []
        for apcer in () if live else APCERS:

            def bpcer(
                good: NDArray[np.float64], bad: NDArray[np.float64], apcer: float = apcer
            ) -> float:
                return bpcer_at(good, bad, apcer=apcer)

            value = bpcer(_joined(live_attempts), scores)
            at.append((value, over_clips(bpcer, live_attempts, tried, **drawn)))
        rows.append(
            Row(
                detector=name,
                species=species,
                threshold=threshold,
                passed=Counted(int(wrong.sum()), len(scores)),
                silent=sum(1 for one in own if not one.scores),
                frames=len(_joined(frames)),
                frame_auc=float("nan")
                if live
                else area_under_curve(_joined(live_frames), _joined(frames)),
                frame_auc_interval=Interval(float("nan"), float("nan"))
                if live
                else over_clips(area_under_curve, live_frames, frames, **drawn),
                bpcer=tuple(at),
            )
        )
    return rows


def _by_clip(scored: Sequence[Look] | Sequence[Attempt], name: str) -> list[NDArray[np.float64]]:
    clips: dict[str, list[float]] = {}
    for one in scored:
        if name in one.scores:
            clips.setdefault(one.clip, []).append(one.scores[name])
    return [np.array(scores) for scores in clips.values()]


def _joined(clips: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(clips) if clips else np.empty(0)


def _detectors(options: argparse.Namespace) -> tuple[Presentation, Detectors]:
    spec = load_manifest(options.models).find(OURS)
    given = spec.presentation
    if given is None:
        raise ValueError(f"the manifest says nothing of what {OURS} is given")
    content = read_model(spec) if options.detector is None else options.detector.read_bytes()
    spec = msgspec.structs.replace(spec, sha256=hashlib.sha256(content).hexdigest())
    detectors: dict[str, AttackDetector] = {
        OURS: OnnxAttackDetector(spec, content, threads=1, optimise=True)
    }
    if options.minifasnet:
        nets = [(_scale(path), path.read_bytes()) for path in options.minifasnet]
        detectors[THEIRS] = MiniFasNet(nets, name=THEIRS, threads=1)
    return given, detectors


def _scale(path: Path) -> float:
    for name, scale in SCALES.items():
        if name in path.name:
            return scale
    raise ValueError(f"{path}: the crop scale, 2.7 or 4.0, is not in its name")


def _say(
    facts: dict[str, str],
    rows: Sequence[Row],
    impostors: Sequence[Impersonation],
    *,
    as_json: bool,
) -> None:
    if as_json:
        built = {
            "facts": facts,
            "rows": [asdict(row) for row in rows],
            "impersonations": [asdict(one) for one in impostors],
        }
        print(json.dumps(built, indent=2))
        return
    print(report.describe(facts), _table(rows), _errors(rows), sep="\n\n")
    if impostors:
        print("", impersonation_table(impostors), sep="\n")


def _table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        live = row.species == BONA_FIDE
        auc = "" if live else f"{row.frame_auc:.4f} {report.interval(row.frame_auc_interval)}"
        lines.append(
            [
                f"{row.detector}: {row.species}",
                "BPCER" if live else "APCER",
                f"{row.passed.errors}/{row.passed.presentations}",
                f"{100 * row.passed.rate:.2f} %",
                _percent(row.passed.interval),
                str(row.silent),
                str(row.frames),
                auc,
                *(f"{100 * value:.1f} % {_percent(span)}" for value, span in row.bpcer),
                *([""] * (len(APCERS) - len(row.bpcer))),
            ]
        )
    header = ["attempts", "", "wrong", "rate", "95 %", "not compared", "frames", "frame AUC"]
    return report.table([*header, *(f"BPCER at APCER {100 * a:.0f} %" for a in APCERS)], lines)


def _errors(rows: Sequence[Row]) -> str:
    """Say the average of the worst species' APCER and the BPCER, as ACER."""
    lines = []
    for name in dict.fromkeys(row.detector for row in rows):
        own = [row for row in rows if row.detector == name]
        bpcer = next(row.passed.rate for row in own if row.species == BONA_FIDE)
        apcers = [row.passed.rate for row in own if row.species != BONA_FIDE]
        worst = float(np.nanmax(apcers)) if apcers else float("nan")
        lines.append(
            [
                f"{name} at {own[0].threshold:.3f}",
                f"{100 * worst:.2f} %",
                f"{100 * bpcer:.2f} %",
                f"{50 * (worst + bpcer):.2f} %",
            ]
        )
    return report.table(["detector", "worst APCER", "BPCER", "ACER"], lines)


def _percent(span: Interval) -> str:
    return f"[{100 * span.low:.1f}, {100 * span.high:.1f}]"


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def _impersonated(text: str) -> tuple[Path, Path]:
    enrolled, path = _named(text)
    return Path(enrolled), path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attacks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--bona-fide",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="videos, and folders of videos or images, of living people",
    )
    parser.add_argument("--attack", type=_named, nargs="+", required=True, metavar="SPECIES=PATH")
    parser.add_argument("--out", type=Path, required=True, help="CSV of frames and attempts")
    parser.add_argument(
        "--detector",
        type=Path,
        metavar="FILE",
        help="other weights of our detector, such as those trained without some people",
    )
    parser.add_argument("--minifasnet", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument(
        "--impersonate",
        type=_impersonated,
        nargs="+",
        default=[],
        metavar="LIVE=PATH",
        help="a live image to enrol, and attacks with that face",
    )
    parser.add_argument(
        "--every", type=int, default=1, help="look at each so many frames of a video"
    )
    parser.add_argument("--min-face-px", type=int, default=None, help="smallest face searched for")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
