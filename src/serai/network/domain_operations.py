"""Custom domains over HTTP."""

from collections.abc import Callable

import msgspec
from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, json_response
from serai.api.pages import join_array
from serai.identity.caller import Caller, caller_of
from serai.kernel.errors import BadRequest, Conflict, Forbidden, NotFound
from serai.network.domains import (
    ACTIVE,
    DOMAINS,
    ask_for_records,
    keep_verification,
    records_of,
    shared_view,
    verified,
    wanted_domain,
)
from serai.network.shares import (
    ACCOUNT,
    add_share,
    drop_share,
    shared_with,
    shares_of,
    verified_elsewhere,
)
from serai.network.verification import DnsVerifier
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.operations import ResourceContext, actor_of
from serai.resources.spans import meter
from serai.resources.store import not_found
from serai.resources.tenants import need_tenant
from serai.store.reach import unbounded
from serai.wire.network import CustomDomain, CustomDomainShareTarget, ShareCustomDomain

TAKEN = "Another workspace has verified this domain already; it must give it up first."


class DomainContext(msgspec.Struct, frozen=True):
    """What the operations on domains share; ``regions`` are those a domain may be in."""

    resources: ResourceContext
    verifier: DnsVerifier
    cname_target: str | None
    regions: Callable[[], list[str]]

    def changed(self, document: Document) -> Document:
        """Tell what serves domains that this one, or whom it is shared with, is not as it was."""
        self.resources.on_change(DOMAINS.name, document, False)
        return document

    def need_own(self, conn: Connection, caller: Caller, name: str) -> Document:
        """The workspace's own domain.

        Raises:
            NotFound: the workspace sees no such domain.
            Forbidden: it is another workspace's, shared with this one.
        """
        document = documents.find(conn, caller.workspace, DOMAINS.name, name)
        if document is not None:
            return document
        _, owner = self.need_visible(conn, caller, name)
        raise Forbidden(
            f"Custom domain {name!r} is shared by workspace {owner.workspace!r} and read-only "
            "here; change it there."
        )

    def need_visible(self, conn: Connection, caller: Caller, name: str) -> tuple[Body, Document]:
        """A domain of this workspace, or shared with it: what to show, and the owner's document.

        Raises:
            NotFound: neither.
        """
        document = documents.find(conn, caller.workspace, DOMAINS.name, name)
        if document is not None:
            return msgspec.json.decode(document.body), document
        account = account_of(conn, caller)
        for document in shared_with(conn, caller.workspace, account, name):
            return shared_view(msgspec.json.decode(document.body), caller.workspace), document
        raise not_found(DOMAINS, name)


def account_of(conn: Connection, caller: Caller) -> str:
    """The account of the request's workspace."""
    return need_tenant(conn, caller.workspace).account_id


def domain_operations(context: DomainContext) -> list[ControllerRouterHandler]:
    """Every operation on custom domains."""
    return [
        *_reads(context),
        *_creates(context),
        *_writes(context),
        _verify(context),
        *_shares(context),
    ]


def _reads(context: DomainContext) -> list[ControllerRouterHandler]:
    db = context.resources.db

    @get(
        "/v0/customdomains",
        operation_id="ListCustomDomains",
        opt={"body": None, "answer": list[CustomDomain]},
    )
    async def list_custom_domains(request: AnyRequest) -> Response[bytes]:
        caller = caller_of(request)

        def read(conn: Connection) -> list[bytes]:
            own = documents.bodies(conn, caller.workspace, DOMAINS.name, None)
            names = {msgspec.json.decode(body)["metadata"]["name"] for body in own}
            shared = shared_with(conn, caller.workspace, account_of(conn, caller))
            views = (
                shared_view(msgspec.json.decode(d.body), caller.workspace)
                for d in shared
                if d.name not in names
            )
            return [*own, *map(msgspec.json.encode, views)]

        return json_response(join_array(await db.read(read)))

    @get(
        "/v0/customdomains/{name:str}",
        operation_id="GetCustomDomain",
        opt={"body": None, "answer": CustomDomain},
    )
    async def get_custom_domain(request: AnyRequest, name: str) -> Response[bytes]:
        caller = caller_of(request)
        body, _ = await db.read(lambda conn: context.need_visible(conn, caller, name))
        return json_response(msgspec.json.encode(body))

    return [list_custom_domains, get_custom_domain]


