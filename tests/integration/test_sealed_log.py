"""The sealed log behind real PAM: the confined worker seals; without the chain nobody gets in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pam_faceid.adapters.audit.log import log_owner
from tests.integration.conftest import Machine

pytestmark = pytest.mark.root


@pytest.fixture
def enrolled(machine: Machine, enrolment: Machine, portraits: tuple[Path, Path]) -> Machine:
    machine.show(portraits[0])
    machine.enrol_like(enrolment)
    return machine


def seal(machine: Machine) -> None:
    machine.admin("audit", "start")
    config = machine.layout.config_file.read_text()
    machine.configure(f"{config}\n[audit]\nchain = true\n")


def test_logins_are_sealed_and_the_log_is_intact(enrolled: Machine) -> None:
    seal(enrolled)
    assert enrolled.authenticate(None).accepted
    assert not enrolled.authenticate("wrong", "authenticate").asked_password
    ended = json.loads(enrolled.admin("audit", "verify", "--json").stdout)
    assert ended["intact"]
    assert ended["report"]["intact"] == 3  # the start, and two attempts
    assert [line["outcome"] for line in enrolled.audit()] == ["match", "match"]
    assert all("seal" in line for line in enrolled.audit())


def test_an_edited_login_is_found(enrolled: Machine) -> None:
    seal(enrolled)
    enrolled.authenticate(None)
    log = enrolled.layout.audit_log
    log.write_bytes(log.read_bytes().replace(b"outcome=match", b"outcome=non_match"))
    ended = enrolled.admin("audit", "verify", check=False)
    assert ended.returncode == 1
    assert "altered" in ended.stdout


def test_without_the_chain_there_is_no_match_and_the_password_works(enrolled: Machine) -> None:
    seal(enrolled)
    assert enrolled.authenticate(None).accepted
    enrolled.layout.audit_chain.unlink()
    refused = enrolled.authenticate("wrong")
    assert not refused.accepted
    assert refused.asked_password
    assert enrolled.authenticate(enrolled.account.password).accepted


def test_what_root_writes_belongs_to_the_daemons_user(enrolled: Machine) -> None:
    enrolled.admin("audit", "start")
    enrolled.authenticate(None)
    owner = log_owner()
    for path in (enrolled.layout.audit_log, enrolled.layout.audit_chain):
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (owner.uid, owner.gid)
        assert found.st_mode & 0o7777 == 0o600
    assert enrolled.layout.audit_keys.stat().st_uid == os.geteuid()
