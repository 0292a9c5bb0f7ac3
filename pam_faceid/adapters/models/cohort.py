"""The strangers of an embedder, from the file that its manifest names."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pam_faceid.adapters.models.manifest import REINSTALL, ModelSpec, model_id, read_listed
from pam_faceid.core.cohort import Cohort
from pam_faceid.core.errors import ModelError


def read_cohort(spec: ModelSpec) -> Cohort | None:
    """Return the cohort of an embedder; None when it has none.

    Raises:
        ModelError: The file is missing, can be changed by others than root, is not the one that the
            manifest names, is no cohort, or is one of another model.
    """
    if spec.cohort is None:
        return None
    path = Path(spec.directory, spec.cohort.file)
    content = read_listed(path, spec.cohort.sha256, what=f"the cohort of {spec.name}")
    try:
        cohort = msgspec.json.decode(content, type=Cohort)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ModelError(f"{path} is no cohort: {error}", hint=REINSTALL) from error
    if cohort.model_id != model_id(spec) or cohort.dimensions != spec.dimensions:
        raise ModelError(
            f"{path} is the cohort of {cohort.model_id} and not of {model_id(spec)}",
            hint=REINSTALL,
        )
    return cohort