def _creates(context: DomainContext) -> list[ControllerRouterHandler]:
    db, store = context.resources.db, context.resources.store

    def create(conn: Connection, caller: Caller, body: Body) -> Document:
        name = body["metadata"]["name"]
        account = account_of(conn, caller)
        for shared in shared_with(conn, caller.workspace, account, name):
            raise Conflict(
                f"Workspace {shared.workspace!r} shares custom domain {name!r} with this one; "
                "use it, or have it unshared first.",
                code="CUSTOM_DOMAIN_ALREADY_EXISTS",
            )
        asked = ask_for_records(body, context.cname_target)
        return store.create(conn, DOMAINS, actor_of(caller), asked)

    @post(
        "/v0/customdomains",
        status_code=200,
        operation_id="CreateCustomDomain",
        opt={"body": CustomDomain, "answer": CustomDomain},
    )
    async def create_custom_domain(request: AnyRequest) -> Response[bytes]:
        caller = caller_of(request)
        shape = await decode_body(request, CustomDomain)
        body = wanted_domain(shape, context.regions())
        document = await db.write(lambda conn: create(conn, caller, body))
        context.changed(document)
        return json_response(document.body.encode())

    @post(
        "/v0/applications/{parent:str}/customdomains",
        status_code=200,
        operation_id="CreateApplicationCustomDomain",
        opt={"body": CustomDomain, "answer": CustomDomain},
    )
    async def create_application_custom_domain(request: AnyRequest, parent: str) -> Response[bytes]:
        caller = caller_of(request)
        shape = await decode_body(request, CustomDomain)
        shape.spec.domain_type = "applications"
        body = wanted_domain(shape, context.regions())

        def write(conn: Connection) -> Document:
            if documents.find(conn, caller.workspace, "application", parent) is None:
                raise NotFound(
                    f"There is no application named {parent[:80]!r} in this workspace.",
                    code="APPLICATION_NOT_FOUND",
                )
            return create(conn, caller, body)

        return json_response((await db.write(write)).body.encode())

    return [create_custom_domain, create_application_custom_domain]


def _writes(context: DomainContext) -> list[ControllerRouterHandler]:
    db, store = context.resources.db, context.resources.store

    @put(
        "/v0/customdomains/{name:str}",
        operation_id="UpdateCustomDomain",
        opt={"body": CustomDomain, "answer": CustomDomain},
    )
    async def update_custom_domain(request: AnyRequest, name: str) -> Response[bytes]:
        caller = caller_of(request)
        shape = await decode_body(request, CustomDomain)

        def write(conn: Connection) -> Document:
            old = context.need_own(conn, caller, name)
            before = msgspec.json.decode(old.body)
            shape.spec.domain_type = shape.spec.domain_type or before["spec"]["domainType"]
            body = wanted_domain(shape, context.regions(), name)
            return store.replace(
                conn, DOMAINS, actor_of(caller), old, keep_verification(body, before)
            )

        return json_response(context.changed(await db.write(write)).body.encode())

    @delete(
        "/v0/customdomains/{name:str}",
        status_code=200,
        operation_id="DeleteCustomDomain",
        opt={"body": None, "answer": CustomDomain},
    )
    async def delete_custom_domain(request: AnyRequest, name: str) -> Response[bytes]:
        caller = caller_of(request)

        def write(conn: Connection) -> Document:
            document = context.need_own(conn, caller, name)
            store.delete(conn, actor_of(caller), document)
            meter(conn, ACTIVE, document, 0)
            drop_share(conn, document.id)
            return document

        return json_response(context.changed(await db.write(write)).body.encode())

    return [update_custom_domain, delete_custom_domain]


