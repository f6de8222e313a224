"""Values as JSON: `encode` to bytes, `decoder_for` an annotation back (DESIGN rule 14, CONTRACT section 2).

What a workflow sees is always decoded from stored bytes, so whatever goes in has to come out: a value that
JSON cannot carry is refused when it is encoded, an annotation that no JSON fits when a function is declared.
Values are what msgspec encodes, and pydantic models where the user has imported pydantic. Without an
annotation JSON's own types come back.

Decoding is as strict as msgspec: no text for a number, no `True` for an `int`; but an `int` for a `float`,
since JSON makes no difference between them.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Never, NoReturn, TypeAlias, final
from uuid import UUID
from zlib import crc32

import msgspec
from msgspec import Raw

from durably.engine.errors import DurablyError, NonRetriableError, qualified_name
from durably.engine.values import models
from durably.engine.values.annotations import Unsupported, check_annotation

__all__ = [
    "MAX_DEPTH",
    "MAX_EVENT",
    "MAX_RESULT",
    "Decode",
    "Json",
    "Malformed",
    "Mismatch",
    "Unencodable",
    "Unsupported",
    "check_depth",
    "decode_json",
    "decoder_for",
    "digest",
    "encode",
    "encode_plain",
    "encode_result",
    "stable_digest",
    "try_encode",
]

MAX_RESULT = 4 * 1024 * 1024
"""The most bytes of a step's result, as JSON."""
MAX_EVENT = 512 * 1024
"""The most bytes of an event, as JSON."""
MAX_DEPTH = 64
"""The most arrays and objects inside one another."""

Json: TypeAlias = bytes | Raw
"""Bytes of JSON in UTF-8: fresh ones, or a payload of a record."""

Decode: TypeAlias = Callable[[Json], Any]
"""From JSON to a value. Raises `Malformed` or `Mismatch`."""


@final
class Unencodable(NonRetriableError):  # noqa: N818 - named as the errors of the contract are
    """A value that JSON cannot carry, or too much of it. Not retried: the code would give the same again."""


@final
class Malformed(DurablyError, ValueError):  # noqa: N818 - named as the errors of the contract are
    """Bytes that are not JSON in UTF-8, or are nested too deeply."""


@final
class Mismatch(DurablyError, ValueError):  # noqa: N818 - named as the errors of the contract are
    """JSON that does not fit an annotation."""


# -- encoding


def encode(value: object) -> bytes:
    """The value as JSON. NaN and infinities are refused: JSON has none, and msgspec would write null.

    Raises:
        Unencodable: the message names the type and the path, such as `$.items[3].client`.
    """
    raw = try_encode(value)
    if raw is None:
        raise _unencodable(value)
    return raw


def try_encode(value: object) -> bytes | None:
    """The value as JSON, or None where `encode` would take its time to say why not."""
    try:
        raw = encode_plain(value)
    except _REFUSALS:
        return None
    if raw.find(b"null") >= 0 and value is not None and _has_non_finite(value):
        return None
    return raw


def encode_result(value: object) -> bytes:
    """Encode what a step or a workflow returned, within the limits on results.

    Raises:
        Unencodable: as for `encode`, or it takes more than `MAX_RESULT` bytes.
    """
    raw = try_encode(value)
    if raw is None:
        raise _unencodable(value)
    if len(raw) > MAX_RESULT:
        raise Unencodable(
            f"the result is {len(raw):,} bytes of JSON, over the limit of {MAX_RESULT:,}; "
            "store it elsewhere and return where it is"
        )
    return raw


_BASES: dict[type, Callable[[Any], object]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: bytes(memoryview(value)),
    datetime: lambda value: datetime.combine(date(value.year, value.month, value.day), _time(value), value.tzinfo),
    date: lambda value: date(value.year, value.month, value.day),
    time: lambda value: _time(value).replace(tzinfo=value.tzinfo),
    timedelta: lambda value: timedelta(value.days, value.seconds, value.microseconds),
    Decimal: Decimal,
    UUID: lambda value: UUID(int=value.int),
}
"""Types whose subclasses msgspec does not encode, and how to make of one of those a value of the type itself."""


def _time(value: Any) -> time:
    return time(value.hour, value.minute, value.second, value.microsecond)


def _encode_other(value: Any) -> object:
    """What msgspec asks for values of types it does not know."""
    if models.is_model(value.__class__):
        return models.dump(value)
    return _encode_as_base(value)


def _encode_as_base(value: object) -> object:
    """A value of a subclass, such as a `pendulum.DateTime`, as what it is one of."""
    for base, convert in _BASES.items():
        if isinstance(value, base):
            return convert(value)
    raise TypeError(f"values of type {_name(value)} cannot be encoded")


def _order_other(value: Any) -> object:
    """The same for digests: a model by its fields, whose sets are then ordered as all others are."""
    return models.fields(value) if models.is_model(value.__class__) else _encode_as_base(value)


encode_plain = msgspec.json.Encoder(enc_hook=_encode_other).encode
"""`encode` without its checks and errors, for values known to be text, integers, booleans and None."""

_REFUSALS = (TypeError, ValueError, OverflowError, RecursionError)
"""What msgspec and pydantic raise for a value they cannot encode."""

