import pytest

from durably import Event, Trigger, current, workflow
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


@workflow(
    on=[Trigger("shop/paid", where="event.data.cents >= 1000"), Trigger("shop/*", where='"vip" in event.data.tags')]
)
async def thank(event: Event) -> str:
    return f"{event.name} {current().run_id}"


@workflow(on=Trigger("shop/paid", where='event.id == "e-1" && timestamp(event.ts) > timestamp("2000-01-01T00:00:00Z")'))
async def note(_event: Event) -> None: ...


async def test_an_event_starts_what_its_content_asks_for() -> None:
    async with TestEngine(workflows=[thank, note]) as engine:
        await engine.send(
            Event("shop/paid", {"cents": 1000, "tags": ["vip"]}, id="e-1"),  # both, and one run each
            Event("shop/paid", {"cents": 999}),
            Event("shop/sent", {"cents": 1000}),
            Event("shop/sent", {"tags": ["new", "vip"]}),
        )
        await engine.settle()
        runs = await engine.list_runs()
        assert sorted((run.workflow, run.status) for run in runs) == [
            ("note", "SUCCEEDED"),
            ("thank", "SUCCEEDED"),
            ("thank", "SUCCEEDED"),
        ]
