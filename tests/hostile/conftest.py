"""A daemon with one enrolled account, for whoever wants to harm it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon, configure, running
from tests.integration.conftest import (  # noqa: F401 - fixtures
    Machine,
    account,
    machine,
    models_copy,
    portraits,
    program,
)


@pytest.fixture
def daemon(machine: Machine, portraits: tuple[Path, Path]) -> Iterator[Daemon]:  # noqa: F811
    """The enrolled person sits before the camera."""
    configure(machine, portraits[0])
    machine.enrol(portraits[0])
    with running(machine) as started:
        yield started
