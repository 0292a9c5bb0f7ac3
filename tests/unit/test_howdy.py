"""What howdy left is listed where it can be read, and named where it cannot."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pam_faceid.adapters.howdy import MAX_BYTES, HowdyModel, read_directory
from pam_faceid.core.errors import VaultError


def model(**changes: object) -> dict[str, object]:
    made: dict[str, object] = {"time": 1600000000, "label": "Initial model", "id": 0}
    return {**made, "data": [[0.25] * 128], **changes}


def write(directory: Path, content: object, *, name: str = "maria.dat") -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (directory / name).write_text(text)


def test_names_and_labels_are_listed(tmp_path: Path) -> None:
    write(tmp_path, [model(), model(label="With glasses", id=1)])
    write(tmp_path, [], name="zoe.dat")
    write(tmp_path, "not for us", name="README")
    maria, zoe = read_directory(tmp_path)
    assert (maria.name, maria.error) == ("maria", "")
    assert maria.models == (
        HowdyModel("Initial model", 1.6e9, 1),
        HowdyModel("With glasses", 1.6e9, 1),
    )
    assert (zoe.name, zoe.models, zoe.error) == ("zoe", (), "")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "null",
        '{"time": 1}',
        "[1]",
        "[" * 100_000,
        [{"label": "x"}],
        [model(time="now")],
        [model(time=1e300)],
        [model(time=-5)],
        [model(data=[["x"]])],
        [model(label=7)],
    ],
)
def test_a_file_that_is_not_howdys_is_named_and_the_others_are_listed(
    tmp_path: Path, content: object
) -> None:
    write(tmp_path, [model()], name="adam.dat")
    write(tmp_path, content)
    adam, maria = read_directory(tmp_path)
    assert len(adam.models) == 1
    assert maria.models == ()
    assert "maria.dat is not a file of howdy" in maria.error


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "maria.dat").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    (maria,) = read_directory(tmp_path)
    assert f"more than the {MAX_BYTES}" in maria.error


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "maria.dat")
    (maria,) = read_directory(tmp_path)
    assert "not a regular file" in maria.error


def test_a_name_that_nobody_can_have_is_not_passed_on(tmp_path: Path) -> None:
    write(tmp_path, [model()], name="a b\x1b.dat")
    (person,) = read_directory(tmp_path)
    assert "letters, digits" in person.error
    assert person.name == "a b?"


def test_a_label_cannot_steer_the_terminal(tmp_path: Path) -> None:
    write(tmp_path, [model(label="\x1b[2J" + "x" * 500)])
    (maria,) = read_directory(tmp_path)
    assert maria.models[0].label == "?[2J" + "x" * 76


def test_a_missing_directory_is_named_with_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match="No such file") as refusal:
        read_directory(tmp_path / "absent")
    assert "/lib/security/howdy/models" in refusal.value.hint
