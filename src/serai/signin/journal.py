"""What sign-in writes into the audit log and the log; never a secret, never what was typed."""

from typing import Any

import structlog
from sqlalchemy import Connection, select

from serai.api.exchange import current_origin
from serai.identity.sign_ins import Person
from serai.resources import audit
from serai.resources.actor import Actor
from serai.resources.audit import Target
from serai.store.tables.identity import memberships, users

log = structlog.get_logger(__name__)


def note(
    conn: Connection, person: Person, action: str, kind: str = "session", target: str = ""
) -> None:
    """Write an audit entry about somebody's own sign-in, and a log line."""
    actor = Actor(
        workspace=_only_workspace(conn, person.id),
        email=person.email,
        subject=person.id,
        account_id=person.account_id,
        origin=current_origin(),
    )
    audit.record(conn, actor, action, Target(kind=kind, name=person.email, id=target))
    log.info(action, user=person.id, kind=kind)


def person_of(conn: Connection, user_id: str) -> Person | None:
    """A user as a person who may sign in."""
    row: Any = conn.execute(select(users).where(users.c.id == user_id)).one_or_none()
    if row is None:
        return None
    name = " ".join(part for part in (row.given_name, row.family_name) if part)
    return Person(row.id, row.email, row.account_id, row.account_admin, name)


def _only_workspace(conn: Connection, user_id: str) -> str:
    """The audit log is per workspace: that of somebody with several is the account's (empty)."""
    query = select(memberships.c.workspace).where(memberships.c.user_id == user_id).limit(2)
    found = list(conn.execute(query).scalars())
    return found[0] if len(found) == 1 else ""
