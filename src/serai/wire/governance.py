"""Quotas and the audit log: shapes of our own, and of what one client asks beyond the contract."""

from typing import Any

from serai.wire.common import Wire


class Quota(Wire):
    """A limit of an account, or of one of its workspaces when it is named.

    ``used`` counts what the limit is about; it is left out where nothing can be counted.
    """

    resource_type: str
    value: int
    workspace: str | None = None
    used: int | None = None


class AuditChange(Wire):
    """What changed at a path such as ``spec.runtime.memory``; an absent side did not exist.

    A secret whose value changed shows the mask on both sides. ``omitted``: too large to keep.
    """

    path: str
    before: Any = None
    after: Any = None
    omitted: bool = False


class AuditResource(Wire):
    """What an audit entry is about."""

    kind: str
    name: str
    id: str | None = None
    parent: str | None = None


class AuditEntry(Wire):
    """Who did what, when and from where. ``client`` is the peer's address."""

    id: str
    time: str
    workspace: str
    actor: str
    action: str
    resource: AuditResource
    changes: list[AuditChange]
    subject: str | None = None
    credential: str | None = None
    client: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
