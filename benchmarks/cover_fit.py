"""`python -m benchmarks.cover_fit`: the rule that tells whether eyes or mouth are covered.

On one image each of every other person of LFW covers are drawn, with five points that lie as far
off as those of a covered face. A ridge regression of covered or not on the features of
`onnx_models/recipes/face_cover.py` gives the weights. The recipe reads what this writes, and
`onnx_models/build.py` makes the model of it.

With `--judge` covers are drawn on people whom the rule does not know, and the detector has to find
them again, because a login sees what it finds; each kind is judged once more by a rule that has
never seen that kind.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.covers import LOWER, UPPER, Draw, glasses
from benchmarks.extraction import (
    LANDMARKS,
    SHIPPED_MODELS,
    load_detector,
    nearest_the_middle,
)
from benchmarks.statistics import wilson
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.adapters.models.landmarks import OnnxFaceMesh
from pam_faceid.adapters.models.manifest import load_manifest, read_model
from pam_faceid.core.config import DetectionConfig, QualityConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.geometry import ARCFACE_SIDE, arcface_alignment
from pam_faceid.core.types import Face, FaceMesh

Pixels = NDArray[np.uint8]

CLEAR: Final = ("nothing", "glasses")
RIDGE: Final = 30.0
BORDERLINE: Final = 0.6  # what the regression gives where the probability is a half: see docs
STEEPNESS: Final = 8.0
OFF: Final = 0.04  # standard deviation of a point of a covered face, in distances of the eyes
GREY: Final = 0.25  # share of the examples that are made grey, as infrared is
JUDGED_EVERY: Final = 8  # of the people whom the rule does not know
SIGNIFICANT: Final = 5  # digits of a weight


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One drawn face.

    Args:
        person: Of LFW.
        kind: What was drawn.
        features: (F,) float32.
    """

    person: str
    kind: str
    features: NDArray[np.float32] = field(repr=False)

    @property
    def covered(self) -> tuple[bool, bool]:
        """Whether eyes, and whether mouth."""
        return self.kind in UPPER, self.kind in LOWER


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Weights (2, F) and biases (2,), for eyes and mouth."""

    weights: NDArray[np.float64]
    biases: NDArray[np.float64]

    def probabilities(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """Return (N, 2), as the model gives them."""
        logits = np.stack([e.features for e in examples]) @ self.weights.T + self.biases
        chances: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
        return chances


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        studio = Studio(options.data / "lfw-deepfunneled", seed=options.seed)
        known = studio.examples()
        text = judged(known, studio) if options.judge else ""
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.cover_fit: {error}", file=sys.stderr)
        return 2
    facts = {
        "fitted to": f"{len(known)} faces of {len({e.person for e in known})} people of LFW",
        "ridge": f"{RIDGE}",
        "seed": f"{options.seed}",
        **report.machine(),
    }
    print(report.describe(facts))
    if options.judge:
        print("\n" + text)
    else:
        options.out.write_text(as_json(fit(known)), encoding="utf-8")
    return 0


class Studio:
    """Draws covers on people.

    Args:
        images: Folder of LFW.
        seed: Of what is drawn.

    Raises:
        OSError: The images are not there.
    """

    def __init__(self, images: Path, *, seed: int) -> None:
        manifest = load_manifest(SHIPPED_MODELS)
        detection = DetectionConfig()
        self._detector = load_detector(
            manifest, detection, min_face_px=detection.min_face_px, threads=1
        )
        self._landmarker = OnnxFaceMesh(
            read_model(manifest.find(LANDMARKS)), threads=1, optimise=True
        )
        self._features = _feature_net()
        self._people = sorted(folder for folder in images.iterdir() if folder.is_dir())
        self._seed = seed

    def examples(self) -> list[Example]:
        """Return what the rule is fitted to: every other person."""
        made = []
        for number, folder in enumerate(report.progress(self._people[::2], label="drawing")):
            shown = self._shown(folder)
            if shown is None:
                continue
            pixels, face, mesh = shown
            random = np.random.default_rng([self._seed, number])
            lower = random.choice(list(LOWER), 2, replace=False).tolist()
            upper = random.choice(list(UPPER))
            every = dict(kinds())
            for kind in (*CLEAR, *lower, upper):
                drawn = every[kind](pixels, mesh, random)
                if random.random() < GREY:
                    grey = cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY)
                    drawn = np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)
                points: NDArray[Any] = face.points
                if kind not in CLEAR:
                    apart = np.linalg.norm(points[1] - points[0])
                    points = points + random.normal(0, OFF * apart, points.shape)
                made.append(self._example(folder.name, kind, drawn, points))
        return made

    def strangers(self) -> tuple[list[Example], dict[str, int]]:
        """Return what the detector finds of people whom the rule does not know, and what not."""
        made: list[Example] = []
        lost: dict[str, int] = {}
        people = self._people[1 :: 2 * JUDGED_EVERY]
        for number, folder in enumerate(report.progress(people, label="judging")):
            shown = self._shown(folder)
            if shown is None:
                continue
            pixels, face, mesh = shown
            random = np.random.default_rng([self._seed, 1, number])
            for kind, change in kinds():
                drawn = change(pixels, mesh, random)
                again = _nearest(self._detector.detect(drawn), face)
                if again is None:
                    lost[kind] = lost.get(kind, 0) + 1
                else:
                    made.append(self._example(folder.name, kind, drawn, again.points))
        return made, lost

    def _shown(self, folder: Path) -> tuple[Pixels, Face, FaceMesh] | None:
        path = min(folder.glob("*.jpg"))
        pixels = decode_image(path.read_bytes(), name=path.name)
        faces = self._detector.detect(pixels)
        if not faces:
            return None
        face = nearest_the_middle(faces, pixels)
        return pixels, face, self._landmarker.locate(pixels, face)

    def _example(
        self, name: str, kind: str, pixels: Pixels, points: NDArray[np.floating]
    ) -> Example:
        matrix = arcface_alignment(points.astype(np.float32))
        crop = cv2.warpAffine(pixels, matrix, (ARCFACE_SIDE, ARCFACE_SIDE), flags=cv2.INTER_LINEAR)
        planes = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
        return Example(name, kind, self._features.run(None, {"pixels": planes})[0][0])


def kinds() -> Iterator[tuple[str, Draw]]:
    """Yield what is drawn, by name."""
    yield "nothing", lambda pixels, _mesh, _random: pixels
    yield "glasses", glasses
    yield from LOWER.items()
    yield from UPPER.items()


def fit(examples: Sequence[Example]) -> Rule:
    """Return the rule that ridge regression gives, covered and clear counting as much."""
    features = np.stack([e.features for e in examples]).astype(np.float64)
    middle = features.mean(axis=0)
    spread = features.std(axis=0) + 1e-3
    scaled = (features - middle) / spread
    weights, biases = [], []
    for part in range(2):
        covered = np.array([e.covered[part] for e in examples])
        share = np.where(covered, 0.5 / covered.sum(), 0.5 / (~covered).sum()) * len(examples)
        target = np.where(covered, 1.0, -1.0)
        weighted = scaled * share[:, None]
        normal = scaled.T @ weighted + RIDGE * np.eye(scaled.shape[1])
        shift = float((share * target).sum() / share.sum())
        solved = np.linalg.solve(normal, weighted.T @ (target - shift))
        weights.append(STEEPNESS * solved / spread)
        biases.append(STEEPNESS * (shift - BORDERLINE - float(solved @ (middle / spread))))
    return Rule(np.array(weights), np.array(biases))


def as_json(rule: Rule) -> str:
    """Return what the recipe reads."""
    weights = [[float(f"{w:.{SIGNIFICANT}g}") for w in row] for row in rule.weights]
    return (
        json.dumps({"weights": weights, "biases": [round(float(b), 6) for b in rule.biases]}) + "\n"
    )


def judged(known: Sequence[Example], studio: Studio) -> str:
    """Judge every kind on people that the rule does not know, and once without the kind itself."""
    unknown, lost = studio.strangers()
    limit = QualityConfig().max_covered
    rule = fit(known)
    lines = []
    for kind, _ in kinds():
        these = [e for e in unknown if e.kind == kind]
        refused = _refused(rule, these, limit)
        low, high = wilson(refused, len(these))
        never_seen = ""
        if kind not in CLEAR:
            other = fit([e for e in known if e.kind != kind])
            never_seen = f"{_refused(other, these, limit) / len(these):.3f}"
        lines.append(
            [
                kind,
                f"{lost.get(kind, 0)}",
                f"{refused} of {len(these)}",
                f"{refused / len(these):.3f}",
                f"[{low:.3f}, {high:.3f}]",
                never_seen,
            ]
        )
    header = ["drawn", "no face", "refused", "share", "95 %", "by a rule that never saw it"]
    return report.table(header, lines)


def _refused(rule: Rule, examples: Sequence[Example], limit: float) -> int:
    return int((rule.probabilities(examples).max(axis=1) > limit).sum())


def _nearest(faces: Sequence[Face], where: Face) -> Face | None:
    """Return the face that was found where one was, or None."""
    middle = where.points.mean(axis=0)

    def apart(face: Face) -> float:
        return float(np.linalg.norm(face.points.mean(axis=0) - middle))

    near = [face for face in faces if apart(face) < where.size_px / 2]
    return min(near, key=apart, default=None)


def _feature_net() -> ort.InferenceSession:
    sys.path.insert(0, str(SHIPPED_MODELS))
    recipe = importlib.import_module("recipes.face_cover")  # needs the package onnx
    return ort.InferenceSession(recipe.feature_net(), providers=["CPUExecutionProvider"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cover_fit", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    out = SHIPPED_MODELS / "recipes/face_cover.json"
    parser.add_argument("--out", type=Path, default=out, help="what the recipe reads")
    parser.add_argument("--judge", action="store_true", help="write nothing, and judge")
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
