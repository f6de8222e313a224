"""A chat that lives for as long as somebody talks: signals come in, what it answers is published.

    durably dev examples/chat.py
    durably start talk '{}' --run-id c-1
    curl -N http://127.0.0.1:8484/api/v1/workflow-runs/c-1/stream
    durably signal c-1 say '"hello"'

After 50 messages it goes on as a new run that remembers the last ten lines, so that no history grows without end.
Signals sent meanwhile, and those still sent to the first run, go on with it.
"""

from collections.abc import Sequence
from datetime import timedelta

from durably import continue_as_new, publish, step, wait_for_signal, workflow

IDLE = timedelta(minutes=30)
REMEMBERED = 10


@step
async def answer(conversation: list[str]) -> str:
    """Your model goes here."""
    return f"{conversation[-1]}? Tell me more."


@workflow
async def talk(remembered: Sequence[str] = (), messages: int = 50) -> str:
    conversation = list(remembered)
    left = messages
    while said := await wait_for_signal("say", type=str, timeout=IDLE):
        conversation.append(said.data)
        reply = await answer(conversation)
        conversation.append(reply)
        await publish({"reply": reply}, topic="chat")
        left -= 1
        if not left:
            continue_as_new(conversation[-REMEMBERED:], messages)
    await publish({"bye": "nobody is there any more"}, topic="chat")
    return f"ended after: {conversation[-1]}" if conversation else "nobody came"
