"""What holds operations together that are carried out all or none: one decision for all stores."""

from collections.abc import Iterable

from durably.store.rows import Refused, Result

__all__ = ["RefusedWithinError", "accepted"]


class RefusedWithinError(Exception):
    """One of several operations that belong together was refused: what the others have done has to be taken back."""


def accepted(results: Iterable[Result]) -> tuple[Result, ...]:
    """The results of operations that belong together, carried out one after another as they are asked for.

    Raises `RefusedWithinError` behind the first one that was refused.
    """
    carried_out: list[Result] = []
    for result in results:
        if isinstance(result, Refused):
            raise RefusedWithinError(result.reason)
        carried_out.append(result)
    return tuple(carried_out)
