"""What an exception means to the engine: what follows from it, what kind it is, and how it is recorded.

The HTTP clients are never imported here: an exception of one of them can only have been raised where the user
has imported it, so its classes are known by name.
"""

import errno
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from msgspec import structs

from durably.engine.errors import (
    ChildError,
    ErrorInfo,
    NonRetriableError,
    RetryAfterError,
    RunFailed,
    StepError,
    qualified_name,
    qualified_names,
)
from durably.engine.http.errors import UnexpectedStatus
from durably.engine.retries import retry_after
from durably.engine.retries.retry import Failure, GiveUp, Retry, RetryPolicy

__all__ = ["ErrorInfo", "classify", "describe", "judge", "leaves", "unreadable_retry_after"]


# -- what follows


def judge(exc: BaseException, now_us: int, policy: RetryPolicy, attempt: int) -> Retry | GiveUp:
    """Whether another attempt follows number `attempt`, counted from 0, which ended with `exc` at `now_us`.

    An exception group is judged by its leaves (DESIGN rule 15): any `NonRetriableError` gives up, and so do
    leaves that are all failed steps or children, which have had their retries; else the `RetryAfterError`
    that is due last decides when; else the policy decides on the first leaf that is not a failed step.
    """
    found = tuple(leaves(exc))
    permanent = next((leaf for leaf in found if isinstance(leaf, NonRetriableError)), None)
    if permanent is not None:
        return GiveUp(f"{qualified_name(type(permanent))} is never retried")
    open_leaves = [leaf for leaf in found if not isinstance(leaf, (StepError, ChildError))]
    if not open_leaves:
        return GiveUp("a failed step or child run that escapes fails the run: its own retries are over")
    timed = [leaf for leaf in open_leaves if isinstance(leaf, RetryAfterError)]
    failures = [classify(leaf, now_us) for leaf in timed or open_leaves[:1]]
    return policy.decide(attempt, max(failures, key=lambda failure: failure.retry_after or 0.0))


def leaves(exc: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group and in the groups in it, in order; any other exception is its own leaf."""
    members = _members(exc)
    if not members:
        yield exc
    for member in members:
        yield from leaves(member)


def _members(exc: BaseException) -> tuple[BaseException, ...]:
    group = cast("BaseExceptionGroup[BaseException]", exc)  # isinstance leaves its members' type unknown
    return group.exceptions if isinstance(exc, BaseExceptionGroup) else ()


def unreadable_retry_after(exc: BaseException, now_us: int) -> str | None:
    """A `Retry-After` that could not be read, if there is one, for the caller to warn of.

    CONTRACT section 7: "the policy's own wait, with a warning". Nothing here warns, because log lines come
    after the commit (DESIGN rule 1).
    """
    for leaf in leaves(exc):
        answer = _answer(leaf)
        asked = leaf.retry_after if isinstance(leaf, RetryAfterError) else answer and answer[1]
        if asked is not None and retry_after.parse(asked, now_us) is None:
            return repr(asked)
    return None


# -- what kind of failure it is

TIMEOUTS = frozenset(
    {
        "TimeoutError",  # also asyncio's, anyio's, socket's, and aiohttp's ServerTimeoutError
        "httpx.TimeoutException",
        "requests.exceptions.Timeout",
        "botocore.exceptions.ConnectTimeoutError",
        "botocore.exceptions.ReadTimeoutError",
    }
)
CONNECTION_ERRORS = frozenset(
    {
        "ConnectionError",
        "socket.gaierror",
        "socket.herror",
        "ssl.SSLError",
        "http.client.IncompleteRead",
        "urllib.error.URLError",
        "asyncio.exceptions.IncompleteReadError",
        "anyio.BrokenResourceError",
        "anyio.ConnectionFailed",
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "httpx.TransportError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.ChunkedEncodingError",
        "botocore.exceptions.ConnectionError",
        "botocore.exceptions.HTTPClientError",
    }
)
UNREACHABLE = frozenset({errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH})
"""Errors of a socket for which Python has no class of their own."""
ALL_FAILED = ("Multiple exceptions: ", "All connection attempts failed")
"""What asyncio and anyio say in a plain OSError when none of a host's several addresses could be reached."""


def classify(exc: BaseException, now_us: int) -> Failure:
    """The kind of failure that `exc` is: timeout, connection error, an answer's status, or any other error.

    "Connection" is a destination that could not be reached: DNS, refused connection, TLS or transport. A
    status brings the `Retry-After` of its answer. A group is of kind "error" here; `judge` looks at its
    leaves.
    """
    types = qualified_names(type(exc))
    name = types[0]
    answer = _answer(exc)
    if answer is not None:
        status, header = answer
        wait = None if header is None else retry_after.parse(header, now_us)
        return Failure("status", status=status, type=name, types=types, retry_after=wait)
    if not TIMEOUTS.isdisjoint(types):
        return Failure("timeout", type=name, types=types)
    if not CONNECTION_ERRORS.isdisjoint(types) or _is_unreachable(exc):
        return Failure("connection", type=name, types=types)
    asked = retry_after.parse(exc.retry_after, now_us) if isinstance(exc, RetryAfterError) else None
    return Failure("error", type=name, types=types, retry_after=asked)


def _is_unreachable(exc: BaseException) -> bool:
    return isinstance(exc, OSError) and (exc.errno in UNREACHABLE or _message(exc).startswith(ALL_FAILED))


def _read_aiohttp(exc: Any) -> tuple[Any, Any]:
    return exc.status, exc.headers


def _read_response(exc: Any) -> tuple[Any, Any]:
    return exc.response.status_code, exc.response.headers


def _read_botocore(exc: Any) -> tuple[Any, Any]:
    metadata = exc.response["ResponseMetadata"]
    return metadata["HTTPStatusCode"], metadata.get("HTTPHeaders")


def _read_urllib(exc: Any) -> tuple[Any, Any]:
    return exc.code, exc.headers


ANSWERS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "aiohttp.client_exceptions.ClientResponseError": _read_aiohttp,
    "botocore.exceptions.ClientError": _read_botocore,
    "httpx.HTTPStatusError": _read_response,
    "requests.exceptions.HTTPError": _read_response,
    "urllib.error.HTTPError": _read_urllib,
}
"""How to read status and headers of the answer that an exception carries, by the name of its class."""

