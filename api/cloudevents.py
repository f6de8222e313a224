"""CloudEvents 1.0 over HTTP, structured, in batches and binary, as events.

| CloudEvents | event |
|---|---|
| `type` | `name` |
| `source`, `id` | `id`: both, with a space between; an id is unique within its source only. Too long, a digest |
| `time` | `ts` |
| `dataschema` | `v` |
| `data` | `data`: an object as it is, nothing as `{}`, text and other values under `value`, bytes under `base64` |
| other attributes, `source` and `id` too | `user`, an object, for `match={"user.source": "/orders"}` |
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import unquote

import msgspec

from durably import Event
from durably.api.bodies import decode
from durably.api.errors import Problem
from durably.api.limits import MAX_EVENT_ID
from durably.api.responses import JSON
from durably.engine.log.ids import derived_id

__all__ = ["Mode", "binary", "mode_of", "structured"]

Mode: TypeAlias = Literal["plain", "structured", "batch", "binary"]

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
PREFIX = "ce-"
BYTES = "application/octet-stream"

_NAME = re.compile("[a-z0-9]+")
_JSON = re.compile(r"[a-z]+/([a-z0-9.-]+\+)?json")
_TEXT = re.compile(r"text/.*|application/([a-z0-9.-]+\+)?xml")
_object = msgspec.json.Decoder(dict[str, Any])
_any = msgspec.json.Decoder(Any)


def mode_of(headers: Mapping[str, str]) -> Mode:
    """How a request brings events. 415 for CloudEvents in another format than JSON."""
    given = headers.get("Content-Type", "")
    if given[:23].lower() == "application/cloudevents":
        media_type = _bare(given)
        if media_type in (STRUCTURED, BATCH):
            return "structured" if media_type == STRUCTURED else "batch"
        detail = (
            f"the Content-Type is {given[:200]!r}; CloudEvents are taken as {STRUCTURED} and {BATCH}, and in headers"
        )
        raise Problem(415, "unsupported_media_type", detail, close=True)
    return "binary" if "ce-specversion" in headers else "plain"


def structured(raw: bytes) -> Event[Any]:
    """The event that a JSON object is."""
    attributes = decode(_object, raw)
    data, encoded = attributes.pop("data", None), attributes.pop("data_base64", None)
    if encoded is not None:
        if data is not None or not isinstance(encoded, str):
            raise _refusal("data_base64 is text in base64, in the place of data")
        try:
            content = b64decode(encoded, validate=True)
        except ValueError:
            raise _refusal("data_base64 is not base64") from None
        data = _read(content, str(attributes.get("datacontenttype") or BYTES))
    return _event({name: value for name, value in attributes.items() if value is not None}, data)


def binary(headers: Mapping[str, str], body: bytes) -> Event[Any]:
    """The event whose attributes are in the headers, and whose data is the body."""
    attributes: dict[str, Any] = {}
    for header, value in headers.items():
        name = header.lower()
        if name.startswith(PREFIX):
            attributes[name.removeprefix(PREFIX)] = _unquoted(name, value)
    media_type = headers.get("Content-Type")
    if media_type is not None:
        attributes["datacontenttype"] = media_type
    return _event(attributes, _read(body, media_type or JSON) if body else None)


def _event(attributes: dict[str, Any], data: Any) -> Event[Any]:
    for name, value in attributes.items():
        if not _NAME.fullmatch(name):
            raise _refusal(f"an attribute is called {name[:80]!r}; names have lower-case letters and digits only")
        if not isinstance(value, str | bool | int):
            raise _refusal(f"attribute {name} is no text, number or truth value; objects belong in data")
    if attributes.pop("specversion", None) != "1.0":
        raise _refusal("specversion is not 1.0, the version of CloudEvents that is understood here")
    name, source, source_id = (_text(attributes, required) for required in ("type", "source", "id"))
    time, schema = attributes.pop("time", None), attributes.pop("dataschema", None)
    del attributes["type"]
    try:
        return Event(
            name, _as_object(data), id=_identity(source, source_id), ts=_time(time), user=attributes, v=_schema(schema)
        )
    except ValueError as error:
        raise _refusal(str(error)) from None


def _text(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _refusal(
            f"attribute {name} is missing or no printable text; every event has type, source, id, specversion"
        )
    return value


def _identity(source: str, source_id: str) -> str:
    if " " in source:
        raise _refusal(f"source is {source[:200]!r}; it is a URI reference, without spaces")
    identity = f"{source} {source_id}"
    return identity if len(identity) <= MAX_EVENT_ID else derived_id(source, source_id)


def _time(text: object) -> datetime | None:
    try:
        return msgspec.convert(text, datetime | None)
    except msgspec.ValidationError:
        raise _refusal("attribute time is no time as in RFC 3339, 2026-01-31T09:30:00Z") from None


def _schema(schema: object) -> str | None:
    if schema is None or isinstance(schema, str):
        return schema
    raise _refusal("attribute dataschema is no text")


def _as_object(data: Any) -> dict[str, Any]:
    if data is None:
        return {}
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {"value": data}


def _read(content: bytes, media_type: str) -> Any:
    """Data of that type: JSON as what it stands for, other text as text, anything else as an object that holds it."""
    bare = _bare(media_type)
    if _JSON.fullmatch(bare):
        return decode(_any, content)
    if _TEXT.fullmatch(bare):
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise _refusal(f"the data is not UTF-8, as {media_type[:80]!r} has to be here") from None
    return {"base64": b64encode(content).decode()}


def _bare(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _unquoted(name: str, value: str) -> str:
    """A header's value: out of its quotes, then percent-decoded (CloudEvents HTTP binding, section 3.1.3.2)."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise _refusal(f"the header {name} is not percent-encoded UTF-8") from None


def _refusal(why: str) -> Problem:
    return Problem(400, "invalid_input", f"this CloudEvent cannot be taken: {why}")
