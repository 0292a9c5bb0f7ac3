"""What was adapted opens for its person on its machine or not at all, and is never half written."""

from __future__ import annotations

import struct
import zlib
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pam_faceid.adapters.vault.adapted import SealedAdaptedStore
from pam_faceid.adapters.vault.keys import KeyFile, OpenedOnce, create_key_file
from pam_faceid.adapters.vault.sealing import ADAPTED, TEMPLATE, seal, unseal
from pam_faceid.core.adaptation import Adapted, AdaptedReference, Origin
from pam_faceid.core.errors import VaultError
from pam_faceid.core.types import Embedding

MODEL = "sface@0ba9fbfa01b5"


def adapted(user: str = "alice", uid: int = 1000, *, references: int = 3) -> Adapted:
    vectors = np.random.default_rng(1).standard_normal((max(1, references), 128))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Adapted(
        user,
        uid,
        MODEL,
        enrolled_at=1e9,
        last_at=2e9,
        references=tuple(
            AdaptedReference(
                Embedding(array("f", vectors[n]), MODEL),
                1.5e9 + n,
                list(Origin)[n % 2],
                0.5 + n / 100,
            )
            for n in range(references)
        ),
    )


class _Place:
    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.keys = KeyFile(root / "template.key")
        create_key_file(root / "template.key")
        self.directory = root / "lib" / "adapted"
        self.store = SealedAdaptedStore(self.directory, owner="no-such-account", keys=self.keys)

    def put(self, what: Adapted) -> Path:
        self.store.change(what.user, what.uid, lambda known, why: what)
        return self.directory / f"{what.user}.adapted"


@pytest.fixture
def place(tmp_path: Path) -> _Place:
    return _Place(tmp_path / "here")


def refusal(store: SealedAdaptedStore, user: str = "alice", uid: int = 1000) -> str:
    with pytest.raises(VaultError) as raised:
        store.load(user, uid)
    assert "forget-adapted" in (raised.value.hint or "") or "chmod" in (raised.value.hint or "")
    return raised.value.message


@pytest.mark.parametrize("references", [0, 1, 8])
def test_what_is_written_is_read_back(place: _Place, references: int) -> None:
    ours, wanted = adapted(references=references), adapted(references=references)
    file = place.put(ours)
    assert file.stat().st_mode & 0o777 == 0o600
    found = place.store.load("alice", 1000)
    assert found is not None
    assert replace(found, references=()) == replace(wanted, references=()) or (
        found.last_at == wanted.last_at
    )
    assert len(found.references) == references
    for one, other in zip(found.references, wanted.references, strict=True):
        assert bytes(one.embedding.octets()) == bytes(other.embedding.octets())
        assert (one.adapted_at, one.origin, one.score) == (
            other.adapted_at,
            other.origin,
            other.score,
        )
    assert place.store.users() == ["alice"]


def test_it_opens_for_nobody_else_and_nowhere_else(place: _Place, tmp_path: Path) -> None:
    file = place.put(adapted())
    elsewhere = _Place(tmp_path / "there")
    elsewhere.put(adapted("bob", 1001))
    (elsewhere.directory / "alice.adapted").write_bytes(file.read_bytes())
    (elsewhere.directory / "alice.adapted").chmod(0o600)
    assert "another template key" in refusal(elsewhere.store)
    (place.directory / "bob.adapted").write_bytes(file.read_bytes())
    (place.directory / "bob.adapted").chmod(0o600)
    assert "of 'alice', not of 'bob'" in refusal(place.store, "bob", 1001)
    assert "user id 1000; now it is 1001" in refusal(place.store, "alice", 1001)


def test_no_flipped_bit_of_adapted_references_opens(place: _Place) -> None:
    """With a checksum that fits, as whoever changes a file would write it."""
    file = place.put(adapted(references=1))
    data = file.read_bytes()
    for position in range(0, len(data) - 4, 7):
        changed = bytearray(data[:-4])
        changed[position] ^= 0x10
        file.write_bytes(bytes(changed) + struct.pack(">I", zlib.crc32(changed)))
        with pytest.raises(VaultError):
            place.store.load("alice", 1000)


