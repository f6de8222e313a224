"""Exceptions are those of real calls on the loopback interface, or made by their real constructors."""

import asyncio
import errno
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPMessage, IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any, TypeVar

import aiohttp
import anyio
import httpx
import msgspec
import pytest
import requests

from durably.engine.errors import (
    ChildError,
    ErrorInfo,
    Forbidden,
    NonRetriableError,
    RetryAfterError,
    RunFailed,
    StepError,
    WorkerLost,
    qualified_names,
)
from durably.engine.retries.failures import classify, describe, judge, unreadable_retry_after
from durably.engine.retries.retry import Failure, GiveUp, Retry, RetryPolicy

botocore_config = import_module("botocore.config")  # it has no types; a module's attributes are Any
botocore_exceptions = import_module("botocore.exceptions")
botocore_session = import_module("botocore.session")

NOW_US = 1_795_337_377_000_000  # 2026-11-22T08:49:37Z
IN_90_S = "Sun, 22 Nov 2026 08:51:07 GMT"
POLICY = RetryPolicy(2, backoff="fixed", delay=7, jitter=0)
PERMANENT = GiveUp("durably.NonRetriableError is never retried")
LOST = ErrorInfo("durably.WorkerLost", ("durably.WorkerLost",), "killed 3 times")


# -- a server that refuses, one that is silent, and a port where nobody listens


