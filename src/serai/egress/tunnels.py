"""WireGuard tunnels of sandboxes: their packets on one side, datagrams to one peer on the other.

The device is in the sandbox's network namespace and brought by the runtime; the datagrams leave
from here, as connections do. So the peer is a destination like any other, judged by the sandbox's
rules before each handshake, and nothing but handshakes is sent to it until it has proved to have
the key that was given for it. Neither the host nor anything else is reached by what is inside.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from serai.egress.addresses import Address, unwrap
from serai.egress.gate import Gate, Refused
from serai.egress.journal import ADDRESS, PROXY_ONLY
from serai.egress.names import Place
from serai.egress.setup import TunnelPlan, TunnelRefused
from serai.egress.upstreams import NotAllowed, Unreachable, Upstreams
from serai.egress.wireguard.peer import Peer, checked_keys

_AT_ONCE = 16
_LONGEST = 65535
_TICK_SECONDS = 1.0
_REFUSED_SECONDS = 30.0
"""After a refusal, until the rules are asked again; at once when they change."""
_UNKNOWN_SECONDS = 5.0
_NO_ADDRESS = IPv4Address(0)
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0


class Tunnel:
    """One tunnel. It carries packets from when it has a device until it is closed."""

    def __init__(self, gate: Gate, upstreams: Upstreams, plan: TunnelPlan) -> None:
        self._gate = gate
        self._upstreams = upstreams
        self._plan = plan
        self._peer = Peer(
            checked_keys(plan.private_key, plan.peer_key), plan.peer_key, plan.keepalive
        )
        self._address = _address(plan.host)
        self._host = str(self._address or plan.host)
        self._own = ip_address(plan.address)
        self._allowed = tuple(ip_network(text, strict=False) for text in plan.allowed)
        self._device = -1
        self._wire: socket.socket | None = None
        self._place: Place | None = None
        self._asking: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._ticking: asyncio.TimerHandle | None = None

    async def judge(self) -> list[Place]:
        """Where the peer is, if the sandbox may send anything there.

        Raises:
            Refused, NotAllowed: it may not.
            Unreachable: nobody knows where that is.
        """
        host, port = self._host, self._plan.port
        if self._gate.policy.proxy_only:
            self._gate.journal.refuse(host, port, PROXY_ONLY)
            raise Refused(PROXY_ONLY)
        if self._address is not None:
            self._gate.unseen_name(self._address, port, None)
        else:
            self._gate.unseen_name(_NO_ADDRESS, port, host)
        try:
            return self._upstreams.allowed(await self._upstreams.places(self._gate, host, port))
        except NotAllowed:
            self._gate.journal.refuse(host, port, ADDRESS)
            raise

    def take(self, device: int) -> None:
        """Carry the packets of this device, which is ours from now on."""
        self._drop_device()
        os.set_blocking(device, False)
        self._device = device
        asyncio.get_running_loop().add_reader(device, self._from_sandbox)
        if self._ticking is None:
            self._tick()

    def reconsider(self) -> None:
        """The rules have changed: send nothing until they have been asked."""
        self._be_silent()
        self._not_before = 0.0

    def close(self) -> None:
        """End it. The device stays in the sandbox, where the runtime removes it."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._be_silent()
        self._drop_device()

    def _be_silent(self) -> None:
        """Send nothing more with what was agreed on."""
        if self._asking is not None:
            self._asking.cancel()
        self._hang_up()
        self._peer.forget()

    def _drop_device(self) -> None:
        if self._device >= 0:
            asyncio.get_running_loop().remove_reader(self._device)
            os.close(self._device)
            self._device = -1

    def _hang_up(self) -> None:
        if self._wire is not None:
            asyncio.get_running_loop().remove_reader(self._wire.fileno())
            self._wire.close()
        self._wire = self._place = None

    # Packets

    def _from_sandbox(self) -> None:
        now = time.monotonic()
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(self._device, _LONGEST)
            except BlockingIOError:
                return
            except OSError:  # the device is gone
                self._drop_device()
                return
            ends = addresses_of(packet)
            if ends is not None and ends[0] == self._own and self._is_allowed(ends[1]):
                self._gate.journal.sent += len(packet)
                self._send(self._peer.send(packet, now))
        self._ask_if_due(now)

    def _from_peer(self) -> None:
        now = time.monotonic()
        for _ in range(_AT_ONCE):
            if self._wire is None:
                return
            try:
                datagram = self._wire.recv(_LONGEST)
            except BlockingIOError:
                return
            except OSError:  # what an earlier datagram met, such as a closed port
                continue
            packet, answers = self._peer.receive(datagram, now)
            self._send(answers)
            if packet:
                self._deliver(packet)

    def _deliver(self, packet: bytes) -> None:
        ends = addresses_of(packet)
        if ends is None or ends[1] != self._own or not self._is_allowed(ends[0]):
            return
        self._gate.journal.received += len(packet)
        with contextlib.suppress(OSError):
            os.write(self._device, packet[: length_of(packet)])

    def _is_allowed(self, address: Address) -> bool:
        return any(
            address in network for network in self._allowed if network.version == address.version
        )

    def _send(self, datagrams: list[bytes]) -> None:
        if self._wire is not None:
            for datagram in datagrams:
                with contextlib.suppress(OSError):  # lost, as datagrams are at times
                    self._wire.send(datagram)

    # Handshakes

    def _tick(self) -> None:
        now = time.monotonic()
        self._send(self._peer.tick(now))
        self._ask_if_due(now)
        self._ticking = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _ask_if_due(self, now: float) -> None:
        idle = self._asking is None or self._asking.done()
        if idle and now >= self._not_before and self._peer.is_due(now):
            self._asking = asyncio.get_running_loop().create_task(self._ask())

    async def _ask(self) -> None:
        """Ask the rules, and then the peer for keys."""
        try:
            places = await self.judge()
        except (Refused, NotAllowed):
            self._hang_up()
            self._peer.forget()
            self._not_before = time.monotonic() + _REFUSED_SECONDS
            return
        except Unreachable:  # its name cannot be looked up just now
            self._not_before = time.monotonic() + _UNKNOWN_SECONDS
            return
        if self._place not in places:
            self._hang_up()
            self._connect(places)
        self._send([self._peer.initiate(time.monotonic())])

    def _connect(self, places: list[Place]) -> None:
        for place in places:
            try:
                self._wire = connected(place)
            except OSError:
                continue
            self._place = place
            asyncio.get_running_loop().add_reader(self._wire.fileno(), self._from_peer)
            return


