"""Calls to servers that tenants name: which addresses they may lead to.

A name is looked up and checked, and the connection is made to the very address that was checked.
Addresses of the link, where clouds keep their metadata services, are never called.
"""

import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from serai.kernel.addresses import is_local_name

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressForbidden(Exception):
    """An address must not be called; the message says which."""


class NotCalled(Exception):
    """A server could not be called; the message says why."""


async def post(
    url: str, body: bytes, headers: dict[str, str], *, private: bool, seconds: float
) -> int:
    """Call a tenant's server once, by http or https only, without following redirects.

    Returns:
        The status of the answer.

    Raises:
        AddressForbidden: the address must not be called.
        TimeoutError: no answer within so many seconds.
        NotCalled: any other reason.
    """
    import aiohttp
    from yarl import URL

    try:
        place = URL(url)
        check_host(place.host or "", private)
        connector = aiohttp.TCPConnector(resolver=guarded_resolver(private))
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.post(place, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status
    except TimeoutError:
        raise
    except (OSError, ValueError, aiohttp.ClientError) as problem:
        raise NotCalled(str(problem)) from None


def may_be_called(address: Address, private: bool) -> bool:
    """Whether a call may go to an address.

    Args:
        address: where to.
        private: whether this machine and private networks may be called.
    """
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return may_be_called(address.ipv4_mapped, private)
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return private or address.is_global


def check_host(host: str, private: bool) -> None:
    """Check what a URL itself says: for addresses in it, the resolver is not asked.

    Raises:
        AddressForbidden: it must not be called.
    """
    if not private and is_local_name(host.rstrip(".").lower()):
        raise AddressForbidden(f"{host} is this machine")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return
    check_address(address, private)


def check_address(address: Address, private: bool) -> None:
    """Check an address. Raises AddressForbidden."""
    if not may_be_called(address, private):
        raise AddressForbidden(f"the address {address}")


def guarded_resolver(private: bool) -> "AbstractResolver":
    """Looks names up for aiohttp, and raises AddressForbidden for addresses not to be called."""
    from aiohttp.abc import AbstractResolver
    from aiohttp.resolver import ThreadedResolver

    class Guarded(AbstractResolver):
        def __init__(self) -> None:
            self._inner = ThreadedResolver()

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> Any:
            found = await self._inner.resolve(host, port, family)
            for one in found:
                check_address(ipaddress.ip_address(one["host"].partition("%")[0]), private)
            return found

        async def close(self) -> None:
            await self._inner.close()

    return Guarded()
