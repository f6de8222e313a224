"""A shop's back office with bad habits, for order_fulfilment.py to call: `python examples/shop.py [PORT]`.

Every payment is told "503, come back in a second" once. Parcels to "nowhere" always fail, and unicorns are
sold out. A request that comes again with its Idempotency-Key gets the first one's answer and does nothing.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count

from aiohttp import web

PORT = 8485


class Shop:
    """What is held, paid and sent: by id, what was asked for. `GET /` shows it."""

    def __init__(self) -> None:
        self.books: dict[str, dict[str, object]] = {"reservations": {}, "payments": {}, "parcels": {}}
        self._ids = count(1)
        self._answers: dict[str, str] = {}
        self._put_off: set[str] = set()

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [web.get("/", self.show), web.post("/{book}", self.create), web.delete("/{book}/{id}", self.undo)]
        )
        return app

    async def show(self, _: web.Request) -> web.Response:
        return web.json_response(self.books)

    async def create(self, request: web.Request) -> web.Response:
        book, key = request.match_info["book"], request.headers["Idempotency-Key"]
        asked_for = await request.json()
        if book == "payments" and key not in self._put_off:
            self._put_off.add(key)
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "1"})
        if asked_for.get("sku") == "unicorn":
            raise web.HTTPConflict(text="sold out")
        if asked_for.get("address") == "nowhere":
            raise web.HTTPInternalServerError(text="the van came back")
        if key not in self._answers:
            self._answers[key] = f"{book[:-1]}-{next(self._ids)}"
            self.books[book][self._answers[key]] = asked_for
        return web.json_response({"id": self._answers[key]})

    async def undo(self, request: web.Request) -> web.Response:
        self.books[request.match_info["book"]].pop(request.match_info["id"], None)
        return web.json_response({})


@asynccontextmanager
async def open_shop(port: int = PORT, shop: Shop | None = None) -> AsyncGenerator[str]:
    """The shop on 127.0.0.1, until the end of the block; its URL. Port 0 is any."""
    runner = web.AppRunner((shop or Shop()).app())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    web.run_app(Shop().app(), host="127.0.0.1", port=int(sys.argv[1]) if sys.argv[1:] else PORT)
