"""Plain HTTP on a port that speaks HTTPS: programs of this machine may, browsers are sent over."""

import asyncio
import ipaddress
import re

from serai.gateway.gateway import Gateway
from serai.gateway.protocol import GatewayProtocol
from serai.gateway.request import Request
from serai.kernel.errors import SeraiError

_HOST = re.compile(rb"[A-Za-z0-9.:\[\]_-]{1,255}\Z")


class HttpsHere(SeraiError):
    """A page is asked for without TLS: it is at the same address with it (307)."""

    status = 307
    code = "HTTPS_HERE"


class HttpsRequired(SeraiError):
    """Something was sent over the network without TLS (403)."""

    status = 403
    code = "HTTPS_REQUIRED"


class InsecureProtocol(GatewayProtocol):
    """Serves plain HTTP to this machine only; what opens pages goes to HTTPS from everywhere."""

    __slots__ = ()

    def _start(self, request: Request) -> None:
        if request.problem is None and request.method != b"CONNECT":
            request.problem = self._refusal(request)
            if request.problem is not None:
                request.keep_alive = False
        super()._start(request)

    def _begin_express(self, data: bytes) -> bool:
        return self._is_local() and super()._begin_express(data)

    def _refusal(self, request: Request) -> SeraiError | None:
        is_page = request.index.get(b"upgrade-insecure-requests") == b"1"
        is_local = self._is_local()
        if is_local and not is_page:
            return None
        host = request.index.get(b"host", b"")
        if request.method in (b"GET", b"HEAD") and not request.upgrade and _HOST.match(host):
            problem = HttpsHere("This server speaks HTTPS: ask for the same with https://.")
            problem.headers["Location"] = f"https://{(host + request.url).decode('latin-1')}"
            problem.headers["Vary"] = "Upgrade-Insecure-Requests"
            return problem
        if is_local:
            return None
        return HttpsRequired(
            "This server takes plain HTTP from its own machine only. Use https://, and a new"
            " credential if this request carried one: others on the way could read it."
        )

    def _is_local(self) -> bool:
        """Whether the client is on this machine: nobody else can connect from our address."""
        client, server = self.client, self.server
        if client is None or server is None:
            return False
        return client[0] == server[0] or _is_loopback(client[0])


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def insecure_protocol(gateway: Gateway) -> type[asyncio.Protocol]:
    """The protocol class for connections without TLS on a port that speaks it."""
    return type("BoundInsecureProtocol", (InsecureProtocol,), {"gateway": gateway, "__slots__": ()})
