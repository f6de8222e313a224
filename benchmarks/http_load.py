"""A client that posts the same body over and over on several connections, and costs little itself.

`python -m benchmarks.http_load PORT PATH BODY SECONDS` prints how many requests were answered with 200 in the
measured time, and the percentiles of how long that took, as JSON. In a process of its own, so that its work
is not counted as the server's.
"""

import asyncio
import json
import sys
import time

from benchmarks.harness import percentile

__all__ = ["CONNECTIONS"]

CONNECTIONS = 32
WARM_UP_S = 0.3


class Poster(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the last one is complete."""

    def __init__(self, request: bytes, taken_s: list[float]) -> None:
        self._request = request
        self._taken_s = taken_s
        self._answer = b""
        self._sent_s = 0.0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._post(transport)

    def _post(self, transport: asyncio.WriteTransport) -> None:
        self._sent_s = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not is_complete(self._answer) or self._transport is None:
            return
        if not self._answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"the server answered {self._answer[:500]!r}")
        self._answer = b""
        self._taken_s.append(time.perf_counter() - self._sent_s)
        self._post(self._transport)


def is_complete(answer: bytes) -> bool:
    """Whether head and body have arrived."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    _, _, length = head.lower().partition(b"content-length:")
    return len(body) >= int(length.partition(b"\r\n")[0])


async def post(port: int, path: str, body: str, seconds: float) -> dict[str, float]:
    payload = body.encode()
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    ).encode() + payload
    loop = asyncio.get_running_loop()
    taken_s: list[float] = []
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Poster(request, taken_s), "127.0.0.1", port)
    await asyncio.sleep(WARM_UP_S)
    taken_s.clear()
    await asyncio.sleep(seconds)
    return {
        "requests": len(taken_s),
        "p50_ms": percentile(taken_s, 0.5) * 1000,
        "p99_ms": percentile(taken_s, 0.99) * 1000,
    }


if __name__ == "__main__":
    _, port, path, body, seconds = sys.argv
    print(json.dumps(asyncio.run(post(int(port), path, body, float(seconds)))))
