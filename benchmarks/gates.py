"""`python -m benchmarks.gates`: what each quality gate costs, and what it buys.

People of LFW are enrolled with the centre of four images. Their further images, as they are and
made worse step by step, are compared with their own template, with everybody else's
and with one image of each other person. For each
limit of each gate: how many of the untouched images it refuses (the cost), and the FNMR and FMR of
all images that it lets pass (what it buys), at the threshold of the default matcher.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import covers, report
from benchmarks.extraction import (
    SHIPPED_MODELS,
    Pipeline,
    extract,
    load_pipeline,
    nearest_the_middle,
)
from benchmarks.lfw import person, read_images
from benchmarks.statistics import wilson
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.core import quality
from pam_faceid.core.config import MatchingConfig, QualityConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.matching import match_threshold
from pam_faceid.core.mesh import eye_opening
from pam_faceid.core.types import FaceMesh

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, FaceMesh, np.random.Generator], Pixels]

REFERENCES: Final = 4
COVERS: Final = ("mask", "scarf", "sunglasses")
SENSOR_NOISE: Final = 3.0  # which dimming does not dim


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit of the configuration.

    Args:
        name: Of the limit, `max_` or `min_` something.
        measure: Of `Seen.measures`.
        limits: To try.
        worse: Kinds of `changes` that it is there for.
    """

    name: str
    measure: str
    limits: tuple[float, ...]
    worse: tuple[str, ...]

    def passes(self, value: float, limit: float) -> bool:
        """Whether a sample passes. NaN does not."""
        return value <= limit if self.name.startswith("max_") else value >= limit


