"""`python -m benchmarks.spread`: how the embeddings of many people spread, for the matcher "fused".

Mean and covariance over one image each of everybody, written beside the embedder with numbers of
two bytes, with the hash in its manifest. `benchmarks.calibrate` and `benchmarks.evidence` come
after it. Neither mean nor covariance of thousands of people shows one of them.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.calibrate import with_table
from benchmarks.extraction import SHIPPED_MODELS, extract, load_pipeline
from benchmarks.frames import one_image_each
from benchmarks.lfw import every_image
from pam_faceid.adapters.models.manifest import MANIFEST, load_manifest
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.fused import Spread


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        manifest = load_manifest(options.models)
        names = options.embedder or [s.name for s in manifest.model if s.kind == "embedder"]
        for name in names:
            pipeline = load_pipeline(options.models, name)
            images = every_image(options.images)
            samples = extract(options.images, images, pipeline, cache=options.cache)
            spread = spread_of(one_image_each(samples), date=options.date)
            write(options.models, name, spread)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.spread: {error}", file=sys.stderr)
        return 2
    return 0


def spread_of(vectors: np.ndarray, *, date: datetime.date) -> Spread:
    """Return mean and covariance of (N, D) unit vectors, one of each person."""
    many = vectors.astype(np.float64)
    size = many.shape[1]
    mean = many.mean(axis=0)
    covariance = np.cov(many.T)
    off = many - mean
    spreads = np.sqrt(((off @ covariance) * off).sum(axis=1))
    return Spread(
        data="LFW deep-funneled, development split: the first image of everybody",
        date=date.isoformat(),
        people=len(many),
        mean=_packed(mean),
        covariance=_packed((covariance * size)[np.tril_indices(size)]),
        usual=round(float(np.exp(np.log(spreads).mean())), 5),
    )


def write(directory: Path, name: str, spread: Spread) -> None:
    """Write a spread beside its embedder, and its hash into the manifest."""
    content = msgspec.json.format(msgspec.json.encode(spread), indent=1) + b"\n"
    file = f"{name}.spread.json"
    (directory / file).write_bytes(content)
    path = directory / MANIFEST
    table = f'[model.spread]\nfile = "{file}"\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    text = with_table(path.read_text(encoding="utf-8"), name, table, table="spread")
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    load_manifest(directory)


def _packed(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.astype("<f2").tobytes()).decode()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.spread", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    parser.add_argument("--embedder", action="append", help="default: every one of the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--date", type=datetime.date.fromisoformat, default=datetime.date.today())
    return parser


if __name__ == "__main__":
    sys.exit(main())
