"""Mails as a real SMTP server gets them, over every kind of connection."""

import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from durably import ErrorInfo
from durably.engine.http.client import HttpClient
from durably.engine.notifications import email as module
from durably.engine.notifications import smtp
from durably.engine.notifications.destination import NotDelivered, Rejected
from durably.engine.notifications.email import Email
from durably.engine.notifications.failure import RunFailure
from durably.engine.notifications.message import Envelope, encode_failure, encode_test
from tests.engine.notifications.bare_post import Post, failure_of
from tests.engine.notifications.real_receivers import Mailbox

pytestmark = pytest.mark.anyio

OpenPost = Callable[..., Awaitable[Post]]
ServeMail = Callable[..., Awaitable[Mailbox]]
FAILED_US = 1_767_225_600_000_000
SENT_US = FAILED_US + 3_600_000_000


def email_to(*to: str, url: str, **options: str) -> Email:
    return Email(to or ("ops@example.com",), **{"sender": "durably@example.com", "smtp_url": url, **options})


async def send(email: Email, failure: RunFailure | None = None) -> None:
    async with HttpClient() as http:
        body = encode_failure(failure or failure_of(), FAILED_US)
        await email.send(Envelope("msg_1", body, SENT_US), http)


def part(mail: EmailMessage, kind: str) -> str:
    """The text of a mail, or its HTML."""
    found = mail.get_body((kind,))
    assert found is not None
    text: str = found.get_content()
    return text


# -- what is in it


async def test_a_mail_tells_what_failed_when_and_where_to_look(mailbox: Mailbox) -> None:
    url = "https://durably.example.com/api/v1/workflow-runs/run-1?a=1&b=2"
    await send(email_to("Ops <ops@example.com>", "boss@example.com", url=mailbox.url), failure_of(url=url))
    [envelope], [mail] = mailbox.envelopes, mailbox.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("durably@example.com", ["ops@example.com", "boss@example.com"])
    assert mailbox.sessions[0].host_name == "example.com"
    assert mail["From"] == "durably@example.com"
    assert mail["To"] == "Ops <ops@example.com>, boss@example.com"
    assert mail["Message-ID"] == "<msg_1@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert parsedate_to_datetime(mail["Date"]) == datetime(2026, 1, 1, 1, tzinfo=UTC)
    assert mail["Subject"].startswith("fulfil failed: durably.StepError: step 'charge#0' failed after 6 attempts")
    assert part(mail, "plain").replace("\r\n", "\n") == (
        "A run of fulfil has failed.\n\n"
        "Workflow:   fulfil\n"
        "Run:        run-1\n"
        "Failed at:  2026-01-01 00:00:00 UTC\n"
        "Error:      durably.StepError: step 'charge#0' failed after 6 attempts: "
        "shop.CardDeclined: insufficient funds\n\n"
        f"{url}\n"
    )
    assert f'<a href="{url.replace("&", "&amp;")}">' in part(mail, "html")


async def test_neither_input_nor_traceback_is_mailed(mailbox: Mailbox) -> None:
    error = ErrorInfo("ValueError", ("ValueError",), "no", "Traceback: line 1")
    await send(email_to(url=mailbox.url), failure_of(error=error, input={"password": "hunter2"}))
    [envelope] = mailbox.envelopes
    content = str(envelope.content)
    assert "hunter2" not in content
    assert "Traceback" not in content


async def test_causes_that_the_message_does_not_tell(mailbox: Mailbox) -> None:
    cause = ErrorInfo("OSError", (), "disk full", cause=ErrorInfo("KeyError", (), "'x'"))
    await send(email_to(url=mailbox.url), failure_of(error=ErrorInfo("ValueError", (), "no", cause=cause)))
    assert "Caused by:  OSError: disk full\n            KeyError: 'x'" in part(mailbox.mails[0], "plain").replace(
        "\r", ""
    )


async def test_hostile_text_stays_text(mailbox: Mailbox) -> None:
    """Whoever can make a run fail can choose the error's text: no header, no markup, no control character of theirs."""
    evil = (
        "no\r\nBcc: victim@example.org\r\n\r\n<script>alert(1)</script>\x00\u202e\r\n.\r\nMAIL FROM:<x@y.z>\n"
        + "x" * 99_999
    )
    failure = failure_of(error=ErrorInfo("ValueError", (), evil), workflow="a\nb", run_id="r\r\nX-Evil: 1")
    await send(email_to(url=mailbox.url), failure)
    [envelope], [mail] = mailbox.envelopes, mailbox.mails
    assert envelope.rcpt_tos == ["ops@example.com"]
    assert mail["Bcc"] is None
    assert mail["X-Evil"] is None
    assert set(mail.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type")
    }
    assert len(mail["Subject"]) <= 201
    html = part(mail, "html")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert not any(character in html + part(mail, "plain") for character in "\x00\u202e")
    assert len(html) < 10_000


