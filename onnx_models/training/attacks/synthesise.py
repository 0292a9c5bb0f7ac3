"""Write live frames and attacks made from people that training never saw, to measure with.

    python onnx_models/training/attacks/synthesise.py --data ../shared/data --out attacks

One folder for each species and for live frames, one file for each person. They show faces of
research data: they must not be given on.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

import cv2
import numpy as np
import scenes
from samples import LIVE
from sources import pictures

SEED = 20261125  # another than that of training


def main() -> None:
    """Write every frame."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--faces", type=Path, default=Path("faces.npz"), help="keeps found faces")
    parser.add_argument("--people", type=int, help="the first so many; else all")
    parser.add_argument("--source", choices=("lfw", "orl"), default="lfw")
    options = parser.parse_args()
    held_out = [
        one
        for one in pictures(options.data, options.faces)
        if one.held_out and one.source == options.source
    ]
    first = list({one.person: one for one in reversed(held_out)}.values())
    for picture in first[: options.people]:
        pixels = picture.pixels(options.data)
        for species in (LIVE, *scenes.SPECIES):
            name = zlib.crc32(f"{species} {picture.path}".encode())
            random = np.random.default_rng([SEED, name])
            around = first[int(random.integers(len(first)))].pixels(options.data)
            if species == LIVE:
                scene = scenes.live(pixels, picture.box, around, random)
            else:
                scene = scenes.attack(pixels, picture.box, species, around, random)
            folder = options.out / species / picture.person
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / "frame.png"), scene.pixels[:, :, ::-1])


if __name__ == "__main__":
    main()
