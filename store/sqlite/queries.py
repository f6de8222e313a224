"""The named statements of `queries.sql`."""

from collections.abc import Mapping
from importlib.resources import files

import msgspec

__all__ = ["QUERIES", "json_list", "parse"]


def parse(text: str) -> dict[str, str]:
    """Statements by name. Each begins with a line `-- name: …`; its other comment lines describe it."""
    statements: dict[str, str] = {}
    for section in text.split("-- name: ")[1:]:
        name, _, rest = section.partition("\n")
        lines = [line for line in rest.splitlines() if line.strip() and not line.startswith("--")]
        if name in statements:
            raise ValueError(f"two statements are called {name}")
        statements[name] = "\n".join(lines)
    return statements


QUERIES: Mapping[str, str] = parse(files("durably.store.sqlite").joinpath("queries.sql").read_text("utf-8"))


def json_list(values: object) -> str:
    """A list as the one parameter that `json_each(?)` takes."""
    return msgspec.json.encode(values).decode()
