"""A Durably server, seen from the command line: its HTTP API, and what can be wrong on the way to it."""

import os
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

import aiohttp
import msgspec
from msgspec import Raw, Struct
from yarl import URL

from durably import DurablyError, History, NotBuilt, RunInfo
from durably.engine.body.parked import ParkedTask
from durably.engine.log.records import from_us

__all__ = ["DEFAULT_URL", "NoAnswer", "NoServer", "Refused", "Remote", "RunFilter"]

T = TypeVar("T")
DEFAULT_URL = "http://127.0.0.1:8484"
RUNS = "/api/v1/workflow-runs"
CONNECT_S, ANSWER_S = 5.0, 30.0
PAGE = 100
MAX_WAIT_S = 30


class NoServer(DurablyError):  # noqa: N818 - named as the errors of the contract are
    """Nothing answers at the address: nothing was asked of anybody."""


class NoAnswer(DurablyError):  # noqa: N818 - as above
    """The connection broke, or the time was over, before an answer came: nobody knows whether it was done."""


class Refused(DurablyError):  # noqa: N818 - as above
    """The server said no, and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class RunFilter(NamedTuple):
    """Which runs to list. Several values of a field are alternatives."""

    status: Sequence[str] = ()
    phase: Sequence[str] = ()
    workflow: Sequence[str] = ()
    since_us: int | None = None


class _Resource(Struct):
    id: str
    attributes: Raw


class _Document(Struct):
    data: _Resource


class _Links(Struct):
    next: str | None = None


class _Collection(Struct):
    data: list[_Resource]
    links: _Links = msgspec.field(default_factory=_Links)


class _Error(Struct):
    detail: str


class _Stack(Struct):
    tasks: list[ParkedTask]


class _Errors(Struct):
    errors: list[_Error]


class _EventAnswer(Struct):
    ids: list[str] = []
    error: str = ""


class Remote:
    """One server. An async context manager; every method raises `NoServer`, `NoAnswer`, `Refused` or `NotBuilt`."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise DurablyError(f"{url!r} is no server's address; give one like http://127.0.0.1:8484")
        self.url = url.rstrip("/")
        headers = {"Accept": "application/json"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=ANSWER_S + MAX_WAIT_S)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    # -- reading

    async def runs(self, wanted: RunFilter, limit: int) -> list[RunInfo]:
        """Runs that fit, newest first, page by page."""
        query = {f"filter[{name}]": ",".join(getattr(wanted, name)) for name in ("status", "phase", "workflow")}
        if wanted.since_us is not None:
            query["filter[created_at]"] = f"[{from_us(wanted.since_us).isoformat()},*)"
        query["page[size]"] = str(min(limit, PAGE))
        path: str | None = RUNS + "?" + urlencode({name: value for name, value in query.items() if value})
        found: list[RunInfo] = []
        while path is not None and len(found) < limit:
            page = self._decode(await self._ask("GET", path), _Collection)
            found += map(_run_info, page.data)
            path = None if page.links.next is None else urljoin(path, page.links.next)
        return found[:limit]

    async def run(self, run_id: str) -> RunInfo:
        """One run at a glance."""
        return self._run(await self._ask("GET", _path_of(run_id)))

    async def history(self, run_id: str) -> History:
        """All records of a run."""
        return History.from_json(await self._ask("GET", f"{_path_of(run_id)}/history"))

    async def stack(self, run_id: str) -> list[ParkedTask]:
        """Where the run's code stands. `Refused` when it does not fit its history."""
        answer = self._decode(await self._ask("GET", f"{_path_of(run_id)}/stack"), _Document)
        return self._decode(answer.data.attributes, _Stack).tasks

    # -- changing

    async def start(self, workflow: str, given: Mapping[str, Any], run_id: str, *, test: bool, wait: bool) -> RunInfo:
        """Start a run, or find the one with this id. With `wait` the answer comes at its end, or after 30 s."""
        body: dict[str, Any] = {"input": given, "run_id": run_id}
        if test:
            body["mode"] = "test"
        path = f"/api/v1/workflows/{quote(workflow, safe='')}/actions/run"
        return self._run(await self._ask("POST", f"{path}?wait={MAX_WAIT_S}" if wait else path, body))

    async def send(self, event: Mapping[str, Any]) -> str:
        """Send an event; its id."""
        answer = self._decode(await self._ask("POST", "/api/v1/events", event), _EventAnswer)
        return answer.ids[0]

    async def cancel(self, run_id: str) -> RunInfo:
        """Ask for a run to be canceled."""
        return self._run(await self._ask("POST", f"{_path_of(run_id)}/actions/cancel", {}))

    async def signal(self, run_id: str, name: str, data: object) -> RunInfo:
        """Send a run a signal."""
        return self._run(await self._ask("POST", f"{_path_of(run_id)}/actions/signal", {"name": name, "data": data}))

    async def rerun(self, run_id: str, options: Mapping[str, Any]) -> RunInfo:
        """A new run with the same input, or with another."""
        return self._run(await self._ask("POST", f"{_path_of(run_id)}/actions/rerun", options))

    async def fork(self, run_id: str, options: Mapping[str, Any]) -> RunInfo:
        """A new run that takes over a part of what this one did."""
        return self._run(await self._ask("POST", f"{_path_of(run_id)}/actions/fork", options))

    # -- asking

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        data = None if body is None else msgspec.json.encode(body)
        headers = None if body is None else {"Content-Type": "application/json"}
        address = URL(self.url + path, encoded=True)
        try:
            async with self._session.request(method, address, data=data, headers=headers) as response:
                content, status = await response.read(), response.status
        except aiohttp.ClientConnectorError as error:
            raise NoServer(
                f"nothing answers at {self.url} ({_reason(error)}). Start a server with "
                "`durably serve TARGET`, or say where it is with --url or DURABLY_URL."
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(
                f"no answer came from {self.url} ({type(error).__name__}): whether it was done is not known. Look "
                "with `durably runs`."
            ) from error
        if status >= HTTPStatus.BAD_REQUEST:
            raise self._refusal(status, content)
        return content

    def _refusal(self, status: int, content: bytes) -> DurablyError:
        try:
            detail = msgspec.json.decode(content, type=_Errors).errors[0].detail
        except (msgspec.DecodeError, IndexError):
            try:
                detail = msgspec.json.decode(content, type=_EventAnswer).error
            except msgspec.DecodeError:
                detail = ""
        if not detail:
            return self._foreign(f"it answered {status}")
        if status == HTTPStatus.NOT_IMPLEMENTED:
            return NotBuilt(detail.partition(" is part of ")[0])
        return Refused(status, detail)

    def _foreign(self, why: str) -> DurablyError:
        return DurablyError(f"{self.url} does not answer as a Durably server of this version does: {why}")

    def _decode(self, content: bytes | Raw, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.DecodeError as error:
            raise self._foreign(str(error)) from error

    def _run(self, content: bytes) -> RunInfo:
        return _run_info(self._decode(content, _Document).data)


def _reason(error: aiohttp.ClientConnectorError) -> str:
    code = error.os_error.errno
    return os.strerror(code).lower() if code is not None and code > 0 else str(error.os_error)


def _path_of(run_id: str) -> str:
    return f"{RUNS}/{quote(run_id, safe='')}"


def _run_info(resource: _Resource) -> RunInfo:
    fields = msgspec.json.decode(resource.attributes)
    return msgspec.convert({"id": resource.id, **fields}, RunInfo)
