"""Programs of the kind users write, killed at every record and started again: it makes no difference.

Beyond 200 records it is an even sample of 50. At each record a process is killed twice: before anybody hears of it, and
when the next one is wanted; under one of the kills instances are evicted at every wait, under the other they are kept.
"""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.programs.a_scenario import Scenario
from tests.programs.all_scenarios import SCENARIOS
from tests.programs.changed_programs import AFTER, BEFORE, checked
from tests.programs.kill_laboratory import Finished, Kill, carry_out

pytestmark = pytest.mark.anyio

ALL_UP_TO = 200
SAMPLE = 50
KEPT = 10_000


def kills(durable: list[int]) -> Iterator[Kill]:
    """A kill at each record, or rather at the commit that made it durable: in both ways, if it is not a sample."""
    records = durable[-1]
    every = 1 if records <= ALL_UP_TO else records / SAMPLE
    wanted = [round(number * every) for number in range(1, round(records / every) + 1)]
    commits = {next(commit for commit, total in enumerate(durable, 1) if total >= record) for record in wanted}
    for commit in sorted(commits):
        yield Kill(commit, hears_of_it=commit % 2 == 0)
        if records <= ALL_UP_TO:
            yield Kill(commit, hears_of_it=commit % 2 == 1)


def flaws(resumed: Finished, straight: Finished) -> list[str]:
    """What is wrong with a program that was killed on its way, in comparison with one that was not."""
    found: list[str] = []
    if resumed.outcome != straight.outcome:
        found.append(f"it came to {resumed.outcome}, not to {straight.outcome}")
    if resumed.effects != straight.effects:
        found.append(f"effects {dict(resumed.effects)}, not {dict(straight.effects)}")
    if resumed.published != straight.published:
        found.append(f"published {resumed.published}, not {straight.published}")
    if resumed.histories.keys() != straight.histories.keys():
        found.append(f"runs {list(resumed.histories)}, not {list(straight.histories)}")
    for run, before in resumed.before.items():
        if resumed.logs[run][: len(before)] != before:
            found.append(f"what was durable of {run} has changed")
        found += repeated(run, resumed)
    return found


def repeated(run: str, resumed: Finished) -> list[str]:
    """Bodies that ran although their success was durable, or oftener than the log says."""
    begun = resumed.world.begun - resumed.begun_before
    succeeded = {f"{run}:{each.step}" for each in resumed.old(run) if each.type == "step.succeeded"}
    starts = Counter(f"{run}:{each.step}" for each in resumed.new(run) if each.type == "attempt.started")
    return [
        f"{key} ran {times} times after the kill, and {starts[key]} starts are recorded"
        for key, times in begun.items()
        if key.startswith(f"{run}:") and (times > starts[key] or key in succeeded)
    ]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_a_program_does_what_it_should(scenario: Scenario) -> None:
    straight = await carry_out(scenario, max_parked=KEPT * scenario.always_kept)
    assert straight.outcome == scenario.outcome
    assert straight.effects == scenario.effects
    assert straight.published == list(scenario.published)
    assert len(straight.histories) == scenario.runs


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_a_program_survives_a_kill_at_every_record(scenario: Scenario) -> None:
    ways = [KEPT] if scenario.always_kept else [0, KEPT]
    killed: list[int] = []
    for number, max_parked in enumerate(ways):
        straight = await carry_out(scenario, max_parked=max_parked)
        for kill in list(kills(straight.durable))[number :: len(ways)]:
            resumed = await carry_out(scenario, kill, max_parked=max_parked)
            assert flaws(resumed, straight) == [], f"{kill}, {max_parked=}"
            killed.append(resumed.killed)
    assert sum(killed) > 0.8 * len(killed), "but for those that wanted a commit after the last one"


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if not (each.always_kept or each.races)], ids=str)
async def test_a_program_survives_a_kill_while_it_recovers_from_one(scenario: Scenario) -> None:
    straight = await carry_out(scenario, max_parked=KEPT)
    for number, kill in enumerate(kills(straight.durable)):
        again = kill._replace(commit=kill.commit + 1)  # the first one of the second process
        resumed = await carry_out(scenario, kill, again, max_parked=KEPT * (number // 2 % 2))
        assert flaws(resumed, straight) == [], f"{kill}, {again}"


@pytest.mark.parametrize("max_parked", [0, KEPT])
async def test_a_run_goes_on_as_it_began_when_it_is_past_a_change(max_parked: int) -> None:
    straight = await carry_out(BEFORE, max_parked=max_parked)
    ways: list[str] = []
    for kill in kills(straight.durable):
        resumed = await carry_out(BEFORE, kill, max_parked=max_parked, deployed=checked)
        is_past = any(each.type == "step.succeeded" for each in resumed.old("run"))
        expected = BEFORE if is_past else AFTER
        assert (resumed.outcome, resumed.effects) == (expected.outcome, expected.effects), kill
        ways.append(resumed.outcome)
    assert set(ways) == {BEFORE.outcome, AFTER.outcome}
