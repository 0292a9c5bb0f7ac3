"""`python -m benchmarks.degradation`: how blurred or dark a face may be and still match.

Webcam frames of live people are made worse step by step and compared with frames of the same person
as they were, of another part of the recordings. Where matches begin to fail is where the quality
gate belongs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, load_pipeline
from benchmarks.quality import RATE, Judged, judge
from benchmarks.sequences import Change, development_sources
from benchmarks.templates import calibrated_thresholds
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import FaceIdError

Pixels = NDArray[np.uint8]

EACH: Final = 8  # references, and probes, of a person
BLURS: Final = (0, 2, 3, 4, 5, 6, 8, 10)  # sigma, px
SMEARS: Final = (9, 17, 25, 33)  # px sideways
DIMMED: Final = (0.5, 0.3, 0.2, 0.15, 0.1)
BRIGHTENED: Final = (2.0, 3.0, 4.0, 6.0)
VEILED: Final = (0.5, 0.3, 0.2, 0.15, 0.1)
VEIL: Final = 110.0
NOISE: Final = 3.0  # of the sensor, which dimming does not dim


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        (threshold,) = calibrated_thresholds(options.models, options.embedder, (RATE,))
        pipeline = load_pipeline(options.models, options.embedder)
        references, probes = _webcam(options.data)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.degradation: {error}", file=sys.stderr)
        return 2

    def look(person: str, pixels: Pixels) -> Judged:
        return judge(pipeline, pixels, name="", who=person, middle=False)

    enrolled = {
        person: np.stack([v for p in images if (v := look(person, p).vector) is not None])
        for person, images in references.items()
    }
    lines = []
    for name, change in report.progress(list(changes()), label="degrading"):
        judged = [look(person, change(p)) for person, images in probes.items() for p in images]
        lines.append(_line(name, judged, enrolled, threshold))
    header = [
        "frames",
        "no face",
        "refused",
        "sharpness",
        "brightness",
        "contrast",
        "score",
        "match",
    ]
    print(
        report.describe(
            {
                "embedder": pipeline.embedder.model_id,
                "match": f"share of the faces found with a score of {threshold:.4f} or more",
                "medians": "sharpness, brightness, contrast, score",
                **report.machine(),
            }
        ),
        report.table(header, lines),
        sep="\n\n",
    )
    return 0


def changes() -> Iterator[tuple[str, Change]]:
    """Yield each way to make a frame worse."""
    noise = np.random.default_rng(1)

    def levels(factor: float, lift: float) -> Change:
        return lambda p: _clip(p * factor + lift + noise.normal(0.0, NOISE, p.shape))

    def blur(sigma: float) -> Change:
        return lambda p: np.asarray(cv2.GaussianBlur(p, (0, 0), sigma), np.uint8) if sigma else p

    def smear(length: int) -> Change:
        kernel = np.full((1, length), 1 / length, np.float32)
        return lambda p: np.asarray(cv2.filter2D(p, -1, kernel), np.uint8)

    yield from ((f"blurred by {sigma} px", blur(sigma)) for sigma in BLURS)
    yield from ((f"smeared over {length} px", smear(length)) for length in SMEARS)
    yield from ((f"dimmed to {factor:.0%}", levels(factor, 0.0)) for factor in DIMMED)
    yield from ((f"brightened {factor:g} times", levels(factor, 0.0)) for factor in BRIGHTENED)
    yield from ((f"veiled, {factor:.0%} left", levels(factor, VEIL)) for factor in VEILED)


def _line(
    name: str, judged: Sequence[Judged], enrolled: dict[str, NDArray[np.float32]], threshold: float
) -> list[str]:
    seen = [one for one in judged if one.measured is not None]
    missed = f"{len(judged) - len(seen)}/{len(judged)}"
    if not seen:
        return [name, missed, *"------"]
    scores = [
        float((enrolled[one.person] @ one.vector).max()) for one in seen if one.vector is not None
    ]
    medians = [
        report.median(getattr(one.measured, measure) for one in seen)
        for measure in ("sharpness", "brightness", "contrast")
    ]
    return [
        name,
        missed,
        f"{sum(one.refusal is not None for one in seen)}/{len(seen)}",
        *(f"{value:.0f}" for value in medians),
        f"{report.median(scores):.2f}",
        f"{np.mean([score >= threshold for score in scores]):.2f}",
    ]


def _webcam(data: Path) -> tuple[dict[str, list[Pixels]], dict[str, list[Pixels]]]:
    """Frames of the first and of the second half of each person's recordings."""
    paths: dict[str, list[Path]] = {}
    for source in development_sources(data):
        if source.person.startswith("nuaa"):
            paths.setdefault(source.person, []).extend(source.paths)
    halves = [
        {person: _some(own[: len(own) // 2]) for person, own in paths.items()},
        {person: _some(own[len(own) // 2 :]) for person, own in paths.items()},
    ]
    return halves[0], halves[1]


def _some(paths: Sequence[Path]) -> list[Pixels]:
    chosen = paths[:: max(1, len(paths) // EACH)][:EACH]
    return [decode_image(path.read_bytes(), name=path.name) for path in chosen]


def _clip(values: NDArray[np.float64]) -> Pixels:
    return np.clip(values, 0.0, 255.0).astype(np.uint8)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.degradation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    return parser


if __name__ == "__main__":
    sys.exit(main())
