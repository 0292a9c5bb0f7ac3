"""What showing a picture on a screen does to it: its pixels, colours, refresh and glass."""

from __future__ import annotations

import cv2
import numpy as np
from camera import Light, Random, compress, to_light, to_pixels


def encoded(light: Light, random: Random, *, face_px: float) -> Light:
    """Return a picture as the file or the video that is played, shrunk and compressed.

    Args:
        light: (H, W, 3), with a face of `face_px`.
    """
    held = np.exp(random.uniform(np.log(45), np.log(260)))  # px of the face on the screen
    if held < face_px:
        size = light.shape[1::-1]
        shrink = held / face_px
        small = cv2.resize(light, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        how = cv2.INTER_NEAREST if random.random() < 0.2 else cv2.INTER_CUBIC
        light = cv2.resize(np.maximum(small, 0), size, interpolation=how)
    if random.random() < 0.7:
        light = to_light(compress(to_pixels(light), int(random.integers(25, 95))))
    return light


def shown(light: Light, random: Random) -> Light:
    """Return the light of a screen that shows a picture, before anything reflects in it."""
    warmth = random.normal(0.10, 0.12)
    primaries = np.exp([-warmth, random.normal(0.0, 0.05), warmth])
    grey = light.mean(axis=2, keepdims=True)
    light = grey + (light - grey) * np.float32(np.exp(random.normal(0.05, 0.25)))
    light = np.clip(light, 0, 1) ** np.float32(np.exp(random.normal(0, 0.2)))
    light = light * (primaries * np.exp(random.normal(0.1, 0.4))).astype(np.float32)
    if random.random() < 0.75:
        light = light * _grid(light.shape[:2], random)
    if random.random() < 0.3:
        light = light * _refresh(light.shape[0], random)
    if random.random() < 0.5:  # brighter from one side, as seen at an angle
        height, width = light.shape[:2]
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        fall = 1 + random.normal(0, 0.18) * x + random.normal(0, 0.18) * y
        light = light * np.maximum(fall, 0.2)[..., None].astype(np.float32)
    if random.random() < 0.5:  # light spreads in the glass and in the lens
        wide = cv2.GaussianBlur(light, (0, 0), random.uniform(4, 14))
        light = light + np.float32(random.uniform(0.03, 0.25)) * wide
    return light + np.float32(random.gamma(1.5, 0.012))


def _grid(shape: tuple[int, int], random: Random) -> Light:
    """Return what the grid of sub-pixels leaves of each point that the sensor samples.

    A cosine taken at whole pixels aliases as it does on a sensor: that is the moire. The lens and
    the area of a sensor's pixel weaken what is fine.
    """
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    tilt, lean = random.normal(0, 0.06), random.normal(0, 0.08)
    bow = random.normal(0, 0.05) / max(width, 1)
    u = x * np.cos(tilt) + y * np.sin(tilt) + bow * (x - width / 2) ** 2
    v = y * np.cos(tilt) - x * np.sin(tilt) + lean * x * 0.2 + bow * (y - height / 2) ** 2
    pitch = np.exp(random.uniform(np.log(0.28), np.log(1.9)))  # grid cycles a camera pixel
    passed = float(np.sinc(min(pitch, 0.95) * 0.8)) if pitch < 1 else 0.25 / pitch
    strength = np.float32(random.uniform(0.15, 1.0) * passed)
    colour = random.uniform(0, 1)  # how far the three stripes of a pixel are told apart
    grid = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        phase = 2 * np.pi * colour * channel / 3
        columns = np.cos(2 * np.pi * pitch * u + phase)
        rows = np.cos(2 * np.pi * pitch * v)
        grid[..., channel] = 1 + strength * (0.35 * columns + 0.25 * rows)
    if random.random() < 0.5:  # between the screen's and the sensor's grids: broad, coloured waves
        for channel in range(3):
            fx, fy = random.normal(0, 0.035, 2)
            wave = np.cos(2 * np.pi * (fx * u + fy * v) + 2 * np.pi * colour * channel / 3)
            grid[..., channel] *= 1 + np.float32(random.uniform(0.0, 0.12)) * wave
    return grid


def _refresh(height: int, random: Random) -> Light:
    """Bands of a backlight that is switched, read by a rolling shutter."""
    rows = np.arange(height, dtype=np.float32) / height
    wave = np.sin(2 * np.pi * (rows * random.uniform(0.7, 6) + random.random()))
    if random.random() < 0.4:
        wave = np.clip(wave * 3, -1, 1)
    return (1 + np.float32(random.uniform(0.03, 0.3)) * wave)[:, None, None].astype(np.float32)
