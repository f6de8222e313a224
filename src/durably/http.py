"""HTTP requests as steps: durable in workflows, retried by policy, and kept away from private addresses."""

from durably.engine.http.client import HttpClient
from durably.engine.http.errors import (
    AddressRefused,
    ConnectionFailed,
    InvalidRequest,
    RequestTimeout,
    ResponseTooLarge,
    UnexpectedStatus,
)
from durably.engine.http.messages import Request, Response
from durably.engine.http.request import request

__all__ = [
    "AddressRefused",
    "ConnectionFailed",
    "HttpClient",
    "InvalidRequest",
    "Request",
    "RequestTimeout",
    "Response",
    "ResponseTooLarge",
    "UnexpectedStatus",
    "request",
]
