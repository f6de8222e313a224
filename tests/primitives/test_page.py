"""docs/asyncio.md says what the tests check."""

from tests.primitives.page import PAGE, render


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == render(), "docs/asyncio.md is out of date: python -m tests.primitives.page writes it"
