"""What a key is, what is stored of it, and what one that is shown is good for."""

import re
from hashlib import sha256

import msgspec
import pytest
from msgspec.structs import replace

from durably.engine.access.keys import Key, KeyRefused, Keys, NewKey, Scope, covers, new_key
from durably.engine.testing import SeededRandomness
from durably.store.runtime import SystemRandomness

NOW_US = 1_800_000_000_000_000
HOUR_US = 3_600_000_000


def make(scope: Scope = "write", expires_us: int | None = None) -> NewKey:
    return new_key("ci", scope, "staging", now_us=NOW_US, expires_us=expires_us, randomness=SystemRandomness())


def test_a_key_has_a_public_id_and_256_random_bits() -> None:
    keys = [make() for _ in range(100)]
    assert all(re.fullmatch("dk_[0-9a-f]{16}_[0-9a-f]{64}", key.text) for key in keys)
    assert len({key.text for key in keys}) == len({key.row.id for key in keys}) == 100
    assert all(key.text.split("_")[1] == key.row.id for key in keys)


def test_what_is_stored_is_a_digest() -> None:
    key = make()
    secret = key.text.split("_")[2]
    assert secret not in repr(key.row)
    assert msgspec.json.decode(key.row.body) == {
        "name": "ci",
        "scope": "write",
        "environment": "staging",
        "digest": sha256(key.text.encode()).hexdigest(),
        "expires_us": None,
    }


def test_the_key_itself_is_known() -> None:
    one, two = make(), make("admin")
    keys = Keys([one.row, two.row])
    found = keys.check(two.text, NOW_US)
    assert (found.name, found.scope, found.environment, found.id) == ("ci", "admin", "staging", two.row.id)
    assert keys.check(one.text, NOW_US).id == one.row.id


def changed(text: str) -> list[str]:
    """What is not that key."""
    prefix, key_id, secret = text.split("_")
    other = "0" if secret[-1] != "0" else "1"
    return [
        "",
        key_id,
        secret,
        text[:-1],
        text + "0",
        text[:-1] + other,
        f"{prefix}_{key_id}",
        f"{prefix}_{key_id}_",
        f"{key_id}_{secret}",
        f"dk_{'0' * 16}_{secret}",
        text.upper(),
        f" {text}",
        text.replace("d", "é"),
        "\udcff",
        make().text,
    ]


@pytest.mark.parametrize("case", range(15))
def test_nothing_else_is(case: int) -> None:
    key = make()
    with pytest.raises(KeyRefused, match="not known"):
        Keys([key.row]).check(changed(key.text)[case], NOW_US)


def test_a_key_expires() -> None:
    key = make(expires_us=NOW_US + HOUR_US)
    keys = Keys([key.row])
    assert keys.check(key.text, NOW_US + HOUR_US - 1).name == "ci"
    with pytest.raises(KeyRefused, match=r"'ci' expired at 2027-01-15 09:00 UTC"):
        keys.check(key.text, NOW_US + HOUR_US)


def test_a_revoked_key_is_refused_and_counts_as_configured() -> None:
    key = make()
    keys = Keys([replace(key.row, version=2, deleted_us=NOW_US)])
    assert keys.configured
    assert not Keys(()).configured
    with pytest.raises(KeyRefused, match="'ci' was revoked"):
        keys.check(key.text, NOW_US)


def test_a_refusal_says_nothing_of_the_secret() -> None:
    key = make(expires_us=NOW_US)
    for rows in ([], [key.row]):
        with pytest.raises(KeyRefused) as refused:
            Keys(rows).check(key.text, NOW_US)
        assert key.text.split("_")[2] not in repr(refused.value)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [("read", ["read"]), ("write", ["read", "write"]), ("admin", ["read", "write", "admin"])],
)
def test_admin_includes_write_includes_read(scope: str, covered: list[str]) -> None:
    assert [needed for needed in ("read", "write", "admin") if covers(scope, needed)] == covered


def test_all_keys_can_be_listed() -> None:
    rows = [make().row for _ in range(3)]
    listed: list[Key] = list(Keys(rows))
    assert [key.id for key in listed] == [row.id for row in rows]


def test_a_key_repeats_with_its_randomness() -> None:
    made = [
        new_key("ci", "read", "staging", now_us=0, expires_us=None, randomness=SeededRandomness()) for _ in range(2)
    ]
    assert made[0] == made[1]
