"""Waiting for a run's end, whatever becomes of the server meanwhile."""

import asyncio
from typing import Any

import pytest

from durably import Engine, continue_as_new, workflow
from durably.api.client.remote import Remote
from durably.api.commands.start import until_end
from durably.api.server import serve

pytestmark = pytest.mark.anyio


@workflow
async def count_down(left: int) -> str:
    if left:
        continue_as_new(left - 1)
    return "done"


async def test_a_server_that_has_gone_is_waited_for(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async with Remote(api.server.url) as remote:
        info = await remote.start("nap", {"seconds": 0.05}, "n")
        await api.server.close()
        waiting = asyncio.ensure_future(until_end(remote, info))
        said = ""
        while "run n is waited for" not in said:
            await asyncio.sleep(0.01)
            said += capsys.readouterr().err
        async with await serve(api.engine, port=api.server.port):
            assert (await waiting).output == "awake"
    assert "nothing answers at" in said
    assert "is waited for" not in capsys.readouterr().err, "it is said once"


async def test_a_run_is_followed_to_where_it_goes_on(launch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api = await launch(Engine("memory://", workflows=[count_down]))
    async with Remote(api.server.url) as remote:
        info = await until_end(remote, await remote.start("count_down", {"left": 2}, "c"))
    assert info.output == "done"
    assert capsys.readouterr().err.count("goes on as") == 2
