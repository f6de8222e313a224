"""Signatures by Standard Webhooks, so that receivers know who sent a message, and when."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

__all__ = ["Signer"]

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret (the Standard Webhooks specification, "Signature scheme")."""


class Signer:
    """Signs with each of several secrets, so that one can take the place of another while both are known.

    Raises:
        ValueError: a secret is not `whsec_` and 24 to 64 bytes in base64. The error does not repeat it.
    """

    __slots__ = ("_keys",)

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [_key(secret) for secret in secrets]

    def headers(self, message: str, seconds: int, body: bytes) -> Mapping[str, str]:
        """The headers of one request. Without a secret there is no signature among them."""
        headers = {"webhook-id": message, "webhook-timestamp": str(seconds)}
        if self._keys:
            content = b"%s.%d.%s" % (message.encode(), seconds, body)
            headers["webhook-signature"] = " ".join(_sign(key, content) for key in self._keys)
        return headers


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(
            f"a webhook's secret is {PREFIX} followed by {SHORTEST} to {LONGEST} random bytes in base64; "
            f"`openssl rand -base64 32` makes what comes behind {PREFIX}"
        )
    return key


def _sign(key: bytes, content: bytes) -> str:
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
