"""`durably keys` and `durably environments`: on a store that is new, beside a server, and through one."""

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Durably = Callable[..., subprocess.CompletedProcess[str]]
KEY = "dk_[0-9a-f]{16}_[0-9a-f]{64}"


def status(url: str, key: str | None = None) -> int:
    """What the server says to who shows this key."""
    request = urllib.request.Request(f"{url}/api/v1/workflows")
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def make(durably: Durably, *args: str, **environment: str) -> str:
    done = durably("keys", "create", "ci", "--scope", "write", *args, **environment)
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    assert re.fullmatch(KEY, line)
    return line


def test_a_key_is_made_in_a_store_that_was_not_there(durably: Durably, folder: Path) -> None:
    key = make(durably)
    assert (folder / "durably.db").exists()
    listed = durably("keys", "list")
    assert key.split("_")[1] in listed.stdout
    assert key.split("_")[2] not in listed.stdout
    assert key.split("_")[2].encode() not in b"".join(file.read_bytes() for file in folder.glob("durably.db*"))


def test_listing_makes_no_store(durably: Durably, folder: Path) -> None:
    for args in (("keys", "list"), ("keys", "revoke", "x"), ("environments", "list"), ("environments", "delete", "x")):
        done = durably(*args)
        assert (done.returncode, "there is no such store" in done.stderr) == (1, True)
    assert not list(folder.glob("durably.db*"))


def test_beside_a_server_keys_hold_from_the_next_request_on(spawn: Any, durably: Durably, folder: Path) -> None:
    server = spawn("serve", "flows.py").ready()
    assert status(server.url) == 200
    key = make(durably, "--store", "sqlite:///durably.db", "--environment", "staging")
    assert [status(server.url), status(server.url, key)] == [401, 200]
    assert durably("keys", "revoke", "ci").returncode == 0
    assert [status(server.url), status(server.url, key)] == [401, 401]
    secret = key.split("_")[2]
    assert secret not in server.errors
    assert secret.encode() not in b"".join(file.read_bytes() for file in folder.glob("durably.db*"))


def test_a_server_that_others_can_reach_needs_a_key(spawn: Any, durably: Durably) -> None:
    refused = durably("serve", "flows.py", DURABLY_HOST="0.0.0.0", DURABLY_PORT="0")  # noqa: S104 - it is refused
    assert refused.returncode == 1
    assert "`durably keys create NAME --store sqlite:///durably.db`" in refused.stderr
    key = make(durably)
    server = spawn("serve", "flows.py", "--host", "0.0.0.0").ready()  # noqa: S104 - the test's own, with a key
    url = server.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - as above
    assert [status(url), status(url, key)] == [401, 200]


def test_a_server_is_administered_with_a_key(spawn: Any, durably: Durably) -> None:
    server = spawn("serve", "flows.py").ready()
    admin = durably("keys", "create", "boss", "--scope", "admin").stdout.strip()
    there = {"DURABLY_URL": server.url, "DURABLY_API_KEY": admin}
    key = make(durably, **there, DURABLY_ENVIRONMENT="staging")
    assert status(server.url, key) == 200
    assert [
        each["attributes"]["environment"] for each in json.loads(durably("keys", "list", "--json", **there).stdout)
    ] == [
        "production",
        "staging",
    ]
    assert durably("environments", "create", "qa", **there).returncode == 0
    assert durably("environments", "list", **there).stdout.split() == ["production", "staging", "development", "qa"]
    assert durably("environments", "delete", "qa", **there).returncode == 0
    assert durably("keys", "revoke", "ci", **there).returncode == 0
    assert status(server.url, key) == 401
    refused = durably("keys", "list", DURABLY_URL=server.url, DURABLY_API_KEY=key)
    assert (refused.returncode, "was revoked" in refused.stderr) == (1, True)


def test_environments_in_a_store(durably: Durably) -> None:
    assert durably("environments", "create", "qa").returncode == 0
    assert durably("environments", "list").stdout.split() == ["production", "staging", "development", "qa"]
    assert [each["name"] for each in json.loads(durably("environments", "list", "--json").stdout)][3:] == ["qa"]
    make(durably, "--environment", "qa")
    refused = durably("environments", "delete", "qa")
    assert (refused.returncode, "has keys: ci" in refused.stderr) == (1, True)
    durably("keys", "revoke", "ci")
    assert durably("environments", "delete", "qa").returncode == 0


@pytest.mark.parametrize(
    ("args", "exit_status", "says"),
    [
        (("create", "ci"), 2, "--scope"),
        (("create", "ci", "--scope", "root"), 2, "'root' is not one of"),
        (("create", "ci", "--scope", "read", "--expires", "soon"), 2, "like 12h or 90d"),
        (("create", "ci", "--scope", "read", "--expires", "2001-01-01T00:00:00Z"), 1, "expired already"),
        (("create", "ci", "--scope", "read", "--environment", "qa"), 1, "`durably environments create NAME`"),
        (("create", "ci", "--scope", "read", "--store", "memory://"), 1, "ends with its process"),
        (
            ("create", "ci", "--scope", "read", "--url", "http://127.0.0.1:9", "--store", "sqlite:///a.db"),
            2,
            "two things",
        ),
    ],
)
def test_refusals(durably: Durably, args: tuple[str, ...], exit_status: int, says: str) -> None:
    done = durably("keys", *args)
    assert (done.returncode, says in done.stderr.replace("\n", " ")) == (exit_status, True), done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("expires", ["12h", "2999-01-31", "2999-01-31T12:00:00Z"])
def test_a_key_may_expire(durably: Durably, expires: str) -> None:
    made = json.loads(durably("keys", "create", "ci", "--scope", "read", "--expires", expires, "--json").stdout)
    assert made["attributes"]["expires_at"] is not None
    assert re.fullmatch(KEY, made["attributes"]["key"])
    assert "expires" in durably("keys", "list").stdout
