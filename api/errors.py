"""Every refusal in one shape: the error objects of JSON:API 1.1, and which of them an exception becomes."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

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
from durably.api.responses import JSON_API, respond
from durably.engine.access.administration import InUse, NotThere
from durably.engine.execution.documents import DocumentConflict
from durably.store import StoreFailure

__all__ = ["RETRY_AFTER", "ErrorDocument", "Problem", "Problems", "error_document", "problem_of", "routing_problem"]

RETRY_AFTER: Mapping[str, str] = {"Retry-After": "1"}
"""With every 503: a full queue takes milliseconds, and a store that failed is opened again every second."""
REFUSALS: Sequence[tuple[tuple[type[Exception], ...], int, str]] = (
    ((StoreError, StoreFailure), 503, "unavailable"),
    ((RunNotFound, NotThere), 404, "not_found"),
    ((RunConflict, EventConflict, DocumentConflict, InUse), 409, "conflict"),
    ((NondeterminismError,), 409, "nondeterminism"),
    ((NotBuilt,), 501, "not_built"),
    ((InvalidInput,), 400, "invalid_input"),
)
"""The status and the code that each of our exceptions has; any other is 400, `refused` (CONTRACT section 7)."""

_encode = msgspec.json.Encoder().encode


class ErrorSource(Struct, kw_only=True):
    """Where in the request the reason is: a JSON pointer into the body, or a query parameter."""

    pointer: str | UnsetType = UNSET
    parameter: str | UnsetType = UNSET


class ErrorObject(Struct):
    """One reason why a request was refused. `code` is for programs and does not change, `detail` is for people."""

    status: str
    code: str
    title: str
    detail: str
    source: ErrorSource | UnsetType = UNSET
    meta: Mapping[str, Any] | UnsetType = UNSET


class ErrorDocument(Struct):
    """A refusal: at least one reason."""

    errors: Annotated[Sequence[ErrorObject], Meta(min_length=1)]


class Problem(Exception):  # noqa: N818 - it is an answer as much as an error, and named as RFC 9457 does
    """Why a request is refused. Raised anywhere below a handler, it becomes the response.

    `code` is stable, for programs; `detail` says what happened, why, and what to do. `pointer` (a JSON
    pointer into the body) or `parameter` (a query parameter) says where. `meta` is what else programs may want to
    know. `close` ends the connection then.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        pointer: str | None = None,
        parameter: str | None = None,
        meta: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.pointer = pointer
        self.parameter = parameter
        self.meta = meta
        self.headers = headers
        self.close = close

    def __str__(self) -> str:
        return self.detail


class Problems(Exception):  # noqa: N818 - as above
    """Several at once, such as all that is wrong with a body. There is at least one; their statuses are the same."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(*problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "; ".join(map(str, self.problems))


def error_document(*problems: Problem) -> web.Response:
    """Problems, of one status, as a JSON:API document."""
    first = problems[0]
    document = ErrorDocument([_error_object(problem) for problem in problems])
    response = respond(_encode(document), JSON_API, first.status, first.headers)
    if first.close:
        response.force_close()
    return response


def _error_object(problem: Problem) -> ErrorObject:
    source: ErrorSource | UnsetType = UNSET
    if problem.pointer is not None:
        source = ErrorSource(pointer=problem.pointer)
    elif problem.parameter is not None:
        source = ErrorSource(parameter=problem.parameter)
    title = HTTPStatus(problem.status).phrase
    meta = UNSET if problem.meta is None else problem.meta
    return ErrorObject(str(problem.status), problem.code, title, problem.detail, source, meta)


def problem_of(error: DurablyError | StoreFailure) -> Problem:
    """What one of our exceptions is over HTTP."""
    found = ((status, code) for kinds, status, code in REFUSALS if isinstance(error, kinds))
    status, code = next(found, (HTTPStatus.BAD_REQUEST, "refused"))
    headers = RETRY_AFTER if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    meta = {"kind": error.kind} if isinstance(error, NondeterminismError) else None
    return Problem(status, code, str(error), meta=meta, headers=headers)


def routing_problem(error: web.HTTPException) -> Problem:
    """What aiohttp found wrong with a request."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{error.method} is not possible here; possible is {allowed}"
        return Problem(405, "method_not_allowed", detail, headers={"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return Problem(404, "not_found", "there is nothing at this address; / lists where to look")
    return Problem(error.status, "refused", error.text or error.reason)
