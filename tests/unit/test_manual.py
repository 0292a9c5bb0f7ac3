"""The manual pages say what the program does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import msgspec.inspect as mi
import pytest

from pam_faceid.adapters import pam_stack
from pam_faceid.apps.admin.__main__ import COMMANDS, cli
from pam_faceid.apps.admin.context import ExitCode
from pam_faceid.core.config import Config

PAGES = ("faceid-admin.8", "faceidd.8", "pam_faceid.8", "pam_faceid.toml.5")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_mistake_that_mandoc_knows(repository: Path, name: str) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    ended = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", repository / "docs/man" / name],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stdout == ""


def documented(page: Path) -> dict[str, str]:
    """What the page says of each key, as `section.key`."""
    found = {}
    for section in re.split(r"^\.Ss ", page.read_text(), flags=re.MULTILINE)[1:]:
        name = section.partition("\n")[0].strip("[]")
        for item in section.split(".It Va ")[1:]:
            key, _, text = item.partition("\n")
            joined = " ".join(re.sub(r"^\.Li ", "", line) for line in text.splitlines())
            found[f"{name}.{key}"] = re.sub(r" ([,;)])", r"\1", joined.replace(r"\(dq", '"'))
    return found


def expected() -> Iterator[tuple[str, list[str]]]:
    """Each key of the configuration with the words that the page must have."""
    for section in msgspec.structs.fields(Config):
        kind = mi.type_info(section.type)
        if isinstance(kind, mi.DictType):
            kind, name = kind.value_type, f"{section.name}.NAME"
        else:
            name = section.name
        assert isinstance(kind, mi.StructType)
        for field in kind.fields:
            words = [default(field.default), *allowed(field.type)]
            yield f"{name}.{field.name}", words


def default(value: object) -> str:
    if value is None:
        return "default not set"
    return f"default {json.dumps(value)}"


def allowed(kind: mi.Type) -> list[str]:
    if isinstance(kind, mi.LiteralType):
        return ["one of " + ", ".join(json.dumps(value) for value in kind.values)]
    if isinstance(kind, mi.TupleType):
        return [f"each {phrase}" for phrase in allowed(kind.item_types[0])]
    if isinstance(kind, mi.IntType | mi.FloatType) and kind.le is not None:
        low = f"above {kind.gt:g}, at most" if kind.gt is not None else f"{kind.ge:g} to"
        return [f"{low} {kind.le:g}"]
    return []


def test_the_configuration_page_has_every_key_with_its_default_and_range(
    repository: Path,
) -> None:
    page = documented(repository / "docs/man/pam_faceid.toml.5")
    wanted = dict(expected())

    assert page.keys() == wanted.keys()
    for key, words in wanted.items():
        for word in words:
            assert word in page[key], f"{key}: {word!r} is not in {page[key]!r}"


def options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield max(parameter.opts, key=len)
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            if name not in ("models",):
                child = command.get_command(click.Context(command), name)
                assert child is not None
                yield from options(child)


def test_the_page_of_faceid_admin_names_every_command_option_and_exit_code(
    repository: Path,
) -> None:
    page = (repository / "docs/man/faceid-admin.8").read_text()

    for command in COMMANDS:
        assert f".It Ic {command}" in page
    for option in set(options(cli)) - {"--version"}:
        assert option.replace("--", "Fl -", 1) in page, option
    for code in ExitCode:
        assert f"\n.It {code.value}\n" in page


def test_the_page_of_the_module_has_the_line_and_the_way_out_as_they_are_tested(
    repository: Path,
) -> None:
    page = (repository / "docs/man/pam_faceid.8").read_text()

    for client in pam_stack.Client:
        assert client.line.replace("\t", " ").strip() in page
    assert r"sed -i '\e#pam_faceid\e(\e.so\e|/hook\e.py\e)#d' /etc/pam.d/*" in page
