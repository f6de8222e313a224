"""Whether code has changed: a fingerprint of what a function does, not of where it is."""

import inspect
from collections.abc import Callable, Iterator
from hashlib import sha256
from types import CodeType
from typing import Any

__all__ = ["fingerprint"]


def fingerprint(fn: Callable[..., Any]) -> str:
    """Sixteen hexadecimal digits of the function's bytecode, constants and names, inner functions included.

    No file name, line number or address goes in: moving code or adding a comment changes nothing, and every
    process gives the same. Breaking a line can change bytecode, and another version of Python does. Functions
    that the code calls are not looked into: a changed helper does not show.
    """
    code: CodeType = inspect.unwrap(fn).__code__
    hash_ = sha256()
    for part in _parts(code):
        hash_.update(len(part).to_bytes(8))
        hash_.update(part)
    return hash_.hexdigest()[:16]


def _parts(constant: Any) -> Iterator[bytes]:
    """What a constant consists of, in an order that every process gives."""
    kind: type = constant.__class__
    if kind is CodeType:
        yield constant.co_code
        yield constant.co_exceptiontable  # what each `try` spans
        yield from _parts(constant.co_names)
        yield from _parts(constant.co_consts)
    elif kind is tuple:
        yield str(len(constant)).encode()
        for item in constant:
            yield from _parts(item)
    elif kind is frozenset:
        yield from sorted(b"".join(_parts(item)) for item in constant)
    else:
        yield repr(constant).encode()
