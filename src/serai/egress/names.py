"""Names and addresses: what sandboxes are told, what we remember of it, where names lead."""

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address

import msgspec

from serai.egress.addresses import Address, AddressRules
from serai.egress.setup import HostRule

TTL_SECONDS = 30
_MEMORY = 4096
"""Names remembered of one sandbox."""
_CACHE_SECONDS = 10.0
_CACHE_SIZE = 2048
_VIRTUAL_BASE = int(IPv4Address("198.18.0.0"))
_VIRTUAL_COUNT = 1 << 16
SINK = IPv4Address("192.0.0.10")
"""What names lead to that a sandbox must not reach: we answer there that it must not."""
PROXY = IPv4Address("192.0.0.9")
"""Where a client that asks for a proxy finds us; the runtime routes it to us."""


class Place(msgspec.Struct, frozen=True):
    """Where to connect to. ``chosen`` by the administrator, so that any address will do."""

    address: Address
    port: int
    chosen: bool = False


class NoSuchName(Exception):
    """The host's resolver does not know the name."""


class Resolver:
    """The host's resolver, a short memory of its answers, and the administrator's own names."""

    def __init__(self, hosts: Iterable[HostRule], *, ipv6: bool) -> None:
        self._hosts = {rule.name.lower(): rule for rule in hosts}
        self._ipv6 = ipv6
        self._virtual: dict[str, IPv4Address] = {}
        self._names: dict[IPv4Address, str] = {}
        self._cache: OrderedDict[str, tuple[float, tuple[Address, ...]]] = OrderedDict()
        self._asking: dict[str, asyncio.Future[tuple[Address, ...]]] = {}

    def chosen(self, name: str) -> HostRule | None:
        """The administrator's rule for a name."""
        if (rule := self._hosts.get(name)) is not None:
            return rule
        labels = name.split(".")
        for skipped in range(1, len(labels)):
            if (rule := self._hosts.get("*." + ".".join(labels[skipped:]))) is not None:
                return rule
        return None

    def virtual(self, name: str) -> IPv4Address | None:
        """The address that stands for a name of the administrator's inside every sandbox."""
        if self.chosen(name) is None:
            return None
        if name not in self._virtual:
            if len(self._virtual) >= _VIRTUAL_COUNT:
                return None
            address = IPv4Address(_VIRTUAL_BASE + 1 + len(self._virtual))
            self._virtual[name] = address
            self._names[address] = name
        return self._virtual[name]

    def name_of(self, address: Address) -> str | None:
        """The name that a virtual address stands for."""
        return self._names.get(address) if isinstance(address, IPv4Address) else None

    async def places(self, name: str, port: int, rules: AddressRules) -> list[Place]:
        """Where ``name`` leads, only to what ``rules`` allow.

        Raises:
            NoSuchName: nowhere at all.
        """
        if (rule := self.chosen(name)) is not None:
            return [Place(ip_address(rule.address), rule.port or port, chosen=True)]
        found = await self.addresses(name)
        return [Place(address, port) for address in found if rules.allows(address)]

    async def addresses(self, name: str) -> tuple[Address, ...]:
        """What the host's resolver says.

        Raises:
            NoSuchName: it knows nothing.
        """
        try:
            return (ip_address(name),)
        except ValueError:
            pass
        kept = self._cache.get(name)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        if (asking := self._asking.get(name)) is None:
            asking = asyncio.ensure_future(self._ask(name))
            self._asking[name] = asking
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(asking)

    async def _ask(self, name: str) -> tuple[Address, ...]:
        family = socket.AF_UNSPEC if self._ipv6 else socket.AF_INET
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(
                name, None, family=family, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            raise NoSuchName(name) from error
        found = tuple(dict.fromkeys(ip_address(info[4][0]) for info in infos))
        self._cache[name] = (time.monotonic() + _CACHE_SECONDS, found)
        self._cache.move_to_end(name)
        if len(self._cache) > _CACHE_SIZE:
            self._cache.popitem(last=False)
        return found


class Pins:
    """Which names one sandbox was told for which address."""

    def __init__(self) -> None:
        self._names: OrderedDict[Address, dict[str, None]] = OrderedDict()

    def remember(self, name: str, addresses: Iterable[Address]) -> None:
        """The sandbox was told these addresses for ``name``."""
        for address in addresses:
            names = self._names.setdefault(address, {})
            names.pop(name, None)
            names[name] = None
            if len(names) > 64:
                names.pop(next(iter(names)))
            self._names.move_to_end(address)
        while len(self._names) > _MEMORY:
            self._names.popitem(last=False)

    def names(self, address: Address) -> list[str]:
        """Names told for an address, the latest last."""
        return list(self._names.get(address, ()))
