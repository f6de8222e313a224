"""What code does, as the machine that reads it tells of it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from durably.engine.lint.values import Value

__all__ = ["Observer", "Place"]


class Place(NamedTuple):
    """Where in a file. Lines count from 1, columns from 0 and in bytes; None where Python was told to forget them."""

    line: int
    end_line: int
    column: int | None
    end_column: int | None


class Observer(Protocol):
    """Who judges what the code does."""

    def load_global(self, name: str, at: Place) -> Value:
        """A name that is not a variable of a function."""
        ...

    def get(self, owner: Value, name: str, at: Place) -> Value:
        """An attribute."""
        ...

    def load_module(self, name: str, *, whole: bool) -> Value:
        """An import: of `a.b`, `a.b` if whole, else `a`."""
        ...

    def call(self, callee: Value, arguments: Sequence[Value], at: Place) -> Value:
        """A call, and its result."""
        ...

    def enter(self, value: Value, at: Place) -> None:
        """A `with`."""
        ...

    def iterate(self, value: Value, at: Place) -> None:
        """A walk through a collection, in its order."""
        ...

    def change(self, value: Value, at: Place) -> None:
        """An assignment to an attribute or an item of this."""
        ...

    def set_global(self, name: str, at: Place) -> None:
        """An assignment to a global variable."""
        ...

    def keep(self, value: Value) -> None:
        """A value that goes where it cannot be followed."""
        ...
