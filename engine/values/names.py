"""Names that users choose for signals, topics and patches."""

__all__ = ["MAX_NAME", "check_name"]

MAX_NAME = 255
"""The most characters of a name."""


def check_name(name: object, what: str) -> str:
    """The name, if it is text of 1 to 255 printable characters. `what` is what an error calls it."""
    if not isinstance(name, str):
        raise TypeError(f"{what} is {name!r}; it must be text")
    if not (0 < len(name) <= MAX_NAME and name.isprintable()):
        raise ValueError(f"{what} is {name[:80]!r}; it must have 1 to {MAX_NAME} printable characters")
    return name
