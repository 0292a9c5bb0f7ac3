"""The support archive holds nothing of anybody's face, no key, no password and no name."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pam_faceid.adapters.audit.lines import write_line
from pam_faceid.adapters.vault.keys import create_key_file
from pam_faceid.apps import wiring
from pam_faceid.layout import Layout

if TYPE_CHECKING:
    from tests.integration.conftest import Machine

pytestmark = pytest.mark.root


def bundle(layout: Layout, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pam_faceid.apps.admin", "--root", layout.root),
            *("doctor", "--json", "--bundle", file),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def contents(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        found = {}
        for member in archive.getmembers():
            data = archive.extractfile(member)
            assert data is not None, "files alone"
            found[member.name.partition("/")[2]] = data.read()
        return found


def spellings(secret: bytes) -> list[bytes]:
    """A secret as it might be written: in full, in hexadecimal, in base64 at each offset."""
    pieces = [secret[start : start + 12] for start in range(0, max(len(secret) - 11, 1), 6)]
    written = []
    for piece in pieces:
        written += [piece, piece.hex().encode(), piece.hex().upper().encode()]
        written += [base64.b64encode(bytes(n) + piece)[4:-4] for n in (0, 1, 2)]
    return [each for each in written if len(each) >= 8]


def test_nothing_of_a_face_and_no_secret_is_in_it(
    machine: Machine, portraits: tuple[Path, Path], tmp_path: Path
) -> None:
    """With an enrolled person, attempts in the log, and secrets where a careless copy has them."""
    layout, name = machine.layout, machine.account.name
    machine.enrol(portraits[0])
    machine.show(portraits[0])
    assert machine.authenticate("wrong").accepted
    template = wiring.template_store(layout).load(name, machine.account.uid)
    shadow = next(
        line.split(":")[1]
        for line in Path("/etc/shadow").read_text().splitlines()
        if line.startswith(f"{name}:")
    )
    key = layout.key_file.read_bytes()
    with layout.audit_log.open("ab") as log:
        pairs = {"time": "x", "event": "authenticate", "user": name, "closeness": "near"}
        log.write(write_line({**pairs, "error": key.hex(), "seal": "ab" * 32}) + b"\n")
        log.write(write_line({**pairs, "user": "of.a-directory"}) + b"\n")
    vectors = [np.asarray(r.embedding.vector, np.float32) for r in template.references]
    secrets = [
        key,
        shadow.encode(),
        machine.account.password.encode(),
        # Behind the header, which names the model and the person.
        *(path.read_bytes()[512:] for path in layout.templates.iterdir()),
        *(path.read_bytes() for path in layout.state.iterdir()),
        *(vector.tobytes() for vector in vectors),
    ]

    assert all(len(secret) >= 12 for secret in secrets)

    ended = bundle(layout, tmp_path / "support.tar.gz")

    held = contents(tmp_path / "support.tar.gz")
    everything = b"\n".join([*map(str.encode, held), *held.values()])
    for secret in secrets:
        assert not [each for each in spellings(secret) if each in everything]
    for vector in vectors:
        assert f"{vector[0]:.4f}".encode() not in everything
    assert b"closeness" not in everything
    assert b"seal" not in held["attempts.txt"]
    assert name.encode() not in everything
    assert b"directory" not in held["attempts.txt"]
    assert b"user=user" in held["attempts.txt"], "whom it was about can still be told apart"
    assert json.loads(ended.stdout)["bundle"]["files"] == {n: len(d) for n, d in held.items()}


def test_it_is_roots_alone_and_replaces_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "root")
    layout.config_dir.mkdir(parents=True)
    create_key_file(layout.key_file)
    public = tmp_path / "public"
    public.mkdir()
    public.chmod(0o1777)
    file = public / "support.tar.gz"
    (public / "link").symlink_to(tmp_path / "elsewhere")
    os.umask(0o022)

    first = bundle(layout, file)
    held = file.read_bytes()
    second = bundle(layout, file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert first.returncode == 3, "a broken machine has an archive too"
    assert second.returncode == 1
    assert "exists already" in second.stderr
    assert file.read_bytes() == held
    assert bundle(layout, public / "link").returncode == 1
    assert not (tmp_path / "elsewhere").exists()
