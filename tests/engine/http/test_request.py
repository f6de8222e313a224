"""The request as a step: in workflows on a virtual clock, over real HTTP on loopback."""

import logging
from typing import Any

import pytest
from aiohttp import web

from durably import RetryPolicy, Run, StepError, current, http, step, workflow
from durably.engine.lint.lint import refuse_findings
from durably.replay import HistoryRecord, Replayer
from durably.testing import TestEngine
from tests.engine.http.conftest import Raw, Serve

pytestmark = pytest.mark.anyio

TOKEN = "s3cret-t0ken"  # noqa: S105 - which must be found nowhere


class Service:
    """Answers with each of its statuses in turn, the last one from then on, and says what it was asked."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.statuses = list(statuses)
        self.headers = headers or {}
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(
            {
                "method": request.method,
                "path": request.path_qs,
                "body": (await request.read()).decode("latin-1"),
                "type": request.headers.get("Content-Type"),
                "token": request.headers.get("Authorization"),
            }
        )
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.json_response({"at": len(self.asked)}, status=status, headers=self.headers)


@workflow
async def ask(url: str, method: str = "GET", success_status: str = "2xx") -> Any:
    response = await http.request(method, url, success_status=success_status, timeout=5)
    return response.json()


@workflow
async def try_asking(url: str) -> list[Any]:
    try:
        response = await http.request("GET", url, retry=RetryPolicy.NEVER, timeout=0.05)
    except StepError as error:
        return [error.type, error.status, error.attempts]
    return [response.status]


def engine_with(client: http.HttpClient, *workflows: Any) -> TestEngine:
    return TestEngine(workflows=workflows, resources={http.HttpClient: client})


async def records(run: Run[Any], kind: str) -> list[HistoryRecord]:
    return [each for each in (await run.history()).records if each.type == kind]


# -- in a workflow


async def test_it_is_one_step_with_a_readable_record(client: http.HttpClient, serve: Serve) -> None:
    url = await serve(Service(200))
    async with engine_with(client, ask) as engine:
        run = await engine.start(ask, f"{url}/orders/17?q=1#top")
        assert await run.result() == {"at": 1}
        [started] = await records(run, "attempt.started")
        [succeeded] = await records(run, "step.succeeded")
        host = url.removeprefix("http://")
        assert started.step == f"0/GET {host}#0"
        assert started.line.startswith("test_request.py:"), "the line that awaits it"
        assert started.input == {
            "method": "GET",
            "url": f"{url}/orders/17?q=1",
            "headers": {},
            "body": None,
            "body_base64": None,
            "json": None,
            "timeout": 5.0,
            "success_status": ["2xx"],
            "secrets": None,
        }
        output = succeeded.output
        assert (output["status"], output["body"]) == (200, '{"at": 1}')
        assert (await run.info()).tasks == 1
        Replayer(workflows=[ask]).replay(await run.history())


async def test_a_failing_service_is_asked_again_by_policy(client: http.HttpClient, serve: Serve) -> None:
    service = Service(503, 500, 200)
    async with engine_with(client, ask) as engine:
        run = await engine.start(ask, await serve(service))
        assert await run.result() == {"at": 3}
        failed = await records(run, "attempt.failed")
        assert [each.error["status"] for each in failed] == [503, 500]
        assert all(each.error["type"] == "durably.UnexpectedStatus" for each in failed)
        assert (await run.info()).tasks == 1, "one task, however many attempts"


async def test_retry_after_is_when_it_is_asked_again(client: http.HttpClient, serve: Serve) -> None:
    url = await serve(Service(429, 200, headers={"Retry-After": "3600"}))
    async with engine_with(client, ask) as engine:
        before = engine.clock.now()
        await (await engine.start(ask, url)).result()
        assert (engine.clock.now() - before).total_seconds() == 3600


async def test_the_policy_of_the_call_holds(client: http.HttpClient, serve: Serve) -> None:
    service = Service(500)
    async with engine_with(client, try_asking) as engine:
        run = await engine.start(try_asking, await serve(service))
        assert await run.result() == ["durably.UnexpectedStatus", 500, 1]
        assert len(service.asked) == 1


async def test_each_way_to_fail_has_its_type(client: http.HttpClient, raw: Raw, unused_port: int) -> None:
    async with engine_with(client, try_asking) as engine:
        for url, expected in (
            (f"http://127.0.0.1:{unused_port}/", "durably.ConnectionFailed"),
            (await raw(b"", hang=True), "durably.RequestTimeout"),
            ("http://10.0.0.1/", "durably.AddressRefused"),
            ("ftp://example.com/", "durably.InvalidRequest"),
            ("http://user:pw@127.0.0.1/", "durably.InvalidRequest"),
            ("", "durably.InvalidRequest"),
        ):
            run = await engine.start(try_asking, url or "/")
            assert await run.result() == [expected, None, 1]
            assert "pw" not in (await run.history()).to_json().replace(f'"url": "{url}"', ""), "but in its own input"


async def test_redirects_are_recorded(client: http.HttpClient, serve: Serve) -> None:
    url = await serve(Service(200))

    async def lead(request: web.BaseRequest) -> web.Response:
        return web.Response(status=307, headers={"Location": f"{url}{request.path}"})

    first = await serve(lead)
    async with engine_with(client, ask) as engine:
        run = await engine.start(ask, f"{first}/x", method="DELETE")
        assert await run.result() == {"at": 1}
        [succeeded] = await records(run, "step.succeeded")
        output = succeeded.output
        assert (output["redirects"], output["url"]) == ([f"{first}/x"], f"{url}/x")


async def test_another_status_can_be_the_wanted_one(client: http.HttpClient, serve: Serve) -> None:
    url = await serve(Service(404))
    async with engine_with(client, ask) as engine:
        assert await (await engine.start(ask, url, success_status="404")).result() == {"at": 1}


@workflow
async def ask_twice(url: str) -> list[Any]:
    first = await http.request("GET", f"{url}/1")
    second = await http.request("GET", f"{url}/2")
    return [first.json(), first.headers["Content-Type"], second.json()]


async def test_what_was_answered_is_not_asked_again(client: http.HttpClient, serve: Serve) -> None:
    service = Service(200, 503, 200)
    async with engine_with(client, ask_twice) as engine:
        url = await serve(service)
        run = await engine.start(ask_twice, url)
        await engine.quiesce()
        while len(service.asked) < 2:
            await engine.clock.advance(0)
        await engine.restart()
        assert await run.result() == [{"at": 1}, "application/json; charset=utf-8", {"at": 3}]
        started = await records(run, "attempt.started")
        host = url.removeprefix("http://")
        assert {each.step for each in started} == {f"0/GET {host}#0", f"0/GET {host}#1"}
        assert [each["path"] for each in service.asked] == ["/1", "/2", "/2"]


# -- secrets


@workflow
async def ask_in_secret(url: str) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}
    response = await http.request("POST", f"{url}/p?key={TOKEN}&page=1", headers=headers, json={"a": [1]})
    return response.json()


async def test_secrets_are_sent_and_not_recorded(
    client: http.HttpClient, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service = Service(500, 401, 200)
    async with engine_with(client, ask_in_secret) as engine:
        url = await serve(service)
        run = await engine.start(ask_in_secret, url)
        await run.result()
        history = await run.history()
    asked = {
        "method": "POST",
        "path": f"/p?key={TOKEN}&page=1",
        "body": '{"a":[1]}',
        "type": "application/json",
        "token": f"Bearer {TOKEN}",
    }
    assert service.asked == [asked] * 3
    [started, *_] = [each for each in history.records if each.type == "attempt.started"]
    given = started.input
    assert given["url"] == f"{url}/p?key=***&page=1"
    assert given["headers"] == {"Authorization": "***", "Accept": "application/json"}
    assert given["secrets"] == {"$type": "durably.Secrets"}
    assert TOKEN not in history.to_json()
    assert TOKEN not in caplog.text
    Replayer(workflows=[ask_in_secret]).replay(history)


async def test_after_a_crash_the_code_gives_them_again(client: http.HttpClient, serve: Serve) -> None:
    service = Service(503, 200)
    async with engine_with(client, ask_in_secret) as engine:
        run = await engine.start(ask_in_secret, await serve(service))
        while not service.asked:
            await engine.clock.advance(0)
        await engine.restart()
        await run.result()
        assert [each["token"] for each in service.asked] == [f"Bearer {TOKEN}"] * 2
        assert TOKEN not in (await run.history()).to_json()


async def test_another_secret_is_no_mismatch(
    client: http.HttpClient, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_with(client, ask_in_secret) as engine:
        run = await engine.start(ask_in_secret, await serve(Service(200)))
        await run.result()
        monkeypatch.setitem(globals(), "TOKEN", "another")
        Replayer(workflows=[ask_in_secret]).replay(await run.history())


# -- bodies and answers


@workflow
async def send_bytes(url: str) -> str:
    await http.request("PUT", url, body=b"\x00\xff")
    await http.request("PUT", url, body="Zoë", headers={"Content-Type": "text/plain"})
    await http.request("PUT", url, json="x", headers={"content-type": "application/vnd.api+json"})
    await http.request("PUT", url)
    return "sent"


async def test_bodies(client: http.HttpClient, serve: Serve) -> None:
    service = Service(200)
    async with engine_with(client, send_bytes) as engine:
        run = await engine.start(send_bytes, await serve(service))
        await run.result()
        inputs = [each.input for each in await records(run, "attempt.started")]
    assert [(each["body"], each["body_base64"], each["json"]) for each in inputs] == [
        (None, "AP8=", None),
        ("Zoë", None, None),
        (None, None, "x"),
        (None, None, None),
    ]
    assert [(each["body"].encode("latin-1"), each["type"]) for each in service.asked] == [
        (b"\x00\xff", None),
        ("Zoë".encode(), "text/plain"),
        (b'"x"', "application/vnd.api+json"),
        (b"", None),
    ]


async def test_an_answer_that_no_result_can_hold_fails_at_once(client: http.HttpClient, raw: Raw) -> None:
    url = await raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (4 * 1024 * 1024 + 1))
    async with engine_with(client, ask) as engine:
        run = await engine.start(ask, url)
        with pytest.raises(Exception, match=r"durably.ResponseTooLarge: GET .* answered more than 4,194,304 bytes"):
            await run.result()
        assert len(await records(run, "attempt.failed")) == 1


# -- elsewhere


@step
async def fetch(url: str) -> list[str]:
    response = await http.request("GET", url)
    return [response.text, str(current().step)]


@workflow
async def call_fetch(url: str) -> list[str]:
    return await fetch(url)


async def test_inside_a_step_it_is_part_of_that_one(client: http.HttpClient, serve: Serve) -> None:
    async with engine_with(client, call_fetch) as engine:
        run = await engine.start(call_fetch, await serve(Service(200)))
        assert await run.result() == ['{"at": 1}', "fetch"]
        assert len(await records(run, "attempt.started")) == 1


async def test_outside_of_an_engine_it_is_a_request(serve: Serve) -> None:
    with pytest.raises(http.AddressRefused, match=r"127\.0\.0\.1 is a loopback address"):
        await http.request("GET", await serve(Service(200)))
    with pytest.raises(http.InvalidRequest):
        await http.request("GET", "nowhere")


class Answering(http.HttpClient):
    """Answers itself, as users' tests may have it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[http.Request] = []

    async def send(self, request: http.Request) -> http.Response:
        self.asked.append(request)
        return http.Response.of(json={"url": request.url})


