"""The third seed, "Retry policies" of smplkit: what a policy is, row by row. What jobs do with one is in
`test_smplkit_jobs`.
"""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from durably import Engine, Failure, GiveUp, Retry
from durably.api.server import HttpServer, serve
from tests.seeds.checklist import row

pytestmark = pytest.mark.anyio

PATH = "/api/v1/retry-policies"
LEAST = {"name": "p", "max_retries": 3, "backoff": "fixed", "delay_seconds": 5}
EXPONENTIAL = {**LEAST, "backoff": "exponential"}
RETRIED, NOT_RETRIED = True, False


class Client:
    """Somebody who uses the API as the seed shows it."""

    def __init__(self, server: HttpServer, session: aiohttp.ClientSession) -> None:
        self._server = server
        self._session = session

    async def send(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None) -> tuple[int, Any]:
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/vnd.api+json"} if data is not None else {}
        headers["Authorization"] = "Bearer dk_any"
        async with self._session.request(method, self._server.url + path, data=data, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def create(self, attributes: dict[str, Any], policy_id: str = "p") -> tuple[int, Any]:
        data = {"id": policy_id, "type": "retry_policy", "attributes": attributes}
        return await self.send("POST", PATH, {"data": data})

    async def status_of(self, **changed: Any) -> int:
        """What comes of creating a policy with these fields changed."""
        base = EXPONENTIAL if "max_delay_seconds" in changed and "backoff" not in changed else LEAST
        status, _ = await self.create({**base, **changed}, f"p-{len(str(changed))}-{abs(hash(str(changed)))}")
        return status


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine("memory://") as engine:
        yield engine


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[Client]:
    async with await serve(engine, port=0) as server, aiohttp.ClientSession() as session:
        yield Client(server, session)


async def decides(client: Client, engine: Engine, failure: Failure, **fields: Any) -> bool:
    """Whether a policy with these fields lets a failure be retried."""
    status, _ = await client.create({**LEAST, **fields})
    assert status == 201
    policy = engine.core.policies.lookup("p")
    assert policy is not None
    return isinstance(policy.decide(0, failure), Retry)


async def waits(client: Client, engine: Engine, **fields: Any) -> list[float]:
    """The waits that a policy with these fields gives."""
    status, _ = await client.create({**LEAST, "retry_on_timeout": True, **fields})
    assert status == 201
    policy = engine.core.policies.lookup("p")
    assert policy is not None
    verdicts = [policy.decide(attempt, Failure("timeout")) for attempt in range(12)]
    found = [each for each in verdicts if isinstance(each, Retry)]
    assert all(isinstance(each, GiveUp) for each in verdicts[len(found) :])
    assert all(each.jitter == 0 for each in found)
    return [each.delay for each in found]


def status(code: int) -> Failure:
    return Failure("status", status=code)


# -- fields


@row("S-3", "a named, reusable, account-global resource")
async def test_a_policy_is_one_for_all_environments(client: Client, engine: Engine) -> None:
    await client.create(LEAST, "shared")
    found, document = await client.send("GET", f"{PATH}/shared")
    assert (found, document["data"]["id"]) == (200, "shared")
    assert "environment" not in document["data"]["attributes"]
    assert engine.core.policies.lookup("shared") is not None


@row("S-4", "A policy is identified by a customer-supplied id you choose on create")
async def test_the_id_is_the_clients(client: Client) -> None:
    created, document = await client.create(LEAST, "nightly_backup")
    assert (created, document["data"]["id"]) == (201, "nightly_backup")


@row("S-5", "name: Required, 1-200 characters")
@pytest.mark.parametrize(("length", "expected"), [(0, 400), (1, 201), (200, 201), (201, 400)])
async def test_names(client: Client, length: int, expected: int) -> None:
    assert await client.status_of(name="x" * length) == expected


@row("S-6", "max_retries: Range 0-10")
@pytest.mark.parametrize(("retries", "expected"), [(-1, 400), (0, 201), (10, 201), (11, 400), ("3", 400)])
async def test_max_retries(client: Client, retries: Any, expected: int) -> None:
    assert await client.status_of(max_retries=retries) == expected


@row("S-8", "0 disables retries")
async def test_no_retries(client: Client, engine: Engine) -> None:
    assert await waits(client, engine, max_retries=0) == []


@row("S-9", "fixed waits delay_seconds before every retry")
async def test_fixed(client: Client, engine: Engine) -> None:
    assert await waits(client, engine, max_retries=4, delay_seconds=7) == [7, 7, 7, 7]


@row("S-10", "exponential doubles the wait each time (delay_seconds, then 2x, 4x, ...), capped at max_delay_seconds")
async def test_exponential(client: Client, engine: Engine) -> None:
    fields = {"backoff": "exponential", "max_retries": 6, "delay_seconds": 2, "max_delay_seconds": 20}
    assert await waits(client, engine, **fields) == [2, 4, 8, 16, 20, 20]


@row("S-11", "delay_seconds: The wait before a retry, in seconds (>= 1)")
@pytest.mark.parametrize(("delay", "expected"), [(0, 400), (1, 201), (1.5, 400), (-1, 400)])
async def test_delays(client: Client, delay: Any, expected: int) -> None:
    assert await client.status_of(delay_seconds=delay) == expected


@row("S-12", "max_delay_seconds: only valid with exponential backoff; omit it for fixed")
async def test_a_ceiling_for_exponential_backoff_only(client: Client) -> None:
    refused, document = await client.create({**LEAST, "max_delay_seconds": 60})
    [error] = document["errors"]
    assert (refused, error["source"]) == (400, {"pointer": "/data/attributes/max_delay_seconds"})
    assert (await client.create({**EXPONENTIAL, "max_delay_seconds": 60}))[0] == 201


@row(
    "S-13", "retry_on_timeout: Retry a run that did not complete within the job's timeout. Boolean; defaults to false."
)
@pytest.mark.parametrize(("fields", "expected"), [({}, NOT_RETRIED), ({"retry_on_timeout": True}, RETRIED)])
async def test_timeouts(client: Client, engine: Engine, fields: dict[str, Any], expected: bool) -> None:
    assert await decides(client, engine, Failure("timeout"), **fields) is expected


@row("S-15", 'Each element is an exact 3-digit code ("429") or a class ("5xx")')
@pytest.mark.parametrize(("code", "expected"), [(429, RETRIED), (500, RETRIED), (599, RETRIED), (428, NOT_RETRIED)])
async def test_codes_and_classes(client: Client, engine: Engine, code: int, expected: bool) -> None:
    assert await decides(client, engine, status(code), retry_statuses=["429", "5xx"]) is expected


@row("S-16", 'Statuses are strings, and class tokens are case-insensitive ("5XX" is stored as "5xx")')
async def test_tokens(client: Client) -> None:
    created, document = await client.create({**LEAST, "retry_statuses": ["5XX", "4xX", "429"]})
    assert (created, document["data"]["attributes"]["retry_statuses"]) == (201, ["5xx", "4xx", "429"])
    for token in ("6xx", "0xx", "42", "5x", "5xxx", "", "xx5", 503, None):
        assert await client.status_of(retry_statuses=[token]) == 400


@row("S-17", "A status is retried only when it matches retry_statuses and is not excluded by retry_statuses_except")
@pytest.mark.parametrize(
    ("allowed", "excepted", "expected"),
    [
        (["5xx"], [], RETRIED),  # In retry_statuses, not in retry_statuses_except
        (["5xx"], ["503"], NOT_RETRIED),  # In both lists: except wins
        (["4xx"], ["501"], NOT_RETRIED),  # In neither list: an allowlist match is required
        ([], [], NOT_RETRIED),  # retry_statuses empty: no non-success response is retried
    ],
)
async def test_membership(
    client: Client, engine: Engine, allowed: list[str], excepted: list[str], expected: bool
) -> None:
    fields = {"retry_statuses": allowed, "retry_statuses_except": excepted}
    assert await decides(client, engine, status(503), **fields) is expected


@row("S-18", 'retry_statuses of ["5xx"] with retry_statuses_except of ["501"] retries every server error except 501')
@pytest.mark.parametrize(("code", "expected"), [(500, RETRIED), (501, NOT_RETRIED), (502, RETRIED), (599, RETRIED)])
async def test_every_server_error_but_one(client: Client, engine: Engine, code: int, expected: bool) -> None:
    fields = {"retry_statuses": ["5xx"], "retry_statuses_except": ["501"]}
    assert await decides(client, engine, status(code), **fields) is expected


@row("S-19", "An element that does not overlap retry_statuses is allowed and simply has no effect")
async def test_a_useless_exception(client: Client, engine: Engine) -> None:
    assert await decides(client, engine, status(503), retry_statuses=["5xx"], retry_statuses_except=["404"])


@row("S-20", "Each match field carries a neutral identity, so a field you omit does nothing")
@pytest.mark.parametrize(
    "failure", [Failure("timeout"), Failure("connection"), status(500), status(429), Failure("error", type="E")]
)
async def test_omitted_fields_do_nothing(client: Client, engine: Engine, failure: Failure) -> None:
    assert not await decides(client, engine, failure)


@row("S-21", "When a status matches both lists, except wins and the run is not retried")
@pytest.mark.parametrize(("allowed", "excepted"), [(["503"], ["5xx"]), (["5xx"], ["503"]), (["503"], ["503"])])
async def test_except_wins(client: Client, engine: Engine, allowed: list[str], excepted: list[str]) -> None:
    fields = {"retry_statuses": allowed, "retry_statuses_except": excepted}
    assert not await decides(client, engine, status(503), **fields)


# -- the resource


@row("S-24", "List policies (page paginated; filter[name] for a case-insensitive substring match on the name)")
async def test_the_list(client: Client) -> None:
    for policy_id, name in (("a", "Retry on server errors"), ("b", "never"), ("c", "RETRY rate limits")):
        await client.create({**LEAST, "name": name}, policy_id)

    async def ids(query: str) -> list[str]:
        found, document = await client.send("GET", PATH + query)
        assert found == 200
        return [each["id"] for each in document["data"]]

    assert await ids("?filter[name]=retry") == ["c", "a"]
    assert await ids("?filter%5Bname%5D=SERVER+err") == ["a"]
    assert await ids("?page[size]=2") == ["c", "a"]
    assert await ids("?page[size]=2&page[number]=2") == ["b"]


@row("S-25", "GET: Read a policy. PUT: Replace a policy. DELETE: Soft-delete a policy.")
async def test_read_replace_delete(client: Client, engine: Engine) -> None:
    await client.create(LEAST)
    assert (await client.send("GET", f"{PATH}/p"))[0] == 200
    replacement = {"data": {"id": "p", "type": "retry_policy", "attributes": {**LEAST, "name": "other"}}}
    replaced, document = await client.send("PUT", f"{PATH}/p", replacement)
    assert (replaced, document["data"]["attributes"]["name"]) == (200, "other")
    assert (await client.send("DELETE", f"{PATH}/p"))[0] == 204
    assert (await client.send("GET", f"{PATH}/p"))[0] == 404
    [row] = await engine.core.store.documents("retry_policy")
    assert row.deleted_us is not None, "it was deleted softly: it is still there"


@row("S-26", "Updates follow the standard get-mutate-put pattern")
async def test_get_mutate_put(client: Client) -> None:
    await client.create({**EXPONENTIAL, "max_delay_seconds": 60, "retry_statuses": ["429", "5xx"]})
    _, document = await client.send("GET", f"{PATH}/p")
    assert document["data"]["attributes"]["version"] == 1
    document["data"]["attributes"]["max_retries"] = 9
    replaced, after = await client.send("PUT", f"{PATH}/p", document)
    assert replaced == 200
    changed = {
        name for name, value in after["data"]["attributes"].items() if value != document["data"]["attributes"][name]
    }
    assert changed <= {"version", "updated_at"}
    assert after["data"]["attributes"]["max_retries"] == 9


@row("S-27", "read the policy, change the fields you want, and PUT the full representation back")
async def test_put_is_the_full_representation(client: Client) -> None:
    await client.create({**LEAST, "retry_on_timeout": True, "retry_statuses": ["5xx"]})
    for name in LEAST:
        left = {key: value for key, value in LEAST.items() if key != name}
        refused, document = await client.send(
            "PUT", f"{PATH}/p", {"data": {"type": "retry_policy", "attributes": left}}
        )
        assert (refused, document["errors"][0]["source"]) == (400, {"pointer": f"/data/attributes/{name}"})
    _, document = await client.send("PUT", f"{PATH}/p", {"data": {"type": "retry_policy", "attributes": LEAST}})
    assert document["data"]["attributes"]["retry_on_timeout"] is False
    assert document["data"]["attributes"]["retry_statuses"] == []


SEED = Path(__file__).parent / "smplkit_example.http"
"""The request in the seed, byte for byte."""


@row("S-28", "A policy is created with POST /api/v1/retry-policies, supplying your chosen id")
async def test_the_request_of_the_seed(client: Client) -> None:
    head, _, body = SEED.read_bytes().partition(b"\n\n")
    assert head.startswith(b"POST /api/v1/retry-policies\nContent-Type: application/vnd.api+json\n")
    created, document = await client.send("POST", PATH, raw=body)
    assert created == 201
    assert document["data"]["id"] == "retry-on-5xx"
    sent = json.loads(body)["data"]["attributes"]
    assert {name: document["data"]["attributes"][name] for name in sent} == sent


SUGGESTED = """
{
  "max_retries": 5,
  "backoff": "exponential",
  "delay_seconds": 2,
  "max_delay_seconds": 60,
  "retry_on_timeout": true,
  "retry_on_connection_error": true,
  "retry_statuses": ["429", "5xx"],
  "retry_statuses_except": []
}
"""


@row("S-29", "A suggested starting policy ... Copy it, give it an id, and adjust to taste")
async def test_the_suggested_policy(client: Client) -> None:
    created, document = await client.create({"name": "suggested", **json.loads(SUGGESTED)})
    assert created == 201
    assert document["data"]["attributes"].items() >= json.loads(SUGGESTED).items()


MIGRATED = [
    ({"statuses": [429, 503]}, {"retry_statuses": ["429", "503"]}, {"429", "503"}),
    ({"reasons": ["TIMEOUT"]}, {"retry_on_timeout": True}, {"timeout"}),
    ({"reasons": ["CONNECTION_ERROR"]}, {"retry_on_connection_error": True}, {"connection"}),
    (
        {"reasons": ["NON_SUCCESS_STATUS"]},
        {"retry_statuses": ["1xx", "3xx", "4xx", "5xx"]},
        {"101", "304", "404", "429", "500", "503"},
    ),
]


@row("S-30", "Earlier the match rule was a single retry_on object ... It has been replaced by the four fields above")
@pytest.mark.parametrize(("before", "after", "retried"), MIGRATED)
async def test_migrating(
    client: Client, engine: Engine, before: dict[str, Any], after: dict[str, Any], retried: set[str]
) -> None:
    refused, document = await client.create({**LEAST, "retry_on": before})
    [error] = document["errors"]
    assert (refused, error["source"]) == (400, {"pointer": "/data/attributes/retry_on"})
    named = re.findall("retry_(?:on_timeout|on_connection_error|statuses_except|statuses)", error["detail"])
    assert len(set(named)) == 4
    await client.create({**LEAST, **after})
    policy = engine.core.policies.lookup("p")
    assert policy is not None
    failures = {"timeout": Failure("timeout"), "connection": Failure("connection")}
    failures.update((str(code), status(code)) for code in (101, 204, 304, 404, 429, 500, 503))
    assert {name for name, each in failures.items() if isinstance(policy.decide(0, each), Retry)} == retried


@row("S-31", 'the old catch-all (retry every non-success response) becomes ["1xx", "3xx", "4xx", "5xx"]')
@pytest.mark.parametrize("code", [100, 302, 404, 500, 599])
async def test_every_non_success_response(client: Client, engine: Engine, code: int) -> None:
    assert await decides(client, engine, status(code), retry_statuses=["1xx", "3xx", "4xx", "5xx"])


@row("S-36", "Content-Type: application/vnd.api+json; Authorization: Bearer <api-key>")
async def test_media_type_and_key(client: Client, engine: Engine) -> None:
    found, document = await client.send("GET", PATH)
    assert (found, document["data"]) == (200, [])
    async with await serve(engine, port=0) as server, aiohttp.ClientSession() as session:
        async with session.post(server.url + PATH, data=b"{}", headers={"Content-Type": "text/plain"}) as response:
            assert response.status == 415
        async with session.get(server.url + PATH) as response:
            assert response.headers["Content-Type"] == "application/vnd.api+json"
