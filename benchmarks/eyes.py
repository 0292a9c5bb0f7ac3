"""`python -m benchmarks.eyes`: does the mesh tell closed eyes from open ones.

`eyes_closed.toml` names the images and frames that show closed eyes. Every image of LFW, the webcam
frames of NUAA and the phone videos are measured as a login measures them; for each limit: closed
eyes that are refused, open ones that are refused for nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, Pipeline, load_pipeline, nearest_the_middle
from benchmarks.lfw import every_image
from benchmarks.sequences import development_sources, frames_of
from benchmarks.statistics import wilson
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.config import QualityConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.mesh import eye_opening

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LABELS: Final = Path(__file__).with_name("eyes_closed.toml")
LIMITS: Final = (0.05, 0.08, 0.1, 0.11, 0.12, 0.14, 0.17)
EMBEDDER: Final = "mobilefacenet"  # any: nothing is embedded


@dataclass(frozen=True, slots=True)
class Measured:
    """One image or frame.

    Args:
        closed: None where it cannot be told.
    """

    source: str
    closed: bool | None
    opening: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        labels = tomllib.loads(LABELS.read_text(encoding="utf-8"))
        pipeline = load_pipeline(options.models, EMBEDDER)
        measured = [
            *_lfw(options.data / "lfw-deepfunneled", labels["lfw"], pipeline, options.every),
            *_recordings(options.data, labels, pipeline),
        ]
    except (FaceIdError, OSError, ValueError, KeyError) as error:
        print(f"benchmarks.eyes: {error}", file=sys.stderr)
        return 2
    facts = {
        "labels": f"{LABELS.name}, by eye",
        "LFW": f"one open image of {options.every}, every closed one",
        "limit": f"{QualityConfig().min_eye_opening} by default",
        **report.machine(),
    }
    print(report.describe(facts), table(measured), sep="\n\n")
    return 0


def table(measured: Sequence[Measured]) -> str:
    """Count what each limit refuses, by source."""
    lines = []
    for source in dict.fromkeys(one.source for one in measured):
        mine = [one for one in measured if one.source == source]
        for limit in LIMITS:
            cells = []
            for closed in (True, False):
                these = [one for one in mine if one.closed is closed]
                refused = sum(not one.opening >= limit for one in these)
                bounds = report.interval(wilson(refused, len(these)), ".3f") if these else ""
                cells.append(f"{refused} of {len(these)} {bounds}")
            unclear = [one for one in mine if one.closed is None]
            cells.append(f"{sum(not one.opening >= limit for one in unclear)} of {len(unclear)}")
            lines.append([source, f"{limit:g}", *cells])
    header = ["images", "limit", "closed, refused", "open, refused", "unclear, refused"]
    return report.table(header, lines)


def _opening(pipeline: Pipeline, pixels: NDArray[np.uint8], *, middle: bool) -> float | None:
    faces = pipeline.detector.detect(pixels)
    if not faces:
        return None
    face = nearest_the_middle(faces, pixels) if middle else faces[0]
    return eye_opening(pipeline.landmarker.locate(pixels, face))


def _lfw(
    folder: Path, labels: Mapping[str, Any], pipeline: Pipeline, every: int
) -> Iterator[Measured]:
    names = every_image(folder)
    labelled = {*labels["closed"], *labels["unclear"]}
    chosen = [name for place, name in enumerate(names) if name in labelled or place % every == 0]
    for name in report.progress(chosen, label="LFW"):
        pixels = decode_image((folder / name).read_bytes(), name=name)
        opening = _opening(pipeline, pixels, middle=True)
        if opening is not None:
            yield Measured("LFW", _label(name, labels), opening)


def _recordings(data: Path, labels: Mapping[str, Any], pipeline: Pipeline) -> Iterator[Measured]:
    for source in report.progress(development_sources(data), label="recordings"):
        videos = labels["videos"].get(source.person, [])
        if source.in_order and not videos:
            continue  # behind reflecting glasses, or never closed
        for index, frame in enumerate(frames_of(source)):
            opening = _opening(pipeline, frame.pixels, middle=False)
            if opening is None:
                continue
            if source.in_order:
                yield Measured("phone videos", index in videos, opening)
            elif source.person.startswith("nuaa"):
                name = "/".join(Path(frame.origin).parts[-3:])
                yield Measured("webcam (nuaa live)", _label(name, labels["nuaa"]), opening)


def _label(name: str, labels: Mapping[str, Any]) -> bool | None:
    return None if name in labels["unclear"] else name in labels["closed"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.eyes", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--every", type=int, default=1, help="one open image of LFW in so many")
    return parser


if __name__ == "__main__":
    sys.exit(main())
