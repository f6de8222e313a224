"""The program that `test_faults.py` runs under strace: appends to one log and reports what it was told.

    python fault_scenario.py STORE REPORT RECORDS [BUG]

It writes one line for each thing it learns, to a file that the store does not know: `acked 3` (record 3 is
committed), `unknown 3`, `truth 3` (opened or reopened, the log ends at record 3), `refused 3`, and at last
`end`, or `gone` when the store could not be opened or reopened.

BUG plants one of the mistakes the tests have to find: `early` acknowledges before the commit, `deny` takes an
unknown outcome for a refusal, `off` commits without fsync.
"""

import asyncio
import os
import sys
from pathlib import Path
from types import ModuleType

# The store alone: to import all of Durably in some hundred processes would take longer than the tests.
durably = ModuleType("durably")
durably.__path__ = [str(Path(__file__).parents[2] / "src" / "durably")]
sys.modules["durably"] = durably

from durably.store.errors import StoreFailure  # noqa: E402 - behind the above
from durably.store.rows import Append, LogRow, Operation, Result, RunRow  # noqa: E402
from durably.store.sqlite import SqliteStore, connection  # noqa: E402

RUN = RunRow(run=1, id="run-1", workflow="w", version=1, trigger="MANUAL", environment="production")


def group(seq: int) -> Append:
    return Append(1, [LogRow(1, seq, 0, b"{}")], created=RUN if seq == 1 else None)


async def submit(store: SqliteStore, operation: Operation) -> list[Result] | StoreFailure:
    answer: asyncio.Future[list[Result] | StoreFailure] = asyncio.get_running_loop().create_future()
    store.submit([operation], answer.set_result)
    return await answer


class Scenario:
    def __init__(self, store: SqliteStore, report: int, bug: str) -> None:
        self.store = store
        self.report = report
        self.bug = bug

    def say(self, line: str) -> None:
        os.write(self.report, f"{line}\n".encode())

    async def play(self, records: int) -> None:
        last: int | None = await self.truth()
        while last is not None and last < records:
            last = await self.append(last + 1)
        await self.store.close()
        self.say("gone" if last is None else "end")

    async def append(self, seq: int) -> int | None:
        """The number of the log's last record as far as is known; None when the store is gone."""
        if self.bug == "early":
            self.say(f"acked {seq}")
        outcome = await submit(self.store, group(seq))
        if outcome == [None]:
            if self.bug != "early":
                self.say(f"acked {seq}")
            return seq
        if isinstance(outcome, list):
            self.say(f"refused {seq}")
            return None
        self.say(f"unknown {seq}")
        if self.bug == "deny":
            self.say(f"truth {seq - 1}")
            self.say("end")
            os._exit(0)
        for _ in range(2):
            try:
                await self.store.reopen()
                return await self.truth()
            except StoreFailure:
                continue
        return None

    async def truth(self) -> int:
        records = (await self.store.records([1])).get(1, [])
        self.say(f"truth {len(records)}")
        return len(records)


async def main(path: str, report: str, records: str, bug: str = "") -> None:
    if bug == "off":
        connection.SETTINGS = ("PRAGMA synchronous = OFF",)
    store = SqliteStore(path)
    scenario = Scenario(store, os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND), bug)
    try:
        await store.open()
    except StoreFailure:
        scenario.say("gone")
        return
    await scenario.play(int(records))


asyncio.run(main(*sys.argv[1:]))
