"""Every refusal in one shape: the error objects of JSON:API 1.1, and which of them an exception becomes."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from durably import (
    DurablyError,
    EventConflict,
    InvalidInput,
    NondeterminismError,
    NotBuilt,
    RunConflict,
    RunNotFound,
    StoreError,
)
from durably.api.responses import respond
from durably.store import StoreFailure

__all__ = ["JSON_API", "RETRY_AFTER", "Problem", "error_document", "problem_of", "routing_problem"]

JSON_API = "application/vnd.api+json"
RETRY_AFTER: Mapping[str, str] = {"Retry-After": "1"}
"""With every 503: a full queue takes milliseconds, and a store that failed is opened again every second."""
REFUSALS: Sequence[tuple[tuple[type[Exception], ...], int, str]] = (
    ((StoreError, StoreFailure), 503, "unavailable"),
    ((RunNotFound,), 404, "not_found"),
    ((RunConflict, EventConflict), 409, "conflict"),
    ((NondeterminismError,), 409, "nondeterminism"),
    ((NotBuilt,), 501, "not_built"),
    ((InvalidInput,), 400, "invalid_input"),
)
"""The status and the code that each of our exceptions has; any other is 400, `refused` (CONTRACT section 7)."""

_encode = msgspec.json.Encoder().encode


class Problem(Exception):  # noqa: N818 - it is an answer as much as an error, and named as RFC 9457 does
    """Why a request is refused. Raised anywhere below a handler, it becomes the response.

    `code` is stable, for programs; `detail` says what happened, why, and what to do. `pointer` (a JSON
    pointer into the body) or `parameter` (a query parameter) says where. `close` ends the connection then.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        pointer: str | None = None,
        parameter: str | None = None,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.pointer = pointer
        self.parameter = parameter
        self.headers = headers
        self.close = close

    def __str__(self) -> str:
        return self.detail


def error_document(problem: Problem) -> web.Response:
    """The problem as a JSON:API document."""
    error: dict[str, Any] = {
        "status": str(problem.status),
        "code": problem.code,
        "title": HTTPStatus(problem.status).phrase,
        "detail": problem.detail,
    }
    if problem.pointer is not None:
        error["source"] = {"pointer": problem.pointer}
    elif problem.parameter is not None:
        error["source"] = {"parameter": problem.parameter}
    return respond(_encode({"errors": [error]}), JSON_API, problem.status, problem.headers)


def problem_of(error: DurablyError | StoreFailure) -> Problem:
    """What one of our exceptions is over HTTP."""
    found = ((status, code) for kinds, status, code in REFUSALS if isinstance(error, kinds))
    status, code = next(found, (HTTPStatus.BAD_REQUEST, "refused"))
    headers = RETRY_AFTER if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return Problem(status, code, str(error), headers=headers)


def routing_problem(error: web.HTTPException) -> Problem:
    """What aiohttp found wrong with a request."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{error.method} is not possible here; possible is {allowed}"
        return Problem(405, "method_not_allowed", detail, headers={"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return Problem(404, "not_found", "there is nothing at this address; / lists where to look")
    return Problem(error.status, "refused", error.text or error.reason)
