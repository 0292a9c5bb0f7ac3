"""`python -m benchmarks.own_camera`: what it gains to know how living a person looks to a camera.

A person is enrolled in one sitting, from frames spread over it; attempts are of another one, and of
pictures of the same person before the same camera. NUAA has people and prints of them in up to
three sittings, weeks apart and in other light; of telephones there is one sitting each, so there
the enrolment is the beginning of a clip. Each attempt is judged by the threshold for everybody, and
as `core.attack.AttackRule.of_person` does. The second look alone was never taught NUAA; both looks
together were taught its very people.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from benchmarks import report
from benchmarks.attack_rates import Counted
from benchmarks.extraction import SHIPPED_MODELS, load_pipeline
from benchmarks.presentations import Clip, Look, clips_below, look_at
from pam_faceid.adapters.models.attack_detector import OnnxAttackDetector
from pam_faceid.adapters.models.manifest import ModelSpec, load_manifest, read_model
from pam_faceid.core.attack import AttackRule, passes
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.types import (
    Embedding,
    LiveScore,
    PresentationEvidence,
    Reference,
    SampleQuality,
)

BOTH, SECOND = "both looks", "second look alone"
ENROLLED: Final = 8  # frames of a sitting, as `[enrolment] references`
LENGTHS: Final = (2, 8)  # compared frames of an attempt: what a match takes, and what is fused
LIVE, PRINT, REPLAY = "people", "prints", "replay"
EVERY: Final = 3  # frame of a video
CAMERA, DETECTOR = "camera", "detector"
QUALITY: Final = SampleQuality(200.0, 0.0, 0.0, 0.0, 90.0, 110.0, 50.0)
NOBODY: Final = Embedding(np.eye(1, 128, dtype=np.float32)[0], "made@0")


@dataclass(frozen=True, slots=True)
class Sitting:
    """Scores of one sitting, oldest first, by detector; refused frames are left out.

    Args:
        data: Where it is from.
        who: The person, and in front of which camera.
        kind: `LIVE`, or the species of the attack.
        when: Of several of one person.
    """

    data: str
    who: str
    kind: str
    when: str
    scores: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Trial:
    """Attempts of one kind against one enrolment.

    Args:
        everybody, own: Attempts that pass, by the threshold for everybody and by the enrolment's.
    """

    data: str
    kind: str
    detector: str
    frames: int
    attempts: int
    everybody: int
    own: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        spec = load_manifest(SHIPPED_MODELS).find("attack_detector")
        rule = _rule(spec)
        sittings = list(_sittings(options.data, spec))
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.own_camera: {error}", file=sys.stderr)
        return 2
    trials = [one for enrolled in sittings for one in _trials(enrolled, sittings, rule)]
    rows = [_row(group) for group in _grouped(trials)]
    facts = {
        "rule": f"threshold {rule.threshold:g}, margin {rule.margin:g}",
        "enrolment": f"{ENROLLED} frames spread over a sitting",
        **report.machine(),
    }
    if options.json:
        print(json.dumps({"facts": facts, "rows": rows}, indent=2))
        return 0
    header = ["data", "who", "detector", "frames", "attempts"]
    header += ["pass, everybody's threshold", "95 %", "pass, by the enrolment", "95 %"]
    print(report.describe(facts), report.table(header, rows), sep="\n\n")
    return 0


def _rule(spec: ModelSpec) -> AttackRule:
    given = spec.presentation
    if given is None or given.margin is None:
        raise ValueError("the manifest has no margin for the attack detector")
    return AttackRule(given.threshold, given.frames, margin=given.margin)


def _sittings(data: Path, spec: ModelSpec) -> Iterator[Sitting]:
    model = read_model(spec)
    detectors = {
        name: OnnxAttackDetector(spec, content, threads=1, optimise=True)
        for name, content in ((BOTH, model), (SECOND, second_look(model)))
    }
    pipeline = load_pipeline(SHIPPED_MODELS, MatchingConfig().embedder)
    for clip, name, who, kind, when in _clips(data):
        looks = look_at([clip], pipeline, detectors, every=EVERY)
        yield Sitting(name, who, kind, when, {d: _scores(looks, d) for d in detectors})


def second_look(model: bytes) -> bytes:
    """Return the detector with its second look alone: twice what that adds to the mean of both."""
    loaded = onnx.load_model_from_string(model)
    graph = loaded.graph
    half = next(node for node in graph.node if "around.score" in node.output)
    half.output[:] = ["around.half"]
    last = next(node for node in graph.node if "score" in node.output)
    graph.node.remove(last)
    graph.node.append(onnx.helper.make_node("Add", ["around.half", "around.half"], ["score"]))
    return bytes(loaded.SerializeToString())


def _clips(data: Path) -> Iterator[tuple[Clip, str, str, str, str]]:
    """Yield each clip with its data set, person, kind and sitting."""
    for folder, kind in (("ClientRaw", LIVE), ("ImposterRaw", PRINT)):
        for person in sorted((data / "nuaa" / folder).iterdir()):
            files = sorted(person.glob("*.jpg"), key=_numbers)
            for when, images in groupby(files, key=lambda file: file.stem.split("_")[3]):
                clip = Clip(kind, f"{person.name}/{when}", tuple(images))
                yield clip, "NUAA", person.name, kind, when
    for clip in clips_below(data / "td_live_real", LIVE):
        if len(clip.paths) == 1 and clip.paths[0].suffix.lower() == ".mov":
            yield clip, "td_live_real", clip.name, LIVE, ""
    for name, kind in (("real.mov", LIVE), ("fake.mp4", REPLAY)):
        (clip,) = clips_below(data / "pad_pyimagesearch" / name, kind)
        yield clip, "pad_pyimagesearch", "one", kind, ""


def _numbers(file: Path) -> list[int]:
    return [int(part) for part in file.stem.split("_")]


def _scores(looks: Iterable[Look], detector: str) -> list[float]:
    return [one.scores[detector] for one in looks if not one.refusal]


def _trials(enrolled: Sitting, sittings: Sequence[Sitting], rule: AttackRule) -> Iterator[Trial]:
    if enrolled.kind != LIVE:
        return
    for other in sittings:
        if (other.data, other.who) != (enrolled.data, enrolled.who):
            continue
        for detector, scores in enrolled.scores.items():
            begun = scores
            tried = other.scores[detector]
            if not enrolled.when:  # one sitting: its beginning is the enrolment
                begun = scores[:ENROLLED]
                tried = tried[ENROLLED:] if other is enrolled else tried
            elif other is enrolled:
                continue
            own = rule.of_person(_references(begun), detector=DETECTOR)
            for frames in LENGTHS:
                cut = [tried[at : at + frames] for at in range(0, len(tried) - frames + 1, frames)]
                yield Trial(
                    data=other.data,
                    kind=other.kind,
                    detector=detector,
                    frames=frames,
                    attempts=len(cut),
                    everybody=sum(passes(attempt, rule) for attempt in cut),
                    own=sum(_passes(attempt, own) for attempt in cut),
                )


def _references(scores: Sequence[float]) -> list[Reference]:
    spread = np.linspace(0, len(scores) - 1, min(ENROLLED, len(scores))).round().astype(int)
    return [
        Reference(NOBODY, 0.0, QUALITY, CAMERA, live=LiveScore(DETECTOR, scores[at]))
        for at in spread
    ]


def _passes(attempt: Sequence[float], rule: AttackRule) -> bool:
    seen = [
        rule.seen_by(CAMERA, PresentationEvidence(1.0, 1.0, 1.0, attack_score=score))
        for score in attempt
    ]
    return passes([float("nan") if s is None else s.attack_score or 0.0 for s in seen], rule)


def _grouped(trials: Iterable[Trial]) -> Iterator[list[Trial]]:
    def key(trial: Trial) -> tuple[str, str, str, int]:
        return trial.data, trial.detector, trial.kind, trial.frames

    for _, group in groupby(sorted(trials, key=key), key=key):
        yield list(group)


def _row(trials: Sequence[Trial]) -> list[str]:
    first, attempts = trials[0], sum(trial.attempts for trial in trials)
    cells = [first.data, first.kind, first.detector, str(first.frames), str(attempts)]
    for passed in (sum(t.everybody for t in trials), sum(t.own for t in trials)):
        cells += [str(passed), report.interval(Counted(passed, attempts).interval, ".3f")]
    return cells


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    parser.add_argument("--json", action="store_true", help="write JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
