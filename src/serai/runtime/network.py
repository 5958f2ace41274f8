"""The network of a sandbox: one interface, ``lo``, behind which sits the host's egress process.

No packet of a sandbox ever leaves its network namespace. Every address of the world counts as
local there, and the kernel hands what is sent to one of them to listening sockets which belong
to the namespace but are held by the egress process outside: it takes the connection, sees
where it was meant to go, and decides. What is not TCP or a DNS question is refused at once.

This runs in a process of the host that enters the namespace for it: the midwife at a birth, an
errand for a sandbox that runs already. No tool is started and nothing is left behind there.
"""

import array
import os
import socket
from pathlib import Path

import msgspec

from serai.runtime import linux, netlink

OWN_ADDRESS, OWN_ADDRESS_6 = "192.0.0.8", "fd53:4552:4149::8"
"""What a sandbox takes its own address for: the dummy address of RFC 7600, and a local one."""
GUEST_ADDRESS, GUEST_GATEWAY, _GUEST_PREFIX = "192.0.0.13", "192.0.0.14", 30
_GUEST_SIDE, _OUR_SIDE = "eth0", "outside"
"""Of a sandbox with a kernel of its own, which takes one end of a pair of interfaces."""
PROXY_ADDRESS, PROXY_PORT = "192.0.0.9", 3128
"""Where clients that ask for a proxy find one."""
_LISTEN, _LISTEN_6, _LISTEN_PORT = "127.83.82.65", "fd53:4552:4149::65", 9
_DNS_PORT = 53
_FALLBACK_PORTS = (80, 443, _DNS_PORT)
_BEFORE_ROUTING, _OUTPUT = -150, 0
_BACKLOG = 256
_ANSWER_SECONDS = 5.0
_TCP, _UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP

COMPLETE, PORTS_ONLY = "all ports", "ports 53, 80 and 443 only"


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """What goes to the egress process with the descriptors, in their order.

    Attributes:
        id: the sandbox's.
        kinds: ``life`` is a pidfd of its first process, ``tcp`` a listening socket, ``dns`` a
            datagram socket; ``tunnel``, which comes alone, a device of packets.
    """

    id: str
    kinds: tuple[str, ...]


def make_rules() -> netlink.Ruleset:
    """What happens to packets in a sandbox's namespace."""
    everywhere = [
        [*netlink.destined_to("127.0.0.0", 8), netlink.verdict(netlink.ACCEPT)],
        [*netlink.destined_to("::1"), netlink.verdict(netlink.ACCEPT)],
    ]
    own = [
        [*netlink.destined_to(OWN_ADDRESS), netlink.verdict(netlink.ACCEPT)],
        [*netlink.destined_to(OWN_ADDRESS_6), netlink.verdict(netlink.ACCEPT)],
    ]
    guest = [[*netlink.destined_to(GUEST_ADDRESS), netlink.verdict(netlink.ACCEPT)]]
    ask = [*netlink.version_is(4), *netlink.protocol_is(_UDP), *netlink.port_is(_DNS_PORT)]
    ask_by_tcp = [*netlink.version_is(4), *netlink.protocol_is(_TCP), *netlink.port_is(_DNS_PORT)]
    to_us = netlink.hand_to(_LISTEN, _LISTEN_PORT)
    ruleset = netlink.Ruleset()
    ruleset.chain(
        "in",
        netlink.HOOK_IN,
        _BEFORE_ROUTING,
        [
            [*netlink.from_tunnel(), netlink.verdict(netlink.ACCEPT)],
            *everywhere,
            [*ask, *netlink.hand_to(_LISTEN, _DNS_PORT)],
            [*ask_by_tcp, *to_us],
            *own,
            [*netlink.version_is(4), *netlink.protocol_is(_TCP), *to_us],
            [
                *netlink.version_is(6),
                *netlink.protocol_is(_TCP),
                *netlink.hand_to(_LISTEN_6, _LISTEN_PORT),
            ],
        ],
    )
    passing = [*netlink.protocol_is(_TCP), netlink.verdict(netlink.ACCEPT)]
    ruleset.chain(
        "out",
        netlink.HOOK_OUT,
        _OUTPUT,
        [
            [*netlink.into_tunnel(), netlink.verdict(netlink.ACCEPT)],
            *everywhere,
            *own,
            *guest,
            passing,
            [*ask, netlink.verdict(netlink.ACCEPT)],
        ],
    )
    return ruleset


def attach(
    rules: netlink.Ruleset,
    pid: int,
    sandbox_id: str,
    egress: str,
    *,
    enter_user: bool,
    wait: bool = True,
) -> str:
    """Connect the network of a running sandbox with the egress process, for good or anew.

    The caller stays in the sandbox's network namespace afterwards.

    Args:
        rules: those of ``make_rules``.
        pid: the sandbox's first process.
        egress: Unix socket of the egress process.
        wait: until the egress process has it. Without, connections wait for it, in the kernel.
        enter_user: also enter its user namespace; needed when we are not root outside.

    Returns:
        What is connected: ``COMPLETE`` or ``PORTS_ONLY``.

    Raises:
        OSError: this kernel cannot, or the egress process is not there.
    """
    life = os.pidfd_open(pid)
    with connected(egress) as channel:
        for name in ("user", "net") if enter_user else ("net",):
            enter(pid, name)
        reach, listeners = _open(rules)
        descriptors = [life, *[each.fileno() for _, each in listeners]]
        kinds = ("life", *[kind for kind, _ in listeners])
        hand_over(channel, Attachment(id=sandbox_id, kinds=kinds), descriptors, wait=wait)
    return reach


