"""Where a registry may send the server: to other hosts, but to none nearer than itself.

A registry names the place to sign in at, and sends downloads on to its storage. Whoever runs one
could so have the server ask what only the server can reach: services of this machine, of its
network, or the metadata of a cloud. So a registry of the internet sends it to the internet, one of
a private network also into such networks, and nobody to link-local addresses.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from serai.runtime.roots.problems import ImageProblem

PUBLIC, PRIVATE, HERE, NOWHERE = range(4)
"""How near an address is; ``NOWHERE`` are those that nobody is sent to."""
_NAT64 = IPv6Network("64:ff9b::/96")


def nearness(text: str) -> int:
    """How near an address is to this machine."""
    address = _plain(ip_address(text.partition("%")[0]))
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return NOWHERE
    if address.is_loopback:
        return HERE
    return PUBLIC if address.is_global else PRIVATE


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


class Reach(AbstractResolver):
    """Finds addresses for a client of one registry, and refuses those that are too near.

    Judging the addresses that are then connected to leaves no time in which a name could change
    what it leads to.

    Args:
        host: of the registry, with its port.
    """

    def __init__(self, host: str) -> None:
        self._own = urlsplit(f"//{host}").hostname or ""
        self._near = _literal(self._own) or PUBLIC
        self._proxies = {_host(url) for name, url in getproxies().items() if name != "no"}
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            ImageProblem: all of them are too near.
            OSError: it has none.
        """
        found = await self._resolver.resolve(host, port, family)
        if host == self._own:
            self._near = max(nearness(each["host"]) for each in found)
        elif host not in self._proxies:
            found = [each for each in found if self._allows(nearness(each["host"]))]
            if not found:
                raise self._refused(host)
        return found

    def check(self, url: str) -> None:
        """Judge an address that stands in a URL itself, of which no resolver is asked.

        Raises:
            ImageProblem: it is too near, or the URL is none.
        """
        host = _host(url)
        if not host or not url.lower().startswith(("http://", "https://")):
            raise ImageProblem(f"registry {self._own} sends on to {url[:120]!r}, which is no URL")
        near = _literal(host)
        if near is not None and host != self._own and not self._allows(near):
            raise self._refused(host)

    def _allows(self, near: int) -> bool:
        return near <= self._near and near != NOWHERE

    def _refused(self, host: str) -> ImageProblem:
        return ImageProblem(
            f"registry {self._own} sends on to {host[:120]}, which is nearer to this machine than "
            "the registry itself: nothing is asked there"
        )

    async def close(self) -> None:
        """Nothing is held."""
        await self._resolver.close()


def _host(url: str) -> str:
    """The host of a URL; empty where it has none, or is none."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") if parts.port != 0 else ""
    except ValueError:
        return ""


def _literal(host: str) -> int | None:
    try:
        return nearness(host)
    except ValueError:
        return None
