"""The addresses of previews: a path below our own, or a host name for each."""

import ipaddress
from urllib.parse import urlsplit

import msgspec

LOCAL_DOMAIN = "preview.localhost"
"""Every name below ``localhost`` is this machine to browsers and curl (RFC 6761, 6.3); most other
programs ask DNS, which does not know it."""

NO_DOMAIN = "off"
LABEL_MAX = 63


class PreviewAddresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where previews are found.

    Attributes:
        origin: ours, without a trailing slash.
        domain: previews also have names of their own below this; None for none.
        announced: programs find such names too, so that they are what we hand out.
    """

    origin: str
    domain: str | None
    announced: bool

    def url(self, slug: str, host: str | None = None) -> str:
        """The address to hand out; ``host`` is its name in a custom domain, if it has one."""
        if host is not None:
            return self.at(host)
        if self.domain is not None and self.announced:
            return self.at(f"{slug}.{self.domain}")
        return f"{self.origin}/preview/{slug}"

    def at(self, host: str) -> str:
        """The origin of a host that is served on our port, with our scheme."""
        parts = urlsplit(self.origin)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{host}{port}"


def preview_addresses(origin: str, domain: str | None) -> PreviewAddresses:
    """The addresses for a setting.

    Args:
        origin: ours.
        domain: as configured; ``off`` for none. When None, there is one on a loopback origin.
    """
    if domain is None:
        local = is_loopback(urlsplit(origin).hostname or "")
        return PreviewAddresses(
            origin=origin, domain=LOCAL_DOMAIN if local else None, announced=False
        )
    named = None if domain == NO_DOMAIN else domain
    return PreviewAddresses(origin=origin, domain=named, announced=not is_local_name(named or ""))


def is_local_name(host: str) -> bool:
    """Whether a name is ``localhost`` or below it."""
    return host == "localhost" or host.endswith(".localhost")


def is_address(host: str) -> bool:
    """Whether a host is an IP address, without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host, a name or an IP address without brackets, is this machine to itself."""
    return is_local_name(host) or (is_address(host) and ipaddress.ip_address(host).is_loopback)
