"""One picture of a person becomes a live frame, or the frame of an attack with it.

Light is laid out on a square canvas with the face in its middle, and the frame is cut from that.
How large the face is, where the frame ends and what the camera does are drawn alike for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from camera import Light, Random, capture, to_light
from numpy.typing import NDArray
from paper import curled, printed
from screen import encoded, shown

CANVAS: Final = 3.0  # side over the longer side of the face box
SPECIES: Final = ("print", "cut_out", "screen", "screen_close")


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A frame.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: (4,) float32 px, of the face.
    """

    pixels: NDArray[np.uint8]
    box: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    """A picture laid out.

    Args:
        light: (S, S, 3), beyond the picture's own rim its mirror image.
        ends: Left, top, right and bottom of the picture on the canvas, px.
        face_px: The longer side of its face.
        box: Of the face, px.
    """

    light: Light
    ends: tuple[int, int, int, int]
    face_px: float
    box: NDArray[np.float32]


def live(
    pixels: NDArray[np.uint8],
    box: NDArray[np.float32],
    around: NDArray[np.uint8],
    random: Random,
) -> Scene:
    """Return a live frame: the picture through a camera, or through two.

    Args:
        around: Another picture, from which what is beside the person is taken.
    """
    canvas = _lay_out(pixels, box, random)
    light = canvas.light
    if random.random() < 0.5:
        light = _lit(light, random)
    if random.random() < 0.5:  # as often as what an attack shows was taken by a camera before
        light = to_light(capture(light, random, mildly=random.random() < 0.5))
    # Whatever an attack has beside the face, living people have as well: lamps, hands, things with
    # straight edges, the colours of bad lamps. Else those would be what is learnt.
    if random.random() < 0.5:
        light = light * _room(random)
    if random.random() < 0.3:
        light = _beside(light, around, canvas, random)
    if random.random() < 0.45:
        light = light + _shine(light.shape[0], random) * _off_the_face(light.shape[0], random)
    if random.random() < 0.3:
        light = _fingers(light, _anywhere(canvas, random), canvas, random)
    return _framed(capture(light, random), canvas, random)


def attack(
    pixels: NDArray[np.uint8],
    box: NDArray[np.float32],
    species: str,
    around: NDArray[np.uint8],
    random: Random,
) -> Scene:
    """Return a frame of an attack of one of `SPECIES`.

    Args:
        around: Another picture, from which what is behind is taken.
    """
    canvas = _lay_out(pixels, box, random)
    light = canvas.light
    if random.random() < 0.5:
        light = to_light(capture(light, random, mildly=True))
    size = light.shape[0]
    if species in ("print", "cut_out"):
        light, inside = _on_paper(light, canvas, species, random)
        light = light * _room(random)
    else:
        close = species == "screen_close"
        light, inside = _on_screen(light, canvas, random, close=close)
    if random.random() < (0.6 if species.startswith("screen") else 0.35):
        light = light + _shine(size, random)
    if species.startswith("screen") and random.random() < 0.5:
        light = light + np.float32(random.uniform(0.01, 0.10)) * _behind(around, size, random)
    if not inside.all():
        light = _before(_behind(around, size, random), light, inside, canvas, random)
    return _framed(capture(light, random), canvas, random)