class Refusing(BaseHTTPRequestHandler):
    """Answers /503/90 with that status and that `Retry-After`, /503 without one."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, _, header = self.path.strip("/").partition("/")
        self.send_response(int(status))
        if header:
            self.send_header("Retry-After", header.replace("_", " "))
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"no")

    do_POST = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, *args: object, **kwargs: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel accepts, and nobody answers
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed() -> Iterator[str]:
    with socket.socket() as bound:  # bound, so that nobody else takes the port, but not listening
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


# -- clients: one call that may not take longer than `timeout`

Call = Callable[[str, float], object]


def call_aiohttp(url: str, timeout: float) -> None:
    async def get() -> None:
        limit = aiohttp.ClientTimeout(total=timeout)
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as response:
            response.raise_for_status()

    asyncio.run(get())


def call_httpx(url: str, timeout: float) -> None:
    with httpx.Client(trust_env=False, timeout=timeout) as client:
        client.get(url).raise_for_status()


def call_requests(url: str, timeout: float) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.get(url, timeout=timeout).raise_for_status()


def call_urllib(url: str, timeout: float) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=timeout).close()
    except urllib.error.HTTPError as error:
        error.close()
        raise


def call_botocore(url: str, timeout: float) -> None:
    config = botocore_config.Config(
        connect_timeout=timeout, read_timeout=timeout, retries={"total_max_attempts": 1}, proxies={}
    )
    client = botocore_session.Session().create_client(
        "dynamodb",
        region_name="eu-north-1",
        endpoint_url=url,
        aws_access_key_id="id",
        aws_secret_access_key="secret",  # noqa: S106 - it signs a call to our own server
        config=config,
    )
    with closing(client):
        client.list_tables()


CLIENTS: list[Call] = [call_aiohttp, call_httpx, call_requests, call_urllib, call_botocore]
clients = pytest.mark.parametrize("call", CLIENTS, ids=lambda call: call.__name__.removeprefix("call_"))


def failure_of(call: Call, url: str, timeout: float = 20) -> Failure:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each client raises its own, which is the point
        call(url, timeout)
    failure = classify(caught.value, NOW_US)
    assert failure.types == qualified_names(type(caught.value))
    assert failure.type == failure.types[0]
    return failure


class TestCallsOfHttpClients:
    @clients
    def test_a_refused_connection(self, call: Call, closed: str) -> None:
        assert failure_of(call, closed).kind == "connection"

    @clients
    def test_tls_with_a_server_that_has_none(self, call: Call, refusing: str) -> None:
        assert failure_of(call, refusing.replace("http:", "https:") + "/200").kind == "connection"

    @clients
    def test_no_answer_in_time(self, call: Call, silent: str) -> None:
        assert failure_of(call, silent, timeout=0.02).kind == "timeout"

    @clients
    def test_a_status_with_retry_after(self, call: Call, refusing: str) -> None:
        failure = failure_of(call, f"{refusing}/429/90")
        assert (failure.kind, failure.status, failure.retry_after) == ("status", 429, 90.0)

    @clients
    def test_a_status_is_recorded(self, call: Call, refusing: str, closed: str) -> None:
        for url, status in ((f"{refusing}/429/90", 429), (closed, None)):
            with pytest.raises(Exception) as caught:  # noqa: PT011 - as above
                call(url, 20)
            assert describe(caught.value).status == status
            assert StepError("ask", describe(caught.value)).status == status

    @clients
    def test_a_status_without_retry_after(self, call: Call, refusing: str) -> None:
        failure = failure_of(call, f"{refusing}/503")
        assert (failure.kind, failure.status, failure.retry_after) == ("status", 503, None)

    def test_a_date_in_retry_after(self, refusing: str) -> None:
        failure = failure_of(call_httpx, f"{refusing}/503/{IN_90_S.replace(' ', '_')}")
        assert failure.retry_after == 90

    def test_a_retry_after_that_cannot_be_read(self, refusing: str) -> None:
        with pytest.raises(httpx.HTTPStatusError) as caught:
            call_httpx(f"{refusing}/503/soon", 20)
        assert classify(caught.value, NOW_US).retry_after is None
        assert unreadable_retry_after(caught.value, NOW_US) == "'soon'"
        assert unreadable_retry_after(ExceptionGroup("", [KeyError(), caught.value]), NOW_US) == "'soon'"

    def test_a_success_is_not_what_failed(self, refusing: str) -> None:
        async def get() -> None:
            async with aiohttp.ClientSession() as session, session.get(f"{refusing}/200") as response:
                await response.json()  # it is text/plain

        with pytest.raises(aiohttp.ContentTypeError) as caught:
            asyncio.run(get())
        assert (classify(caught.value, NOW_US).kind, classify(caught.value, NOW_US).status) == ("error", None)


class TestOtherCalls:
    def test_asyncio_to_several_addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def connect() -> None:
            async def both(*_: object, **__: object) -> list[Any]:
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
            await asyncio.open_connection("two-addresses.invalid", 1)

        with socket.socket() as one, socket.socket() as two:
            for bound in (one, two):
                bound.bind(("127.0.0.1", 0))
            addresses = [one.getsockname(), two.getsockname()]
            with pytest.raises(OSError, match=r"^Multiple exceptions: ") as caught:
                asyncio.run(connect())
        assert classify(caught.value, NOW_US).kind == "connection"

    def test_anyio(self, closed: str) -> None:
        async def connect() -> None:
            await anyio.connect_tcp("127.0.0.1", int(closed.rpartition(":")[2]))

        with pytest.raises(OSError, match="connection attempts failed") as caught:
            anyio.run(connect)
        assert classify(caught.value, NOW_US).kind == "connection"

    def test_timeouts_of_asyncio_and_anyio(self) -> None:
        async def by_asyncio() -> None:
            await asyncio.wait_for(asyncio.Event().wait(), 0)

        async def by_anyio() -> None:
            with anyio.fail_after(0):
                await anyio.sleep_forever()

        for wait in (by_asyncio, by_anyio):
            with pytest.raises(TimeoutError) as caught:
                anyio.run(wait)
            assert classify(caught.value, NOW_US).kind == "timeout"


def botocore_error(metadata: dict[str, Any]) -> BaseException:
    response = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": metadata}
    error: BaseException = botocore_exceptions.ClientError(response, "Publish")
    return error


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (TimeoutError(), "timeout"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "timeout"),
        (aiohttp.ServerTimeoutError(), "timeout"),  # a connection error, too
        (httpx.ConnectTimeout(""), "timeout"),
        (httpx.PoolTimeout(""), "timeout"),
        (requests.ConnectTimeout(), "timeout"),  # a connection error, too
        (botocore_exceptions.ConnectTimeoutError(endpoint_url="u"), "timeout"),
        (botocore_exceptions.ReadTimeoutError(endpoint_url="u"), "timeout"),
        (ConnectionResetError(), "connection"),
        (BrokenPipeError(), "connection"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "connection"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "connection"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "connection"),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), "connection"),
        (aiohttp.ServerDisconnectedError(), "connection"),
        (aiohttp.ClientPayloadError("Response payload is not completed"), "connection"),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), "connection"),
        (requests.exceptions.ChunkedEncodingError(), "connection"),
        (botocore_exceptions.EndpointConnectionError(endpoint_url="u"), "connection"),
        (botocore_exceptions.ConnectionClosedError(endpoint_url="u"), "connection"),
        (asyncio.IncompleteReadError(b"", 4), "connection"),
        (anyio.BrokenResourceError(), "connection"),
        (anyio.ConnectionFailed(), "connection"),
        (IncompleteRead(b"", 4), "connection"),
        (socket.herror(1, "Unknown host"), "connection"),
        (ValueError("no"), "error"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "error"),
        (OSError("Multiple files"), "error"),
        (asyncio.CancelledError(), "error"),
        (SystemExit(3), "error"),
        (requests.HTTPError("made by hand, without a response"), "error"),
        (botocore_exceptions.NoCredentialsError(), "error"),
        (botocore_error({}), "error"),
        (botocore_error({"HTTPStatusCode": 200}), "error"),
        (ExceptionGroup("", [TimeoutError()]), "error"),  # judge looks at the leaves
    ],
    ids=repr,
)
def test_kinds(exc: BaseException, kind: str) -> None:
    assert classify(exc, NOW_US) == Failure(
        kind,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - any str in the table
        type=qualified_names(type(exc))[0],
        types=qualified_names(type(exc)),
    )


def test_an_error_without_a_text_has_a_kind() -> None:
    class Broken(OSError):  # noqa: N818 - as it says
        def __str__(self) -> str:
            raise ZeroDivisionError

    assert classify(Broken(), NOW_US).kind == "error"


@pytest.mark.parametrize(
    ("exc", "status", "wait"),
    [
        (botocore_error({"HTTPStatusCode": 400}), 400, None),
        (botocore_error({"HTTPStatusCode": 503, "HTTPHeaders": {"retry-after": "5"}}), 503, 5.0),
        (urllib.error.HTTPError("u", 302, "Found", HTTPMessage(), None), 302, None),
        (
            httpx.HTTPStatusError("", request=httpx.Request("GET", "http://a"), response=httpx.Response(418)),
            418,
            None,
        ),
    ],
)
def test_statuses(exc: BaseException, status: int, wait: float | None) -> None:
    failure = classify(exc, NOW_US)
    if isinstance(exc, urllib.error.HTTPError):
        exc.close()
    assert (failure.kind, failure.status, failure.retry_after) == ("status", status, wait)


class TestJudge:
    @pytest.mark.parametrize(
        ("exc", "decision"),
        [
            (ValueError("no"), Retry(7)),
            (RetryAfterError("busy", 30), Retry(30)),
            (RetryAfterError("busy", IN_90_S), Retry(90)),
            (RetryAfterError("busy", "soon"), Retry(7)),  # "the policy's own wait, with a warning"
            (NonRetriableError("gone"), PERMANENT),
            (Forbidden("socket.socket"), GiveUp("durably.Forbidden is never retried")),
        ],
        ids=repr,
    )
    def test_one_exception(self, exc: BaseException, decision: Retry | GiveUp) -> None:
        assert judge(exc, NOW_US, POLICY, 1) == decision

    def test_a_subclass_of_non_retriable(self) -> None:
        class UserNotFound(NonRetriableError):  # noqa: N818 - the seed's name
            pass

        assert isinstance(judge(UserNotFound(), NOW_US, POLICY, 0), GiveUp)

    @pytest.mark.parametrize("exc", [ValueError("no"), RetryAfterError("busy", 30)], ids=repr)
    def test_after_the_last_attempt(self, exc: BaseException) -> None:
        assert judge(exc, NOW_US, POLICY, 2) == GiveUp("no retry is left: attempt 2 failed and max_retries is 2")

    @pytest.mark.parametrize(
        "exc",
        [
            StepError("charge", LOST),
            WorkerLost("charge", LOST),
            ChildError("r-2", "CANCELED"),
            ExceptionGroup("", [StepError("a", LOST), ExceptionGroup("", [ChildError("r", "FAILED", LOST)])]),
        ],
        ids=repr,
    )
    def test_what_has_had_its_retries_is_not_retried_with_the_body(self, exc: BaseException) -> None:
        reason = "a failed step or child run that escapes fails the run: its own retries are over"
        assert judge(exc, NOW_US, POLICY, 0) == GiveUp(reason)

    @pytest.mark.parametrize(
        ("leaves", "decision"),
        [
            # any NonRetriableError
            ([RetryAfterError("", 30), KeyError(), NonRetriableError()], PERMANENT),
            ([StepError("a", LOST), NonRetriableError()], PERMANENT),
            # else the latest RetryAfterError
            ([KeyError(), RetryAfterError("", 30), RetryAfterError("", IN_90_S)], Retry(90)),
            ([RetryAfterError("", IN_90_S), RetryAfterError("", 60)], Retry(90)),
            ([RetryAfterError("", "soon"), RetryAfterError("", 3)], Retry(3)),
            ([StepError("a", LOST), RetryAfterError("", 30)], Retry(30)),
            ([KeyError(), RetryAfterError("", "soon")], Retry(7)),
            # else the policy, on the first leaf that is not a failed step
            ([ValueError(), KeyError()], Retry(7)),
            ([KeyError(), ValueError()], GiveUp("KeyError is in give_up_on")),
            ([StepError("a", LOST), ValueError(), KeyError()], Retry(7)),
            ([BaseExceptionGroup("", [KeyboardInterrupt()]), KeyError()], Retry(7)),
        ],
    )
    def test_a_group_is_judged_by_its_leaves(self, leaves: list[BaseException], decision: Retry | GiveUp) -> None:
        policy = RetryPolicy(2, backoff="fixed", delay=7, jitter=0, give_up_on=[KeyError, StepError])
        assert judge(BaseExceptionGroup("", leaves), NOW_US, policy, 0) == decision

    def test_the_group_of_a_task_group(self) -> None:
        async def fail(error: Exception) -> None:
            raise error

        async def body() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail(StepError("a", LOST)))
                tasks.create_task(fail(StepError("b", LOST)))

        with pytest.raises(ExceptionGroup) as caught:
            asyncio.run(body())
        assert isinstance(judge(caught.value, NOW_US, POLICY, 0), GiveUp)

    def test_a_status_is_judged_with_its_retry_after(self, refusing: str) -> None:
        with pytest.raises(requests.HTTPError) as caught:
            call_requests(f"{refusing}/429/90", 20)
        assert judge(caught.value, NOW_US, POLICY, 0) == Retry(90)
        never = RetryPolicy(retry_statuses=["5xx"])
        assert judge(caught.value, NOW_US, never, 0) == GiveUp("status 429 is not in retry_statuses")


def test_what_could_be_read_or_was_not_said_needs_no_warning() -> None:
    for exc in (
        KeyError(),
        RetryAfterError("", "5"),
        RetryAfterError("", 5),
        botocore_error({"HTTPStatusCode": 503}),
    ):
        assert unreadable_retry_after(exc, NOW_US) is None
    assert unreadable_retry_after(RetryAfterError("", "soon"), NOW_US) == "'soon'"


# -- how it is recorded

E = TypeVar("E", bound=BaseException)


def raised(exc: E) -> E:
    """The exception, as it is after it was raised and caught."""
    try:
        raise exc
    except type(exc) as caught:
        return caught


class TestDescribe:
    def test_an_exception(self) -> None:
        info = describe(raised(KeyError("a")))
        assert (info.type, info.message) == ("KeyError", "'a'")
        assert info.types == ("KeyError", "LookupError", "Exception", "BaseException")
        first, *_, line, last = info.traceback.splitlines()
        assert first == "Traceback (most recent call last):"
        assert line.strip().startswith(("raise exc", "^"))
        assert last == "KeyError: 'a'"
        assert (info.cause, info.group, info.status) == (None, (), None)

    def test_one_whose_attributes_raise(self) -> None:
        class Broken(requests.HTTPError):
            @property
            def response(self) -> Any:
                raise ValueError("no answer yet")

            @response.setter
            def response(self, value: Any) -> None: ...

        assert describe(Broken("x")).status is None
        assert classify(Broken("x"), NOW_US).kind == "error"

    def test_one_that_was_never_raised_has_no_traceback(self) -> None:
        assert describe(KeyError("a")).traceback == ""

    def test_causes_are_those_that_python_prints(self) -> None:
        explicit, hidden, implicit = ValueError("b"), ValueError("b"), ValueError("b")
        explicit.__cause__ = KeyError("a")
        hidden.__context__ = KeyError("a")
        hidden.__suppress_context__ = True  # raise … from None
        implicit.__context__ = KeyError("a")
        for exc, cause in ((explicit, "KeyError"), (hidden, None), (implicit, "KeyError")):
            info = describe(exc)
            assert (info.cause and info.cause.type) == cause

    def test_a_cause_is_not_in_the_traceback_again(self) -> None:
        exc = ValueError("b")
        exc.__cause__ = raised(KeyError("the cause"))
        info = describe(raised(exc))
        assert "the cause" not in info.traceback
        assert info.cause is not None
        assert "the cause" in info.cause.traceback

    @pytest.mark.parametrize(
        "exc", [StepError("charge", LOST), ChildError("r", "FAILED", LOST), RunFailed("r", LOST)], ids=repr
    )
    def test_the_record_an_error_was_made_from_is_its_cause(self, exc: BaseException) -> None:
        assert describe(exc).cause == LOST

    def test_a_group(self) -> None:
        info = describe(ExceptionGroup("two", [KeyError("a"), ExceptionGroup("one", [ValueError("b")])]))
        assert [member.type for member in info.group] == ["KeyError", "ExceptionGroup"]
        assert [member.message for member in info.group[1].group] == ["b"]

    def test_a_message_that_cannot_be_had(self) -> None:
        class Broken(Exception):  # noqa: N818 - as it says
            def __str__(self) -> str:
                raise ZeroDivisionError

        info = describe(raised(Broken()))
        assert info.message == "(no message: its __str__ raised ZeroDivisionError)"
        assert "raise exc" in info.traceback

    def test_a_false_cause_is_a_cause(self) -> None:
        class Empty(Exception):  # noqa: N818 - as it says
            def __len__(self) -> int:
                return 0

        exc = ValueError("b")
        exc.__cause__ = Empty()
        assert describe(exc).cause is not None

    def test_text_that_is_no_utf_8_can_be_stored(self) -> None:
        info = describe(raised(FileNotFoundError("caf\udce9")))  # a file name with a stray byte
        assert info.message == "caf\\udce9"
        assert msgspec.json.decode(msgspec.json.encode(info), type=ErrorInfo) == info

    @pytest.mark.parametrize("text", ["a" * 100_000, "é" * 5001, "\udce9" * 9_999, "€" * 100_000])
    def test_a_long_message_is_cut_at_10_kb(self, text: str) -> None:
        info = describe(raised(ValueError(text)))
        assert info.message.endswith(" [cut] ")
        assert 9_990 <= len(info.message.encode()) <= 10_000
        assert info.message.removesuffix(" [cut] ")[:1000] == text.encode(errors="backslashreplace").decode()[:1000]
        assert len(info.traceback.encode()) <= 20_100

    @pytest.mark.parametrize("text", ["a" * 10_000, "é" * 5000])
    def test_a_message_of_10_kb_is_not_cut(self, text: str) -> None:
        assert describe(ValueError(text)).message == text

    def test_a_long_traceback_keeps_its_end(self) -> None:
        def even(depth: int) -> None:
            odd(depth - 1)

        def odd(depth: int) -> None:
            if depth < 0:
                raise ValueError("at the bottom")
            even(depth - 1)

        with pytest.raises(ValueError, match="at the bottom") as caught:
            even(400)
        text = describe(caught.value).traceback
        assert text.startswith("Traceback (most recent call last):\n [cut] ")
        assert text.endswith('    raise ValueError("at the bottom")\nValueError: at the bottom\n')
        assert 10_000 <= len(text.encode()) <= 20_100

    def test_causes_end_at_ten(self) -> None:
        exc = KeyError(0)
        for number in range(1, 50):
            above = KeyError(number)
            above.__cause__ = exc
            exc = above
        assert depth_of(describe(exc)) == 10

    def test_causes_in_a_circle_end_at_ten(self) -> None:
        one, two = KeyError(1), KeyError(2)
        one.__cause__, two.__cause__ = two, one
        assert depth_of(describe(one)) == 10

    def test_recorded_causes_end_at_ten_too(self) -> None:
        info = describe(KeyError(0))
        for _ in range(50):  # a child of a child of a child …
            info = describe(ChildError("r", "FAILED", info))
        assert depth_of(info) == 10

    def test_at_most_a_hundred_errors_are_below_one(self) -> None:
        assert len(describe(ExceptionGroup("", [KeyError(n) for n in range(101)])).group) == 100
        wide: Exception = KeyError("a")
        for _ in range(5):
            members: list[Exception] = [wide] * 50
            wide = ExceptionGroup("", members)  # 50**5 leaves in the end
        assert count_of(describe(wide)) == 101

    def test_the_largest_record(self) -> None:
        group = ExceptionGroup("", [raised(ValueError("x" * 100_000)) for _ in range(500)])
        assert len(msgspec.json.encode(describe(group))) < 4_000_000


def depth_of(info: ErrorInfo) -> int:
    return 0 if info.cause is None else 1 + depth_of(info.cause)


def count_of(info: ErrorInfo) -> int:
    below = [*info.group, *(() if info.cause is None else (info.cause,))]
    return 1 + sum(count_of(error) for error in below)
