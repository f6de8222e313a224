"""Keys and environments as they are made, listed and withdrawn."""

from typing import Any

import msgspec
import pytest

from durably import DurablyError, InvalidInput
from durably.engine.access.administration import Administration, InUse, NotThere
from durably.engine.access.keys import KeyRefused, Keys
from durably.engine.log.records import Sealed
from durably.engine.testing import SeededRandomness
from durably.store import DocumentRow
from durably.store.documents import why_out_of_turn

pytestmark = pytest.mark.anyio


class Shelf:
    """Documents in a list, under the store's own rule of which version may follow which."""

    def __init__(self) -> None:
        self.rows: list[DocumentRow] = []

    async def load(self, kind: str) -> list[DocumentRow]:
        return [row for row in self.rows if row.kind == kind]

    async def save(self, row: DocumentRow) -> None:
        live = [each for each in self.rows if (each.kind, each.id, each.deleted_us) == (row.kind, row.id, None)]
        why = why_out_of_turn(row, live[0].version if live else None)
        if why is not None:
            raise DurablyError(why)
        self.rows = [each for each in self.rows if each not in live] + [row]


class Clock:
    def __init__(self) -> None:
        self.us = 1_000

    def __call__(self) -> int:
        self.us += 1
        return self.us


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def administration(shelf: Shelf) -> Administration:
    return Administration(shelf, Clock(), SeededRandomness())


async def test_a_key_is_made_known_and_revoked(administration: Administration, shelf: Shelf) -> None:
    key, text = await administration.create_key("ci", "write", "staging")
    assert (key.name, key.scope, key.environment, key.revoked_us) == ("ci", "write", "staging", None)
    assert Keys(await shelf.load("key")).check(text, 5) == key
    assert await administration.keys() == [key]
    gone = await administration.revoke_key(key.id)
    assert gone.revoked_us is not None
    assert await administration.keys() == [gone]
    with pytest.raises(KeyRefused):
        Keys(await shelf.load("key")).check(text, 5)


async def test_a_key_is_revoked_by_a_name_that_only_one_has(administration: Administration) -> None:
    one, _ = await administration.create_key("ci", "read", "staging")
    two, _ = await administration.create_key("ci", "read", "staging")
    with pytest.raises(InvalidInput, match=f"2 keys are called 'ci': {one.id}, {two.id}"):
        await administration.revoke_key("ci")
    await administration.revoke_key(one.id)
    assert (await administration.revoke_key("ci")).id == two.id


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (("create_key", "", "read", "staging"), InvalidInput, "1 to 200"),
        (("create_key", "n" * 201, "read", "staging"), InvalidInput, "1 to 200"),
        (("create_key", "a\nb", "read", "staging"), InvalidInput, "printable"),
        (("create_key", "ci", "read", "nowhere"), NotThere, "there are production, staging, development"),
        (("create_key", "ci", "read", "staging", 1_001), InvalidInput, "expired already"),
        (("revoke_key", "ci"), NotThere, "no key 'ci'"),
        (("create_environment", "No"), InvalidInput, "lower-case"),
        (("create_environment", "staging"), InUse, "exists already"),
        (("delete_environment", "nowhere"), NotThere, "no environment 'nowhere'"),
        (("delete_environment", "staging"), InUse, "from the start"),
    ],
)
async def test_refusals(
    administration: Administration, shelf: Shelf, call: tuple[Any, ...], error: type[Exception], says: str
) -> None:
    method, *arguments = call
    with pytest.raises(error, match=says):
        await getattr(administration, method)(*arguments)
    assert shelf.rows == []


async def test_a_key_cannot_be_revoked_twice(administration: Administration) -> None:
    key, _ = await administration.create_key("ci", "read", "staging")
    await administration.revoke_key(key.id)
    with pytest.raises(NotThere, match="or it was revoked"):
        await administration.revoke_key(key.id)


async def test_an_environment_is_made_deleted_and_made_again(administration: Administration) -> None:
    qa = await administration.create_environment("qa")
    assert await administration.environment("qa") == qa
    with pytest.raises(InUse, match="exists already"):
        await administration.create_environment("qa")
    await administration.delete_environment("qa")
    assert [each.name for each in await administration.environments()] == ["production", "staging", "development"]
    await administration.create_environment("qa")
    assert [each.name for each in await administration.environments()][3:] == ["qa"]
    await administration.delete_environment("qa")


async def test_what_cannot_be_read_is_not_taken_for_unnamed(administration: Administration, shelf: Shelf) -> None:
    """The command line has no codec, with which an encrypted store's jobs could be read."""
    await administration.create_environment("qa")
    body = b'{"sealed":"AQ7","type":null}'
    shelf.rows.append(DocumentRow(kind="job", id="nightly", body=body, created_us=1, updated_us=1))
    with pytest.raises(Sealed):
        await administration.delete_environment("qa")


async def test_an_environment_that_is_named_stays(administration: Administration, shelf: Shelf) -> None:
    await administration.create_environment("qa")
    body = msgspec.json.encode({"environments": {"qa": {}}})
    shelf.rows.append(DocumentRow(kind="job", id="nightly", body=body, created_us=1, updated_us=1))
    with pytest.raises(InUse, match="named by jobs: nightly"):
        await administration.delete_environment("qa")
    shelf.rows = [row for row in shelf.rows if row.kind != "job"]
    key, _ = await administration.create_key("ci", "read", "qa")
    with pytest.raises(InUse, match="has keys: ci"):
        await administration.delete_environment("qa")
    await administration.revoke_key(key.id)
    await administration.delete_environment("qa")
