"""The body of a template, as it is before sealing and after. `docs/vault.md` specifies it."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import msgspec

from pam_faceid.core.errors import VaultError
from pam_faceid.core.poses import pose_of
from pam_faceid.core.types import (
    Embedding,
    LiveScore,
    Pose,
    Reference,
    ReferenceTemplate,
    SampleQuality,
    is_look,
)


class _StoredReference2(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of version 2, which did not know how living a person looked."""

    enrolled_at: float
    quality: SampleQuality
    source: str
    look: str
    pose: Pose

    def reference(self, embedding: Embedding) -> Reference:
        if not is_look(self.look):
            raise VaultError(f"{self.look!r} is no name of a look")
        return Reference(
            embedding, _finite(self.enrolled_at), self.quality, self.source, self.look, self.pose
        )


class _StoredReference(_StoredReference2, frozen=True, forbid_unknown_fields=True):
    live: LiveScore | None

    def reference(self, embedding: Embedding) -> Reference:
        if self.live is not None and not math.isfinite(self.live.log_odds):
            raise VaultError(f"{self.live.log_odds} is no logarithm of odds")
        return replace(_StoredReference2.reference(self, embedding), live=self.live)


class _StoredReference1(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of version 1, which knew neither looks nor poses."""

    enrolled_at: float
    quality: SampleQuality
    source: str

    def reference(self, embedding: Embedding) -> Reference:
        return Reference(
            embedding,
            _finite(self.enrolled_at),
            self.quality,
            self.source,
            pose=pose_of(self.quality),
        )


class _AnyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sealed. The envelope's format version covers this layout too.

    Args:
        model_id: As in the envelope.
        created_at: Seconds since the epoch.
        dimensions: Of each embedding.
        vectors: Every embedding, one after the other, little-endian float32. Decoded, it is a part
            of what was decoded and not a copy.
    """

    model_id: str
    created_at: float
    dimensions: int
    vectors: memoryview


class _Body(_AnyBody, frozen=True, forbid_unknown_fields=True):
    """Of version 3. `references` has what else is known of each embedding, in the same order."""

    references: list[_StoredReference]


class _Body2(_AnyBody, frozen=True, forbid_unknown_fields=True):
    """Of version 2."""

    references: list[_StoredReference2]


class _Body1(_AnyBody, frozen=True, forbid_unknown_fields=True):
    """Of version 1."""

    references: list[_StoredReference1]


_LAYOUTS: Final[dict[int, type[_Body | _Body2 | _Body1]]] = {1: _Body1, 2: _Body2, 3: _Body}


def encode(template: ReferenceTemplate) -> bytes:
    """Return what is sealed of a template: everything but user name and user id.

    Always in the layout of the newest version.
    """
    vectors = [array("f", reference.embedding.vector) for reference in template.references]
    return msgspec.msgpack.encode(
        _Body(
            model_id=template.model_id,
            created_at=template.created_at,
            dimensions=len(vectors[0]),
            vectors=memoryview(b"".join(_little_endian(vector).tobytes() for vector in vectors)),
            references=[
                _StoredReference(
                    enrolled_at=reference.enrolled_at,
                    quality=reference.quality,
                    source=reference.source,
                    look=reference.look,
                    pose=reference.pose,
                    live=reference.live,
                )
                for reference in template.references
            ],
        )
    )


def decode(
    plaintext: bytes | bytearray, *, version: int, user: str, uid: int, model_id: str
) -> ReferenceTemplate:
    """Return the template that `encode` was given.

    Args:
        plaintext: As it was unsealed.
        version: Of its layout: 1 to 3.
        user, uid, model_id: From the envelope, authenticated.

    Raises:
        FaceIdError: It is not a body, or holds something that is no embedding of this model.
    """
    try:
        body = msgspec.msgpack.decode(plaintext, type=_LAYOUTS[version])
    except (msgspec.DecodeError, RecursionError) as error:
        raise VaultError(f"its body is not understood: {error}") from error
    if body.model_id != model_id:
        raise VaultError(f"it says {model_id!r} outside and {body.model_id!r} inside")
    kept: list[_StoredReference2 | _StoredReference1] = [*body.references]
    references = tuple(
        stored.reference(Embedding(vector=vector, model_id=model_id))
        for vector, stored in zip(_vectors(body), kept, strict=True)
    )
    return ReferenceTemplate(
        user=user,
        uid=uid,
        model_id=model_id,
        references=references,
        created_at=_finite(body.created_at),
    )


def _vectors(body: _Body | _Body2 | _Body1) -> Iterator[array[float]]:
    """Yield each reference's embedding, `body.dimensions` float32."""
    wanted = 4 * body.dimensions * len(body.references)
    if body.dimensions < 1 or len(body.vectors) != wanted:
        raise VaultError(
            f"{len(body.references)} embeddings of {body.dimensions} dimensions need {wanted} "
            f"bytes, and it holds {len(body.vectors)}"
        )
    for start in range(0, wanted, 4 * body.dimensions):
        stored = array("f")
        stored.frombytes(body.vectors[start : start + 4 * body.dimensions])
        yield _little_endian(stored)


def _little_endian(vector: array[float]) -> array[float]:
    """Return it as it is stored, or back: the file does not depend on the processor."""
    if sys.byteorder == "big":
        vector.byteswap()
    return vector


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise VaultError(f"{seconds} is not a time")
    return seconds
