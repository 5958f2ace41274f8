"""Previews that have a host name, and so an origin, to themselves."""

import time
from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar

import msgspec

from serai.gateway.forwarding import DROPPED_AT_OWN_HOST
from serai.gateway.preview_cookies import counts, host_only, setting, tokens_in
from serai.gateway.previews import PreviewExchange
from serai.gateway.request import Request
from serai.gateway.routes import PreviewRoute
from serai.gateway.targets import Target, join
from serai.gateway.upstream import Answer, Headers

if TYPE_CHECKING:
    from serai.gateway.protocol import GatewayProtocol


class HostedPreviewExchange(PreviewExchange):
    """As below our own address, but a browser may keep a token, as nobody else gets to it."""

    __slots__ = ("kept",)
    answer_drops: ClassVar[frozenset[bytes]] = DROPPED_AT_OWN_HOST

    def __init__(self, client: "GatewayProtocol", request: Request, target: Target) -> None:
        super().__init__(client, request, target)
        self.kept: list[bytes] = []
        """Cookies to set."""

    def _sends_elsewhere(self, preview: PreviewRoute) -> bool:
        return False

    def _tokens(self, in_query: str | None) -> Iterator[bytes]:
        yield from super()._tokens(in_query)
        if counts(self.request):
            yield from tokens_in(self.request.index.get(b"cookie", b""))

    def _remembers(self, in_query: str | None) -> bool:
        """Keep the token of a page's address in a cookie, for what the page loads.

        A window of its own is then sent to the address without it, so that it is neither in the
        history nor seen by scripts that the page loads from elsewhere.
        """
        self.kept = self._cookies(in_query)
        index = self.request.index
        if not self.kept or index.get(b"sec-fetch-dest") != b"document":
            return False
        scheme = b"https://" if self.is_secure() else b"http://"
        here = scheme + index.get(b"host", b"") + join(self.target.rest, self.credential.query)
        self.redirect(303, here, *((b"set-cookie", line) for line in self.kept))
        return True

    def _cookies(self, in_query: str | None) -> list[bytes]:
        preview, token = self.preview, (in_query or "").encode("utf-8", "replace")
        if preview is None or self.ticket is None or self.request.method != b"GET":
            return []
        if self.request.upgrade or sha256(token).digest() != self.ticket:
            return []
        ends_at = preview.tokens[self.ticket]
        seconds = None if ends_at is None else max(1, int(ends_at - time.time()))
        return setting(token, self.target.host, self.is_secure(), seconds)

    def _port_lines(self) -> list[bytes]:
        lines = self._own_authorization()
        if self.target.fallback is not None:
            name, domain = self.target.fallback
            lines += (
                b"x-blaxel-fallback: true\r\nx-blaxel-fallback-preview: ",
                name.encode("ascii"),
                b"\r\nx-blaxel-fallback-domain: ",
                domain.encode("ascii"),
                b"\r\n",
            )
        return lines

    def answered(self, answer: Answer) -> None:
        super().answered(answer)
        for line in self.kept:  # before the empty line that ends the head
            self.out[-1:-1] = (b"set-cookie: ", line, b"\r\n")

    def isolated(self, answer: Answer) -> Answer:
        return msgspec.structs.replace(answer, headers=_own_cookies(answer.headers))

    def upgraded(self, headers: Headers, data: bytes) -> None:
        super().upgraded(_own_cookies(headers), data)


def _own_cookies(headers: Headers) -> Headers:
    """The fields, with cookies for this host only."""
    return [(name, host_only(value) if name == b"set-cookie" else value) for name, value in headers]
