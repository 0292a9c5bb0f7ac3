"""One frame with models loaded: detect, align, embed, beside the same inferences alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.bed import PORTRAIT
from benchmarks.extraction import Pipeline, load_pipeline
from benchmarks.report import median
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.observation import observe
from pam_faceid.core.types import Frame

WARM_UP: Final = 5


@dataclass(frozen=True, slots=True)
class Warm:
    """Medians over frames, ms.

    Args:
        threads: Of each inference.
        stages: Of `core.observation.observe`, by name.
        frame: The whole of it.
        inferences: The model runs that it made, with the same inputs, and nothing else.
        ratio: Median over frames of frame to inferences, taken one after the other.
    """

    threads: int
    stages: dict[str, float]
    frame: float
    inferences: float
    ratio: float


def warm_frames(models: Path, *, embedder: str, threads: int, runs: int) -> Warm:
    """Observe a portrait of 640x480 px over and over, each time followed by its bare inferences.

    Raises:
        RuntimeError: The portrait was refused, so that nothing was embedded.
    """
    pipeline = load_pipeline(models, embedder, threads=threads)
    frame = Frame(decode_image(PORTRAIT.read_bytes(), name=PORTRAIT.name), captured_at=0.0)
    calls = _recorded_calls(pipeline, frame)
    stages: dict[str, list[float]] = {}
    whole, bare = [], []
    for run in range(WARM_UP + runs):
        started = time.perf_counter()
        seen = _observe(pipeline, frame)
        between = time.perf_counter()
        for session, inputs in calls:
            session.run(None, inputs)
        ended = time.perf_counter()
        if run < WARM_UP:
            continue
        whole.append((between - started) * 1e3)
        bare.append((ended - between) * 1e3)
        for stage, milliseconds in seen.items():
            stages.setdefault(stage, []).append(milliseconds)
    return Warm(
        threads=threads,
        stages={stage: median(values) for stage, values in stages.items()},
        frame=median(whole),
        inferences=median(bare),
        ratio=median(w / b for w, b in zip(whole, bare, strict=True)),
    )


def _observe(pipeline: Pipeline, frame: Frame) -> dict[str, float]:
    seen = observe(
        frame,
        index=0,
        detector=pipeline.detector,
        embedder=pipeline.embedder,
        landmarker=pipeline.landmarker,
        cover_detector=pipeline.cover_detector,
        limits=pipeline.limits,
        clock=time.perf_counter,
    )
    if seen.refusal is not None:
        raise RuntimeError(f"the portrait was refused: {seen.refusal.value}")
    return seen.stage_ms


def _recorded_calls(
    pipeline: Pipeline, frame: Frame
) -> Sequence[tuple[ort.InferenceSession, dict[str, NDArray[np.float32]]]]:
    """Return each session that a frame runs, with what it was given, in order."""
    calls: list[tuple[ort.InferenceSession, dict[str, NDArray[np.float32]]]] = []

    class Recorder:
        def __init__(self, session: ort.InferenceSession) -> None:
            self._session = session

        def run(self, outputs: None, inputs: dict[str, NDArray[np.float32]]) -> list[object]:
            calls.append((self._session, {name: value.copy() for name, value in inputs.items()}))
            results: list[object] = self._session.run(outputs, inputs)
            return results

    replaced = []
    parts = (
        pipeline.detector,
        pipeline.embedder,
        pipeline.landmarker,
        pipeline.cover_detector,
    )
    for part in parts:
        for name, value in vars(part).items():
            if isinstance(value, ort.InferenceSession):
                replaced.append((part, name, value))
    for part, name, session in replaced:
        setattr(part, name, Recorder(session))
    try:
        _observe(pipeline, frame)
    finally:
        for part, name, session in replaced:
            setattr(part, name, session)
    return calls
