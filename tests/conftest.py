"""What the tests of all folders share."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Durably runs on asyncio; `anyio` is a library that workflows may use on it."""
    return "asyncio"
