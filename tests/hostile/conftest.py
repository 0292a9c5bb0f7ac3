"""A daemon with one enrolled account, for whoever wants to harm it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon, configure, running
from tests.integration.conftest import (  # noqa: F401 - fixtures
    Machine,
    account,
    enrolment,
    machine,
    models_copy,
    portraits,
    program,
)


@pytest.fixture
def daemon(
    machine: Machine,  # noqa: F811
    enrolment: Machine,  # noqa: F811
    portraits: tuple[Path, Path],  # noqa: F811
) -> Iterator[Daemon]:
    """The enrolled person sits before the camera."""
    configure(machine, portraits[0])
    machine.enrol_like(enrolment)
    with running(machine) as started:
        yield started