async def test_a_subject_of_ones_own(mailbox: Mailbox) -> None:
    await send(email_to(url=mailbox.url, subject="[prod] {workflow} {run_id}"))
    assert mailbox.mails[0]["Subject"] == "[prod] fulfil run-1"


async def test_a_test_says_that_it_is_one(mailbox: Mailbox) -> None:
    email = email_to(url=mailbox.url)
    async with HttpClient() as http:
        await email.send(Envelope("msg_1", encode_test(email.id, FAILED_US), SENT_US), http)
    [mail] = mailbox.mails
    assert mail["Subject"] == f"this is a test of {email.id}: nothing has failed"
    assert "This is a test. Nothing has failed." in part(mail, "plain")


async def test_it_is_delivered_and_recorded(open_post: OpenPost, mailbox: Mailbox) -> None:
    post = await open_post(email_to(url=mailbox.url))
    await post.tell("run-1")
    row = await post.row()
    assert (row.status, row.attempts) == ("DELIVERED", 1)
    assert [mail["Message-ID"] for mail in mailbox.mails] == [f"<{row.message}@example.com>"]


async def test_it_is_tried_again_under_the_same_message_id_while_the_server_is_down(
    open_post: OpenPost, mailbox: Mailbox
) -> None:
    post = await open_post(email_to(url=mailbox.url))
    mailbox.to_mails = "451 try again later"
    await post.tell("run-1")
    row = await post.row()
    assert (row.status, row.error) == (
        "PENDING",
        f"127.0.0.1:{mailbox.port} refused the mail: 451 try again later",
    )
    mailbox.to_mails = "250 OK"
    await post.advance(5)
    assert [mail["Message-ID"] for mail in mailbox.mails] == [f"<{row.message}@example.com>"]


# -- what a server refuses


@pytest.mark.parametrize(
    ("refused", "to_mails", "error"),
    [
        ({"ops@example.com": "450 greylisted"}, "250 OK", NotDelivered),
        ({"ops@example.com": "550 no such user"}, "250 OK", Rejected),
        ({}, "451 later", NotDelivered),
        ({}, "554 spam", Rejected),
    ],
)
async def test_what_a_server_refuses_for_good_is_not_tried_again(
    mailbox: Mailbox, refused: dict[str, str], to_mails: str, error: type[NotDelivered]
) -> None:
    mailbox.refused, mailbox.to_mails = refused, to_mails
    with pytest.raises(NotDelivered, match=f"127.0.0.1:{mailbox.port} refused") as failure:
        await send(email_to(url=mailbox.url))
    assert type(failure.value) is error


async def test_a_mail_that_one_recipient_gets_is_delivered_and_the_others_are_logged(mailbox: Mailbox) -> None:
    mailbox.refused = {"gone@example.com": "550 no such user"}
    with structlog.testing.capture_logs() as lines:
        await send(email_to("gone@example.com", "ops@example.com", url=mailbox.url))
    assert len(mailbox.mails) == 1
    [line] = lines
    assert (line["event"], line["recipient"], line["answer"]) == (
        "notification.recipient_refused",
        "gone@example.com",
        "550 no such user",
    )


async def test_nobody_listens(unused_port: int) -> None:
    with pytest.raises(NotDelivered, match=f"127.0.0.1:{unused_port}: Error connecting") as failure:
        await send(email_to(url=f"smtp://127.0.0.1:{unused_port}"))
    assert not isinstance(failure.value, Rejected)


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch, silent: str) -> None:
    monkeypatch.setattr(smtp, "TIMEOUT_S", 0.05)
    with pytest.raises(NotDelivered):
        await send(email_to(url=silent))


async def test_a_server_that_stops_answering(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "TIMEOUT_S", 0.2)
    mailbox.answering.clear()
    with pytest.raises(NotDelivered, match=r"took longer than 0\.2 s"):
        await send(email_to(url=mailbox.url))
    await mailbox.hung_up.wait()


async def test_a_mail_that_was_taken_is_not_sent_again_because_the_farewell_failed(mailbox: Mailbox) -> None:
    mailbox.farewell = "500 you again"
    await send(email_to(url=mailbox.url))
    assert len(mailbox.mails) == 1


