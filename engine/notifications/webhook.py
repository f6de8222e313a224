"""`durably.Webhook`: a signed HTTP request when a run has failed for good."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Literal

from msgspec import structs

from durably.engine.http.client import HttpClient
from durably.engine.http.errors import (
    AddressRefused,
    ConnectionFailed,
    InvalidRequest,
    RequestTimeout,
    UnexpectedStatus,
)
from durably.engine.http.messages import Request, Response
from durably.engine.http.secrets import shown
from durably.engine.http.urls import check_request, parse_url
from durably.engine.notifications.destination import Gone, NotDelivered, Rejected, destination_id
from durably.engine.notifications.message import Envelope
from durably.engine.notifications.signing import Signer
from durably.engine.retries import retry_after
from durably.store.runtime import SECOND_US

__all__ = ["Webhook"]

TIMEOUT_S = 15
"""Standard Webhooks recommends 15 to 30 s. Who needs longer answers first and works afterwards."""
MAX_ANSWER = 4096
"""Bytes of an answer that are read: the reason of a refusal is at its beginning."""
SHORTEST_SECRET = 8
"""Characters of a path that may be a secret, as those of chat services are: answers may repeat it."""
PATIENCE = 5
CONTENT_TYPE = "application/json"


class Webhook:
    """Tells a program by HTTP: `Engine(notify=[Webhook("https://example.com/hook", secret="whsec_…")])`.

    A POST of `{"type": "run.failed", "timestamp": …, "data": {…}}`, signed as Standard Webhooks says. Any 2xx answer
    within 15 s is good; redirects are not followed. After 5 messages in a row that could not be delivered within a
    day, or when it answers 410, the webhook is switched off until somebody switches it on again.

    Args:
        url: an absolute http or https URL. Private addresses have to be allowed: `Engine(http_allow=…)`.
        secret: `whsec_…`, or several, of which the receiver knows at least one, so that they can be replaced. Without
            a secret nothing is signed, and anybody can send the receiver the same.
        headers: to be sent along, such as `Authorization`.
        name: the destination's id; without it one that follows from `url`.

    Raises:
        ValueError: an argument cannot be used; the message says which and why.
    """

    kind: Literal["webhook"] = "webhook"
    patience = PATIENCE

    def __init__(
        self,
        url: str,
        *,
        secret: str | Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        self.address = _hidden(url)
        self._signer = Signer([secret] if isinstance(secret, str) else secret or ())
        self._request = Request(
            method="POST",
            url=url,
            headers={**_chosen(headers or {}), "Content-Type": CONTENT_TYPE},
            timeout=TIMEOUT_S,
            max_redirects=0,
            max_body=MAX_ANSWER,
        )
        try:
            check_request(self._request)
        except InvalidRequest as error:
            raise ValueError(self._without_path(error)) from None
        self.id = destination_id(self.kind, name, url)

    def __repr__(self) -> str:
        return f"Webhook({self.address!r})"

    async def send(self, envelope: Envelope, http: HttpClient) -> None:
        """Send one request, and judge the answer."""
        signed = self._signer.headers(envelope.id, envelope.wall_us // SECOND_US, envelope.body)
        request = structs.replace(self._request, headers={**self._request.headers, **signed}, body=envelope.body)
        try:
            response = await http.send(request)
        except (AddressRefused, InvalidRequest) as error:
            raise Rejected(self._without_path(error)) from None
        except (RequestTimeout, ConnectionFailed) as error:
            raise NotDelivered(self._without_path(error)) from None
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            raise self._failure(request, response, envelope.wall_us)

    def _failure(self, request: Request, response: Response, now_us: int) -> NotDelivered:
        reason = self._without_path(UnexpectedStatus(request, response))
        if response.status == HTTPStatus.GONE:
            return Gone(reason)
        return NotDelivered(reason, retry_after.parse(response.headers.get("retry-after"), now_us) or 0.0)

    def _without_path(self, error: Exception) -> str:
        """An error's message, which goes into the store and the log."""
        text = str(error).replace(shown(self._request.url), self.address)
        path = parse_url(self._request.url).raw_path
        return text.replace(path, "/…") if len(path) >= SHORTEST_SECRET else text


def _hidden(url: str) -> str:
    """As much of a URL as anybody may see: what follows the host is a secret as often as not."""
    try:
        parsed = parse_url(url)
    except InvalidRequest:
        raise ValueError(
            "a webhook's url is an absolute http or https URL, without blanks, name and password; "
            "it is not repeated here, because it may be secret"
        ) from None
    return f"{parsed.origin()}" + ("" if parsed.path_qs in ("", "/") else "/…")


def _chosen(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name in headers:
        if name.lower() in ("content-type", "host") or name.lower().startswith("webhook-"):
            raise ValueError(f"headers={{{name!r}: …}} cannot be chosen: it is part of the message")
    return headers
