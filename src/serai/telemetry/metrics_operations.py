"""``GET /metrics``: what Prometheus reads, of the workspaces that the caller administers."""

from collections.abc import Awaitable, Callable

from litestar import Response, get
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest
from serai.identity.caller import caller_of
from serai.kernel.errors import Forbidden
from serai.telemetry.exposition import Exposition, Reading

Read = Callable[[frozenset[str], bool], Awaitable[Reading]]
"""What there is to see of these workspaces, and of the process where that is asked for."""


def metrics_operations(
    exposition: Exposition, read: Read, home: str
) -> list[ControllerRouterHandler]:
    """The one operation; ``home`` is the workspace whose account admins run the installation."""

    @get("/metrics", operation_id="GetMetrics", opt={"answer": str, "media": "text/plain"})
    async def get_metrics(request: AnyRequest) -> Response[bytes]:
        principal = caller_of(request).principal
        roles = principal.workspaces
        administered = frozenset(name for name, role in roles.items() if role == "admin")
        if not administered:
            raise Forbidden(
                "Metrics need the admin role in a workspace: use an admin's key, or one of a"
                " service account with that role.",
                code="ADMIN_REQUIRED",
            )
        whole = principal.account_admin and home in administered
        reading = await read(administered, whole)
        body, kind = exposition.render(request.headers.get("accept", ""), reading)
        return Response(body, headers={"content-type": kind, "cache-control": "no-store"})

    return [get_metrics]
