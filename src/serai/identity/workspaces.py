"""Workspaces as functions of a Connection."""

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, select, update

from serai.identity import accounts, service_accounts
from serai.identity.api_keys import check_title
from serai.identity.leaving import close_workspace, lose_access
from serai.identity.principal import Principal
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, Conflict, NotFound
from serai.kernel.names import check_labels
from serai.store.reach import unbounded
from serai.store.tables.documents import documents
from serai.store.tables.identity import invitations, memberships, workspaces
from serai.store.tables.sandboxes import sandboxes
from serai.wire.identity import Workspace

GENERATION = "mk3"
"""What clients call this generation of workloads; sandboxes say the same of themselves."""

REGION_MAX = 64
GONE = "TERMINATED"
COUNTED = {
    "agent": "agents",
    "function": "functions",
    "model": "models",
    "sandbox": "sandboxes",
    "policy": "policies",
    "job": "jobs",
    "volume": "volumes",
    "drive": "drives",
    "volume_template": "volumetemplates",
    "integration_connection": "integrationconnections",
    "preview": "previews",
    "custom_domain": "customdomains",
    "image": "images",
}
"""Kinds of documents, and what the counts call them."""


def listing(conn: Connection, names: Iterable[str]) -> list[Workspace]:
    """The named workspaces, in order of their names."""
    query = select(workspaces).where(workspaces.c.name.in_(list(names)))
    return [shown(row) for row in conn.execute(query.order_by(workspaces.c.name))]


def need(conn: Connection, caller: Principal, name: str) -> Workspace:
    """The workspace of that name, when the caller may use it.

    Raises:
        NotFound: it does not exist, or is not the caller's business.
    """
    if name in caller.workspaces:
        row = conn.execute(select(workspaces).where(workspaces.c.name == name)).one_or_none()
        if row is not None:
            return shown(row)
    raise NotFound(
        f"There is no workspace named {name[:80]!r} for this credential.",
        code="WORKSPACE_NOT_FOUND",
    )


@unbounded("a name is taken whoever has it, and nothing but that is told")
def taken(conn: Connection, name: str, account_id: str) -> bool:
    """Whether a name cannot be had by an account.

    Somebody has a workspace of that name, another account had one, or something was left behind
    under it.
    """
    if accounts.name_owner(conn, name) not in {None, account_id}:
        return True
    places = (
        workspaces.c.name == name,
        sandboxes.c.workspace == name,
        documents.c.workspace == name,
    )
    return any(conn.execute(select(1).where(place).limit(1)).first() for place in places)


def create(conn: Connection, caller: Principal, wanted: Workspace) -> Workspace:
    """Insert a workspace in the caller's account, with the caller as its admin.

    Raises:
        Conflict: the name is taken.
        BadRequest: a setting breaks a rule.
    """
    assert wanted.name is not None
    if taken(conn, wanted.name, caller.account_id):
        raise Conflict(
            f"The workspace name {wanted.name!r} is taken.", code="WORKSPACE_ALREADY_EXISTS"
        )
    with unbounded("a workspace that is being made is in nobody's reach yet"):
        accounts.create_workspace(conn, caller.account_id, wanted.name, caller.email)
        if caller.kind == "user":
            accounts.grant(conn, wanted.name, caller.subject, "admin")
        return _save(conn, wanted.name, wanted, caller)


def replace(conn: Connection, caller: Principal, name: str, wanted: Workspace) -> Workspace:
    """Replace the settings of a workspace.

    Raises:
        NotFound: see ``need``.
        BadRequest: a setting breaks a rule, or the body names another workspace.
    """
    need(conn, caller, name)
    if wanted.name not in {None, name}:
        raise BadRequest("name differs from the name in the path: a workspace keeps its name.")
    return _save(conn, name, wanted, caller)


def _save(conn: Connection, name: str, wanted: Workspace, caller: Principal) -> Workspace:
    row = conn.execute(
        update(workspaces)
        .where(workspaces.c.name == name)
        .values(
            display_name=check_title(wanted.display_name or name, "displayName"),
            labels=msgspec.json.encode(_labels(wanted)).decode(),
            region=_region(wanted),
            settings=msgspec.json.encode(_settings(wanted)).decode(),
            updated_at=rfc3339(now()),
            updated_by=caller.email,
        )
        .returning(workspaces)
    ).one()
    return shown(row)


