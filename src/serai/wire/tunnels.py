"""The configuration of a tunnel, as ``PUT /network/tunnel/config`` of the sandbox API takes it."""

import base64
import ipaddress
from typing import Annotated

import msgspec

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
KEY_BYTES = 32
_NAME = r"^(?!\.{1,2}$)[A-Za-z0-9_.=+-]{1,15}$"
_TAKEN = {"lo", "all", "default"}
_RESERVED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "192.0.0.0/24",
        "198.18.0.0/15",
        "224.0.0.0/3",
        "::/127",
        "fd53:4552:4149::/48",
        "fe80::/10",
        "ff00::/8",
    )
)
"""Loopback, multicast, and where sandboxes reach the platform's resolver and proxy."""
_SMALLEST_V6 = 1280


class TunnelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A WireGuard tunnel; keys are base64 of 32 bytes, networks are CIDR.

    Attributes:
        local_ip: the sandbox's address in the tunnel, with the network reached by it.
        peer_endpoint: ``host:port`` by UDP; an IPv6 address in brackets.
        listen_port: taken and not used: datagrams leave from any port of the platform's.
        allowed_ips: what the peer may stand for.
        persistent_keepalive: seconds; 0 for none.
        route_all: send everything in ``allowed_ips`` to the peer.
    """

    local_ip: str
    peer_endpoint: str
    peer_public_key: str
    private_key: str
    mtu: Annotated[int, msgspec.Meta(ge=68, le=65535)] = 1420
    listen_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 51820
    interface_name: Annotated[str, msgspec.Meta(pattern=_NAME)] = "wg0"
    allowed_ips: Annotated[tuple[str, ...], msgspec.Meta(max_length=256)] = ("0.0.0.0/0",)
    persistent_keepalive: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 25
    route_all: bool = False

    @property
    def own(self) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
        """The address with its network."""
        return ipaddress.ip_interface(self.local_ip)

    @property
    def place(self) -> tuple[str, int]:
        """Host and port of the peer."""
        host, _, port = self.peer_endpoint.rpartition(":")
        return host.removeprefix("[").removesuffix("]").rstrip(".").lower(), int(port)

    @property
    def networks(self) -> tuple[str, ...]:
        """What the sandbox reaches by the tunnel."""
        more = self.allowed_ips if self.route_all else ()
        networks = [self.own.network, *(ipaddress.ip_network(each, strict=False) for each in more)]
        return tuple(dict.fromkeys(str(each) for each in networks))


def read_tunnel(config: str) -> TunnelConfig:
    """The tunnel that base64 text describes.

    Raises:
        ValueError: naming what is wrong with it.
    """
    try:
        text = base64.b64decode(config, validate=True)
    except ValueError as error:
        raise ValueError(f"config is not base64: {error}") from error
    found = msgspec.json.decode(text, type=TunnelConfig)
    for name in ("peer_public_key", "private_key"):
        key_of(getattr(found, name), name)
    _check_networks(found)
    _check_place(found.peer_endpoint)
    if found.interface_name in _TAKEN:
        raise ValueError(f"interface_name must not be {found.interface_name!r}")
    if found.own.version == 6 and found.mtu < _SMALLEST_V6:
        raise ValueError(f"mtu must be at least {_SMALLEST_V6} with an IPv6 local_ip")
    return found


def key_of(text: str, name: str) -> bytes:
    """A key's bytes.

    Raises:
        ValueError: it is none; the text is not repeated, as it may be a secret.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"{name} must be base64 of {KEY_BYTES} bytes")
    return key


def _check_networks(found: TunnelConfig) -> None:
    texts = [("local_ip", found.local_ip), *(("allowed_ips", each) for each in found.allowed_ips)]
    for name, text in texts:
        try:
            interface = ipaddress.ip_interface(text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        for reserved in _RESERVED:
            is_own = name == "local_ip" and interface.ip in reserved
            if is_own or _lies_in(interface.network, reserved):
                raise ValueError(f"{name}: {text[:80]} is in {reserved}, which has a use already")


def _lies_in(network: _Network, other: _Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and network.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and network.subnet_of(other)


def _check_place(endpoint: str) -> None:
    host, _, port = endpoint.rpartition(":")
    is_number = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    plain = host.removeprefix("[").removesuffix("]")
    if not plain or len(plain) > 253 or not plain.isascii() or not is_number:
        raise ValueError(
            "peer_endpoint must be host:port, such as vpn.example.com:51820 or [2001:db8::1]:51820"
        )
    last = plain.rstrip(".").rpartition(".")[2]
    if ":" in plain or last.isdigit() or last.lower().startswith("0x"):
        try:
            ipaddress.ip_address(plain)
        except ValueError as error:
            raise ValueError(f"peer_endpoint: {error}") from error
    if (":" in plain) != host.startswith("["):
        raise ValueError("peer_endpoint: an IPv6 address, and nothing else, stands in brackets")
