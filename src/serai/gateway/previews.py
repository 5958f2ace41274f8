"""Requests to previews: one port of a sandbox under an address of its own."""

import hashlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from serai.gateway.credentials import Credential
from serai.gateway.forwarding import copy_request, own_authorization, status_start
from serai.gateway.problems import RouteNotFound
from serai.gateway.request import Request
from serai.gateway.routes import PreviewRoute, SandboxRoute
from serai.gateway.sandboxes import SandboxExchange
from serai.gateway.targets import Target, join, take_parameter
from serai.gateway.upstream import Address, Answer
from serai.kernel.errors import AuthenticationRequired, SeraiError

if TYPE_CHECKING:
    from serai.gateway.protocol import GatewayProtocol

TOKEN_HEADER = b"x-blaxel-preview-token"
TOKEN_PARAMETER = b"bl_preview_token"
_ALLOW_ORIGIN = b"access-control-allow-origin"
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_POLICY = b"content-security-policy"
_SANDBOX = (
    b"sandbox allow-downloads allow-forms allow-modals allow-pointer-lock allow-popups"
    b" allow-popups-to-escape-sandbox allow-presentation allow-scripts"
)
"""By this browsers give a preview below our address an origin of its own, for its scripts must not
read or send the pages on which people are signed in. So that it can still load its own modules and
data, it is then open to every origin unless it says otherwise; but not where browsers are sent to a
host of its own instead."""
_OWN_IN_ERRORS = frozenset({b"content-type", b"www-authenticate", b"content-encoding"})


