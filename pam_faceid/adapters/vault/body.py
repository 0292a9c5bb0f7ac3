"""The body of a template, as it is before sealing and after. `docs/vault.md` specifies it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pam_faceid.core.errors import VaultError
from pam_faceid.core.types import Embedding, Reference, ReferenceTemplate, SampleQuality

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _StoredReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enrolled_at: float
    quality: SampleQuality
    source: str


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sealed. The envelope's format version covers this layout too.

    Args:
        model_id: As in the envelope.
        created_at: Seconds since the epoch.
        dimensions: Of each embedding.
        vectors: Every embedding, one after the other, little-endian float32.
        references: What else is known of each, in the same order.
    """

    model_id: str
    created_at: float
    dimensions: int
    vectors: bytes
    references: list[_StoredReference]


def encode(template: ReferenceTemplate) -> bytes:
    """Return what is sealed of a template: everything but user name and user id."""
    vectors = np.stack([reference.embedding.vector for reference in template.references])
    return msgspec.msgpack.encode(
        _Body(
            model_id=template.model_id,
            created_at=template.created_at,
            dimensions=vectors.shape[1],
            vectors=vectors.astype("<f4").tobytes(),
            references=[
                _StoredReference(
                    enrolled_at=reference.enrolled_at,
                    quality=reference.quality,
                    source=reference.source,
                )
                for reference in template.references
            ],
        )
    )


def decode(plaintext: bytes, *, user: str, uid: int, model_id: str) -> ReferenceTemplate:
    """Return the template that `encode` was given.

    Args:
        plaintext: As it was unsealed.
        user, uid, model_id: From the envelope, authenticated.

    Raises:
        FaceIdError: It is not a body, or holds something that is no embedding of this model.
    """
    try:
        body = msgspec.msgpack.decode(plaintext, type=_Body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise VaultError(f"its body is not understood: {error}") from error
    if body.model_id != model_id:
        raise VaultError(f"it says {model_id!r} outside and {body.model_id!r} inside")
    references = tuple(
        Reference(
            embedding=Embedding(vector=vector, model_id=model_id),
            enrolled_at=_finite(stored.enrolled_at),
            quality=stored.quality,
            source=stored.source,
        )
        for vector, stored in zip(_vectors(body), body.references, strict=True)
    )
    return ReferenceTemplate(
        user=user,
        uid=uid,
        model_id=model_id,
        references=references,
        created_at=_finite(body.created_at),
    )


def _vectors(body: _Body) -> NDArray[np.float32]:
    """Return the embeddings, (references, dimensions) float32."""
    wanted = 4 * body.dimensions * len(body.references)
    if body.dimensions < 1 or len(body.vectors) != wanted:
        raise VaultError(
            f"{len(body.references)} embeddings of {body.dimensions} dimensions need {wanted} "
            f"bytes, and it holds {len(body.vectors)}"
        )
    flat = np.frombuffer(body.vectors, dtype="<f4").astype(np.float32, copy=False)
    return flat.reshape(len(body.references), body.dimensions)


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise VaultError(f"{seconds} is not a time")
    return seconds
