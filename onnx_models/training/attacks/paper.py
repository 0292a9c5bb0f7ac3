"""What printing a picture does to it: inks, screens of dots, the sheet's shape and its shine."""

from __future__ import annotations

import cv2
import numpy as np
from camera import Light, Random

SCREEN_ANGLES = (15.0, 75.0, 0.0)  # degrees, of cyan, magenta and yellow


def printed(light: Light, random: Random, *, photo: bool) -> Light:
    """Return the light that a print of a picture reflects, evenly lit.

    Args:
        light: (H, W, 3) of the picture, as large as the print appears to the camera.
        photo: Whether it is the paper and the printer of a photograph, which leave hardly a trace.
    """
    if photo:
        return np.float32(0.006) + np.float32(random.uniform(0.85, 1.0)) * light
    light = _inks(light, random)
    if random.random() < 0.45:
        light = _halftone(light, random)
    if random.random() < 0.5:
        light = _grain(light, random)
    if random.random() < 0.25:
        light = _bands(light, random)
    return light


def _inks(light: Light, random: Random) -> Light:
    """Ink is never black and paper never white; few inks reach few colours."""
    grey = light.mean(axis=2, keepdims=True)
    if random.random() < 0.15:
        light = np.repeat(grey, 3, axis=2)
    else:
        light = grey + (light - grey) * np.float32(random.uniform(0.45, 1.05))
    light = np.clip(light, 0, 1) ** np.float32(np.exp(random.normal(0, 0.25)))
    paper = random.uniform(0.72, 0.98) * (1 + random.normal(0, 0.025, 3))
    ink = random.uniform(0.008, 0.09) * (1 + random.normal(0, 0.15, 3))
    return (ink + (paper - ink) * light).astype(np.float32)


def _halftone(light: Light, random: Random) -> Light:
    height, width = light.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    period = np.exp(random.uniform(np.log(1.3), np.log(4.5)))
    turn = random.uniform(0, 90)
    sharp, share = random.uniform(3, 9), np.float32(random.uniform(0.15, 0.75))
    dots = np.empty_like(light)
    for channel, angle in enumerate(SCREEN_ANGLES):
        a = np.deg2rad(angle + turn)
        u = (x * np.cos(a) + y * np.sin(a)) * (2 * np.pi / period)
        v = (y * np.cos(a) - x * np.sin(a)) * (2 * np.pi / period)
        level = 0.5 + 0.25 * (np.cos(u) + np.cos(v))
        dots[..., channel] = np.clip((light[..., channel] - level) * sharp + 0.5, 0, 1)
    low, high = light.min(), light.max()
    return light + share * (low + (high - low) * dots - light)


def _grain(light: Light, random: Random) -> Light:
    """Ink droplets and fibres: noise of the print itself, which no camera averages out."""
    noise = random.standard_normal(light.shape[:2], dtype=np.float32)[..., None]
    wide = cv2.GaussianBlur(noise, (0, 0), random.uniform(0.8, 2.5))[..., None]
    return light * (1 + np.float32(random.uniform(0.02, 0.10)) * (noise - wide))


def _bands(light: Light, random: Random) -> Light:
    """The head of the printer went over the sheet in strips."""
    rows = np.arange(light.shape[0], dtype=np.float32)
    wave = np.sin(rows * (2 * np.pi / random.uniform(3, 25)) + random.uniform(0, 6))
    return light * (1 + np.float32(random.uniform(0.01, 0.05)) * wave)[:, None, None]


def curled(random: Random, shape: tuple[int, int]) -> tuple[Light, Light, Light]:
    """Return how a bent sheet moves its points sideways and down, px, and shades them, each (H, W).

    The sheet is part of a cylinder whose axis has any direction; light falls from one side.
    """
    height, width = shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle = random.uniform(0, np.pi)
    across = x * np.cos(angle) + y * np.sin(angle)
    bend = random.normal(0, 0.5)
    moved = (bend * 0.06 * np.abs(across) ** 2 * across * width / 2).astype(np.float32)
    slope = bend * across
    light_from = random.normal(0, 0.6)
    shade = (1 + 0.35 * light_from * slope) / (1 + 0.25 * np.abs(slope))
    if random.random() < 0.25:  # a crease
        at, sharp = random.uniform(-0.8, 0.8), random.uniform(10, 40)
        shade = shade * (1 + random.normal(0, 0.12) * np.tanh((across - at) * sharp))
    sideways = (moved * np.cos(angle)).astype(np.float32)
    downwards = (moved * np.sin(angle)).astype(np.float32)
    return sideways, downwards, shade.astype(np.float32)
