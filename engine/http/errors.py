# ruff: noqa: N818 - named as the errors of the contract are
"""What a request fails with. No message holds a query, a password, or the value of a header that looks secret."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Literal, TypeAlias

from durably.engine.errors import DurablyError, NonRetriableError
from durably.engine.http.messages import Request, Response
from durably.engine.http.secrets import HIDDEN, shown

__all__ = [
    "AddressRefused",
    "ConnectionFailed",
    "InvalidRequest",
    "RequestTimeout",
    "ResponseTooLarge",
    "UnexpectedStatus",
    "Unreachable",
]

Unreachable: TypeAlias = Literal["dns", "refused", "tls", "transport"]
"""How a destination could not be reached: no address, nobody listens, no trust, or the connection broke."""

EXCERPT = 300
"""Characters of an answer that a message quotes: services say there what is wrong."""


class RequestTimeout(DurablyError, TimeoutError):
    """The answer was not there, whole and with all redirects, within the request's `timeout`.

    To a policy it is a timeout. The service may have done what it was asked all the same.
    """


class ConnectionFailed(DurablyError, ConnectionError):
    """The destination could not be reached, or the connection broke: to a policy a connection error.

    `reason` is `"dns"`, `"refused"`, `"tls"` or `"transport"` (third seed: "DNS, refused connection, TLS, or transport
    error").
    """

    def __init__(self, message: str, reason: Unreachable) -> None:
        super().__init__(message, reason)
        self.message = message
        self.reason: Unreachable = reason

    def __str__(self) -> str:
        return self.message


class UnexpectedStatus(DurablyError):
    """The answer's status is none of those that count as success.

    To a policy it is that status, with the answer's `Retry-After`. `response` is the answer; where the workflow gets a
    `StepError`, there is `status`, and the message quotes the beginning of the body.
    """

    def __init__(self, request: Request, response: Response) -> None:
        super().__init__(request, response)
        self.request = request
        self.response = response

    @property
    def status(self) -> int:
        """The answer's status."""
        return self.response.status

    def __str__(self) -> str:
        response = self.response
        said = _without(" ".join(response.text[: 2 * EXCERPT].split()), self.request.secrets)[:EXCERPT]
        excerpt = f": {said}" if said else ""
        return (
            f"{self.request.method} {shown(response.url or self.request.url)} answered {response.status}"
            f"{_phrase(response.status)}, which is not in {', '.join(self.request.success_status)}"
            f"{_after(len(response.redirects))}{excerpt}"
        )


class AddressRefused(NonRetriableError):
    """The URL leads to an address that is not public, so no connection was made.

    Server-side request forgery: a URL that others choose must not reach the machines next to this one. Allow what is
    meant with `Engine(http_allow=["10.1.0.0/16"])` or `--http-allow`. Never retried.
    """


class InvalidRequest(NonRetriableError):
    """The URL, the method or a header cannot be sent, or a redirect leads to such a URL. Never retried."""


class ResponseTooLarge(NonRetriableError):
    """The answer is larger than a step's result may be. Never retried.

    Fetch it in a step of your own, keep it elsewhere, and return where.
    """


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:  # a status that nobody has registered
        return ""


def _after(redirects: int) -> str:
    return f", after {redirects} redirect{'s' * (redirects > 1)}" if redirects else ""


def _without(text: str, secrets: Iterable[str]) -> str:
    """An answer that repeats what it was sent must not put it into an error."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text
