"""Rendered people for what needs depth: their crops, and what embedders make of them."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.extraction import SHIPPED_MODELS
from onnx_models.training.rgbd.dataset import SEED, SIDE, crop_of, jittered
from onnx_models.training.rgbd.head import HeadModel, load
from onnx_models.training.rgbd.scene import Person
from pam_faceid.adapters.models.embedder import OnnxEmbedder
from pam_faceid.adapters.models.manifest import ModelSpec, load_manifest, read_model
from pam_faceid.adapters.models.rgbd_embedder import RgbdEmbedder
from pam_faceid.core.types import Face

SIAMESE: Final = "rgbd-siamese"
BESIDE: Final = "sface_mirrored"
# The network was trained on 0 to 999 and watched on 100,000 on; nobody is of two of these.
TUNED_ON: Final = 100_000
MEASURED_ON: Final = 200_000
CALIBRATED_ON: Final = 300_000

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """Pictures of several people.

    Args:
        crops: (N, SIDE, SIDE, 4) uint8.
        beside: (N, D) float32, what `BESIDE` makes of the colours.
        person: (N,) int32, who.
    """

    crops: NDArray[np.uint8] = field(repr=False)
    beside: Vectors = field(repr=False)
    person: NDArray[np.int32] = field(repr=False)


@cache
def _mesh(path: Path) -> HeadModel:
    return load(path)


@cache
def _beside(models: Path) -> OnnxEmbedder:
    spec = load_manifest(models).find(BESIDE)
    return OnnxEmbedder(spec, read_model(spec), threads=1, optimise=True)


def of_person(
    number: int, *, mesh: Path, models: Path, sessions: int
) -> tuple[NDArray[np.uint8], Vectors]:
    """Return (sessions, SIDE, SIDE, 4) crops of one person, and the vectors of `BESIDE`."""
    person = Person(_mesh(mesh), seed=SEED, number=number)
    crops, vectors = [], []
    for session in range(sessions):
        shot = person.shot(session)
        crops.append(crop_of(shot, seed=SEED))
        face = Face(np.zeros(4, np.float32), jittered(shot, seed=SEED), 1.0)
        embedder = _beside(models)
        vectors.append(np.asarray(embedder.embed(embedder.crop(shot.pixels, face)).vector))
    return np.stack(crops), np.stack(vectors)


def options_of(parser: argparse.ArgumentParser, *, first: int, people: int) -> None:
    """Add what says whom to render."""
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS)
    parser.add_argument("--first", type=int, default=first, help="number of the first person")
    parser.add_argument("--people", type=int, default=people)
    parser.add_argument("--sessions", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", help="keep what was rendered in this .npz")


def rendered(options: argparse.Namespace) -> Rendered:
    """Render the people of `options_of`, or read them from the cache.

    Raises:
        ValueError: The cache holds crops of another size.
    """
    kept = options.cache and Path(options.cache)
    if kept and kept.exists():
        with np.load(kept, allow_pickle=False) as arrays:
            found = Rendered(**{name: arrays[name] for name in Rendered.__slots__})
        if found.crops.shape[1] != SIDE:
            raise ValueError(f"{kept} has crops of {found.crops.shape[1]} px, not {SIDE}")
        return found
    mesh = options.data / "ict_facekit/ict_facekit_compact.npz"
    job = partial(of_person, mesh=mesh, models=options.models, sessions=options.sessions)
    numbers = range(options.first, options.first + options.people)
    began = time.monotonic()
    crops, beside = [], []
    with ProcessPoolExecutor(options.workers) as pool:
        for done, (some, vectors) in enumerate(pool.map(job, numbers), 1):
            crops.append(some)
            beside.append(vectors)
            if done % 25 == 0:
                took = time.monotonic() - began
                print(f"{done} people rendered, {took:.0f} s", file=sys.stderr, flush=True)
    person = np.repeat(np.arange(options.people, dtype=np.int32), options.sessions)
    made = Rendered(np.concatenate(crops), np.concatenate(beside), person)
    if kept:
        np.savez(kept, crops=made.crops, beside=made.beside, person=made.person)
    return made


def siamese_vectors(models: Path, crops: NDArray[np.uint8]) -> Vectors:
    """Return (N, 128) of (N, SIDE, SIDE, 4)."""
    spec = load_manifest(models).find(SIAMESE)
    embedder = RgbdEmbedder(spec, read_model(spec), threads=1, optimise=True)
    return np.stack([np.asarray(embedder.embed_relief(crop).vector) for crop in crops])


def joined(spec: ModelSpec, solid: Vectors, beside: Vectors) -> Vectors:
    """Return what a login compares: the siamese network's vectors, or both side by side.

    As `JoinedEmbedder`.

    Args:
        spec: Of an embedder that needs depth.
        solid, beside: (N, 128) and (N, D) of unit length.
    """
    if spec.joined is None:
        return solid
    parts = np.sqrt(1.0 - spec.joined.weight), np.sqrt(spec.joined.weight)
    return np.concatenate([solid * parts[0], beside * parts[1]], axis=1).astype(np.float32)
