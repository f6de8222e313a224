"""A handle on one run of a server: `durably.Run` from another process."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Generic, Literal, TypeVar

from msgspec import Raw

from durably.api.client.remote import Remote
from durably.engine.declare.event_content import signal_content
from durably.engine.errors import RunCanceled, RunConflict, RunFailed
from durably.engine.execution.follow import Message
from durably.engine.log.history import History
from durably.engine.log.info import RunInfo, Status
from durably.engine.retries.failures import describe
from durably.engine.values.codec import Decode, encode, encode_plain
from durably.engine.values.durations import Duration, to_seconds
from durably.engine.values.names import check_name

__all__ = ["ClientRun"]

R = TypeVar("R")


class ClientRun(Generic[R]):
    """One run, as `durably.Run` has it: the same methods, the same types, the same exceptions.

    Handles are cheap, hold nothing open, and stay good when the server restarts.
    """

    __slots__ = ("_decode", "_remote", "id")

    def __init__(self, remote: Remote, run_id: str, decode: Decode) -> None:
        self._remote = remote
        self._decode = decode
        self.id = run_id

    async def result(self, timeout: Duration | None = None) -> R:  # noqa: ASYNC109 - the contract's signature
        """Wait for the run's end and return what it returned.

        A server that is away meanwhile is waited for as well, for as long as `timeout` (seconds or a `timedelta`)
        allows. Raises `RunFailed`, `RunCanceled`, or `TimeoutError` when that passes first; the run goes on regardless.
        """
        async with asyncio.timeout(None if timeout is None else to_seconds(timeout)):
            info = await self._remote.end(self.id)
        if info.status == "SUCCEEDED":
            value: R = self._decode(encode_plain(info.output))
            return value
        if info.error is not None:
            raise RunFailed(self.id, info.error)
        raise RunCanceled(self.id)

    async def status(self) -> Status:
        """`PENDING`, `RUNNING`, `SUCCEEDED`, `FAILED` or `CANCELED`."""
        return (await self.info()).status

    async def info(self) -> RunInfo:
        """The run at a glance, as of its last committed record."""
        return await self._remote.run(self.id)

    async def history(self) -> History:
        """All records so far."""
        return await self._remote.history(self.id)

    async def cancel(self) -> bool:
        """Ask for the run to be canceled, as `Run.cancel` does: False when it had ended.

        Not asked again when no answer comes (`NoAnswer`): a second request interrupts again.
        """
        try:
            await self._remote.cancel(self.id)
        except RunConflict:
            return False
        return True

    async def rerun(
        self,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the contract's name
        version: Literal["current", "original"] | int = "current",
        from_step: str | None = None,
        run_id: str | None = None,
    ) -> "ClientRun[R]":
        """A new run with the same input, or with another, as `Run.rerun` makes it."""
        if run_id is None and from_step is None:  # so that it can be asked for again when no answer comes
            run_id = self._remote.randomness.token()
        info = await self._remote.rerun(
            self.id,
            input=None if input is None else Raw(encode(dict(input))),
            version=version,
            from_step=from_step,
            run_id=run_id,
        )
        return ClientRun(self._remote, info.id, self._decode)

    async def signal(self, name: str, data: Any = None) -> None:
        """Send a signal to the run, as `Run.signal` does. Not sent again when no answer comes (`NoAnswer`)."""
        await self._remote.signal(self.id, check_name(name, "a signal's name"), Raw(signal_content(data)))

    async def fork(
        self,
        *,
        at: int | str | None = None,
        patch: Mapping[str, Any] | None = None,
        args: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> "ClientRun[R]":
        """A new run that takes over this one's history up to a point, as `Run.fork` makes it."""
        outcomes = patch or {}
        results = {step: each for step, each in outcomes.items() if not isinstance(each, BaseException)}
        errors = {step: describe(each) for step, each in outcomes.items() if isinstance(each, BaseException)}
        changes = {"patch": results, "errors": errors, "args": args}
        given = {name: Raw(encode(dict(change))) for name, change in changes.items() if change}
        info = await self._remote.fork(self.id, at=at, **given)
        return ClientRun(self._remote, info.id, self._decode)

    async def stream(self, *, topic: str | None = None, after: int = 0) -> AsyncGenerator[Message]:
        """What the run publishes, as it happens, as `Run.stream` gives it.

        A connection that breaks is made anew, and goes on behind the last message.
        """
        async for message in self._remote.messages(self.id, topic, after):
            yield message

    def __repr__(self) -> str:
        return f"<run {self.id}>"
