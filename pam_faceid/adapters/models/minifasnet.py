"""MiniFASNet of Silent-Face-Anti-Spoofing as a second opinion, from files that a user brings.

Source: Silent-Face-Anti-Spoofing, `src/generate_patches.py` for the crop, `test.py` for the sum.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.checkpoint import read_checkpoint
from pam_faceid.adapters.models.folding import Layer, Tensors, check_names, folded, tensor
from pam_faceid.adapters.models.manifest import (
    Manifest,
    ModelSpec,
    Origin,
    Presentation,
    read_model,
)
from pam_faceid.adapters.models.protobuf import metadata, weights_message
from pam_faceid.adapters.models.session import open_session
from pam_faceid.core.errors import ModelError
from pam_faceid.core.types import Face

SIDE: Final = 80
LIVE: Final = 1
SMALLEST: Final = 1e-6  # probability; the logarithm of nothing is no score
EPSILON: Final = 1e-5
FRAMES: Final = 8
PARALLEL: Final = "module."  # what training on several cards puts before each name
HINT: Final = (
    "use the files that Silent-Face-Anti-Spoofing publishes in resources/anti_spoof_models"
)


@dataclass(frozen=True, slots=True)
class Published:
    """A file of upstream's.

    Args:
        name: Of the model that it becomes, and of its skeleton but for the ending.
        sha256: As upstream has it.
        scale: Of its crop.
    """

    name: str
    sha256: str
    scale: float


PUBLISHED: Final = (
    Published(
        "minifasnet_v2", "a5eb02e1843f19b5386b953cc4c9f011c3f985d0ee2bb9819eea9a142099bec0", 2.7
    ),
    Published(
        "minifasnet_v1se", "84ee1d37d96894d5e82de5a57df044ef80a58be2b218b5ed7cdfd875ec2f5990", 4.0
    ),
)


class MiniFasNet:
    """The mean of one or more nets, each with a crop of its own.

    Args:
        nets: Crop scale and content of each ONNX file.
        name: For `model_id` and messages.
        threads: Threads for one run.

    Raises:
        ModelError: A file cannot be loaded.
    """

    def __init__(self, nets: Sequence[tuple[float, bytes]], *, name: str, threads: int) -> None:
        if not nets:
            raise ModelError("MiniFASNet needs at least one file")
        self.model_id = name
        self._nets = [
            (scale, open_session(model, name=name, threads=threads, optimise=True))
            for scale, model in nets
        ]

    def score(self, pixels: NDArray[np.uint8], face: Face) -> float:
        """Return the logarithm of the odds that a face in (H, W, 3) uint8 RGB is bona fide."""
        live = 0.0
        for scale, session in self._nets:
            crop = _crop(pixels, face.box, scale)
            planes = crop[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
            live += float(session.run(None, {session.get_inputs()[0].name: planes})[0][0, LIVE])
        live = min(max(live / len(self._nets), SMALLEST), 1 - SMALLEST)
        return math.log(live / (1 - live))


def _crop(pixels: NDArray[np.uint8], box: NDArray[np.float32], scale: float) -> NDArray[np.uint8]:
    """Widen the box, shift it into the image, and squeeze it into a square as upstream does."""
    height, width = pixels.shape[:2]
    across, down = float(box[2] - box[0]), float(box[3] - box[1])
    scale = min((height - 1) / down, (width - 1) / across, scale)
    across, down = across * scale, down * scale
    left = min(max(float(box[0] + box[2]) / 2 - across / 2, 0.0), width - 1 - across)
    top = min(max(float(box[1] + box[3]) / 2 - down / 2, 0.0), height - 1 - down)
    region = pixels[int(top) : int(top + down) + 1, int(left) : int(left + across) + 1]
    return np.asarray(cv2.resize(region, (SIDE, SIDE)), np.uint8)


def convert(checkpoint: Path, shipped: Manifest) -> tuple[ModelSpec, bytes]:
    """Return the detector that a published checkpoint makes, and its file's content.

    Args:
        checkpoint: One of `PUBLISHED`.
        shipped: Holds the skeletons.

    Raises:
        ModelError: The file is another, or the skeleton is missing or altered.
    """
    try:
        found = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{checkpoint} cannot be read: {error.strerror}") from error
    known = next((one for one in PUBLISHED if one.sha256 == found), None)
    if known is None:
        raise ModelError(
            f"{checkpoint} has SHA-256 {found[:12]}...; that of MiniFASNetV2 begins with "
            f"{PUBLISHED[0].sha256[:12]}, that of MiniFASNetV1SE with {PUBLISHED[1].sha256[:12]}",
            hint=HINT,
        )
    skeleton = read_model(shipped.find(f"{known.name}_skeleton"))
    try:
        model = filled(skeleton, read_checkpoint(checkpoint), network=known.name)
    except ModelError as error:
        raise ModelError(f"{checkpoint}: {error.message}", hint=HINT) from error
    sha256 = hashlib.sha256(model).hexdigest()
    spec = ModelSpec(
        name=known.name,
        kind="attack_detector",
        file=f"{known.name}-{sha256[:12]}.onnx",
        sha256=sha256,
        licence="Apache-2.0; the training data is not published",
        origin=Origin(ecosystem="file", package=ascii(checkpoint.name)[1:-1], sha256=found),
        presentation=Presentation(
            crop="minifasnet", scales=(known.scale,), side=SIDE, threshold=0.0, frames=FRAMES
        ),
    )
    MiniFasNet([(known.scale, model)], name=known.name, threads=1)  # raises when it does not load
    return spec, model


def filled(skeleton: bytes, checkpoint: Tensors, *, network: str) -> bytes:
    """Return a skeleton with the weights of a checkpoint.

    Raises:
        ModelError: The checkpoint is another network's.
    """
    tensors = {name.removeprefix(PARALLEL): values for name, values in checkpoint.items()}
    layers = msgspec.json.decode(metadata(skeleton)["layers"], type=list[Layer])
    check_names(layers, tensors, network=network)
    weights: dict[str, NDArray[Any]] = {}
    for layer in layers:
        weight, bias = folded(layer, tensors, epsilon=EPSILON, network=network)
        weights[f"{layer.name}.weight"] = weight.astype("<f4")
        if layer.batch_norm:
            weights[f"{layer.name}.bias"] = bias.astype("<f4")
        if layer.slope:
            slope = tensor(tensors, layer.slope, layer.shape[:1], network=network)
            weights[f"{layer.name}.slope"] = slope.reshape(-1, 1, 1).astype("<f4")
    return skeleton + weights_message(weights)
