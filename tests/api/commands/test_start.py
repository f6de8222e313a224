"""Waiting for a run's end, whatever becomes of the server meanwhile."""

import asyncio
from typing import Any

import pytest

from durably.api.commands.start import until_end
from durably.api.remote import Refused, Remote

pytestmark = pytest.mark.anyio


async def test_a_store_that_cannot_be_written_is_waited_for(
    stubborn_api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"seconds": 0.05}
    async with Remote(stubborn_api.server.url) as remote:
        info = await remote.start("nap", given, "n", test=False, wait=False)
        stubborn_api.engine.stubborn.failing = True  # the end of the nap cannot be stored: then it is 503
        with pytest.raises(Refused):
            await remote.start("nap", given, "m", test=False, wait=False)
        waiting = asyncio.ensure_future(until_end(remote, info, given))
        said = ""
        while "is waited for" not in said:
            await asyncio.sleep(0.01)
            said += capsys.readouterr().err
        stubborn_api.engine.stubborn.failing = False
        assert (await waiting).output == "awake"
    assert "the store cannot be written just now" in said
