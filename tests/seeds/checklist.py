"""The rows that the seeds are checked by: a mark on the test that proves each, with the sentence it quotes."""

from typing import NamedTuple

import pytest

__all__ = ["ROWS", "Row", "row", "row_of"]

ROWS = (*(f"P-{number}" for number in range(1, 23)), *(f"S-{number}" for number in range(1, 43)))
"""P: the first seed, Paragon's auto-retries, and the pages it links to. S: the third, smplkit's retry policies, and
what its vendor publishes of jobs.
"""


class Row(NamedTuple):
    """One row, and the sentence that it comes from."""

    name: str
    quote: str


def row(name: str, quote: str) -> pytest.MarkDecorator:
    """Marks the test of a row."""
    assert name in ROWS
    return pytest.mark.row(name, quote)


def row_of(item: pytest.Item) -> Row | None:
    """The row that a test proves, if it has one."""
    mark = item.get_closest_marker("row")
    return None if mark is None else Row(*mark.args)
