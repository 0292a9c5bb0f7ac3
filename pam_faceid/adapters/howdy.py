"""What howdy, another program for logging in by face, knows of people.

Source: howdy's `cli/add.py`: one JSON file a user, `NAME.dat`, with a list of models, each with
`time`, `label`, `id` and `data`, which is a list of dlib embeddings of 128 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec

from pam_faceid.adapters.foreign_files import read_foreign
from pam_faceid.adapters.vault.templates import check_user_name
from pam_faceid.core.errors import FaceIdError, VaultError

SUFFIX: Final = ".dat"
# Where version 2 and the 3.0 beta keep them.
DIRECTORIES: Final = (
    Path("/lib/security/howdy/models"),
    Path("/etc/howdy/models"),
    Path("/usr/lib/security/howdy/models"),
)
MAX_BYTES: Final = 1 << 22
MAX_FILES: Final = 1000
MAX_LABEL: Final = 80
MAX_TIME: Final = 2**32


class _Model(msgspec.Struct, frozen=True):
    time: Annotated[float, msgspec.Meta(ge=0, le=MAX_TIME)]
    label: str
    id: int
    data: list[list[float]]


@dataclass(frozen=True, slots=True)
class HowdyModel:
    """One model of a person.

    Args:
        label: As the person named it; printable, 80 characters at most.
        made_at: Seconds since the epoch.
        embeddings: How many it has.
    """

    label: str
    made_at: float
    embeddings: int


@dataclass(frozen=True, slots=True)
class HowdyUser:
    """One file.

    Args:
        name: Login name, from the file's name.
        models: None of them where the file cannot be read.
        error: Why not; empty when it can.
    """

    name: str
    models: tuple[HowdyModel, ...] = ()
    error: str = ""


def read_directory(directory: Path) -> list[HowdyUser]:
    """Read every file of howdy's directory of models, sorted by name.

    Raises:
        VaultError: There is no such directory, it cannot be read, or it holds too many files.
    """
    try:
        files = sorted(path for path in directory.iterdir() if path.name.endswith(SUFFIX))
    except OSError as error:
        raise VaultError(
            f"cannot read {directory}: {error.strerror}",
            hint="howdy keeps its models in one of: " + ", ".join(map(str, DIRECTORIES)),
        ) from error
    if len(files) > MAX_FILES:
        raise VaultError(
            f"{directory} holds {len(files)} files, more than {MAX_FILES}",
            hint="is it howdy's directory of models?",
        )
    return [_read_user(path) for path in files]


def _read_user(path: Path) -> HowdyUser:
    name = path.name.removesuffix(SUFFIX)
    try:
        check_user_name(name)
        models = msgspec.json.decode(read_foreign(path, max_bytes=MAX_BYTES), type=list[_Model])
    except FaceIdError as error:
        return HowdyUser(_printable(name), error=error.message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return HowdyUser(name, error=f"{path} is not a file of howdy: {error}")
    return HowdyUser(
        name,
        models=tuple(
            HowdyModel(_printable(model.label), float(model.time), len(model.data))
            for model in models
        ),
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_LABEL])
