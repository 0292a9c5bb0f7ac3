"""What colour a person is, from pigments.

Reflectance in three bands (610, 545, 460 nm) of a thin epidermis with melanin over a dermis with
blood. Figures: melanosomes absorb 6.6e11 * nm**-3.33 per cm; 1.3 to 43 % of an epidermis of 60 um
are melanosomes (Jacques, Skin Optics, Oregon Medical Laser Center News, 1998); bloodless skin
absorbs 0.244 + 85.3 exp(-(nm - 154) / 66.2) per cm (the same); skin scatters 46 (nm / 500)**-1.421
per cm, and a dermis holds 0.2 to 7 % blood (Jacques, Physics in Medicine and Biology 58, 2013), of
which the lower end is drawn, since a resting cheek is pale;
whole blood absorbs 19, 273 and 210 per cm in the bands (rounded from Prahl's tables of haemoglobin,
150 g/l, three quarters of it oxygenated).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from onnx_models.training.rgbd.head import BROWS, EYE_RIMS, EYEBALLS, LIPS, MOUTH, SKIN, HeadModel

Floats = NDArray[np.float32]
Generator = np.random.Generator

BANDS_NM: Final = np.array([610.0, 545.0, 460.0])
_MELANIN: Final = 6.6e11 * BANDS_NM**-3.33
_BASE: Final = 0.244 + 85.3 * np.exp(-(BANDS_NM - 154.0) / 66.2)
_BLOOD: Final = np.array([19.0, 273.0, 210.0])
_SCATTER: Final = 46.0 * (BANDS_NM / 500.0) ** -1.421
_PATH_CM: Final = 2 * 0.006
_DIFFUSION: Final = 7.8  # of the reflectance of a thick layer; Jacques 1998

LEAST_MELANIN: Final = 0.013
MOST_MELANIN: Final = 0.43


def reflectance(melanin: Floats, blood: Floats) -> Floats:
    """Return (..., 3) reflectance in red, green and blue of shares (...) of melanin and blood."""
    melanin, blood = melanin[..., None], blood[..., None]
    epidermis = np.exp(-_PATH_CM * (melanin * _MELANIN + (1 - melanin) * _BASE))
    absorbed = blood * _BLOOD + (1 - blood) * _BASE
    dermis = np.exp(-_DIFFUSION / np.sqrt(3 * (1 + _SCATTER / absorbed)))
    return np.asarray(epidermis * dermis, dtype=np.float32)


class Complexion:
    """One person's colours, and how they differ from day to day.

    Args:
        model: Gives the places.
        rng: The person's own.
    """

    def __init__(self, model: HeadModel, rng: Generator) -> None:
        places = model.neutral
        self._places = places
        self._melanin = float(np.exp(rng.uniform(np.log(LEAST_MELANIN), np.log(MOST_MELANIN))))
        self._blood = float(np.exp(rng.uniform(np.log(0.002), np.log(0.010))))
        self._blotches = _smooth_field(places, rng, scale_mm=25.0)
        self._brows = _near_lines(places, BROWS, width_mm=rng.uniform(2.5, 5.0))
        self._brow_strength = rng.uniform(0.3, 0.95)
        self._lips = _lips(places)
        self._beard = _below(places) * rng.uniform(0.0, 1.0) * (rng.random() < 0.5)
        self._hairline_mm = rng.uniform(80.0, 105.0)
        self._bald = rng.random() < 0.12
        grey = rng.random() < 0.2
        hair = reflectance(
            np.float32(0.9 if not grey else 0.05) * np.ones(1, np.float32), np.zeros(1, np.float32)
        )[0]
        self._hair = hair * rng.uniform(0.5, 1.5) + rng.uniform(0.01, 0.15) * np.array(
            [1, 0.7, 0.4]
        )
        iris = rng.choice(3, p=[0.7, 0.15, 0.15])
        self._iris = np.array([[0.10, 0.05, 0.03], [0.12, 0.16, 0.20], [0.12, 0.14, 0.07]])[iris]
        spots = rng.integers(0, 12)
        centres = places[rng.integers(0, 9000, spots)]
        self._spots = np.zeros(len(places), np.float32)
        for centre in centres:
            away = np.linalg.norm(places - centre, axis=1)
            self._spots = np.maximum(self._spots, np.exp(-((away / rng.uniform(1.0, 2.5)) ** 2)))

    def albedo(self, rng: Generator) -> Floats:
        """Return (V, 3) reflectance of every vertex.

        Args:
            rng: Of the session: tan, flush, stubble, a few blemishes and the hair's length change.
        """
        places = self._places
        melanin = self._melanin * np.exp(0.15 * rng.normal())
        blood = self._blood * np.exp(0.25 * rng.normal())
        uneven = 0.2 * self._blotches + 0.1 * _smooth_field(places, rng, scale_mm=15.0)
        melanin_here = melanin * np.exp(uneven) + 0.3 * self._spots
        beard = self._beard * rng.uniform(0.0, 1.0)
        blood_here = blood * np.exp(0.2 * _smooth_field(places, rng, scale_mm=30.0))
        blood_here = blood_here + self._lips * rng.uniform(0.008, 0.03)
        colour = reflectance(
            np.clip(melanin_here, 0, 0.6).astype(np.float32),
            np.clip(blood_here, 0.001, 0.08).astype(np.float32),
        )
        colour = _mix(colour, self._hair, beard * 0.7)
        colour = _mix(colour, self._hair, self._brows * self._brow_strength)
        colour = _mix(colour, self._hair, self.hair(rng))
        colour[MOUTH] = (0.35, 0.12, 0.10)
        teeth = slice(17_039, 21_451)
        colour[teeth] = (0.6, 0.55, 0.45)
        for eyeball in EYEBALLS:
            colour[eyeball] = self._eye(places[eyeball], rng)
        return colour

    def hair(self, rng: Generator) -> Floats:
        """Return (V,) 0 to 1: how much of each vertex is under hair."""
        if self._bald:
            return np.zeros(len(self._places), np.float32)
        x, y, z = self._places.T
        line = self._hairline_mm + rng.normal(0.0, 3.0)
        # The hairline falls from the forehead to behind the ears.
        above = y - (line - np.clip((60.0 - z) * 0.9, 0.0, 150.0)) - 0.15 * np.abs(x) * (z > 40)
        under = _sigmoid(above / 3.0)
        under[SKIN.stop :] = 0
        return under.astype(np.float32)

    def _eye(self, ball: Floats, rng: Generator) -> Floats:
        centre = (ball.max(axis=0) + ball.min(axis=0)) / 2
        out = ball - centre
        out = out / np.linalg.norm(out, axis=1, keepdims=True)
        gaze = np.array([rng.normal(0, 0.08), rng.normal(0, 0.05), 1.0])
        angle = np.arccos(np.clip(out @ (gaze / np.linalg.norm(gaze)), -1, 1))
        colour = np.broadcast_to(np.array([0.62, 0.55, 0.50]), ball.shape).copy()
        colour[angle < 0.5] = self._iris
        colour[angle < 0.2] = 0.02
        return colour.astype(np.float32)


def _mix(colour: Floats, other: NDArray[np.float64], share: Floats) -> Floats:
    return (colour * (1 - share[:, None]) + other * share[:, None]).astype(np.float32)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * np.tanh(values / 2), dtype=np.float32)


def _smooth_field(places: Floats, rng: Generator, *, scale_mm: float) -> Floats:
    """Return (V,) about N(0, 1) that changes over `scale_mm`: a sum of random waves."""
    waves = rng.normal(0.0, 1.0 / scale_mm, (3, 24)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, 24).astype(np.float32)
    summed = np.cos(places @ waves + phases).sum(axis=1)
    return np.asarray(summed / np.sqrt(12), dtype=np.float32)


def _near_lines(places: Floats, lines: tuple[tuple[int, ...], ...], *, width_mm: float) -> Floats:
    nearest = np.full(len(places), np.inf)
    for line in lines:
        stops = places[list(line)]
        for begin, end in pairwise(stops):
            for share in np.linspace(0, 1, 6):
                away = np.linalg.norm(places - (begin * (1 - share) + end * share), axis=1)
                nearest = np.minimum(nearest, away)
    return np.exp(-((nearest / width_mm) ** 2)).astype(np.float32)


def _lips(places: Floats) -> Floats:
    corners = places[list(LIPS)]
    centre = corners.mean(axis=0)
    half_width = np.ptp(corners[:, 0]) / 2
    half_height = np.ptp(corners[:, 1]) / 2
    x = (places[:, 0] - centre[0]) / half_width
    y = (places[:, 1] - centre[1]) / half_height
    near = (places[:, 2] > centre[2] - 25).astype(np.float32)
    lips: Floats = near * _sigmoid((0.95 - x**2 - y**2) * 6)
    return lips


def _below(places: Floats) -> Floats:
    """Return (V,) where a beard grows: below the nose, before the ears, not on the lips."""
    nose = places[list(EYE_RIMS[0])].mean(axis=0)[1] - 52.0
    low = _sigmoid((nose - places[:, 1]) / 3.0)
    above_neck = _sigmoid((places[:, 1] + 90.0) / 6.0)
    front = _sigmoid((places[:, 2] - 30.0) / 6.0)
    return (low * above_neck * front * (1 - _lips(places))).astype(np.float32)
