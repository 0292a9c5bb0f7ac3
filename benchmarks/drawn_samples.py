"""Embeddings of faces with something drawn on, kept for the next run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.adaptation_trial import FEWEST_DRAWN, Vectors, by_person
from benchmarks.drawn_looks import LOOKS
from benchmarks.extraction import Pipeline, nearest_the_middle
from pam_faceid.adapters.cameras.images import decode_image

MOST_DRAWN: Final = 14  # images of one person that are drawn on


def drawn_vectors(
    images: Path, plain: Mapping[str, Vectors], pipeline: Pipeline, *, cache: Path | None
) -> dict[tuple[str, str], Vectors]:
    """Return the embedding of each look drawn on images of people who have enough of them.

    Args:
        cache: A folder to keep them in, as `extraction.extract` does.
    """
    kept: dict[tuple[str, str], Vectors] = {}
    path = None if cache is None else cache / f"adaptation-{pipeline.fingerprint}.npz"
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as stored:
            keys = zip(stored["looks"].tolist(), stored["images"].tolist(), strict=True)
            kept = dict(zip(keys, stored["vectors"], strict=True))
    wanted = [
        name
        for own in by_person(plain).values()
        if len(own) >= FEWEST_DRAWN
        for name in own[:MOST_DRAWN]
    ]
    missing = [name for name in wanted if not any((look, name) in kept for look in LOOKS)]
    for name in report.progress(missing, label="drawing") if missing else ():
        pixels = decode_image((images / name).read_bytes(), name=name)
        points = nearest_the_middle(pipeline.detector.detect(pixels), pixels).points
        for look, draw in LOOKS.items():
            vector = embedding_of(draw(pixels, points), pipeline)
            if vector is not None:
                kept[look, name] = vector
    if missing and path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        np.savez(
            path,
            looks=np.array([look for look, _ in kept]),
            images=np.array([name for _, name in kept]),
            vectors=np.stack(list(kept.values())),
        )
    return kept


def embedding_of(pixels: NDArray[np.uint8], pipeline: Pipeline) -> Vectors | None:
    """Return the embedding of the face nearest the middle; None where there is none."""
    faces = pipeline.detector.detect(pixels)
    if not faces:
        return None
    crop = pipeline.embedder.crop(pixels, nearest_the_middle(faces, pixels))
    return np.asarray(pipeline.embedder.embed(crop).vector, np.float32)
