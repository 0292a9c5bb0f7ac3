"""`python -m benchmarks.mean_face`: the mean of many people's embeddings, for a recipe.

What all faces have in common tells nobody apart. The mirrored embedder measures from this mean,
which is over one image each of everybody, so that nobody weighs more for being photographed often.
A mean over thousands of people shows none of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.extraction import SHIPPED_MODELS, Sample, extract, load_pipeline, of_mirror_images
from benchmarks.lfw import every_image, person
from pam_faceid.core.errors import FaceIdError

DIGITS = 7


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        pipeline = load_pipeline(options.models, options.embedder)
        names = every_image(options.images)
        faces = extract(options.images, names, pipeline, cache=options.cache)
        mirrors = extract(options.images, names, of_mirror_images(pipeline), cache=options.cache)
        mean = mean_of_people(mirrored(faces, mirrors))
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.mean_face: {error}", file=sys.stderr)
        return 2
    numbers = ",\n".join(f"  {round(float(number), DIGITS)}" for number in mean)
    options.out.write_text(f"[\n{numbers}\n]\n", encoding="utf-8")
    return 0


def read_mean(path: Path) -> NDArray[np.float32]:
    """Read what this command wrote."""
    return np.array(json.loads(path.read_text(encoding="utf-8")), dtype=np.float32)


def mirrored(
    faces: Mapping[str, Sample], mirrors: Mapping[str, Sample]
) -> dict[str, NDArray[np.float32]]:
    """Return the mean of the embeddings of each face and its mirror image, of unit length."""
    found = {}
    for image, sample in faces.items():
        other = mirrors[image].vector
        if sample.vector is not None and other is not None:
            found[image] = unit(sample.vector + other)
    return found


def mean_of_people(vectors: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the (D,) mean over the first image of everybody.

    Raises:
        ValueError: There is nobody.
    """
    first: dict[str, NDArray[np.float32]] = {}
    for image, vector in sorted(vectors.items()):
        first.setdefault(person(image), vector)
    if not first:
        raise ValueError("no image shows a face")
    return np.asarray(np.mean(list(first.values()), axis=0), dtype=np.float32)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (..., D) vectors made one long."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float32)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mean_face", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    parser.add_argument("--embedder", default="sface", help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