def _labels(wanted: Workspace) -> dict[str, str]:
    labels = wanted.labels or {}
    check_labels(labels)
    return labels


def _region(wanted: Workspace) -> str | None:
    region = wanted.region or None
    if region is not None and (len(region) > REGION_MAX or not region.isprintable()):
        raise BadRequest(f"region is not valid: use at most {REGION_MAX} printable characters.")
    return region


def _settings(wanted: Workspace) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for place, mapping in enumerate(wanted.group_mappings or []):
        if not mapping.group_name or mapping.role is None:
            raise BadRequest(f"groupMappings[{place}] needs a groupName and a role.")
    if wanted.group_mappings:
        settings["groupMappings"] = wanted.group_mappings
    if wanted.runtime is not None and wanted.runtime.sandbox is not None:
        settings["runtime"] = {"sandbox": wanted.runtime.sandbox}
    return settings


def remove(conn: Connection, caller: Principal, name: str) -> Workspace:
    """Delete an empty workspace, and with it memberships and invitations.

    The hosted service deletes everything in it; we answer with what is still there instead, so
    that one call cannot destroy what took months.

    Raises:
        NotFound: see ``need``.
        Conflict: something is in it; ``details.resourceCounts`` says what.
    """
    workspace = need(conn, caller, name)
    left = {kind: number for kind, number in contents(conn, name).items() if number}
    if left:
        shown_left = ", ".join(f"{number} {kind}" for kind, number in sorted(left.items()))
        raise Conflict(
            f"The workspace {name!r} is not empty: it has {shown_left}. Delete them first; "
            "deleting a workspace deletes nothing else here.",
            code="WORKSPACE_NOT_EMPTY",
            details={"resourceCounts": left},
        )
    conn.execute(delete(documents).where(documents.c.workspace == name))
    conn.execute(delete(invitations).where(invitations.c.workspace == name))
    members = select(memberships.c.user_id).where(memberships.c.workspace == name)
    people = list(conn.execute(members).scalars())
    conn.execute(delete(memberships).where(memberships.c.workspace == name))
    close_workspace(conn, name)
    conn.execute(delete(workspaces).where(workspaces.c.name == name))
    for user_id in people:
        lose_access(conn, user_id)
    return workspace


def contents(conn: Connection, name: str) -> dict[str, int]:
    """How much of every kind is in a workspace, for deciding whether it is empty."""
    c = documents.c
    query = (
        select(c.kind, func.count())
        .where(c.workspace == name, c.status != GONE, c.parent == "")
        .group_by(c.kind)
    )
    found = {COUNTED.get(kind, kind): int(number) for kind, number in conn.execute(query)}
    running = select(func.count()).where(sandboxes.c.workspace == name)
    if not found.get("sandboxes"):
        found["sandboxes"] = conn.execute(running).scalar_one()
    found["serviceaccounts"] = service_accounts.count(conn, name)
    return found


def counts(conn: Connection, name: str) -> dict[str, int]:
    """The numbers of ``countResources``: every known kind, zeros too."""
    c = documents.c
    query = (
        select(c.kind, func.count())
        .where(c.workspace == name, c.status != GONE, c.kind.in_(COUNTED))
        .group_by(c.kind)
    )
    numbers = dict.fromkeys(COUNTED.values(), 0)
    numbers |= {COUNTED[kind]: int(number) for kind, number in conn.execute(query)}
    return numbers | {"serviceaccounts": service_accounts.count(conn, name)}


def shown(row: Any) -> Workspace:
    """A workspace as clients see it."""
    settings = msgspec.json.decode(row.settings)
    runtime = {"generation": GENERATION} | settings.get("runtime", {})
    body = {
        "name": row.name,
        "displayName": row.display_name,
        "id": row.id,
        "accountId": row.account_id,
        "region": row.region,
        "labels": msgspec.json.decode(row.labels) or None,
        "groupMappings": settings.get("groupMappings"),
        "runtime": runtime,
        "status": "ready",
        "createdAt": row.created_at,
        "createdBy": row.created_by,
        "updatedAt": row.updated_at,
        "updatedBy": row.updated_by or row.created_by,
    }
    return msgspec.convert(body, Workspace)
