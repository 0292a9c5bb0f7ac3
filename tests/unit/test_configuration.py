"""The file is read when it is safe and right, and named with line or key when it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pam_faceid.adapters.configuration import load_config
from pam_faceid.core.config import Config
from pam_faceid.core.errors import ConfigError
from pam_faceid.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.config_dir.mkdir(parents=True, mode=0o755)
    layout.config_file.write_text("")
    layout.config_file.chmod(0o644)
    return layout


def refused(layout: Layout, content: bytes | str) -> ConfigError:
    layout.config_file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as refusal:
        load_config(layout)
    assert str(layout.config_file) in refusal.value.message
    assert refusal.value.hint
    return refusal.value


def test_an_empty_file_gives_every_default(layout: Layout) -> None:
    assert load_config(layout) == Config()


def test_what_is_set_is_read(layout: Layout) -> None:
    layout.config_file.write_text(
        '# comment: Büro\n[matching]\nthreshold = 0.5\n[services."gdm-password"]\nenabled = false\n'
    )
    config = load_config(layout)
    assert config.matching.threshold == 0.5
    assert not config.service("gdm-password").enabled
    assert config.service("sudo").enabled


def test_a_missing_file_says_how_to_make_one(layout: Layout) -> None:
    layout.config_file.unlink()
    with pytest.raises(ConfigError, match=r"config\.toml does not exist") as refusal:
        load_config(layout)
    assert f"install -m 0644 /dev/null {layout.config_file}" in refusal.value.hint


def test_a_missing_directory_is_the_same(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(Layout(tmp_path / "absent"))


def test_a_syntax_error_is_named_with_its_line_and_column(layout: Layout) -> None:
    error = refused(layout, "[camera]\nwidth = 640\nheight = \n")
    assert "is not TOML" in error.message
    assert "line 3, column 10" in error.message


def test_a_key_that_comes_twice_is_refused(layout: Layout) -> None:
    assert "line 3" in refused(layout, "[camera]\nwidth = 640\nwidth = 320\n").message


def test_bytes_that_are_not_utf_8_are_named_with_their_line(layout: Layout) -> None:
    error = refused(layout, b"[camera]\n# \xe9t\xe9\n")
    assert "is not UTF-8: byte 0xe9 at line 2" in error.message


def test_a_file_over_a_megabyte_is_refused(layout: Layout) -> None:
    assert "more than the 1000000" in refused(layout, "#" * 1_000_001).message
    layout.config_file.write_text("#" * 1_000_000)
    assert load_config(layout) == Config()


@pytest.mark.parametrize("opening", ["x = [", "x = {a=", "[a."])
def test_deep_nesting_is_refused_and_does_not_crash(layout: Layout, opening: str) -> None:
    refused(layout, opening * 100_000)


def test_a_number_beyond_reason_is_refused(layout: Layout) -> None:
    refused(layout, "[camera]\nwidth = " + "9" * 10_000)


def test_a_wrong_value_names_file_and_key(layout: Layout) -> None:
    error = refused(layout, "[matching]\nthreshold = 2\n")
    assert error.message.startswith(f"{layout.config_file} [matching]")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_refused(layout: Layout, mode: int) -> None:
    layout.config_file.chmod(mode)
    with pytest.raises(ConfigError, match="can be written by others"):
        load_config(layout)


def test_a_directory_that_others_can_write_is_refused(layout: Layout) -> None:
    layout.config_dir.chmod(0o777)
    with pytest.raises(ConfigError, match="can be written by others"):
        load_config(layout)


def test_a_link_is_refused(layout: Layout, tmp_path: Path) -> None:
    layout.config_file.rename(tmp_path / "elsewhere")
    layout.config_file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a symbolic link"):
        load_config(layout)


@pytest.mark.root
def test_a_file_of_another_owner_is_refused(layout: Layout) -> None:
    os.chown(layout.config_file, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to user id 65534, not to root"):
        load_config(layout)


@pytest.mark.root
def test_a_file_that_may_not_be_read_is_an_error_for_who_is_not_root(layout: Layout) -> None:
    """A process of its own drops to the service user, as pytest cannot drop and come back."""
    layout.config_file.chmod(0o600)
    layout.root.chmod(0o755)
    descriptor = os.open(layout.config_dir, os.O_RDONLY)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from pam_faceid.adapters.configuration import load_config\n"
        "from pam_faceid.core.errors import ConfigError\n"
        "from pam_faceid.layout import Layout\n"
        # An open descriptor stands in for the folders above, which the service user cannot enter.
        f"os.fchdir({descriptor})\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "class Here(Layout):\n"
        "    config_file = Path('config.toml')\n"
        "try:\n"
        "    load_config(Here())\n"
        "except ConfigError as error:\n"
        "    print(error.message, '|', error.hint)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        pass_fds=[descriptor],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    os.close(descriptor)
    assert ended.stdout.strip() == "cannot open config.toml: Permission denied | run this as root"
