"""Everything that the network is shown, made once: two squares of a face and what they are.

Each sample draws from a generator of its own, seeded by the picture's name, so that neither order
nor number of processes matters.
"""

from __future__ import annotations

import multiprocessing
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import scenes
from numpy.typing import NDArray
from sources import Picture

from pam_faceid.adapters.models.attack_detector import cut_squares

SCALES: Final = (2.7, 1.1)
SIDE: Final = 80
LIVE: Final = "live"
REAL_PRINT: Final = "real print"
WEIGHTS: Final = {"print": 0.3, "cut_out": 0.1, "screen": 0.4, "screen_close": 0.2}
LIVES: Final = 0.7  # drawn live faces for each drawn attack; the other live ones are raw


@dataclass(frozen=True, slots=True)
class Order:
    """One sample to make.

    Args:
        picture: Index of what it is made from.
        species: `LIVE`, `REAL_PRINT`, or one of `scenes.SPECIES`.
        raw: Whether the picture is cut as it is, through no camera model.
        turn: Tells samples of one picture apart.
    """

    picture: int
    species: str
    raw: bool
    turn: int


def ordered(pictures: Sequence[Picture], *, seed: int, size: float) -> list[Order]:
    """Say what is made from each picture: live faces and attacks from the same pictures.

    Args:
        size: Drawn attacks from each picture, on average.
    """
    orders = []
    for index, picture in enumerate(pictures):
        random = _random(picture, seed, 0)
        attacks, lives = (int(share * size + random.random()) for share in (1, LIVES))
        species = LIVE if picture.live else REAL_PRINT
        orders.append(Order(index, species, raw=True, turn=1))
        orders += [Order(index, species, raw=False, turn=2 + turn) for turn in range(lives)]
        if picture.live:
            drawn = random.choice(list(WEIGHTS), attacks, p=list(WEIGHTS.values()))
            orders += [
                Order(index, str(one), raw=False, turn=2 + lives + turn)
                for turn, one in enumerate(drawn)
            ]
    return orders


def make(
    pictures: Sequence[Picture],
    orders: Sequence[Order],
    data: Path,
    *,
    seed: int,
    processes: int,
    scales: tuple[float, ...] = SCALES,
    side: int = SIDE,
) -> NDArray[np.uint8]:
    """Return the squares of every order, (N, len(scales), side, side, 3)."""
    made = np.empty((len(orders), len(scales), side, side, 3), np.uint8)
    context = multiprocessing.get_context("fork")
    with context.Pool(processes, _begin, (pictures, data, seed, scales, side)) as pool:
        for index, squares in enumerate(pool.imap(_squares, orders, 32)):
            made[index] = squares
            if index % 1000 == 0:
                print(f"making samples: {index} of {len(orders)}", file=sys.stderr, flush=True)
    return made


_Work = tuple[Sequence[Picture], Path, int, tuple[float, ...], int]
_of_process: dict[str, _Work] = {}


def _begin(
    pictures: Sequence[Picture], data: Path, seed: int, scales: tuple[float, ...], side: int
) -> None:
    cv2.setNumThreads(1)
    _of_process["work"] = (pictures, data, seed, scales, side)


def _squares(order: Order) -> NDArray[np.uint8]:
    pictures, data, seed, scales, side = _of_process["work"]
    picture = pictures[order.picture]
    scene = scene_of(picture, order, pictures, data, _random(picture, seed, order.turn))
    return np.stack(cut_squares(scene.pixels, scene.box, scales=scales, sides=[side] * len(scales)))


def scene_of(
    picture: Picture,
    order: Order,
    others: Sequence[Picture],
    data: Path,
    random: np.random.Generator,
) -> scenes.Scene:
    """Return the frame of an order. What else is in it comes from one of `others`."""
    pixels = picture.pixels(data)
    if order.raw:
        jitter = random.normal(0, 0.02, 4) * float(picture.box[2] - picture.box[0])
        return scenes.Scene(pixels, (picture.box + jitter).astype(np.float32))
    # Of LFW alone: a fold of NUAA must not see the people that it leaves out, not even behind.
    backgrounds = [one for one in others if one.source == "lfw"]
    around = backgrounds[int(random.integers(len(backgrounds)))].pixels(data)
    if order.species in (LIVE, REAL_PRINT):
        return scenes.live(pixels, picture.box, around, random)
    return scenes.attack(pixels, picture.box, order.species, around, random)


def _random(picture: Picture, seed: int, turn: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(picture.path.encode()), turn])
