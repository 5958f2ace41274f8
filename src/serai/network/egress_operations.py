"""VPCs, egress gateways and egress IPs over HTTP."""

from collections.abc import Callable

import msgspec
from litestar import Response, delete, get, post
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection, select

from serai.api.exchange import AnyRequest, decode_body, json_response
from serai.api.pages import join_array
from serai.identity.caller import caller_of
from serai.kernel.errors import Conflict
from serai.network.egress import (
    DEFAULT_VPC,
    GATEWAYS,
    IPS,
    VPCS,
    ip_parent,
    wanted_gateway,
    wanted_ip,
)
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.kind import Kind
from serai.resources.operations import ResourceContext, actor_of
from serai.resources.store import Actor
from serai.store.tables.documents import documents as rows
from serai.store.tables.sharing import NAMES_GATEWAY
from serai.wire.common import Metadata
from serai.wire.network import EgressGateway, EgressIp, Vpc

SANDBOX = "sandbox"
Regions = Callable[[], list[str]]


def egress_operations(context: ResourceContext, regions: Regions) -> list[ControllerRouterHandler]:
    """Every operation on VPCs, egress gateways and egress IPs."""
    return [
        *_vpc_reads(context),
        *_vpc_writes(context),
        *_gateway_reads(context),
        *_gateway_writes(context, regions),
        *_ip_reads(context),
        *_ip_writes(context),
        *_overviews(context),
    ]