def _address(host: str) -> Address | None:
    """The address that a host is, if it is no name: not one that only stands for another."""
    try:
        return unwrap(ip_address(host))
    except ValueError:
        return None


def connected(place: Place) -> socket.socket:
    """A datagram socket that sends to that place and takes nothing from elsewhere."""
    is_v6 = isinstance(place.address, IPv6Address)
    wire = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        wire.setblocking(False)
        if not is_v6:
            wire.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        wire.connect((str(place.address), place.port))
    except BaseException:
        wire.close()
        raise
    return wire


def addresses_of(packet: bytes) -> tuple[Address, Address] | None:
    """Source and destination of an IP packet that is as long as it says."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and 20 <= length_of(packet) <= len(packet):
        return IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    if version == 6 and 40 <= length_of(packet) <= len(packet):
        return IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    return None


def length_of(packet: bytes) -> int:
    """Bytes of a packet without what was added to fill a block."""
    if packet[0] >> 4 == 4:
        return int.from_bytes(packet[2:4], "big")
    return 40 + int.from_bytes(packet[4:6], "big")


async def _judge(tunnel: Tunnel, peer: str) -> None:
    try:
        await tunnel.judge()
    except Refused as refusal:
        raise TunnelRefused(
            f"the network rules of this sandbox do not let it reach {peer} ({refusal.reason}); "
            "allow that host of peer_endpoint, by its name or address"
        ) from None
    except NotAllowed:
        raise TunnelRefused(
            f"peer_endpoint: {peer} is not on the internet, nor in a network that the "
            "administrator opened (network.toml, [egress] allow)"
        ) from None
    except Unreachable as problem:
        raise TunnelRefused(f"peer_endpoint: {problem}") from None


class Tunnels:
    """The tunnels of all sandboxes, by the sandbox's id.

    Args:
        gate_of: the rules of a sandbox.
    """

    def __init__(self, upstreams: Upstreams, gate_of: Callable[[str], Gate]) -> None:
        self._upstreams = upstreams
        self._gate_of = gate_of
        self._by_id: dict[str, Tunnel] = {}

    async def open(self, sandbox_id: str, plan: TunnelPlan, *, judged: bool) -> None:
        """Put a tunnel in place of the one there is.

        Raises:
            TunnelRefused: the peer must not be reached; the other one goes on.
        """
        try:
            tunnel = Tunnel(self._gate_of(sandbox_id), self._upstreams, plan)
        except ValueError as error:
            raise TunnelRefused(f"no tunnel with these keys: {error}") from None
        if judged:
            await _judge(tunnel, f"{plan.host}:{plan.port}")
        self.close(sandbox_id)
        self._by_id[sandbox_id] = tunnel

    def take(self, sandbox_id: str, device: int) -> bool:
        """Carry the packets of a sandbox's device; without a tunnel for it, close that."""
        tunnel = self._by_id.get(sandbox_id)
        if tunnel is None:
            os.close(device)
            return False
        tunnel.take(device)
        return True

    def reconsider(self, sandbox_id: str) -> None:
        """The rules of a sandbox have changed."""
        if (tunnel := self._by_id.get(sandbox_id)) is not None:
            tunnel.reconsider()

    def close(self, sandbox_id: str) -> None:
        """End the tunnel of a sandbox, if it has one."""
        if (tunnel := self._by_id.pop(sandbox_id, None)) is not None:
            tunnel.close()
