"""The ASGI application of the management API."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.types import ASGIApp, ControllerRouterHandler

from serai.api.docs import versions_page
from serai.api.edge import Edge
from serai.api.exchange import json_response
from serai.api.versions import VersionRegistry

Layer = Callable[[ASGIApp], ASGIApp]


def create_app(
    handlers: Sequence[ControllerRouterHandler],
    versions: VersionRegistry,
    layers: Sequence[Layer],
    max_body_bytes: int,
) -> ASGIApp:
    """Assemble the application.

    Args:
        handlers: route handlers of every domain.
        versions: the registry; also served at ``/v0/versions`` and ``/docs/api``.
        layers: middleware inside the edge, outermost first (authentication).
        max_body_bytes: larger bodies are answered with 413.
    """
    app: ASGIApp = Litestar(
        route_handlers=[*handlers, *_public(versions)],
        exception_handlers={Exception: _raise_to_edge},
        request_max_body_size=max_body_bytes,
        openapi_config=None,
        logging_config=None,
    )
    for layer in reversed(layers):
        app = layer(app)
    return Edge(app, versions)


def _raise_to_edge(request: Request[Any, Any, Any], problem: Exception) -> Response[Any]:
    """The edge renders every error: it alone knows the route's envelope."""
    raise problem


def _public(versions: VersionRegistry) -> list[ControllerRouterHandler]:
    listing = msgspec.json.encode({"default": versions.default, "versions": versions.versions})
    page = versions_page(versions)

    @get("/v0/versions")
    async def list_versions() -> Response[bytes]:
        return json_response(listing)

    @get("/docs/api", media_type="text/html")
    async def docs_api() -> str:
        return page

    return [list_versions, docs_api]