def connected(egress: str) -> socket.socket:
    """A connection to the egress process, which must be made before entering a sandbox."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.settimeout(_ANSWER_SECONDS)
        channel.connect(egress)
    except OSError:
        channel.close()
        raise
    return channel


def hand_over(
    channel: socket.socket, message: Attachment, descriptors: list[int], *, wait: bool = True
) -> None:
    """Give descriptors to the egress process.

    Raises:
        OSError: it did not take them.
    """
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())
    channel.sendmsg([msgspec.json.encode(message) + b"\n"], [rights])
    if wait and channel.recv(1) != b"\n":
        raise OSError("the egress process did not take the network over")


def try_attach(rules: netlink.Ruleset, pid: int, sandbox_id: str, egress: str) -> str:
    """As ``attach`` from where the sandbox was made; says why instead of failing."""
    try:
        return attach(rules, pid, sandbox_id, egress, enter_user=False, wait=False)
    except OSError as error:
        return f"not connected: {error}"


def enter(pid: int, namespace: str) -> None:
    """Move into a namespace (``net``, ``user``) of a process."""
    descriptor = os.open(f"/proc/{pid}/ns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.enter_namespace(descriptor)
    finally:
        os.close(descriptor)


def prepare_pair() -> None:
    """In a new namespace: the interfaces of a sandbox with a kernel of its own.

    That kernel takes over what it finds on its end. Ours stays down and without an address until
    ``attach``, or it would take that as well.
    """
    netlink.make_pair(_GUEST_SIDE, _OUR_SIDE)
    netlink.add_link_address(_GUEST_SIDE, GUEST_ADDRESS, _GUEST_PREFIX)
    netlink.raise_link(_GUEST_SIDE)
    netlink.route_all_by(_GUEST_SIDE, GUEST_GATEWAY)
    linux.raise_loopback()


def _join_pair() -> None:
    """Be the gateway of a kernel on the other end, if there is a pair here."""
    if all(name != _OUR_SIDE for _, name in socket.if_nameindex()):
        return
    netlink.raise_link(_OUR_SIDE)
    netlink.add_link_address(_OUR_SIDE, GUEST_GATEWAY, _GUEST_PREFIX)
    netlink.except_from_here(_OUR_SIDE, GUEST_ADDRESS)


def _open(rules: netlink.Ruleset) -> tuple[str, list[tuple[str, socket.socket]]]:
    with_ipv6 = netlink.has_ipv6() and Path("/proc/net/if_inet6").exists()
    netlink.add_address(OWN_ADDRESS)
    netlink.route_everything_here(OWN_ADDRESS)
    _join_pair()
    if with_ipv6:
        with_ipv6 = _route_ipv6()
    try:
        rules.apply()
    except OSError:
        return PORTS_ONLY, _listen_on_ports()
    listeners = [
        ("tcp", _listener(_LISTEN, _LISTEN_PORT)),
        ("dns", _answerer(_LISTEN)),
    ]
    if with_ipv6:
        listeners.append(("tcp", _listener(_LISTEN_6, _LISTEN_PORT)))
    return COMPLETE, listeners


def _route_ipv6() -> bool:
    """False where IPv6 is switched off."""
    try:
        netlink.add_address(OWN_ADDRESS_6)
        netlink.route_everything_here(OWN_ADDRESS_6)
    except OSError:
        return False
    return True


def _listen_on_ports() -> list[tuple[str, socket.socket]]:
    """For a kernel without nftables: the few ports that most things need."""
    listeners = [("tcp", _listener("0.0.0.0", port)) for port in _FALLBACK_PORTS]  # noqa: S104
    return [
        *listeners,
        ("tcp", _listener(PROXY_ADDRESS, PROXY_PORT)),
        ("dns", _answerer("0.0.0.0")),  # noqa: S104
    ]


def _listener(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _see_through(listener)
    listener.bind((address, port))
    listener.listen(_BACKLOG)
    return listener


def _answerer(address: str) -> socket.socket:
    answerer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    answerer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    answerer.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    _see_through(answerer)
    answerer.bind((address, _DNS_PORT))
    return answerer


_IP_PKTINFO, _IP_TRANSPARENT, _IPV6_TRANSPARENT = 8, 19, 75


def _see_through(opened: socket.socket) -> None:
    """Let the socket have any address as its own: the one that a client meant."""
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)


def describe(reach: str) -> str:
    """One line for people about what the network of sandboxes is here."""
    if reach == COMPLETE:
        return "network: nothing but loopback, all else through the egress process"
    if reach == PORTS_ONLY:
        return f"DEGRADED: no nftables with tproxy, network for {PORTS_ONLY}"
    return f"DEGRADED: no network ({reach})" if reach else "network: loopback only"
