"""Integrations over HTTP: the catalogue, and what a connection's provider offers."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest, json_response
from serai.catalog.providers import Called, Providers, configurations
from serai.catalog.upstream_models import find_model, list_models
from serai.identity.caller import caller_of
from serai.resources.kinds import CONNECTIONS
from serai.resources.operations import ResourceContext
from serai.wire.catalog import EndpointConfiguration, Integration


def integration_operations(
    context: ResourceContext, providers: Providers
) -> list[ControllerRouterHandler]:
    """Every operation on integrations but those that store connections."""

    async def called(request: AnyRequest, name: str) -> Called:
        workspace = caller_of(request).workspace
        store = context.store
        spec = await context.db.read(
            lambda conn: store.reveal(CONNECTIONS, store.need(conn, CONNECTIONS, workspace, name))[
                "spec"
            ]
        )
        return providers.called(spec)

    @get(
        "/v0/integrations/{name:str}",
        operation_id="GetIntegration",
        opt={"body": None, "answer": Integration},
    )
    async def get_integration(request: AnyRequest, name: str) -> Response[bytes]:
        return json_response(msgspec.json.encode(providers.integration(name)))

    @get(
        "/v0/integrations/connections/{name:str}/models",
        operation_id="ListIntegrationConnectionModels",
        opt={"body": None, "answer": list[dict[str, Any]], "errors": [502]},
    )
    async def list_connection_models(request: AnyRequest, name: str) -> Response[bytes]:
        return json_response(msgspec.json.encode(await list_models(await called(request, name))))

    @get(
        "/v0/integrations/connections/{name:str}/models/{model_id:path}",
        operation_id="GetIntegrationConnectionModel",
        opt={"body": None, "answer": dict[str, Any], "errors": [502]},
    )
    async def get_connection_model(
        request: AnyRequest, name: str, model_id: str
    ) -> Response[bytes]:
        wanted = str(model_id).lstrip("/")
        model = await find_model(await called(request, name), wanted)
        return json_response(msgspec.json.encode(model))

    @get(
        "/v0/integrations/connections/{name:str}/endpointConfigurations",
        operation_id="GetIntegrationConnectionModelEndpointConfigurations",
        opt={"body": None, "answer": list[EndpointConfiguration]},
    )
    async def get_endpoint_configurations(request: AnyRequest, name: str) -> Response[bytes]:
        found = await called(request, name)
        return json_response(msgspec.json.encode(configurations(found)))

    return [
        get_integration,
        list_connection_models,
        get_connection_model,
        get_endpoint_configurations,
    ]
