"""Keep the models that a sysadmin adds, beside a manifest of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from pam_faceid.adapters.models.manifest import MANIFEST, Manifest, ModelSpec, load_manifest
from pam_faceid.adapters.safe_files import refused_as, remove_durably, write_atomically
from pam_faceid.core.errors import ModelError

HEADING: Final = "# Written by faceid-admin models add.\n"
READABLE: Final = 0o644


def register(spec: ModelSpec, content: bytes, directory: Path) -> None:
    """Add a model, in place of one of the same name.

    The model is on the disk before the manifest names it, and an old one is removed only after
    that: whenever this is interrupted, the manifest names complete files.

    Args:
        spec: Its file name must not be that of a different model in the directory.
        content: Of the model file.
        directory: Made if it is not there.

    Raises:
        ModelError: Something there cannot be believed, or cannot be written.
    """
    _make(directory)
    before = load_manifest(directory) if (directory / MANIFEST).exists() else Manifest()
    others = [known for known in before.model if known.name != spec.name]
    with refused_as(ModelError):
        _write(directory / spec.file, content)
        _write(directory / MANIFEST, to_toml([*others, spec]).encode())
        for old in before.model:
            if old.name == spec.name and old.file != spec.file:
                remove_durably(old.path, owner_uid=os.geteuid())


def to_toml(specs: Iterable[ModelSpec]) -> str:
    """Return a manifest that `load_manifest` reads back to the same specs."""
    return HEADING + "".join(
        "\n[[model]]\n" + _table(msgspec.to_builtins(msgspec.structs.replace(s, directory="")))
        for s in specs
    )


def _table(values: Mapping[str, Any], *, within: str = "model") -> str:
    lines = [
        f"{key} = {_value(value)}\n"
        for key, value in values.items()
        if value not in (None, "") and not isinstance(value, dict)
    ]
    tables = [
        f"\n[{within}.{key}]\n{_table(value, within=f'{within}.{key}')}"
        for key, value in values.items()
        if isinstance(value, dict)
    ]
    return "".join(lines + tables)


def _value(value: Any) -> str:  # noqa: ANN401 (whatever a manifest may hold)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{k} = {_value(v)}' for k, v in value.items())} }}"
    # A JSON string or number is a TOML one, but for characters outside the basic plane.
    return json.dumps(value, ensure_ascii=False)


def _make(directory: Path) -> None:
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        for path in reversed(missing):
            path.mkdir()
            path.chmod(0o755)  # whatever the umask: the unprivileged side reads models
    except OSError as error:
        raise ModelError(
            f"cannot make {directory}: {error.strerror}", hint="run this as root"
        ) from error


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, content, mode=READABLE, owner_uid=os.geteuid(), group=None, replace=True)
