"""What the engine holds in memory of a run that it is working on."""

from asyncio import Future
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from durably.engine.body.beginning import Beginning
from durably.engine.body.instance import Instance
from durably.engine.declare.registry import Registered
from durably.engine.execution.kept import KeptItems
from durably.engine.log.grammar import Carry
from durably.engine.log.state import RunState

if TYPE_CHECKING:
    from durably.engine.execution.attempt import Attempt
    from durably.engine.execution.outcomes import Outcome

__all__ = ["LiveRun"]


class LiveRun:
    """A run in memory. `state` and `instance` come and go (rebuilt by replay), the rest stays while it is held.

    Attempts belong to the engine, not to the instance: they go on while the instance is evicted (DESIGN rule 6).
    """

    __slots__ = (
        "attempts",
        "beginning",
        "blocked",
        "carry",
        "fenced",
        "held",
        "holds",
        "id",
        "instance",
        "interrupted",
        "kept",
        "loading",
        "lookups",
        "number",
        "outcomes",
        "overdue",
        "registered",
        "shown",
        "size",
        "state",
        "stored",
        "taken",
        "todo",
        "unsaved",
        "waiting",
        "warned",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.id = ""
        """The public id; empty until it is known."""
        self.registered: Registered | None = None
        self.beginning: Beginning | None = None
        self.state: RunState | None = None
        self.instance: Instance | None = None
        """None while evicted, and while there is no body: before the start and while its retry waits."""
        self.attempts: dict[str, Attempt] = {}
        """By step key: attempts whose bodies run."""
        self.interrupted: dict[str, Attempt] = {}
        """Canceled attempts that have not unwound yet; following steps wait for them (DESIGN section 3)."""
        self.held: list[str] = []
        """Steps that wait for the interrupted ones."""
        self.outcomes: dict[str, Outcome] = {}
        """What ended attempts came to, until it is in the log, also across a commit with an unknown outcome."""
        self.todo: list[Callable[[], None]] = []
        """What waits for the run to be loaded."""
        self.loading = False
        self.carry: Carry | None = None
        """What the next incarnation takes over, while a body's retry waits."""
        self.unsaved = 0
        """Groups on their way to the store: the run is not evicted before they have arrived."""
        self.shown: tuple[str, str | None, int | None] | None = None
        """Status, phase and due time as they were last written for lists."""
        self.blocked = False
        """Whether code and history do not fit: nothing starts, and outcomes go to the inbox (DESIGN rule 13)."""
        self.kept = KeptItems()
        """What lies in its inbox, by item, and may be for it."""
        self.taken: dict[int, None] = {}
        """Inbox items that were taken since it was loaded: a read that began before may bring them once more."""
        self.lookups: dict[int, Future[None]] = {}
        """What is being found out from the store for it, by the inbox item that asks so."""
        self.overdue: dict[str, int] = {}
        """Waits whose deadline has come, and how many groups have to be durable before that counts."""
        self.holds = 0
        """How many wait for something to go on with the run as it is in memory."""
        self.size = 0
        """Bytes in its history."""
        self.warned = False
        """Whether it was said that its history is nearly full."""
        self.waiting = 0
        """Steps of it that wait for a place (`Admission`)."""
        self.fenced = False
        """Whether its session was ended: attempts not known to run are not the fault of their steps."""
        self.stored: Future[None] | None = None
        """Who waits for the run's creation to be durable."""

    @property
    def is_open(self) -> bool:
        """Whether it is loaded and has not ended."""
        return self.state is not None and not self.state.ended

    @property
    def can_rest(self) -> bool:
        """Whether its instance may be evicted: all it did is in the store, and nothing waits for it here."""
        return not (self.todo or self.loading or self.unsaved or self.lookups or self.holds)

    @contextmanager
    def hold(self) -> Generator[None]:
        """Keep it in memory until the end of the `with`."""
        self.holds += 1
        try:
            yield
        finally:
            self.holds -= 1

    @property
    def can_go(self) -> bool:
        """Whether nothing refers to it any more but time and the outside."""
        return self.can_rest and not (self.attempts or self.interrupted or self.outcomes or self.waiting)

    def drop(self) -> None:
        """Evict the instance and let go of what replay rebuilds."""
        if self.instance is not None:
            self.instance.evict()
        self.instance = self.state = self.beginning = self.shown = None
        self.kept.clear()  # read again with the log
        self.lookups.clear()
        self.overdue.clear()
