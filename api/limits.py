"""What one client may take of the server: bytes, time, connections."""

from typing import NamedTuple

from aiohttp import web

from durably.engine.log.limits import MAX_EVENTS
from durably.engine.values.codec import MAX_DEPTH, MAX_EVENT

__all__ = [
    "LIMITS",
    "LIMITS_KEY",
    "MAX_DEPTH",
    "MAX_DOCUMENT",
    "MAX_EVENT",
    "MAX_EVENTS",
    "MAX_EVENTS_BODY",
    "MAX_EVENT_ID",
    "Limits",
]

MAX_DOCUMENT = 1024 * 1024
"""The most bytes of a request's body. The densest JSON of that size takes 30 ms to decode."""
MAX_EVENT_ID = 255
"""The most characters of an event's id."""
MAX_EVENTS_BODY = 16 * 1024 * 1024
"""The most bytes of an array of events."""


class Limits(NamedTuple):
    """How long a connection may take and how many there may be. Times are in seconds."""

    head_s: float = 10.0
    """From a request's first byte, or a connection's beginning, to the end of the headers."""
    body_s: float = 30.0
    """From the end of the headers to the end of the body."""
    idle_s: float = 75.0
    """Between two requests. Longer than clients keep unused connections: they would send into closed ones."""
    stalled_s: float = 30.0
    """How long a client may take to read the next 64 KiB of an answer."""
    wait_s: float = 60.0
    """The longest that `?wait=` holds a request: under what proxies put up with."""
    silent_s: float = 15.0
    """How long a stream may have nothing to say before it says so: under what proxies put up with."""
    linger_s: float = 2.0
    """How long the rest of a refused body is read and dropped, so that the refusal gets through."""
    stop_s: float = 5.0
    """How long requests under way may take to end when the server stops."""
    connections: int = 5_000
    """Open at once; the next one is told 503."""


LIMITS = Limits()
LIMITS_KEY = web.AppKey("limits", Limits)
"""Where an application keeps its own."""
