"""Host names that are not our own: those of previews, and custom domains."""

import re
from urllib.parse import urlsplit

from serai.gateway.routes import DomainRoute, RouteTable
from serai.gateway.targets import Target
from serai.kernel.addresses import LABEL_MAX, PreviewAddresses, is_address, is_local_name

REMEMBERED_HOSTS = 1024
_HOST = re.compile(rb"([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)\.?(?::[0-9]{1,5})?\Z")
_LOOPBACK = re.compile(rb"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?\Z", re.IGNORECASE)


class Sites:
    """Tells from a request's ``Host`` whether it is for a preview by its own name.

    Args:
        routes: previews and domains.
        addresses: where previews have names; without, only custom domains count.
        own_hosts: names of ours, which no custom domain can take.
    """

    def __init__(
        self,
        routes: RouteTable,
        addresses: PreviewAddresses | None = None,
        own_hosts: frozenset[str] = frozenset(),
    ) -> None:
        self._routes = routes
        self._addresses = addresses
        self._suffix = f".{addresses.domain}" if addresses and addresses.domain else None
        named = urlsplit(addresses.origin).hostname if addresses else None
        self.are_secure = addresses is not None and addresses.origin.startswith("https:")
        """Whether browsers reach us by https, be it that somebody before us speaks it."""
        self._own = own_hosts | {named or "localhost"}
        self._refuses = named is not None and not is_local_name(named) and not is_address(named)
        """Whether we know our own names well enough to refuse other ones."""
        self._ours: set[bytes] = set()
        self._seen: object = None

    def target(self, host: bytes, url: bytes) -> Target | None:
        """What a request for another name than ours addresses; None when the name is ours."""
        routes = self._routes
        if self._seen is not routes.domains:
            self._ours.clear()  # the domains are others now
            self._seen = routes.domains
        if host in self._ours:
            return None
        target = self._look(host, url)
        if target is None:
            if len(self._ours) >= REMEMBERED_HOSTS:
                self._ours.clear()
            self._ours.add(host)
        return target

    def _look(self, host: bytes, url: bytes) -> Target | None:
        match = _HOST.match(host)
        if match is None:
            return None
        name = match[1].decode("ascii").lower()
        if name in self._own:
            return None
        if self._suffix is not None and name.endswith(self._suffix):
            return _target(b"preview-host", name.removesuffix(self._suffix), name, url)
        return self._in_domain(name, url)

    def _in_domain(self, name: str, url: bytes) -> Target | None:
        routes = self._routes
        above = _parents(name)
        domain = next((routes.domains[one] for one in above if one in routes.domains), None)
        if domain is not None:
            preview = routes.hosts.get(name)
            if preview is None or preview.workspace not in domain.workspaces:
                return self._fallback(domain, name, url)
            return _target(b"preview-host", preview.slug, name, url)
        if self._refuses and any(one in routes.unverified for one in above):
            return _target(b"unverified", "", name, url)
        return None

    def _fallback(self, domain: DomainRoute, name: str, url: bytes) -> Target:
        wanted = name.removesuffix(domain.name).rstrip(".")
        for preview in self._routes.hosts.values() if domain.fallback else ():
            if (preview.workspace, preview.domain, preview.name) == (
                domain.workspace,
                domain.name,
                domain.fallback,
            ):
                return _target(b"preview-host", preview.slug, name, url, (wanted, domain.name))
        return _target(b"preview-host", "", name, url)

    def address(self, host: bytes, slug: str) -> str | None:
        """The origin that a preview has of its own, for a browser that has reached us as ``host``.

        None when there is none, or when a browser there would not find it.
        """
        addresses = self._addresses
        if addresses is None or addresses.domain is None or len(slug) > LABEL_MAX:
            return None
        if not addresses.announced and not _LOOPBACK.match(host):
            return None
        return addresses.at(f"{slug}.{addresses.domain}")


def _parents(name: str) -> list[str]:
    """The name and every domain above it, the longest first; no top-level domain."""
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(len(labels) - 1)]


def _target(
    kind: bytes, slug: str, host: str, url: bytes, fallback: tuple[str, str] | None = None
) -> Target:
    path, mark, query = url.partition(b"?")
    return Target("", kind, slug, path, query if mark else None, host, fallback)
