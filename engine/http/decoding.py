"""The body of an answer, decompressed no further than it is wanted: a few bytes can stand for gigabytes."""

import zlib
from collections.abc import AsyncIterable, Iterator

__all__ = ["ACCEPTED", "MAX_READ", "Content", "read"]

ACCEPTED = "gzip"
"""The `Accept-Encoding` of requests that bring none."""
MAX_READ = 16 * 1024 * 1024
"""Where reading is given up: bytes on the wire, and bytes after decompression."""
SLICE = 64 * 1024
"""The most bytes that are decompressed at once."""
GZIP = 16 + zlib.MAX_WBITS


class Content:
    """What was read: the beginning of a body, and how long all of it is."""

    __slots__ = ("_most", "body", "length")

    def __init__(self, most: int) -> None:
        self._most = most
        self.body = bytearray()
        self.length = 0

    def add(self, part: bytes) -> None:
        """Count it, and keep what there is room for."""
        self.length += len(part)
        self.body += part[: self._most - len(self.body)]


async def read(chunks: AsyncIterable[bytes], coding: str, most: int) -> Content:
    """Read a body with this `Content-Encoding`, and keep the first `most` bytes of it.

    Only gzip is undone, which is what is asked for; any other coding is left as it is. Reading is given up at
    `MAX_READ`. Raises `zlib.error` when what comes is no gzip, and `EOFError` when its end is missing.
    """
    content, received = Content(most), 0
    gunzip = _Gunzip() if coding.strip().lower() in ("gzip", "x-gzip") else None
    async for chunk in chunks:
        received += len(chunk)
        for part in gunzip.feed(chunk) if gunzip else (chunk,):
            content.add(part)
            if content.length >= MAX_READ:
                return content
        if received >= MAX_READ:
            return content
    if gunzip and received:
        gunzip.end()
    return content


class _Gunzip:
    """gzip, whose members may follow one another."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(GZIP)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        left = chunk
        while left:
            if self._member.eof:
                self._member = zlib.decompressobj(GZIP)
            yield self._member.decompress(left, SLICE)
            left = self._member.unused_data or self._member.unconsumed_tail  # a trailer stays behind pending output

    def end(self) -> None:
        """Raise `EOFError` if the last member is not complete."""
        if not self._member.eof:
            raise EOFError
