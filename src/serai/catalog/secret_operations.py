"""Secrets of a workspace over HTTP."""

import msgspec
from litestar import Response, delete, get, post
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest, decode_body, json_response
from serai.catalog.secrets import SecretStore
from serai.identity.caller import caller_of
from serai.kernel.errors import BadRequest
from serai.resources.operations import ResourceContext
from serai.wire.catalog import Secret


def secret_operations(
    context: ResourceContext, secrets: SecretStore
) -> list[ControllerRouterHandler]:
    """List, write and delete."""
    db = context.db

    async def drop(request: AnyRequest, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        gone = await db.write(lambda conn: secrets.drop(conn, workspace, name))
        return json_response(msgspec.json.encode(gone))

    @get("/v0/secrets", operation_id="ListSecrets", opt={"body": None, "answer": list[Secret]})
    async def list_secrets(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        found = await db.read(lambda conn: secrets.listing(conn, workspace))
        return json_response(msgspec.json.encode(found))

    @post(
        "/v0/secrets",
        status_code=200,
        operation_id="UpsertSecret",
        opt={"body": Secret, "answer": Secret},
    )
    async def upsert_secret(request: AnyRequest) -> Response[bytes]:
        caller = caller_of(request)
        workspace, email = caller.workspace, caller.principal.email
        wanted = await decode_body(request, Secret)
        made = await db.write(lambda conn: secrets.upsert(conn, workspace, email, wanted))
        return json_response(msgspec.json.encode(made))

    @delete(
        "/v0/secrets/{name:str}",
        status_code=200,
        operation_id="DeleteSecret",
        opt={"body": None, "answer": Secret},
    )
    async def delete_secret(request: AnyRequest, name: str) -> Response[bytes]:
        return await drop(request, name)

    @delete(
        "/v0/secrets",
        status_code=200,
        operation_id="DeleteSecretByQuery",
        opt={"body": None, "answer": Secret, "query": {"name": str}},
    )
    async def delete_secret_by_query(request: AnyRequest) -> Response[bytes]:
        name = request.query_params.get("name")
        if not name:
            raise BadRequest("The query parameter name is missing: it names the secret to delete.")
        return await drop(request, name)

    return [list_secrets, upsert_secret, delete_secret, delete_secret_by_query]
