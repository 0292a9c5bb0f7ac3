"""Light on a surface: spherical harmonics for what comes from all sides, and a gloss.

No shadow is cast: a light from the side darkens by its angle alone. Source of the constants:
Ramamoorthi and Hanrahan, An Efficient Representation for Irradiance Environment Maps, 2001.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Generator = np.random.Generator

_C1, _C2, _C3, _C4, _C5 = 0.429043, 0.511664, 0.743125, 0.886227, 0.247708
SKIN_FRESNEL: Final = 0.028  # reflectance straight on; refractive index 1.4


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """What falls on the face.

    Args:
        harmonics: (9, 3) of incoming light, second order, in red, green and blue.
        towards: (3,) unit vector to the brightest lamp, in the camera's frame.
        lamp: (3,) its colour and strength.
        gloss: Exponent of its highlight.
    """

    harmonics: Floats = field(repr=False)
    towards: Floats
    lamp: Floats
    gloss: float


def draw_light(rng: Generator) -> Light:
    """Return a room: a dim light from all sides, and one to three lamps."""
    harmonics = np.zeros((9, 3))
    harmonics[0] = _tint(rng) * rng.uniform(0.3, 1.2)
    strongest, towards, lamp = 0.0, np.array([0.0, 0.0, -1.0]), np.zeros(3)
    for _ in range(rng.integers(1, 4)):
        side, height = rng.uniform(-1.3, 1.3), rng.uniform(-0.4, 1.0)
        direction = np.array(
            [np.sin(side) * np.cos(height), -np.sin(height), -np.cos(side) * np.cos(height)]
        )
        strength = rng.uniform(0.2, 1.0)
        colour = _tint(rng) * strength
        harmonics += _basis(direction[None])[0][:, None] * colour
        if strength > strongest:
            strongest, towards, lamp = strength, direction, colour
    return Light(
        harmonics.astype(np.float32),
        towards.astype(np.float32),
        lamp.astype(np.float32),
        gloss=float(rng.uniform(8, 40)),
    )


def shade(albedo: Floats, normals: Floats, points: Floats, light: Light) -> Floats:
    """Return (N, 3) light that reaches the camera, linear.

    Args:
        albedo: (N, 3).
        normals: (N, 3) unit, in the camera's frame: y down, z away from the camera.
        points: (N, 3) mm.
    """
    diffuse = albedo * np.maximum(_irradiance(normals, light.harmonics), 0.0) / np.pi
    back = -points / np.linalg.norm(points, axis=1, keepdims=True)
    half = back + light.towards
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    facing = np.maximum((half * normals).sum(axis=1), 0.0)
    lobe = (light.gloss + 8) / (8 * np.pi) * facing**light.gloss * SKIN_FRESNEL
    lit = np.maximum(normals @ light.towards, 0.0)
    return np.asarray(diffuse + (lobe * lit)[:, None] * light.lamp, dtype=np.float32)


def develop(linear: Floats, *, exposure: float) -> Floats:
    """Return sRGB, 0 to 1, of linear light."""
    exposed = np.clip(linear * exposure, 0.0, 1.0)
    curved = np.where(exposed <= 0.0031308, 12.92 * exposed, 1.055 * exposed ** (1 / 2.4) - 0.055)
    return np.asarray(curved, dtype=np.float32)


def _tint(rng: Generator) -> NDArray[np.float64]:
    """Return a colour between lamp light and shade; the camera's white balance is not perfect."""
    warmth = rng.uniform(-0.25, 0.25)
    return np.array([1 + warmth, 1.0, 1 - warmth])


def _basis(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = direction.T
    return np.stack(
        [
            np.full_like(x, 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z**2 - 1),
            1.092548 * x * z,
            0.546274 * (x**2 - y**2),
        ],
        axis=1,
    )


def _irradiance(normals: Floats, harmonics: Floats) -> Floats:
    x, y, z = (normals[:, axis, None] for axis in range(3))
    total = _C4 * harmonics[0] - _C5 * harmonics[6] + _C3 * z**2 * harmonics[6]
    total = total + _C1 * harmonics[8] * (x**2 - y**2)
    total = total + 2 * _C1 * (harmonics[4] * x * y + harmonics[7] * x * z + harmonics[5] * y * z)
    total = total + 2 * _C2 * (harmonics[3] * x + harmonics[1] * y + harmonics[2] * z)
    summed: Floats = total
    return summed
