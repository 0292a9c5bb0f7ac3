"""observer -> service, for each look: any number of `Seen` and `Unreadable`, at last `Failed` or
`Finished`. What it is told is in `apps.order`.
"""

from __future__ import annotations

from array import array

from pam_faceid.apps.protocol import Message
from pam_faceid.core.errors import FaceIdError, ProtocolError
from pam_faceid.core.types import (
    Embedding,
    Observation,
    PresentationEvidence,
    Refusal,
    SampleQuality,
)


class Seen(Message, frozen=True, tag="seen"):
    """observer -> service: an observation, with the embedding as little-endian float32."""

    index: int
    captured_at: float
    refusal: Refusal | None
    quality: SampleQuality | None
    vector: bytearray | None
    stage_ms: dict[str, float]
    origin: str
    presentation: PresentationEvidence | None = None

    @classmethod
    def of(cls, observation: Observation) -> Seen:
        """Wrap an observation for the wire."""
        embedding = observation.embedding
        return cls(
            index=observation.index,
            captured_at=observation.captured_at,
            refusal=observation.refusal,
            quality=observation.quality,
            vector=None if embedding is None else bytearray(embedding.octets()),
            stage_ms=observation.stage_ms,
            origin=observation.origin,
            presentation=observation.presentation,
        )

    def observation(self, *, model_id: str, dimensions: int) -> Observation:
        """Rebuild the observation, once: what it is made from is overwritten.

        The observer is not trusted to say which model it used.

        Raises:
            ProtocolError: The vector has another length than the model's.
            FaceIdError: It is not a unit vector, or comes with a refusal.
        """
        embedding = None
        if self.vector is not None:
            if len(self.vector) != 4 * dimensions:
                raise ProtocolError(f"the observer sent a vector of {len(self.vector)} bytes")
            vector = array("f")
            vector.frombytes(self.vector)
            self.wipe()
            embedding = Embedding(vector, model_id)
        return Observation(
            index=self.index,
            captured_at=self.captured_at,
            refusal=self.refusal,
            quality=self.quality,
            embedding=embedding,
            stage_ms=self.stage_ms,
            origin=self.origin,
            presentation=self.presentation,
        )

    def wipe(self) -> None:
        """Overwrite the embedding."""
        if self.vector is not None:
            self.vector[:] = bytes(len(self.vector))


class Failed(Message, frozen=True, tag="failed"):
    """observer -> service: it cannot go on. `error` is the class name in core.errors."""

    error: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: FaceIdError) -> Failed:
        """Wrap an error for the wire."""
        return cls(type(error).__name__, error.message, error.hint)


class Unreadable(Message, frozen=True, tag="unreadable"):
    """observer -> service: one file of a recording was left out; the rest goes on."""

    name: str
    message: str
    hint: str


class Finished(Message, frozen=True, tag="finished"):
    """observer -> service: the recording has been seen to its end, or it was enough."""
