"""The configuration file."""

from __future__ import annotations

import os
import sys
from typing import Final

from pam_faceid.adapters.safe_files import FileMissingError, read_private, refused_as
from pam_faceid.core.config import Config, parse_config
from pam_faceid.core.errors import ConfigError
from pam_faceid.layout import Layout

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_CONFIG_BYTES: Final = 1_000_000
_MAX_MODE: Final = 0o755


def load_config(layout: Layout) -> Config:
    """Read and validate the configuration file.

    Raises:
        ConfigError: It is missing, not safe, not UTF-8, not TOML, or holds a key or value that is
            not allowed. The message names the file and the line or key.
    """
    path = layout.config_file
    with refused_as(ConfigError):
        try:
            data = read_private(
                path, owner_uid=os.geteuid(), max_mode=_MAX_MODE, max_bytes=MAX_CONFIG_BYTES
            )
        except FileMissingError as error:
            raise ConfigError(
                f"{path} does not exist",
                hint=f"an empty file gives every default: install -m 0644 /dev/null {path}",
            ) from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path} is not UTF-8: byte {data[error.start]:#04x} at line {line}",
            hint="save it as UTF-8",
        ) from error
    try:
        mapping = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(
            f"{path} is nested too deeply", hint="tables go two levels deep: [services.sudo]"
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{path} is not TOML: {error}", hint="see pam_faceid.toml(5); text needs quotes"
        ) from error
    return parse_config(mapping, origin=str(path))
