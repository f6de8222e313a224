import pytest

from durably.engine.http.addresses import AddressGuard, check_networks

REFUSED = {
    "127.0.0.1": "127.0.0.1 is a loopback address",
    "127.255.255.254": "127.255.255.254 is a loopback address",
    "0.0.0.0": "0.0.0.0 is a reserved address",  # noqa: S104 - nothing is bound to it
    "0.1.2.3": "0.1.2.3 is a reserved address",
    "10.0.0.1": "10.0.0.1 is a private address",
    "100.64.0.1": "100.64.0.1 is a shared address of a provider's",
    "100.100.100.200": "100.100.100.200 is a shared address of a provider's",
    "168.63.129.16": "168.63.129.16 is the host of a cloud's machines",
    "169.254.169.254": "169.254.169.254 is a link-local address",
    "172.16.0.1": "172.16.0.1 is a private address",
    "172.31.255.255": "172.31.255.255 is a private address",
    "192.0.0.192": "192.0.0.192 is a reserved address",
    "192.0.2.1": "192.0.2.1 is for documentation",
    "192.168.1.1": "192.168.1.1 is a private address",
    "198.18.0.1": "198.18.0.1 is a reserved address",
    "192.88.99.1": "192.88.99.1 is a reserved address",
    "198.51.100.1": "198.51.100.1 is for documentation",
    "2001:2::1": "2001:2::1 is a reserved address",
    "3fff::1": "3fff::1 is for documentation",
    "203.0.113.9": "203.0.113.9 is for documentation",
    "224.0.0.1": "224.0.0.1 is a multicast address",
    "239.1.2.3": "239.1.2.3 is a multicast address",
    "240.0.0.1": "240.0.0.1 is a reserved address",
    "255.255.255.255": "255.255.255.255 is a reserved address",
    "::": ":: is a reserved address",
    "::1": "::1 is a loopback address",
    "::127.0.0.1": "::127.0.0.1 is a reserved address",
    "::ffff:127.0.0.1": "::ffff:127.0.0.1 is a loopback address",
    "::ffff:10.0.0.1": "::ffff:10.0.0.1 is a private address",
    "::ffff:a9fe:a9fe": "::ffff:a9fe:a9fe is a link-local address",
    "::ffff:0:127.0.0.1": "::ffff:0:127.0.0.1 is a reserved address",
    "64:ff9b::127.0.0.1": "64:ff9b::127.0.0.1 is a loopback address",
    "64:ff9b::a00:1": "64:ff9b::a00:1 is a private address",
    "64:ff9b::a83f:8110": "64:ff9b::a83f:8110 is the host of a cloud's machines",
    "64:ff9b:1::a00:1": "64:ff9b:1::a00:1 is a reserved address",
    "100::1": "100::1 is a reserved address",
    "2001:0:4136:e378:8000:63bf:80ff:fffe": "2001:0:4136:e378:8000:63bf:80ff:fffe is a tunnel to an IPv4 address",
    "2001:db8::1": "2001:db8::1 is for documentation",
    "2002:7f00:1::": "2002:7f00:1:: is a tunnel to an IPv4 address",
    "2002:808:808::": "2002:808:808:: is a tunnel to an IPv4 address",
    "4000::1": "4000::1 is a reserved address",
    "fc00::1": "fc00::1 is a private address",
    "fd00:ec2::254": "fd00:ec2::254 is a private address",
    "fe80::1": "fe80::1 is a link-local address",
    "fe80::1%eth0": "fe80::1%eth0 is a link-local address",
    "fec0::1": "fec0::1 is a reserved address",
    "ff02::1": "ff02::1 is a multicast address",
    "ff0e::1": "ff0e::1 is a multicast address",
}
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "99.255.255.255",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2606:4700::1111",
    "2a00:1450::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_it_says_why_an_address_is_refused(address: str) -> None:
    assert AddressGuard().refusal(address) == REFUSED[address]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    assert AddressGuard().refusal(address) is None


@pytest.mark.parametrize(
    ("allow", "passes", "refused"),
    [
        (["127.0.0.0/8"], ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"], ["::1", "10.0.0.1", "2002:7f00:1::"]),
        (["::1/128"], ["::1"], ["127.0.0.1", "fe80::1"]),
        (["10.1.0.0/16", "192.168.7.7"], ["10.1.2.3", "192.168.7.7"], ["10.2.0.1", "192.168.7.8"]),
        (["fe80::/10"], ["fe80::1%eth0"], ["fec0::1"]),
        (["0.0.0.0/0", "::/0"], list(REFUSED), []),
    ],
)
def test_allowed_networks_pass_and_no_others(allow: list[str], passes: list[str], refused: list[str]) -> None:
    guard = AddressGuard(allow)
    assert [each for each in passes if guard.refusal(each)] == []
    assert [each for each in refused if not guard.refusal(each)] == []


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (["127.0.0.1/8"], "http_allow has '127.0.0.1/8': 127.0.0.1/8 has host bits set; write '127.0.0.0/8' for "),
        (["localhost"], "http_allow has 'localhost': .*; write a network in CIDR notation, like '10.0.0.0/8', or one"),
        (["10.0.0.0/33"], "http_allow has '10.0.0.0/33': .*; write a network in CIDR notation"),
        ([""], "http_allow has '': .*; write a network"),
    ],
)
def test_what_is_no_network_is_refused(given: list[str], error: str) -> None:
    with pytest.raises(ValueError, match=f"^{error}"):
        check_networks(given)


def test_a_lone_string_is_no_list_of_networks() -> None:
    with pytest.raises(TypeError, match=r"allow is '10\.0\.0\.0/8'; it must be a list of networks"):
        check_networks("10.0.0.0/8", "allow")
