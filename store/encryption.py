"""The codec that is shipped: what users' data is in, encrypted, with keys that can be changed.

AES-256-GCM-SIV (RFC 8452), from the `cryptography` package. Plain AES-GCM is three times as fast, but a key of it is
spent after 2^32 messages with random nonces, which is a day at full speed; this one is good for 2^48 and forgives a
repeated nonce. A message is a version byte, the key's id (4 bytes), the nonce (12), the ciphertext, its tag (16).
"""

import hmac
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from durably.store.runtime import Randomness, SystemRandomness

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

__all__ = ["Encryption", "WrongKey"]

KEY_BYTES = 32
VERSION = b"\x01"
HEADER = 5
"""Bytes of version and key id: they are authenticated with the message."""
NONCE = 12


class WrongKey(ValueError):  # noqa: N818 - named as the errors of the contract are
    """Nothing can be decrypted with the keys that were given; what is encrypted is as it was."""


class Encryption:
    """Encryption at rest, to be given as `Engine(codec=Encryption([newest, …]))`.

    Everything is encrypted with the first key and decrypted with whichever it was encrypted with. To change keys put a
    new one in front and restart; take an old one away when nothing is read any more that was written under it. Each
    key is text, as `new_key` makes it: keep it where secrets are kept, and not beside the store.

    Raises:
        ValueError: there is no key, or one is not 32 bytes of URL-safe base64.
        ImportError: `cryptography` is missing: `pip install "durably[encryption]"`.
    """

    def __init__(self, keys: Sequence[str], *, randomness: Randomness | None = None) -> None:
        cipher = _cipher()
        secrets = [_key(text, place) for place, text in enumerate([keys] if isinstance(keys, str) else keys)]
        if not secrets:
            raise ValueError("Encryption needs a key: Encryption.new_key() makes one")
        self._ciphers = {_key_id(key): cipher(key) for key in secrets}
        self._newest = _key_id(secrets[0])
        # The oldest, because a digest has to stay the same when a new key is put in front.
        self._digest_key = hmac.digest(secrets[-1], b"durably digest", "sha256")
        self._randomness = randomness or SystemRandomness()

    @staticmethod
    def new_key() -> str:
        """A new random key."""
        return b64encode(_cipher().generate_key(8 * KEY_BYTES), altchars=b"-_").decode()

    def encode(self, data: bytes) -> bytes:
        """`data`, encrypted with the newest key."""
        header = VERSION + self._newest
        nonce = bytes.fromhex(self._randomness.token())[:NONCE]
        return header + nonce + self._ciphers[self._newest].encrypt(nonce, data, header)

    def decode(self, data: bytes) -> bytes:
        """What was encrypted.

        Raises:
            WrongKey: its key is not among those given, or it was changed since.
        """
        header, nonce, message = data[:HEADER], data[HEADER : HEADER + NONCE], data[HEADER + NONCE :]
        cipher = self._ciphers.get(header[1:])
        if header[:1] != VERSION or cipher is None:
            known = ", ".join(each.hex() for each in self._ciphers)
            raise WrongKey(f"it was encrypted with key {header[1:].hex()}, and the keys given are {known}")
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - it is optional

        try:
            return cipher.decrypt(nonce, message, header)
        except InvalidTag:
            raise WrongKey(f"it was changed since it was encrypted with key {header[1:].hex()}") from None

    def digest(self, data: bytes) -> bytes:
        """A digest that nobody can compute without the oldest of the keys."""
        return hmac.digest(self._digest_key, data, "sha256")[:16]


def _cipher() -> "type[AESGCMSIV]":
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV  # noqa: PLC0415 - it is optional
    except ImportError as error:
        raise ImportError('encryption needs the cryptography package: pip install "durably[encryption]"') from error
    return AESGCMSIV


def _key(text: str, place: int) -> bytes:
    try:
        key = urlsafe_b64decode(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        # Without the text: it may be a key with a slip of the pen.
        raise ValueError(f"key {place} is not {KEY_BYTES} bytes of base64: Encryption.new_key() makes one")
    return key


def _key_id(key: bytes) -> bytes:
    """How messages and errors name a key. It tells nothing of a key that is random."""
    return sha256(b"durably key id" + key).digest()[:4]
