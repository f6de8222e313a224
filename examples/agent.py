"""An agent: a model asks for tools, the tools run side by side, and money moves only when a human says so.

    durably dev examples/agent.py
    durably start assist '{"task": "Order o-7 came broken. Make it good."}' --run-id a-1
    durably signal a-1 approve '{"by": "ada", "yes": true}'
    durably show a-1

Kill the server wherever you like: no answer of the model is paid for twice, and waiting for Ada costs nothing.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from durably import RetryPolicy, Step, StepError, publish, step, wait_for_signal, workflow

PATIENCE = timedelta(days=7)
MAX_TURNS = 10


@dataclass
class ToolCall:
    tool: str
    argument: str


@dataclass
class Reply:
    text: str
    calls: list[ToolCall] = field(default_factory=list[ToolCall])


@dataclass
class Approval:
    by: str
    yes: bool


@step(retry=RetryPolicy(5, delay=2), timeout=60)
async def ask_model(conversation: list[str]) -> Reply:
    """Your provider's client goes here. This model has one idea a turn."""
    match len(conversation):
        case 1:
            return Reply("Let me look.", [ToolCall("find_order", "o-7"), ToolCall("find_policy", "broken goods")])
        case 4:
            return Reply("That is due a refund.", [ToolCall("refund", "o-7")])
        case _:
            return Reply(f"Done. {conversation[-1]}")


@step
async def find_order(order: str) -> str:
    return f"{order}: one vase, 30.00, delivered"


@step
async def find_policy(topic: str) -> str:
    return f"{topic}: refund in full"


@step
async def refund(order: str) -> str:
    print(f"refunding {order}")
    return f"{order} is refunded"


TOOLS: Mapping[str, Step[[str], str]] = {"find_order": find_order, "find_policy": find_policy, "refund": refund}
NEED_A_HUMAN = {"refund"}


async def approved(call: ToolCall) -> bool:
    await publish({"waiting for": "approve", "tool": call.tool, "argument": call.argument})
    approval = await wait_for_signal("approve", type=Approval, timeout=PATIENCE)
    return approval is not None and approval.data.yes


async def use(call: ToolCall) -> str:
    """What the model gets to read; a tool that fails is news like any other."""
    if call.tool in NEED_A_HUMAN and not await approved(call):
        return f"{call.tool} was not approved"
    try:
        return await TOOLS[call.tool](call.argument)
    except StepError as error:
        return f"{call.tool} failed: {error.message}"


@workflow
async def assist(task: str) -> str:
    conversation = [task]
    for _ in range(MAX_TURNS):
        reply = await ask_model(conversation)
        if not reply.calls:
            return reply.text
        conversation.append(reply.text)
        conversation += await asyncio.gather(*(use(call) for call in reply.calls))
    return "I give up."
