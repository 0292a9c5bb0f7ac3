"""A webcam or a phone's camera: light in, the frame that a computer gets out.

Live faces and attacks go through the same model with the same distribution of settings, so that
neither noise nor blur nor compression tells them apart. Light is linear, 0 to 1; a gamma of 2
stands for sRGB's curve, because a square and a root are cheap.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Light = NDArray[np.float32]
Random = np.random.Generator


def to_light(pixels: NDArray[np.uint8]) -> Light:
    """Return linear light of (H, W, 3) uint8 RGB."""
    light = pixels.astype(np.float32)
    light *= 1 / 255
    return light * light


def to_pixels(light: Light) -> NDArray[np.uint8]:
    """Return uint8 RGB of linear light."""
    return np.rint(np.sqrt(np.clip(light, 0, 1)) * 255).astype(np.uint8)


def capture(light: Light, random: Random, *, mildly: bool = False) -> NDArray[np.uint8]:
    """Take a picture: lens, exposure, colour, noise, the maker's processing, compression.

    How much each of them does is drawn from nothing to a lot, because cameras are so: if all of
    them were bad, a clean picture of a picture would pass for live.

    Args:
        light: (H, W, 3) what falls on the sensor.
        mildly: As a good camera in good light does.
    """
    weak = float(random.random()) ** 1.5 * (0.4 if mildly else 1.0)
    light = _lens(light, random, weak)
    light = _expose(light, random, weak)
    light = _noise(light, random, weak)
    return _process(to_pixels(light), random, weak)


def _lens(light: Light, random: Random, weak: float) -> Light:
    if random.random() < 0.7:
        sigma = weak * random.gamma(2.0, 0.45)
        light = cv2.GaussianBlur(light, (0, 0), max(sigma, 0.1))
    if random.random() < 0.15 * weak:  # a moving hand or head
        length = int(random.integers(3, 9))
        kernel = np.zeros((length, length), np.float32)
        angle = random.uniform(0, np.pi)
        half = (length - 1) / 2
        tip = np.array([np.cos(angle), np.sin(angle)]) * half
        start, end = np.rint(half - tip).astype(int), np.rint(half + tip).astype(int)
        cv2.line(kernel, tuple(map(int, start)), tuple(map(int, end)), 1.0)
        light = cv2.filter2D(light, -1, kernel / max(kernel.sum(), 1))
    if random.random() < 0.5:
        height, width = light.shape[:2]
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        shade = 1 - random.uniform(0, 0.35) * weak * (x * x + y * y) / 2
        light = light * shade[..., None].astype(np.float32)
    return light


def _expose(light: Light, random: Random, weak: float) -> Light:
    gain = np.exp(random.normal(0, 0.1 + 0.3 * weak))
    balance = np.exp(random.normal(0, 0.02 + 0.08 * weak, 3))
    light = light * (gain * balance).astype(np.float32)
    grey = light.mean(axis=2, keepdims=True)
    light = grey + (light - grey) * np.float32(np.exp(random.normal(0, 0.2 * weak)))
    if random.random() < 0.25 * weak:  # haze of a dirty lens, or light from behind
        light = light + np.float32(random.uniform(0, 0.08))
    if random.random() < 0.06:
        light = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    return np.clip(light, 0, 1)


def _noise(light: Light, random: Random, weak: float) -> Light:
    level = weak * random.gamma(1.5, 0.012)
    noise = random.standard_normal(light.shape, dtype=np.float32)
    if random.random() < 0.6:  # after demosaicing, neighbours share their noise
        noise = cv2.GaussianBlur(noise, (0, 0), random.uniform(0.4, 0.9)) * 1.6
    return light + noise * (np.float32(level) * np.sqrt(light + 0.01))


def _process(pixels: NDArray[np.uint8], random: Random, weak: float) -> NDArray[np.uint8]:
    if random.random() < 0.25 * weak:
        pixels = cv2.medianBlur(pixels, 3)
    if random.random() < 0.3:  # sharpening
        soft = cv2.GaussianBlur(pixels, (0, 0), random.uniform(0.7, 1.6))
        amount = random.uniform(0.2, 1.0)
        pixels = cv2.addWeighted(pixels, 1 + amount, soft, -amount, 0)
    if random.random() < 0.3:  # the curve of "vivid" and "low contrast"
        bend = np.exp(random.normal(0, 0.2))
        curve = np.rint(255 * np.linspace(0, 1, 256) ** bend).astype(np.uint8)
        pixels = curve[pixels]
    if random.random() < 0.3 * weak:  # a video scaled on its way
        shrink = random.uniform(0.5, 0.9)
        size = pixels.shape[1::-1]
        small = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        pixels = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    if random.random() < 0.8:
        pixels = compress(pixels, int(random.integers(round(92 - 55 * weak), 98)))
    return pixels


def compress(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return what JPEG leaves of a picture."""
    _, encoded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1])
