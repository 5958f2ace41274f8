"""The registered applications of the caller's account over HTTP, for its admins."""

from collections.abc import Callable

from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body
from serai.identity.caller import caller_of
from serai.identity.context import IdentityContext
from serai.identity.operations.answers import answer
from serai.oauth import registration
from serai.resources import audit
from serai.resources.audit import Target
from serai.resources.audit_operations import workspace_or_none
from serai.resources.operations import actor_in
from serai.wire.oauth import CreateOAuthClientBody, OAuthClient, UpdateOAuthClientBody

ALL = "/v0/oauth/clients"
ONE = ALL + "/{client_id:str}"
KIND = "oauth_client"
Change = Callable[[Connection], OAuthClient]


def client_operations(context: IdentityContext) -> list[ControllerRouterHandler]:
    """List, get, create, update, delete, and another secret."""
    return [*_reading(context), *_changing(context), *_ending(context)]


async def _write(
    context: IdentityContext, request: AnyRequest, action: str, change: Change
) -> Response[bytes]:
    """Change one, with its entry in the audit log."""
    caller = caller_of(request)
    actor = actor_in(caller, workspace_or_none(caller))

    def work(conn: Connection) -> OAuthClient:
        client = change(conn)
        target = Target(kind=KIND, name=client.name, id=client.client_id)
        audit.record(conn, actor, action, target)
        return client

    return answer(await context.write(work))


def _reading(context: IdentityContext) -> list[ControllerRouterHandler]:
    @get(ALL, operation_id="ListOAuthClients", opt={"answer": list[OAuthClient]})
    async def list_clients(request: AnyRequest) -> Response[bytes]:
        account = caller_of(request).principal.account_id
        return answer(await context.db.read(lambda conn: registration.listing(conn, account)))

    @get(ONE, operation_id="GetOAuthClient", opt={"answer": OAuthClient})
    async def get_client(request: AnyRequest, client_id: str) -> Response[bytes]:
        account = caller_of(request).principal.account_id
        return answer(
            await context.db.read(lambda conn: registration.need(conn, account, client_id))
        )

    return [list_clients, get_client]


def _changing(context: IdentityContext) -> list[ControllerRouterHandler]:
    @post(
        ALL,
        status_code=200,
        operation_id="CreateOAuthClient",
        opt={"body": CreateOAuthClientBody, "answer": OAuthClient},
    )
    async def create_client(request: AnyRequest) -> Response[bytes]:
        maker = caller_of(request).principal
        body = await decode_body(request, CreateOAuthClientBody)
        return await _write(
            context,
            request,
            "create",
            lambda conn: registration.create(conn, context.vault, body, maker),
        )

    @put(
        ONE,
        operation_id="UpdateOAuthClient",
        opt={"body": UpdateOAuthClientBody, "answer": OAuthClient},
    )
    async def update_client(request: AnyRequest, client_id: str) -> Response[bytes]:
        account = caller_of(request).principal.account_id
        body = await decode_body(request, UpdateOAuthClientBody)
        return await _write(
            context,
            request,
            "update",
            lambda conn: registration.change(conn, account, client_id, body),
        )

    return [create_client, update_client]


def _ending(context: IdentityContext) -> list[ControllerRouterHandler]:
    @post(
        ONE + "/secret",
        status_code=200,
        operation_id="RotateOAuthClientSecret",
        opt={"answer": OAuthClient},
    )
    async def rotate_secret(request: AnyRequest, client_id: str) -> Response[bytes]:
        account = caller_of(request).principal.account_id
        return await _write(
            context,
            request,
            "rotate",
            lambda conn: registration.rotate(conn, context.vault, account, client_id),
        )

    @delete(ONE, status_code=200, operation_id="DeleteOAuthClient", opt={"answer": OAuthClient})
    async def delete_client(request: AnyRequest, client_id: str) -> Response[bytes]:
        account = caller_of(request).principal.account_id
        return await _write(
            context, request, "delete", lambda conn: registration.remove(conn, account, client_id)
        )

    return [rotate_secret, delete_client]