def _lay_out(pixels: NDArray[np.uint8], box: NDArray[np.float32], random: Random) -> _Canvas:
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    face_px = float(np.exp(random.uniform(np.log(70), np.log(130))))
    factor, size = face_px / longer, round(CANVAS * face_px)
    turn = np.deg2rad(random.normal(0, 2.5))
    centre = (box[:2] + box[2:]) / 2
    matrix = factor * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if random.random() < 0.5:
        matrix[:, 0] *= -1
    shift = size / 2 - matrix @ centre
    warp = np.column_stack([matrix, shift])
    if factor < 0.7:  # shrink by area first: a sensor adds up all the light of a pixel
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        warp[:, :2] /= factor
    flags = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_LINEAR
    laid = cv2.warpAffine(
        pixels, warp, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    laid = cv2.warpAffine(
        pixels, warp, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    # A picture that ends too soon goes on as its mirror image, half of the time, so that not every
    # frame of a tight portrait is tight.
    ends = (0, 0, size, size)
    if random.random() < 0.5:
        ends = _ends(warp, pixels.shape, size)
    half = (box[2:] - box[:2]) * factor / 2
    middle = size / 2 + random.normal(0, 0.02, 2) * face_px  # a detector is never exact
    half = half * (1 + random.normal(0, 0.03))
    placed = np.concatenate([middle - half, middle + half]).astype(np.float32)
    return _Canvas(to_light(laid), ends, face_px, placed)


def _ends(warp: NDArray[np.float64], shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return where a picture ends on the canvas, its tilt of a few degrees left out of account."""
    height, width = shape[:2]
    middles = np.array([[0, width, width / 2, width / 2], [height / 2, height / 2, 0, height]])
    (left, right, *_), (*_, top, bottom) = warp[:, :2] @ middles + warp[:, 2:]
    found = np.rint([min(left, right), top, max(left, right), bottom]).astype(int)
    return tuple(np.clip(found, 0, size).tolist())


def _lit(light: Light, random: Random) -> Light:
    """Add a lamp to a side."""
    size = light.shape[0]
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    tint = 1 + random.normal(0, 0.08, 3)
    slope = np.exp(random.normal(0, 0.35) * x + random.normal(0, 0.2) * y)
    return light * (slope[..., None] * tint).astype(np.float32)


def _rectangle(canvas: _Canvas, random: Random) -> NDArray[np.float32]:
    """Return four corners on the canvas, px, around the face."""
    size = canvas.light.shape[0]
    reach = random.uniform(0.50, 1.35, 4) * canvas.face_px
    if random.random() < 0.3:
        reach[int(random.integers(4))] = size  # this edge is not in view
    left, top, right, bottom = -reach[0], -reach[1], reach[2], reach[3]
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    turn = np.deg2rad(random.normal(0, 6))
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = corners @ spin.T + random.normal(0, 0.03, (4, 2)) * canvas.face_px
    return (corners + size / 2).astype(np.float32)


def _filled(corners: NDArray[np.float32], size: int) -> NDArray[np.bool_]:
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 1)
    return mask > 0


def _grown(corners: NDArray[np.float32], px: float) -> NDArray[np.float32]:
    middle = corners.mean(axis=0)
    return (corners + np.sign(corners - middle) * px).astype(np.float32)


def _on_paper(
    light: Light, canvas: _Canvas, species: str, random: Random
) -> tuple[Light, NDArray[np.bool_]]:
    """Return a printed sheet and where it is."""
    size = light.shape[0]
    sideways, downwards, shade = curled(random, (size, size))
    y, x = np.mgrid[:size, :size].astype(np.float32)
    light = cv2.remap(light, x + sideways, y + downwards, cv2.INTER_LINEAR)
    close = species == "print" and random.random() < 0.3  # no edge of the sheet is in view
    # A photograph on photographic paper is told by its edges and by hands, or not at all.
    photo = not close and random.random() < 0.5
    sheet = printed(light, random, photo=photo) * shade[..., None]
    if species == "cut_out":
        return sheet, _contour(canvas, random)
    if close:
        return sheet, np.ones((size, size), np.bool_)
    corners = _rectangle(canvas, random)
    inside = _filled(corners, size) & _seen(canvas)
    if random.random() < 0.5:
        margin = random.uniform(0.02, 0.18) * canvas.face_px
        white = _filled(_grown(corners, margin), size) & ~inside
        sheet[white] = random.uniform(0.75, 0.98) * shade[white][:, None]
        inside |= white
    return sheet, inside


def _contour(canvas: _Canvas, random: Random) -> NDArray[np.bool_]:
    """Cut along the head, as a mask is cut; sometimes with holes for the eyes."""
    size = canvas.light.shape[0]
    mask = np.zeros((size, size), np.uint8)
    axes = np.array([random.uniform(0.38, 0.55), random.uniform(0.50, 0.72)]) * canvas.face_px
    points = cv2.ellipse2Poly((size // 2, size // 2), tuple(np.rint(axes).astype(int).tolist()),
                              int(random.normal(0, 6)), 0, 360, 20)  # fmt: skip
    rough = points + random.normal(0, 0.02 * canvas.face_px, points.shape)
    cv2.fillPoly(mask, [np.rint(rough).astype(np.int32)], 1)
    if random.random() < 0.3:
        for side in (-0.19, 0.19):
            eye = (round(size / 2 + side * canvas.face_px), round(size / 2 - 0.10 * canvas.face_px))
            cv2.ellipse(mask, eye, (round(0.07 * canvas.face_px), round(0.04 * canvas.face_px)),
                        0, 0, 360, 0, -1)  # fmt: skip
    return mask > 0


def _on_screen(
    light: Light, canvas: _Canvas, random: Random, *, close: bool
) -> tuple[Light, NDArray[np.bool_]]:
    """Return a screen with its device and where they are."""
    size = light.shape[0]
    light = shown(encoded(light, random, face_px=canvas.face_px), random)
    if close:
        return light, np.ones((size, size), np.bool_)
    corners = _rectangle(canvas, random)
    picture = _filled(corners, size) & _seen(canvas)
    glass = picture
    if random.random() < 0.5:  # the picture does not fill the screen
        glass = _filled(_grown(corners, random.uniform(0.03, 0.4) * canvas.face_px), size)
        bar = np.float32(random.choice([0.003, 0.01, 0.03, 0.8]))
        light[glass & ~picture] = bar + np.float32(random.gamma(1.5, 0.01))
    corners = _grown(corners, random.uniform(0.0, 0.4) * canvas.face_px)
    device = _filled(_grown(corners, random.uniform(0.02, 0.3) * canvas.face_px), size) | glass
    plastic = np.clip(
        random.choice([0.01, 0.03, 0.25, 0.7]) * np.exp(random.normal(0, 0.2, 3)), 0, 1
    )
    rim = device & ~glass
    light[rim] = plastic.astype(np.float32)
    return light, device


def _room(random: Random) -> Light:
    """Return the colour and strength of the light that falls on paper, (3,)."""
    return np.exp(random.normal(-0.1, 0.3) + random.normal(0, 0.10, 3)).astype(np.float32)


def _shine(size: int, random: Random) -> Light:
    """Return lamps and windows that reflect in a surface, (S, S, 3)."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    light = np.zeros((size, size, 3), np.float32)
    for _ in range(int(random.integers(1, 4))):
        cx, cy = random.uniform(-1, 1, 2)
        turn = random.uniform(0, np.pi)
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        long, short = random.uniform(0.1, 1.2), random.uniform(0.04, 0.3)
        power = 2 if random.random() < 0.7 else 8  # a glow, or a window with edges
        blob = np.exp(-((np.abs(u) / long) ** power) - (np.abs(v) / short) ** power)
        tint = random.uniform(0.05, 0.9) * (1 + random.normal(0, 0.06, 3))
        light += blob[..., None] * tint.astype(np.float32)
    return light


def _behind(around: NDArray[np.uint8], size: int, random: Random) -> Light:
    """Return what is behind, (S, S, 3): part of another picture, or cloth, or a wall."""
    choice = random.random()
    if choice < 0.6:
        height, width = around.shape[:2]
        part = int(random.uniform(0.25, 0.7) * min(height, width))
        left = int(random.choice([0, width - part]))
        top = int(random.integers(0, max(height - part, 1)))
        patch = around[top : top + part, left : left + part]
        patch = cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR)
        return to_light(patch) * np.float32(np.exp(random.normal(0, 0.3)))
    plain = np.clip(np.exp(random.normal(-1.6, 0.9)) * np.exp(random.normal(0, 0.35, 3)), 0, 1)
    folds = random.standard_normal((6, 6), dtype=np.float32)
    folds = cv2.resize(folds, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
    return (plain * np.exp(random.uniform(0, 0.4) * folds)).astype(np.float32)


def _before(
    behind: Light, light: Light, inside: NDArray[np.bool_], canvas: _Canvas, random: Random
) -> Light:
    """Put the medium before what is behind it, with its shadow, its blurred edge and fingers."""
    soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), random.uniform(0.4, 1.2))[..., None]
    if random.random() < 0.5:
        dark = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), random.uniform(3, 12))
        moved = np.roll(dark, tuple(random.integers(-6, 7, 2).tolist()), axis=(0, 1))
        behind = behind * (1 - np.float32(random.uniform(0.1, 0.6)) * moved[..., None])
    light = behind + soft * (light - behind)
    if random.random() < 0.5:
        light = _fingers(light, inside, canvas, random)
    return light


