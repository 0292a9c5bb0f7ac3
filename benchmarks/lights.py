"""`python -m benchmarks.lights`: one person under 64 lights, of Extended Yale B, by light angle.

A template of the frontal image alone is compared with the images under every other light, as a
login does. No face, a refusal by the gate and a non-match are told apart. People of LFW are the
strangers: each frontal template meets all of them, and each image meets as many templates.

The images are tight crops: they are enlarged twice and set in black, as a face in a dark room is.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, Pipeline, extract, load_pipeline
from benchmarks.lfw import read_images
from benchmarks.quality import Judged, judge
from benchmarks.statistics import wilson
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.matching import match_threshold
from pam_faceid.core.types import Refusal

FRONTAL: Final = (0, 0)
ENLARGED: Final = 2
DEGREES: Final = (0, 15, 30, 45, 60, 75, 90, 181)  # borders of the rings
LIGHT: Final = re.compile(r"A([+-]\d{3})E([+-]\d{2})")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Lit:
    """One image of one person.

    Args:
        azimuth, elevation: Of the light, degrees; azimuth to the person's left is positive.
        judged: What a login made of it.
        score: With the template of the frontal image; None without a face.
    """

    azimuth: int
    elevation: int
    judged: Judged = field(repr=False)
    score: float | None

    @property
    def degrees(self) -> float:
        """Angle between the light and the way that the camera looks."""
        cosine = math.cos(math.radians(self.azimuth)) * math.cos(math.radians(self.elevation))
        return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))

    def ended(self, threshold: float) -> str:
        """Say how a login with this one image ends."""
        if self.judged.refusal is not None:
            return self.judged.refusal.value
        return "match" if self.score is not None and self.score >= threshold else "non-match"


@dataclass(frozen=True, slots=True)
class Ring:
    """The images whose light comes from an angle between two."""

    degrees: str
    images: int
    no_face: int
    refused: dict[str, int]
    compared: int
    non_matches: int
    found: int
    non_matches_of_found: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        spec = load_manifest(options.models).find(options.embedder)
        config = MatchingConfig()
        calibration = spec.calibration_of(config.matcher)
        threshold = match_threshold(config, calibration, model=spec.name)
        pipeline = load_pipeline(options.models, options.embedder)
        lit = list(people(options.data / "cropped_yaleB", pipeline))
        splits = options.data / "splits"
        names = read_images(splits / "lfw_dev_extra_impostors.txt")
        samples = extract(
            options.data / "lfw-deepfunneled", names, pipeline, cache=options.cache
        ).values()
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.lights: {error}", file=sys.stderr)
        return 2
    strangers = np.stack([s.vector for s in samples if s.vector is not None])
    false = false_matches(lit, strangers, threshold)
    rings = list(rings_of(lit, threshold))
    facts = {
        "embedder": pipeline.embedder.model_id,
        "threshold": f"{threshold:.4f}, of matcher {config.matcher} at the default rate",
        "people": f"{len({one.judged.person for one in lit})} of Extended Yale B, frontal template",
        "strangers": f"{len(strangers)} people of LFW, and the other people of Yale B",
        "false matches": f"{false[0]} of {false[1]} comparisons of faces that were found",
        "false matches past the gate": f"{false[2]} of {false[3]}",
        **report.machine(),
    }
    if options.plot is not None:
        # Imported here: the table needs no matplotlib.
        from benchmarks import quality_plots  # noqa: PLC0415

        options.plot.write_bytes(quality_plots.lights(lit, threshold))
    if options.json:
        print(json.dumps({"facts": facts, "rings": [asdict(ring) for ring in rings]}, indent=2))
    else:
        print(report.describe(facts), table(rings), sep="\n\n")
    return 0


def people(folder: Path, pipeline: Pipeline) -> Iterator[Lit]:
    """Judge and compare every image of every person.

    Raises:
        OSError: The images are not there.
        ValueError: A frontal image shows no face.
    """
    for one in report.progress(sorted(folder.iterdir()), label="lights"):
        judged = {light_of(path): _judge(path, pipeline) for path in sorted(one.glob("*P00A*.pgm"))}
        reference = judged[FRONTAL].vector
        if reference is None:
            raise ValueError(f"{one}: no face was found in the frontal image")
        for (azimuth, elevation), seen in judged.items():
            if (azimuth, elevation) != FRONTAL:
                score = None if seen.vector is None else float(seen.vector @ reference)
                yield Lit(azimuth, elevation, seen, score)
            else:
                yield Lit(azimuth, elevation, seen, None)


def light_of(path: Path) -> tuple[int, int]:
    """Return azimuth and elevation of an image's light, degrees, from its name.

    Raises:
        ValueError: The name tells none.
    """
    found = LIGHT.search(path.name)
    if found is None:
        raise ValueError(f"{path} does not tell where the light was")
    return int(found[1]), int(found[2])


def framed(pixels: Pixels, *, scale: int = ENLARGED) -> Pixels:
    """Enlarge a picture of nothing but a face, and set it in black as a camera would show it."""
    large = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    border = large.shape[0] // 2
    return np.asarray(
        cv2.copyMakeBorder(large, border, border, border, border, cv2.BORDER_CONSTANT), np.uint8
    )


def rings_of(lit: Sequence[Lit], threshold: float) -> Iterator[Ring]:
    """Count by angle; the frontal image itself is left out."""
    others = [one for one in lit if (one.azimuth, one.elevation) != FRONTAL]
    for low, high in pairwise(DEGREES):
        ring = [one for one in others if low <= one.degrees < high]
        ends = [one.ended(threshold) for one in ring]
        found = [one.score for one in ring if one.score is not None]
        reasons = [e for e in ends if e not in ("match", "non-match", Refusal.NO_FACE.value)]
        yield Ring(
            degrees=f"{low} to {min(high, 180)}",
            images=len(ring),
            no_face=ends.count(Refusal.NO_FACE.value),
            refused={reason: reasons.count(reason) for reason in sorted(set(reasons))},
            compared=ends.count("match") + ends.count("non-match"),
            non_matches=ends.count("non-match"),
            found=len(found),
            non_matches_of_found=sum(not score >= threshold for score in found),
        )


def false_matches(
    lit: Sequence[Lit], strangers: NDArray[np.float32], threshold: float
) -> tuple[int, int, int, int]:
    """Count matches of two people: all faces found, and those that the gate lets pass.

    Returns:
        False matches and comparisons of the first, then of the second.
    """
    counts = [0, 0, 0, 0]
    for one in lit:
        if one.judged.vector is None:
            continue
        vectors = [
            other.judged.vector
            for other in lit
            if other.judged.person != one.judged.person
            and (other.azimuth, other.elevation) == FRONTAL
            and other.judged.vector is not None
        ]
        scores = np.concatenate([strangers, np.stack(vectors)]) @ one.judged.vector
        matched = int((scores >= threshold).sum())
        counts[0] += matched
        counts[1] += len(scores)
        if one.judged.refusal is None:
            counts[2] += matched
            counts[3] += len(scores)
    return counts[0], counts[1], counts[2], counts[3]


def table(rings: Sequence[Ring]) -> str:
    """Lay the rings out, failures to acquire and FNMR with 95 % intervals."""
    lines = []
    for ring in rings:
        refused = sum(ring.refused.values())
        lines.append(
            [
                ring.degrees,
                f"{ring.images}",
                f"{ring.no_face}",
                ", ".join(f"{why.replace('_', ' ')} {n}" for why, n in ring.refused.items()),
                _rate(ring.no_face + refused, ring.images),
                _rate(ring.non_matches, ring.compared),
                _rate(ring.non_matches_of_found, ring.found),
            ]
        )
    header = ["light, degrees", "images", "no face", "refused", "FTA", "FNMR", "FNMR without gate"]
    return report.table(header, lines)


def _rate(count: int, total: int) -> str:
    if not total:
        return "-"
    low, high = wilson(count, total)
    return f"{count} of {total} [{low:.2f}, {high:.2f}]"


def _judge(path: Path, pipeline: Pipeline) -> Judged:
    pixels = framed(decode_image(path.read_bytes(), name=path.name))
    return judge(pipeline, pixels, name=path.name, who=path.parent.name, middle=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lights", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--plot", type=Path, help="PNG to write; needs matplotlib")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
