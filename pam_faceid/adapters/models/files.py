"""Every file that a model consists of."""

from __future__ import annotations

from pam_faceid.adapters.models.cohort import read_cohort
from pam_faceid.adapters.models.manifest import ModelSpec, read_model
from pam_faceid.adapters.models.spread import read_spread


def check_files(spec: ModelSpec) -> None:
    """Read a model, its cohort and its spread, and compare each with the manifest.

    Raises:
        ModelError: One is missing, can be changed by others than root, or is not the one named.
    """
    read_model(spec)
    read_cohort(spec)
    read_spread(spec)