def test_a_template_is_no_adapted_file_and_the_other_way_round(place: _Place) -> None:
    """Their keys differ too: a body of one kind opens as no other, whatever its magic says."""
    key = place.keys.key()
    whose = {"user": "alice", "uid": 1000}
    body = seal(b"body", key=key, model_id=MODEL, kind=TEMPLATE, **whose)
    with pytest.raises(VaultError, match="is not a file of adapted references"):
        unseal(body, key=key, origin="FILE", kind=ADAPTED, **whose)
    renamed = bytearray(ADAPTED.magic + body[8:])
    renamed[8:10] = (1).to_bytes(2, "big")
    renamed[-4:] = struct.pack(">I", zlib.crc32(renamed[:-4]))
    with pytest.raises(VaultError, match="was altered"):
        unseal(bytes(renamed), key=key, origin="FILE", kind=ADAPTED, **whose)


def test_a_body_that_is_none_is_refused_and_named(place: _Place) -> None:
    file = place.put(adapted())
    key = place.keys.key()
    for body in (b"", b"\x80", b"nonsense", b"\xc1"):
        file.write_bytes(
            seal(body, key=key, user="alice", uid=1000, model_id=MODEL, version=1, kind=ADAPTED)
        )
        assert "holds no valid references" in refusal(place.store)


@pytest.mark.parametrize("version", [0, 2, 65535])
def test_another_version_is_refused_and_named(place: _Place, version: int) -> None:
    file = place.put(adapted())
    data = bytearray(file.read_bytes())
    data[8:10] = version.to_bytes(2, "big")
    data[-4:] = struct.pack(">I", zlib.crc32(data[:-4]))
    file.write_bytes(data)
    assert f"format {version}" in refusal(place.store)


def test_what_does_not_open_is_told_to_the_change_and_replaced(place: _Place) -> None:
    file = place.put(adapted())
    file.write_bytes(b"broken")
    seen: list[tuple[object, str]] = []

    def transition(known: Adapted | None, why: str) -> Adapted:
        seen.append((known, why))
        return adapted(references=1)

    place.store.change("alice", 1000, transition)
    ((known, why),) = seen
    assert known is None
    assert "is not a file of adapted references" in why
    assert place.store.load("alice", 1000) is not None


def test_a_change_that_fails_changes_nothing(place: _Place) -> None:
    file = place.put(adapted())
    before = file.read_bytes()

    def transition(known: Adapted | None, why: str) -> Adapted:
        raise VaultError("no")

    with pytest.raises(VaultError, match="no"):
        place.store.change("alice", 1000, transition)
    place.store.change("alice", 1000, lambda known, why: None)
    assert file.read_bytes() == before
    assert [*place.directory.iterdir()] == [file]


def test_removing_is_idempotent_and_needs_nothing_that_opens(place: _Place) -> None:
    file = place.put(adapted())
    file.write_bytes(b"broken")
    assert place.store.remove("alice")
    assert not place.store.remove("alice")
    assert not file.exists()


def test_a_link_in_its_place_is_not_followed(place: _Place, tmp_path: Path) -> None:
    file = place.put(adapted())
    other = tmp_path / "other"
    file.rename(other)
    file.symlink_to(other)
    with pytest.raises(VaultError, match="symbolic link"):
        place.store.load("alice", 1000)


def test_the_key_is_opened_once_and_anew_after_it_was_the_wrong_one(tmp_path: Path) -> None:
    class Counted:
        def __init__(self) -> None:
            self.opened = 0

        def key(self) -> bytearray:
            self.opened += 1
            return bytearray([self.opened] * 32)

        def next_key(self) -> bytearray | None:
            return None

    counted = Counted()
    once = OpenedOnce(counted)
    first = once.key()
    first[:] = bytes(32)
    assert once.key() == bytearray([1] * 32), "whoever wipes a copy wipes a copy"
    assert counted.opened == 1
    assert once.next_key() is None
    assert once.key() == bytearray([2] * 32)
    once.forget()
    once.forget()
