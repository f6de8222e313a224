"""Values of JSON, changed all through."""

from collections.abc import Callable, Collection
from typing import Any, cast

__all__ = ["changed"]


def changed(value: Any, leaf: Callable[[Any], Any], *, without: Collection[str] = ()) -> Any:
    """The value with `leaf` of each text, number and the like in it, and without fields of those names."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: changed(each, leaf, without=without) for name, each in fields.items() if name not in without}
    if isinstance(value, list | tuple):
        return [changed(each, leaf, without=without) for each in cast("list[Any]", value)]
    return leaf(value)
