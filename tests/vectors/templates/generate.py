"""Write the test vectors of the template format: python tests/vectors/templates/generate.py

This is a second implementation, written from docs/vault.md alone. It shares no code with
`pam_faceid` on purpose and derives keys with the standard library, so that a change of the
format, or a mistake in it, cannot pass unseen. Keys and nonces are fixed; never use them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = Path(__file__).resolve().parent
KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
NONCE = bytes(range(0xA0, 0xAC))
MODEL = "sface@0ba9fbfa01b5"
LIVE = {"detector": "attack_detector@c164f06d2094", "log_odds": 2.25}
QUALITY = {
    "size_px": 212.5,
    "yaw": 0.125,
    "pitch": -0.0625,
    "roll_degrees": 3.5,
    "sharpness": 143.25,
    "brightness": 118.0,
    "contrast": 46.75,
}


def hkdf_sha256(key: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with an empty salt, for at most 32 bytes."""
    pseudorandom_key = hmac.digest(bytes(32), key, hashlib.sha256)
    return hmac.digest(pseudorandom_key, info + b"\x01", hashlib.sha256)[:length]


@dataclass(frozen=True)
class Envelope:
    """The fields of a file; what is not set follows from the rest, as in a file that opens."""

    body: bytes
    user: bytes = b"alice"
    uid: int = 1000
    model_id: bytes = MODEL.encode()
    version: int = 3
    key: bytes = KEY

    def header(self) -> bytes:
        return (
            b"\x89FaceID\n"
            + struct.pack(">H", self.version)
            + struct.pack(">B", len(self.user))
            + self.user
            + struct.pack(">I", self.uid)
            + struct.pack(">B", len(self.model_id))
            + self.model_id
            + hkdf_sha256(self.key, b"pam_faceid key check", 8)
            + NONCE
            + struct.pack(">I", len(self.body) + 16)
        )

    def file(self) -> bytes:
        info = b"pam_faceid template key\0" + self.user + b"\0" + struct.pack(">I", self.uid)
        cipher = AESGCM(hkdf_sha256(self.key, info, 32))
        return checked(self.header() + cipher.encrypt(NONCE, self.body, self.header()))


def checked(content: bytes) -> bytes:
    """Append the checksum."""
    return content + struct.pack(">I", zlib.crc32(content))


def resealed(file: bytes, change: Callable[[bytearray], None]) -> bytes:
    """Alter a file and mend its checksum, as someone without the key would."""
    content = bytearray(file[:-4])
    change(content)
    return checked(bytes(content))


def flipped(file: bytes, position: int) -> bytes:
    content = bytearray(file)
    content[position] ^= 0x10
    return bytes(content)


def unit_vector(dimensions: int, seed: int) -> bytes:
    raw = [(7 * i + 3 * seed + i * i * (seed + 1)) % 23 - 11 for i in range(dimensions)]
    norm = math.sqrt(sum(value * value for value in raw))
    return struct.pack(f"<{dimensions}f", *(value / norm for value in raw))


def body(
    *vectors: bytes,
    model_id: str = MODEL,
    created_at: float = 1767225600.5,
    dimensions: int | None = None,
    source: str = "USB Camera",
    look: str = "default",
    poses: Sequence[str] = ("straight", "left", "up"),
    live: object = LIVE,
    **extra: object,
) -> dict[str, object]:
    return {
        "model_id": model_id,
        "created_at": created_at,
        "dimensions": len(vectors[0]) // 4 if dimensions is None else dimensions,
        "vectors": b"".join(vectors),
        "references": [
            {
                "enrolled_at": 1767225590.0 + i,
                "quality": QUALITY,
                "source": source,
                "look": look,
                "pose": pose,
                "live": None if i == 1 else live,
            }
            for i, (_, pose) in enumerate(zip(vectors, poses))
        ],
        **extra,
    }


def as_version_2(content: dict[str, object]) -> dict[str, object]:
    """Return a body as it was before anything was said of how living a person looked."""
    return without(content, "live")


