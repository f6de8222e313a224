"""The workflow of the README: two steps, and a wait between them that outlives the process."""

import asyncio

from durably import Event, RetryPolicy, step, workflow


@step
async def create_account(email: str) -> str:
    print(f"creating an account for {email}")
    return email.partition("@")[0]


@step(retry=RetryPolicy(5, delay=0.5))
async def send_mail(account: str) -> str:
    print(f"sending mail to {account}")
    return f"welcome, {account}"


@workflow(on="app/user.created")
async def onboard(event: Event) -> str:
    account = await create_account(event.data["email"])
    await asyncio.sleep(15)  # or a week: time to kill the server
    return await send_mail(account)
