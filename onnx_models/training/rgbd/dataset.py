"""Aligned RGB-D crops of rendered people, cut by what cuts them at a login.

python -m onnx_models.training.rgbd.dataset --people 800 --sessions 16 --first 0 --out train.npz
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from onnx_models.training.rgbd.head import HeadModel, load
from onnx_models.training.rgbd.scene import Person, Shot
from pam_faceid.adapters.models.rgbd_crop import rgbd_crop

SEED: Final = 1
SIDE: Final = 64
# A detector's points are not where the mesh has them: standard deviation as a share of the distance
# between the eyes. MTCNN's differ by 3 to 4 % from those that people mark.
POINT_ERROR: Final = 0.035


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """Crops of several people.

    Args:
        crops: (N, SIDE, SIDE, 4) uint8.
        person, session: (N,) who, and on which day. No two crops share both.
        yaw: (N,) degrees.
        sensor: (N,) names of depth cameras.
    """

    crops: NDArray[np.uint8] = field(repr=False)
    person: NDArray[np.int32] = field(repr=False)
    session: NDArray[np.int32] = field(repr=False)
    yaw: NDArray[np.float32] = field(repr=False)
    sensor: NDArray[np.str_] = field(repr=False)

    def save(self, path: Path) -> None:
        """Write them as .npz."""
        arrays = {name: getattr(self, name) for name in self.__slots__}
        np.savez(path, **arrays)


def read(path: Path) -> Crops:
    """Read what `Crops.save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Crops(**{name: arrays[name] for name in Crops.__slots__})


def jittered(shot: Shot, *, seed: int) -> NDArray[np.float32]:
    """Return the shot's (5, 2) points with a detector's error, the same at each call."""
    rng = np.random.default_rng((seed, round(shot.distance_mm * 1e3), round(abs(shot.yaw) * 1e6)))
    apart = float(np.linalg.norm(shot.points[1] - shot.points[0]))
    error = rng.normal(0.0, POINT_ERROR * apart, (5, 2))
    return (shot.points + error).astype(np.float32)


def crop_of(shot: Shot, *, seed: int) -> NDArray[np.uint8]:
    """Return (SIDE, SIDE, 4) uint8."""
    return rgbd_crop(shot.pixels, shot.depth_mm, jittered(shot, seed=seed), side=SIDE)


@cache
def _model(path: Path) -> HeadModel:
    return load(path)


def _of_person(
    path: Path, seed: int, number: int, sessions: int
) -> tuple[NDArray[np.uint8], list[float], list[str]]:
    person = Person(_model(path), seed=seed, number=number)
    shots = [person.shot(session) for session in range(sessions)]
    crops = np.stack([crop_of(shot, seed=seed) for shot in shots])
    return crops, [shot.yaw for shot in shots], [shot.sensor for shot in shots]


def render(path: Path, *, seed: int, people: range, sessions: int, workers: int = 2) -> Crops:
    """Render people.

    Args:
        path: `ict_facekit_compact.npz`.
        seed: Of everything.
        people: Their numbers; another number is another person.
        sessions: Of each.
        workers: Processes. The result does not depend on it.
    """
    began = time.monotonic()
    crops: list[NDArray[np.uint8]] = []
    yaw: list[float] = []
    sensor: list[str] = []
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(_of_person, path, seed, number, sessions) for number in people]
        for done, job in enumerate(jobs, 1):
            made = job.result()
            crops.append(made[0])
            yaw += made[1]
            sensor += made[2]
            if done % 50 == 0:
                took = time.monotonic() - began
                print(f"{done} of {len(people)} people, {took:.0f} s", file=sys.stderr, flush=True)
    return Crops(
        crops=np.concatenate(crops),
        person=np.repeat(np.array(people, np.int32), sessions),
        session=np.tile(np.arange(sessions, dtype=np.int32), len(people)),
        yaw=np.array(yaw, np.float32),
        sensor=np.array(sensor),
    )


def main() -> None:
    """Render crops into a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mesh", type=Path, default=MESH)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--people", type=int, default=800)
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    people = range(options.first, options.first + options.people)
    made = render(
        options.mesh,
        seed=options.seed,
        people=people,
        sessions=options.sessions,
        workers=options.workers,
    )
    made.save(options.out)


MESH: Final = Path("../shared/data/ict_facekit/ict_facekit_compact.npz")

if __name__ == "__main__":
    main()