def as_version_1(content: dict[str, object]) -> dict[str, object]:
    """Return a body as it was before references had looks and poses."""
    return without(content, "live", "look", "pose")


def without(content: dict[str, object], *keys: str) -> dict[str, object]:
    """Return a body whose references lack these."""
    references = [
        {key: value for key, value in reference.items() if key not in keys}
        for reference in content["references"]  # type: ignore[attr-defined]
    ]
    return {**content, "references": references}


def packed(content: dict[str, object]) -> bytes:
    return msgspec.msgpack.encode(content)


def vectors() -> dict[str, tuple[bytes, dict[str, object]]]:
    """Return, by name, each file and what it must do."""
    found: dict[str, tuple[bytes, dict[str, object]]] = {}

    def add(name: str, why: str, file: bytes, *, user: str, uid: int, **result: object) -> None:
        found[name] = (
            file,
            {"why": why, "key": KEY.hex(), "user": user, "uid": uid, **result},
        )

    def opens(name: str, why: str, envelope: Envelope, content: dict[str, object]) -> None:
        add(
            name,
            why,
            replace(envelope, body=packed(content)).file(),
            user=envelope.user.decode(),
            uid=envelope.uid,
            opens={**content, "vectors": content["vectors"].hex()},  # type: ignore[attr-defined]
        )

    def refused(
        name: str, why: str, file: bytes, message: str, *, user: str = "alice", uid: int = 1000
    ) -> None:
        add(name, why, file, user=user, uid=uid, refused=message)

    one = body(unit_vector(128, 0))
    old = as_version_1(one)
    before = as_version_2(one)
    good = Envelope(packed(one))
    sealed = good.file()
    nonce_at = len(good.header()) - 16

    many = body(
        *(unit_vector(512, seed) for seed in range(3)),
        model_id="vggface2@ffffffffffff",
        source="Kamera f\u00fcr B\u00fcro \u2116 2/\u0438\u043c\u044f.png",
        look="lunettes d\u2019\u00e9t\u00e9",
    )
    longest = Envelope(b"", b"a_B-9.c@d+e$" + b"x" * 20, 2**32 - 2, b"vggface2@ffffffffffff")
    rooted = body(unit_vector(4, 5), created_at=-1.0, source="", poses=("down",))

    opens("good-3-one", "one reference of 128 dimensions", good, one)
    opens(
        "good-3-many",
        "three references of 512 dimensions, of one of which no detector was asked",
        longest,
        many,
    )
    opens(
        "good-3-file",
        "of a picture, so that no detector was asked",
        good,
        body(unit_vector(128, 0), live=None),
    )
    opens("good-2-one", "one reference of 128 dimensions", replace(good, version=2), before)
    opens(
        "good-2-many",
        "three references of 512 dimensions, the longest user name, the largest user id",
        replace(longest, version=2),
        as_version_2(many),
    )
    opens(
        "good-2-root",
        "user id 0, time before the epoch, an empty source",
        Envelope(b"", b"root", 0, version=2),
        as_version_2(rooted),
    )
    opens(
        "good-2-look",
        "the longest name of a look",
        replace(good, version=2),
        as_version_2(body(unit_vector(128, 0), look="\u00e9" * 32, poses=("right",))),
    )
    opens("good-one", "one reference of 128 dimensions", replace(good, version=1), old)
    opens(
        "good-many",
        "three references of 512 dimensions, the longest user name, the largest user id",
        replace(longest, version=1),
        as_version_1(many),
    )
    opens(
        "good-root",
        "user id 0, time before the epoch, an empty source",
        Envelope(b"", b"root", 0, version=1),
        as_version_1(rooted),
    )

    refused("bad-empty", "a file of 0 bytes", b"", "is empty")
    refused("bad-magic", "an image", b"\x89PNG\r\n\x1a\n" + sealed[8:], "is not a template")
    refused("bad-magic-cut", "part of the magic", sealed[:5], "is not a template")
    refused("bad-version-cut", "cut inside the version", sealed[:9], "is truncated")
    refused("bad-header-cut", "cut inside the user name", sealed[:13], "is truncated")
    refused("bad-body-cut", "cut inside the body", sealed[:200], "is truncated")
    refused("bad-last-byte-cut", "the last byte is missing", sealed[:-1], "is truncated")
    refused("bad-longer", "one byte too many", sealed + b"\0", "is damaged")
    refused("bad-flip-user", "a bit of the user name flipped", flipped(sealed, 11), "is damaged")
    refused("bad-flip-nonce", "a bit of the nonce flipped", flipped(sealed, nonce_at), "is damaged")
    refused("bad-flip-body", "a bit of the body flipped", flipped(sealed, 100), "is damaged")
    refused("bad-flip-tag", "a bit of the tag flipped", flipped(sealed, -6), "is damaged")
    refused("bad-flip-checksum", "a bit of the checksum flipped", flipped(sealed, -1), "is damaged")
    refused(
        "bad-not-ascii",
        "a user name that is not ASCII, with a good checksum",
        resealed(sealed, lambda c: c.__setitem__(11, 0xC3)),
        "is damaged",
    )
    refused("bad-version-0", "an older format", replace(good, version=0).file(), "older format 0")
    refused("bad-version-4", "a newer format", replace(good, version=4).file(), "has format 4")
    refused(
        "bad-version-1-new-body",
        "version 1 with a body of version 2",
        replace(good, version=1, body=packed(before)).file(),
        "is not understood",
    )
    refused(
        "bad-version-2-old-body",
        "version 2 with a body of version 1",
        replace(good, version=2, body=packed(old)).file(),
        "is not understood",
    )
    refused(
        "bad-version-2-new-body",
        "version 2 with a body of version 3",
        replace(good, version=2).file(),
        "is not understood",
    )
    refused(
        "bad-version-3-old-body",
        "version 3 with a body of version 2",
        replace(good, body=packed(before)).file(),
        "is not understood",
    )
    refused(
        "bad-version-9-unlike",
        "a newer format with nothing in common",
        sealed[:8] + b"\0\x09",
        "has format 9",
    )
    refused("bad-user", "another user's template", sealed, "of 'alice', not of 'bob'", user="bob")
    refused("bad-uid", "the account was made anew", sealed, "had user id 1000", uid=1001)
    refused("bad-key", "another key", replace(good, key=OTHER_KEY).file(), "another template key")

    refused(
        "bad-altered-body",
        "altered, and the checksum mended",
        resealed(sealed, lambda c: c.__setitem__(-40, c[-40] ^ 1)),
        "was altered",
    )
    refused(
        "bad-altered-nonce",
        "another nonce, and the checksum mended",
        resealed(sealed, lambda c: c.__setitem__(nonce_at, c[nonce_at] ^ 1)),
        "was altered",
    )
    refused(
        "bad-altered-model",
        "another model's name on the outside, and the checksum mended",
        checked(
            replace(good, model_id=b"sface@ffffffffffff").header() + sealed[len(good.header()) : -4]
        ),
        "was altered",
    )
    refused(
        "bad-altered-user",
        "another user's name on the outside, and the checksum mended",
        checked(replace(good, user=b"carol").header() + sealed[len(good.header()) : -4]),
        "was altered",
        user="carol",
    )
    refused(
        "bad-altered-uid",
        "another user id on the outside, and the checksum mended",
        checked(replace(good, uid=1001).header() + sealed[len(good.header()) : -4]),
        "was altered",
        uid=1001,
    )

    def inside(name: str, why: str, content: bytes, message: str) -> None:
        refused(name, "sealed with the right key, but " + why, Envelope(content).file(), message)

    def inside_body(name: str, why: str, content: dict[str, object], message: str) -> None:
        inside(name, why, packed(content), message)

    inside("bad-body-empty", "the body is empty", b"", "is not understood")
    inside("bad-body-text", "the body is text", b"alice", "is not understood")
    inside("bad-body-list", "the body is a list", msgspec.msgpack.encode([1, 2]), "not understood")
    inside("bad-body-trailing", "bytes follow the body", packed(one) + b"\xc0", "not understood")
    inside_body("bad-body-extra", "with an unknown field", {**one, "liveness": 1}, "not understood")
    inside_body(
        "bad-body-field",
        "a field is missing",
        {name: value for name, value in one.items() if name != "created_at"},
        "is not understood",
    )
    inside_body(
        "bad-body-model",
        "another model's name is inside",
        body(unit_vector(128, 0), model_id="sface@ffffffffffff"),
        "outside and",
    )
    for name, look in (
        ("empty", ""),
        ("long", "x" * 33),
        ("control", "red\x1b[31m"),
        ("space", " glasses"),
    ):
        inside_body(
            f"bad-look-{name}",
            "a look has a name that none may have",
            body(unit_vector(128, 0), look=look),
            "no name of a look",
        )
    inside_body(
        "bad-pose",
        "a pose that there is not",
        body(unit_vector(128, 0), poses=("asleep",)),
        "is not understood",
    )
    for name, live, message in (
        ("number", 2.25, "is not understood"),
        ("nan", {**LIVE, "log_odds": math.nan}, "no logarithm of odds"),
        ("detector", {"log_odds": 2.25}, "is not understood"),
    ):
        inside_body(
            f"bad-live-{name}",
            "what a detector said is not as it may be",
            body(unit_vector(128, 0), live=live),
            message,
        )
    inside_body("bad-body-none", "without references", {**one, "references": []}, "0 embeddings")
    inside_body(
        "bad-body-nobody",
        "without references and without vectors",
        {**one, "references": [], "vectors": b""},
        "has no references",
    )
    inside_body(
        "bad-vector-short",
        "an embedding is a byte short",
        {**one, "vectors": unit_vector(128, 0)[:-1]},
        "need 512 bytes, and it holds 511",
    )
    inside_body(
        "bad-vector-dimensions",
        "it claims other dimensions",
        body(unit_vector(128, 0), dimensions=512),
        "need 2048 bytes",
    )
    inside_body(
        "bad-vector-zero-dimensions",
        "it claims no dimensions",
        {**one, "dimensions": 0, "vectors": b""},
        "0 dimensions",
    )
    inside_body(
        "bad-vector-negative-dimensions",
        "it claims negative dimensions",
        body(unit_vector(128, 0), dimensions=-128),
        "-128 dimensions",
    )
    nan = struct.pack("<f", math.nan)
    infinity = struct.pack("<f", math.inf)
    inside_body(
        "bad-vector-nan", "NaN is in it", body(unit_vector(128, 0)[:-4] + nan), "unit norm, not nan"
    )
    inside_body(
        "bad-vector-infinite",
        "an infinity is in it",
        body(unit_vector(128, 0)[:-4] + infinity),
        "unit norm, not inf",
    )
    inside_body("bad-vector-zero", "it is all zeros", body(bytes(512)), "unit norm, not 0.0")
    inside_body(
        "bad-vector-double",
        "an embedding has norm 2",
        body(struct.pack("<128f", *(2 * v for v in struct.unpack("<128f", unit_vector(128, 0))))),
        "unit norm, not 2.0",
    )
    inside_body(
        "bad-vector-second",
        "only the second of two embeddings is bad",
        body(unit_vector(128, 0), bytes(512)),
        "unit norm, not 0.0",
    )
    inside_body(
        "bad-time", "its time is NaN", body(unit_vector(128, 0), created_at=math.nan), "not a time"
    )
    return found


def write(directory: Path) -> None:
    for name, (file, expected) in vectors().items():
        (directory / f"{name}.template").write_bytes(file)
        text = json.dumps(expected, indent=1, ensure_ascii=True)
        (directory / f"{name}.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    write(HERE)
