"""Two of three have to agree before a release goes out, and they have a day to do so.

    durably dev examples/quorum.py
    durably start release '{"version": "2.0", "approvers": ["ada", "bob", "cleo"]}' --run-id r-1
    durably signal r-1 vote '{"by": "ada", "yes": true}'
    durably signal r-1 vote '{"by": "bob", "yes": true}'

Everybody has one vote and may change it. Whoever is not asked has none.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from durably import step, wait_for_signal, workflow

A_DAY = timedelta(days=1)


@dataclass
class Vote:
    by: str
    yes: bool


@step
async def ask_for_vote(approver: str, version: str) -> None:
    print(f"{approver}: shall we release {version}?")


@step
async def roll_out(version: str) -> None:
    print(f"{version} is out")


async def decision(approvers: list[str]) -> bool:
    needed = len(approvers) // 2 + 1
    votes: dict[str, bool] = {}
    while max(yes := sum(votes.values()), len(votes) - yes) < needed:
        vote = await wait_for_signal("vote", type=Vote)
        if vote.data.by in approvers:
            votes[vote.data.by] = vote.data.yes
    return yes >= needed


@workflow
async def release(version: str, approvers: list[str]) -> str:
    await asyncio.gather(*(ask_for_vote(each, version) for each in approvers))
    try:
        async with asyncio.timeout(A_DAY.total_seconds()):
            agreed = await decision(approvers)
    except TimeoutError:
        return "nobody decided"
    if not agreed:
        return "turned down"
    await roll_out(version)
    return "released"
