"""The pytest plugin: what is not deterministic fails a workflow's own tests, not its first restart in production.

A `TestEngine` does not start with workflows in which the lint finds something, and every run that has finished in it is
replayed when the test leaves it.
"""

import pytest

from durably.engine.testing import TestEngine

__all__ = ["pytest_addoption", "pytest_configure"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`durably_lint = off` in pytest's configuration leaves the lint to `durably check`."""
    parser.addini("durably_lint", "refuse workflows that are not deterministic", type="bool", default=True)


def pytest_configure(config: pytest.Config) -> None:
    """Switch it on for all tests."""
    TestEngine.replay_on_exit = True
    TestEngine.lint_on_start = bool(config.getini("durably_lint"))
