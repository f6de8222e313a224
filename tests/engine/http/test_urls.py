import pytest

from durably.engine.http.errors import InvalidRequest
from durably.engine.http.messages import Request
from durably.engine.http.urls import check_request, origin, parse_url

WRONG = {
    "": "must begin with http:// or https://",
    "example.com/x": "must begin with http:// or https://",
    "//example.com/x": "must begin with http:// or https://",
    "file:///etc/passwd": "must begin with http:// or https://",
    "ftp://example.com": "must begin with http:// or https://",
    "gopher://127.0.0.1:6379/_FLUSHALL": "must begin with http:// or https://",
    "http://": "names no host",
    "http:///etc/passwd": "names no host",
    "http:example.com": "names no host",
    "http://h:0/": "port 0 is none",
    "http://h:65536/": "cannot be parsed",
    "http://h:x/": "cannot be parsed",
    "http://[::1": "cannot be parsed",
    "http://user@h/": "has a name or password in it",
    "http://user:pw@h/": "has a name or password in it",
    "http://@h/": "has a name or password in it",
    "http://h/ x": "has blanks, control characters or backslashes in it",
    "http://h\t/": "has blanks, control characters or backslashes in it",
    "http://h/\r\nX: y": "has blanks, control characters or backslashes in it",
    "http://h\\@evil/": "has blanks, control characters or backslashes in it",
    "http://h/" + "a" * 9000: "it has 9,009 characters, more than 8,192",
    "http://ex\ud800ample/": "cannot be parsed",
}


@pytest.mark.parametrize("url", WRONG, ids=lambda url: ascii(url[:30]))
def test_urls_that_cannot_be_requested(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^the URL .* cannot be requested: ") as caught:
        parse_url(url)
    assert WRONG[url] in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://h/a%2Fb/%7e?x=%2f+%20&y=a'b", "http://h/a%2Fb/%7e?x=%2f+%20&y=a'b"),
        ("HTTPS://Example.com:8443", "https://Example.com:8443"),
        ("http://exämple.com/ü?q=ä", "http://xn--exmple-cua.com/%C3%BC?q=%C3%A4"),
        ("http://[2606:4700::1111]:81/", "http://[2606:4700::1111]:81/"),
    ],
)
def test_an_ascii_url_is_sent_as_it_is_written(url: str, sent: str) -> None:
    assert str(parse_url(url)) == sent


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://h/a", "http://H:80/b?c", True),
        ("http://h/", "https://h/", False),
        ("http://h/", "http://h:8080/", False),
        ("http://h/", "http://h.example/", False),
    ],
)
def test_origins(one: str, other: str, same: bool) -> None:
    assert (origin(parse_url(one)) == origin(parse_url(other))) is same


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\n", "CONNECT", "trace", "GÉT", "G/1"])
def test_methods_that_cannot_be_sent(method: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^the method .* cannot be sent; use GET"):
        check_request(Request(method=method, url="http://h/"))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("X Y", "1", "header name 'X Y' cannot be sent"),
        ("X:", "1", "header name 'X:' cannot be sent"),
        ("", "1", "header name '' cannot be sent"),
        ("X\n", "1", r"header name 'X\\n' cannot be sent"),
        ("X", "s3cret\r\nY: 2", "value of the header 'X' has a line break"),
        ("X", "s3cret\0", "value of the header 'X' has a line break"),
        ("X", "s3cret\ud800", "value of the header 'X' has a line break or what is no text"),
        ("Content-Length", "1", "header 'Content-Length' is the HTTP client's own; leave it out"),
        ("transfer-encoding", "chunked", "header 'transfer-encoding' is the HTTP client's own"),
    ],
)
def test_headers_that_cannot_be_sent(name: str, value: str, error: str) -> None:
    with pytest.raises(InvalidRequest, match=error) as caught:
        check_request(Request(method="GET", url="http://h/", headers={name: value}))
    assert "s3cret" not in str(caught.value)


def test_others_can() -> None:
    headers = {"X-Empty": "", "X-Name": "Zoë", "Host": "example.com", "Authorization": "Bearer x"}
    check_request(Request(method="PROPFIND", url="http://h/", headers=headers))
