"""Server-sent events as a client reads them (the HTML standard, "Interpreting an event stream")."""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["EventReader", "ServerSent"]


class ServerSent(NamedTuple):
    """One event of a stream."""

    name: str
    id: str
    data: str


class EventReader:
    """Puts events together from a stream's bytes, however they are cut into chunks.

    Of the standard's line ends it knows those that servers write, LF and CRLF; fields that say nothing to us, such as
    `retry`, and comments are left out.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._name, self._id = "message", ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[ServerSent]:
        """The events that are whole with this chunk."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            event = self._line(line.decode("utf-8", "replace").removesuffix("\r"))
            if event is not None:
                yield event

    def _line(self, line: str) -> ServerSent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                self._name = value
            case "id":
                self._id = value
            case "data":
                self._data.append(value)
            case _:
                pass
        return None

    def _dispatch(self) -> ServerSent | None:
        """An empty line ends an event; one without data is none. The id holds until there is another."""
        name, data = self._name, self._data
        self._name, self._data = "message", []
        return ServerSent(name, self._id, "\n".join(data)) if data else None
