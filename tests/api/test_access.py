"""Who may do what: every operation of the table with every kind of key, and what one environment sees of another."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from anyio.lowlevel import checkpoint

from durably import Engine, Event, RunFailed
from durably.api.access import administration_of
from durably.api.app import make_app
from durably.api.operations import OPERATIONS, Operation
from durably.engine.access.keys import NewKey, Scope, new_key
from durably.store import DocumentRow, MemoryStore, RunQuery, Store, StoreUnavailable
from durably.store.runtime import SystemRandomness

pytestmark = pytest.mark.anyio

CANARY = "c4n4ry-of-production"
"""In whatever belongs to the environment production."""
OF_ENVIRONMENTS = ("/api/v1/bulk-operations/{id}", "/api/v1/runs/{id}", "/api/v1/workflow-runs/{id}")
"""What these addresses lead to, and what is below, belongs to an environment."""
OF_ALL = (
    "/api/v1/destinations/{id}",
    "/api/v1/environments/{id}",
    "/api/v1/jobs/{id}",
    "/api/v1/keys/{id}",
    "/api/v1/retry-policies/{id}",
    "/api/v1/workflows/{name}",
)
"""What these lead to belongs to all."""
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
KINDS = ("none", "unknown", "revoked", "expired", *SCOPES)


def operations() -> list[Operation]:
    return list(make_app(Engine("memory://"))[OPERATIONS].values())


EVERY = pytest.mark.parametrize(
    "operation", [pytest.param(each, id=f"{each.method} {each.path}") for each in operations()]
)


async def make(engine: Engine, scope: Scope = "read", environment: str = "production", **times: Any) -> str:
    """A key that is in the store; `now_us` and `expires_us` are when."""
    made: NewKey = new_key(
        f"{scope}-{environment}",
        scope,
        environment,
        now_us=times.get("now_us", engine.core.clock.now_us()),
        expires_us=times.get("expires_us"),
        randomness=SystemRandomness(),
    )
    await engine.core.documents.save(made.row)
    return made.text


async def make_all(engine: Engine) -> dict[str, str]:
    """A key of each kind. One that nobody made is none of the store's."""
    stranger = new_key("x", "admin", "production", now_us=0, expires_us=None, randomness=SystemRandomness())
    revoked = await make(engine, "admin")
    await administration_of(engine).revoke_key(revoked.split("_")[1])
    return {
        "unknown": stranger.text,
        "revoked": revoked,
        "expired": await make(engine, "admin", now_us=0, expires_us=1),
        "read": await make(engine, "read"),
        "write": await make(engine, "write"),
        "admin": await make(engine, "admin"),
    }


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


async def ask(api: Any, operation: Operation, key: str | None, *, id: str = "x") -> Any:  # noqa: A002 - the path's
    """Ask for that operation, about what has this id."""
    path = operation.path.replace("{key}", key or "x").replace("{rest:.*}", "x").replace("{name}", "greet")
    path = path.replace("{id}", id)
    headers = {} if "{key}" in operation.path else bearer(key)
    method = operation.method.replace("*", "GET")
    body: dict[str, Any] = {} if method in {"GET", "DELETE"} else {"json": {}}
    return await api(method, path, headers=headers, **body)


def expected(operation: Operation, kind: str) -> int | None:
    """The refusal that is due; None: it may pass."""
    if operation.scope == "open":
        return None
    if kind not in SCOPES:
        return 401
    return None if SCOPES.index(kind) >= SCOPES.index(operation.scope) else 403


@EVERY
async def test_every_operation_with_every_kind_of_key(api: Any, operation: Operation) -> None:
    keys = await make_all(api.engine)
    wrong: list[str] = []
    for kind in KINDS:
        answer = await ask(api, operation, keys.get(kind))
        refused = answer.status if answer.status in {401, 403} else None
        if refused != expected(operation, kind):
            wrong.append(f"{kind}: {answer.status} and not {expected(operation, kind) or 'taken'}")
        if refused is not None:
            assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="durably"')
        assert not [kind for kind, key in keys.items() if key in answer.text]
    assert not wrong


@EVERY
async def test_no_operation_needs_a_key_while_none_was_made(api: Any, operation: Operation) -> None:
    assert (await ask(api, operation, None)).status not in {401, 403}


