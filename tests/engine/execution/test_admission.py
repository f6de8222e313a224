"""Who may start: at most so many bodies at once, first come first served, and suspects one at a time."""

import asyncio

import pytest

from durably import step, workflow
from durably.engine.execution.admission import Admission
from durably.engine.execution.live import LiveRun
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

SUSPECT = 2
"""Crash losses in a row that make a step a suspect (DESIGN rule 12)."""


class Door:
    """An admission whose waiting steps come back when their turn has come, and who is inside."""

    def __init__(self, places: int) -> None:
        self.run = LiveRun(1)
        self.losses: dict[str, int] = {}
        self.inside: list[str] = []
        self.unwanted: set[str] = set()
        self.admission = Admission(places, self._turn)

    def come(self, key: str, losses: int = 0) -> bool:
        self.losses[key] = losses
        entered = self.admission.enter(self.run, key, losses)
        if entered:
            self.inside.append(key)
        return entered

    def go(self, key: str) -> None:
        self.inside.remove(key)
        self.admission.leave(self.run, key)

    def _turn(self, _run: LiveRun, key: str) -> None:
        if key in self.unwanted:
            self.admission.pass_on()
        else:
            self.come(key, self.losses[key])


def test_as_many_enter_as_there_are_places_and_the_others_in_their_order() -> None:
    door = Door(2)
    assert [door.come(key) for key in "abcd"] == [True, True, False, False]
    door.go("a")
    assert door.inside == ["b", "c"]
    door.go("c")
    assert door.inside == ["b", "d"]


def test_one_who_is_not_wanted_any_more_passes_the_place_on() -> None:
    door = Door(1)
    for key in "abc":
        door.come(key)
    door.unwanted = {"b"}
    door.go("a")
    assert door.inside == ["c"]


def test_suspects_enter_one_at_a_time_and_others_beside_them() -> None:
    door = Door(10)
    assert door.come("a", SUSPECT)
    assert not door.come("b", SUSPECT)
    assert not door.come("c", SUSPECT + 1)
    assert door.come("innocent", SUSPECT - 1)
    door.go("innocent")
    assert door.inside == ["a"], "that was not the suspect"
    door.go("a")
    assert door.inside == ["b"]
    door.go("b")
    assert door.inside == ["c"]


def test_a_suspect_waits_for_a_place_like_everybody() -> None:
    door = Door(1)
    door.come("innocent")
    assert not door.come("a", SUSPECT)
    assert not door.come("b", SUSPECT)
    door.go("innocent")
    assert door.inside == ["a"]
    door.go("a")
    assert door.inside == ["b"]


def test_a_suspect_that_is_not_wanted_any_more_lets_the_next_in() -> None:
    door = Door(10)
    for key in "abc":
        door.come(key, SUSPECT)
    door.unwanted = {"b"}
    door.go("a")
    assert door.inside == ["c"]


def test_nobody_enters_when_it_is_closed() -> None:
    door = Door(1)
    door.come("a")
    door.come("b")
    door.admission.close()
    assert not door.come("c")
    door.go("a")
    assert door.inside == []


# -- in an engine


@step
async def work(name: str) -> str:
    return name


@workflow
async def many(names: str) -> list[str]:
    return list(await asyncio.gather(*(work(name) for name in names)))


@pytest.mark.parametrize("max_parked", [0, 100])
@pytest.mark.parametrize("max_steps", [1, 3])
async def test_steps_beyond_max_steps_are_scheduled_and_start_in_their_order(max_steps: int, max_parked: int) -> None:
    running = most = 0

    @step
    async def counts(name: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return name

    @workflow
    async def count_many(names: str) -> list[str]:
        return list(await asyncio.gather(*(counts(name) for name in names)))

    async with TestEngine(workflows=[count_many], max_steps=max_steps, max_parked=max_parked) as engine:
        run = await engine.start(count_many, "abcdefg")
        assert (await run.info()).phase == "queued"
        assert await run.result() == list("abcdefg")
        history = await run.history()
        await engine.replay_finished()
    assert most == max_steps
    assert history.types().count("step.scheduled") == 7 - max_steps
    started = [each.step for each in history if each.type == "attempt.started"]
    assert started == [f"0/{number}/counts#0" for number in range(7)]


async def test_runs_share_the_places() -> None:
    async with TestEngine(workflows=[many], max_steps=2) as engine:
        mock = engine.mock(work, side_effect=work.fn, takes=10)
        began = engine.clock.now()
        runs = [await engine.start(many, names) for names in ("ab", "cd", "ef")]
        assert [await run.result() for run in runs] == [list("ab"), list("cd"), list("ef")]
        assert (engine.clock.now() - began).total_seconds() == 30
    assert [call.args[0] for call in mock.calls] == list("abcdef")


async def test_scheduled_steps_survive_a_crash() -> None:
    async with TestEngine(workflows=[many], max_steps=1) as engine:
        mock = engine.mock(work, side_effect=work.fn, takes=10)
        run = await engine.start(many, "abc")
        await engine.clock.advance(15)
        await engine.restart()
        assert await run.result() == list("abc")
        assert (await run.info()).tasks == 3
    assert [call.args[0] for call in mock.calls] == ["a", "b", "b", "c"]


async def test_a_scheduled_step_that_is_canceled_never_starts() -> None:
    @workflow
    async def gives_up() -> str:
        first = asyncio.ensure_future(work("a"))
        await asyncio.sleep(1)
        try:
            async with asyncio.timeout(5):
                await work("b")
        except TimeoutError:
            return await first
        return ""

    async with TestEngine(workflows=[gives_up], max_steps=1) as engine:
        mock = engine.mock(work, side_effect=work.fn, takes=10)
        run = await engine.start(gives_up)
        assert await run.result() == "a"
        assert (await run.info()).tasks == 1
    assert [call.args[0] for call in mock.calls] == ["a"]
