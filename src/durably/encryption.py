"""Encryption at rest: what users' data is in passes through a codec on its way to the store and back.

`Engine(codec=…)` takes `Encryption`, or anything with `encode(data)` and `decode(data)`.
"""

from durably.store.encryption import Encryption, WrongKey
from durably.store.sealed import Codec, KeyedCodec

__all__ = ["Codec", "Encryption", "KeyedCodec", "WrongKey"]