def _verify(context: DomainContext) -> ControllerRouterHandler:
    db = context.resources.db

    @post(
        "/v0/customdomains/{name:str}/verify",
        status_code=200,
        operation_id="VerifyCustomDomain",
        opt={"body": None, "answer": CustomDomain},
    )
    async def verify_custom_domain(request: AnyRequest, name: str) -> Response[bytes]:
        caller = caller_of(request)
        document = await db.read(lambda conn: context.need_own(conn, caller, name))
        problem = await context.verifier.problem(records_of(msgspec.json.decode(document.body)))

        def write(conn: Connection) -> Document:
            fresh = context.need_own(conn, caller, name)
            found = problem or (TAKEN if verified_elsewhere(conn, fresh) else None)
            body = verified(msgspec.json.decode(fresh.body), found)
            changed = msgspec.structs.replace(fresh, body=msgspec.json.encode(body).decode())
            documents.save(conn, changed)
            meter(conn, ACTIVE, changed, ACTIVE.rate(body))
            return changed

        return json_response(context.changed(await db.write(write)).body.encode())

    return verify_custom_domain


def _shares(context: DomainContext) -> list[ControllerRouterHandler]:
    db = context.resources.db

    @get(
        "/v0/customdomains/{name:str}/share",
        operation_id="ListCustomDomainShares",
        opt={"body": None, "answer": list[CustomDomainShareTarget]},
    )
    async def list_custom_domain_shares(request: AnyRequest, name: str) -> Response[bytes]:
        caller = caller_of(request)
        shares = await db.read(
            lambda conn: shares_of(conn, context.need_own(conn, caller, name).id)
        )
        targets = [
            CustomDomainShareTarget(
                workspace=share.target, status="active", workspace_display_name=share.display_name
            )
            for share in shares
        ]
        return json_response(msgspec.json.encode(targets))

    @post(
        "/v0/customdomains/{name:str}/share",
        status_code=200,
        operation_id="ShareCustomDomain",
        opt={"body": ShareCustomDomain, "answer": CustomDomain},
    )
    async def share_custom_domain(request: AnyRequest, name: str) -> Response[bytes]:
        caller = caller_of(request)
        target = (await decode_body(request, ShareCustomDomain)).target_workspace
        document = await db.write(lambda conn: _share(conn, context, caller, name, target))
        return json_response(context.changed(document).body.encode())

    @delete(
        "/v0/customdomains/{name:str}/share/{target:str}",
        status_code=200,
        operation_id="UnshareCustomDomain",
        opt={"body": None, "answer": CustomDomain},
    )
    async def unshare_custom_domain(request: AnyRequest, name: str, target: str) -> Response[bytes]:
        caller = caller_of(request)

        def write(conn: Connection) -> Document:
            document = context.need_own(conn, caller, name)
            if not drop_share(conn, document.id, target):
                raise NotFound(
                    f"Custom domain {name!r} is not shared with {target[:80]!r}.",
                    code="SHARE_NOT_FOUND",
                )
            return document

        return json_response(context.changed(await db.write(write)).body.encode())

    return [list_custom_domain_shares, share_custom_domain, unshare_custom_domain]


def _share(
    conn: Connection, context: DomainContext, caller: Caller, name: str, target: str
) -> Document:
    document = context.need_own(conn, caller, name)
    spec = msgspec.json.decode(document.body)["spec"]
    if spec["status"] != "verified" or spec["domainType"] != "previews":
        raise BadRequest(
            f"Custom domain {name!r} is {spec['status']} and of type {spec['domainType']}; only "
            "verified domains of type previews can be shared."
        )
    if target == caller.workspace:
        raise BadRequest("targetWorkspace is this workspace itself: name another one.")
    account = account_of(conn, caller)
    if target != ACCOUNT:
        with unbounded("a domain is shared with a workspace that its giver need not reach"):
            need_tenant(conn, target, account)
            clash = documents.find(conn, target, DOMAINS.name, name)
        if clash is not None:
            raise Conflict(
                f"Workspace {target!r} has a custom domain {name!r} of its own.",
                code="CUSTOM_DOMAIN_CONFLICT",
            )
    if target not in {share.target for share in shares_of(conn, document.id)}:
        add_share(conn, document.id, account, target, caller.principal.email)
    return document
