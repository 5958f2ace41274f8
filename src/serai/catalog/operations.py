"""Catalogues over HTTP."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest, json_response
from serai.catalog.changelog import own_changelog
from serai.catalog.hubs import Hubs
from serai.catalog.places import Places
from serai.wire.catalog import (
    Changelog,
    Configuration,
    Location,
    McpDefinition,
    PublicIp,
    SandboxDefinition,
    Template,
)


def catalogue_operations(places: Places, hubs: Hubs) -> list[ControllerRouterHandler]:
    """Places, hubs, templates and the changelog."""
    return [*_places(places), *_hubs(hubs), _changelog()]


def _json(value: Any) -> Response[bytes]:
    return json_response(msgspec.json.encode(value))


def _places(places: Places) -> list[ControllerRouterHandler]:
    @get(
        "/v0/locations",
        operation_id="ListLocations",
        opt={"body": None, "answer": list[Location]},
    )
    async def list_locations(request: AnyRequest) -> Response[bytes]:
        return _json(places.locations())

    @get(
        "/v0/publicIps",
        operation_id="ListPublicIps",
        opt={"body": None, "answer": dict[str, PublicIp], "query": {"region": str}},
    )
    async def list_public_ips(request: AnyRequest) -> Response[bytes]:
        return _json(places.public_ips(request.query_params.get("region") or None))

    @get(
        "/v0/configuration",
        operation_id="GetConfiguration",
        opt={"body": None, "answer": Configuration},
    )
    async def get_configuration(request: AnyRequest) -> Response[bytes]:
        return _json(places.configuration())

    return [list_locations, list_public_ips, get_configuration]


def _hubs(hubs: Hubs) -> list[ControllerRouterHandler]:
    @get(
        "/v0/mcp/hub",
        operation_id="ListMCPHubDefinitions",
        opt={"body": None, "answer": list[McpDefinition]},
    )
    async def list_mcp_hub(request: AnyRequest) -> Response[bytes]:
        return _json(hubs.mcp_servers())

    @get(
        "/v0/sandbox/hub",
        operation_id="ListSandboxHubDefinitions",
        opt={"body": None, "answer": list[SandboxDefinition]},
    )
    async def list_sandbox_hub(request: AnyRequest) -> Response[bytes]:
        return _json(hubs.sandboxes())

    @get(
        "/v0/templates",
        operation_id="ListTemplates",
        opt={"body": None, "answer": list[Template]},
    )
    async def list_templates(request: AnyRequest) -> Response[bytes]:
        return _json(hubs.templates())

    @get(
        "/v0/templates/{name:str}",
        operation_id="GetTemplate",
        opt={"body": None, "answer": Template},
    )
    async def get_template(request: AnyRequest, name: str) -> Response[bytes]:
        return _json(hubs.template(name))

    return [list_mcp_hub, list_sandbox_hub, list_templates, get_template]


def _changelog() -> ControllerRouterHandler:
    body = msgspec.json.encode(own_changelog())

    @get(
        "/v0/changelog",
        operation_id="GetChangelog",
        opt={"body": None, "answer": Changelog, "public": True},
    )
    async def get_changelog() -> Response[bytes]:
        return json_response(body)

    return get_changelog
