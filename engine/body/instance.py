"""An instance: a workflow's code, alive on its own loop, fed one outcome at a time.

Everything here is deterministic and without effects. The same inputs give the same commands, live and on replay, so
both drive an instance in the same way; they differ only in what they do with the commands.
"""

import random
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from dataclasses import replace
from heapq import heappop, heappush
from typing import Any, ClassVar, NoReturn, Protocol
from zlib import crc32

from msgspec import Raw

from durably.engine.body.beginning import Beginning
from durably.engine.body.calls import Call, ChildCall, SignalWait, StepCall, decode_event, place_of
from durably.engine.body.context import BodyContext, LogLine, enter
from durably.engine.declare.definitions import Step, Workflow
from durably.engine.declare.event_content import event_content, signal_content
from durably.engine.declare.events import Event
from durably.engine.declare.signature import Signature
from durably.engine.errors import ChildError, NonRetriableError, StepError, WorkerLost
from durably.engine.log.grammar import Carry
from durably.engine.log.ids import event_key
from durably.engine.log.records import (
    BodyStarted,
    CancelRequested,
    ChildCanceled,
    ChildCancelRequested,
    ChildFailed,
    ChildSucceeded,
    Command,
    EventReceived,
    EventSent,
    Input,
    PatchMarked,
    Published,
    RunCreated,
    RunStarted,
    SignalReceived,
    SignalSent,
    StepFailed,
    StepSucceeded,
    TimerCanceled,
    TimerFired,
    TimerSet,
    from_us,
    to_us,
)
from durably.engine.loop.budget import CpuBudget
from durably.engine.loop.handles import Canceled, CommandFuture, Said, TimerHandle
from durably.engine.loop.run_loop import Evicted, RunLoop, Spin
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.codec import Decode, Unencodable, digest, encode, encode_result
from durably.store.runtime import SECOND_US, seeded

__all__ = ["Instance", "Undecodable"]


class Undecodable(Exception):  # noqa: N818 - a verdict on a stored value, turned into a blocked run by who replays
    """A stored value does not decode by the annotation that the code now has (DESIGN rule 14)."""


class Runnable(Protocol):
    """What an instance needs of a workflow: a name, and how to call its body with a run's recorded input."""

    name: str
    version: int

    code: str
    signature: Signature

    @property
    def retry(self) -> RetryPolicy: ...

    def body(self, created: RunCreated, event: Event[Any] | None) -> Coroutine[Any, Any, Any]: ...

    @property
    def decode_result(self) -> Decode: ...

    def knows(self, name: str, version: int) -> bool: ...

    @property
    def newest(self) -> int: ...


