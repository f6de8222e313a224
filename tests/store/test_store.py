"""A store's URL becomes a store."""

import pytest

from durably.store import MemoryStore, SqliteStore, administer, open_url
from durably.store.errors import NotAStore
from durably.store.sqlite import SqliteAdministration


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///app.db", "app.db"),
        ("sqlite:///data/app.db", "data/app.db"),
        ("sqlite:////var/lib/app.db", "/var/lib/app.db"),
        ("sqlite:///with space%20.db", "with space%20.db"),  # a path, not an encoded one
    ],
)
def test_a_sqlite_url_names_a_path(url: str, path: str) -> None:
    store = open_url(url)
    assert isinstance(store, SqliteStore)
    assert str(store.path) == path
    assert store.location == url


def test_memory_is_a_new_store_each_time() -> None:
    store = open_url("memory://")
    assert isinstance(store, MemoryStore)
    assert store is not open_url("memory://")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("app.db", "sqlite:///relative.db"),
        ("", "sqlite:///relative.db"),
        ("sqlite://app.db", "three slashes"),
        ("sqlite://", "three slashes"),
        ("sqlite:///", "three slashes"),
        ("sqlite:///:memory:", "memory://"),
        ("memory://x", "memory://"),
        ("mysql://u:secret@h/db", "mysql://"),
        ("postgresql://u:secret@h:5432/db?sslpassword=secret", "postgresql://h/db"),
        ("postgres://u:secret@[h/db", "not built yet"),
    ],
)
def test_anything_else_is_refused_without_repeating_a_password(url: str, hint: str) -> None:
    with pytest.raises(NotAStore) as caught:
        open_url(url)
    assert hint in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None or "secret" not in str(caught.value.__context__)


def test_a_file_can_be_administered_by_another_process() -> None:
    administration = administer("sqlite:///data/app.db")
    assert isinstance(administration, SqliteAdministration)
    assert str(administration.path) == "data/app.db"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("memory://", "ends with its process"),
        ("postgresql://u:secret@h/db", "not built yet"),
        ("app.db", "sqlite:///relative.db"),
    ],
)
def test_nothing_else_can_be(url: str, hint: str) -> None:
    with pytest.raises(NotAStore, match=hint) as caught:
        administer(url)
    assert "secret" not in str(caught.value)
