"""What an operator says about this server's place in the network: ``network.toml``."""

import ipaddress
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from serai.kernel.errors import SeraiError
from serai.network.names import is_domain

DNS_PORT = 53


class Nameserver(msgspec.Struct, frozen=True):
    """A DNS server; ``host`` is an IP address."""

    host: str
    port: int = DNS_PORT


class EgressSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table ``[egress]``: what sandboxes may reach, whatever their own rules say.

    Attributes:
        internet: whether a sandbox without rules of its own reaches the internet.
        allow: networks (CIDR) besides the internet, such as the LAN.
        platform: whether sandboxes reach this server's own API, as ``serai.internal``.
        hosts: names (or ``*.suffix``) and the ``address`` or ``address:port`` they lead to.
        roots: PEM file with more authorities that servers outside may be vouched for by; programs
            in sandboxes trust them too. Relative to the data directory.
    """

    internet: bool = True
    allow: tuple[str, ...] = ()
    platform: bool = False
    hosts: dict[str, str] = {}
    roots: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be read, naming the field."""
        for text in self.allow:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise ValueError(f"egress.allow: {text!r} is not a network (CIDR)") from None
        for name, place in self.hosts.items():
            try:
                split_place(place)
            except ValueError:
                raise ValueError(
                    f"egress.hosts: {name!r} leads to {place!r}, which is not address[:port]"
                ) from None


def split_place(text: str) -> tuple[str, int]:
    """``address``, ``address:port`` or ``[address]:port``; port 0 for none.

    Raises:
        ValueError: it is none of them.
    """
    address, port = text, "0"
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "0"
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    ipaddress.ip_address(address)
    if not 0 <= int(port) < 65536:
        raise ValueError(port)
    return address, int(port)


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How custom domains are checked.

    Attributes:
        cname_target: the host name that custom domains must lead to; ``None`` when this server
            has none, which leaves the TXT record as the only check.
        nameservers: DNS servers to ask; empty for the system's.
        own_hosts: names by which this server is reached, besides that of its origin; no custom
            domain can take them.
        egress: what sandboxes may reach.
    """

    cname_target: str | None = None
    nameservers: tuple[Nameserver, ...] = ()
    own_hosts: frozenset[str] = frozenset()
    egress: EgressSettings = EgressSettings()


class _File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    cname_target: str | None = None
    nameservers: list[str] = []
    own_hosts: list[str] = []
    egress: EgressSettings = EgressSettings()


def load_network_settings(path: Path, origin: str) -> NetworkSettings:
    """The settings of ``network.toml``; without it, or in it without a target, from the origin.

    Raises:
        SeraiError: the file is not TOML, or a value is wrong; names the file and the field.
    """
    try:
        raw = tomllib.loads(path.read_text()) if path.exists() else {}
        file = msgspec.convert(raw, _File)
        nameservers = tuple(map(_nameserver, file.nameservers))
    except (OSError, ValueError) as problem:
        raise SeraiError(f"{path}: {problem}") from None
    target = file.cname_target or host_name(origin)
    if file.cname_target is not None and not is_domain(file.cname_target):
        raise SeraiError(f"{path}: cname_target {file.cname_target!r} is not a host name.")
    own_hosts = frozenset(name.lower().rstrip(".") for name in file.own_hosts)
    return NetworkSettings(
        cname_target=target, nameservers=nameservers, own_hosts=own_hosts, egress=file.egress
    )


def host_name(origin: str) -> str | None:
    """The origin's host when others can point DNS records at it: no address, no ``localhost``."""
    host = (urlsplit(origin).hostname or "").rstrip(".")
    return host if is_domain(host) else None


def _nameserver(text: str) -> Nameserver:
    host, port = text, str(DNS_PORT)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        number = 0
    if not 1 <= number <= 65535:
        raise ValueError(f"nameservers: {text!r} is not an IP address, with or without :port")
    return Nameserver(host, number)
