"""The machine of the integration tests, before a real camera node."""

from tests.integration.conftest import (  # noqa: F401 - fixtures
    account,
    machine,
    models_copy,
    portraits,
    program,
)