GATES: Final = (
    Gate("min_brightness", "brightness", (0, 10, 15, 20, 30, 40, 60), ("dimmed",)),
    Gate("max_brightness", "brightness", (170, 190, 210, 225, 240, 256), ("brightened",)),
    Gate("max_clipped", "clipped", (0.05, 0.1, 0.2, 0.33, 0.5, 1), ("brightened",)),
    Gate("max_side_light", "side_light", (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1), ("side light",)),
    Gate("min_sharpness", "sharpness", (0, 4, 8, 16, 32, 64, 128), ("blurred",)),
    Gate("min_size_px", "size_px", (20, 30, 40, 60, 80, 100), ("farther",)),
    Gate("max_yaw", "yaw", (0.2, 0.4, 0.6, 0.9, 1.2, 2), ()),
    Gate("max_pitch", "pitch", (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 2), ()),
    Gate("max_covered", "covered", (0.05, 0.2, 0.5, 0.8, 0.95, 1), COVERS),
    Gate("min_eye_opening", "eyes", (0, 0.05, 0.08, 0.11, 0.14, 0.17), ()),
)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One image, as it is or made worse, whose face was found.

    Args:
        worse: Kind of change; empty for none.
        measures: By name.
        genuine: Score with the person's own template.
        impostors: Scores with all other templates.
    """

    worse: str
    measures: dict[str, float]
    genuine: float
    impostors: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Point:
    """A gate at one limit.

    Args:
        refused: Of the untouched images.
        passed: Images that pass, made worse or not.
        non_matches: Of those.
        comparisons: Of those with other people.
        false_matches: Of these.
    """

    limit: float
    untouched: int
    refused: int
    passed: int
    non_matches: int
    comparisons: int
    false_matches: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        spec = load_manifest(options.models).find(options.embedder)
        config = MatchingConfig()
        calibration = spec.calibration_of(config.matcher)
        threshold = match_threshold(config, calibration, model=spec.name)
        # Small faces are looked for: the gate is to refuse them, not the search.
        pipeline = load_pipeline(options.models, options.embedder, min_face_px=20)
        strangers = _strangers(options)
        seen, lost = look(
            options.data, pipeline, strangers, people=options.people, seed=options.seed
        )
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.gates: {error}", file=sys.stderr)
        return 2
    curves = {
        gate.name: [point_of(gate, limit, seen, threshold) for limit in gate.limits]
        for gate in GATES
    }
    facts = {
        "embedder": pipeline.embedder.model_id,
        "threshold": f"{threshold:.4f}, of matcher {config.matcher} at the default rate",
        "people": f"{options.people} of LFW, templates of {REFERENCES} images",
        "strangers": f"{len(strangers)} people of LFW, one image each, and the other templates",
        "images": f"{sum(not s.worse for s in seen)} as they are, "
        f"{sum(bool(s.worse) for s in seen)} made worse, {lost} more without a face",
        "seed": f"{options.seed}",
        **report.machine(),
    }
    if options.plot is not None:
        # Imported here: the table needs no matplotlib.
        from benchmarks import quality_plots  # noqa: PLC0415

        options.plot.write_bytes(quality_plots.gates(curves))
    if options.json:
        rows = {name: [asdict(point) for point in points] for name, points in curves.items()}
        print(json.dumps({"facts": facts, "gates": rows}, indent=2))
    else:
        print(report.describe(facts), kinds_table(seen, threshold), table(curves), sep="\n\n")
    return 0


def changes() -> Iterator[tuple[str, Change]]:
    """Yield every way to make an image worse, by its kind; several a kind."""

    def levels(factor: float) -> Change:
        return lambda p, _, r: _clip(p * factor + r.normal(0.0, SENSOR_NOISE, p.shape))

    def side(dark: float) -> Change:
        def change(pixels: Pixels, mesh: FaceMesh, random: np.random.Generator) -> Pixels:
            middle = float(mesh.points[:, 0].mean())
            width = float(np.ptp(mesh.points[:, 0]))
            across = (np.arange(pixels.shape[1]) - middle) / (0.15 * width)
            light = dark + (1 - dark) / (1 + np.exp(across * random.choice([-1.0, 1.0])))
            return _clip(pixels * light[None, :, None])

        return change

    def blur(share: float) -> Change:
        def change(pixels: Pixels, mesh: FaceMesh, _: np.random.Generator) -> Pixels:
            sigma = share * float(np.ptp(mesh.points[:, 0]))
            return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)

        return change

    def farther(factor: float) -> Change:
        def change(pixels: Pixels, _mesh: FaceMesh, _: np.random.Generator) -> Pixels:
            small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            return np.asarray(small, np.uint8)

        return change

    yield from (("dimmed", levels(factor)) for factor in (0.3, 0.15, 0.1))
    yield from (("brightened", levels(factor)) for factor in (1.7, 2.5, 3.5))
    yield from (("side light", side(dark)) for dark in (0.3, 0.15, 0.05))
    yield from (("blurred", blur(share)) for share in (0.03, 0.05, 0.08))
    yield from (("farther", farther(factor)) for factor in (0.6, 0.4, 0.25))
    yield from ((kind, {**covers.LOWER, **covers.UPPER}[kind]) for kind in COVERS)


def look(
    data: Path,
    pipeline: Pipeline,
    strangers: Mapping[str, NDArray[np.float32]],
    *,
    people: int,
    seed: int,
) -> tuple[list[Seen], int]:
    """Enrol, make worse, compare; and count the images without a face.

    Args:
        strangers: One vector of each of many people more, to compare with.

    Raises:
        OSError: The images are not there.
    """
    images: dict[str, list[str]] = {}
    listed = read_images(data / "splits/lfw_dev_people_5_or_more.txt")
    for name in dict.fromkeys(person(line) if "/" in line else line for line in listed):
        folder = data / "lfw-deepfunneled" / name
        found = sorted(path.name for path in folder.glob("*.jpg"))
        if len(found) > REFERENCES:
            images[name] = found
    chosen = list(images)[:people]
    templates = {}
    for name in report.progress(chosen, label="enrolling"):
        vectors = [
            _vector(pipeline, data / "lfw-deepfunneled" / name / image)
            for image in images[name][:REFERENCES]
        ]
        centre = np.sum([v for v in vectors if v is not None], axis=0)
        templates[name] = (centre / np.linalg.norm(centre)).astype(np.float32)
    seen: list[Seen] = []
    lost = 0
    for number, name in enumerate(report.progress(chosen, label="comparing")):
        known = [vector for other, vector in templates.items() if other != name]
        unknown = [vector for other, vector in strangers.items() if other not in templates]
        others = np.stack(known + unknown)
        random = np.random.default_rng([seed, number])
        for place, image in enumerate(images[name][REFERENCES : REFERENCES + 3]):
            pixels = _read(data / "lfw-deepfunneled" / name / image)
            faces = pipeline.detector.detect(pixels)
            if not faces:
                lost += 1
                continue
            mesh = pipeline.landmarker.locate(pixels, nearest_the_middle(faces, pixels))
            kinds: list[tuple[str, Change]] = [("", lambda p, _m, _r: p)]
            kinds += list(changes()) if place == 0 else []
            for worse, change in kinds:
                one = _seen(change(pixels, mesh, random), worse, pipeline, templates[name], others)
                if one is None:
                    lost += 1
                else:
                    seen.append(one)
    return seen, lost


def point_of(gate: Gate, limit: float, seen: Sequence[Seen], threshold: float) -> Point:
    """Judge one limit, on untouched images and those that the gate is there for."""
    untouched = [one for one in seen if not one.worse]
    meant = [one for one in seen if not one.worse or one.worse in gate.worse]
    passed = [one for one in meant if gate.passes(one.measures[gate.measure], limit)]
    return Point(
        limit=limit,
        untouched=len(untouched),
        refused=sum(not gate.passes(one.measures[gate.measure], limit) for one in untouched),
        passed=len(passed),
        non_matches=sum(not one.genuine >= threshold for one in passed),
        comparisons=sum(len(one.impostors) for one in passed),
        false_matches=sum(int((one.impostors >= threshold).sum()) for one in passed),
    )


def table(curves: dict[str, list[Point]]) -> str:
    """Lay all gates out, a line a limit; the default is marked."""
    defaults = QualityConfig()
    lines = []
    for name, points in curves.items():
        for point in points:
            mark = " (default)" if point.limit == getattr(defaults, name) else ""
            lines.append(
                [
                    f"{name} {point.limit:g}{mark}",
                    _rate(point.refused, point.untouched),
                    _rate(point.non_matches, point.passed),
                    f"{point.false_matches} of {point.comparisons}",
                ]
            )
    header = ["limit", "refuses of the untouched", "FNMR of what passes", "false matches"]
    return report.table(header, lines)


def _strangers(options: argparse.Namespace) -> dict[str, NDArray[np.float32]]:
    """Return one embedding each of the people of LFW, kept from run to run."""
    images = options.data / "lfw-deepfunneled"
    names = sorted(
        min(folder.glob("*.jpg")).relative_to(images).as_posix()
        for folder in images.iterdir()
        if folder.is_dir()
    )
    pipeline = load_pipeline(options.models, options.embedder)
    samples = extract(images, names, pipeline, cache=options.cache)
    return {person(name): s.vector for name, s in samples.items() if s.vector is not None}


def _seen(
    pixels: Pixels,
    worse: str,
    pipeline: Pipeline,
    template: NDArray[np.float32],
    others: NDArray[np.float32],
) -> Seen | None:
    faces = pipeline.detector.detect(pixels)
    if not faces:
        return None
    face = nearest_the_middle(faces, pixels)
    crop = pipeline.embedder.crop(pixels, face)
    measured = quality.assess(face, crop)
    light = crop.astype(np.float32) @ quality.LUMINANCE
    vector = np.asarray(pipeline.embedder.embed(crop).vector)
    return Seen(
        worse=worse,
        measures={
            "brightness": measured.brightness,
            "clipped": float((light >= quality.CLIPPED_FROM).mean()),
            "side_light": quality.side_light(light),
            "sharpness": measured.sharpness,
            "size_px": measured.size_px,
            "yaw": abs(measured.yaw),
            "pitch": abs(measured.pitch),
            "covered": pipeline.cover_detector.covered(pixels, face),
            "eyes": eye_opening(pipeline.landmarker.locate(pixels, face)),
        },
        genuine=float(vector @ template),
        impostors=others @ vector,
    )


def _vector(pipeline: Pipeline, path: Path) -> NDArray[np.float32] | None:
    pixels = _read(path)
    faces = pipeline.detector.detect(pixels)
    if not faces:
        return None
    crop = pipeline.embedder.crop(pixels, nearest_the_middle(faces, pixels))
    return np.asarray(pipeline.embedder.embed(crop).vector)


def _read(path: Path) -> Pixels:
    return decode_image(path.read_bytes(), name=path.name)


def _clip(pixels: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)


def kinds_table(seen: Sequence[Seen], threshold: float) -> str:
    """Say for each kind of change what a login without any gate would make of it."""
    lines = []
    for kind in dict.fromkeys(one.worse for one in seen):
        these = [one for one in seen if one.worse == kind]
        lines.append(
            [
                kind or "as they are",
                f"{len(these)}",
                _rate(sum(not one.genuine >= threshold for one in these), len(these)),
                f"{sum(int((one.impostors >= threshold).sum()) for one in these)}"
                f" of {sum(len(one.impostors) for one in these)}",
            ]
        )
    return report.table(["without any gate", "faces", "FNMR", "false matches"], lines)


def _rate(count: int, total: int) -> str:
    if not total:
        return "-"
    low, high = wilson(count, total)
    return f"{100 * count / total:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gates", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--people", type=int, default=60, help="people to enrol")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--plot", type=Path, help="PNG to write; needs matplotlib")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
