"""Who waits for a run's end."""

from asyncio import Future, get_running_loop
from collections import defaultdict

from durably.engine.errors import DurablyError
from durably.engine.log.records import End

__all__ = ["Waiters"]


class Waiters:
    """Futures that get a run's last record once that is committed, by the run's number."""

    def __init__(self) -> None:
        self._waiting: defaultdict[int, list[Future[End]]] = defaultdict(list)

    def add(self, number: int) -> Future[End]:
        """A future for the end of that run, until `remove`."""
        waiter: Future[End] = get_running_loop().create_future()
        self._waiting[number].append(waiter)
        return waiter

    def remove(self, number: int, waiter: Future[End]) -> None:
        """Forget who waits."""
        waiters = self._waiting[number]
        waiters.remove(waiter)
        if not waiters:
            del self._waiting[number]

    def tell(self, number: int, record: End) -> None:
        """The run has ended."""
        for waiter in self._waiting.get(number, ()):
            if not waiter.done():
                waiter.set_result(record)

    def give_up(self) -> None:
        """Tell everybody that this engine has stopped; their runs go on with the next one."""
        for waiters in self._waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(DurablyError("the engine has stopped; the run goes on with the next one"))
