"""The server that takes e-mail: what its URL says, and handing it a mail."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage
from importlib import import_module
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from durably.engine.notifications.destination import NotDelivered, Rejected

__all__ = ["SmtpServer", "check_installed", "submit"]

PORTS = {"smtp": 587, "smtps": 465}
TIMEOUT_S = 30
"""For the whole conversation."""
PERMANENT = 500
FORM = "smtp://user:password@host:587 or smtps://user:password@host:465"


class SmtpServer(NamedTuple):
    """Where mail is handed in, and how.

    `tls` is `implicit` from the first byte, `starttls` before anything else is said, with nothing sent when that cannot
    be had, or `none`. Certificates are always verified.
    """

    host: str
    port: int
    user: str | None
    password: str | None
    tls: Literal["implicit", "starttls", "none"]

    def __repr__(self) -> str:
        return f"SmtpServer({self})"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def from_url(cls, url: str) -> "SmtpServer":
        """What a URL such as `smtp://user:password@host:587` says.

        `smtps` is TLS from the first byte (port 465). `smtp` (port 587) is STARTTLS, except on a loopback address;
        `?starttls=required` and `?starttls=off` say otherwise. A password never travels without TLS but on loopback.

        Raises:
            ValueError: it is no such URL. The error never repeats it, since a password may be in it.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(f"the SMTP URL cannot be read; it looks like {FORM}") from None
        if parts.scheme not in PORTS or not parts.hostname or parts.path not in ("", "/") or parts.fragment:
            raise ValueError(f"the SMTP URL must look like {FORM}")
        if (parts.username is None) != (parts.password is None):
            raise ValueError("the SMTP URL has a user or a password, and must have both or none")
        server = cls(
            parts.hostname,
            port or PORTS[parts.scheme],
            parts.username and unquote(parts.username),
            parts.password and unquote(parts.password),
            _tls(parts),
        )
        if server.password and server.tls == "none" and not _is_loopback(server.host):
            raise ValueError(f"the password for {server} would be sent in clear: leave out ?starttls=off")
        return server


def _tls(parts: SplitResult) -> Literal["implicit", "starttls", "none"]:
    options = parse_qs(parts.query, keep_blank_values=True)
    asked = options.pop("starttls", [""])[-1]
    if options or asked not in ("", "required", "off") or (asked and parts.scheme == "smtps"):
        raise ValueError("an SMTP URL has no option but ?starttls=required or ?starttls=off, and smtps:// has none")
    if parts.scheme == "smtps":
        return "implicit"
    if asked == "off" or (not asked and _is_loopback(parts.hostname or "")):
        return "none"
    return "starttls"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_installed() -> None:
    """Raise `ModuleNotFoundError` when the library that speaks SMTP is missing."""
    if find_spec("aiosmtplib") is None:
        raise ModuleNotFoundError(
            "Email(…) needs the package aiosmtplib, which is not installed: pip install 'durably[email]'",
            name="aiosmtplib",
        )


async def submit(server: SmtpServer, mail: EmailMessage, sender: str, recipients: Sequence[str]) -> dict[str, str]:
    """Hand in a mail. Returns the recipients that the server refused, and why, when it took others.

    Raises `NotDelivered`; `Rejected` when the server refused all of them, or the mail itself, for good.
    """
    smtp: Any = import_module("aiosmtplib")
    client = smtp.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.user,
        password=server.password,
        use_tls=server.tls == "implicit",
        start_tls=server.tls == "starttls",
        local_hostname=sender.rpartition("@")[2].encode("idna").decode(),
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await client.connect()
            refused, _ = await client.send_message(mail, sender=sender, recipients=recipients)
        await _take_leave(smtp, client)
    except (smtp.SMTPException, OSError) as error:
        raise _failure(smtp, server, error) from None
    finally:
        client.close()  # `async with client` would say goodbye to a server that has stopped answering
    return {recipient: f"{answer.code} {answer.message}" for recipient, answer in refused.items()}


async def _take_leave(smtp: Any, client: Any) -> None:
    """The server has the mail: whatever happens now does not matter."""
    with suppress(smtp.SMTPException, OSError):
        async with asyncio.timeout(TIMEOUT_S):
            await client.quit()


def _failure(smtp: Any, server: SmtpServer, error: Exception) -> NotDelivered:
    match error:
        case smtp.SMTPRecipientsRefused():
            answers = "; ".join(f"{each.recipient}: {_answer(each)}" for each in error.recipients)
            final = all(each.code >= PERMANENT for each in error.recipients)
            return (Rejected if final else NotDelivered)(f"{server} refused every recipient: {answers}")
        case smtp.SMTPDataError():
            final = error.code >= PERMANENT
            return (Rejected if final else NotDelivered)(f"{server} refused the mail: {_answer(error)}")
        case smtp.SMTPResponseException():
            return NotDelivered(f"{server}: {_answer(error)}")
        case TimeoutError():
            return NotDelivered(f"{server} took longer than {TIMEOUT_S:g} s")
        case _:
            return NotDelivered(f"{server}: {error}")


def _answer(error: Any) -> str:
    return f"{error.code} {error.message}"
