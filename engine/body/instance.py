"""An instance: a workflow's code, alive on its own loop, fed one outcome at a time.

Everything here is deterministic and without effects. The same inputs give the same commands, live and on replay, so
both drive an instance in the same way; they differ only in what they do with the commands.
"""

import random
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from types import CodeType, FrameType
from typing import Any, ClassVar, NoReturn, Protocol
from zlib import crc32

from msgspec import Raw, Struct

from durably.engine.body.context import BodyContext, LogLine, enter
from durably.engine.declare.definitions import Step
from durably.engine.declare.events import Event
from durably.engine.declare.signature import Arguments
from durably.engine.errors import StepError, WorkerLost
from durably.engine.log.grammar import Carry
from durably.engine.log.records import (
    AttemptStarted,
    BodyStarted,
    CancelRequested,
    Command,
    Input,
    RunCreated,
    RunStarted,
    StepCanceled,
    StepFailed,
    StepSucceeded,
    TimerCanceled,
    TimerFired,
    TimerSet,
    from_us,
    to_us,
)
from durably.engine.loop.handles import Canceled, CommandFuture, Handle, TimerHandle
from durably.engine.loop.run_loop import RunLoop, Spin
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.codec import decoder_for
from durably.store.runtime import SECOND_US, seeded

__all__ = ["Beginning", "Instance", "StepCall", "Undecodable"]


class Undecodable(Exception):  # noqa: N818 - a verdict on a stored value, turned into a blocked run by who replays
    """A stored value does not decode by the annotation that the code now has (DESIGN rule 14)."""


class StepCall(Struct, frozen=True):
    """What a workflow asked for when it called a step."""

    step: Step[..., Any]
    arguments: Arguments
    line: str


class Runnable(Protocol):
    """What an instance needs of a workflow: a name, and how to call its body with a run's recorded input."""

    name: str
    version: int

    code: str
    retry: RetryPolicy

    def body(self, created: RunCreated, event: Event[Any] | None) -> Coroutine[Any, Any, Any]: ...


class Beginning:
    """What every incarnation of a run begins with: the first one's start."""

    __slots__ = ("_event", "created", "run_id", "started", "started_us")

    def __init__(self, run_id: str, created: RunCreated, started: RunStarted, started_us: int) -> None:
        self.run_id = run_id
        self.created = created
        self.started = started
        self.started_us = started_us
        self._event: Event[Any] | None = None

    @property
    def event(self) -> Event[Any] | None:
        """The event that triggered the run."""
        if self._event is None and bytes(self.created.event) != b"null":
            self._event = _decode_event(self.created.event)
        return self._event


_decode_event = decoder_for(Event)
_LOOP_CODE = Handle.run.__code__


_places: dict[tuple[int, int], tuple[CodeType, str]] = {}
"""By code object and position in it: `f_lineno` alone takes 2 µs. The code is held, so that its id stays its own."""


def _place(frame: FrameType) -> str:
    """A line of the user's, as records name it. A step that is handed to gather is awaited by nobody's line."""
    code = frame.f_code
    position = id(code), frame.f_lasti
    known = _places.get(position)
    if known is None:
        place = "" if code is _LOOP_CODE else f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        known = _places[position] = code, place
    return known[1]


async def _raise(error: Exception) -> NoReturn:
    raise error


