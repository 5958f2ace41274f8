"""Kernel messages that set up a network namespace: addresses, routes and nftables rules.

Written by hand, because starting ``ip`` and ``nft`` for every sandbox takes longer than starting
the sandbox. Layouts: linux/netlink.h, rtnetlink.h, if_addr.h, nfnetlink.h, nf_tables.h.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Sequence

_ROUTE, _NETFILTER = 0, 12
_REQUEST, _ACK, _REPLACE, _EXCLUSIVE, _CREATE, _APPEND = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800
_ERROR = 2
_NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")

_NEW_LINK, _OLD_LINK, _NEW_ADDRESS, _NEW_ROUTE, _NO_DUPLICATE_DETECTION = 16, 17, 20, 24, 0x02
_LOOPBACK_INDEX, _UP = 1, 1
_LINK_NAME, _LINK_MTU, _LINK_INFO, _INFO_KIND, _INFO_DATA, _VETH_PEER = 3, 4, 18, 1, 2, 1
_TABLE_MAIN, _TABLE_LOCAL, _PROTOCOL_BOOT = 254, 255, 3
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST, _TYPE_UNICAST, _TYPE_LOCAL = 0, 253, 254, 1, 2

_NFTABLES = 10 << 8
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _OLD_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 2, 3, 6
_INET = 1
_TABLE, _EARLIER_TABLES = "serai3", ("serai2",)
"""With the number of the rules' version: see ``Ruleset.apply``."""
HOOK_IN, HOOK_OUT = 0, 3
"""NF_INET_PRE_ROUTING and NF_INET_LOCAL_OUT."""
ACCEPT, DROP = 1, 0
_META_TYPE_IN, _META_TYPE_OUT, _META_FAMILY, _META_PROTOCOL = 8, 9, 15, 16
_TYPE_NONE = 0xFFFE
"""ARPHRD_NONE: a device without addresses below IP, which here is a tunnel's."""
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_REGISTER, _PORT_REGISTER = 8, 12
"""NFT_REG32_00, and one far enough from it to leave room for an IPv6 address."""
FAMILY = {4: 2, 6: 10}
"""NFPROTO_IPV4 and NFPROTO_IPV6 by version of IP; the same numbers as their AF_*."""

Expression = bytes


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)


def _nest(kind: int, *parts: bytes) -> bytes:
    return _attribute(kind | _NESTED, b"".join(parts))


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("!I", value))


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, sequence, 0) + body


