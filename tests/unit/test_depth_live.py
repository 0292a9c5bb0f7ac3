"""Pictures and distances of two live nodes: of one moment, or refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, islice, repeat

import numpy as np
import pytest
from numpy.typing import NDArray

from pam_faceid.adapters.cameras.depth_live import (
    PATIENCE_SECONDS,
    Taken,
    believed,
    judge_nodes,
    together,
)
from pam_faceid.adapters.cameras.nodes import CameraInfo, PixelFormat
from pam_faceid.adapters.cameras.pairing import Pairing
from pam_faceid.adapters.cameras.realsense import in_mm
from pam_faceid.adapters.cameras.rig import read_rig
from pam_faceid.core.depth_frames import DepthFrame
from pam_faceid.core.errors import CameraError
from pam_faceid.core.types import Spectrum
from tests.depth_scenes import about, lens, stored_depth

Image = NDArray[np.uint8]
Depths = NDArray[np.uint16]
RATE = 1 / 30


def node(spectrum: Spectrum, **changes: object) -> CameraInfo:
    code = "Z16" if spectrum is Spectrum.DEPTH else "YUYV"
    camera = CameraInfo(
        node="/dev/video4",
        stable_path=None,
        card="A camera",
        driver="uvcvideo",
        bus="usb-0000:00:14.0-1",
        formats=(PixelFormat(code, ((64, 48),)),),
        spectrum=spectrum,
        is_virtual=False,
    )
    return replace(camera, **changes)


def pictures(*, start: float = 0.0, step: float = RATE) -> Callable[[], Taken[Image]]:
    taken = (Taken(np.full((48, 64, 3), 90, np.uint8), start + n * step) for n in count())
    return lambda: next(taken)


def distances(
    *,
    start: float = 0.0,
    step: float = RATE,
    of: Callable[[int], Depths] = stored_depth,
) -> Callable[[], Taken[Depths]]:
    taken = (Taken(of(n), start + n * step) for n in count())
    return lambda: next(taken)


def made_by(**changes: object) -> Callable[[Taken[Image], Taken[Depths]], DepthFrame]:
    """What `DepthNodes` makes of two images, for a rig of `changes`."""
    told = {
        key: value
        for key, value in about(**changes).items()
        if key not in ("format", "version", "frames")
    }
    pairing = Pairing(read_rig(json.dumps(told).encode(), name="depth.json"))

    def make(one: Taken[Image], other: Taken[Depths]) -> DepthFrame:
        return pairing.pair(
            one.image,
            other.image,
            colour_seconds=one.seconds,
            depth_seconds=other.seconds,
            name="/dev/video4",
            origin="/dev/video2",
        )

    return make


def ticking(step: float = RATE) -> Callable[[], float]:
    ticks = count()
    return lambda: next(ticks) * step


def first_frames(
    picture: Callable[[], Taken[Image]], depth: Callable[[], Taken[Depths]], **rig: object
) -> Iterator[DepthFrame]:
    return believed(together(picture, depth), made_by(**rig), clock=ticking())


def test_images_of_one_moment_are_paired_whichever_node_began_first() -> None:
    for behind in (-0.4, 0.0, 0.4):
        seen = list(islice(first_frames(pictures(), distances(start=behind)), 5))
        assert len(seen) == 5
        for frame in seen:
            assert abs(frame.colour.captured_at - frame.depth_captured_at) <= 0.025


def test_a_node_of_half_the_rate_gives_each_depth_once() -> None:
    seen = list(islice(first_frames(pictures(), distances(step=2 * RATE)), 5))
    moments = [frame.depth_captured_at for frame in seen]
    assert len(set(moments)) == 5


def test_one_depth_that_cannot_be_believed_is_passed_over() -> None:
    def once(n: int) -> Depths:
        return np.zeros((48, 64), np.uint16) if n == 1 else stored_depth(n)

    assert len(list(islice(first_frames(pictures(), distances(of=once)), 4))) == 4


IDENTITY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("depth", "rig", "said"),
    [
        (distances(of=lambda n: stored_depth(0)), {}, "the camera stands still"),
        (distances(of=lambda n: stored_depth(n) // 1000 + n % 2), {}, "are not millimetres"),
        (distances(of=lambda n: np.zeros((48, 64), np.uint16)), {}, "has no known depth"),
        (distances(start=3600.0), {}, "from the colour beside it"),
        (distances(start=float("nan")), {}, "from the colour beside it"),
        (
            distances(),
            {
                "registered": False,
                "depth": lens(),
                "depth_to_colour": {"rotation": IDENTITY, "translation_mm": [9000, 0, 0]},
            },
            "no depth falls into the colour image",
        ),
    ],
    ids=["frozen", "metres", "all-unknown", "another-moment", "no-moment", "not-registered"],
)
def test_depth_that_stays_unbelievable_ends_the_look_with_its_reason(
    depth: Callable[[], Taken[Depths]], rig: dict[str, object], said: str
) -> None:
    clock = ticking()
    seen = believed(together(pictures(), depth), made_by(**rig), clock=clock)
    with pytest.raises(CameraError, match=said):
        # One may pass: that a camera stands still shows with its second frame.
        list(islice(seen, 2))
    assert clock() >= PATIENCE_SECONDS


def test_a_clock_that_is_no_number_ends_it_at_once() -> None:
    nothing = distances(of=lambda n: np.zeros((48, 64), np.uint16))
    seen = believed(together(pictures(), nothing), made_by(), clock=repeat(float("nan")).__next__)
    with pytest.raises(CameraError, match="no known depth"):
        next(seen)


def test_a_virtual_node_of_either_kind_is_refused_unless_the_configuration_allows_it() -> None:
    colour, depth = node(Spectrum.COLOUR), node(Spectrum.DEPTH)
    judge_nodes(colour, depth, allow_virtual=False)
    for pair in (
        (replace(colour, is_virtual=True), depth),
        (colour, replace(depth, is_virtual=True)),
    ):
        with pytest.raises(CameraError, match="virtual camera"):
            judge_nodes(*pair, allow_virtual=False)
        judge_nodes(*pair, allow_virtual=True)


def test_a_node_of_pictures_is_no_node_of_distances() -> None:
    with pytest.raises(CameraError, match="gives pictures, not distances"):
        judge_nodes(node(Spectrum.COLOUR), node(Spectrum.INFRARED), allow_virtual=False)


def test_a_device_counts_in_its_own_unit_and_what_is_too_far_is_unknown() -> None:
    counted = np.array([[0, 5000, 65535]], np.uint16)
    assert in_mm(counted, unit_mm=0.1).tolist() == [[0, 500, 6554]]
    assert in_mm(counted, unit_mm=1.0).tolist() == [[0, 5000, 65535]]
    assert in_mm(counted, unit_mm=2.0).tolist() == [[0, 10000, 0]]