def _fingers(light: Light, inside: NDArray[np.bool_], canvas: _Canvas, random: Random) -> Light:
    edge = np.argwhere(inside ^ (cv2.erode(inside.astype(np.uint8), np.ones((3, 3))) > 0))
    if not len(edge):
        return light
    size = light.shape[0]
    middle = np.array([size, size]) / 2
    away = edge[np.linalg.norm(edge - middle, axis=1) > 0.5 * canvas.face_px]
    if not len(away):
        return light
    skin = np.array([0.45, 0.24, 0.16]) * np.exp(random.normal(0, 0.4) + random.normal(0, 0.08, 3))
    light = np.ascontiguousarray(light)
    at = away[int(random.integers(len(away)))].astype(float)
    outwards = (at - middle) / max(float(np.linalg.norm(at - middle)), 1)
    along = np.array([-outwards[1], outwards[0]])
    thick = random.uniform(0.07, 0.16) * canvas.face_px
    mask = np.zeros((size, size), np.float32)
    for number in range(int(random.integers(1, 5))):
        tip = (
            at + along * thick * 1.9 * number - outwards * random.uniform(0, 0.25) * canvas.face_px
        )
        root = tip + outwards * canvas.face_px
        (y0, x0), (y1, x1) = np.rint(tip).astype(int), np.rint(root).astype(int)
        cv2.line(mask, (int(x0), int(y0)), (int(x1), int(y1)), 1.0, max(round(thick * 1.7), 1))
    mask = cv2.GaussianBlur(mask, (0, 0), max(thick * 0.15, 0.5))[..., None]
    round_off = cv2.GaussianBlur(mask, (0, 0), max(thick * 0.6, 0.6))[..., None]
    flesh = (skin * (0.5 + 0.7 * round_off)).astype(np.float32)
    return light + mask * (flesh - light)


