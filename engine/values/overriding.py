"""Recorded arguments with some of them replaced, as a fork has them."""

from msgspec import Raw

from durably.engine.values.codec import Json, decoder_for, digest, encode_plain

__all__ = ["override"]

_decode_fields = decoder_for(dict[str, Raw])


def override(raw: Json, before: str, changes: Raw) -> tuple[bytes, str]:
    """A call's arguments and their digest after `changes`, both objects by parameter name.

    The digest follows from the one `before`, which is the same in every process, whatever order a set among the
    arguments has there. So a replay of the fork still notices when the code gives other arguments than it did.
    """
    replaced = bytes(changes)
    merged = encode_plain(_decode_fields(raw) | _decode_fields(replaced))
    return merged, digest(before.encode() + replaced)
