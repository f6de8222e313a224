"""A run that is evicted at every wait leaves the log of one that is kept in memory (DESIGN rules 4 to 6)."""

import pytest
from hypothesis import given, note

from tests.properties.laboratory import carry_out
from tests.properties.profile import PROFILE
from tests.properties.programs import Program
from tests.properties.strategies import programs

pytestmark = pytest.mark.anyio


@PROFILE
@given(programs(depth=3))
async def test_eviction_at_every_wait_changes_nothing_in_the_log(program: Program) -> None:
    note(program.to_json())
    kept = await carry_out(program, max_parked=10_000)
    evicted = await carry_out(program, max_parked=0)
    assert evicted.records == kept.records
    evicted.check()
