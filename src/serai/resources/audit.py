"""The audit log: who did what to which resource, written with the change itself."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection, insert

from serai.kernel.clock import now, rfc3339
from serai.kernel.ids import new_uuid
from serai.resources.actor import Actor
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.masking import MASK
from serai.store.reach import unbounded
from serai.store.tables.governance import audit_entries
from serai.wire.governance import AuditChange

AUDIT = "audit_entry"
"""The kind under which a trigger counts entries."""
CHANGES_MAX = 64 * 1024
"""Larger diffs keep their paths and lose their values (bytes of JSON)."""
WRITTEN = ("name", "displayName", "externalId", "labels")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed."""

    kind: str
    name: str
    parent: str = ""
    id: str = ""

    @classmethod
    def of(cls, document: Document) -> "Target":
        """A document as the target of a change."""
        return cls(kind=document.kind, name=document.name, parent=document.parent, id=document.id)


@unbounded("what was done is written down where it happened, also beyond the caller's reach")
def record(
    conn: Connection,
    actor: Actor,
    action: str,
    target: Target,
    before: Body | None = None,
    after: Body | None = None,
    secrets: Iterable[str] = (),
) -> None:
    """Write an entry, in the transaction of the change.

    Args:
        conn: of that transaction.
        actor: who, from where.
        action: ``create``, ``update``, ``delete`` or another verb.
        target: what.
        before: the resource before, with secrets masked.
        after: the resource after, with secrets masked.
        secrets: paths of secrets whose values changed.
    """
    changed = [*changes(before, after, ""), *(_secret(path) for path in secrets)]
    text = msgspec.json.encode(changed)
    if len(text) > CHANGES_MAX:
        paths = [AuditChange(path=one.path[:200], omitted=True) for one in changed]
        text = msgspec.json.encode(paths[:200])
    origin = actor.origin
    conn.execute(
        insert(audit_entries).values(
            id=new_uuid(),
            time=rfc3339(now()),
            account_id=actor.account_id,
            workspace=actor.workspace,
            actor=actor.email,
            subject=actor.subject,
            credential=actor.credential,
            action=action,
            kind=target.kind,
            parent=target.parent,
            name=target.name,
            resource_id=target.id,
            client=origin.client,
            user_agent=origin.user_agent,
            request_id=origin.request_id,
            claim=origin.claim,
            changes=text.decode(),
        )
    )
    origin.audited = True


def written(body: Body) -> Body:
    """The part of a document that clients write."""
    metadata = body.get("metadata") or {}
    kept = {key: metadata[key] for key in WRITTEN if key in metadata}
    return {"metadata": kept, "spec": body.get("spec") or {}}


def changes(before: Any, after: Any, path: str) -> Iterator[AuditChange]:
    """What differs, down to the smallest objects; lists are compared whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            below = f"{path}.{key}" if path else key
            yield from changes(before.get(key), after.get(key), below)
    elif before != after:
        yield AuditChange(path=path, before=before, after=after)


def _secret(path: str) -> AuditChange:
    return AuditChange(path=path, before=MASK, after=MASK)