def test_each_resource_is_known_to_belong_to_an_environment_or_to_all() -> None:
    """A new one has to be put into one of the lists above, and is tested by that."""
    resources = {each.path for each in operations() if "{id}" in each.path or "{name}" in each.path}
    assert not [path for path in resources if not path.startswith((*OF_ENVIRONMENTS, *OF_ALL))]


# -- environments


class Foreign(NamedTuple):
    """What is in production, and keys of staging."""

    ids: Mapping[str, Sequence[str]]
    """Of what belongs to production, by the path of the collection."""
    keys: Mapping[str, str]

    def of(self, operation: Operation) -> Sequence[str]:
        """What an operation can be about."""
        return self.ids.get(operation.path.partition("/{")[0], ["x"])

    @property
    def runs(self) -> Sequence[str]:
        return self.ids["/api/v1/workflow-runs"]


@pytest.fixture
async def foreign(api: Any) -> Foreign:
    engine: Engine = api.engine
    ended = await engine.start("greet", CANARY)
    await ended.result(timeout=30)
    waiting = await engine.start("nap", run_id="waiting")
    await engine.send(Event("app/user.created", {"email": CANARY}, id=f"{CANARY}-event"))
    job = {
        "name": "a job",
        "configuration": {"url": "http://127.0.0.1:9/"},  # which jobs may not reach
        "environments": {"production": {"enabled": True, "body": CANARY}},
    }
    await create(api, "/api/v1/jobs", {"type": "job", "id": "job", "attributes": job}, 201)
    run = await create(api, "/api/v1/jobs/job/actions/run", None, 200)
    bulk = {"action": "rerun", "filter": {"workflow": [CANARY]}}
    operation = await create(api, "/api/v1/bulk-operations", {"type": "bulk_operation", "attributes": bulk}, 201)
    for each in (run, operation):
        with suppress(RunFailed):
            await (await engine.get_run(each)).result(timeout=30)
    while (await waiting.info()).phase != "sleeping":
        await checkpoint()
    ids = {
        "/api/v1/workflow-runs": [ended.id, waiting.id, run, operation],
        "/api/v1/runs": [run],
        "/api/v1/bulk-operations": [operation],
        "/api/v1/jobs": ["job"],
    }
    keys = {scope: await make(engine, scope, "staging") for scope in SCOPES}
    return Foreign(ids, keys)


async def create(api: Any, path: str, data: Any, status: int) -> str:
    """Create something; its id."""
    answer = await api.post(path, json={} if data is None else {"data": data})
    assert answer.status == status, answer.text
    created: str = answer.json["data"]["id"]
    return created


async def histories(api: Any, foreign: Foreign) -> list[str]:
    return [(await (await api.engine.get_run(run)).history()).to_json() for run in foreign.runs]


async def count_runs(api: Any) -> int:
    store = api.engine.core.store
    counted = [await store.tally(RunQuery(environment=("production",), job=job), 0) for job in (None, ())]
    return sum(number for tally in counted for _, _, number in tally)


@EVERY
@pytest.mark.parametrize("scope", ["read", "write"])
async def test_one_environment_sees_and_changes_nothing_of_another(
    api: Any, foreign: Foreign, operation: Operation, scope: str
) -> None:
    before, count = await histories(api, foreign), await count_runs(api)
    for each in foreign.of(operation):
        answer = await ask(api, operation, foreign.keys[scope], id=each)
        assert CANARY not in answer.text
        if operation.path.startswith(OF_ENVIRONMENTS):
            assert answer.status == (expected(operation, scope) or 404)
    assert await histories(api, foreign) == before
    assert await count_runs(api) == count


@pytest.mark.parametrize("path", [path.partition("/{")[0] for path in OF_ENVIRONMENTS])
async def test_what_is_hidden_is_there(api: Any, foreign: Foreign, path: str) -> None:
    """What others do not see has the canary in it: an admin key gets it, of each and in the list."""
    headers = bearer(foreign.keys["admin"])
    assert CANARY in (await api.get(path, headers=headers)).text
    assert CANARY in (await api.get(f"{path}/{foreign.ids[path][0]}", headers=headers)).text


