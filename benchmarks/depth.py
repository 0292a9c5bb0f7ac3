"""`python -m benchmarks.depth`: what depth tells of a face, of paper, and of a mannequin.

Faces and sheets are rendered by `onnx_models/training/rgbd`, with the noise of each depth camera;
the thresholds were set on other people and sheets (`--design`). Real depth, where it is there, is
only looked at: whether it is within what was rendered.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.depth_data import Named, real_frames, texture_opinion
from onnx_models.training.rgbd.head import HeadModel, load
from onnx_models.training.rgbd.raster import Pinhole
from onnx_models.training.rgbd.scene import FOCAL_PX, Person
from onnx_models.training.rgbd.sensors import SENSORS
from onnx_models.training.rgbd.sheets import SPECIES, Species, sheet_shot
from pam_faceid.core.depth import DepthEvidence, DepthLimits, measure, refusal
from pam_faceid.core.depth_frames import DepthFrame, DepthKind, DepthNoise, Intrinsics
from pam_faceid.core.error_rates import Interval, wilson
from pam_faceid.core.types import Face, Frame

SEED: Final = 5
DESIGN_SEED: Final = 9
FIRST_PERSON: Final = 500_000  # nobody that the siamese network was trained or measured on
NEAREST_MM: Final = 300.0
FARTHEST_MM: Final = 1200.0
POINT_ERROR: Final = 0.03  # of a detector, as a share of the distance between the eyes
PRINTED_MM: Final = (55.0, 72.0)  # between the eyes: what is printed smaller or larger has its size
OTHERS: Final = 8  # sheets of a species without a target are so much fewer
Shown = tuple[str, str, DepthEvidence | None]  # what, the depth camera, what it shows
TARGET: Final[dict[str, float]] = {"face": 0.01, "plane": 0.001, "cylinder": 0.001}


@dataclass(frozen=True, slots=True)
class Rate:
    """How often one kind of thing was refused.

    Args:
        what: "face" or a species of sheet.
        sensor: Name of the depth camera, or "all".
        frames: Shown.
        refused: Refused.
        errors: Faces refused, or sheets not refused.
        rate: Of errors.
        between: 95 % interval, Wilson.
    """

    what: str
    sensor: str
    frames: int
    refused: int
    errors: int
    rate: float
    between: Interval


def noise_of(sensor: str) -> DepthNoise:
    """Return the noise that a rendered camera's frames come with."""
    made = SENSORS[sensor]
    error = made.error_at(np.array(1000.0, np.float32), focal_px=FOCAL_PX)
    return DepthNoise(DepthKind(made.kind), float(error))


def evidence_of(
    depth: NDArray[np.uint16], camera: Pinhole, points: NDArray[np.float32], sensor: str
) -> DepthEvidence | None:
    """Measure a rendered frame as a login would."""
    lens = Intrinsics(
        width=camera.width,
        height=camera.height,
        focal_x=camera.focal_px,
        focal_y=camera.focal_px,
        centre_x=camera.centre_x,
        centre_y=camera.centre_y,
    )
    blank = Frame(np.zeros((1, 1, 3), np.uint8), 0.0)
    frame = DepthFrame(blank, depth, lens, noise_of(sensor), 0.0)
    return measure(frame, Face(np.zeros(4, np.float32), points, 1.0))


@cache
def _model(mesh: Path) -> HeadModel:
    return load(mesh)


def of_face(number: int, *, mesh: Path, seed: int) -> Shown:
    """Return what depth shows of one person on one day."""
    rng = np.random.default_rng((seed, 0, number))
    sensor = list(SENSORS)[number % len(SENSORS)]
    person = Person(_model(mesh), seed=seed, number=FIRST_PERSON + number)
    distance = rng.uniform(NEAREST_MM, FARTHEST_MM)
    shot = person.shot(0, sensor=sensor, distance_mm=distance)
    points = _found(shot.points, rng)
    return "face", sensor, evidence_of(shot.depth_mm, shot.camera, points, sensor)


def of_sheet(number: int, *, species: Species, seed: int) -> Shown:
    """Return what depth shows of one printed face."""
    rng = np.random.default_rng((seed, 1 + SPECIES.index(species), number))
    sensor = list(SENSORS)[number % len(SENSORS)]
    shot = sheet_shot(
        species,
        sensor=sensor,
        distance_mm=rng.uniform(NEAREST_MM, FARTHEST_MM),
        eyes_apart_mm=rng.uniform(*PRINTED_MM),
        rng=rng,
    )
    points = _found(shot.points, rng)
    return species, sensor, evidence_of(shot.depth_mm, shot.camera, points, sensor)


def rates(measured: Sequence[Shown], limits: DepthLimits) -> Iterator[Rate]:
    """Yield the errors of each kind of thing, over all cameras and for each."""
    kinds = list(dict.fromkeys(what for what, _, _ in measured))
    for what in kinds:
        for sensor in ("all", *SENSORS):
            these = [
                refusal(evidence, limits) is not None
                for kind, camera, evidence in measured
                if kind == what and sensor in ("all", camera)
            ]
            errors = sum(these) if what == "face" else len(these) - sum(these)
            share = errors / len(these) if these else float("nan")
            yield Rate(
                what, sensor, len(these), sum(these), errors, share, wilson(errors, len(these))
            )


