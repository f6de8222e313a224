import gzip
import zlib
from collections.abc import AsyncIterator

import pytest

from durably.engine.http.decoding import MAX_READ, SLICE, Content, read

pytestmark = pytest.mark.anyio

TEXT = b"all the same, " * 20_000
"""More than a slice."""


class Chunks:
    """The bytes in parts, as they come from a socket, and how much of it was asked for."""

    def __init__(self, data: bytes, size: int = 4096) -> None:
        self.data, self.size, self.taken = data, size, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.taken < len(self.data):
            self.taken += self.size
            yield self.data[self.taken - self.size : self.taken]


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("body", [b"", b"x", TEXT[: SLICE - 1], TEXT[:SLICE], TEXT[: SLICE + 1], TEXT[: 3 * SLICE]])
async def test_gzip_is_undone(body: bytes, size: int) -> None:
    content = await read(Chunks(gzip.compress(body), size), " GZIP ", MAX_READ)
    assert (bytes(content.body), content.length) == (body, len(body))


async def test_members_may_follow_one_another() -> None:
    content = await read(Chunks(gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two"), 3), "gzip", 100)
    assert bytes(content.body) == b"one two"


@pytest.mark.parametrize("coding", ["", "identity", "br", "gzip, gzip"])
async def test_other_codings_are_left(coding: str) -> None:
    assert bytes((await read(Chunks(b"\x0b\x02"), coding, 100)).body) == b"\x0b\x02"


async def test_no_body_has_no_coding() -> None:
    assert (await read(Chunks(b""), "gzip", 100)).length == 0


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"no gzip at all", zlib.error),
        (gzip.compress(TEXT)[:-1], EOFError),
        (gzip.compress(TEXT)[:-8] + b"x" * 8, zlib.error),
    ],
)
async def test_what_is_broken_is_an_error(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        await read(Chunks(data), "gzip", 100)


async def test_the_beginning_is_kept_and_all_is_counted() -> None:
    content = await read(Chunks(gzip.compress(TEXT)), "gzip", 10)
    assert (bytes(content.body), content.length) == (TEXT[:10], len(TEXT))


async def test_a_bomb_is_left_after_a_few_bytes() -> None:
    bomb = Chunks(gzip.compress(bytes(100 * MAX_READ // 8)) * 8, 512)
    content = await read(bomb, "gzip", 100)
    assert MAX_READ <= content.length < MAX_READ + SLICE
    assert len(content.body) == 100
    assert bomb.taken < len(bomb.data) / 50


async def test_a_slice_is_the_most_that_is_decompressed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def note(_: Content, part: bytes) -> None:
        sizes.append(len(part))

    monkeypatch.setattr(Content, "add", note)
    await read(Chunks(gzip.compress(bytes(10 * SLICE)), 1 << 20), "gzip", 100)
    assert max(sizes) == SLICE


async def test_an_endless_answer_is_left() -> None:
    endless = Chunks(bytes(2 * MAX_READ), 1 << 16)
    assert (await read(endless, "", 100)).length == MAX_READ
    assert endless.taken == MAX_READ
    empty_members = Chunks(gzip.compress(b"") * (2 * MAX_READ // 20), 1 << 16)
    assert (await read(empty_members, "gzip", 100)).length == 0
    assert empty_members.taken <= MAX_READ + (1 << 16)
