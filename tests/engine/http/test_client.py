import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web

from durably.engine.http.client import HttpClient
from durably.engine.http.errors import InvalidRequest, RequestTimeout
from durably.engine.http.messages import Request
from tests.engine.http.conftest import LOOPBACK, Raw, Serve

pytestmark = pytest.mark.anyio


def post(url: str, **options: object) -> Request:
    return Request(
        method="POST",
        url=url,
        headers={"Authorization": "Bearer s3cret", "Content-Type": "text/plain"},
        body=b"body",
        **options,  # type: ignore[arg-type]  # one of each type
    )


class Site:
    """Counts redirects down: /2 leads to /1, and that to /0, which says how it was asked."""

    def __init__(self, status: int = 302, base: Callable[[], str] = str) -> None:
        self.status, self.base = status, base
        self.asked = 0

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.asked += 1
        left = int(request.path.strip("/"))
        if left:
            return web.Response(status=self.status, headers={"Location": f"{self.base()}/{left - 1}?key=k"})
        return web.json_response(
            {
                "method": request.method,
                "body": await request.text(),
                "authorization": request.headers.get("Authorization"),
                "type": request.headers.get("Content-Type"),
            }
        )


# -- redirects


async def test_redirects_are_followed_and_told(client: HttpClient, serve: Serve) -> None:
    url = await serve(Site(302))
    response = await client.send(post(f"{url}/2"))
    assert response.json() == {"method": "GET", "body": "", "authorization": "Bearer s3cret", "type": None}
    assert response.redirects == (f"{url}/2", f"{url}/1?key=***")
    assert response.url == f"{url}/0?key=***"


async def test_some_repeat_method_and_body(client: HttpClient, serve: Serve) -> None:
    response = await client.send(post(f"{await serve(Site(307))}/1"))
    assert response.json() == {
        "method": "POST",
        "body": "body",
        "authorization": "Bearer s3cret",
        "type": "text/plain",
    }


async def test_secrets_do_not_go_to_another_origin(client: HttpClient, serve: Serve) -> None:
    other = await serve(Site())
    response = await client.send(post(f"{await serve(Site(307, lambda: other))}/1"))
    assert response.json() == {"method": "POST", "body": "body", "authorization": None, "type": "text/plain"}


@pytest.mark.parametrize(("most", "asked", "status"), [(5, 6, 302), (0, 1, 302), (6, 7, 302), (7, 8, 200)])
async def test_there_is_an_end_to_them(client: HttpClient, serve: Serve, most: int, asked: int, status: int) -> None:
    site = Site()
    response = await client.send(post(f"{await serve(site)}/7", max_redirects=most))
    assert (response.status, len(response.redirects), site.asked) == (status, asked - 1, asked)


@pytest.mark.parametrize("wanted", ["302", "3xx"])
async def test_one_that_is_wanted_is_the_answer(client: HttpClient, serve: Serve, wanted: str) -> None:
    response = await client.send(post(f"{await serve(Site())}/1", success_status=("2xx", wanted)))
    assert (response.status, response.headers["location"], response.redirects) == (302, "/0?key=k", ())


# -- time


async def test_a_server_that_never_answers(client: HttpClient, raw: Raw) -> None:
    with pytest.raises(RequestTimeout, match=r"^GET http://127\.0\.0\.1:\d+/x had no answer within 0\.05 s$"):
        await client.send(Request(method="GET", url=f"{await raw(b'', hang=True)}/x?key=s3cret", timeout=0.05))


async def test_the_limit_covers_redirects_and_the_body(client: HttpClient, raw: Raw) -> None:
    slow = await raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", hang=True)
    first = await raw(f"HTTP/1.1 302 Found\r\nLocation: {slow}\r\nContent-Length: 0\r\n\r\n".encode())
    with pytest.raises(RequestTimeout):
        await client.send(Request(method="GET", url=first, timeout=0.05))


async def test_a_cancel_is_no_timeout(client: HttpClient, raw: Raw) -> None:
    asked = Request(method="GET", url=await raw(b"", hang=True))
    with pytest.raises(TimeoutError) as caught:
        await asyncio.wait_for(client.send(asked), 0.02)
    assert not isinstance(caught.value, RequestTimeout)


# -- the client itself


async def test_what_cannot_be_sent_is_refused_before_anything(client: HttpClient) -> None:
    for wrong in (Request(method="GET", url="nowhere"), Request(method="G T", url="http://127.0.0.1/")):
        with pytest.raises(InvalidRequest):
            await client.send(wrong)


async def test_it_can_be_closed_and_used_again(serve: Serve) -> None:
    url = f"{await serve(Site())}/0"
    client = HttpClient(LOOPBACK)
    await client.close()
    for _ in range(2):
        assert (await client.send(Request(method="GET", url=url))).status == 200
        await client.close()


def test_networks_are_checked_when_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"^http_allow has '10\.0\.0\.1/8'"):
        HttpClient(["10.0.0.1/8"])
