"""Limits that an operator sets for an account or one of its workspaces, and their enforcement.

A limit is checked in the transaction that creates something. There is one writer, so nothing
slips between the count and the creation.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from serai.kernel.clock import now
from serai.kernel.errors import BadRequest, NotFound, UsageLimitExceeded
from serai.resources import counts
from serai.store.reach import unbounded
from serai.store.tables.governance import quotas
from serai.store.tables.identity import workspaces
from serai.store.tables.sandboxes import sandboxes
from serai.store.tables.snapshots import snapshots
from serai.store.tables.storage import job_boxes
from serai.store.tables.usage import usage_days, usage_series
from serai.wire.governance import Quota

ENDED = ("TERMINATED", "FAILED")
KINDS: dict[str, tuple[str, ...]] = {
    "sandboxes": ("sandbox",),
    "deployments": ("agent", "function", "job", "model", "application"),
    "volumes": ("volume",),
}
"""What counts against a limit of how many there may be."""
SANDBOX_MEMORY = "sandbox_memory"
"""Sum of the memory of all sandboxes that have not ended, in MiB."""
JOB_MEMORY = "job_memory"
"""Sum of the memory of what runs tasks of jobs, in MiB; tasks wait where it is used up."""
SNAPSHOT_STORAGE = "snapshot_storage"
"""Sum of what all snapshots take on disk, in MiB; each counts at least one."""
MODEL_TOKENS = "model_tokens"
"""Tokens that all models took and gave in this calendar month (UTC), as the bill counts them."""
TOKEN_DIMENSIONS = ("model_input_tokens_count", "model_output_tokens_count")
STATED = ("sandbox_ttl", "sandbox_enforced_ttl")
"""Known to one client, which reads them; seconds. Nothing is enforced by them."""
RESOURCES = (*KINDS, SANDBOX_MEMORY, JOB_MEMORY, SNAPSHOT_STORAGE, MODEL_TOKENS, *STATED)
NOUNS = {
    SANDBOX_MEMORY: "MiB of sandbox memory",
    JOB_MEMORY: "MiB of memory for tasks of jobs",
    SNAPSHOT_STORAGE: "MiB of snapshots",
}
VALUE_MAX = 2**53
MEBIBYTE = 1 << 20


class Limit(msgspec.Struct, frozen=True):
    """A limit in force; ``workspace`` is empty for the account's."""

    account_id: str
    workspace: str
    resource: str
    value: int


def check_kind(conn: Connection, workspace: str, kind: str) -> None:
    """Refuse one more document of a kind when a limit is reached.

    Raises:
        UsageLimitExceeded: with the number and the limit.
    """
    for resource, kinds in KINDS.items():
        if kind in kinds:
            _check(conn, workspace, resource, 1)


def check_memory(conn: Connection, workspace: str, memory_mb: int) -> None:
    """Refuse a sandbox whose memory (MiB) would pass a limit.

    Raises:
        UsageLimitExceeded: with the number and the limit.
    """
    _check(conn, workspace, SANDBOX_MEMORY, memory_mb)


def check_job_memory(conn: Connection, workspace: str, memory_mb: int) -> None:
    """Refuse a task whose memory (MiB) would pass a limit.

    Raises:
        UsageLimitExceeded: with the number and the limit.
    """
    _check(conn, workspace, JOB_MEMORY, memory_mb)


def job_memory_limit(conn: Connection, workspace: str) -> int | None:
    """The most memory (MiB) that tasks of a workspace can ever have together; None for any."""
    found = [limit.value for limit in _limits(conn, workspace, JOB_MEMORY)]
    return min(found, default=None)


def check_snapshots(conn: Connection, workspace: str, more_mb: int) -> None:
    """Refuse a snapshot whose size (MiB) would pass a limit; its row counts already as empty.

    Raises:
        UsageLimitExceeded: with the number and the limit.
    """
    _check(conn, workspace, SNAPSHOT_STORAGE, more_mb)


def token_limits(conn: Connection, account_id: str | None = None) -> list[Limit]:
    """Every limit of tokens, or those of one account."""
    c = quotas.c
    query = select(c.account_id, c.workspace, c.resource, c.value)
    query = query.where(c.resource == MODEL_TOKENS)
    if account_id is not None:
        query = query.where(c.account_id == account_id)
    return [Limit(*row) for row in conn.execute(query)]


@unbounded("what every account has spent is the platform's own to know")
def tokens_used(usage: Connection, limits: Iterable[Limit]) -> dict[Limit, int]:
    """What is used of limits of tokens; reads the usage store."""
    return {limit: _tokens(usage, limit) for limit in limits}


def token_refusal(limit: Limit, used: int) -> UsageLimitExceeded | None:
    """The refusal of a token limit that is reached.

    Tokens are known only after a call, so a limit refuses the calls after the one that passed it.
    """
    return _tokens_spent(limit, used) if used >= limit.value else None


def listing(conn: Connection, account_id: str, tokens: Mapping[Limit, int]) -> list[Quota]:
    """The limits of an account and its workspaces, with what is used of them.

    ``tokens`` is what ``tokens_used`` found in the usage store.
    """
    c = quotas.c
    query = select(c.account_id, c.workspace, c.resource, c.value).where(c.account_id == account_id)
    limits = [Limit(*row) for row in conn.execute(query.order_by(c.resource, c.workspace))]
    return [
        Quota(
            resource_type=limit.resource,
            value=limit.value,
            workspace=limit.workspace or None,
            used=tokens[limit] if limit in tokens else _used(conn, limit),
        )
        for limit in limits
    ]