_NONE: dict[str, Any] = {}
"""What most bodies have of children and patches: 64 bytes each, so it is shared, and never put into."""


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
        "_children",
        "_issued",
        "_overrides",
        "_random",
        "_spun",
        "_went",
        "beginning",
        "body_attempt",
        "cancel_requested",
        "carry",
        "lines",
        "loop",
        "named",
        "notes",
        "patches",
        "replaying",
        "runnable",
        "seq",
        "timed_out",
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
        self.lines: Sequence[LogLine] = ()
        """What the body logged in this activation: shown after the commit, never on replay (DESIGN rule 1)."""
        self.notes: Sequence[Published] = ()
        """What it published in this activation; never on replay."""
        self.patches: frozenset[str] = carry.patches
        """Patches that its history has marked: what `patched` says on replay."""
        self.named: Sequence[str] = ()
        """Stored retry policies that its steps name."""
        self.cancel_requested = False
        self.timed_out = False
        """Whether the cancel that it got was its own time limit."""
        self._children: dict[str, None] = dict.fromkeys(carry.children) if carry.children else _NONE
        """Keys of children that have not ended, in the order of their start: a cancel reaches them all."""
        self._went: dict[str, bool] = _NONE
        """Which way it went at each patch."""
        self._random: random.Random | None = None
        self._spun: Spin | None = None
        self._at_us = beginning.started_us
        self._issued: dict[str, Command] = {}
        self._candidates: list[tuple[int, str]] = []
        copied = beginning.created.copied
        self._overrides: Mapping[str, Sequence[Raw]] | None = None if copied is None else copied.args
        """By step: arguments that a fork has in the place of those that the code gives."""

    @property
    def run_id(self) -> str:
        """The run's public id."""
        return self.beginning.run_id

    @property
    def now_us(self) -> int:
        """The time it is for the body."""
        return self.loop.now_us

    def made_id(self, key: str) -> str:
        """The id of what the run makes under that key."""
        return self.beginning.made_id(key)

    # -- driving

    def feed(self, record: Input, at_us: int, seq: int, cpu: CpuBudget | None = None) -> list[Command]:
        """Feed one input and drive the code until nothing is ready. A body that spins has ended (DESIGN rule 14), and
        so has one that goes on with `cpu` used up; a replay goes without.

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
        # A cancel reaches all children, awaited or not (CONTRACT section 7), but none that it makes the body start.
        children = tuple(self._children) if kind is CancelRequested else ()
        try:
            self._take[kind](self, record)
            canceled = self._collect(loop.drive(cpu))
            while self._candidates:
                canceled += self._feed_carried(cpu)
        except Spin as error:
            self._spun, self._issued = error, {}
            return []
        for key in children:
            if key in self._children:
                del self._children[key]
                canceled.append(ChildCancelRequested(child=key))
        commands, self._issued = self._issued, {}
        # Cancels refer to earlier groups, so they come first: what follows them may have to wait for them to unwind.
        return [*canceled, *commands.values()] if canceled else list(commands.values())

    def _feed_carried(self, cpu: CpuBudget | None) -> list[Command]:
        _, key = heappop(self._candidates)
        if self._issued.pop(key, None) is None:
            return []
        carried = self.carry.outcomes[key]
        self.loop.now_us = max(self.loop.now_us, carried.at_us)
        record = carried.input
        if isinstance(record, EventReceived):
            record = EventReceived(waits=(key,), event=record.event)  # others that it woke then may not wait now
        self._take[type(record)](self, record)
        return self._collect(self.loop.drive(cpu))

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

    def _child_succeeded(self, record: ChildSucceeded) -> None:
        future = self.loop.pending.get(record.child)
        self._children.pop(record.child, None)
        if future is None:
            return
        call: ChildCall = future.command
        try:
            value = call.workflow.decode_result(record.output)
        except ValueError as error:
            raise Undecodable(f"the recorded result of child {record.child}: {error}") from error
        self.loop.resolve(record.child, value)

    def _child_failed(self, record: ChildFailed | ChildCanceled) -> None:
        future = self.loop.pending.get(record.child)
        self._children.pop(record.child, None)
        if future is not None:
            call: ChildCall = future.command
            run_id = call.workflow.run_id or self.made_id(record.child)
            status, error = ("FAILED", record.error) if isinstance(record, ChildFailed) else ("CANCELED", None)
            self.loop.reject(record.child, ChildError(run_id, status, error))

    def _event_received(self, record: EventReceived) -> None:
        for key in record.waits:
            self.loop.resolve(key, decode_event(record.event))

    def _signal_received(self, record: SignalReceived) -> None:
        future = self.loop.pending.get(record.wait)
        if future is None:
            return
        call: SignalWait = future.command
        try:
            self.loop.resolve(record.wait, call.value(record))
        except NonRetriableError as error:
            self.loop.reject(record.wait, error)

    def _step_failed(self, record: StepFailed) -> None:
        kind = WorkerLost if record.lost else StepError
        self.loop.reject(record.step, kind(record.name, record.error, record.attempt + 1))

    def _timer_fired(self, record: TimerFired) -> None:
        if not self.loop.fire(record.timer):
            self.loop.resolve(record.timer, None)  # the deadline of a wait

    def _cancel(self, record: CancelRequested) -> None:
        if record.reason == "timeout":
            self.timed_out = True
            self.loop.cancel_root("the run's time was up")
        else:
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
        EventReceived: _event_received,
        SignalReceived: _signal_received,
        ChildSucceeded: _child_succeeded,
        ChildFailed: _child_failed,
        ChildCanceled: _child_failed,
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
        outcomes, overrides = self.carry.outcomes, self._overrides
        for command in issued:
            if type(command) is CommandFuture:
                key = command.key
                call: Call = command.command
                if overrides and type(call) is StepCall and key in overrides:
                    command.command = call = call.override(overrides[key])
                self._issued[key] = call.record(key, self)
            elif type(command) is TimerHandle:
                key = command.key
                if self.beginning.created.test:
                    command.due_us = self.loop.now_us  # sleeps do not wait in test mode
                else:
                    command.due_us = self.deadline_us(key, command.delay_us, command.due_us)
                delay = command.delay_us / SECOND_US
                self._issued[key] = TimerSet(timer=key, delay=delay, due_at=from_us(command.due_us))
            elif type(command) is Said:
                self._issued[command.key] = command.what
                continue
            else:
                self._take_back(command, canceled)
                continue
            if outcomes and key in outcomes:
                heappush(self._candidates, (outcomes[key].seq, key))
        return canceled

    def deadline_us(self, key: str, delay_us: int, due_us: int = 0) -> int:
        """When a delay is over that is asked for now, in engine time; not before `due_us`.

        What was under way when the body before failed keeps its due time.
        """
        before, delay = self.carry.deadlines.get(key), delay_us / SECOND_US
        if isinstance(before, TimerSet):
            if before.delay == delay:
                return max(due_us, to_us(before.due_at))
        elif before is not None and before.until is not None and before.timeout == delay:
            return max(due_us, to_us(before.until))
        # What is carried over is replayed at its old times; what is new counts from now.
        return max(due_us, self._at_us + delay_us)

    def _take_back(self, command: Canceled, canceled: list[Command]) -> None:
        what = command.what
        if isinstance(what, CommandFuture):
            self._children.pop(what.key, None)
        if self._issued.pop(what.key, None) is not None:
            self._issued.pop(f"{what.key} canceled", None)
            return  # asked for and taken back within one activation: it never happened
        if isinstance(what, CommandFuture):
            call: Call = what.command
            canceled.append(call.taken_back(what.key))
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

    def encoded_result(self) -> bytes:
        """What the body returned, as it is kept. Raises what it raised, and `Unencodable` when it cannot be kept.

        What would not come back as the workflow is annotated to return is refused here: it is its own mistake, and
        not that of a parent or a client who reads it.
        """
        output = encode_result(self.result())
        try:
            self.runnable.decode_result(output)
        except ValueError as error:
            name = self.runnable.name
            raise Unencodable(f"workflow {name!r} returned something that misses its annotation: {error}") from None
        return output

    @property
    def last_error(self) -> StepError | None:
        """What the incarnation before ended with."""
        failed = self.carry.failed
        return None if failed is None else StepError(self.runnable.name, failed.error, failed.attempt + 1)

    def take_notes(self) -> Sequence[Published]:
        """What was published since the last call."""
        notes, self.notes = self.notes, ()
        return notes

    def take_lines(self) -> Sequence[LogLine]:
        """What was logged since the last call."""
        lines, self.lines = self.lines, ()
        return lines

    def evict(self) -> None:
        """Close the coroutines so that nothing in them runs again (DESIGN rule 6)."""
        self.loop.evict()

    # -- what the body may call

    async def call_step(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A step called in the body: a durable one."""
        frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]  # documented; inspect's way costs 30 times more
        # That is the line that awaits the step: behind us and behind Step.__call__.
        call = StepCall(step, step.signature.bind(args, kwargs), place_of(frame))
        if type(step.retry) is str and step.retry not in self.named:
            self.named = (*self.named, step.retry)
        return await self.loop.call(step.name, call, step.key)

    async def call_child(self, workflow: Workflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A workflow called in the body: a child run, awaited."""
        return await self.start_child(workflow, args, kwargs, place_of(sys._getframe(2)))  # pyright: ignore[reportPrivateUsage]  # as above

    def start_child(
        self, workflow: Workflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], line: str = ""
    ) -> CommandFuture:
        """Start a child run: the future of its outcome, whose `key` is the child's."""
        if not self.runnable.knows(workflow.name, workflow.version):
            raise NonRetriableError(
                f"workflow {workflow.name!r} version {workflow.version} is not registered with the engine, so nothing "
                f"would run it as a child: pass it in Engine(workflows=[…]) beside {self.runnable.name!r}"
            )
        call = ChildCall(workflow, workflow.signature.bind_input(args, kwargs), line)
        future = self.loop.call(workflow.name, call)
        self._children = self._children or {}
        self._children[future.key] = None
        return future

    def cancel_child(self, key: str) -> bool:
        """Ask for a child to be canceled. False when it has ended, or was asked before."""
        if key not in self._children:
            return False
        del self._children[key]
        self.loop.say(f"{key} canceled", ChildCancelRequested(child=key))
        return True

    def send(self, events: tuple[Event[Any], ...]) -> list[str]:
        """Send events once, whatever the number of replays: their ids."""
        key = self._key("send")
        complete = [
            replace(event, id=event.id or self.made_id(event_key(key, index))) for index, event in enumerate(events)
        ]
        if complete and key not in self.carry.said:
            raw = b"[" + b",".join(map(event_content, complete)) + b"]"
            self.loop.say(key, EventSent(send=key, events=Raw(raw), digest=digest(raw)))
        return [event.id for event in complete]

    def signal(self, run_id: str, name: str, data: Any) -> None:
        """Send a signal to another run, once."""
        key, raw = self._key("tell"), signal_content(data)
        if key not in self.carry.said:
            self.loop.say(key, SignalSent(send=key, run=run_id, signal=name, data=Raw(raw), digest=digest(raw)))

    def publish(self, topic: str, data: Any) -> None:
        """Tell those who follow the run, once."""
        key = self._key("message")
        raw = encode(data)
        if not self.replaying and key not in self.carry.said:
            self.notes = [*self.notes, Published(message=key, topic=topic, data=Raw(raw))]

    def _key(self, kind: str) -> str:
        if self.loop.evicted:
            raise Evicted(f"{kind} was called by a run's code that is being thrown away")
        return self.loop.next_key(kind)

    def patched(self, patch: str) -> bool:
        """Whether the body goes the new way: it does where it comes to it first, and on each replay of that."""
        went = self._went.get(patch)
        if went is None:
            went = patch in self.patches or not self.replaying
            self._went = {**self._went, patch: went}
            if went:
                self.mark_patch(patch)
        return went

    def mark_patch(self, patch: str) -> None:
        """Record that the body goes the new way."""
        if patch not in self.carry.patches and not self.loop.evicted:
            self.loop.say(f"patch {patch}", PatchMarked(patch=patch))

    def random(self) -> random.Random:
        """Randomness that every replay of the run repeats."""
        if self._random is None:
            self._random = seeded(self.beginning.started.seed)
        return self._random
