"""The sandbox kind: defaults, rules, secrets, and when a sandbox expires."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import Connection

from serai.compute.mount_rules import prepare_volumes
from serai.compute.network_rules import check_network
from serai.kernel.clock import parse_rfc3339
from serai.kernel.durations import parse_duration
from serai.kernel.errors import BadRequest, Conflict
from serai.kernel.ids import token
from serai.kernel.names import check_name
from serai.resources.documents import Document
from serai.resources.kind import Body, Kind, Operations
from serai.resources.kinds import check_envs, check_memory
from serai.resources.masking import Slot, env_slots, map_slots
from serai.resources.store import DocumentStore
from serai.wire.sandboxes import Sandbox

IMAGE_DEFAULT = "blaxel/base-image:latest"
MEMORY_DEFAULT = 4096
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RETENTION_DEFAULT = timedelta(minutes=5)
EXTRA_ARGS = frozenset({"tun", "nfs", "iptables"})
NOT_YET = {
    "vpc": "spec.vpc: VPCs are not available in this version of Serai; leave it out.",
}


class Expiry(msgspec.Struct, frozen=True):
    """When a sandbox ends: at a moment, and after so much idle time; ``None`` for never."""

    at: datetime | None
    idle: timedelta | None


def prepare_sandbox(body: Body) -> None:
    """Complete defaults and check the rules of a wanted sandbox."""
    spec = body["spec"]
    for field, message in NOT_YET.items():
        if spec.get(field):
            raise BadRequest(message)
        spec.pop(field, None)
    for field in ("network", "lifecycle"):
        if not spec.get(field):
            spec.pop(field, None)
    prepare_volumes(spec)
    spec.setdefault("enabled", True)
    runtime = spec.setdefault("runtime", {})
    runtime["image"] = runtime.get("image") or IMAGE_DEFAULT
    runtime.setdefault("memory", MEMORY_DEFAULT)
    for field in ("ttl", "expires", "extraArgs"):
        if not runtime.get(field):
            runtime.pop(field, None)
    check_memory(runtime)
    check_envs(runtime)
    for policy in spec.get("policies") or []:
        check_name(policy, "spec.policies")
    check_network(spec.get("network") or {})
    _check_extra_args(runtime.get("extraArgs") or {})
    expiry_of(body, datetime.now().astimezone())
    retention_of(body)


def _check_extra_args(extra: dict[str, str]) -> None:
    unknown = sorted(set(extra) - EXTRA_ARGS)
    if unknown:
        raise BadRequest(
            f"spec.runtime.extraArgs.{unknown[0][:60]} is not supported; "
            f"use {', '.join(sorted(EXTRA_ARGS))}.",
            code="INVALID_EXTRA_ARGS",
        )
    if {"nfs", "iptables"} <= {key for key, value in extra.items() if value == "enabled"}:
        raise BadRequest(
            "spec.runtime.extraArgs.nfs and extraArgs.iptables exclude each other; enable one.",
            code="INVALID_EXTRA_ARGS",
        )


def name_unnamed(body: Sandbox) -> None:
    """Give a sandbox a name when the client leaves that to us."""
    if not body.metadata.name:
        body.metadata.name = f"sandbox-{token(8)}"


def expiry_of(body: Body, start: datetime) -> Expiry:
    """When a sandbox that counts from ``start`` expires.

    Raises:
        BadRequest: a duration or a date cannot be read.
    """
    runtime = body["spec"]["runtime"]
    moments: list[datetime] = []
    idle: list[timedelta] = []
    if runtime.get("ttl"):
        moments.append(start + parse_duration(runtime["ttl"], "spec.runtime.ttl"))
    if runtime.get("expires"):
        moments.append(moment_of(runtime["expires"], "spec.runtime.expires"))
    lifecycle = body["spec"].get("lifecycle") or {}
    for index, policy in enumerate(lifecycle.get("expirationPolicies") or []):
        field = f"spec.lifecycle.expirationPolicies[{index}].value"
        if policy["type"] == "date":
            moments.append(moment_of(policy["value"], field))
        elif policy["type"] == "ttl-max-age":
            moments.append(start + parse_duration(policy["value"], field))
        else:
            idle.append(parse_duration(policy["value"], field))
    return Expiry(min(moments, default=None), min(idle, default=None))


def retention_of(body: Body) -> timedelta:
    """How long the record stays readable after the end."""
    lifecycle = body["spec"].get("lifecycle") or {}
    text = lifecycle.get("terminatedRetention")
    if not text:
        return RETENTION_DEFAULT
    return parse_duration(text, "spec.lifecycle.terminatedRetention")


def moment_of(text: str, field: str) -> datetime:
    """A moment that a client wrote, in UTC.

    Raises:
        BadRequest: it is not RFC 3339, or before 1970 or after 9999 in UTC.
    """
    try:
        moment = parse_rfc3339(text).astimezone(UTC)
    except (ValueError, OverflowError):
        moment = datetime.min.replace(tzinfo=UTC)
    if moment >= EPOCH:
        return moment
    raise BadRequest(
        f"{field} {text[:60]!r} is not a date: use RFC 3339, for example 2030-01-31T12:00:00Z."
    )


def sandbox_slots(body: Body) -> Iterator[Slot]:
    """Secret environment values, and the secrets of the egress proxy's routes."""
    yield from env_slots(body)
    proxy = (body["spec"].get("network") or {}).get("proxy") or {}
    for index, route in enumerate(proxy.get("routing") or []):
        yield from map_slots(f"spec.network.proxy.routing.{index}", route.get("secrets"))


SANDBOXES = Kind(
    name="sandbox",
    title="sandbox",
    path="sandboxes",
    shape=Sandbox,
    status="DEPLOYING",
    prepare=prepare_sandbox,
    secrets=sandbox_slots,
    built=True,
    operations=Operations.of("Sandbox", "Sandboxes"),
    list_query={"showTerminated": bool},
)


ENDED = frozenset({"TERMINATED", "FAILED"})
AWAY = frozenset({"ARCHIVING", "ARCHIVED", "UNARCHIVING"})
"""Its files are not in place."""


def need_living(conn: Connection, store: DocumentStore, workspace: str, name: str) -> Document:
    """The sandbox of that name, as long as it lives.

    Raises:
        NotFound: no such sandbox.
        Conflict: it has ended, or is about to.
    """
    document = store.need(conn, SANDBOXES, workspace, name)
    if document.status in ENDED or document.status == "DELETING":
        raise Conflict(
            f"Sandbox {name!r} has ended ({document.status}); create it again.",
            code="SANDBOX_TERMINATED",
        )
    return document


def need_files(conn: Connection, store: DocumentStore, workspace: str, name: str) -> Document:
    """The sandbox of that name, as long as it lives and its files are in place.

    Raises:
        NotFound: no such sandbox.
        Conflict: it has ended, is archived, or is only being created.
    """
    document = need_living(conn, store, workspace, name)
    if document.status in AWAY:
        raise Conflict(
            f"Sandbox {name!r} is {document.status.lower()}; unarchive it first "
            f"(POST /v0/sandboxes/{name}/unarchive).",
            code="SANDBOX_ARCHIVED",
        )
    if document.status != "DEPLOYED":
        raise Conflict(
            f"Sandbox {name!r} is {document.status.lower()}; try again when it is deployed.",
            code="SANDBOX_NOT_READY",
        )
    return document
