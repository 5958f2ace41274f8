"""The service accounts of the request's workspace, and their keys, over HTTP."""

from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body
from serai.identity import api_keys, service_accounts
from serai.identity.api_keys import Holder
from serai.identity.caller import caller_of
from serai.identity.context import IdentityContext
from serai.identity.operations.answers import answer
from serai.wire.identity import (
    ApiKey,
    CreateApiKeyBody,
    CreateServiceAccountBody,
    ServiceAccount,
    UpdateServiceAccountBody,
)

ALL = "/v0/service_accounts"
ONE = ALL + "/{client_id:str}"
KEYS = ONE + "/api_keys"


def service_account_operations(context: IdentityContext) -> list[ControllerRouterHandler]:
    """List, create, update, delete; list, create and revoke keys."""
    return [*_accounts(context), *_keys(context)]


def _accounts(context: IdentityContext) -> list[ControllerRouterHandler]:
    @get(ALL, operation_id="GetWorkspaceServiceAccounts", opt={"answer": list[ServiceAccount]})
    async def list_accounts(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        return answer(await context.db.read(lambda conn: service_accounts.listing(conn, workspace)))

    @post(
        ALL,
        status_code=200,
        operation_id="CreateWorkspaceServiceAccount",
        opt={"body": CreateServiceAccountBody, "answer": ServiceAccount},
    )
    async def create_account(request: AnyRequest) -> Response[bytes]:
        caller, vault = caller_of(request), context.vault
        workspace, maker = caller.workspace, caller.principal
        body = await decode_body(request, CreateServiceAccountBody)
        return answer(
            await context.db.write(
                lambda conn: service_accounts.create(conn, vault, workspace, body, maker)
            )
        )

    @put(
        ONE,
        operation_id="UpdateWorkspaceServiceAccount",
        opt={"body": UpdateServiceAccountBody, "answer": ServiceAccount},
    )
    async def update_account(request: AnyRequest, client_id: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        body = await decode_body(request, UpdateServiceAccountBody)
        return answer(
            await context.write(
                lambda conn: service_accounts.change(conn, workspace, client_id, body)
            )
        )

    @delete(
        ONE,
        status_code=200,
        operation_id="DeleteWorkspaceServiceAccount",
        opt={"answer": ServiceAccount},
    )
    async def delete_account(request: AnyRequest, client_id: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        return answer(
            await context.write(lambda conn: service_accounts.remove(conn, workspace, client_id))
        )

    return [list_accounts, create_account, update_account, delete_account]


def _keys(context: IdentityContext) -> list[ControllerRouterHandler]:
    def holder(conn: Connection, workspace: str, client_id: str) -> Holder:
        service_accounts.need(conn, workspace, client_id)
        return Holder("service_account", client_id)

    @get(KEYS, operation_id="ListApiKeysForServiceAccount", opt={"answer": list[ApiKey]})
    async def list_keys(request: AnyRequest, client_id: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        return answer(
            await context.db.read(
                lambda conn: api_keys.listing(conn, holder(conn, workspace, client_id))
            )
        )

    @post(
        KEYS,
        status_code=200,
        operation_id="CreateApiKeyForServiceAccount",
        opt={"body": CreateApiKeyBody, "answer": ApiKey},
    )
    async def create_key(request: AnyRequest, client_id: str) -> Response[bytes]:
        caller = caller_of(request)
        workspace, maker = caller.workspace, caller.principal
        body = await decode_body(request, CreateApiKeyBody)

        def write(conn: Connection) -> ApiKey:
            owner = holder(conn, workspace, client_id)
            key = api_keys.create(conn, context.vault, owner, body, maker)
            if context.keep_secret is not None and key.id and key.api_key:
                context.keep_secret(conn, workspace, key.id, key.api_key)
            return key

        return answer(await context.db.write(write))

    @delete(
        KEYS + "/{api_key_id:str}",
        status_code=200,
        operation_id="DeleteApiKeyForServiceAccount",
        opt={"answer": ApiKey},
    )
    async def delete_key(request: AnyRequest, client_id: str, api_key_id: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        return answer(
            await context.write(
                lambda conn: api_keys.revoke(conn, holder(conn, workspace, client_id), api_key_id)
            )
        )

    return [list_keys, create_key, delete_key]
