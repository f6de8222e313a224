from collections import Counter

from tests.seeds.checklist import ROWS
from tests.seeds.page import PAGE, proofs, render


def test_every_row_is_proved_by_one_test() -> None:
    found = Counter(proof.row for proof in proofs() if proof.row is not None)
    assert [name for name in ROWS if found[name] != 1] == []
    assert sum(proof.row is None for proof in proofs()) > 25, "and so is every sentence of the second seed"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == render(), "docs/seeds.md is out of date: python -m tests.seeds.page writes it"
