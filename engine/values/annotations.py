"""Which annotations can work: those by which JSON comes back as what it was made of (CONTRACT section 2)."""

import collections
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import PurePath
from typing import Any, cast

import msgspec
from msgspec import inspect

from durably.engine.errors import DurablyError
from durably.engine.values.models import is_model

__all__ = ["Unsupported", "check_annotation"]


class Unsupported(DurablyError, TypeError):  # noqa: N818 - named as the errors of the contract are
    """An annotation whose values JSON cannot carry, so that what goes in would not come out."""


def check_annotation(annotation: Any) -> None:
    """Refuse an annotation by which no JSON can be decoded, or not to what it was made of.

    Raises:
        Unsupported: the message says why, and what to write instead.
    """
    try:
        info = inspect.type_info(annotation)
        msgspec.json.Decoder(annotation)  # refuses a little more than `type_info`
    except (TypeError, ValueError) as error:
        raise Unsupported(_with_way_out(str(error))) from None
    except RecursionError:
        raise Unsupported(f"{annotation} refers to itself; name the recursion with a dataclass") from None
    for refusal in _refusals(info, set()):
        raise Unsupported(refusal)


_WAYS_OUT = {
    "custom type": "wrap the union in a pydantic RootModel",
    "dict-like": "make them msgspec structs with tags, like `class Paid(msgspec.Struct, tag=True)`",
    "dataclass or attrs": "make them msgspec structs with tags, like `class Paid(msgspec.Struct, tag=True)`",
    "must be tagged": "give each a tag, like `class Paid(msgspec.Struct, tag=True)`",
    "str-like": "both are text in JSON: put them into fields of their own",
    "array-like": "both are arrays in JSON: put them into fields of their own",
    "Enums must": "give the enum's members text or integers for values",
    "Literal may": "write the enum itself",
    "InitVar": "make it an ordinary field",
    "Integer bounds": "check such bounds in the function",
}


def _with_way_out(message: str) -> str:
    """msgspec's own words, and what can be done."""
    ways = [way for words, way in _WAYS_OUT.items() if words in message]
    return f"{message}; {ways[0]}" if ways else message


# -- parts of a type


def _refusals(node: object, seen: set[int]) -> Iterator[str]:
    """What is wrong with the parts of a type, each in turn."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, inspect.CustomType):
        if node.cls is not object and not is_model(node.cls):
            yield _stranger(node.cls)
    elif isinstance(node, inspect.Type | inspect.Field):
        if isinstance(node, inspect.DictType):
            yield from _bad_key(node.key_type)
        for name in node.__struct_fields__:
            yield from _refusals(getattr(node, name), seen)
    elif isinstance(node, tuple):
        for part in cast("tuple[object, ...]", node):
            yield from _refusals(part, seen)


_INSTEAD: dict[type, str] = {
    str: "str",
    int: "int",
    float: "float",
    Decimal: "Decimal",
    PurePath: "str",
    dict: "dict",
    collections.deque: "list",
    Iterable: "list",
}
"""What to write for a class that is one of these."""


def _stranger(cls: Any) -> str:
    """A class that neither msgspec nor pydantic can make from JSON."""
    instead = [name for base, name in _INSTEAD.items() if isinstance(cls, type) and issubclass(cls, base)]
    way_out = f": write {instead[0]}" if instead else ""
    return (
        f"JSON cannot be decoded to {getattr(cls, '__qualname__', cls)}, as it can to JSON types, dataclasses, msgspec "
        f"structs and pydantic models{way_out}"
    )


_TEXT = (inspect.StrType, inspect.BytesType, inspect.ByteArrayType, inspect.MemoryViewType)
_NO_KEYS = (
    inspect.BoolType,
    inspect.NoneType,
    inspect.CollectionType,
    inspect.TupleType,
    inspect.NamedTupleType,
    inspect.DictType,
    inspect.StructType,
    inspect.DataclassType,
    inspect.TypedDictType,
    inspect.CustomType,
)


def _bad_key(key: inspect.Type) -> Iterator[str]:
    """A dictionary's keys are text in JSON, and have to be told apart by it."""
    while isinstance(key, inspect.Metadata):
        key = key.type
    kinds = key.types if isinstance(key, inspect.UnionType) else (key,)
    if isinstance(key, inspect.LiteralType) and len({type(value) for value in key.values}) > 1:
        yield "a dictionary's keys are text in JSON, so a Literal of several types cannot be one; use text only"
    if any(isinstance(kind, _NO_KEYS) for kind in kinds):
        yield (
            "a dictionary's keys are text in JSON, which takes text, numbers, enums, dates, UUIDs and the like; use a "
            "list of pairs for other keys"
        )
    if len(kinds) > 1 and any(isinstance(kind, _TEXT) for kind in kinds):
        yield "a dictionary's keys are text in JSON, where 1 and '1' are the same; use one type of key"