def replace(conn: Connection, account_id: str, wanted: Sequence[Quota]) -> None:
    """Set the limits of an account: those given and no others.

    Raises:
        BadRequest: an unknown resource, a value out of range, one limit twice.
        NotFound: a workspace is not of this account.
    """
    rows: dict[tuple[str, str], int] = {}
    for index, quota in enumerate(wanted):
        _check_quota(conn, account_id, quota, f"[{index}]")
        key = (quota.workspace or "", quota.resource_type)
        if key in rows:
            raise BadRequest(f"[{index}].resourceType {quota.resource_type!r} is given twice.")
        rows[key] = quota.value
    conn.execute(delete(quotas).where(quotas.c.account_id == account_id))
    for (workspace, resource), value in rows.items():
        conn.execute(
            insert(quotas).values(
                account_id=account_id, workspace=workspace, resource=resource, value=value
            )
        )


def _check_quota(conn: Connection, account_id: str, quota: Quota, field: str) -> None:
    if quota.resource_type not in RESOURCES:
        raise BadRequest(
            f"{field}.resourceType {quota.resource_type[:60]!r} is not one of "
            f"{', '.join(RESOURCES)}."
        )
    if not 0 <= quota.value <= VALUE_MAX:
        raise BadRequest(f"{field}.value {quota.value} is outside 0 to {VALUE_MAX}.")
    if quota.workspace and quota.workspace not in _workspaces(conn, account_id):
        raise NotFound(
            f"{field}.workspace: there is no workspace {quota.workspace[:80]!r} in this account.",
            code="WORKSPACE_NOT_FOUND",
        )


def _limits(conn: Connection, workspace: str, resource: str) -> list[Limit]:
    c = quotas.c
    account = select(workspaces.c.account_id).where(workspaces.c.name == workspace)
    query = select(c.account_id, c.workspace, c.resource, c.value).where(
        c.account_id == account.scalar_subquery(),
        c.workspace.in_(["", workspace]),
        c.resource == resource,
    )
    return [Limit(*row) for row in conn.execute(query).all()]


def _check(conn: Connection, workspace: str, resource: str, more: int) -> None:
    for limit in _limits(conn, workspace, resource):
        with unbounded("an account's limit counts all its workspaces; only the sum is told"):
            used = _used(conn, limit) or 0
        if used + more > limit.value:
            raise _exceeded(limit, used, more)


def _exceeded(limit: Limit, used: int, more: int) -> UsageLimitExceeded:
    whose = f"workspace {limit.workspace!r}" if limit.workspace else "this account"
    noun = NOUNS.get(limit.resource, limit.resource)
    return UsageLimitExceeded(
        f"The limit of {whose} is {limit.value} {noun}; {used} are in use and this needs {more} "
        "more. Delete what you no longer need, or ask an account admin to raise the limit "
        f"(PUT /v0/quotas/account/{limit.account_id}).",
        details={
            "resourceType": limit.resource,
            "limit": limit.value,
            "used": used,
            "requested": more,
            "workspace": limit.workspace,
        },
    )


def _tokens_spent(limit: Limit, used: int) -> UsageLimitExceeded:
    whose = f"workspace {limit.workspace!r}" if limit.workspace else "this account"
    return UsageLimitExceeded(
        f"The limit of {whose} is {limit.value} model tokens a month; {used} are used. Wait for "
        "the next month (UTC), or ask an account admin to raise the limit "
        f"(PUT /v0/quotas/account/{limit.account_id}).",
        details={
            "resourceType": limit.resource,
            "limit": limit.value,
            "used": used,
            "workspace": limit.workspace,
        },
    )


def _tokens(conn: Connection, limit: Limit) -> int:
    series, days, today = usage_series.c, usage_days.c, now()
    query = (
        select(func.coalesce(func.sum(days.quantity), 0))
        .join(usage_series, series.id == days.series_id)
        .where(
            series.account_id == limit.account_id,
            series.total.is_(True),
            series.dimension.in_(TOKEN_DIMENSIONS),
            days.month == today.year * 12 + today.month - 1,
        )
    )
    if limit.workspace:
        query = query.where(series.workspace == limit.workspace)
    return int(conn.execute(query).scalar_one())


def _used(conn: Connection, limit: Limit) -> int | None:
    names = [limit.workspace] if limit.workspace else _workspaces(conn, limit.account_id)
    if limit.resource in KINDS:
        return counts.total(conn, names, KINDS[limit.resource], ENDED)
    if limit.resource == SANDBOX_MEMORY:
        c = sandboxes.c
        query = select(func.coalesce(func.sum(c.memory_mb), 0)).where(
            c.workspace.in_(names), c.phase != "terminated"
        )
        return int(conn.execute(query).scalar_one())
    if limit.resource == JOB_MEMORY:
        total = select(func.coalesce(func.sum(job_boxes.c.memory_mb), 0))
        return int(conn.execute(total.where(job_boxes.c.workspace.in_(names))).scalar_one())
    if limit.resource == SNAPSHOT_STORAGE:
        s = snapshots.c
        megabytes = (s.size + MEBIBYTE - 1) / MEBIBYTE
        query = select(func.coalesce(func.sum(megabytes), 0)).where(
            s.workspace.in_(names), s.status == "ready"
        )
        return int(conn.execute(query).scalar_one())
    return 0 if limit.resource == MODEL_TOKENS else None


def _workspaces(conn: Connection, account_id: str) -> list[str]:
    query = select(workspaces.c.name).where(workspaces.c.account_id == account_id)
    return list(conn.execute(query).scalars())
