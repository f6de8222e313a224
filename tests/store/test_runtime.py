"""The one module that reaches for time, randomness and threads."""

import asyncio
import functools
import itertools
import threading
import time
from collections.abc import Callable

import pytest

from durably.store.runtime import WALL_LOOK_US, SystemClock, SystemRandomness, Timer, Worker

HOUR_US = 3600 * 1_000_000


def test_engine_time_never_goes_back() -> None:
    clock = SystemClock()
    times = [clock.now_us() for _ in range(1000)]
    assert all(earlier <= later for earlier, later in itertools.pairwise(times))


def test_engine_time_is_not_stepped_with_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before = clock.now_us()
    stepped = time.time_ns() - 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: stepped)
    assert clock.now_us() >= before
    assert clock.wall_us() == stepped // 1000
    assert SystemClock().now_us() < before, "a new start takes the wall clock as it is"


@pytest.mark.anyio
async def test_a_timer_is_told_on_the_loop_and_can_be_canceled() -> None:
    clock = SystemClock()
    told: list[str] = []
    due = asyncio.Event()
    canceled = clock.call_at(clock.now_us(), lambda: told.append("canceled"))
    clock.call_at(clock.now_us() - HOUR_US, lambda: told.append("late"))
    clock.call_at(clock.now_us() + 1000, due.set)
    clock.call_at(clock.now_us() + HOUR_US, lambda: told.append("far")).cancel()
    canceled.cancel()
    await due.wait()
    assert told == ["late"]


class HandClock(SystemClock):
    """Both of its clocks are moved by hand."""

    def __init__(self) -> None:
        self.now = self.wall = 0
        self.looks: list[tuple[int, Callable[[], None]]] = []

    def now_us(self) -> int:
        return self.now

    def wall_us(self) -> int:
        return self.wall

    def call_at(self, due_us: int, callback: Callable[[], None]) -> Timer:
        self.looks.append((due_us, callback))
        return self

    def cancel(self) -> None: ...

    def look(self) -> int:
        """Let the next look take place, in its time; how long the wait for it was."""
        due_us, callback = self.looks.pop(0)
        waited_us, self.now = due_us - self.now, due_us
        callback()
        return waited_us


def test_a_wait_for_the_wall_clock_follows_it_wherever_it_is_set() -> None:
    clock = HandClock()
    told: list[int] = []
    clock.call_at_wall(HOUR_US, lambda: told.append(clock.wall))
    assert clock.look() == WALL_LOOK_US, "it may have been set meanwhile"
    clock.wall = HOUR_US - 1000
    assert clock.look() == WALL_LOOK_US
    assert clock.look() == 1000
    assert told == [], "not early: it stands still"
    clock.wall = -HOUR_US
    assert clock.look() == 1000
    clock.wall = HOUR_US + 5
    assert clock.look() == WALL_LOOK_US
    assert told == [HOUR_US + 5]
    assert clock.looks == []


@pytest.mark.anyio
async def test_a_wait_for_the_wall_clock_ends_on_the_loop_and_can_be_canceled() -> None:
    clock = SystemClock()
    told: list[str] = []
    due = asyncio.Event()
    clock.call_at_wall(clock.wall_us() + HOUR_US, lambda: told.append("far")).cancel()
    clock.call_at_wall(clock.wall_us() - HOUR_US, lambda: told.append("late"))
    clock.call_at_wall(clock.wall_us() + 1000, due.set)
    await due.wait()
    assert told == ["late"]


def test_tokens_are_128_random_bits() -> None:
    randomness = SystemRandomness()
    tokens = {randomness.token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 32 and int(token, 16) >= 0 for token in tokens)
    assert all(0 <= randomness.uniform(0.25) <= 0.25 for _ in range(100))


def test_a_worker_does_its_jobs_in_order_on_one_thread_and_stops() -> None:
    worker = Worker("test-worker")
    done: list[tuple[int, threading.Thread]] = []
    finished = threading.Event()

    def job(number: int) -> None:
        done.append((number, threading.current_thread()))

    for number in range(5):
        worker.submit(functools.partial(job, number))
    worker.submit(finished.set)
    worker.stop()
    assert finished.wait(10)
    thread = done[0][1]
    assert done == [(number, thread) for number in range(5)]
    assert thread is not threading.current_thread()
    assert (thread.name, thread.daemon) == ("test-worker", True)
    thread.join(10)
    assert not thread.is_alive()
