"""Looks on real faces, through the command line: added, listed, verified, removed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from pam_faceid.apps.wiring import template_store
from pam_faceid.core.looks import MAX_REFERENCES
from tests.integration.conftest import new_machine
from tests.integration.test_admin import add, admin_command, person, template_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Account, Machine, Program

pytestmark = [pytest.mark.root, pytest.mark.data]

SECONDS = 60.0  # a hang, not a speed


@pytest.fixture
def faces(shared_data: Path) -> list[str]:
    return person(shared_data, "Abdullah_Gul", range(1, 10))


@pytest.fixture
def stranger(shared_data: Path) -> list[str]:
    return person(shared_data, "Adrien_Brody", range(1, 6))


@pytest.fixture(scope="module")
def first_look(
    account: Account, program: Program, models_copy: Path, shared_data: Path
) -> Iterator[Machine]:
    """Where the person was enrolled, once for all who add to that."""
    with new_machine(account, program, models_copy) as machine:
        faces = person(shared_data, "Abdullah_Gul", range(1, 10))
        assert add(machine, "--from", *faces[:4]).returncode == 0
        yield machine


@pytest.fixture
def enrolled(machine: Machine, first_look: Machine) -> Machine:
    machine.enrol_like(first_look)
    return machine


def looks(machine: Machine) -> dict[str, int]:
    shown = json.loads(machine.admin("show-user", machine.account.name, "--json").stdout)
    return {look["look"]: look["references"] for look in shown["looks"]}


def test_a_look_is_added_listed_and_removed(enrolled: Machine, faces: list[str]) -> None:
    name = enrolled.account.name
    ended = add(enrolled, "--extend", "--look", "glasses", "--json", "--from", *faces[4:7])
    assert ended.returncode == 0, ended.stderr
    added = json.loads(ended.stdout)
    assert (added["look"], added["references"]) == ("glasses", 7)
    assert sum(added["poses"].values()) == 3

    shown = json.loads(enrolled.admin("show-user", name, "--json").stdout)
    assert looks(enrolled) == {"default": 4, "glasses": 3}
    assert {reference["look"] for reference in shown["references"]} == {"default", "glasses"}
    for look in shown["looks"]:
        assert look["added"]
        assert look["quality"].keys() == {"size_px", "sharpness", "brightness"}
        assert sum(look["poses"].values()) == look["references"]
    enrolled.admin("verify", name, "--from", *faces[7:])

    removed = enrolled.admin("remove-user", name, "--look", "default", "--yes").stdout
    assert "references left: 3" in removed
    assert looks(enrolled) == {"glasses": 3}
    last = enrolled.admin("remove-user", name, "--look", "glasses", "--yes", check=False)
    assert last.returncode == 1
    assert f"hint: to remove the person: faceid-admin remove-user {name}" in last.stderr
    assert looks(enrolled) == {"glasses": 3}


def test_what_is_shown_of_looks_fits_80_columns(enrolled: Machine, faces: list[str]) -> None:
    name = enrolled.account.name
    added = add(enrolled, "--extend", "--look", "reading glasses", "--from", *faces[4:8])
    written = [added.stdout, enrolled.admin("show-user", name).stdout]
    lines = [line.rstrip() for text in written for line in text.splitlines()]
    assert [line for line in lines if len(line) > 80] == []
    assert any("reading glasses" in line for line in lines)


def test_somebody_else_is_no_look_of_a_person(enrolled: Machine, stranger: list[str]) -> None:
    before = template_file(enrolled).read_bytes()
    ended = add(enrolled, "--extend", "--look", "hat", "--from", *stranger)
    assert ended.returncode == 1
    assert "not like" in ended.stderr
    assert "the median" in ended.stderr
    assert template_file(enrolled).read_bytes() == before


def test_a_mixture_is_no_look_either(
    enrolled: Machine, faces: list[str], stranger: list[str]
) -> None:
    before = template_file(enrolled).read_bytes()
    ended = add(enrolled, "--extend", "--look", "hat", "--from", *faces[4:8], stranger[0])
    assert ended.returncode == 1
    assert "not of one person" in ended.stderr
    assert template_file(enrolled).read_bytes() == before


def test_the_same_pictures_are_no_look(enrolled: Machine, faces: list[str]) -> None:
    ended = add(enrolled, "--extend", "--look", "hat", "--from", *faces[:4])
    assert ended.returncode == 1
    assert "repeats a reference" in ended.stderr
    assert looks(enrolled) == {"default": 4}


def test_who_is_not_enrolled_is_not_extended(machine: Machine, faces: list[str]) -> None:
    ended = add(machine, "--extend", "--look", "hat", "--from", *faces[:4])
    assert ended.returncode == 1
    assert "nothing to extend" in ended.stderr
    assert list(machine.layout.templates.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        ("--extend", "--replace"),
        ("--look", ""),
        ("--look", "x" * 33),
        ("--look", "red\x1b[31m"),
        ("--references", "13"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    machine: Machine, faces: list[str], options: tuple[str, ...]
) -> None:
    assert add(machine, *options, "--from", *faces[:4]).returncode == 2


def test_of_two_looks_added_at_once_both_are_there(enrolled: Machine, faces: list[str]) -> None:
    command = [*admin_command(enrolled), "add-user", enrolled.account.name, "--no-confirm"]
    both = [
        subprocess.Popen([*command, "--extend", "--look", look, "--from", *images])
        for look, images in (("hat", faces[4:6]), ("scarf", faces[6:8]))
    ]
    assert [process.wait(SECONDS) for process in both] == [0, 0]
    assert looks(enrolled) == {"default": 4, "hat": 2, "scarf": 2}


def test_a_look_that_cannot_be_recorded_is_not_added(enrolled: Machine, faces: list[str]) -> None:
    before = template_file(enrolled).read_bytes()
    log = enrolled.layout.audit_log
    log.rename(log.with_suffix(".kept"))
    log.mkdir()
    try:
        ended = add(enrolled, "--extend", "--look", "hat", "--from", *faces[4:7])
    finally:
        log.rmdir()
        log.with_suffix(".kept").rename(log)
    assert ended.returncode != 0
    assert template_file(enrolled).read_bytes() == before


def test_a_person_with_all_references_is_told_before_looking(
    enrolled: Machine, faces: list[str]
) -> None:
    store = template_store(enrolled.layout)
    account = enrolled.account
    few = store.load(account.name, account.uid)
    many = (few.references * MAX_REFERENCES)[:MAX_REFERENCES]
    store.save(dataclasses.replace(few, references=many), replace=True)
    ended = add(enrolled, "--extend", "--look", "hat", "--from", *faces[4:7])
    assert ended.returncode == 1
    assert f"{MAX_REFERENCES} references" in ended.stderr
    assert "--look LOOK" in ended.stderr


def test_a_look_is_not_removed_without_a_yes(enrolled: Machine, faces: list[str]) -> None:
    add(enrolled, "--extend", "--look", "hat", "--from", *faces[4:7])
    name = enrolled.account.name
    ended = enrolled.admin("remove-user", name, "--look", "hat", check=False)
    assert ended.returncode == 1
    assert "--yes" in ended.stderr
    missing = enrolled.admin("remove-user", name, "--look", "scarf", "--yes", check=False)
    assert missing.returncode == 1
    assert "the looks are: default, hat" in missing.stderr
    assert looks(enrolled) == {"default": 4, "hat": 3}