STATUSES = range(100, 600)
SUCCESSES = range(200, 300)


def _answer(exc: BaseException) -> tuple[int, str | None] | None:
    """Status and `Retry-After` of the answer that `exc` is about; None if there is none, or it is a success.

    With a success the status is not what failed: the body could not be read (aiohttp's `ContentTypeError`). But of an
    `UnexpectedStatus` it is: another success was wanted.
    """
    if isinstance(exc, UnexpectedStatus):
        return exc.status, exc.response.headers.get("retry-after")
    read = next((ANSWERS[name] for name in qualified_names(type(exc)) if name in ANSWERS), None)
    if read is None:
        return None
    try:
        status, headers = read(exc)
        header = headers.get("retry-after") if headers else None
    except Exception:  # noqa: BLE001 - made by hand, without an answer; or its attributes are a user's, and raise
        return None
    if status not in STATUSES or status in SUCCESSES:
        return None
    return int(status), header if isinstance(header, str) else None


# -- how it is recorded

MAX_MESSAGE = 10_000
MAX_TRACEBACK = 20_000
MAX_NAME = 500
"""Bytes of UTF-8."""
MAX_DEPTH = 10
MAX_ERRORS = 100
"""Causes and members below one error, all in all: a record stays under 4 MB, whatever a step raises."""
CUT = " [cut] "


def describe(exc: BaseException) -> ErrorInfo:
    """The recorded form of `exc`, with its causes and, for a group, its members. Never raises.

    Bounded: the message to 10 kB, the traceback to its last 20 kB, causes and nested groups to 10 levels, and
    100 errors below the first one. A `StepError`, `ChildError` or `RunFailed` has as its cause the error it
    was made from.
    """
    return _Describer().describe(exc)


class _Describer:
    """One walk over an error and what is below it, with the number of errors that there is still room for."""

    __slots__ = ("_room",)

    def __init__(self) -> None:
        self._room = MAX_ERRORS

    def describe(self, exc: BaseException, depth: int = 0) -> ErrorInfo:
        answer = _answer(exc)
        return ErrorInfo(
            type=_head(qualified_name(type(exc)), MAX_NAME),
            types=tuple(_head(name, MAX_NAME) for name in qualified_names(type(exc))[:MAX_ERRORS]),
            message=_message(exc),
            traceback=_traceback(exc),
            cause=self._below(_cause(exc), depth + 1),
            group=self._all_below(_members(exc), depth + 1),
            status=None if answer is None else answer[0],
        )

    def _all_below(self, errors: Iterable[BaseException | ErrorInfo], depth: int) -> tuple[ErrorInfo, ...]:
        return tuple(info for error in errors if (info := self._below(error, depth)) is not None)

    def _below(self, error: BaseException | ErrorInfo | None, depth: int) -> ErrorInfo | None:
        if error is None or depth > MAX_DEPTH or self._room == 0:
            return None
        self._room -= 1
        if isinstance(error, BaseException):
            return self.describe(error, depth)
        return structs.replace(
            error, cause=self._below(error.cause, depth + 1), group=self._all_below(error.group, depth + 1)
        )


def _cause(exc: BaseException) -> BaseException | ErrorInfo | None:
    if isinstance(exc, (StepError, ChildError, RunFailed)):
        return exc.error
    return exc.__cause__ if exc.__suppress_context__ else exc.__context__


_SCOPE = re.compile(r"(?<=cancel scope )[0-9a-f]{6,}")
"""anyio names a scope by its address, which is another one at each replay."""


def _message(exc: BaseException) -> str:
    try:
        return _head(_SCOPE.sub("…", str(exc)), MAX_MESSAGE)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may raise anything, and hides no failure
        return f"(no message: its __str__ raised {qualified_name(type(broken))})"


def _traceback(exc: BaseException) -> str:
    """As Python prints it, without causes and members, which have their own; "" if `exc` was never raised."""
    if exc.__traceback__ is None:
        return ""
    try:
        frames = "".join(traceback.format_tb(exc.__traceback__))
        last = _head("".join(traceback.format_exception_only(exc)), MAX_MESSAGE)
    except Exception as broken:  # noqa: BLE001 - it reads attributes and source files of the user's
        return f"(no traceback: formatting it raised {qualified_name(type(broken))})"
    return f"Traceback (most recent call last):\n{_tail(frames, MAX_TRACEBACK - MAX_MESSAGE)}{last}"


def _head(text: str, limit: int) -> str:
    """The beginning of `text`, at most `limit` bytes of UTF-8; a lone surrogate becomes an escape."""
    data = text[:limit].encode("utf-8", "backslashreplace")
    if len(text) <= limit and len(data) <= limit:
        return data.decode()
    return data[: limit - len(CUT)].decode("utf-8", "ignore") + CUT


def _tail(text: str, limit: int) -> str:
    """The end of `text`, as `_head` gives the beginning."""
    data = text[-limit:].encode("utf-8", "backslashreplace")
    if len(text) <= limit and len(data) <= limit:
        return data.decode()
    return CUT + data[len(CUT) - limit :].decode("utf-8", "ignore")
