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

SCALES: Final = (2.0, 1.0)
SIDE: Final = 112
LIVE: Final = "live"
REAL_PRINT: Final = "real print"
WEIGHTS: Final = {"print": 0.3, "cut_out": 0.1, "screen": 0.3, "screen_close": 0.3}


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


def ordered(pictures: Sequence[Picture], *, seed: int, size: float = 1.0) -> list[Order]:
    """Say what is made from each picture: as many attacks as live faces, from the same pictures.

    Args:
        size: 1 for an attack from every picture; less for fewer, more for more.
    """
    orders = []
    for index, picture in enumerate(pictures):
        random = _random(picture, seed, 99)
        if not picture.live:
            orders.append(Order(index, REAL_PRINT, raw=True, turn=0))
            if random.random() < size / 2:
                orders.append(Order(index, REAL_PRINT, raw=False, turn=1))
            continue
        orders.append(Order(index, LIVE, raw=True, turn=0))
        attacks = int(size + random.random())
        if attacks:
            orders.append(Order(index, LIVE, raw=False, turn=1))
        species = random.choice(list(WEIGHTS), attacks, p=list(WEIGHTS.values()))
        orders += [
            Order(index, str(one), raw=False, turn=2 + turn) for turn, one in enumerate(species)
        ]
    return orders


def make(
    pictures: Sequence[Picture], orders: Sequence[Order], data: Path, *, seed: int, processes: int
) -> NDArray[np.uint8]:
    """Return the squares of every order, (N, 2, SIDE, SIDE, 3)."""
    made = np.empty((len(orders), len(SCALES), SIDE, SIDE, 3), np.uint8)
    context = multiprocessing.get_context("fork")
    with context.Pool(processes, _begin, (pictures, data, seed)) as pool:
        for index, squares in enumerate(pool.imap(_squares, orders, 32)):
            made[index] = squares
            if index % 1000 == 0:
                print(f"making samples: {index} of {len(orders)}", file=sys.stderr, flush=True)
    return made


_of_process: dict[str, tuple[Sequence[Picture], Path, int]] = {}


def _begin(pictures: Sequence[Picture], data: Path, seed: int) -> None:
    cv2.setNumThreads(1)
    _of_process["work"] = (pictures, data, seed)


def _squares(order: Order) -> NDArray[np.uint8]:
    pictures, data, seed = _of_process["work"]
    picture = pictures[order.picture]
    scene = scene_of(picture, order, pictures, data, _random(picture, seed, order.turn))
    return np.stack(cut_squares(scene.pixels, scene.box, scales=SCALES, side=SIDE))


def scene_of(
    picture: Picture,
    order: Order,
    others: Sequence[Picture],
    data: Path,
    random: np.random.Generator,
) -> scenes.Scene:
    """Return the frame of an order. What is behind an attack comes from one of `others`."""
    pixels = picture.pixels(data)
    if order.raw:
        jitter = random.normal(0, 0.02, 4) * float(picture.box[2] - picture.box[0])
        return scenes.Scene(pixels, (picture.box + jitter).astype(np.float32))
    if order.species in (LIVE, REAL_PRINT):
        return scenes.live(pixels, picture.box, random)
    # Of LFW alone: a fold of NUAA must not see the people that it leaves out, not even behind.
    backgrounds = [one for one in others if one.source == "lfw"]
    around = backgrounds[int(random.integers(len(backgrounds)))].pixels(data)
    return scenes.attack(pixels, picture.box, order.species, around, random)


def _random(picture: Picture, seed: int, turn: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(picture.path.encode()), turn])
