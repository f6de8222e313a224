"""The identities of what a workflow asks for: keys that are the same on every replay (DESIGN rule 7)."""

__all__ = ["Identities"]


class Identities:
    """Gives out the keys of one instance, each once.

    A *place* is an asyncio task's path and a name, `0/2/charge`. Its commands are numbered from 0:
    `0/2/charge#0`.
    """

    __slots__ = ("_chosen", "_counts")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._chosen: set[str] | None = None

    def next_number(self, place: str) -> int:
        """How many were asked for in that place before."""
        number = self._counts.get(place, 0)
        self._counts[place] = number + 1
        return number

    def numbered(self, place: str) -> str:
        """The key of the next one in that place. `ValueError` if the workflow has chosen that key before."""
        number = self._counts.get(place, 0)
        self._counts[place] = number + 1
        key = f"{place}#{number}"
        if self._chosen is not None and key in self._chosen:
            raise _used(key)
        return key

    def chosen(self, path: str, key: str) -> str:
        """The key that a workflow chose itself: within its asyncio task, or within the run if it begins
        with `/`.

        `ValueError` if it was in use before.
        """
        whole = key if key.startswith("/") else f"{path}/{key}"
        place, _, number = whole.rpartition("#")
        if number.isdecimal() and number == str(int(number)) and int(number) < self._counts.get(place, 0):
            raise _used(whole)
        if self._chosen is None:
            self._chosen = set()
        elif whole in self._chosen:
            raise _used(whole)
        self._chosen.add(whole)
        return whole


def _used(key: str) -> ValueError:
    return ValueError(
        f"the key {key!r} was in use before in this run: give each step a key= of its own, from an id, say"
    )
