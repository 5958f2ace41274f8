"""Calls of a sandbox's API which the platform answers: drives, archives and tunnels."""

from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from serai.gateway.problems import status_line
from serai.gateway.request import Request
from serai.gateway.routes import SandboxRoute
from serai.gateway.sandboxes import SandboxExchange
from serai.gateway.targets import Target
from serai.kernel.errors import PayloadTooLarge

if TYPE_CHECKING:
    from serai.gateway.protocol import GatewayProtocol

PLACE = b"/drives/mount"
EXPORT = b"/archive/export"
TUNNELS = (b"/network/tunnel", b"/network/tunnel/config")
BODY_MAX = 64 * 1024
EXPORT_BODY_MAX = 8 * 1024 * 1024
"""An upload in parts names a URL for each."""


class InPlace(Protocol):
    """Answers calls of the sandbox API that need what cannot be reached from inside."""

    async def answer(
        self, workspace: str, sandbox: str, method: str, path: str, body: bytes
    ) -> tuple[int, bytes]:
        """Status and JSON body for a request whose caller may use the sandbox."""


def is_answered_here(target: Target) -> bool:
    """Whether a request to a sandbox is one of these."""
    rest = target.rest
    is_ours = rest in (PLACE, EXPORT, *TUNNELS) or rest.startswith(PLACE + b"/")
    return target.kind == b"sandboxes" and is_ours


class InPlaceExchange(SandboxExchange):
    """Waits for the whole request, then asks ``gateway.in_place``."""

    __slots__ = ("_parts", "_size", "_whole")

    def __init__(self, client: "GatewayProtocol", request: Request, target: Target) -> None:
        super().__init__(client, request, target)
        self._parts: list[bytes] = []
        self._size = 0
        self._whole = False

    def open(self, route: SandboxRoute) -> None:
        self.use(route)
        self.invite_body()
        if self._whole:
            self.spawn(self._serve)

    def body(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        most = EXPORT_BODY_MAX if self.target.rest == EXPORT else BODY_MAX
        if self._size > most and not self.done:
            self.fail(PayloadTooLarge(f"The body is larger than {most} bytes."))

    def end(self) -> None:
        self._whole = True
        if self.route is not None and not self.done:
            self.spawn(self._serve)

    async def _serve(self) -> None:
        in_place = self.gateway.in_place
        assert in_place is not None
        path = unquote(self.target.rest.decode("latin-1"))
        method = self.request.method.decode("latin-1")
        self.status, body = await in_place.answer(
            self.target.workspace, self.target.name, method, path, b"".join(self._parts)
        )
        if self.done:
            return
        lines = [status_line(self.status)]
        lines += [b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)]
        lines += [b"x-request-id: ", self.request_id.encode("ascii"), b"\r\n"]
        if not self.request.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += [b"\r\n", b"" if self.head_only else body]
        self.client.write(b"".join(lines))
        self._leave()
        self.client.answered()