async def test_tests_can_answer_in_the_place_of_services() -> None:
    client = Answering()
    async with engine_with(client, ask) as engine:
        run = await engine.start(ask, "https://api.example.com/x")
        assert await run.result() == {"url": "https://api.example.com/x"}
    assert [each.method for each in client.asked] == ["GET"]


def test_the_lint_finds_nothing_in_it() -> None:
    refuse_findings([ask, try_asking, ask_twice, send_bytes])


# -- names and arguments


@pytest.mark.parametrize(
    ("method", "url", "name"),
    [
        ("get", "https://API.example.com/orders/17?x=1", "GET api.example.com"),
        ("POST", "http://user:pw@h:8080/x", "POST h:8080"),
        ("GET", "http://[::1]:80/", "GET [::1]:80"),
        ("GET", "https://exämple.com", "GET exämple.com"),
        ("GET", "https://h#f", "GET h"),
        ("GET", "https://a b\n/", "GET a?b?"),
        ("GET", "nowhere/x", "GET"),
        ("GET", "http:user:pw@h/", "GET"),
        ("1/2", "https://h/", "1?2 h"),
        ("GET", f"https://{'a' * 300}/", f"GET {'a' * 251}"),
    ],
)
async def test_steps_are_named_after_method_and_host(method: str, url: str, name: str) -> None:
    client = Answering()

    @workflow
    async def once() -> None:
        await http.request(method, url)

    async with engine_with(client, once) as engine:
        run = await engine.start(once)
        await run.result()
        [started] = await records(run, "attempt.started")
        assert (started.name, started.input["method"]) == (name, method.upper())


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "body and json are both given", {"body": "a", "json": 1}),
        (TypeError, "body is of type dict; it must be text or bytes; json= encodes", {"body": {}}),
        (TypeError, "the value of the header 'Authorization' is of type bytes", {"headers": {"Authorization": b"s"}}),
        (TypeError, "the name of a header is 1; it must be text", {"headers": {1: "x"}}),
        (TypeError, "timeout is None", {"timeout": None}),
        (ValueError, "timeout is 0; it must be more", {"timeout": 0}),
        (ValueError, "timeout is -1", {"timeout": -1}),
        (ValueError, "success_status is 'ok'", {"success_status": "ok"}),
        (TypeError, "retry is 3; it must be a RetryPolicy", {"retry": 3}),
        (TypeError, "url is 1; it must be text", {"url": 1}),
        (TypeError, "method is None; it must be text", {"method": None}),
        (ValueError, "method is empty", {"method": ""}),
    ],
)
def test_arguments_that_cannot_work(error: type[Exception], message: str, arguments: dict[str, Any]) -> None:
    given: dict[str, Any] = {"method": "GET", "url": "https://h/"} | arguments
    with pytest.raises(error, match=f"^{message}"):
        _ = http.request(given.pop("method"), given.pop("url"), **given)
