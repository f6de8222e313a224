import msgspec
import pytest

from durably.engine.http.messages import Request, Response
from durably.engine.values.codec import decoder_for, encode, encode_result

AGAIN = decoder_for(Response)


def recorded(response: Response) -> Response:
    """As a replay has it."""
    again = AGAIN(encode(response))
    assert isinstance(again, Response)
    assert again == response
    return again


class TestResponse:
    def test_text_is_recorded_as_text(self) -> None:
        response = Response.of(200, headers={"Content-Type": "application/json"}, body='{"name": "Zoë"}'.encode())
        assert msgspec.json.decode(encode(response)) == {
            "status": 200,
            "headers": {"content-type": "application/json"},
            "body": '{"name": "Zoë"}',
            "body_bytes": 16,
        }
        again = recorded(response)
        assert again.body == '{"name": "Zoë"}'.encode()
        assert again.text == '{"name": "Zoë"}'
        assert again.json() == {"name": "Zoë"}

    @pytest.mark.parametrize("body", [b"", b"\0", b"\xff\xfe\x00", "\ufeff{}".encode(), bytes(range(256)), b"\xc3"])
    def test_any_bytes_come_back(self, body: bytes) -> None:
        assert recorded(Response.of(body=body)).body == body

    @pytest.mark.parametrize(
        ("kind", "body", "text"),
        [
            ("text/plain; charset=ISO-8859-1", b"caf\xe9", "café"),
            ('text/plain; Charset="utf-16"', "hi ✓".encode("utf-16"), "hi ✓"),
            ("text/plain; charset=klingon", b"caf\xe9", "caf\ufffd"),
            *(
                (f"text/plain; charset={name}", b"caf\xe9", "caf\ufffd")
                for name in ("idna", "undefined", "base64", "rot13")
            ),
            ("text/plain; charset=punycode", b"\xe9-bbbb", "\ufffd-bbbb"),
            ("text/plain; charset=utf-7", b"\xe9+2AA-", "\ufffd+2AA-"),
            ("text/plain; charset=unicode_escape", b"\xe9\\ud800", "\ufffd\\ud800"),
            ("", b"caf\xe9", "caf\ufffd"),
            ("text/plain", "✓".encode(), "✓"),
        ],
    )
    def test_text_in_other_charsets(self, kind: str, body: bytes, text: str) -> None:
        assert recorded(Response.of(headers={"Content-Type": kind}, body=body)).text == text

    def test_headers_are_found_in_any_case(self) -> None:
        headers = recorded(Response.of(headers={"Retry-After": "7"})).headers
        assert headers["retry-after"] == headers["Retry-After"] == headers.get("RETRY-AFTER") == "7"
        assert "Retry-after" in headers
        assert "Date" not in headers
        assert headers.get("Date") is None
        assert headers.get("Date", "never") == "never"
        assert list(headers) == ["retry-after"]

    def test_json_by_annotation(self) -> None:
        response = Response.of(json=[{"at": "2026-01-01T00:00:00Z"}])
        assert response.json(list[dict[str, str]]) == response.json()
        with pytest.raises(ValueError, match="Expected `int`"):
            response.json(int)
        with pytest.raises(ValueError, match="not JSON"):
            Response.of(body="<html>").json()

    def test_a_character_that_is_cut_in_two_is_left_out(self) -> None:
        response = Response.of(body="aé".encode()[:2], body_bytes=99)
        assert (response.text, response.body, response.truncated, response.body_bytes) == ("a", b"a", True, 99)
        assert Response.of(body=b"\xff", body_bytes=99).body == b"\xff", "which is no text in any case"

    def test_a_body_as_long_as_a_result_may_be_fits(self) -> None:
        encode_result(Response.of(body=b"a" * (4 * 1024 * 1024 - 200)))

    def test_its_repr_has_no_body(self) -> None:
        response = Response.of(201, headers={"Set-Cookie": "s3cret"}, body=b"s3cret")
        assert repr(response) == "<Response 201 with 6 bytes>"
        assert "s3cret" not in repr(response.__rich_repr__())


class TestRequest:
    REQUEST = Request(
        method="POST", url="https://h/p?sig=abc", headers={"Authorization": "Bearer 0123456789", "Accept": "*/*"}
    )

    def test_its_repr_has_no_secrets(self) -> None:
        assert repr(self.REQUEST) == "<Request POST https://h/p>"
        assert self.REQUEST.__rich_repr__() == [("method", "POST"), ("url", "https://h/p")]

    def test_it_knows_its_secrets(self) -> None:
        assert self.REQUEST.secrets == ["Bearer 0123456789", "0123456789", "abc"]
