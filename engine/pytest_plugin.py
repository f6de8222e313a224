"""The pytest plugin: every run that finishes in a `TestEngine` is replayed when the test leaves the engine.

A workflow that is not deterministic then fails its own tests, not its first restart in production.
"""

from durably.engine.testing import TestEngine

__all__ = ["pytest_configure"]


def pytest_configure() -> None:
    """Switch it on for all tests."""
    TestEngine.replay_on_exit = True