def _vpc_reads(context: ResourceContext) -> list[ControllerRouterHandler]:
    db, store = context.db, context.store

    @get("/v0/vpcs", operation_id="ListVPCs", opt={"body": None, "answer": list[Vpc]})
    async def list_vpcs(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        found = await db.read(lambda conn: documents.bodies(conn, workspace, VPCS.name, None))
        return json_response(join_array(found))

    @get("/v0/vpcs/{name:str}", operation_id="GetVPC", opt={"body": None, "answer": Vpc})
    async def get_vpc(request: AnyRequest, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        return _answer(await db.read(lambda conn: store.need(conn, VPCS, workspace, name)))

    return [list_vpcs, get_vpc]


def _vpc_writes(context: ResourceContext) -> list[ControllerRouterHandler]:
    db, store = context.db, context.store

    @post("/v0/vpcs", status_code=200, operation_id="CreateVPC", opt={"body": Vpc, "answer": Vpc})
    async def create_vpc(request: AnyRequest) -> Response[bytes]:
        actor = actor_of(caller_of(request))
        body = store.wanted(VPCS, await decode_body(request, Vpc))
        return _answer(await db.write(lambda conn: store.create(conn, VPCS, actor, body)))

    @delete(
        "/v0/vpcs/{name:str}",
        status_code=200,
        operation_id="DeleteVPC",
        opt={"body": None, "answer": Vpc},
    )
    async def delete_vpc(request: AnyRequest, name: str) -> Response[bytes]:
        actor = actor_of(caller_of(request))
        workspace = actor.workspace

        def write(conn: Connection) -> Document:
            vpc = store.need(conn, VPCS, workspace, name)
            _refuse_parent(conn, workspace, VPCS, vpc, GATEWAYS, name)
            store.delete(conn, actor, vpc)
            return vpc

        return _answer(await db.write(write))

    return [create_vpc, delete_vpc]


def _gateway_reads(context: ResourceContext) -> list[ControllerRouterHandler]:
    db, store = context.db, context.store

    @get(
        "/v0/vpcs/{vpc:str}/egressgateways",
        operation_id="ListEgressGateways",
        opt={"body": None, "answer": list[EgressGateway]},
    )
    async def list_egress_gateways(request: AnyRequest, vpc: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> list[bytes]:
            store.need(conn, VPCS, workspace, vpc)
            return documents.bodies(conn, workspace, GATEWAYS.name, None, vpc)

        return json_response(join_array(await db.read(read)))

    @get(
        "/v0/vpcs/{vpc:str}/egressgateways/{name:str}",
        operation_id="GetEgressGateway",
        opt={"body": None, "answer": EgressGateway},
    )
    async def get_egress_gateway(request: AnyRequest, vpc: str, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> Document:
            store.need(conn, VPCS, workspace, vpc)
            return store.need(conn, GATEWAYS, workspace, name, vpc)

        return _answer(await db.read(read))

    return [list_egress_gateways, get_egress_gateway]


def _gateway_writes(context: ResourceContext, regions: Regions) -> list[ControllerRouterHandler]:
    db, store = context.db, context.store

    @post(
        "/v0/vpcs/{vpc:str}/egressgateways",
        status_code=200,
        operation_id="CreateEgressGateway",
        opt={"body": EgressGateway, "answer": EgressGateway},
    )
    async def create_egress_gateway(request: AnyRequest, vpc: str) -> Response[bytes]:
        actor = actor_of(caller_of(request))
        shape = await decode_body(request, EgressGateway)
        body = wanted_gateway(store, shape, vpc, regions())

        def write(conn: Connection) -> Document:
            if vpc == DEFAULT_VPC:
                _ensure_default(conn, context, actor)
            return store.create(conn, GATEWAYS, actor, body, parent=vpc)

        return _answer(await db.write(write))

    @delete(
        "/v0/vpcs/{vpc:str}/egressgateways/{name:str}",
        status_code=200,
        operation_id="DeleteEgressGateway",
        opt={"body": None, "answer": EgressGateway},
    )
    async def delete_egress_gateway(request: AnyRequest, vpc: str, name: str) -> Response[bytes]:
        actor = actor_of(caller_of(request))
        workspace = actor.workspace

        def write(conn: Connection) -> Document:
            store.need(conn, VPCS, workspace, vpc)
            gateway = store.need(conn, GATEWAYS, workspace, name, vpc)
            _refuse_parent(conn, workspace, GATEWAYS, gateway, IPS, ip_parent(vpc, name))
            _refuse_bound(conn, workspace, vpc, name)
            store.delete(conn, actor, gateway)
            return gateway

        return _answer(await db.write(write))

    return [create_egress_gateway, delete_egress_gateway]


def _ip_reads(context: ResourceContext) -> list[ControllerRouterHandler]:
    db, store = context.db, context.store

    @get(
        "/v0/vpcs/{vpc:str}/egressgateways/{gateway:str}/ips",
        operation_id="ListEgressIPs",
        opt={"body": None, "answer": list[EgressIp]},
    )
    async def list_egress_ips(request: AnyRequest, vpc: str, gateway: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> list[bytes]:
            _need_gateway(conn, context, workspace, vpc, gateway)
            return documents.bodies(conn, workspace, IPS.name, None, ip_parent(vpc, gateway))

        return json_response(join_array(await db.read(read)))

    @get(
        "/v0/vpcs/{vpc:str}/egressgateways/{gateway:str}/ips/{name:str}",
        operation_id="GetEgressIP",
        opt={"body": None, "answer": EgressIp},
    )
    async def get_egress_ip(
        request: AnyRequest, vpc: str, gateway: str, name: str
    ) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> Document:
            _need_gateway(conn, context, workspace, vpc, gateway)
            return store.need(conn, IPS, workspace, name, ip_parent(vpc, gateway))

        return _answer(await db.read(read))

    return [list_egress_ips, get_egress_ip]


def _ip_writes(context: ResourceContext) -> list[ControllerRouterHandler]:
    db, store = context.db, context.store

    @post(
        "/v0/vpcs/{vpc:str}/egressgateways/{gateway:str}/ips",
        status_code=200,
        operation_id="CreateEgressIP",
        opt={"body": EgressIp, "answer": EgressIp},
    )
    async def create_egress_ip(request: AnyRequest, vpc: str, gateway: str) -> Response[bytes]:
        actor = actor_of(caller_of(request))
        body = wanted_ip(store, await decode_body(request, EgressIp), vpc, gateway)

        def write(conn: Connection) -> Document:
            _need_gateway(conn, context, actor.workspace, vpc, gateway)
            return store.create(conn, IPS, actor, body, parent=ip_parent(vpc, gateway))

        return _answer(await db.write(write))

    @delete(
        "/v0/vpcs/{vpc:str}/egressgateways/{gateway:str}/ips/{name:str}",
        status_code=200,
        operation_id="DeleteEgressIP",
        opt={"body": None, "answer": EgressIp},
    )
    async def delete_egress_ip(
        request: AnyRequest, vpc: str, gateway: str, name: str
    ) -> Response[bytes]:
        actor = actor_of(caller_of(request))
        workspace = actor.workspace

        def write(conn: Connection) -> Document:
            _need_gateway(conn, context, workspace, vpc, gateway)
            address = store.need(conn, IPS, workspace, name, ip_parent(vpc, gateway))
            store.delete(conn, actor, address)
            return address

        return _answer(await db.write(write))

    return [create_egress_ip, delete_egress_ip]


def _overviews(context: ResourceContext) -> list[ControllerRouterHandler]:
    db = context.db

    def listed(conn: Connection, workspace: str, kind: Kind) -> bytes:
        found = documents.every(conn, kind.name, workspace)
        found.sort(key=lambda document: (document.created_at, document.id), reverse=True)
        return join_array([document.body.encode() for document in found])

    @get(
        "/v0/egressgateways",
        operation_id="ListAllEgressGateways",
        opt={"body": None, "answer": list[EgressGateway]},
    )
    async def list_all_egress_gateways(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        return json_response(await db.read(lambda conn: listed(conn, workspace, GATEWAYS)))

    @get(
        "/v0/egressips",
        operation_id="ListAllEgressIPs",
        opt={"body": None, "answer": list[EgressIp]},
    )
    async def list_all_egress_ips(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        return json_response(await db.read(lambda conn: listed(conn, workspace, IPS)))

    @get(
        "/v0/egressgateways/usage",
        operation_id="GetEgressGatewayUsage",
        opt={"body": None, "answer": dict[str, list[str]]},
    )
    async def get_egress_gateway_usage(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        return json_response(msgspec.json.encode(await db.read(lambda c: _usage(c, workspace))))

    return [list_all_egress_gateways, list_all_egress_ips, get_egress_gateway_usage]


def _answer(document: Document) -> Response[bytes]:
    return json_response(document.body.encode())


def _ensure_default(conn: Connection, context: ResourceContext, actor: Actor) -> None:
    if documents.find(conn, actor.workspace, VPCS.name, DEFAULT_VPC) is None:
        shape = Vpc(metadata=Metadata(name=DEFAULT_VPC), spec={})
        body = context.store.wanted(VPCS, shape)
        context.store.create(conn, VPCS, actor, body)


def _need_gateway(
    conn: Connection, context: ResourceContext, workspace: str, vpc: str, gateway: str
) -> Document:
    context.store.need(conn, VPCS, workspace, vpc)
    return context.store.need(conn, GATEWAYS, workspace, gateway, vpc)


def _refuse_parent(
    conn: Connection, workspace: str, kind: Kind, owner: Document, below: Kind, parent: str
) -> None:
    names = [child.name for child in documents.children(conn, workspace, below.name, parent)]
    if names:
        raise Conflict(
            f"The {kind.title} {owner.name!r} still has {len(names)} {below.title}(s), such as "
            f"{names[0]!r}; delete them first.",
            code=f"{kind.name.upper()}_IN_USE",
        )


def _refuse_bound(conn: Connection, workspace: str, vpc: str, gateway: str) -> None:
    if vpc != DEFAULT_VPC:
        return
    bound = _usage(conn, workspace).get(gateway)
    if bound:
        raise Conflict(
            f"The egress gateway {gateway!r} is bound to {len(bound)} sandbox(es), such as "
            f"{bound[0]!r}; delete them first.",
            code="EGRESS_GATEWAY_IN_USE",
        )


def _usage(conn: Connection, workspace: str) -> dict[str, list[str]]:
    """Every gateway's sandboxes; sandboxes name gateways of the default VPC."""
    usage: dict[str, list[str]] = {
        gateway.name: [] for gateway in documents.every(conn, GATEWAYS.name, workspace)
    }
    c = rows.c
    query = select(c.name, c.body).where(
        c.workspace == workspace, c.kind == SANDBOX, c.status != documents.HIDDEN, NAMES_GATEWAY
    )
    for sandbox, body in conn.execute(query):
        network = msgspec.json.decode(body)["spec"].get("network") or {}
        gateway = (network.get("egress") or {}).get("gateway")
        if isinstance(gateway, str):
            usage.setdefault(gateway, []).append(sandbox)
    return {name: sorted(sandboxes) for name, sandboxes in sorted(usage.items())}
