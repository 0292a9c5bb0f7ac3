"""What is sealed for one user, one user id, one model and one key opens for nothing else."""

from __future__ import annotations

import re

import pytest

from pam_faceid.adapters.vault.sealing import FORMAT_VERSION, reseal, seal, unseal, wipe
from pam_faceid.core.errors import VaultError

KEY = bytes(range(32))
MODEL = "sface@0ba9fbfa01b5"
BODY = b"the body of a template"


@pytest.fixture
def sealed() -> bytes:
    return seal(BODY, key=KEY, user="alice", uid=1000, model_id=MODEL)


def opened(data: bytes, *, key: bytes = KEY, user: str = "alice", uid: int = 1000) -> bytes:
    version, model_id, body = unseal(data, key=key, user=user, uid=uid, origin="FILE")
    assert (version, model_id) == (FORMAT_VERSION, MODEL)
    return body


def test_what_was_sealed_opens(sealed: bytes) -> None:
    assert opened(sealed) == BODY


def test_an_empty_body_can_be_sealed() -> None:
    assert opened(seal(b"", key=KEY, user="alice", uid=1000, model_id=MODEL)) == b""


def test_the_body_is_not_readable_in_the_file(sealed: bytes) -> None:
    assert BODY not in sealed
    assert KEY not in sealed


def test_sealing_twice_gives_different_files(sealed: bytes) -> None:
    """A nonce that comes twice under one key would break AES-GCM."""
    again = {seal(BODY, key=KEY, user="alice", uid=1000, model_id=MODEL) for _ in range(50)}
    assert len(again | {sealed}) == 51


def test_no_flipped_bit_opens(sealed: bytes) -> None:
    for position in range(len(sealed)):
        for bit in range(8):
            content = bytearray(sealed)
            content[position] ^= 1 << bit
            with pytest.raises(VaultError, match=r"^FILE "):
                opened(bytes(content))


def test_every_truncation_is_refused(sealed: bytes) -> None:
    for length in range(len(sealed)):
        with pytest.raises(VaultError, match=r"is (empty|not a template|truncated)"):
            opened(sealed[:length])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user": "bob"}, "FILE is the template of 'alice', not of 'bob'"),
        ({"uid": 1001}, "FILE was made when 'alice' had user id 1000; now it is 1001"),
        ({"key": bytes(32)}, "FILE was sealed with another template key"),
    ],
)
def test_each_mismatch_says_what_differs_and_how_to_go_on(
    sealed: bytes, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(VaultError, match=re.escape(message)) as refusal:
        opened(sealed, **arguments)  # type: ignore[arg-type]
    user = arguments.get("user", "alice")
    assert f"faceid-admin add-user {user} --replace" in refusal.value.hint


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_of_the_wrong_size_is_refused(sealed: bytes, key: bytes) -> None:
    with pytest.raises(VaultError, match="a template key has 32 bytes"):
        opened(sealed, key=key)
    with pytest.raises(VaultError, match="a template key has 32 bytes"):
        seal(BODY, key=key, user="alice", uid=1000, model_id=MODEL)


@pytest.mark.parametrize(
    ("user", "uid", "model_id"),
    [
        ("", 0, MODEL),
        ("ж", 0, MODEL),
        ("x" * 256, 0, MODEL),
        ("alice", -1, MODEL),
        ("alice", 2**32, MODEL),
        ("alice", 0, ""),
        ("alice", 0, "ü"),
        ("alice", 0, "x" * 256),
    ],
)
def test_what_does_not_fit_the_format_is_not_sealed(user: str, uid: int, model_id: str) -> None:
    with pytest.raises(VaultError, match="is not"):
        seal(BODY, key=KEY, user=user, uid=uid, model_id=model_id)


def test_a_wiped_key_is_gone() -> None:
    key = bytearray(KEY)
    wipe(key)
    assert key == bytes(32)


def test_another_key_leaves_an_older_layout_as_it_is() -> None:
    """The body is not read, so it must not be said to be of another version."""
    new_key = bytes(range(1, 33))
    old = seal(BODY, key=KEY, user="alice", uid=1000, model_id=MODEL, version=1)
    again = reseal(old, key=KEY, new_key=new_key, origin="FILE")
    assert unseal(again, key=new_key, user="alice", uid=1000, origin="FILE") == (1, MODEL, BODY)
