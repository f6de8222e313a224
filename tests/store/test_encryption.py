from base64 import urlsafe_b64encode

import pytest

from durably.encryption import Codec, Encryption, KeyedCodec, WrongKey

OLD, NEW, OTHER = (urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))


@pytest.mark.parametrize("data", [b"", b"{}", bytes(range(256)), b"x" * 100_000])
def test_what_is_encrypted_comes_back(data: bytes) -> None:
    codec: Codec = Encryption([NEW])
    sealed = codec.encode(data)
    assert codec.decode(sealed) == data
    assert len(sealed) == len(data) + 33
    assert len(data) < 8 or data not in sealed


def test_nothing_is_encrypted_twice_alike() -> None:
    codec = Encryption([NEW])
    assert len({codec.encode(b"yes") for _ in range(1000)}) == 1000


def test_a_new_key_in_front_encrypts_and_the_old_one_still_decrypts() -> None:
    before, after, later = Encryption([OLD]), Encryption([NEW, OLD]), Encryption([NEW])
    sealed = before.encode(b"old")
    assert after.decode(sealed) == b"old"
    assert later.decode(after.encode(b"new")) == b"new"
    with pytest.raises(WrongKey, match=r"encrypted with key (\w{8}), and the keys given are (?!\1)\w{8}$"):
        later.decode(sealed)


def test_each_bit_is_authenticated() -> None:
    codec = Encryption([NEW])
    sealed = codec.encode(b"1000 to Ada")
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(WrongKey):
            codec.decode(changed)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01" + bytes(16), b"no such thing" * 5])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WrongKey):
        Encryption([NEW]).decode(data)


def test_a_digest_needs_the_key_and_outlives_a_new_one() -> None:
    assert isinstance(Encryption([OLD]), KeyedCodec)
    digests = [Encryption(keys).digest(b"yes") for keys in ([OLD], [NEW, OLD], [NEW], [OTHER])]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_keys_are_made_and_checked() -> None:
    first, second = Encryption.new_key(), Encryption.new_key()
    assert first != second
    assert Encryption([second, first + "\n"]).decode(Encryption(first).encode(b"a")) == b"a"
    with pytest.raises(ValueError, match="needs a key"):
        Encryption([])
    for text in ("secret", first[:-8], "", "ä"):
        with pytest.raises(ValueError, match="key 1 is not 32 bytes") as caught:
            Encryption([first, text])
        assert not text or text not in str(caught.value)
