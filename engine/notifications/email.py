"""`durably.Email`: a mail when a run has failed for good."""

import os
from collections.abc import Sequence
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.policy import SMTP
from typing import Literal

import structlog

from durably.engine.http.client import HttpClient
from durably.engine.notifications.destination import destination_id
from durably.engine.notifications.mail import check_subject, compose
from durably.engine.notifications.message import Envelope
from durably.engine.notifications.smtp import SmtpServer, check_installed, submit

__all__ = ["Email"]

log = structlog.get_logger("durably")

SMTP_URL = "DURABLY_SMTP_URL"


class Email:
    """Tells people by e-mail: `Engine(notify=[Email("ops@example.com")])`.

    Args:
        to: an address or several, each with a name if you like: `"Ops <ops@example.com>"`. They get one mail.
        sender: the address it comes from; the user of the SMTP URL if that is an address.
        smtp_url: the server that takes mail, `smtp://user:password@host:587` (with STARTTLS) or `smtps://…`;
            the environment variable `DURABLY_SMTP_URL` otherwise. docs/notifications.md has its options.
        subject: may use `{workflow}`, `{run_id}` and `{error}`.
        name: the destination's id; without it one that follows from `to`.

    It counts as delivered when the server has taken it for at least one address; those it refused are in the log.

    Raises:
        ValueError: an argument cannot be used; the message says which and why.
        ModuleNotFoundError: `pip install 'durably[email]'` was not done.
    """

    kind: Literal["email"] = "email"
    patience = None  # an address is not switched off: what is down for a day is the mail server, which all share

    def __init__(
        self,
        to: str | Sequence[str],
        *,
        sender: str | None = None,
        smtp_url: str | None = None,
        subject: str = "{workflow} failed: {error}",
        name: str | None = None,
    ) -> None:
        check_installed()
        check_subject(subject)
        url = smtp_url or os.environ.get(SMTP_URL)
        if not url:
            raise ValueError(f"Email(…) needs a mail server: give smtp_url= or set {SMTP_URL}")
        self._server = SmtpServer.from_url(url)
        self._to = [_address(each) for each in ([to] if isinstance(to, str) else to)]
        if not self._to:
            raise ValueError("Email(…) needs an address to write to")
        self._sender = _address(_sender(sender, self._server))
        self._subject = subject
        self.address = ", ".join(each.addr_spec for each in self._to)
        self.id = destination_id(self.kind, name, self.address)

    def __repr__(self) -> str:
        return f"Email({self.address!r})"

    async def send(self, envelope: Envelope, http: HttpClient) -> None:
        """Hand one mail to the server."""
        del http  # SMTP is not HTTP
        mail = compose(envelope, self._sender, self._to, self._subject)
        recipients = [each.addr_spec for each in self._to]
        for recipient, answer in (await submit(self._server, mail, self._sender.addr_spec, recipients)).items():
            log.warning("notification.recipient_refused", destination=self.id, recipient=recipient, answer=answer)


def _sender(sender: str | None, server: SmtpServer) -> str:
    if sender:
        return sender
    if server.user and "@" in server.user:
        return server.user
    raise ValueError("Email(…) needs sender=, the address it comes from: the SMTP URL's user is not an address")


def _address(text: str) -> Address:
    """One address, with or without a name before it."""
    try:
        if not text.isprintable():
            raise ValueError(text)
        header = SMTP.header_factory("To", text)
        [address] = header.addresses
        if header.defects or not (address.username and address.domain):
            raise ValueError(text)
        return Address(display_name=address.display_name, addr_spec=address.addr_spec)
    except (ValueError, IndexError, HeaderParseError):
        raise ValueError(f"{text!r} is not an e-mail address; it looks like ops@example.com") from None
