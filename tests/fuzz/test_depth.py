"""Whatever a recording with depth holds, it is millimetres of the promised size, or refused."""

from __future__ import annotations

import json
from collections import Counter

import cv2
import numpy as np

from pam_faceid.adapters.cameras.depth_images import decode_depth_png, known_depth
from pam_faceid.adapters.cameras.rig import read_recording_file
from pam_faceid.core.errors import CameraError
from tests.depth_scenes import about, lens, stored_depth
from tests.fuzz.harness import mutate, tries

JSON_WORDS = [
    *(b'"unit":"m"', b'"registered":false', b'"turned":90', b"1e999", b"-1", b"NaN", b"null"),
    *(b'"../x"', b"[[1,0,0],[0,1,0],[0,0,1]]", b"\xff\xfe", b"\\ud800", b"65536", b"{}", b"[]"),
]
PNG_WORDS = [b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"\x10\x00", b"\x08\x00", b"\x10\x06"]


def test_whatever_recording_json_holds_it_is_a_rig_or_refused() -> None:
    apart = about(
        3,
        registered=False,
        unknown=9999,
        turned=90,
        depth=lens(),
        depth_to_colour={
            "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            "translation_mm": [25.0, 0, 0],
        },
    )
    corpus = [json.dumps(about()).encode(), json.dumps(apart).encode()]
    ended: Counter[str] = Counter()
    for chance in tries("depth recordings", count=4_000):
        content = mutate(chance, corpus, JSON_WORDS)
        try:
            read = read_recording_file(content, name="recording.json")
        except CameraError as error:
            ended["refused" if "recording.json" in error.message else "nameless"] += 1
            continue
        ended["read"] += 1
        assert read.unit == "mm"
        assert all("/" not in moment.depth for moment in read.frames)
        assert (read.extrinsics() is None) is read.registered
    # Nearly every change of JSON breaks it: that some do not shows that the checks were reached.
    assert min(ended["read"], ended["refused"]) > 0
    assert not ended["nameless"]


def test_whatever_a_depth_image_holds_it_has_the_promised_size_or_is_refused() -> None:
    corpus = [
        cv2.imencode(".png", picture)[1].tobytes()
        for picture in (stored_depth(), stored_depth().astype(np.uint8))
    ]
    ended: Counter[str] = Counter()
    for chance in tries("depth images", count=2_500):
        content = mutate(chance, corpus, PNG_WORDS)
        try:
            stored = decode_depth_png(content, width=64, height=48, name="0.png")
            depth = known_depth(stored, unknown=0, name="0.png")
        except CameraError as error:
            ended["refused" if "0.png" in error.message else "nameless"] += 1
            continue
        ended["read"] += 1
        assert depth.shape == (48, 64)
        assert depth.dtype == np.uint16
    assert ended["refused"] > 0
    assert not ended["nameless"]
