"""What `make run` serves: the workflows of all examples in one engine, and the shop that one calls."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from urllib.parse import urlsplit

from aiohttp import ClientSession

from durably import Engine
from examples.agent import assist
from examples.billing import billing as bill_everybody  # `billing` is the module
from examples.chat import talk
from examples.clicks import record_click
from examples.documents import index
from examples.drip import nurture
from examples.hello import onboard
from examples.order_fulfilment import SHOP, fulfil
from examples.quorum import release
from examples.quotes import first_quote
from examples.shop import PORT, open_shop
from examples.subscription import subscribe
from examples.trip import book_trip

OPENS_AFTER_S = 2


@asynccontextmanager
async def lifespan() -> AsyncGenerator[Mapping[type, object]]:
    """What steps find by `current().resource(…)`, for as long as the engine runs. The shop opens late."""
    async with AsyncExitStack() as stack, ClientSession() as session:

        async def open_late() -> None:
            await asyncio.sleep(OPENS_AFTER_S)
            with suppress(OSError):  # somebody runs `python examples/shop.py` already
                await stack.enter_async_context(open_shop(urlsplit(SHOP).port or PORT))

        opening = asyncio.create_task(open_late())
        yield {ClientSession: session}
        opening.cancel()


engine = Engine(
    workflows=[
        *(onboard, fulfil, record_click),
        *(assist, bill_everybody, book_trip, first_quote, index, nurture, release, subscribe, talk),
    ],
    lifespan=lifespan,
)
