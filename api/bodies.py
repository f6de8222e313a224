"""A request's body: read within limits of size and time, decoded with msgspec only.

Large bodies are not decoded in a thread: msgspec keeps the interpreter's lock meanwhile, so the loop would
stand still just the same (measured: 16 MB, 0.5 s, all of it). The limits keep each call short, and arrays are
decoded in slices.
"""

import asyncio
import re
from typing import TypeVar

import msgspec
from aiohttp import web
from msgspec import Raw

from durably.api.errors import Problem
from durably.api.limits import LIMITS_KEY, MAX_DEPTH, MAX_DOCUMENT
from durably.api.media_types import check_content_type
from durably.engine.policies.model import STATUS_REGEX
from durably.engine.values.codec import Malformed, check_depth

__all__ = ["chosen_id", "decode", "read_body", "read_document", "read_resource", "split"]

T = TypeVar("T")
MAX_ID = 255
"""Characters of an id that a client chooses."""


async def read_body(request: web.Request, most: int, deadline_s: float) -> bytes:
    """The whole body, unpacked if it was packed. 413 over `most` bytes, 408 after `deadline_s` seconds."""
    length = request.content_length
    if length is not None and length > most:
        raise _too_large(most)
    try:
        if request.content.is_eof():  # it came with the headers, as small ones do
            body = request.content.read_nowait()
        else:
            async with asyncio.timeout(deadline_s):
                body = await _collect(request, most)
    except TimeoutError:
        detail = f"the body was not there {deadline_s:g} s after the headers; send it faster, or in parts"
        raise Problem(408, "too_slow", detail, close=True) from None
    except web.RequestPayloadError as error:
        raise Problem(400, "malformed_body", f"the body cannot be read: {error}", close=True) from None
    if len(body) > most:
        raise _too_large(most)
    return body


async def _collect(request: web.Request, most: int) -> bytes:
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > most:
            break
    return bytes(body)


def _too_large(most: int) -> Problem:
    detail = f"the body is over the limit of {most:,} bytes; store large data elsewhere and send where it is"
    return Problem(413, "too_large", detail, close=True)


async def read_document(request: web.Request, decoder: msgspec.json.Decoder[T]) -> T:
    """The body of an action: a plain JSON object under either media type; no body is `{}`."""
    return decode(decoder, await _read_json(request) or b"{}")


class _Data(msgspec.Struct):
    type: str
    id: str | None = None
    attributes: Raw = Raw(b"{}")


class _Document(msgspec.Struct):
    data: _Data


_document = msgspec.json.Decoder(_Document)


async def read_resource(
    request: web.Request,
    attributes: type[T],
    *,
    type: str,  # noqa: A002 - JSON:API's names, both
    id: str | None = None,  # noqa: A002
    most: int = MAX_DOCUMENT,
) -> tuple[str | None, T]:
    """The id, if there is one, and the attributes of the resource in a JSON:API document of `most` bytes at most.

    409 when it has another `type`, or another id than `id`. Members of the document that are not understood are
    ignored, as JSON:API wants it; whether attributes may have others is up to their type.
    """
    data = decode(_document, await _read_json(request, most)).data
    if data.type != type:
        detail = f"the resource has the type {data.type[:100]!r}; here are resources of type {type!r}"
        raise Problem(409, "conflict", detail, pointer="/data/type")
    if id is not None and data.id not in (None, id):
        detail = f"the resource has the id {data.id[:100]!r}, and the address is that of {id!r}; an id cannot change"
        raise Problem(409, "conflict", detail, pointer="/data/id")
    return data.id, decode(msgspec.json.Decoder(attributes), bytes(data.attributes), "/data/attributes")


def chosen_id(given: str | None, kind: str) -> str:
    """The id that a client has chosen for something new, of this kind. 400 for one that cannot be in an address."""
    if given is None or not (0 < len(given) <= MAX_ID and given.isprintable()) or given in (".", ".."):
        detail = f"a {kind} needs an id of your choice: 1 to {MAX_ID} printable characters, and not '.' or '..'"
        raise Problem(400, "invalid_input", detail, pointer="/data/id")
    return given


async def _read_json(request: web.Request, most: int = MAX_DOCUMENT) -> bytes:
    if not request.body_exists:
        return b""  # some clients name a type of it all the same
    check_content_type(request)
    return await read_body(request, most, request.config_dict[LIMITS_KEY].body_s)


_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, Malformed, RecursionError)
"""What bytes that cannot be taken raise; only the first is a `DecodeError`."""
_split = msgspec.json.Decoder(list[Raw]).decode


def decode(decoder: msgspec.json.Decoder[T], raw: bytes, at: str = "") -> T:
    """JSON from outside as what `decoder` is for; 400 with the byte or the pointer of what is wrong.

    `at` is where in the body `raw` is, as a JSON pointer; bytes are counted from there.
    """
    try:
        check_depth(raw)
        return decoder.decode(raw)
    except _REFUSALS as error:
        raise _problem(error, raw, at) from None


def split(raw: bytes) -> list[bytes]:
    """The elements of a JSON array, each still to be decoded; 400 when it is none."""
    try:
        return [bytes(element) for element in _split(raw)]
    except _REFUSALS as error:
        raise _problem(error, raw) from None


def _problem(error: Exception, raw: bytes, at: str = "") -> Problem:
    match error:
        case msgspec.ValidationError():
            what, pointer = _located(str(error))
            return Problem(400, "invalid_input", what, pointer=at + pointer)
        case msgspec.DecodeError():
            text = str(error)
            why = text if "(byte" in text else f"{text} (byte {len(raw)})"
        case UnicodeDecodeError():
            why = f"it is not UTF-8 (byte {_first_bad_byte(raw)})"
        case _:
            why = f"it has more than {MAX_DEPTH} arrays and objects inside one another"
    return Problem(400, "malformed_json", f"this JSON cannot be taken: {why}", pointer=at)


def _first_bad_byte(raw: bytes) -> int:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0  # only a string that msgspec judged by itself


IN_WORDS = {STATUS_REGEX: "a status such as 503, or a class of them such as 5xx"}
"""What regular expressions of our types ask for."""
_FIELD = re.compile(r"^Object (?:missing required|contains unknown) field `(.*?)`(?: - at `|$)")
_PATH = re.compile(r" - at `\$(.*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def _located(message: str) -> tuple[str, str]:
    """Part msgspec's message from its path: "Expected `str`, got `int` - at `$.name`" points to `/name`.

    A field that is missing, or should not be there, is pointed to itself. Behind a key of a mapping, which msgspec
    does not tell, nothing is.
    """
    field, found = _FIELD.search(message), _PATH.search(message)
    path = "" if found is None else found[1]
    known, unknown, _ = path.partition("[...]")
    steps = ["".join(step) for step in _STEP.findall(known)]
    if field is not None and not unknown:
        steps.append(field[1])
    what = message if found is None else message[: found.start()] + f" at {path.lstrip('.')}"
    for regex, words in IN_WORDS.items():
        what = what.replace(f"`str` matching regex {regex!r}", words)
    return what, "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
