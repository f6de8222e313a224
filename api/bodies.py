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

from durably.api.errors import JSON_API, Problem
from durably.api.limits import MAX_DEPTH, MAX_DOCUMENT
from durably.api.responses import JSON
from durably.engine.values.codec import Malformed, check_depth

__all__ = ["decode", "read_body", "read_document", "split"]

T = TypeVar("T")


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


async def read_document(request: web.Request, decoder: msgspec.json.Decoder[T], deadline_s: float) -> T:
    """The body of a JSON:API request; no body is `{}`."""
    if not request.body_exists:
        return decoder.decode(b"{}")
    _check_media_type(request)
    body = await read_body(request, MAX_DOCUMENT, deadline_s)
    return decode(decoder, body or b"{}")


def _check_media_type(request: web.Request) -> None:
    """415 for what is not JSON, or JSON:API with parameters (JSON:API 1.1, server responsibilities)."""
    given = request.headers.get("Content-Type", "")
    media_type, _, parameters = given.partition(";")
    media_type = media_type.strip().lower()
    if media_type not in (JSON, JSON_API):
        detail = f"the Content-Type is {given!r}; send {JSON} or {JSON_API}"
        raise Problem(415, "unsupported_media_type", detail)
    if media_type == JSON_API and re.search(r"(?:^|;)\s*(?!profile=)\w", parameters):
        detail = f"{JSON_API} takes no parameter but profile here, and {given!r} has one"
        raise Problem(415, "unsupported_media_type", detail)


_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, Malformed, RecursionError)
"""What bytes that cannot be taken raise; only the first is a `DecodeError`."""
_split = msgspec.json.Decoder(list[Raw]).decode


def decode(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    """JSON from outside as what `decoder` is for; 400 with the byte or the pointer of what is wrong."""
    try:
        check_depth(raw)
        return decoder.decode(raw)
    except _REFUSALS as error:
        raise _problem(error, raw) from None


def split(raw: bytes) -> list[bytes]:
    """The elements of a JSON array, each still to be decoded; 400 when it is none."""
    try:
        return [bytes(element) for element in _split(raw)]
    except _REFUSALS as error:
        raise _problem(error, raw) from None


def _problem(error: Exception, raw: bytes) -> Problem:
    match error:
        case msgspec.ValidationError():
            what, pointer = _located(str(error))
            return Problem(400, "invalid_input", what, pointer=pointer)
        case msgspec.DecodeError():
            text = str(error)
            return _malformed(text if "(byte" in text else f"{text} (byte {len(raw)})")
        case UnicodeDecodeError():
            return _malformed(f"it is not UTF-8 (byte {_first_bad_byte(raw)})")
        case _:
            return _malformed(f"it has more than {MAX_DEPTH} arrays and objects inside one another")


def _malformed(why: str) -> Problem:
    return Problem(400, "malformed_json", f"this JSON cannot be taken: {why}", pointer="")


def _first_bad_byte(raw: bytes) -> int:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0  # only a string that msgspec judged by itself


_PATH = re.compile(r" - at `\$(.*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def _located(message: str) -> tuple[str, str]:
    """Part msgspec's message from its path: "Expected `str`, got `int` - at `$.name`" points to `/name`."""
    found = _PATH.search(message)
    if found is None:
        return message, ""
    steps = ("".join(step) for step in _STEP.findall(found[1].partition("[...]")[0]))
    return message[: found.start()] + f" at {found[1].lstrip('.')}", "".join(f"/{step}" for step in steps)
