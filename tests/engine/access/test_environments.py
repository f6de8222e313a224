"""Which environments there are, how they may be called, and which jobs name one."""

import msgspec
import pytest
from msgspec.structs import replace

from durably import InvalidInput
from durably.engine.access.environments import BUILT_IN, check_environment, environments_in, jobs_in, new_environment
from durably.store import DocumentRow


@pytest.mark.parametrize("name", ["a", "7", "qa", "eu-west_1", "a" * 63, *BUILT_IN])
def test_good_names(name: str) -> None:
    assert check_environment(name) == name


@pytest.mark.parametrize("name", ["", "-a", "_a", "A", "a b", "a/b", "ä", "a\n", "a" * 64])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be an environment's name"):
        new_environment(name, 5)


def test_three_exist_from_the_start_and_come_first() -> None:
    rows = [new_environment("qa", 5), new_environment("eu", 7)]
    rows.append(replace(new_environment("gone", 5), deleted_us=6))
    found = environments_in(rows)
    assert list(found) == ["production", "staging", "development", "eu", "qa"]
    assert [each.created_us for each in found.values()] == [None, None, None, 7, 5]


def job(job_id: str, *, deleted_us: int | None = None, **fields: object) -> DocumentRow:
    body = msgspec.json.encode({"name": job_id, **fields})
    return DocumentRow(kind="job", id=job_id, body=body, created_us=1, updated_us=1, deleted_us=deleted_us)


def test_jobs_that_name_an_environment() -> None:
    rows = [
        job("bare"),
        job("here", environments={"qa": {"enabled": True}}),
        job("sparse", environments={"qa": {}, "eu": {}}),
        job("elsewhere", environments={"eu": {"enabled": True}}),
        job("deleted", environments={"qa": {}}, deleted_us=5),
    ]
    assert jobs_in("qa", rows) == ["here", "sparse"]