# -- TLS and passwords


class Certificate(NamedTuple):
    """A certificate that signs itself, for `localhost`."""

    context: ssl.SSLContext
    file: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return Certificate(context, file)


def authenticate(_server: object, _session: object, _envelope: object, _mechanism: str, given: object) -> AuthResult:
    assert isinstance(given, LoginPassword)
    return AuthResult(success=(given.login, given.password) == (b"ops@example.com", b"p@ss/word"), handled=False)


LOGIN = "ops%40example.com:p%40ss%2Fword"


async def test_starttls_and_a_password(
    serve_mail: ServeMail, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    mailbox = await serve_mail(
        tls_context=certificate.context, require_starttls=True, auth_required=True, authenticator=authenticate
    )
    await send(Email("boss@example.com", smtp_url=f"smtp://{LOGIN}@127.0.0.1:{mailbox.port}?starttls=required"))
    [session], [mail] = mailbox.sessions, mailbox.mails
    assert session.ssl is not None
    assert session.authenticated
    assert mail["From"] == "ops@example.com"


async def test_tls_from_the_first_byte(
    serve_mail: ServeMail, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    mailbox = await serve_mail(certificate.context, auth_require_tls=False, authenticator=authenticate)
    await send(Email("boss@example.com", smtp_url=f"smtps://{LOGIN}@127.0.0.1:{mailbox.port}"))
    assert len(mailbox.mails) == 1


async def test_a_certificate_that_is_not_trusted(serve_mail: ServeMail, certificate: Certificate) -> None:
    mailbox = await serve_mail(certificate.context)
    with pytest.raises(NotDelivered, match=r"(?i)certificate verify failed"):
        await send(email_to(url=f"smtps://127.0.0.1:{mailbox.port}"))
    assert mailbox.mails == []


async def test_nothing_is_sent_in_clear_where_tls_is_asked_for(mailbox: Mailbox) -> None:
    with pytest.raises(NotDelivered, match="STARTTLS"):
        await send(email_to(url=f"{mailbox.url}?starttls=required"))
    assert mailbox.mails == []


async def test_a_wrong_password_is_tried_again_and_never_repeated(serve_mail: ServeMail) -> None:
    mailbox = await serve_mail(auth_require_tls=False, authenticator=authenticate)
    with pytest.raises(NotDelivered, match="535") as failure:
        await send(email_to(url=f"smtp://ops:wr0ng-pass@127.0.0.1:{mailbox.port}"))
    assert not isinstance(failure.value, Rejected)
    assert "wr0ng-pass" not in str(failure.value)


# -- arguments


@pytest.mark.parametrize(
    "address",
    [
        *("", "ops", "ops@", "@example.com", "a@b, c@d", "a b@c", "ops@example.com\nBcc: x@y.z", "a@b;c@d"),
        *("<ops@example.com", "ops@example.com\r", "ops@exa\x00mple.com"),
    ],
)
def test_addresses_that_cannot_be(address: str) -> None:
    with pytest.raises(ValueError, match="is not an e-mail address"):
        Email(["boss@example.com", address], sender="durably@example.com", smtp_url="smtp://mail.example")
    with pytest.raises(ValueError, match=r"is not an e-mail address|needs sender="):
        Email("ops@example.com", sender=address, smtp_url="smtp://mail.example")


def test_what_is_missing() -> None:
    with pytest.raises(ValueError, match="give smtp_url= or set DURABLY_SMTP_URL"):
        Email("ops@example.com", sender="durably@example.com")
    with pytest.raises(ValueError, match="needs sender="):
        Email("ops@example.com", smtp_url="smtp://apikey:secret@mail.example")
    with pytest.raises(ValueError, match="needs an address to write to"):
        Email([], smtp_url="smtp://a%40b:secret@mail.example")


def test_the_server_may_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLY_SMTP_URL", "smtp://durably%40example.com:hunter2@mail.example")
    email = Email("ops@example.com")
    assert repr(email) == "Email('ops@example.com')"


@pytest.mark.parametrize("subject", ["{error.message}", "{}", "{0}", "{input}", "{workflow", "{workflow!x}"])
def test_subjects_that_cannot_be(subject: str) -> None:
    with pytest.raises(ValueError, match=r"it can use \{workflow\}, \{run_id\} and \{error\}"):
        email_to(url="smtp://mail.example", subject=subject)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        assert name == "aiosmtplib"

    monkeypatch.setattr(smtp, "find_spec", nothing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'durably\[email\]'"):
        module.Email("ops@example.com", smtp_url="smtp://mail.example")
