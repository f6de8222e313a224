"""What a group does to other runs: carried out in the group's own commit, and told to them after it (DESIGN rule 9).

A child is created, an event stored, a signal put into an inbox with the very record that says so, or not at all.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import msgspec
import structlog
from msgspec import Raw, Struct

from durably.engine.body.calls import decode_event
from durably.engine.declare.matching import Match
from durably.engine.execution.aftermath import Aftermath
from durably.engine.execution.arrivals import Arrivals, run_row
from durably.engine.execution.inbox import (
    CancelItem,
    ChildItem,
    Item,
    KnownChildItem,
    LookBackItem,
    SignalItem,
    continued,
    encode_item,
)
from durably.engine.log.records import (
    NOTHING,
    BodyFailed,
    ChildCanceled,
    ChildCancelRequested,
    ChildFailed,
    ChildStarted,
    ChildSucceeded,
    EventAwaited,
    EventReceived,
    EventSent,
    Record,
    RunCanceled,
    RunContinued,
    RunCreated,
    RunFailed,
    RunSucceeded,
    SignalSent,
    TimerFired,
    WaitCanceled,
    encode_record,
    from_us,
    to_us,
)
from durably.engine.log.state import RunState
from durably.engine.values.codec import decode_json
from durably.store import (
    Append,
    Conflict,
    Create,
    DeliveryRow,
    Existing,
    InboxRow,
    Ingest,
    LogRow,
    Notify,
    Operation,
    Put,
    RunRow,
    Store,
    WaitRow,
    Written,
)
from durably.store.runtime import SECOND_US

__all__ = ["REACHING", "Outbox", "Parcel", "child_outcome", "reaches_out", "wait_row"]

log = structlog.get_logger("durably")

REACHING = frozenset(
    {
        EventAwaited,
        EventReceived,
        WaitCanceled,
        TimerFired,
        EventSent,
        SignalSent,
        ChildStarted,
        ChildCancelRequested,
        BodyFailed,
        RunSucceeded,
        RunFailed,
        RunCanceled,
        RunContinued,
    }
)
"""Records that may have to do with others than their own run."""
_ENDING = frozenset({TimerFired, BodyFailed, RunSucceeded, RunCanceled})


def reaches_out(record: Record, state: RunState) -> bool:
    """Whether one of `REACHING` does have to do with others. Most timers and ends of runs do not."""
    if type(record) not in _ENDING or state.waits:
        return True
    return state.created is not None and state.created.parent is not None


Created: TypeAlias = Sequence[tuple[RunRow, RunCreated]]


class Parcel(Struct):
    """What goes with a group, as an `Append` takes it, and the runs that begin with it."""

    waits: list[WaitRow] = []
    unwaits: list[str] = []
    also: list[Operation] = []
    begins: list[Sequence[Created]] = []
    """For each operation of `also`, the runs that it creates; of events, those of each."""
    sent: list[tuple[EventSent, int, str]] = []
    """Events, when they were sent, and in which environment: made ready last, for a wait of this very group may be for
    one of them."""
    heir: int | None = None

    def send(self, operation: Operation, begins: Sequence[Created] = ()) -> None:
        self.also.append(operation)
        self.begins.append(begins)

    def tell(self, run_id: str, at_us: int, item: Item) -> None:
        self.send(Put(InboxRow(0, at_us, encode_item(item)), to=run_id))


class Outbox:
    """Packs what a group sends. `begin` is called for each run that was created, `look` for runs that have got mail,
    `deliver` when there are messages for somebody outside.
    """

    def __init__(
        self,
        store: Store,
        arrivals: Arrivals,
        aftermath: Aftermath,
        *,
        begin: Callable[[RunRow, RunCreated], None],
        look: Callable[[Sequence[int]], None],
        deliver: Callable[[Iterable[DeliveryRow]], None],
    ) -> None:
        self._store = store
        self._arrivals = arrivals
        self._aftermath = aftermath
        self._begin = begin
        self._look = look
        self._deliver = deliver

    def pack(self, parcel: Parcel, run_id: str, state: RunState, record: Record, at_us: int) -> None:
        """Add what goes with a record. `state` is that before the record."""
        match record:
            case EventAwaited():
                parcel.waits.append(wait_row(record, _environment(state)))
            case EventReceived():
                parcel.unwaits += record.waits
            case WaitCanceled() | TimerFired():
                key = record.wait if isinstance(record, WaitCanceled) else record.timer
                if isinstance(state.waits.get(key), EventAwaited):
                    parcel.unwaits.append(key)
            case EventSent():
                parcel.sent.append((record, at_us, _environment(state)))
            case SignalSent():
                parcel.tell(record.run, at_us, SignalItem(record.signal, record.data, at_us))
            case ChildStarted():
                self._start_child(parcel, run_id, state, record, at_us)
            case ChildCancelRequested():
                parcel.tell(state.children[record.child].run, at_us, CancelItem(run_id, record.child))
            case BodyFailed() | RunSucceeded() | RunFailed() | RunCanceled() | RunContinued():
                parcel.unwaits += [key for key, wait in state.waits.items() if isinstance(wait, EventAwaited)]
                if not isinstance(record, BodyFailed):
                    self._pack_end(parcel, run_id, state, record, at_us)
            case _:
                pass

    def attach(self, parcel: Parcel, append: Append) -> None:
        """Let a group take its parcel with it."""
        self._arrivals.expect(parcel.waits)
        for record, at_us, environment in parcel.sent:
            self._send_events(parcel, record, at_us, environment)
        for operation in parcel.also:
            if isinstance(operation, Create) and operation.known is not None:
                operation.known = operation.known._replace(run=append.run)
        append.waits, append.unwaits, append.also = parcel.waits, parcel.unwaits, parcel.also
        append.heir = parcel.heir

    def _send_events(self, parcel: Parcel, record: EventSent, at_us: int, environment: str) -> None:
        for raw in _split(record.events):  # one by one: an id that is in use already concerns no other
            prepared = self._arrivals.prepare(decode_event(raw), at_us, environment)
            parcel.send(Ingest([prepared.arrival]), [prepared.runs])

    def _start_child(self, parcel: Parcel, run_id: str, state: RunState, record: ChildStarted, at_us: int) -> None:
        assert state.created is not None
        created = RunCreated(
            workflow=record.workflow,
            version=record.version,
            input=record.input,
            trigger="CHILD",
            event=NOTHING,
            environment=state.created.environment,
            test=state.created.test,
            origin=run_id,
            parent=run_id,
            child=record.child,
            due_at=from_us(at_us + int(record.delay * SECOND_US)) if record.delay else None,
            timeout=record.timeout,
        )
        known = InboxRow(0, at_us, encode_item(KnownChildItem(record.child)))
        self._create(parcel, record.run, created, at_us, known)

    def _pack_end(
        self,
        parcel: Parcel,
        run_id: str,
        state: RunState,
        record: RunSucceeded | RunFailed | RunCanceled | RunContinued,
        at_us: int,
    ) -> None:
        created = state.created
        assert created is not None
        if isinstance(record, RunContinued):
            again = RunCreated(
                workflow=created.workflow,
                version=record.version,
                input=record.input,
                trigger=created.trigger,
                event=NOTHING,
                environment=created.environment,
                test=created.test,
                origin=run_id,
                parent=created.parent,
                child=created.child,
                timeout=created.timeout,
                continued=continued(state),
                scheduled_for=created.scheduled_for,
            )
            parcel.heir = self._create(parcel, record.continued_to, again, at_us)
        elif created.parent is not None:
            parcel.tell(created.parent, at_us, ChildItem(child_outcome(created.child, record), created.parent))
        if isinstance(record, RunFailed):
            following = self._aftermath.of(run_id, created, record.error, at_us)
            for new_id, following_run in following.runs:
                self._create(parcel, new_id, following_run, at_us)
            for delivery in following.deliveries:
                parcel.send(Notify(delivery))

    def _create(
        self, parcel: Parcel, run_id: str, created: RunCreated, at_us: int, known: InboxRow | None = None
    ) -> int:
        row = run_row(self._store.new_run(), run_id, created, at_us)
        parcel.send(Create(row, LogRow(row.run, 1, at_us, encode_record(created)), known), [[(row, created)]])
        return row.run

    def delivered(self, number: int, parcel: Parcel, written: Written) -> None:
        """The group of that run is durable: begin the runs created with it, wake those that have got something."""
        woken = set(written.woken)
        for result, begins in zip(written.also, parcel.begins, strict=True):
            match result:
                case None:
                    self._begin_all(begins)
                case Written():
                    woken.update(result.woken)
                    self._begin_all(each for index, each in enumerate(begins) if index not in result.known)
                case Existing():
                    woken.add(number)  # it is told so
                case Conflict():
                    log.error("event.conflict", run=number, reason="its id was sent before, with other content")
                case _:
                    pass
        if woken:
            self._look(sorted(woken))
        messages = [each.row for each in parcel.also if isinstance(each, Notify)]
        if messages:
            self._deliver(messages)

    def _begin_all(self, begins: Iterable[Created]) -> None:
        for runs in begins:
            for row, created in runs:
                self._begin(row, created)


def _environment(state: RunState) -> str:
    assert state.created is not None
    return state.created.environment


def wait_row(record: EventAwaited, environment: str) -> WaitRow:
    """A wait as the store finds it when an event arrives in that environment."""
    match = Match.of(decode_json(bytes(record.match)), None)
    return WaitRow(
        key=record.wait,
        event=record.event,
        paths=match.paths,
        topic=match.topic(record.event),
        since_us=None if record.since is None else to_us(record.since),
        look_back=encode_item(LookBackItem(record.wait)),
        environment=environment,
    )


def child_outcome(
    child: str, record: RunSucceeded | RunFailed | RunCanceled
) -> ChildSucceeded | ChildFailed | ChildCanceled:
    """A run's end, as its parent gets it."""
    match record:
        case RunSucceeded():
            return ChildSucceeded(child=child, output=record.output)
        case RunFailed():
            return ChildFailed(child=child, error=record.error)
        case RunCanceled():
            return ChildCanceled(child=child)


_split = msgspec.json.Decoder(list[Raw]).decode
