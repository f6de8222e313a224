"""Which addresses may be connected to: public ones, and those that a setting allows.

The guard looks at the address that a socket is made for, after DNS and however the URL spelled it, so neither a name
that resolves to a private address nor one that changes its mind can lead around it. (A filter in the resolver would
not even be asked for an address that stands in the URL.)
"""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

__all__ = ["AddressGuard", "Network", "check_networks"]

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_NOT_PUBLIC = {
    "a loopback address": ("127.0.0.0/8", "::1/128"),
    "a link-local address": ("169.254.0.0/16", "fe80::/10"),
    "a private address": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "a shared address of a provider's": ("100.64.0.0/10",),
    "a multicast address": ("224.0.0.0/4", "ff00::/8"),
    "the host of a cloud's machines": ("168.63.129.16/32",),  # Azure's, public by its number
    "a tunnel to an IPv4 address": ("2002::/16", "2001::/32"),  # 6to4 and Teredo, given up (RFC 7526)
    "for documentation": ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    "a reserved address": (
        *("0.0.0.0/8", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4", "2001::/23"),
        *("::/3", "4000::/2", "8000::/1"),  # all of IPv6 but 2000::/3, which is what is public of it
    ),
}
"""IANA's registries of special addresses. Not `is_global`: what it says differs between versions of Python."""
NOT_PUBLIC: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), kind) for kind, networks in _NOT_PUBLIC.items() for network in networks
)
NAT64 = IPv6Network("64:ff9b::/96")
"""IPv4 as networks that have only IPv6 reach it (RFC 6052): as public as the address in its last 32 bits."""


def check_networks(given: Iterable[str], name: str = "http_allow") -> tuple[Network, ...]:
    """The networks that are given in CIDR notation. An error calls them `name`."""
    if isinstance(given, str):
        raise TypeError(f"{name} is {given!r}; it must be a list of networks, like [{given!r}]")
    return tuple(_network(each, name) for each in given)


def _network(given: str, name: str) -> Network:
    try:
        return ip_network(given)
    except ValueError as error:
        try:
            meant = f"; write {str(ip_network(given, strict=False))!r} for the whole network"
        except ValueError:
            meant = "; write a network in CIDR notation, like '10.0.0.0/8', or one address"
        raise ValueError(f"{name} has {given!r}: {error}{meant}") from None


class AddressGuard:
    """Tells why an address may not be connected to."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allowed = check_networks(allow)

    def refusal(self, given: str) -> str | None:
        """Why not, in a few words; None if a connection may be made."""
        address = ip_address(given)
        within = _within(address)
        if any(each in network for each in (address, within) for network in self._allowed):
            return None
        kind = next((kind for network, kind in NOT_PUBLIC if within in network), None)
        return None if kind is None else f"{given} is {kind}"


def _within(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, and that decides; any other address itself."""
    if isinstance(address, IPv4Address):
        return address
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in NAT64 else address.ipv4_mapped or address