async def test_a_bulk_operation_reaches_the_environment_of_the_key_only(api: Any, foreign: Foreign) -> None:
    """The table of operations has no body for it."""
    attributes = {"action": "cancel", "filter": {"workflow": ["nap"], "environment": ["production"]}}
    document = {"data": {"type": "bulk_operation", "attributes": attributes}}
    headers = bearer(foreign.keys["write"])
    for path in ("/api/v1/bulk-operations/actions/preview", "/api/v1/bulk-operations"):
        answer = await api.post(path, json=document, headers=headers)
        assert answer.json["data"]["attributes"]["total"] == 0
    [own] = (await api.get("/api/v1/bulk-operations", headers=headers)).json["data"]
    await (await api.engine.get_run(own["id"])).result(timeout=30)
    assert (await (await api.engine.get_run("waiting")).info()).phase == "sleeping"


async def test_an_admin_key_sees_all(api: Any, foreign: Foreign) -> None:
    headers = bearer(foreign.keys["admin"])
    assert CANARY in (await api.get("/api/v1/workflow-runs", headers=headers)).text
    assert CANARY in (await api.get(f"/api/v1/workflow-runs/{foreign.runs[0]}/history", headers=headers)).text


async def test_a_filter_by_environment_does_not_widen_what_is_seen(api: Any, foreign: Foreign) -> None:
    await api.post("/e/k", json={"name": "app/user.created"}, headers=bearer(foreign.keys["write"]))
    for asked, environments in [("", {"staging"}), ("staging", {"staging"}), ("production", set[str]())]:
        query = f"?filter[environment]={asked}" if asked else ""
        found = await api.get(f"/api/v1/workflow-runs{query}", headers=bearer(foreign.keys["read"]))
        assert {run["attributes"]["environment"] for run in found.json["data"]} == environments
    both = await api.get(
        "/api/v1/workflow-runs?filter[environment]=staging,production", headers=bearer(foreign.keys["read"])
    )
    assert {run["attributes"]["environment"] for run in both.json["data"]} == {"staging"}


async def test_what_a_key_starts_and_sends_belongs_to_its_environment(api: Any, foreign: Foreign) -> None:
    for scope in ("write", "admin"):
        headers = bearer(foreign.keys[scope])
        started = await api.post("/api/v1/workflows/nap/actions/run", json={}, headers=headers)
        assert (started.status, started.json["data"]["attributes"]["environment"]) == (201, "staging")
        sent = await api.post("/api/v1/events", json={"name": "app/user.left"}, headers=headers)
        [run] = [run for run in await api.engine.list_runs(limit=100) if run.event_id == sent.json["ids"][0]]
        assert run.environment == "staging"
        run_id = started.json["data"]["id"]
        assert (await api.get(f"/api/v1/workflow-runs/{run_id}", headers=bearer(foreign.keys["read"]))).status == 200


@pytest.mark.parametrize(
    ("scope", "environment", "status"),
    [
        ("write", "staging", 201),
        ("write", "production", 403),
        ("write", "nowhere", 403),
        ("admin", "production", 201),
        ("admin", "nowhere", 400),
    ],
)
async def test_who_may_start_elsewhere(api: Any, foreign: Foreign, scope: str, environment: str, status: int) -> None:
    body = {"environment": environment}
    answer = await api.post("/api/v1/workflows/nap/actions/run", json=body, headers=bearer(foreign.keys[scope]))
    assert answer.status == status
    if status != 201:
        assert answer.error["source"] == {"pointer": "/environment"}


async def test_a_run_id_of_another_environment_tells_nothing(api: Any, foreign: Foreign) -> None:
    body = {"run_id": foreign.runs[0], "input": {"name": CANARY}}
    answer = await api.post("/api/v1/workflows/greet/actions/run", json=body, headers=bearer(foreign.keys["write"]))
    assert answer.status == 409
    assert CANARY not in answer.text


async def test_event_ids_count_in_the_environment_of_the_key(api: Any) -> None:
    event = {"name": "app/user.created", "id": "once"}
    keys = [await make(api.engine, "write", environment) for environment in ("production", "staging", "staging")]
    for key in keys:
        assert (await api.post(f"/e/{key}", json=event)).json["ids"] == ["once"]
    assert sorted(run.environment for run in await api.engine.list_runs()) == ["production", "staging"]


