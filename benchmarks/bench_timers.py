"""A million timers: what one costs in the timer wheel, beside `heapq`.

The timers are those of retries and sleeps: 50 % due within a minute, 40 % within an hour, 10 % within a day.
Half of them are canceled, in random order. In CPU time, with the garbage collector off and all handles kept,
medians of three:

    insert     add one, until a million are pending
    cancel     cancel one of half a million
    expire     play that day and give out the other half; the caller wakes as an event loop on epoll does, at
               the first whole millisecond at which something can be due
    wake-ups   how often that was, for half a million timers
    memory     what a pending timer takes, with its due time and without what it is for

The floor is a heap of (due time, number) and a set of the canceled: one call into C for each insert and
cancel, and a way down the whole heap for each that expires. The gates are from the floors measured at the
start: 1.5, 1 and 3 µs, 250 bytes.
"""

import gc
import heapq
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Protocol, TypeVar

from benchmarks.report import Row, at_most, progress, publish
from durably.engine.timing.wheel import Timer, Wheel

H = TypeVar("H")
H_co = TypeVar("H_co", covariant=True)

TIMERS = 1_000_000
TRACED_TIMERS = 100_000
ROUNDS = 3
STEPS = ROUNDS * 2 * 3 + 2  # rounds, subjects, and their three phases; the memory of each

START_US = 1_767_225_600_000_000
MILLISECOND_US = 1_000
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


class Timers(Protocol[H_co]):
    """What is measured: adding gives a handle to cancel by."""

    def add(self, due_us: int, item: int) -> H_co: ...

    def advance(self, now_us: int) -> list[int]: ...

    def next_due_us(self) -> int | None: ...


class Heap:
    """The floor."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._canceled: set[int] = set()

    def add(self, due_us: int, item: int) -> int:
        heapq.heappush(self._heap, (due_us, item))
        return item

    def cancel(self, item: int) -> None:
        self._canceled.add(item)

    def advance(self, now_us: int) -> list[int]:
        items: list[int] = []
        while self._heap and self._heap[0][0] <= now_us:
            item = heapq.heappop(self._heap)[1]
            if item in self._canceled:
                self._canceled.remove(item)
            else:
                items.append(item)
        return items

    def next_due_us(self) -> int | None:
        return self._heap[0][0] if self._heap else None


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one round: nanoseconds per timer, and a count."""

    insert: float
    cancel: float
    expire: float
    wakes: int


@dataclass(frozen=True, slots=True)
class Workload:
    """When the timers are due, seen from the start, and which of them are canceled, in that order."""

    delays_us: list[int]
    canceled: list[int]


def workload() -> Workload:
    rng = random.Random(1)  # noqa: S311 (the same timers in every run, no secret)
    spans_us = rng.choices([MINUTE_US, HOUR_US, DAY_US], weights=[50, 40, 10], k=TIMERS)
    delays_us = [1 + int(rng.random() * span_us) for span_us in spans_us]
    return Workload(delays_us, rng.sample(range(TIMERS), TIMERS // 2))


def measure(timers: Timers[H], cancel: Callable[[H], None], work: Workload, step: Callable[[], None]) -> Costs:
    """The life of a million timers."""
    begun_ns = time.thread_time_ns()
    handles = [timers.add(START_US + delay_us, number) for number, delay_us in enumerate(work.delays_us)]
    insert_ns = time.thread_time_ns() - begun_ns
    step()
    to_cancel = [handles[number] for number in work.canceled]
    begun_ns = time.thread_time_ns()
    for handle in to_cancel:
        cancel(handle)
    cancel_ns = time.thread_time_ns() - begun_ns
    step()
    begun_ns = time.thread_time_ns()
    expired, wakes = play(timers)
    expire_ns = time.thread_time_ns() - begun_ns
    step()
    if expired != TIMERS - len(to_cancel):
        raise RuntimeError(f"{expired} timers were given out instead of {TIMERS - len(to_cancel)}")
    return Costs(insert_ns / TIMERS, cancel_ns / len(to_cancel), expire_ns / expired, wakes)


def play(timers: Timers[H]) -> tuple[int, int]:
    """Let time go by until no timer is left: how many were given out, in how many wake-ups."""
    expired = wakes = 0
    while (due_us := timers.next_due_us()) is not None:
        now_us = -(-due_us // MILLISECOND_US) * MILLISECOND_US
        expired += len(timers.advance(now_us))
        wakes += 1
    return expired, wakes


def bytes_per_timer(timers: Timers[H], work: Workload) -> float:
    """What is allocated for a timer while it is pending, by a hundred thousand of them."""
    numbers = list(range(TRACED_TIMERS))  # what the timers are for: there before
    tracemalloc.start()
    for number in numbers:
        timers.add(START_US + work.delays_us[number], number)
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return allocated / TRACED_TIMERS


def rows(wheel: list[Costs], heap: list[Costs], wheel_bytes: float, heap_bytes: float) -> list[Row]:
    def row(name: str, unit: str, figure: Callable[[Costs], float], gate: float | None = None) -> Row:
        return Row(
            name,
            round(median(map(figure, wheel))),
            unit,
            None if gate is None else at_most(gate),
            {"heapq": round(median(map(figure, heap)))},
        )

    return [
        row("insert", "ns", lambda costs: costs.insert, 1_500),
        row("cancel", "ns", lambda costs: costs.cancel, 1_000),
        row("expire", "ns", lambda costs: costs.expire, 3_000),
        row("wake-ups", "", lambda costs: costs.wakes),
        Row("memory", round(wheel_bytes), "bytes", at_most(250), {"heapq": round(heap_bytes)}),
    ]


def main() -> None:
    wheel_costs: list[Costs] = []
    heap_costs: list[Costs] = []
    work = workload()
    gc.disable()
    try:
        with progress("a million timers", STEPS) as step:
            for _ in range(ROUNDS):
                wheel_costs.append(measure(Wheel[int](START_US), Timer[int].cancel, work, step))
                heap = Heap()
                heap_costs.append(measure(heap, heap.cancel, work, step))
                del heap
                gc.collect()
            wheel_bytes = bytes_per_timer(Wheel[int](START_US), work)
            step()
            heap_bytes = bytes_per_timer(Heap(), work)
            step()
    finally:
        gc.enable()
    publish("timers", "A million timers", rows(wheel_costs, heap_costs, wheel_bytes, heap_bytes))


if __name__ == "__main__":
    main()
