"""The ASGI application of the management API."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.types import ASGIApp, ControllerRouterHandler

import serai
from serai.api.contract import operations
from serai.api.docs import versions_page
from serai.api.edge import Edge
from serai.api.exchange import json_response
from serai.api.openapi import document
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
    description = Description()
    routed = Litestar(
        route_handlers=[*handlers, *_public(versions), description.handler()],
        exception_handlers={Exception: _raise_to_edge},
        request_max_body_size=max_body_bytes,
        openapi_config=None,
        logging_config=None,
    )
    description.describe(routed, versions)
    app: ASGIApp = routed
    for layer in reversed(layers):
        app = layer(app)
    return Edge(app, versions)


def _raise_to_edge(request: Request[Any, Any, Any], problem: Exception) -> Response[Any]:
    """The edge renders every error: it alone knows the route's envelope."""
    raise problem


class Description:
    """``/v0/openapi.json``: made when somebody first asks, as a start should not wait for it."""

    def __init__(self) -> None:
        self._body = b""
        self._subject: tuple[Litestar, VersionRegistry] | None = None

    def describe(self, app: Litestar, versions: VersionRegistry) -> None:
        """Describe this application's routes."""
        self._subject = app, versions

    def body(self) -> bytes:
        """The document as JSON."""
        if not self._body and self._subject is not None:
            app, versions = self._subject
            described = document(operations(app.routes), versions, serai.__version__)
            self._body = msgspec.json.encode(described)
        return self._body

    def handler(self) -> ControllerRouterHandler:
        """The route that serves it, to anybody."""
        opt = {"answer": dict[str, Any], "public": True}

        @get("/v0/openapi.json", operation_id="GetOpenAPI", opt=opt)
        async def get_openapi() -> Response[bytes]:
            """This description"""
            return json_response(self.body())

        return get_openapi


def _public(versions: VersionRegistry) -> list[ControllerRouterHandler]:
    listing = msgspec.json.encode({"default": versions.default, "versions": versions.versions})
    page = versions_page(versions)

    answer = {"answer": dict[str, Any], "public": True}

    @get("/v0/versions", operation_id="ListVersions", opt=answer)
    async def list_versions() -> Response[bytes]:
        return json_response(listing)

    @get("/docs/api", media_type="text/html")
    async def docs_api() -> str:
        return page

    return [list_versions, docs_api]


class Management(Router):
    """The routes of one application, which need no copy of their own for it."""

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Registering copies what it registers, which took a third of making the application."""
        return self
