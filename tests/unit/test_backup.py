"""A backup opens with its passphrase and nothing else, and every refusal has words of its own."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_faceid.adapters.vault.backup import (
    COST,
    MAGIC,
    MAX_COST,
    Backup,
    Cost,
    open_backup,
    seal_backup,
)
from pam_faceid.core.errors import VaultError
from pam_faceid.core.types import DEFAULT_LOOK, Pose
from tests.unit.test_templates import assert_same, template

PASSPHRASE = "correct horse battery staple"
BACKUPS = Path(__file__).resolve().parent.parent / "vectors/backups"
VERSION_1, VERSION_2 = (BACKUPS / f"version-{version}.backup" for version in (1, 2))
CHEAP = Cost(passes=1, lanes=1, kibibytes=8)
PASSES, KIBIBYTES, SALT, CHECK, NONCE, SIZE, BODY = 10, 18, 22, 38, 46, 58, 62


def sealed(cost: Cost = CHEAP) -> bytes:
    templates = [dataclasses.replace(template(), user=user) for user in ("alice", "bob")]
    return seal_backup(
        Backup(made_at=1.7e9, machine="here", templates=templates),
        passphrase=PASSPHRASE,
        cost=cost,
    )


def opened(data: bytes, *, passphrase: str = PASSPHRASE) -> Backup:
    return open_backup(data, passphrase=passphrase, origin="the file")


def fitting_checksum(data: bytes) -> bytes:
    return data[:-4] + struct.pack(">I", zlib.crc32(data[:-4]))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_every_template_comes_back_exactly() -> None:
    backup = opened(sealed())
    assert (backup.made_at, backup.machine) == (1.7e9, "here")
    assert [found.user for found in backup.templates] == ["alice", "bob"]
    for found in backup.templates:
        assert_same(dataclasses.replace(found, user="alice"), template())


def test_nothing_of_a_template_is_in_clear() -> None:
    data = sealed()
    assert b"alice" not in data
    for reference in template().references:
        assert reference.embedding.vector.tobytes()[:16] not in data


def test_a_real_backup_costs_a_guess_what_the_standard_asks_and_more() -> None:
    assert (COST.passes, COST.lanes) == (3, 4)
    assert COST.kibibytes >= 1 << 16
    assert struct.unpack_from(">III", sealed(COST), PASSES) == dataclasses.astuple(COST)


def test_a_wrong_passphrase_is_named() -> None:
    with pytest.raises(VaultError, match="not the passphrase"):
        opened(sealed(), passphrase=PASSPHRASE + "x")


@pytest.mark.parametrize("length", [8, 30, BODY, BODY + 4, -1])
def test_a_truncated_backup_is_named(length: int) -> None:
    with pytest.raises(VaultError, match="is truncated"):
        opened(sealed()[:length])


@pytest.mark.parametrize("data", [b"", b"\x89Face", b"PK\3\4" + bytes(100)])
def test_another_file_is_named(data: bytes) -> None:
    with pytest.raises(VaultError, match="is not a backup"):
        opened(data)


@pytest.mark.parametrize("at", [KIBIBYTES, SALT, CHECK, NONCE, BODY, BODY + 100, -5])
def test_a_bad_disk_is_named(at: int) -> None:
    data = sealed()
    with pytest.raises(VaultError, match="is damaged"):
        opened(flipped(data, at % len(data)))


def test_what_follows_the_end_is_damage() -> None:
    with pytest.raises(VaultError, match="is damaged"):
        opened(sealed() + b"x")


@pytest.mark.parametrize(("at", "why"), [(NONCE, "was altered"), (BODY, "was altered")])
def test_a_forger_who_mends_the_checksum_is_named(at: int, why: str) -> None:
    with pytest.raises(VaultError, match=why):
        opened(fitting_checksum(flipped(sealed(), at)))


@pytest.mark.parametrize("version", [0, 4, 65535])
def test_another_version_is_named(version: int) -> None:
    with pytest.raises(VaultError, match=f"has format {version}"):
        opened(MAGIC + struct.pack(">H", version) + sealed()[10:])


def test_a_backup_of_version_1_opens_with_one_look_and_the_poses_that_were_measured() -> None:
    """The file was written by the program as it was before looks."""
    backup = opened(VERSION_1.read_bytes())
    assert [found.user for found in backup.templates] == ["alice", "bob"]
    before = template()
    as_it_was = dataclasses.replace(
        before,
        references=tuple(
            dataclasses.replace(r, look=DEFAULT_LOOK, pose=Pose.STRAIGHT, live=None)
            for r in before.references
        ),
    )
    assert_same(dataclasses.replace(backup.templates[1], user="alice"), as_it_was)


def test_a_backup_of_version_2_opens_and_says_of_nobody_how_living_they_looked() -> None:
    """The file was written by the program as it was before it knew."""
    backup = opened(VERSION_2.read_bytes())
    references = tuple(dataclasses.replace(r, live=None) for r in template().references)
    as_it_was = dataclasses.replace(template(), references=references)
    assert_same(dataclasses.replace(backup.templates[1], user="alice"), as_it_was)


@pytest.mark.parametrize(
    "cost",
    [
        Cost(passes=MAX_COST.passes + 1, lanes=1, kibibytes=8),
        Cost(passes=2**32 - 1, lanes=1, kibibytes=8),
        Cost(passes=1, lanes=MAX_COST.lanes + 1, kibibytes=1024),
        Cost(passes=1, lanes=1, kibibytes=MAX_COST.kibibytes + 1),
        Cost(passes=1, lanes=1, kibibytes=2**32 - 1),
        Cost(passes=0, lanes=1, kibibytes=8),
        Cost(passes=1, lanes=0, kibibytes=8),
        Cost(passes=1, lanes=4, kibibytes=8),
        Cost(passes=1, lanes=1, kibibytes=0),
    ],
)
def test_a_file_that_would_exhaust_the_machine_is_refused_before_it_does(cost: Cost) -> None:
    data = sealed()
    trap = data[:PASSES] + struct.pack(">III", *dataclasses.astuple(cost)) + data[PASSES + 12 :]
    with pytest.raises(VaultError, match="which no backup of pam_faceid needs"):
        opened(fitting_checksum(trap))


def bad_files() -> list[Callable[[bytes, int], bytes]]:
    return [
        lambda data, at: flipped(data, at % len(data)),
        lambda data, at: data[: at % len(data)],
        lambda data, at: fitting_checksum(flipped(data, 8 + at % (len(data) - 12))),
    ]


GOOD = sealed()


@given(st.sampled_from(bad_files()), st.integers(min_value=0))
def test_no_alteration_opens_or_breaks_the_reader(
    alter: Callable[[bytes, int], bytes], at: int
) -> None:
    data = alter(GOOD, at)
    # Memory that a forged header asks for is bounded by MAX_COST; not to be spent on every example.
    if struct.unpack_from(">III", data.ljust(BODY, b"\0"), PASSES) != dataclasses.astuple(CHEAP):
        return
    with pytest.raises(VaultError):
        opened(data)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(junk: bytes) -> None:
    with pytest.raises(VaultError):
        opened(MAGIC + struct.pack(">HIII", 1, 0, 0, 0) + junk)
