"""Letters for a trial, days apart, until the customer buys or the trial is over.

    durably dev examples/drip.py
    durably send trial/started '{"email": "ada@example.com"}'
    durably send trial/upgraded '{"email": "ada@example.com", "plan": "pro"}'

The second event wakes the run with the same `data.email`, and no other. A day takes five seconds here.
"""

from datetime import timedelta

from durably import Event, step, wait_for_event, workflow

DAY = timedelta(seconds=5)  # in earnest: timedelta(days=1)
LETTERS = [(1 * DAY, "three things to try"), (3 * DAY, "what others do with it"), (7 * DAY, "half price, until Friday")]


@step
async def send_mail(email: str, letter: str) -> None:
    print(f"to {email}: {letter}")


@workflow(on="trial/started")
async def nurture(trial: Event) -> str:
    email: str = trial.data["email"]
    await send_mail(email, "welcome")
    for pause, letter in LETTERS:
        if upgraded := await wait_for_event("trial/upgraded", match="data.email", timeout=pause):
            await send_mail(email, "thank you")
            return f"bought {upgraded.data['plan']}"
        await send_mail(email, letter)
    return "did not buy"