# -- keys


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "wants an API key"),
        ({"Authorization": ""}, "another kind than Bearer"),
        ({"Authorization": "Basic eDp5"}, "another kind than Bearer"),
        ({"Authorization": "Bearer"}, "not known"),
        ({"Authorization": "Bearer "}, "not known"),
        ({"Authorization": "Bearer dk_x_y"}, "not known"),
        ({"Authorization": "Bearer \xff\xfe"}, "not known"),
        ({"X-Api-Key": "dk_x_y"}, "wants an API key"),
    ],
)
async def test_what_is_no_key(api: Any, headers: Any, says: str) -> None:
    await make(api.engine)
    answer = await api.get("/api/v1/workflows", headers=headers)
    assert (answer.status, answer.error["code"]) == (401, "unauthorized")
    assert says in answer.error["detail"]


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {} "])
async def test_the_ways_to_show_a_key(api: Any, form: str) -> None:
    key = await make(api.engine)
    assert (await api.get("/api/v1/workflows", headers={"Authorization": form.format(key)})).status == 200


async def test_an_event_route_takes_the_key_in_its_address_or_in_the_header(api: Any) -> None:
    write, read = await make(api.engine, "write"), await make(api.engine, "read")
    event = {"name": "a"}
    assert (await api.post(f"/e/{write}", json=event)).status == 200
    assert (await api.post("/e/any", json=event, headers=bearer(write))).status == 200
    for path, key, status in [("/e/any", None, 401), (f"/e/{write}", "dk_x", 401), (f"/e/{read}", None, 403)]:
        answer = await api.post(path, json=event, headers=bearer(key))
        assert (answer.status, answer.json["status"], answer.json["ids"]) == (status, status, [])
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_scope_that_is_too_small_is_told_with_the_one_that_is_needed(api: Any) -> None:
    answer = await api.get("/api/v1/keys", headers=bearer(await make(api.engine, "write")))
    assert answer.error["detail"] == "this needs a key with scope admin, and key 'write-production' has scope write"
    assert answer.error["meta"] == {"scope": "admin"}
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="durably", error="insufficient_scope", scope="admin"'


async def test_revocation_and_expiry_hold_from_the_next_request_on(api: Any) -> None:
    now_us = api.engine.core.clock.now_us
    key, other = await make(api.engine, "read"), await make(api.engine, "read", expires_us=now_us() + 60_000_000)
    for each in (key, other):
        assert (await api.get("/api/v1/workflows", headers=bearer(each))).status == 200
    await administration_of(api.engine).revoke_key(key.split("_")[1])
    answer = await api.get("/api/v1/workflows", headers=bearer(key))
    assert (answer.status, "was revoked" in answer.error["detail"]) == (401, True)
    api.engine.core.clock._offset_us += 60_000_000
    answer = await api.get("/api/v1/workflows", headers=bearer(other))
    assert (answer.status, "expired at" in answer.error["detail"]) == (401, True)


async def test_the_last_key_that_is_revoked_opens_no_door(api: Any) -> None:
    key = await make(api.engine, "admin")
    await administration_of(api.engine).revoke_key(key.split("_")[1])
    assert (await api.get("/api/v1/workflows")).status == 401


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/metrics", "/nowhere", "/api/v1/nothing", "/e/x"])
async def test_nothing_but_health_is_told_without_a_key(api: Any, path: str) -> None:
    key = await make(api.engine)
    answer = await api.get(path)
    assert answer.status == 401
    assert (await api.get(path, headers=bearer(key))).status not in {401, 403}
    for health in ("/health/live", "/health/ready"):
        assert (await api.get(health)).status == 200
        assert (await api.get(health, headers=bearer("dk_x"))).status == 200


async def test_with_a_key_any_host_and_origin_may_ask(api: Any) -> None:
    """A page of another site does not have it, and behind a proxy the name is another one."""
    key = await make(api.engine)
    headers = {"Host": "durably.example", "Origin": "https://shop.example"}
    assert (await api.get("/api/v1/workflows", headers=headers | bearer(key))).status == 200
    assert (await api.get("/api/v1/workflows", headers=headers)).status == 401
    assert (await api.get("/health/ready", headers=headers)).status == 200