def _exchange(protocol: int, data: bytes, answers: int) -> None:
    """Send messages and wait for that many acknowledgements.

    Raises:
        OSError: the kernel refused one of them.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as link:
        link.bind((0, 0))
        link.settimeout(10)
        link.send(data)
        while answers > 0:
            answers -= _check(link.recv(65536))


def _check(data: bytes) -> int:
    """How many acknowledgements are in ``data``."""
    found = 0
    while data:
        length, kind, _, _, _ = _HEADER.unpack_from(data)
        if kind == _ERROR:
            (code,) = struct.unpack_from("=i", data, _HEADER.size)
            if code:
                raise OSError(-code, f"netlink: {os.strerror(-code)}")
            found += 1
        data = data[(length + 3) & ~3 :]
    return found


def add_address(address: str) -> None:
    """Give ``lo`` one more address of its own; one it has already is kept."""
    _add_address(address, None, _SCOPE_HOST, _LOOPBACK_INDEX)


def route_everything_here(source: str) -> None:
    """Treat every address of the family of ``source`` as our own, by way of ``lo``.

    Connections then come from ``source`` unless their maker says otherwise.
    """
    family, packed = _packed(source)
    scope = _SCOPE_HOST if family == socket.AF_INET else _SCOPE_UNIVERSE
    head = (family, 0, 0, 0, _TABLE_LOCAL, _PROTOCOL_BOOT, scope, _TYPE_LOCAL, 0)
    body = struct.pack("=BBBBBBBBI", *head)
    body += _attribute(4, struct.pack("=I", _LOOPBACK_INDEX)) + _attribute(7, packed)
    _exchange(_ROUTE, _message(_NEW_ROUTE, _ACK | _CREATE | _REPLACE, 1, body), 1)


def make_pair(name: str, other: str) -> None:
    """Two interfaces, each of which gets what is sent by the other one."""
    nothing = struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0)
    peer = _nest(_VETH_PEER, nothing, _text(_LINK_NAME, other))
    info = _nest(_LINK_INFO, _text(_INFO_KIND, "veth"), _nest(_INFO_DATA, peer))
    body = nothing + _text(_LINK_NAME, name) + info
    _exchange(_ROUTE, _message(_NEW_LINK, _ACK | _CREATE | _EXCLUSIVE, 1, body), 1)


def raise_link(name: str) -> None:
    """Let an interface be used."""
    _about_link(_NEW_LINK, name, _UP)


def set_mtu(name: str, size: int) -> None:
    """Let packets on an interface have up to so many bytes."""
    _about_link(_NEW_LINK, name, details=_attribute(_LINK_MTU, struct.pack("=I", size)))


def remove_link(name: str) -> None:
    """Take an interface away, and with it its addresses and routes."""
    _about_link(_OLD_LINK, name)


def _about_link(kind: int, name: str, flag: int = 0, details: bytes = b"") -> None:
    body = struct.pack("=BBHiII", 0, 0, 0, socket.if_nametoindex(name), flag, flag) + details
    _exchange(_ROUTE, _message(kind, _ACK, 1, body), 1)


def add_link_address(name: str, address: str, prefix: int) -> None:
    """Give an interface an address in a network of its own; one it has already is kept."""
    _add_address(address, prefix, _SCOPE_UNIVERSE, socket.if_nametoindex(name))


def _add_address(address: str, prefix: int | None, scope: int, interface: int) -> None:
    family, packed = _packed(address)
    size = len(packed) * 8 if prefix is None else prefix
    head = (family, size, _NO_DUPLICATE_DETECTION, scope, interface)
    body = struct.pack("=BBBBI", *head) + _attribute(1, packed) + _attribute(2, packed)
    _exchange(_ROUTE, _message(_NEW_ADDRESS, _ACK | _CREATE | _REPLACE, 1, body), 1)


def route_all_by(name: str, gateway: str) -> None:
    """Send everything by an interface to a gateway there."""
    family, packed = _packed(gateway)
    head = (family, 0, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _TYPE_UNICAST, 0)
    body = struct.pack("=BBBBBBBBI", *head) + _attribute(5, packed)
    body += _attribute(4, struct.pack("=I", socket.if_nametoindex(name)))
    _exchange(_ROUTE, _message(_NEW_ROUTE, _ACK | _CREATE | _REPLACE, 1, body), 1)


def except_from_here(name: str, network: str, source: str = "") -> None:
    """Reach an address or a network by an interface, although ``route_everything_here`` took all.

    Args:
        source: what connections come from there, unless their maker says otherwise.
    """
    details = _attribute(7, _packed(source)[1]) if source else b""
    _route_in_local(network, _SCOPE_LINK, _TYPE_UNICAST, socket.if_nametoindex(name), details)


def keep_here(network: str, source: str) -> None:
    """Treat a network as our own, even if a larger one is reached by an interface."""
    details = _attribute(7, _packed(source)[1])
    _route_in_local(network, _SCOPE_HOST, _TYPE_LOCAL, _LOOPBACK_INDEX, details)


def _route_in_local(network: str, scope: int, kind: int, interface: int, details: bytes) -> None:
    address, _, prefix = network.partition("/")
    family, packed = _packed(address)
    size = int(prefix or len(packed) * 8)
    scope = scope if family == socket.AF_INET else _SCOPE_UNIVERSE
    head = (family, size, 0, 0, _TABLE_LOCAL, _PROTOCOL_BOOT, scope, kind, 0)
    body = struct.pack("=BBBBBBBBI", *head) + _attribute(1, packed)
    body += _attribute(4, struct.pack("=I", interface)) + details
    _exchange(_ROUTE, _message(_NEW_ROUTE, _ACK | _CREATE | _REPLACE, 1, body), 1)


def _packed(address: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


# nftables


def version_is(version: int) -> list[Expression]:
    """Only packets of IPv4 or IPv6."""
    return [_meta(_META_FAMILY), _equals(bytes([FAMILY[version]]))]


def protocol_is(protocol: int) -> list[Expression]:
    """Only packets of a transport protocol, such as ``socket.IPPROTO_TCP``."""
    return [_meta(_META_PROTOCOL), _equals(bytes([protocol]))]


def destined_to(address: str, prefix: int = 0) -> list[Expression]:
    """Only packets for an address; with ``prefix`` for the network of that many whole octets."""
    family, packed = _packed(address)
    offset = 24 if family == socket.AF_INET6 else 16
    packed = packed[: prefix // 8 or len(packed)]
    version = 6 if family == socket.AF_INET6 else 4
    return [
        *version_is(version),
        _payload(_NETWORK_HEADER, offset, len(packed)),
        _equals(packed),
    ]


def from_tunnel() -> list[Expression]:
    """Only packets that came in by a tunnel."""
    return [_meta(_META_TYPE_IN), _equals(struct.pack("=H", _TYPE_NONE))]


def into_tunnel() -> list[Expression]:
    """Only packets that go out by a tunnel."""
    return [_meta(_META_TYPE_OUT), _equals(struct.pack("=H", _TYPE_NONE))]


def port_is(port: int) -> list[Expression]:
    """Only packets for that port; behind ``protocol_is``."""
    return [_payload(_TRANSPORT_HEADER, 2, 2), _equals(struct.pack("!H", port))]


def hand_to(address: str, port: int) -> list[Expression]:
    """Give the packet to our socket there, which sees the address it was meant for."""
    family, packed = _packed(address)
    return [
        _immediate(_REGISTER, packed),
        _immediate(_PORT_REGISTER, struct.pack("!H", port)),
        _expression(
            "tproxy", _number(1, family), _number(2, _REGISTER), _number(3, _PORT_REGISTER)
        ),
        verdict(ACCEPT),
    ]


def verdict(code: int) -> Expression:
    """Let the packet go on, or not."""
    data = _nest(2, _nest(2, _attribute(1, struct.pack("!i", code))))
    return _expression("immediate", _number(1, 0), data)


def _expression(name: str, *parts: bytes) -> Expression:
    return _nest(1, _text(1, name), _nest(2, *parts))


def _meta(key: int) -> Expression:
    return _expression("meta", _number(2, key), _number(1, _REGISTER))


def _equals(data: bytes) -> Expression:
    return _expression("cmp", _number(1, _REGISTER), _number(2, 0), _nest(3, _attribute(1, data)))


def _payload(base: int, offset: int, length: int) -> Expression:
    parts = (_number(1, _REGISTER), _number(2, base), _number(3, offset), _number(4, length))
    return _expression("payload", *parts)


def _immediate(register: int, data: bytes) -> Expression:
    return _expression("immediate", _number(1, register), _nest(2, _attribute(1, data)))


class Ruleset:
    """Chains of rules, encoded once, put in place in any namespace in one transaction."""

    def __init__(self) -> None:
        self._bodies = [(_NEW_TABLE, _CREATE | _EXCLUSIVE, _text(1, _TABLE))]

    def chain(self, name: str, hook: int, priority: int, rules: Sequence[list[Expression]]) -> None:
        """Add a chain; what matches none of its rules is dropped."""
        place = _nest(4, _number(1, hook), _attribute(2, struct.pack("!i", priority)))
        body = _text(1, _TABLE) + _text(3, name) + place + _number(5, DROP) + _text(7, "filter")
        self._bodies.append((_NEW_CHAIN, _CREATE, body))
        for rule in rules:
            body = _text(1, _TABLE) + _text(2, name) + _nest(4, *rule)
            self._bodies.append((_NEW_RULE, _CREATE | _APPEND, body))

    def apply(self) -> None:
        """Put the rules in place in this network namespace; those in place already stay.

        To replace them would wait for every processor (7 to 15 ms; adding takes 0.3 ms).

        Raises:
            OSError: this kernel cannot do what they need.
        """
        with contextlib.suppress(FileExistsError):
            _transact(self._bodies)


def drop_earlier_rules() -> None:
    """Remove those of earlier versions, which know less; waits for every processor."""
    for table in _EARLIER_TABLES:
        with contextlib.suppress(FileNotFoundError):
            _transact([(_OLD_TABLE, 0, _text(1, table))])


def _transact(bodies: Sequence[tuple[int, int, bytes]]) -> None:
    """Do all of it or nothing; each is a kind of message of nftables, its flags and its body."""
    head, batch = struct.pack("!BBH", _INET, 0, 0), struct.pack("!BBH", 0, 0, _NFTABLES >> 8)
    messages = [_message(_BATCH_BEGIN, 0, 0, batch)]
    for number, (kind, flags, body) in enumerate(bodies, start=1):
        messages.append(_message(_NFTABLES | kind, flags | _ACK, number, head + body))
    messages.append(_message(_BATCH_END, 0, len(bodies) + 1, batch))
    _exchange(_NETFILTER, b"".join(messages), len(bodies))


def has_ipv6() -> bool:
    """Whether this kernel knows IPv6 at all."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC).close()
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
            return False
        raise
    return True
