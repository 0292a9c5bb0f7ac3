"""Fixtures that find real input, and the rule that nothing promised is skipped in CI."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# A shell that starts the tests in the background has these ignored, and so have the programs under
# test, which must die of a Ctrl-C.
KEYBOARD_SIGNALS = (signal.SIGINT, signal.SIGQUIT)

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def pytest_configure() -> None:
    for number in KEYBOARD_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, handler)


def _absent(reason: str) -> None:
    """Skip elsewhere, fail in CI: a run that is green because it did not run is red."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"promised in CI but not possible: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def models_dir() -> Path:
    return REPOSITORY / "onnx_models"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        _absent("the research images are not beside this checkout")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _needs_root(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("root") and os.geteuid() != 0:
        _absent("needs root")