class Instance:
    """One incarnation of a run's body.

    `feed` takes the record of an input and returns the records of the commands that followed. `ended` tells whether
    the body is done; `result()` then returns what it returned or raises what it raised.
    """

    __slots__ = (
        "_at_us",
        "_candidates",
        "_issued",
        "_random",
        "_spun",
        "beginning",
        "body_attempt",
        "cancel_requested",
        "carry",
        "lines",
        "loop",
        "replaying",
        "runnable",
        "seq",
    )

    def __init__(self, runnable: Runnable, beginning: Beginning, carry: Carry, *, replaying: bool = False) -> None:
        self.runnable = runnable
        self.beginning = beginning
        self.carry = carry
        self.loop = RunLoop(crc32(beginning.run_id.encode()), beginning.started_us)
        self.loop.owner = self
        self.body_attempt = 0
        self.seq = 0
        """The record that is being fed: as much of its history as a body may know about."""
        self.replaying = replaying
        self.lines: list[LogLine] = []
        """What the body logged in this activation: shown after the commit, never on replay (DESIGN rule 1)."""
        self.cancel_requested = False
        self._random: random.Random | None = None
        self._spun: Spin | None = None
        self._at_us = beginning.started_us
        self._issued: dict[str, Command] = {}
        self._candidates: list[tuple[int, str]] = []

    # -- driving

    def feed(self, record: Input, at_us: int, seq: int) -> list[Command]:
        """Feed one input and drive the code until nothing is ready. A body that spins has ended (DESIGN rule 14).

        Outcomes carried over from earlier incarnations are fed as soon as nothing else is ready, the oldest first,
        at their original time and without a record (DESIGN section 3).
        """
        self.seq = seq
        self._at_us = at_us
        loop = self.loop
        loop.now_us = at_us
        kind = type(record)
        if kind is StepSucceeded or kind is StepFailed:
            self.body_attempt = 0
        try:
            self._take[kind](self, record)
            canceled = self._collect(loop.drive())
            while self._candidates:
                canceled += self._feed_carried()
        except Spin as error:
            self._spun, self._issued = error, {}
            return []
        commands, self._issued = self._issued, {}
        # Cancels refer to earlier groups, so they come first: what follows them may have to wait for them to unwind.
        return [*canceled, *commands.values()] if canceled else list(commands.values())

    def _feed_carried(self) -> list[Command]:
        _, key = heappop(self._candidates)
        if self._issued.pop(key, None) is None:
            return []
        carried = self.carry.outcomes[key]
        self.loop.now_us = max(self.loop.now_us, carried.at_us)
        self._take[type(carried.input)](self, carried.input)
        return self._collect(self.loop.drive())

    def _step_succeeded(self, record: StepSucceeded) -> None:
        future = self.loop.pending.get(record.step)
        if future is None:
            return
        call: StepCall = future.command
        try:
            value = call.step.decode_result(record.output)
        except ValueError as error:
            raise Undecodable(f"the recorded result of step {record.step}: {error}") from error
        self.loop.resolve(record.step, value)

    def _step_failed(self, record: StepFailed) -> None:
        kind = WorkerLost if record.lost else StepError
        self.loop.reject(record.step, kind(record.name, record.error, record.attempt + 1))

    def _timer_fired(self, record: TimerFired) -> None:
        self.loop.fire(record.timer)

    def _cancel(self, _record: CancelRequested) -> None:
        self.cancel_requested = True
        self.loop.cancel_root("the run was canceled")

    def _start(self, record: RunStarted | BodyStarted) -> None:
        if isinstance(record, BodyStarted):
            self.body_attempt = record.attempt
        self.loop.now_us = self.beginning.started_us
        context = Context()
        context.run(enter, BodyContext(self))
        self.loop.start(self._body(), context)

    _take: ClassVar[dict[type[Any], Callable[[Any, Any], None]]] = {
        StepSucceeded: _step_succeeded,
        StepFailed: _step_failed,
        TimerFired: _timer_fired,
        CancelRequested: _cancel,
        RunStarted: _start,
        BodyStarted: _start,
    }

    def _body(self) -> Coroutine[Any, Any, Any]:
        try:
            return self.runnable.body(self.beginning.created, self.beginning.event)
        except Exception as error:  # noqa: BLE001 - the input does not fit: that is how this body ends
            return _raise(error)

    def _collect(self, issued: list[Any]) -> list[Command]:
        """Turn the loop's commands into records; return those that take earlier ones back."""
        canceled: list[Command] = []
        starts, outcomes = self.carry.starts, self.carry.outcomes
        for command in issued:
            if type(command) is CommandFuture:
                key = command.key
                call: StepCall = command.command
                self._issued[key] = AttemptStarted(
                    step=key,
                    name=call.step.name,
                    attempt=0,
                    start=starts.get((key, 0), 0) if starts else 0,
                    input=Raw(call.arguments.raw),
                    digest=call.arguments.digest,
                    line=call.line,
                )
            elif type(command) is TimerHandle:
                key = command.key
                delay = command.delay_us / SECOND_US
                before = self.carry.timers.get(key)
                if self.beginning.created.test:
                    command.due_us = self.loop.now_us
                elif before is not None and before.delay == delay:
                    command.due_us = max(command.due_us, to_us(before.due_at))  # under way when the body failed
                else:
                    # What is carried over is replayed at its old times; what is new counts from now.
                    command.due_us = max(command.due_us, self._at_us + command.delay_us)
                self._issued[key] = TimerSet(timer=key, delay=delay, due_at=from_us(command.due_us))
            else:
                self._take_back(command, canceled)
                continue
            if outcomes and key in outcomes:
                heappush(self._candidates, (outcomes[key].seq, key))
        return canceled

    def _take_back(self, command: Canceled, canceled: list[Command]) -> None:
        what = command.what
        if self._issued.pop(what.key, None) is not None:
            return  # asked for and taken back within one activation: it never happened
        if isinstance(what, CommandFuture):
            canceled.append(StepCanceled(step=what.key, name=what.command.step.name))
        else:
            canceled.append(TimerCanceled(timer=what.key))

    # -- what became of the body

    @property
    def ended(self) -> bool:
        """Whether the body, and every asyncio task it left behind, has come to its end (DESIGN rule 15)."""
        return self._spun is not None or self.loop.ended

    def result(self) -> Any:
        """What the body returned. Raises what it raised, `CancelledError` and `SystemExit` included."""
        if self._spun is not None:
            raise self._spun
        return self.loop.outcome()

    @property
    def last_error(self) -> StepError | None:
        """What the incarnation before ended with."""
        failed = self.carry.failed
        return None if failed is None else StepError(self.runnable.name, failed.error, failed.attempt + 1)

    def take_lines(self) -> list[LogLine]:
        """What was logged since the last call."""
        lines, self.lines = self.lines, []
        return lines

    def evict(self) -> None:
        """Close the coroutines so that nothing in them runs again (DESIGN rule 6)."""
        self.loop.evict()

    # -- what the body may call

    async def call_step(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A step called in the body: a durable one."""
        frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]  # documented; inspect's way costs 30 times more
        # That is the line that awaits the step: behind us and behind Step.__call__.
        call = StepCall(step, step.signature.bind(args, kwargs), _place(frame))
        return await self.loop.call(step.name, call, step.key)

    def random(self) -> random.Random:
        """Randomness that every replay of the run repeats."""
        if self._random is None:
            self._random = seeded(self.beginning.started.seed)
        return self._random
