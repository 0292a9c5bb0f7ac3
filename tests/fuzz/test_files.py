"""Whatever lies in the manifest, in somebody's state or in a backup, is valid or refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from pam_faceid.adapters.models.manifest import Manifest, load_manifest
from pam_faceid.adapters.state import StateStore
from pam_faceid.adapters.vault.backup import Backup, Cost, open_backup, seal_backup
from pam_faceid.core.errors import ModelError, StateError, VaultError
from pam_faceid.core.lockout import Record
from tests.fuzz.harness import Chance, mutate, tries
from tests.fuzz.test_protocol import template

PASSPHRASE = "a passphrase of the tests"
TOML_WORDS = [
    *(b"[[model]]", b"[model.origin]", b"[model.calibration]", b"[", b"]", b"{", b"}", b"=", b"\n"),
    *(b'"', b"'''", b"nan", b"inf", b"-1", b"1e999", b"0x7fffffffffffffff", b"../../etc/shadow"),
    *(
        b'name = "sface"',
        b"dimensions = 0",
        b"points = []",
        b"[" * 2000,
        b"a." * 3000,
        b"\0",
        b"\xff",
    ),
]
JSON_WORDS = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"null",
        b"true",
        b"-1",
        b"1e999",
        b"NaN",
        b"9" * 400,
    ),
    *(b'"user"', b'"record"', b'"version"', b'"charges"', b'"locked"', b"[" * 3000, b"\xff", b"\0"),
]
BYTE_WORDS = [
    b"\0" * 8,
    b"\xff" * 8,
    b"\x89FaceBK\n",
    b"\x91" * 50,
    b"\xdd\xff\xff\xff\xff",
    b"\xc1",
]


def test_whatever_a_manifest_holds_it_is_valid_or_refused(tmp_path: Path, models_dir: Path) -> None:
    path = tmp_path / "manifest.toml"
    corpus = [(models_dir / "manifest.toml").read_bytes(), b"", b"[[model]]\n"]
    for chance in tries("manifests", count=4_000):
        path.write_bytes(mutate(chance, corpus, TOML_WORDS))
        path.chmod(0o644)
        try:
            manifest = load_manifest(tmp_path)
        except ModelError:
            continue
        assert isinstance(manifest, Manifest)
        for spec in manifest.model:
            assert spec.path.parent == tmp_path, chance
            assert len(spec.sha256) == 64, chance


def test_whatever_a_state_holds_it_is_a_record_or_refused(tmp_path: Path) -> None:
    """What was counted is not forgotten: damage is an error and never an empty record."""
    store = StateStore(tmp_path / "state", owner="nobody-has-this-name")
    store.replace("alice", Record(locked=True))
    path = next((tmp_path / "state").glob("alice*"))
    corpus = [path.read_bytes()]
    for chance in tries("states", count=6_000):
        path.write_bytes(mutate(chance, corpus, JSON_WORDS))
        try:
            record = store.load("alice")
        except StateError:
            continue
        assert isinstance(record, Record), chance


@pytest.fixture(scope="module")
def backup() -> bytes:
    made = Backup(made_at=1.7e9, machine="here", templates=[template()])
    cost = Cost(passes=1, lanes=1, kibibytes=8)
    return seal_backup(made, passphrase=PASSPHRASE, cost=cost)


def test_no_changed_backup_opens(backup: bytes) -> None:
    for chance in tries("backups", count=6_000):
        data = mutate(chance, [backup], BYTE_WORDS)
        if data == backup:
            continue
        # A checksum stops what is not hostile; who is makes it fit.
        if chance.random() < 0.7 and len(data) > 4:
            data = data[:-4] + _checksum(data[:-4])
            if data == backup:
                continue
        with pytest.raises(VaultError):
            open_backup(data, passphrase=PASSPHRASE, origin="FILE")


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def test_the_harness_makes_the_same_input_again() -> None:
    """A seed is all that a report of a failure needs."""
    made = [mutate(Chance(seed), [b"x" * 50], [b"y"]) for seed in range(50)]
    assert made == [mutate(Chance(seed), [b"x" * 50], [b"y"]) for seed in range(50)]
    assert len(set(made)) > 40
