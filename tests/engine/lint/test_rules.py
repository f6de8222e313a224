"""The rules fit together, and the documentation shows all kinds."""

import re
from pathlib import Path

from durably.engine.lint.rules import ALLOW, KINDS, METHODS, PACKAGES, RULES

PAGE = Path(__file__).parents[3] / "docs/determinism.md"


def test_each_rule_is_of_a_kind_that_there_is() -> None:
    assert {rule.kind for rule in (*RULES, *METHODS.values(), *PACKAGES.values())} <= set(KINDS)
    assert ALLOW not in KINDS


def test_no_name_has_two_rules() -> None:
    names = [name for rule in RULES for name in rule.names]
    assert len(names) == len(set(names))


def test_the_table_of_the_documentation_is_that_of_the_rules() -> None:
    expected = "\n".join(f"| `{kind.name}` | {kind.what} | {kind.remedy} |" for kind in KINDS.values())
    [table] = re.findall(r"^\| kind \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE)
    assert table.strip() == expected, f"put this into docs/determinism.md:\n{expected}"
