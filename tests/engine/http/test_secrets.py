import msgspec
import pytest

from durably.engine.http.secrets import Secrets, hide, hide_query, is_secret, shown

SECRET = (
    *("Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "apikey", "X-Auth-Token", "key"),
    *("access_token", "accessToken", "client_secret", "X-Amz-Signature", "X-Amz-Credential", "sig", "password", "jwt"),
)
OPEN = (
    *("Accept", "Content-Type", "Idempotency-Key", "idempotency_key", "author", "keyword", "max_tokens", "page_token"),
    *("X-Request-Id", "q", "User-Agent", "sort"),
)


@pytest.mark.parametrize("name", SECRET)
def test_names_that_are_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", OPEN)
def test_names_that_are_not(name: str) -> None:
    assert not is_secret(name)


URL = "https://api.example.com/p;v=1?token=a%20b;?&x=1&api_%6Bey=c&token=d&flag#access_token=e"


def test_secrets_are_taken_out_and_put_back() -> None:
    headers = {"authorization": "Bearer s3cret", "Accept": "*/*", "X-API-Key": "k"}
    hidden = hide(URL, headers)
    assert hidden.url == "https://api.example.com/p;v=1?token=***&x=1&api_%6Bey=***&token=***&flag"
    assert hidden.headers == {"authorization": "***", "Accept": "*/*", "X-API-Key": "***"}
    assert hidden.secrets is not None
    assert hidden.secrets.into_query(hidden.url) == URL.partition("#")[0]
    assert hidden.secrets.into_headers(hidden.headers) == headers


def test_what_a_fork_puts_in_their_place_stays() -> None:
    secrets = hide("https://h/?token=old", {"Authorization": "old"}).secrets
    assert secrets is not None
    assert secrets.into_query("https://h/?token=new&sig=***") == "https://h/?token=new&sig=***"
    assert secrets.into_headers({"Authorization": "new", "Cookie": "***"}) == {"Authorization": "new", "Cookie": "***"}


def test_where_there_are_none_there_is_nothing_to_carry() -> None:
    assert hide("https://h/p?q=1", {"Accept": "*/*"}) == ("https://h/p?q=1", {"Accept": "*/*"}, None)


def test_no_json_can_carry_them_and_no_text_shows_them() -> None:
    secrets = Secrets({"Cookie": "s3cret"}, {"sig": ["s3cret"]})
    assert "s3cret" not in repr(secrets)
    with pytest.raises(TypeError):
        msgspec.json.encode(secrets)


@pytest.mark.parametrize(
    ("url", "hidden", "short"),
    [
        ("https://u:pw@h/p?sig=s", "https://***@h/p?sig=***", "https://***@h/p"),
        ("https:u:pw@h/p", "https:***@h/p", "https:***@h/p"),
        ("u:pw@h", "u:***@h", "u:***@h"),
        ("https://h/@scope/p?to=a@b", "https://h/@scope/p?to=a@b", "https://h/@scope/p"),
        ("https://h/a\nb", "https://h/a\nb", "https://h/a\ufffdb"),
        ("https://h/" + "a" * 300, "https://h/" + "a" * 300, "https://h/" + "a" * 190 + "…"),
    ],
)
def test_what_is_recorded_of_a_url_and_what_errors_show(url: str, hidden: str, short: str) -> None:
    assert hide_query(url) == hidden
    assert shown(url) == short
