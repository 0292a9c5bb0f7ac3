"""Strangers made from the people of a data set: a mean under noise, and a spread."""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.manifest import ModelSpec, load_manifest, model_id
from pam_faceid.core.cohort import Cohort

# What one person can move the mean of N by, 2 / N, is a tenth of the noise: in the words of
# Gaussian differential privacy (Dong, Roth, Su 2019) mu is 0.1, and no test of who was averaged,
# however well it knows the others, has an area under its curve above 0.529.
PRIVACY: Final = 0.1
CLEARLY: Final = 3.0  # standard deviations by which a mean must be longer than noise alone
DIGITS: Final = 5
FITTED: Final = (1.1e-3, 0.9e-5)  # below, the thresholds are set by mistaken labels
SPREADS: Final = (0.03, 0.3)  # what is looked for lies between
NARROWINGS: Final = 30

Vectors = NDArray[np.float32]
Numbers = NDArray[np.float64]


def cohort_of(
    people: Mapping[str, Vectors],
    spec: ModelSpec,
    *,
    factor: float,
    seed: int,
    date: datetime.date,
) -> Cohort:
    """Make the cohort of an embedder: a mean that tells of nobody, a spread from the calibration.

    Args:
        people: One vector of each is averaged, so that nobody weighs more for many pictures.
        spec: With a calibration of one image against one. It is published; nothing else of people
            goes in.
        factor: To be stated.

    Raises:
        ValueError: The embedder was never calibrated.
    """
    if spec.calibration is None:
        raise ValueError(f"{spec.name} has no calibration: run benchmarks.calibrate")
    first = np.stack([vectors[0] for vectors in people.values()]).astype(np.float64)
    # From the system and never from a seed: whoever knows the seed takes the noise off again.
    mean, noise = hidden_mean(first, np.random.default_rng())
    points = [(p.fmr, p.threshold) for p in spec.calibration.points]
    return Cohort(
        model_id=model_id(spec),
        dimensions=first.shape[1],
        mean=tuple(round(float(number), DIGITS) for number in mean) if mean.any() else (),
        spread=round(spread_of(mean, points, seed=seed), DIGITS),
        factor=factor,
        noise=round(noise, DIGITS) if mean.any() else 0.0,
        people=len(first),
        data="LFW deep-funneled, development split: one image of each person",
        date=date.isoformat(),
    )


def hidden_mean(first: Numbers, generator: np.random.Generator) -> tuple[Numbers, float]:
    """Return the mean of (N, D) unit vectors with noise, shrunk by what the noise made it longer.

    Where noise is all that there is, nothing is left.
    """
    people, dimensions = first.shape
    noise = 2.0 / people / PRIVACY
    mean = first.mean(axis=0) + generator.normal(scale=noise, size=dimensions)
    expected = dimensions * noise**2
    if not mean @ mean > expected * (1.0 + CLEARLY * math.sqrt(2.0 / dimensions)):
        return np.zeros(dimensions), noise
    return (1.0 - expected / float(mean @ mean)) * mean, noise  # James and Stein 1961


def spread_of(mean: Numbers, points: Sequence[tuple[float, float]], *, seed: int) -> float:
    """Return the spread with which made-up strangers match each other as often as real ones.

    Args:
        points: False match rate and threshold of one image against one; those of the tail count.
    """
    points = [(rate, threshold) for rate, threshold in points if FITTED[1] <= rate <= FITTED[0]]
    wanted = np.log([rate for rate, _ in points])
    drawn = np.random.default_rng(seed).normal(size=(1_000, len(mean)))

    def miss(spread: float) -> float:
        templates = unit(mean + spread * drawn) @ mean
        rates = [beyond((t - templates) / spread).mean() for _, t in points]
        return float(np.square(np.log(np.maximum(rates, 1e-300)) - wanted).sum())

    low, high = SPREADS
    for _ in range(NARROWINGS):  # the miss falls and then rises
        third = (high - low) / 3
        low, high = (
            (low, high - third) if miss(low + third) < miss(high - third) else (low + third, high)
        )
    return (low + high) / 2


def write(directory: Path, name: str, cohort: Cohort) -> None:
    """Write a cohort beside its embedder, and its hash into the manifest."""
    content = msgspec.json.format(msgspec.json.encode(cohort), indent=1) + b"\n"
    file = f"{name}.cohort.json"
    (directory / file).write_bytes(content)
    path = directory / "manifest.toml"
    text = with_cohort(path.read_text(encoding="utf-8"), name, file, content)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    load_manifest(directory)


def with_cohort(text: str, name: str, file: str, content: bytes) -> str:
    """Return a manifest's text with the cohort of one model put in or replaced.

    Raises:
        ValueError: The manifest has no such model, or it has no calibration.
    """
    head, *models = re.split(r"^(?=\[\[model\]\]$)", text, flags=re.MULTILINE)
    table = f'[model.cohort]\nfile = "{file}"\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    for index, model in enumerate(models):
        if re.search(rf'^name = "{re.escape(name)}"$', model, flags=re.MULTILINE):
            bare = re.sub(r"^\[model\.cohort\]\n(?:.+\n)*\n", "", model, flags=re.MULTILINE)
            before, found, after = bare.partition("[model.calibration]\n")
            if not found:
                raise ValueError(f"{name} has no calibration: run benchmarks.calibrate")
            models[index] = f"{before}{table}\n{found}{after}"
            return head + "".join(models)
    raise ValueError(f"the manifest has no model {name!r}")


def points_of(first: Numbers) -> list[tuple[float, float]]:
    """Return false match rates and thresholds of all pairs of (N, D) vectors."""
    scores = np.sort((first @ first.T)[np.triu_indices(len(first), k=1)])[::-1]
    rates = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
    return [(r, float(scores[int(r * len(scores))])) for r in rates if r * len(scores) >= 10]


def beyond(quantiles: Numbers) -> Numbers:
    """Return the share of a standard normal law at or above each quantile."""
    flat = [0.5 * math.erfc(q / math.sqrt(2.0)) for q in np.ravel(quantiles)]
    return np.reshape(np.array(flat), np.shape(quantiles))


def unit(vectors: Numbers) -> Numbers:
    """Return (..., D) vectors, each as long as one."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
