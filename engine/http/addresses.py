"""Which addresses may be connected to: public ones, and those that a setting allows.

The guard looks at the address that a socket is made for, after DNS and however the URL spelled it, so neither a name
that resolves to a private address nor one that changes its mind can lead around it (reference/durability-and-faults,
finding 12: a filter in the resolver is not asked for addresses that stand in the URL).
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

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that is public in IPv6. Python calls more of it global, and every version another part."""
NAT64 = IPv6Network("64:ff9b::/96")
"""IPv4 as networks that have only IPv6 reach it (RFC 6052): as public as the address in its last 32 bits."""
TUNNELS = (IPv6Network("2002::/16"), IPv6Network("2001::/32"))
"""6to4 and Teredo carry an IPv4 address, private ones too. Both are given up (RFC 7526, RFC 8215)."""
CLOUD_HOSTS = (IPv4Network("168.63.129.16/32"),)
"""Public by its number, and yet the host that an Azure machine runs on."""


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
        address = ip_address(given.partition("%")[0])
        forms = (address, *_inner(address))
        if any(form in network for form in forms for network in self._allowed):
            return None
        return next((f"{given} is {why}" for form in forms if (why := _why_not(form))), None)


def _inner(address: Address) -> Iterable[IPv4Address]:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        elif address in NAT64:
            yield IPv4Address(int(address) & 0xFFFF_FFFF)


def _why_not(address: Address) -> str | None:
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if isinstance(address, IPv6Address):
        return _why_not_ipv6(address)
    if any(address in network for network in CLOUD_HOSTS):
        return "the address of a cloud's host"
    return None if address.is_global else "not a public address"


def _why_not_ipv6(address: IPv6Address) -> str | None:
    if address.ipv4_mapped is not None or address in NAT64:
        return None  # the address within decides
    if any(address in network for network in TUNNELS):
        return "a tunnel to an IPv4 address"
    return None if address in GLOBAL_UNICAST and address.is_global else "not a public address"
