"""What answers on our port: plain HTTP, or HTTPS with certificates of its own."""

import asyncio
from typing import cast
from urllib.parse import urlsplit

from serai.connect.authority import Authority
from serai.connect.certificates import Certificates
from serai.connect.door import Doorway
from serai.gateway.gateway import Gateway
from serai.gateway.insecure import insecure_protocol
from serai.gateway.protocol import gateway_protocol
from serai.kernel.addresses import LOCAL_DOMAIN
from serai.kernel.settings import AUTO, Settings


class Listening:
    """The protocol of each connection, and the local authority with the names it answers for.

    Raises:
        SeraiError: a certificate that is configured cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.authority = Authority(settings.data_dir, _hosts(settings))
        self._certificates = (
            Certificates(self.authority, settings.tls_files, settings.data_dir / "certificates")
            if settings.tls is not None
            else None
        )
        self._doorway: Doorway | None = None

    def protocol(self, gateway: Gateway) -> type[asyncio.Protocol]:
        """What the HTTP server calls for each connection."""
        secure = gateway_protocol(gateway)
        if self._certificates is None:
            return secure
        self._doorway = Doorway(self._certificates, secure, insecure_protocol(gateway))
        return cast("type[asyncio.Protocol]", self._doorway.protocol)  # it is only ever called

    async def close(self) -> None:
        """End unfinished handshakes."""
        if self._doorway is not None:
            await self._doorway.close()


def _hosts(settings: Settings) -> tuple[str, ...]:
    """Names for the local authority's certificate, besides this machine's own."""
    if settings.tls is None:
        return ()
    hosts = {f"*.{LOCAL_DOMAIN}"}
    if settings.tls == AUTO:
        hosts.add(urlsplit(settings.origin).hostname or "localhost")
        hosts.add(f"*.{settings.preview_addresses.domain or LOCAL_DOMAIN}")
    return tuple(sorted(hosts))
