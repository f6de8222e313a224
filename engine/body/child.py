"""The handle on a child run that its parent holds: waiting for it is durable."""

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from durably.engine.body.calls import ChildCall
from durably.engine.errors import DurablyError
from durably.engine.handle import Run
from durably.engine.loop.handles import CommandFuture
from durably.engine.values.durations import Duration, to_seconds

if TYPE_CHECKING:
    from durably.engine.body.instance import Instance

__all__ = ["ChildRun"]

R = TypeVar("R")


def _unrepeatable(name: str) -> Any:
    def refuse(*_: object, **__: object) -> None:
        raise DurablyError(
            f"Run.{name}() asks what is different at each replay, and so cannot be called in a workflow: "
            "call it in a step, or await the child's result()"
        )

    return refuse


class ChildRun(Run[R]):
    """What `start_child` gives. Only what is the same on every replay can be asked of it."""

    __slots__ = ("_future", "_instance")

    def __init__(self, instance: "Instance", future: CommandFuture) -> None:
        call: ChildCall = future.command
        self.id = call.workflow.run_id or instance.made_id(future.key)
        self._instance = instance
        self._future = future

    async def result(self, timeout: Duration | None = None) -> R:  # noqa: ASYNC109 - the contract's signature
        """Wait for the child's end and return what it returned.

        Raises `ChildError` if it ends otherwise, `TimeoutError` when `timeout` passes first. Who stops waiting does not
        cancel the child; `cancel` does.
        """
        limit = None if timeout is None else to_seconds(timeout)
        await asyncio.wait([self._future], timeout=limit)
        if not self._future.done():
            raise TimeoutError(f"child run {self.id!r} has not ended within {limit:g} s")
        value: R = self._future.result()
        return value

    async def cancel(self) -> bool:
        """Ask for the child to be canceled. False when its parent knows that it has ended, or has asked before."""
        return self._instance.cancel_child(self._future.key)

    async def signal(self, name: str, data: Any = None) -> None:
        """Send a signal to the child."""
        self._instance.signal(self.id, name, data)

    status: Any = _unrepeatable("status")
    info: Any = _unrepeatable("info")
    history: Any = _unrepeatable("history")
    rerun: Any = _unrepeatable("rerun")
    fork: Any = _unrepeatable("fork")
    stream: Any = _unrepeatable("stream")