def _beside(light: Light, around: NDArray[np.uint8], canvas: _Canvas, random: Random) -> Light:
    """Put a window, a screen or a picture on the wall beside a living face."""
    size, face = light.shape[0], canvas.face_px
    light = light.copy()
    near = round(size / 2 + random.uniform(0.6, 1.1) * face)
    far = round(min(near + random.uniform(0.2, 1.5) * face, size))
    top = round(random.uniform(-0.3, 0.6) * size)
    low = round(min(top + random.uniform(0.2, 1.2) * size, size))
    top = max(top, 0)
    thing = _behind(around, size, random)
    if random.random() < 0.5:
        thing = shown(thing, random) if random.random() < 0.5 else thing * 2
    rim = round(random.uniform(0, 0.12) * face)
    thing[:, near : near + rim] = np.float32(random.choice([0.01, 0.03, 0.25, 0.7]))
    part = np.zeros((size, size), np.float32)
    part[top:low, near:far] = 1
    if random.random() < 0.5:
        part = part[:, ::-1]
        thing = thing[:, ::-1]
    if random.random() < 0.2:  # above the head rather than beside it
        part = np.rot90(part, 1 if part[:, : size // 2].any() else 3)
        part[size // 2 :] = 0
    soft = cv2.GaussianBlur(np.ascontiguousarray(part), (0, 0), random.uniform(0.4, 1.2))
    return light + soft[..., None] * (np.ascontiguousarray(thing) - light)


def _off_the_face(size: int, random: Random) -> Light:
    """Return how much of a lamp's light is seen, (S, S, 1): next to all but before the face."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    from_face = np.sqrt(x * x + (y / 1.3) ** 2) * CANVAS  # in halves of its longer side
    near = np.float32(0.25 if random.random() < 0.4 else 0.0)  # a lens flare, a shining forehead
    return np.clip((from_face - 0.8) * 3, near, 1)[..., None]


def _anywhere(canvas: _Canvas, random: Random) -> NDArray[np.bool_]:
    """Return a region whose rim is where a hand may be, (S, S)."""
    return _filled(_rectangle(canvas, random), canvas.light.shape[0])


def _seen(canvas: _Canvas) -> NDArray[np.bool_]:
    """Return where the picture itself is, (S, S)."""
    size = canvas.light.shape[0]
    left, top, right, bottom = canvas.ends
    inside = np.zeros((size, size), np.bool_)
    inside[top:bottom, left:right] = True
    return inside


def _framed(pixels: NDArray[np.uint8], canvas: _Canvas, random: Random) -> Scene:
    """End the frame where the picture ends or sooner: a face is rarely in the middle."""
    size, face = pixels.shape[0], canvas.face_px
    ends = np.array(canvas.ends)
    if random.random() < 0.5:
        for _ in range(int(random.integers(1, 3))):
            reach = random.uniform(0.5, 1.3) * face
            side = int(random.integers(4))
            if side < 2:
                ends[side] = max(ends[side], round(size / 2 - reach))
            else:
                ends[side] = min(ends[side], round(size / 2 + reach))
    left, top, right, bottom = ends.tolist()
    box = canvas.box - np.array([left, top, left, top], np.float32)
    return Scene(np.ascontiguousarray(pixels[top:bottom, left:right]), box)
