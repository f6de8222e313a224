"""What an SMTP URL says."""

import pytest

from durably.engine.notifications.smtp import SmtpServer


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", SmtpServer("mail.example", 587, None, None, "starttls")),
        ("smtp://mail.example:2525/", SmtpServer("mail.example", 2525, None, None, "starttls")),
        ("smtp://mail.example:25?starttls=off", SmtpServer("mail.example", 25, None, None, "none")),
        ("smtps://mail.example", SmtpServer("mail.example", 465, None, None, "implicit")),
        ("smtp://u%40e.com:p%2F%3A@mail.example", SmtpServer("mail.example", 587, "u@e.com", "p/:", "starttls")),
        ("smtp://localhost:25", SmtpServer("localhost", 25, None, None, "none")),
        ("smtp://u:p@127.0.0.2:25", SmtpServer("127.0.0.2", 25, "u", "p", "none")),
        ("smtp://[::1]:25", SmtpServer("::1", 25, None, None, "none")),
        ("smtp://localhost?starttls=required", SmtpServer("localhost", 587, None, None, "starttls")),
    ],
)
def test_urls(url: str, server: SmtpServer) -> None:
    assert SmtpServer.from_url(url) == server


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must look like"),
        ("mail.example:587", "must look like"),
        ("http://mail.example", "must look like"),
        ("smtp://", "must look like"),
        ("smtp://u:hunter2@mail.example/inbox", "must look like"),
        ("smtp://u:hunter2@mail.example:port", "cannot be read"),
        ("smtp://u:hunter2@mail.example:99999", "cannot be read"),
        ("smtp://u:hunter2@[mail", "cannot be read"),
        ("smtp://u@mail.example", "both or none"),
        ("smtp://u:hunter2@mail.example?tls=no", "has no option but"),
        ("smtp://u:hunter2@mail.example?starttls=maybe", "has no option but"),
        ("smtps://u:hunter2@mail.example?starttls=required", "has no option but"),
        ("smtp://u:hunter2@mail.example?starttls=off", "would be sent in clear"),
    ],
)
def test_urls_that_cannot_be(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        SmtpServer.from_url(url)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_password_is_not_shown() -> None:
    server = SmtpServer.from_url("smtp://u:hunter2@mail.example")
    assert repr(server) == "SmtpServer(mail.example:587)"
    assert f"{server}" == "mail.example:587"
