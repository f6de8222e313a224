"""`durably.http.request`: an HTTP request as a step."""

import re
from collections.abc import Coroutine, Mapping
from functools import lru_cache
from typing import Any

from durably.engine.body.context import current
from durably.engine.declare.definitions import Step
from durably.engine.http.client import HttpClient
from durably.engine.http.errors import ResponseTooLarge, UnexpectedStatus
from durably.engine.http.messages import Request, Response
from durably.engine.http.secrets import Secrets, hide, shown
from durably.engine.http.statuses import Statuses, check_statuses, is_among
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.codec import encode
from durably.engine.values.durations import Duration, to_seconds

__all__ = ["request"]


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: str | bytes | None = None,
    json: Any = None,
    timeout: Duration = 30,
    success_status: Statuses = "2xx",
    retry: RetryPolicy | str | None = None,
) -> Coroutine[Any, Any, Response]:
    """Send an HTTP request: `response = await http.request("POST", url, json={…})`.

    In a workflow it is a durable step, named after method and host, such as `POST api.example.com`; inside another step
    it is part of that one's attempt, and elsewhere just a request. Only public addresses are reached, and those that
    `Engine(http_allow=…)` allows. At most 5 redirects are followed.

    - `headers`, and a `body` that is sent as it is, or `json`, which is encoded
    - `timeout`: for all of one attempt, in seconds or as a `timedelta`
    - `success_status`: a code or a class, or several: `"2xx"`, `201`, `("2xx", 404)`. Any other is `UnexpectedStatus`;
      a redirect that is named here is not followed
    - `retry`: a `RetryPolicy`, or the id of a stored one. By default that of the workflow or the engine

    The arguments are recorded, but for the values of headers and of parameters in the query whose names say that they
    are secret (`Authorization`, `Cookie`, `X-Api-Key`, `?access_token=`).

    Raises:
        RequestTimeout, ConnectionFailed, UnexpectedStatus: retried as the policy says.
        AddressRefused, InvalidRequest, ResponseTooLarge: never retried.
        StepError: in a workflow, in the place of these, whose names are its `type`. It has the `status`.
        TypeError, ValueError: an argument cannot work.
    """
    if body is not None and json is not None:
        raise TypeError("body and json are both given; json is a body that is encoded for you")
    hidden = hide(_checked(url, "url"), _checked_headers(headers))
    text, binary = _as_recorded(body)
    step = _step(_name(_checked(method, "method"), url)).options(retry=retry)
    return step(
        method=method.upper(),
        url=hidden.url,
        headers=hidden.headers,
        body=text,
        body_base64=binary,
        json=json,
        timeout=_limit(timeout),
        success_status=check_statuses(success_status),
        secrets=hidden.secrets,
    )


async def _send(
    *,
    method: str,
    url: str,
    headers: dict[str, str],
    body: str | None,
    body_base64: bytes | None,
    json: Any,
    timeout: float,  # noqa: ASYNC109 - recorded under this name, and the client's to keep
    success_status: tuple[str, ...],
    secrets: Secrets | None,
) -> Response:
    """The body of the step. Its parameters are what histories show."""
    given = headers if secrets is None else secrets.into_headers(headers)
    if json is not None and "content-type" not in map(str.lower, given):
        given = {**given, "Content-Type": "application/json"}
    asked = Request(
        method=method,
        url=url if secrets is None else secrets.into_query(url),
        headers=given,
        body=encode(json) if json is not None else (body or "").encode() if body_base64 is None else body_base64,
        timeout=timeout,
        success_status=success_status,
    )
    return _accepted(asked, await _send_with_the_engines_client(asked))


async def _send_with_the_engines_client(asked: Request) -> Response:
    try:
        client = current().resource(HttpClient)
    except LookupError:  # outside of an engine
        async with HttpClient() as client:
            return await client.send(asked)
    return await client.send(asked)


def _accepted(asked: Request, response: Response) -> Response:
    if not is_among(response.status, asked.success_status):
        raise UnexpectedStatus(asked, response)
    if response.truncated:
        raise ResponseTooLarge(
            f"{asked.method} {shown(asked.url)} answered more than {asked.max_body:,} bytes; fetch it in a step of "
            "your own, keep it elsewhere, and return where"
        )
    return response


# -- arguments


@lru_cache(maxsize=1024)
def _step(name: str) -> Step[..., Response]:
    return Step(_send, name)


_AUTHORITY = re.compile(r"[a-z][a-z0-9+.-]*://(?:[^/?#\\]*@)?([^/?#\\]*)", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r"[^\w.:\[\]-]")
LONGEST_NAME = 255


def _name(method: str, url: str) -> str:
    """`GET api.example.com`. Paths have ids in them, and a name is to be the same for all of them.

    The name is part of the step's identity: what this gives for a URL must never change.
    """
    found = _AUTHORITY.match(url)
    host = found[1].lower() if found else ""
    return " ".join(filter(None, (_NOT_IN_NAMES.sub("?", part) for part in (method.upper(), host))))[:LONGEST_NAME]


def _as_recorded(body: object) -> tuple[str | None, bytes | None]:
    """The body as text where it is that, so that people can read it in a history; else as bytes."""
    if body is None or isinstance(body, str):
        return body, None
    if not isinstance(body, bytes):
        raise TypeError(f"body is of type {type(body).__name__}; it must be text or bytes; json= encodes other values")
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return None, body


def _checked(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; it must be text")
    if not value:
        raise ValueError(f"{name} is empty")
    return value


def _checked_headers(headers: Mapping[Any, Any] | None) -> dict[str, str]:
    return {_checked(name, "the name of a header"): _text_of(name, value) for name, value in (headers or {}).items()}


def _text_of(name: str, value: object) -> str:
    if not isinstance(value, str):  # which an error must not show
        raise TypeError(f"the value of the header {name!r} is of type {type(value).__name__}; it must be text")
    return value


def _limit(timeout: Duration) -> float:
    seconds = to_seconds(timeout, "timeout")
    if seconds == 0:
        raise ValueError("timeout is 0; it must be more, or there is no time for an answer")
    return seconds
