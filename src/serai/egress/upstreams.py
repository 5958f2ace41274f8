"""Connections to the world outside."""

import asyncio
import socket
import ssl
from ipaddress import IPv6Address

from serai.egress.addresses import Address, AddressRules, beside
from serai.egress.gate import Gate
from serai.egress.names import NoSuchName, Place, Resolver
from serai.egress.streams import Stream, made

_CONNECT_SECONDS = 10.0
_ATTEMPTS = 4
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 5))


class Unreachable(Exception):
    """No connection; the text says why, for the program inside."""


class NotAllowed(Exception):
    """The address is none that a sandbox may reach."""


class Upstreams:
    """Finds places and connects to them.

    Args:
        rules: replaced when this machine's addresses change.
        refused_ports: ports of this machine that stay closed, whatever is allowed.
        trust: how servers prove who they are.
    """

    def __init__(
        self,
        resolver: Resolver,
        rules: AddressRules,
        refused_ports: frozenset[int],
        trust: ssl.SSLContext,
    ) -> None:
        self.resolver = resolver
        self.rules = rules
        self.own: frozenset[Address] = frozenset()
        self._refused_ports = refused_ports
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        self._trust = trust

    async def places(
        self, gate: Gate, name: str, port: int, asked: Address | None = None
    ) -> list[Place]:
        """Where a name leads, the address that was asked for first if it is one of them.

        Raises:
            Unreachable: there is no such name.
            NotAllowed: it leads nowhere that may be reached.
        """
        try:
            async with gate.lookups:
                found = await self.resolver.places(name, port, self.rules)
                if not found and (name, port) in gate.policy.trusted:
                    near = beside(await self.resolver.addresses(name), self.own)
                    found = [Place(each, port, chosen=True) for each in near]
        except NoSuchName:
            raise Unreachable(f"the name {name[:255]} is not known") from None
        if not found:
            raise NotAllowed(name)
        return sorted(found, key=lambda place: place.address != asked)

    def allowed(self, places: list[Place]) -> list[Place]:
        """Those that may be connected to.

        Raises:
            NotAllowed: the rules are against all of them.
        """
        found = [place for place in places if self._may(place)]
        if not found:
            raise NotAllowed(str(places[0].address) if places else "")
        return found

    async def connect(self, places: list[Place]) -> socket.socket:
        """A connection to the first place that takes it.

        Raises:
            Unreachable: none does.
            NotAllowed: the rules are against all of them.
        """
        tried = self.allowed(places)[:_ATTEMPTS]
        problem: Exception | None = None
        for place in tried:
            try:
                return await self._connect(place)
            except (OSError, TimeoutError) as error:
                problem = error
        place = tried[-1]
        reason = "it did not answer in time" if isinstance(problem, TimeoutError) else f"{problem}"
        raise Unreachable(f"no connection to {place.address} port {place.port}: {reason}")

    def _may(self, place: Place) -> bool:
        if place.chosen:
            return True
        local = place.address.is_loopback or place.address in self.own
        if local and place.port in self._refused_ports:
            return False
        return self.rules.allows(place.address)

    async def _connect(self, place: Place) -> socket.socket:
        family = socket.AF_INET6 if isinstance(place.address, IPv6Address) else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            prepare(connection)
            async with asyncio.timeout(_CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(
                    connection, (str(place.address), place.port)
                )
        except BaseException:
            connection.close()
            raise
        return connection

    async def secure(self, places: list[Place], name: str, protocols: tuple[str, ...]) -> Stream:
        """A connection by TLS to a server that proved to be ``name``.

        Raises:
            Unreachable, NotAllowed: as ``connect``, or the server is not ``name``.
        """
        connection = await self.connect(places)
        try:
            return await made(connection, self._context(protocols), name)
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(f"{name} has no valid certificate: {error.verify_message}") from None
        except (OSError, TimeoutError, ValueError) as error:
            connection.close()
            raise Unreachable(f"no TLS with {name}: {error}") from None

    def _context(self, protocols: tuple[str, ...]) -> ssl.SSLContext:
        context = self._contexts.get(protocols)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(
                cadata=b"".join(self._trust.get_ca_certs(binary_form=True))
            )
            if protocols:
                context.set_alpn_protocols(list(protocols))
            self._contexts[protocols] = context
        return context


def prepare(connection: socket.socket) -> None:
    """Send at once, and notice when the other side is gone for good."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
