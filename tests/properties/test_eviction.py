"""A run that is evicted at every wait leaves the log of one that is kept in memory (DESIGN rules 4 to 6)."""

import pytest
from hypothesis import given, note

from tests.properties.found import FOUND
from tests.properties.laboratory import carry_out
from tests.properties.profile import PATIENT, PROFILE
from tests.properties.programs import Program
from tests.properties.strategies import programs

pytestmark = [pytest.mark.anyio, PATIENT]


async def check_eviction(program: Program) -> None:
    """The same records of all runs. What eviction leaves to the garbage collector pytest reports."""
    kept = await carry_out(program, max_parked=10_000)
    evicted = await carry_out(program, max_parked=0)
    assert evicted.records == kept.records
    evicted.check()


@PROFILE
@given(programs(depth=3))
async def test_eviction_at_every_wait_changes_nothing_in_the_log(program: Program) -> None:
    note(program.to_json())
    await check_eviction(program)


@pytest.mark.parametrize("program", [pytest.param(program, id=why) for why, program in FOUND.items()])
async def test_eviction_changes_nothing_where_it_once_did(program: Program) -> None:
    await check_eviction(program)
