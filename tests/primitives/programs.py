"""Every row of docs/asyncio.md."""

import sys

from tests.primitives import anyio_programs, asyncio_programs, refused_programs
from tests.primitives.primitive import GUARDED, PRIMITIVES, REFUSED, Guarded, Primitive, Refused

__all__ = ["AT_HAND", "GUARDED", "MODULES", "PRIMITIVES", "REFUSED", "Guarded", "Primitive", "Refused"]

MODULES = (asyncio_programs, anyio_programs, refused_programs)
"""Their import has filled the tables."""

AT_HAND = [each for each in PRIMITIVES if sys.version_info >= each.since]
"""The primitives that this Python has."""
