"""Killed after each of its commits and started again, a run goes on as if nothing had happened (DESIGN rules 1, 7, 12).

What a killed process leaves behind is what it had committed. So a copy of the store after each commit stands for every
kill between that commit and the next.
"""

from collections import Counter

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from durably.replay import Replayer
from tests.properties.laboratory import Evidence, Finished, Snapshot, carry_out, go_on
from tests.properties.profile import PROFILE
from tests.properties.programs import Program, perform
from tests.properties.strategies import certain_programs, programs

pytestmark = pytest.mark.anyio

DOWNTIMES = st.sampled_from([0.0, 0.0, 3.5, 3600.0])


def ran_too_often(before: Evidence, resumed: Finished) -> set[str]:
    """Steps whose bodies ran although their success was durable, or oftener than the log says."""
    succeeded = {f"run:{each.step}" for each in before.history if each.type == "step.succeeded"}
    after = resumed.history.records[len(before.records) :]
    starts = Counter(f"run:{each.step}" for each in after if each.type == "attempt.started")
    return {key for key, times in resumed.bodies.items() if key in succeeded or times > starts[key]}


async def killed(program: Program, snapshot: Snapshot, before: Evidence, down_for: float, max_parked: int) -> Finished:
    """The run after a kill at that commit; what holds for every program is looked at."""
    resumed = await go_on(program, snapshot, max_parked=max_parked, down_for=down_for)
    assert resumed.records[: len(before.records)] == before.records, "what was durable is as it was"
    assert not ran_too_often(before, resumed)
    Replayer([perform]).replay(resumed.history)
    assert resumed.shown == resumed.state.change(), "lists show what the log adds up to"
    return resumed


@PROFILE
@given(programs(), DOWNTIMES)
async def test_a_kill_at_any_commit_leaves_what_was_durable(program: Program, down_for: float) -> None:
    note(program.to_json())
    untouched = await carry_out(program, max_parked=10_000)
    for number, snapshot in enumerate(untouched.snapshots):
        before = snapshot.evidence
        resumed = await killed(program, snapshot, before, down_for, 10_000 * (number % 2))
        if not (before.state.running or down_for):
            assert resumed.records == untouched.records, f"nothing was lost at commit {number}, and nothing differs"


@PROFILE
@given(certain_programs(), DOWNTIMES)
async def test_a_kill_at_any_commit_changes_no_outcome_where_nothing_races(program: Program, down_for: float) -> None:
    note(program.to_json())
    untouched = await carry_out(program, max_parked=0)
    for number, snapshot in enumerate(untouched.snapshots):
        resumed = await killed(program, snapshot, snapshot.evidence, down_for, 10_000 * (number % 2))
        assert resumed.outcome == untouched.outcome, f"killed at commit {number}"