class PreviewExchange(SandboxExchange):
    """Like a request to a sandbox's port, but admitted by the preview's own rules."""

    __slots__ = ("preview", "ticket")

    def __init__(self, client: "GatewayProtocol", request: Request, target: Target) -> None:
        super().__init__(client, request, target)
        self.preview: PreviewRoute | None = None
        self.ticket: bytes | None = None
        """Digest of the token that opened it; None where none was needed."""

    # -- admission
    def begin(self) -> None:
        try:
            self._admit()
        except Exception as error:
            self.fail(self._as_problem(error))

    def _admit(self) -> None:
        target, moment = self.target, time.time()
        preview = self.gateway.routes.previews.get(target.name)
        if preview is None or (preview.ends_at is not None and preview.ends_at <= moment):
            raise RouteNotFound(
                f"There is no preview '{(target.host or target.name)[:80]}' here. It was deleted,"
                " has expired, or its sandbox has ended."
            )
        self.preview = preview
        in_query, query = take_parameter(target.query, TOKEN_PARAMETER)
        self.credential = Credential("", b"", query)
        self.target = msgspec.structs.replace(
            target, workspace=preview.workspace, name=preview.sandbox
        )
        if self._sends_elsewhere(preview):
            return
        allowed = preview.public or self._opens(preview, in_query, moment)
        if self.request.method == b"OPTIONS" and self._is_ours_to_answer(preview, allowed):
            self._answer_preflight(preview)
        elif not allowed:
            raise AuthenticationRequired(
                "This preview is private: send one of its tokens as 'X-Blaxel-Preview-Token' or"
                " as the query parameter bl_preview_token."
            )
        elif not self._remembers(in_query):
            self._forward(preview)

    def _sends_elsewhere(self, preview: PreviewRoute) -> bool:
        """Send a browser that opens a page to the preview's own host, if it has one."""
        index = self.request.index
        if index.get(b"sec-fetch-mode") != b"navigate" or self.request.method != b"GET":
            return False
        own = self.gateway.sites.address(index.get(b"host", b""), preview.slug)
        if own is None:
            return False
        self.redirect(307, own.encode() + join(self.target.rest or b"/", self.target.query))
        return True

    def _remembers(self, in_query: str | None) -> bool:
        """Below our own address nothing is kept in the browser: other previews would share it."""
        return False

    def _opens(self, preview: PreviewRoute, in_query: str | None, moment: float) -> bool:
        for raw in self._tokens(in_query):
            digest = hashlib.sha256(raw).digest()
            if _is_good(preview, digest, moment):
                self.ticket = digest
                return True
        return False

    def _tokens(self, in_query: str | None) -> Iterator[bytes]:
        header = self.request.index.get(TOKEN_HEADER)
        if header:
            yield header.strip()
        if in_query:
            yield in_query.encode("utf-8", "replace")

    def tick(self, now: float) -> None:
        super().tick(now)
        if not self.done and self.preview is not None and not self._is_open(self.preview):
            self.client.transport.abort()

    def _is_open(self, known: PreviewRoute) -> bool:
        """Whether what let this request in still holds: streams may last long."""
        preview, moment = self.gateway.routes.previews.get(known.slug), time.time()
        if preview is not known:
            if preview is None or preview.sandbox != known.sandbox or preview.port != known.port:
                return False
            self.preview = preview
        if preview.ends_at is not None and preview.ends_at <= moment:
            return False
        return preview.public or (
            self.ticket is not None and _is_good(preview, self.ticket, moment)
        )

    def redirect(self, status: int, location: bytes, *fields: tuple[bytes, bytes]) -> None:
        """Answer with another address."""
        self._answer_empty(
            status,
            [(b"location", location), (b"cache-control", b"no-store"), *fields],
            length=True,
        )

    def _is_ours_to_answer(self, preview: PreviewRoute, allowed: bool) -> bool:
        """A browser asks before it may send a token; the app is never asked in its place."""
        if not allowed:
            return True
        asks = b"access-control-request-method" in self.request.index
        return asks and _ALLOW_ORIGIN in preview.response_names

    def _forward(self, preview: PreviewRoute) -> None:
        route = self.gateway.routes.sandboxes.get((preview.workspace, preview.sandbox))
        if route is None or route.asleep:
            self.spawn(self._find)
        else:
            self.open(route)

    # -- the way in
    def is_upgrade(self) -> bool:
        preview = self.preview
        return preview is not None and not preview.port and super().is_upgrade()

    def send(self, route: SandboxRoute) -> None:
        preview = self.preview
        assert preview is not None
        self.port = preview.port
        path = route.port_socket if preview.port else route.api_socket
        copied = copy_request(self.request.headers, preview.dropped)
        copied.lines += preview.request_lines
        copied.host = preview.host_line or copied.host
        head = self._head(self.target.rest or b"/", copied)
        self.dispatch(Address(path, "", preview.port, False), head, chunked=copied.chunked)

    def _cookie_lines(self) -> list[bytes]:
        preview = self.preview
        assert preview is not None
        return [] if b"cookie" in preview.request_lines else super()._cookie_lines()

    def _port_lines(self) -> list[bytes]:
        preview = self.preview
        assert preview is not None
        lines = self._own_authorization()
        lines += (b"x-forwarded-prefix: /preview/", preview.slug.encode("ascii"), b"\r\n")
        return lines

    def _own_authorization(self) -> list[bytes]:
        """A client that holds a platform credential may send it along; the app must not see it."""
        preview = self.preview
        assert preview is not None
        if preview.authorizes:
            return []
        recognizes = self.gateway.authenticator.recognizes
        return own_authorization(self.request.headers, self.credential, recognizes)

    # -- the way out
    def answered(self, answer: Answer) -> None:
        preview = self.preview
        if preview is not None and preview.response_headers:
            kept = [field for field in answer.headers if field[0] not in preview.response_names]
            kept += preview.response_headers
            answer = msgspec.structs.replace(answer, headers=kept, index=dict(kept))
        super().answered(self.isolated(answer))

    def isolated(self, answer: Answer) -> Answer:
        """The answer, marked so that a browser keeps the page apart from ours."""
        if not self.gateway.isolate_previews:
            return answer
        own = [*answer.headers, (_POLICY, _SANDBOX)]
        if _ALLOW_ORIGIN not in answer.index and not self._has_own_host():
            own.append((_ALLOW_ORIGIN, b"*"))
        return msgspec.structs.replace(answer, headers=own)

    def _has_own_host(self) -> bool:
        preview = self.preview
        host = self.request.index.get(b"host", b"")
        return preview is not None and self.gateway.sites.address(host, preview.slug) is not None

    def _answer_preflight(self, preview: PreviewRoute) -> None:
        fields = list(preview.response_headers)
        if not preview.port and _ALLOW_ORIGIN not in preview.response_names:
            asked = self.request.index.get(b"access-control-request-headers")
            fields += [(_ALLOW_ORIGIN, b"*"), (b"access-control-allow-methods", _METHODS)]
            fields += [(b"access-control-allow-headers", asked)] if asked else []
        self._answer_empty(204, fields)

    def _answer_empty(
        self, status: int, fields: list[tuple[bytes, bytes]], *, length: bool = False
    ) -> None:
        fields = [*self.client.server_state.default_headers, *fields]
        fields += [(b"content-length", b"0")] if length else []
        fields.append((b"x-request-id", self.request_id.encode("ascii")))
        if not self.request.keep_alive:
            fields.append((b"connection", b"close"))
        self.status = status
        lines = [name + b": " + value + b"\r\n" for name, value in fields]
        self._leave()
        self.client.write(b"".join((status_start(status), *lines, b"\r\n")))
        self.client.answered()

    def shows_pages(self) -> bool:
        return True

    def fail(self, problem: SeraiError) -> None:
        preview = self.preview
        if preview is not None and not self.done and not self.head_sent:
            problem.headers |= {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in preview.response_headers
                if name not in _OWN_IN_ERRORS
            }
        super().fail(problem)

    def _leave(self) -> None:
        super()._leave()
        self.closed()


def _is_good(preview: PreviewRoute, digest: bytes, moment: float) -> bool:
    """Whether a token, by its digest, opens a preview now."""
    if digest not in preview.tokens:
        return False
    ends_at = preview.tokens[digest]
    return ends_at is None or ends_at > moment
