"""What the core needs of the outside world, as protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.depth_frames import DepthFrame
from pam_faceid.core.motion import Movement
from pam_faceid.core.types import (
    Embedding,
    Face,
    FaceMesh,
    Frame,
    Observation,
    ReferenceTemplate,
)


class FrameSource(Protocol):
    """A camera, or a recording in its place."""

    @property
    def is_recording(self) -> bool:
        """True when no live camera is behind it. The audit line says so."""

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the source ends or `close` is called.

        Raises:
            CameraError: It cannot be opened, is busy, vanished or gives no usable frame.
        """

    def close(self) -> None:
        """Release the device. Safe to call twice."""


class DepthSource(Protocol):
    """A depth camera, or a recording in its place."""

    @property
    def is_recording(self) -> bool:
        """True when no live camera is behind it. The audit line says so."""

    def depth_frames(self) -> Iterator[DepthFrame]:
        """Yield frames until the source ends or `close` is called.

        Raises:
            CameraError: It cannot be opened, vanished, or gives depth that cannot be believed.
        """

    def close(self) -> None:
        """Release the device. Safe to call twice."""


class FaceDetector(Protocol):
    """Finds faces."""

    def detect(self, pixels: NDArray[np.uint8]) -> Sequence[Face]:
        """Return every face in (H, W, 3) uint8 RGB, largest first."""


class Embedder(Protocol):
    """Turns one face into a unit vector."""

    @property
    def model_id(self) -> str:
        """`name@sha256-prefix`."""

    def crop(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """Return the normalised crop that the model wants, (S, S, 3) uint8 RGB."""

    def embed(self, crop: NDArray[np.uint8]) -> Embedding:
        """Return the embedding of a crop made by `crop`."""


class FaceLandmarker(Protocol):
    """Lays a mesh on one face."""

    def locate(self, pixels: NDArray[np.uint8], face: Face) -> FaceMesh:
        """Return the mesh of a detected face in (H, W, 3) uint8 RGB."""


class FaceFollower(Protocol):
    """Follows the face of one look from frame to frame."""

    def follow(self, pixels: NDArray[np.uint8], face: Face, mesh: FaceMesh) -> Movement | None:
        """Return how a face in (H, W, 3) uint8 RGB moved since the frame it is compared with.

        Returns:
            None in that frame, and when the face could not be followed.
        """


class CoverDetector(Protocol):
    """Sees what is worn or held before a face."""

    def covered(self, pixels: NDArray[np.uint8], face: Face) -> float:
        """Return the probability that eyes or mouth are covered, whichever is higher."""


class AttackDetector(Protocol):
    """Tells a living face from a picture of one, a frame at a time."""

    @property
    def model_id(self) -> str:
        """`name@sha256-prefix`."""

    def score(self, pixels: NDArray[np.uint8], face: Face) -> float:
        """Return the logarithm of the odds that a face in (H, W, 3) uint8 RGB is bona fide."""


@runtime_checkable
class DepthEmbedder(Protocol):
    """Turns one face with its depth into a unit vector."""

    @property
    def model_id(self) -> str:
        """`name@sha256-prefix`."""

    def crop(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """Return the aligned colours, (S, S, 3) uint8 RGB, for the quality gate."""

    def embed_with_depth(self, crop: NDArray[np.uint8], frame: DepthFrame, face: Face) -> Embedding:
        """Return the embedding of a face.

        Args:
            crop: Made by `crop` of the frame's colours.

        Raises:
            DepthUnknownError: Too little depth of the face is known.
        """


class Observer(Protocol):
    """The pixel side: looks at frames and says what it saw."""

    def observations(self) -> Iterator[Observation]:
        """Yield one observation a frame until the source ends.

        Raises:
            CameraError, ModelError: The source or a model failed.
        """

    def close(self) -> None:
        """Stop looking and release camera and process."""


class TemplateStore(Protocol):
    """Sealed reference templates by user."""

    def load(self, user: str, uid: int) -> ReferenceTemplate:
        """Open one template.

        Raises:
            NotEnrolledError: There is none.
            VaultError: It is there and must not be believed; the message says why.
        """

    def save(self, template: ReferenceTemplate, *, replace: bool) -> None:
        """Seal and store one template atomically.

        Raises:
            VaultError: It exists and `replace` is false, or it cannot be written.
        """

    def update(
        self, user: str, uid: int, change: Callable[[ReferenceTemplate], ReferenceTemplate]
    ) -> ReferenceTemplate:
        """Replace one template by what `change` makes of it, and return that.

        Raises:
            NotEnrolledError: There is none.
            VaultError: It must not be believed, or cannot be written; it is as it was.
        """

    def remove(self, user: str) -> None:
        """Delete one template. Raises NotEnrolledError when there is none."""

    def users(self) -> list[str]:
        """Names that have a template file, sorted."""


class KeyProvider(Protocol):
    """Where the template key comes from."""

    def key(self) -> bytearray:
        """Return 32 bytes in a buffer of the caller's own, to be overwritten after use.

        Raises:
            VaultError: It is missing, or not as private as it must be.
        """

    def next_key(self) -> bytearray | None:
        """Return the key that a rotation is going over to; None when there is none.

        Raises:
            VaultError: It is there and cannot be read.
        """


class AuditLog(Protocol):
    """One line an attempt, durable before the reply is sent."""

    def record(self, event: str, **fields: str | int | float | bool | None) -> None:
        """Append one line.

        Raises:
            AuditError: It could not be made durable.
        """