def _found(points: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    apart = float(np.linalg.norm(points[1] - points[0]))
    return (points + rng.normal(0.0, POINT_ERROR * apart, (5, 2))).astype(np.float32)


def _table(found: Sequence[Rate]) -> str:
    rows = []
    for rate in found:
        target = TARGET.get(rate.what)
        rows.append(
            [
                "BPCER of faces" if rate.what == "face" else f"APCER of {rate.what}",
                rate.sensor,
                str(rate.frames),
                str(rate.errors),
                f"{rate.rate:.2%}",
                f"{rate.between.low:.2%} to {rate.between.high:.2%}",
                "" if target is None else f"<= {target:.1%}",
                "" if target is None else ("yes" if rate.rate <= target else "NO"),
            ]
        )
    header = ["measure", "camera", "frames", "errors", "rate", "95 %", "target", "reached"]
    return report.table(header, rows)


def _percentiles(measured: Sequence[Shown]) -> str:
    rows = []
    for what in dict.fromkeys(what for what, _, _ in measured):
        these = [e for kind, _, e in measured if kind == what and e is not None]
        for name in ("relief_mm", "nose_mm", "nose_to_sides_mm", "eyes_apart_mm", "known"):
            values = np.array([getattr(evidence, name) for evidence in these])
            cut = np.nanpercentile(values, [0.1, 1, 50, 99, 99.9])
            rows.append([what, name, *(f"{value:.2f}" for value in cut)])
    return report.table(["what", "measure", "0.1 %", "1 %", "median", "99 %", "99.9 %"], rows)


def _real_table(frames: Sequence[Named], limits: DepthLimits, models: Path) -> str:
    rows = []
    for named in frames:
        evidence = measure(named.frame, named.face)
        why = refusal(evidence, limits)
        numbers = ["-"] * 6
        if evidence is not None:
            numbers = [
                f"{evidence.distance_mm:.0f}",
                f"{evidence.known:.2f}",
                f"{evidence.eyes_apart_mm:.0f}",
                f"{evidence.relief_mm:.1f}",
                f"{evidence.nose_mm:.0f}",
                f"{evidence.nose_to_sides_mm:.0f}",
            ]
        live = texture_opinion(named, models)
        opinion = "-" if live is None else f"{live:.2f}"
        rows.append([named.name, *numbers, "passes" if why is None else why.value, opinion])
    header = ["real frame", "mm away", "known", "eyes", "relief", "nose", "nose to sides", "depth"]
    return report.table([*header, "MiniFASNet: live"], rows)


def _measured(options: argparse.Namespace) -> list[Shown]:
    """Render and measure everything but what an earlier run kept."""
    seed = DESIGN_SEED if options.design else SEED
    mesh = options.data / "ict_facekit/ict_facekit_compact.npz"
    measured = _kept(options.cache)
    done = {what for what, _, _ in measured}
    with ProcessPoolExecutor(options.workers) as pool:
        for what in ("face", *options.species):
            if what in done:
                continue
            print(what, file=sys.stderr, flush=True)
            if what == "face":
                count, job = options.faces, partial(of_face, mesh=mesh, seed=seed)
            else:
                count = options.sheets if what in TARGET else options.sheets // OTHERS
                job = partial(of_sheet, species=what, seed=seed)
            measured += pool.map(job, range(count), chunksize=10)
            if options.cache:
                rows = [(kind, sensor, e and asdict(e)) for kind, sensor, e in measured]
                options.cache.write_text(json.dumps(rows), encoding="utf-8")
    return measured


def _kept(cache: Path | None) -> list[Shown]:
    if cache is None or not cache.exists():
        return []
    return [
        (what, sensor, None if found is None else DepthEvidence(**found))
        for what, sensor, found in json.loads(cache.read_text(encoding="utf-8"))
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    data = Path("../shared/data")
    parser.add_argument("--data", type=Path, default=data, help="research data (%(default)s)")
    parser.add_argument("--faces", type=int, default=500, help="rendered (%(default)s)")
    parser.add_argument("--sheets", type=int, default=2000, help="of a species (%(default)s)")
    parser.add_argument("--species", nargs="*", choices=SPECIES, default=SPECIES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="keep what was measured in this .json")
    parser.add_argument(
        "--design", action="store_true", help="use the people and sheets of the thresholds"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    measured = _measured(options)
    limits = DepthLimits()
    found = list(rates(measured, limits))
    frames = list(real_frames(options.data))
    if options.json:
        json.dump([asdict(rate) for rate in found], sys.stdout, indent=2)
        return 0
    print(f"limits: {limits}\n")
    print(_table(found), end="\n\n")
    print(_percentiles(measured), end="\n\n")
    print(_real_table(frames, limits, options.data.parent / "models"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
