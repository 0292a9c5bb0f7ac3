"""How strangers spread about an embedder's templates, from the file that its manifest names."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pam_faceid.adapters.models.manifest import REINSTALL, ModelSpec, read_listed
from pam_faceid.core.errors import ModelError
from pam_faceid.core.fused import Spread


def read_spread(spec: ModelSpec) -> Spread | None:
    """Return what the matcher "fused" has to know of an embedder; None where it was not measured.

    Raises:
        ModelError: The file is missing, can be changed by others than root, is not the one that the
            manifest names, or is no spread.
    """
    if spec.spread is None:
        return None
    path = Path(spec.directory, spec.spread.file)
    content = read_listed(path, spec.spread.sha256, what=f"the spread of {spec.name}")
    try:
        return msgspec.json.decode(content, type=Spread)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ModelError(f"{path} is no spread: {error}", hint=REINSTALL) from error
