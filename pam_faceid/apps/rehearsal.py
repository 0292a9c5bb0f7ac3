"""A look with nobody before the camera, so that the first one with somebody is like the others.

The first run of a model asks for memory, and the first use of a library loads it. No camera is
opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from pam_faceid.core.types import Face

if TYPE_CHECKING:
    from pam_faceid.apps.order import Order
    from pam_faceid.core.ports import (
        AttackDetector,
        CoverDetector,
        DepthEmbedder,
        Embedder,
        FaceDetector,
        FaceLandmarker,
    )

WALL: Final = np.full((480, 640, 3), 128, np.uint8)
FACE: Final = Face(
    box=np.array([230, 150, 410, 390], np.float32),
    points=np.array([[275, 230], [365, 230], [320, 285], [285, 335], [355, 335]], np.float32),
    score=1.0,
)


def rehearse(
    order: Order,
    *,
    detector: FaceDetector,
    embedder: Embedder | DepthEmbedder,
    landmarker: FaceLandmarker,
    cover_detector: CoverDetector,
    judges: Sequence[AttackDetector],
    unwanted: Callable[[], bool],
) -> None:
    """Do once what a look does.

    Args:
        judges: What the order wants to tell attacks.
        unwanted: Whether somebody is there by now: what is left is then left.

    Raises:
        ModelError: A model fails.
    """

    def embed() -> None:
        if hasattr(embedder, "embed"):  # one of depth needs a picture of it
            embedder.embed(embedder.crop(WALL, FACE)).wipe()

    def follow() -> None:
        from pam_faceid.apps import wiring

        wiring.face_follower().follow(WALL, FACE, landmarker.locate(WALL, FACE))

    def load_the_rest() -> None:
        from pam_faceid.adapters.cameras import recording  # noqa: F401
        from pam_faceid.apps import sightings, wiring  # noqa: F401
        from pam_faceid.core import observation  # noqa: F401

        if not order.recording:
            wiring.frame_source(order).close()

    steps: list[Callable[[], object]] = [
        load_the_rest,
        lambda: detector.detect(WALL),
        embed,
        lambda: landmarker.locate(WALL, FACE),
        lambda: cover_detector.covered(WALL, FACE),
        *(lambda judge=judge: judge.score(WALL, FACE) for judge in judges),
        *([follow] if judges else []),
    ]
    for step in steps:
        if unwanted():
            return
        step()
