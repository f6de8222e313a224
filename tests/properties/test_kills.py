"""Killed after each of its commits and started again, a run goes on as if nothing had happened (DESIGN rules 1, 7, 12).

What a killed process leaves behind is what it had committed. So a copy of the store after each commit stands for every
kill between that commit and the next.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from tests.properties.laboratory import Evidence, Finished, Snapshot, carry_out, go_on
from tests.properties.profile import HALF, PATIENT, PROFILE
from tests.properties.programs import Program
from tests.properties.strategies import certain_programs, programs

pytestmark = [pytest.mark.anyio, PATIENT]

MOST_KILLS = 50
DOWNTIMES = st.sampled_from([0.0, 0.0, 3.5, 3600.0])


def sampled(untouched: Finished) -> Iterator[tuple[int, Snapshot]]:
    """The commits to be killed at, with their numbers: all of them; of long runs, an even sample."""
    snapshots = list(enumerate(untouched.snapshots))
    return iter(snapshots[:: 1 + len(snapshots) // MOST_KILLS])


def ran_too_often(before: Evidence, resumed: Finished) -> set[str]:
    """Steps whose bodies ran although their success was durable, or oftener than the log says."""
    succeeded: set[str] = set()
    starts: Counter[str] = Counter()
    for run_id, history in resumed.histories.items():
        durable = len(before.records.get(run_id, ()))
        succeeded |= {f"{run_id}:{each.step}" for each in history.records[:durable] if each.type == "step.succeeded"}
        starts.update(f"{run_id}:{each.step}" for each in history.records[durable:] if each.type == "attempt.started")
    return {key for key, times in resumed.bodies.items() if key in succeeded or times > starts[key]}


async def killed(program: Program, snapshot: Snapshot, before: Evidence, down_for: float, max_parked: int) -> Finished:
    """The run after a kill at that commit; what holds for every program is looked at."""
    resumed = await go_on(program, snapshot, max_parked=max_parked, down_for=down_for)
    for run_id, records in before.records.items():
        assert resumed.records[run_id][: len(records)] == records, "what was durable is as it was"
    assert not ran_too_often(before, resumed)
    resumed.check()
    return resumed


@PROFILE
@given(programs(depth=3), DOWNTIMES)
async def test_a_kill_at_any_commit_leaves_what_was_durable(program: Program, down_for: float) -> None:
    note(program.to_json())
    untouched = await carry_out(program, max_parked=10_000)
    for number, snapshot in sampled(untouched):
        before = Evidence(snapshot.store)
        resumed = await killed(program, snapshot, before, down_for, 10_000 * (number % 2))
        if not (before.at_work(snapshot.at_us) or down_for):
            assert resumed.records == untouched.records, f"nothing was lost at commit {number}, and nothing differs"


@HALF
@given(certain_programs(), DOWNTIMES)
async def test_a_kill_at_any_commit_changes_no_outcome_where_nothing_races(program: Program, down_for: float) -> None:
    note(program.to_json())
    assert program.is_certain
    untouched = await carry_out(program, max_parked=0)
    for number, snapshot in sampled(untouched):
        resumed = await killed(program, snapshot, Evidence(snapshot.store), down_for, 10_000 * (number % 2))
        assert resumed.outcome == untouched.outcome, f"killed at commit {number}"
