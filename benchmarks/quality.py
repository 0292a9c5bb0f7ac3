"""`python -m benchmarks.quality`: what the quality gate of a login refuses, and whether it should.

Every image of the development data goes through the detector, the gate with the configuration's
defaults and the embedder. An image is matchable when its comparison score with another image of the
same person reaches the threshold for a false match rate of 1e-5: to refuse it costs a person a
second look for nothing. Lights are a benchmark of their own, `benchmarks.lights`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, Pipeline, load_pipeline, nearest_the_middle
from benchmarks.lfw import images_of, person, read_images, read_pairs
from benchmarks.sequences import Source, development_sources, frames_of
from benchmarks.templates import calibrated_thresholds
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core import quality
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.types import Refusal, SampleQuality

RATE: Final = 1e-5
EVERY: Final = 3  # frame of a video: its neighbours are the same picture
MEASURES: Final = ("size_px", "yaw", "pitch", "roll_degrees", "sharpness", "brightness", "contrast")
PERCENTILES: Final = (0.5, 1, 5, 50, 95, 99, 99.5)
WEBCAM: Final = "webcam (nuaa live)"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One image as the gate saw it.

    Args:
        name: The image.
        person: Whom it shows; the same in two sets only for the same person.
        refusal: What a login would have said, None when it would have compared.
        sizes: Of all faces, px, largest first.
        measured: Of the face that would be compared; None without one.
        vector: (D,) float32 embedding of that face, whatever the gate said.
    """

    name: str
    person: str
    refusal: Refusal | None
    sizes: tuple[float, ...]
    measured: SampleQuality | None
    vector: NDArray[np.float32] | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One set of images.

    Args:
        images: How many.
        refused: By reason.
        comparable: Images with a face and another image of the same person.
        matchable: Those that would have matched it.
        matchable_refused: By reason, those that would have matched and were refused.
        percentiles: Of each measure, at `PERCENTILES`.
    """

    name: str
    images: int
    refused: dict[str, int]
    comparable: int
    matchable: int
    matchable_refused: dict[str, int]
    percentiles: dict[str, list[float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        (threshold,) = calibrated_thresholds(options.models, options.embedder, (RATE,))
        pipeline = load_pipeline(options.models, options.embedder)
        sets = {
            name: list(judge_all(pipeline))
            for name, judge_all in development_sets(options.data).items()
        }
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.quality: {error}", file=sys.stderr)
        return 2
    rows = [row_of(name, judged, threshold) for name, judged in sets.items()]
    facts = {
        "embedder": pipeline.embedder.model_id,
        "limits": ", ".join(f"{k} {getattr(pipeline.limits, k)}" for k in _limits(pipeline)),
        "matchable": f"comparison score >= {threshold:.4f} with another image of the person",
        **report.machine(),
    }
    if options.json:
        print(json.dumps({"facts": facts, "sets": [asdict(row) for row in rows]}, indent=2))
    else:
        print(report.describe(facts), _gates(rows), _measures(rows), sep="\n\n")
    return 0


Judge = Callable[[Pipeline], Iterator[Judged]]


def development_sets(data: Path) -> dict[str, Judge]:
    """Return how each set of the development data is judged.

    Raises:
        OSError: A list of images is not there.
    """
    splits = data / "splits"
    lfw = images_of(read_pairs(splits / "lfw_dev_pairs_folds1-2.txt"))
    lfw += read_images(splits / "lfw_dev_extra_impostors.txt")
    sources = development_sources(data)
    webcam = [source for source in sources if source.person.startswith("nuaa")]
    videos = [source for source in sources if source.in_order]
    return {
        "LFW": partial(_judge_lfw, data / "lfw-deepfunneled", sorted(set(lfw))),
        WEBCAM: partial(_judge_recordings, webcam, every=1),
        "phone videos, head turns": partial(_judge_recordings, videos, every=EVERY),
        "ORL": partial(_judge_crops, sorted((data / "orl_faces").glob("s*/*.pgm")), scale=3),
    }


def row_of(name: str, judged: Sequence[Judged], threshold: float) -> Row:
    """Count what the gate refused of a set."""
    scores = _best_genuine_scores(judged)
    matchable = [one for one, score in zip(judged, scores, strict=True) if score >= threshold]
    measured = [one.measured for one in judged if one.measured is not None]
    return Row(
        name=name,
        images=len(judged),
        refused=_by_reason(judged),
        comparable=int(np.isfinite(scores).sum()),
        matchable=len(matchable),
        matchable_refused=_by_reason(matchable),
        percentiles={
            measure: np.percentile(
                [getattr(one, measure) for one in measured], PERCENTILES
            ).tolist()
            for measure in MEASURES
        },
    )


def judge(pipeline: Pipeline, pixels: Pixels, *, name: str, who: str, middle: bool) -> Judged:
    """Look at one image as a login does, and embed its face all the same.

    Args:
        middle: The face nearest the middle is meant, not the largest.
    """
    faces = pipeline.detector.detect(pixels)
    sizes = tuple(face.size_px for face in faces)
    if not faces:
        return Judged(name, who, Refusal.NO_FACE, sizes, None, None)
    face = nearest_the_middle(faces, pixels) if middle else faces[0]
    crop = pipeline.embedder.crop(pixels, face)
    measured = quality.assess(face, crop)
    refusal = pipeline.refusal(pixels, faces, face, crop, measured)
    return Judged(
        name, who, refusal, sizes, measured, np.asarray(pipeline.embedder.embed(crop).vector)
    )


def _judge_lfw(folder: Path, images: Sequence[str], pipeline: Pipeline) -> Iterator[Judged]:
    for image in report.progress(images, label="LFW"):
        pixels = decode_image((folder / image).read_bytes(), name=image)
        yield judge(pipeline, pixels, name=image, who=person(image), middle=True)


def _judge_recordings(
    sources: Sequence[Source], pipeline: Pipeline, *, every: int
) -> Iterator[Judged]:
    for source in report.progress(sources, label="recordings"):
        for index, frame in enumerate(frames_of(source)):
            if index % every == 0:
                name = f"{Path(frame.origin).name} {index}"
                yield judge(pipeline, frame.pixels, name=name, who=source.person, middle=False)


def _judge_crops(images: Sequence[Path], pipeline: Pipeline, *, scale: int) -> Iterator[Judged]:
    """Judge pictures of nothing but a face, enlarged and in a frame as a camera would show it."""
    for image in report.progress(images, label="crops"):
        pixels = decode_image(image.read_bytes(), name=image.name)
        large = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        border = large.shape[0] // 4
        framed = cv2.copyMakeBorder(
            large, border, border, border, border, cv2.BORDER_CONSTANT, value=(90, 90, 90)
        )
        yield judge(
            pipeline,
            np.asarray(framed, dtype=np.uint8),
            name=image.name,
            who=image.parent.name,
            middle=False,
        )


def _best_genuine_scores(judged: Sequence[Judged]) -> NDArray[np.float64]:
    """Highest comparison score with another image of the same person; -inf without one."""
    best = np.full(len(judged), -np.inf)
    by_person: dict[str, list[int]] = {}
    for index, one in enumerate(judged):
        if one.vector is not None:
            by_person.setdefault(one.person, []).append(index)
    for indices in by_person.values():
        if len(indices) > 1:
            vectors = np.stack([v for i in indices if (v := judged[i].vector) is not None])
            scores = vectors @ vectors.T
            np.fill_diagonal(scores, -np.inf)
            best[indices] = scores.max(axis=1)
    return best


def _by_reason(judged: Sequence[Judged]) -> dict[str, int]:
    return dict(Counter(one.refusal.value for one in judged if one.refusal is not None))


def _limits(pipeline: Pipeline) -> Sequence[str]:
    return type(pipeline.limits).__struct_fields__


def _gates(rows: Sequence[Row]) -> str:
    header = ["refused", *(row.name for row in rows)]
    lines = [["images", *(str(row.images) for row in rows)]]
    lines += [
        [
            why.value.replace("_", " "),
            *(_share(row.refused.get(why.value, 0), row.images) for row in rows),
        ]
        for why in Refusal
    ]
    lines += [
        ["matchable, of those comparable", *(f"{r.matchable} of {r.comparable}" for r in rows)]
    ]
    lines += [
        [
            f"matchable, but {why.value.replace('_', ' ')}",
            *(_share(row.matchable_refused.get(why.value, 0), row.matchable) for row in rows),
        ]
        for why in Refusal
        if any(why.value in row.matchable_refused for row in rows)
    ]
    return report.table(header, lines)


def _measures(rows: Sequence[Row]) -> str:
    header = ["percentile", *(f"{percent:g} %" for percent in PERCENTILES)]
    lines = [
        [f"{measure}, {row.name}", *(f"{value:.2f}" for value in row.percentiles[measure])]
        for measure in MEASURES
        for row in rows
    ]
    return report.table(header, lines)


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.1f} %)" if count else "0"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
