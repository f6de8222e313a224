"""The second seed's published Python SDK as a client: it sends its events here as it does to its own server."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import anyio.to_thread
import httpx
import inngest
import pytest
from aiohttp import web
from inngest._internal.errors import SendEventsError  # which it raises, and exports nowhere

pytestmark = pytest.mark.anyio

CREATED = inngest.Event(name="app/user.created", data={"email": "a@b.c"})


ClientOf = Callable[..., inngest.Inngest]


@pytest.fixture
async def client_of() -> AsyncIterator[ClientOf]:
    """Makes clients of a server. They have no way to close their connections, so that their inside is closed here."""
    clients: list[Any] = []

    def make(url: str, *, production: bool = True, **options: Any) -> inngest.Inngest:
        clients.append(
            inngest.Inngest(
                app_id="shop", event_api_base_url=url, event_key="any-key", is_production=production, **options
            )
        )
        made: inngest.Inngest = clients[-1]
        return made

    yield make
    for client in clients:
        client._http_client._http_client_sync.close()
        await client._http_client._http_client.aclose()


async def send(client: inngest.Inngest, events: Any, *, sync: bool) -> list[str]:
    if sync:
        return await anyio.to_thread.run_sync(client.send_sync, events)
    return await client.send(events)


SYNC = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])


@SYNC
@pytest.mark.parametrize("production", [False, True])
async def test_a_single_event_is_sent_and_starts_its_run(
    api: Any, client_of: ClientOf, sync: bool, production: bool
) -> None:
    [event_id] = await send(client_of(api.server.url, production=production), CREATED, sync=sync)
    [run] = await api.engine.list_runs()
    assert (run.workflow, run.event, run.event_id) == ("onboard", "app/user.created", event_id)
    assert await (await api.engine.get_run(run.id)).result(timeout=30) == {"email": "a@b.c"}


@SYNC
async def test_events_are_sent_together(api: Any, client_of: ClientOf, sync: bool) -> None:
    events = [inngest.Event(name="app/user.created", id=f"e{n}", data={"n": n}, ts=1_767_225_600_000) for n in range(3)]
    ids = await send(client_of(api.server.url), [*events, CREATED], sync=sync)
    assert ids[:3] == ["e0", "e1", "e2"]
    assert len(set(ids)) == 4
    assert {run.event_id for run in await api.engine.list_runs()} == set(ids)


@SYNC
async def test_the_same_id_starts_nothing_again(api: Any, client_of: ClientOf, sync: bool) -> None:
    event = inngest.Event(name="app/user.created", id="once", ts=1_767_225_600_000)
    for _ in range(2):
        assert await send(client_of(api.server.url), event, sync=sync) == ["once"]
    assert len(await api.engine.list_runs()) == 1


@SYNC
async def test_a_refusal_is_its_error(api: Any, client_of: ClientOf, sync: bool) -> None:
    bad = inngest.Event(name="app/user.created", data={"x": "y" * 600_000})
    with pytest.raises(SendEventsError, match=r"event 1: the event takes 600,\d+ bytes") as refused:
        await send(client_of(api.server.url), [CREATED, bad], sync=sync)
    assert refused.value.ids == []
    assert await api.engine.list_runs() == []


class ForgetfulProxy:
    """Takes every request to the server, and loses the first answer."""

    def __init__(self, server: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.requests = 0
        self._server = server
        self._session = session

    async def forward(self, request: web.Request) -> web.Response:
        self.requests += 1
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        async with self._session.post(
            self._server + request.path, data=await request.read(), headers=headers
        ) as answer:
            content = await answer.read()
        return web.Response(status=502) if self.requests == 1 else web.Response(body=content, status=answer.status)


@pytest.fixture
async def proxy(api: Any) -> AsyncIterator[ForgetfulProxy]:
    proxy = ForgetfulProxy(api.server.url, api.session)
    app = web.Application()
    app.router.add_post("/{path:.*}", proxy.forward)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield proxy
    await runner.cleanup()


@SYNC
async def test_what_it_tries_again_starts_nothing_again(
    api: Any, client_of: ClientOf, proxy: ForgetfulProxy, sync: bool
) -> None:
    """Its `x-inngest-event-id-seed` is the same at each try, and so are the ids that are made from it."""
    ids = await send(client_of(proxy.url), [CREATED, CREATED], sync=sync)
    assert proxy.requests == 2
    assert len(set(ids)) == 2
    assert sorted(run.event_id for run in await api.engine.list_runs()) == sorted(ids)


async def test_ids_are_made_from_the_seed_and_the_place(api: Any) -> None:
    async def ids(seed: str | None, *events: Any) -> list[str]:
        headers = {} if seed is None else {"x-inngest-event-id-seed": seed}
        answer = await api.post("/e/k", json=list(events), headers=headers)
        assert answer.status == 200
        found: list[str] = answer.json["ids"]
        return found

    event, other = {"name": "a"}, {"name": "b"}
    once = await ids("1700000000000,AAECAwQFBgcICQ==", event, other)
    assert await ids("1700000000000,AAECAwQFBgcICQ==", event, other) == once
    assert once[0] != once[1]
    assert set(await ids("1700000000001,AAECAwQFBgcICQ==", event, other)).isdisjoint(once)
    assert set(await ids(None, event, other)).isdisjoint(once)
    assert set(await ids("", event, other)).isdisjoint(once)
    own = await ids("1700000000000,AAECAwQFBgcICQ==", event, {"name": "b", "id": "own"})
    assert own == [once[0], "own"]


async def test_the_environment_it_names_is_not_looked_at(api: Any, client_of: ClientOf) -> None:
    """It takes it from variables of some hosting services by itself; what an event belongs to follows from the key."""
    await client_of(api.server.url, env="feature-branch").send(CREATED)
    [run] = await api.engine.list_runs()
    assert run.environment == "production"


async def test_a_server_that_cannot_take_it_now_is_asked_again(stubborn_api: Any, client_of: ClientOf) -> None:
    """It tries again after 503. Its waits are its own: 0.1 s, doubling."""
    api, store = stubborn_api, stubborn_api.engine.stubborn
    store.failing = True
    answered: list[int] = []

    def note(response: httpx.Response) -> None:
        answered.append(response.status_code)
        store.failing = False

    client: Any = client_of(api.server.url)
    client._http_client._http_client_sync.event_hooks = {"response": [note]}
    [event_id] = await anyio.to_thread.run_sync(client.send_sync, CREATED)
    assert answered[0] == 503
    assert answered[-1] == 200
    assert [run.event_id for run in await api.engine.list_runs()] == [event_id]
