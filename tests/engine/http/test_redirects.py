import pytest

from durably.engine.http.errors import InvalidRequest
from durably.engine.http.messages import Request, Response
from durably.engine.http.redirects import redirected

HEADERS = {
    "Accept": "*/*",
    "Authorization": "Bearer x",
    "Cookie": "a=b",
    "X-Api-Key": "k",
    "Host": "h",
    "Content-Type": "text/plain",
}
SECRET = {"Authorization", "Cookie", "X-Api-Key", "Host"}


def ask(method: str = "POST", url: str = "https://h/a/b?c=d") -> Request:
    return Request(method=method, url=url, headers=HEADERS, body=b"body", timeout=7)


def to(location: str, status: int = 302) -> Response:
    return Response.of(status, headers={"Location": location})


@pytest.mark.parametrize(
    ("method", "status", "follows"),
    [
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("POST", 303, "GET"),
        ("PUT", 303, "GET"),
        ("HEAD", 303, "HEAD"),
        ("PUT", 301, "PUT"),
        ("DELETE", 302, "DELETE"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
        ("GET", 302, "GET"),
    ],
)
def test_methods(method: str, status: int, follows: str) -> None:
    following = redirected(ask(method), to("/x", status))
    assert following is not None
    assert following.method == follows
    changed = (method == "POST" and follows == "GET") or (method, status) == ("PUT", 303)
    assert following.body == (b"" if changed else b"body")
    assert ("Content-Type" in following.headers) is not changed
    assert following.timeout == 7


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/x?y=%2F", "https://h/x?y=%2F"),
        ("x", "https://h/a/x"),
        ("../x", "https://h/x"),
        ("?q", "https://h/a/b?q"),
        ("//h/x", "https://h/x"),
        ("https://h:443/x", "https://h/x"),
    ],
)
def test_within_an_origin_secrets_stay(location: str, url: str) -> None:
    following = redirected(ask("GET"), to(location))
    assert following is not None
    assert following.url == url
    assert following.headers == HEADERS


@pytest.mark.parametrize("location", ["http://h/a", "https://h:8443/a", "//other/a", "https://h.evil.example/a"])
def test_to_another_origin_they_do_not_go(location: str) -> None:
    following = redirected(ask("GET"), to(location))
    assert following is not None
    assert set(HEADERS) - set(following.headers) == SECRET


@pytest.mark.parametrize(
    "response", [to("/x", 200), to("/x", 300), to("/x", 304), to("/x", 201), Response.of(302), to("", 302)]
)
def test_what_is_no_redirect(response: Response) -> None:
    assert redirected(ask(), response) is None


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "gopher://h/", "javascript:alert(1)", "http://u:pw@h/", "http://h:0/", "http://[::1"],
)
def test_where_none_may_lead(location: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^GET https://h/a/b was redirected, and ") as caught:
        redirected(ask("GET"), to(location))
    assert "pw" not in str(caught.value)