_encode_ordered = msgspec.json.Encoder(enc_hook=_order_other, order="deterministic").encode
_encode_binary = msgspec.msgpack.Encoder(enc_hook=_encode_other).encode
_NON_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""A float in MessagePack whose exponent bits are all ones: an infinity or a NaN."""


def _has_non_finite(value: object) -> bool:
    """Whether an infinity or a NaN is in the value. Text that looks like one only costs time."""
    try:
        if _NON_FINITE.search(_encode_binary(value)) is None:
            return False
    except (TypeError, OverflowError):
        pass  # an integer over 64 bits, say: fine in JSON
    return _culprit(value, "$") is not None


def _unencodable(value: object) -> Unencodable:
    try:
        path, culprit, why = _culprit(value, "$") or ("$", value, "")
    except RecursionError:
        return Unencodable(
            f"a {_name(value)} is nested too deeply or contains itself; "
            "JSON is a tree, so give ids instead of references"
        )
    if isinstance(culprit, float):
        return Unencodable(f"{culprit!r} at {path} has no form in JSON; give a finite number or None")
    if isinstance(culprit, str):
        return Unencodable(f"the text at {path} is not Unicode (a lone surrogate); give it as bytes")
    return Unencodable(
        f"the {_name(culprit)} at {path} cannot be encoded as JSON ({why}); "
        "use JSON types, dataclasses, msgspec structs, pydantic models, datetimes and the like"
    )


def _culprit(value: object, path: str) -> tuple[str, object, str] | None:
    """The innermost part that cannot be encoded: where it is, what it is, and what is wrong with it."""
    for step, child in _children(value):
        found = _culprit(child, path + step)
        if found is not None:
            return found
    if isinstance(value, float) and not math.isfinite(value):
        return path, value, "not finite"
    try:
        encode_plain(value)
    except _REFUSALS as error:
        return path, value, str(error)
    return None


def _children(value: Any) -> Iterator[tuple[str, object]]:
    """The parts of a value that are encoded one by one, each with its step in a path."""
    kind: type = value.__class__
    if issubclass(kind, Mapping):
        for key, child in value.items():
            yield f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]", child
    elif issubclass(kind, list | tuple | AbstractSet):
        for index, child in enumerate(value):
            yield f"[{index}]", child
    else:
        for name in _fields(value):
            if hasattr(value, name):
                yield f".{name}", getattr(value, name)


def _fields(value: object) -> Iterator[str]:
    """Names of the fields of a struct, a dataclass, an attrs object or a model."""
    if models.is_model(value.__class__):
        yield from models.fields(value)
    yield from getattr(value, "__struct_fields__", ())
    yield from getattr(value, "__dataclass_fields__", ())
    yield from (attribute.name for attribute in getattr(value, "__attrs_attrs__", ()))


def _name(value: object) -> str:
    return qualified_name(type(value))


# -- decoding


@lru_cache(maxsize=4096)
def _cached_decoder(annotation: Any) -> Decode:
    return _build_decoder(annotation)


def decoder_for(annotation: Any) -> Decode:
    """A function from JSON to a value of the annotated type, the same one for the same annotation.

    `Any` and `object` give JSON's own types.

    Raises:
        Unsupported: no JSON can be decoded by this annotation; the message says why and what to write.
    """
    try:
        return _cached_decoder(annotation)
    except TypeError as error:
        if isinstance(error, Unsupported):
            raise
        return _build_decoder(annotation)  # not hashable: Annotated with a list, say


def _build_decoder(annotation: Any) -> Decode:
    if annotation in (object, Never, NoReturn):
        annotation = Any
    check_annotation(annotation)
    decode = msgspec.json.Decoder(annotation, dec_hook=_decode_other).decode

    def checked(raw: Json) -> Any:
        try:
            return decode(raw)
        except msgspec.ValidationError as error:
            raise Mismatch(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"not JSON in UTF-8: {error}") from None

    return checked


def _decode_other(cls: Any, value: Any) -> Any:
    """What msgspec asks for types it does not know. msgspec adds the path to a `ValueError`."""
    return value if cls is object else models.load(cls, encode_plain(value))


decode_json = decoder_for(Any)
"""From JSON to JSON's own types."""


# -- depth

_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_TO_ARRAYS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def check_depth(raw: bytes, limit: int = MAX_DEPTH) -> None:
    """Refuse JSON with more than `limit` arrays and objects inside one another, before anything decodes it.

    With all but the brackets gone, each pass takes the innermost pairs away, and with them one level. So
    there are never more than `limit` passes, whatever is sent. Other faults are left to the decoder.

    Raises:
        Malformed: there are more levels than that.
    """
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return
    brackets = _STRINGS.sub(b"", raw).translate(_TO_ARRAYS, _NOT_BRACKETS)
    for allowed in range(limit, -1, -1):
        if b"[" * (allowed + 1) in brackets:
            raise Malformed(f"nested more than {limit} deep")
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            return
        brackets = fewer


# -- digests


def digest(raw: bytes) -> str:
    """Eight hexadecimal digits that change when the bytes do, the same in every process.

    A CRC-32: it is there to notice changed code, not an attacker, and takes half the time of BLAKE2.
    """
    return f"{crc32(raw):08x}"


def stable_digest(value: object, raw: bytes) -> str:
    """The digest of the value that `raw` encodes, whatever order its sets have in this process.

    msgspec orders sets and keys except where a set has several types or keys are not text. There the digest
    is that of the sorted bytes: fewer changes show in it, but it too is the same in every process.
    """
    try:
        return digest(_encode_ordered(value))
    except TypeError:
        return digest(bytes(sorted(raw)))