# -- reading them


class CountingStore(MemoryStore):
    """Counts how often documents are read; reading waits while `held`, and fails while `failing`."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.failing = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def documents(self, kind: str) -> list[DocumentRow]:
        if kind == "key":
            self.reads += 1
            await self.gate.wait()
            if self.failing:
                raise StoreUnavailable("the disk is gone")
        return await super().documents(kind)


class CountingEngine(Engine):
    def __init__(self, **options: Any) -> None:
        super().__init__("memory://", drain_timeout=0, **options)
        self.counting = CountingStore()

    def _open_store(self) -> Store:
        return self.counting


@pytest.fixture
async def counting_api(launch: Any) -> Any:
    return await launch(CountingEngine())


async def test_many_requests_share_a_read(counting_api: Any) -> None:
    store = counting_api.engine.counting
    key = await make(counting_api.engine)
    store.reads = 0
    store.gate.clear()
    first = asyncio.create_task(counting_api.get("/api/v1/workflows", headers=bearer(key)))
    while not store.reads:
        await checkpoint()
    others = [asyncio.create_task(counting_api.get("/api/v1/workflows", headers=bearer(key))) for _ in range(50)]
    for _ in range(100):  # health goes round the same loop
        assert (await counting_api.get("/health/live")).status == 200
    assert store.reads == 1
    store.gate.set()
    assert {answer.status for answer in await asyncio.gather(first, *others)} == {200}
    assert store.reads == 2


async def test_keys_that_cannot_be_read_open_no_door(counting_api: Any) -> None:
    store = counting_api.engine.counting
    for key, status in [(None, 401), (await make(counting_api.engine, "admin"), 200)]:
        store.failing = True
        answer = await counting_api.get("/api/v1/workflows", headers=bearer(key))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert (await counting_api.post("/e/x", json={"name": "a"}, headers=bearer(key))).status == 503
        assert (await counting_api.get("/health/live")).status == 200
        store.failing = False
        assert (await counting_api.get("/api/v1/workflows", headers=bearer(key))).status == status


async def test_an_engine_that_has_stopped_answers_503(api: Any) -> None:
    key = await make(api.engine, "admin")
    await api.engine.__aexit__(None, None, None)
    for headers in (bearer(key), bearer(None), bearer("dk_x")):
        assert (await api.get("/api/v1/workflows", headers=headers)).status == 503
    assert (await api.get("/health/live")).status == 200


# -- where the secret must not be


async def test_the_secret_is_nowhere(
    sqlite_api: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the store's files, not in logs, also of requests that fail unexpectedly, and in no answer but one."""
    api = sqlite_api
    _, admin = await administration_of(api.engine).create_key("admin", "admin", "production")
    made = await api.post(
        "/api/v1/keys",
        json={"data": {"type": "key", "attributes": {"name": "ci", "scope": "write"}}},
        headers=bearer(admin),
    )
    key = made.json["data"]["attributes"]["key"]
    secrets = [key.split("_")[2], admin.split("_")[2]]
    answers = [await api.get("/api/v1/keys", headers=bearer(admin))]
    answers += [await api.post(f"/e/{key}", json={"name": "app/user.created"})]
    answers += [await api.get("/api/v1/keys", headers=bearer(key)), await api.post(f"/e/{key}x", json={"name": "a"})]
    answers += [await api.get(f"/e/{key}", headers=bearer(key)), await api.get(f"/{key}", headers=bearer(key))]

    def fail(*_: Any) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(api.engine.intake, "send", fail)
    monkeypatch.setenv("COLUMNS", "500")  # in a narrow terminal what is long is cut
    answers += [await api.post(f"/e/{key}", json={"name": "a"})]
    assert [answer.status for answer in answers] == [200, 200, 403, 401, 405, 404, 500]
    await api.engine.__aexit__(None, None, None)

    output = "".join(capfd.readouterr())
    assert "a mistake of ours" in output
    output = re.sub("[^0-9a-z]", "", output)  # tracebacks in a frame break lines anywhere
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"app/user.created" in stored
    for secret in secrets:
        assert secret not in output
        assert secret.encode() not in stored
        assert not [answer for answer in answers if secret in answer.text]
