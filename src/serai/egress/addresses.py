"""Which addresses may be connected to at all, whatever a sandbox's own rules say."""

import socket
from collections.abc import Container, Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from itertools import pairwise
from pathlib import Path

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_REFUSED = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "224.0.0.0/3",
        "2001::/23",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
"""Besides what is not global: shared, link-local and metadata, benchmarking, multicast and
reserved addresses. Some Python versions take a few of them for global."""
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressRules:
    """Decides on addresses.

    Args:
        allowed: networks of our own side that the administrator opened, such as a LAN.
        own: addresses of this machine, which are refused although they may be public.
    """

    def __init__(self, allowed: Iterable[str], own: Iterable[Address] = ()) -> None:
        self._allowed = tuple(ip_network(text, strict=False) for text in allowed)
        self._own = frozenset(own)

    def allows(self, address: Address) -> bool:
        """Whether a sandbox may connect to it."""
        real = unwrap(address)
        if any(real in network for network in self._allowed):
            return True
        return is_public(real) and real not in self._own


def is_public(address: Address) -> bool:
    """Whether an address, already unwrapped, is one of the internet's."""
    return (
        address.is_global
        and not address.is_multicast
        and not any(address in network for network in _REFUSED)
    )


def beside(addresses: Iterable[Address], own: Container[Address]) -> list[Address]:
    """Those in networks beside this machine, not of the machine itself.

    Args:
        own: addresses of this machine.
    """
    return [each for each in addresses if not (_is_here(each, own) or _is_here(unwrap(each), own))]


def _is_here(address: Address, own: Container[Address]) -> bool:
    alone = address.is_loopback or address.is_link_local or address.is_unspecified
    return alone or address in own


def unwrap(address: Address) -> Address:
    """The IPv4 address inside an IPv6 address that only stands for one (mapped, 6to4, NAT64)."""
    if isinstance(address, IPv4Address):
        return address
    if (inner := address.ipv4_mapped or address.sixtofour) is not None:
        return inner
    if address in _NAT64 or int(address) >> 32 == 0:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def own_addresses() -> frozenset[Address]:
    """The addresses of this machine's interfaces, as the kernel lists them now."""
    found: set[Address] = set()
    try:
        lines = Path("/proc/net/fib_trie").read_text().splitlines()
        for line, following in pairwise(lines):
            if "host LOCAL" in following:
                found.add(ip_address(line.split()[-1]))
    except (OSError, ValueError):
        pass
    try:
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            found.add(IPv6Address(bytes.fromhex(line.split()[0])))
    except (OSError, ValueError):
        pass
    return frozenset(found)


def has_ipv6_route() -> bool:
    """Whether this machine has a way to the IPv6 internet. Sends nothing."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(("2001:4860:4860::8888", 53))
    except OSError:
        return False
    return True
