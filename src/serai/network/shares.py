"""Shares of custom domains as rows: functions of a Connection."""

import msgspec
from sqlalchemy import Connection, and_, delete, insert, or_, select

from serai.kernel.clock import now, rfc3339
from serai.network.domains import DOMAINS
from serai.resources.documents import COLUMNS, FIELDS, Document
from serai.store.reach import unbounded
from serai.store.tables.documents import documents
from serai.store.tables.identity import workspaces
from serai.store.tables.sharing import domain_shares

ACCOUNT = "account"
"""As a target: every workspace of the account."""


class Share(msgspec.Struct, frozen=True):
    """Whom a domain is shared with; the name for people is ``None`` for the whole account."""

    target: str
    display_name: str | None


def shared_with(
    conn: Connection, workspace: str, account_id: str, name: str | None = None
) -> list[Document]:
    """Domains that others share with a workspace, newest first; of that name when given."""
    c, s = documents.c, domain_shares.c
    query = (
        select(*COLUMNS)
        .join(domain_shares, s.document_id == c.id)
        .where(
            c.kind == DOMAINS.name,
            c.workspace != workspace,
            s.account_id == account_id,
            or_(s.target == workspace, s.target == ACCOUNT),
        )
        .distinct()
        .order_by(c.created_at.desc(), c.id.desc())
    )
    if name is not None:
        query = query.where(c.name == name)
    return [Document(**dict(zip(FIELDS, row, strict=True))) for row in conn.execute(query)]


@unbounded("who shares a domain sees how those it is shared with are called")
def shares_of(conn: Connection, document_id: str) -> list[Share]:
    """Everybody that a domain is shared with."""
    s = domain_shares.c
    query = (
        select(s.target, workspaces.c.display_name)
        .join(
            workspaces,
            and_(workspaces.c.name == s.target, s.target != ACCOUNT),
            isouter=True,
        )
        .where(s.document_id == document_id)
        .order_by(s.created_at, s.target)
    )
    return [Share(*row) for row in conn.execute(query)]


@unbounded("a share is given to a workspace that its giver need not reach")
def add_share(conn: Connection, document_id: str, account_id: str, target: str, by: str) -> None:
    """Share a domain; it must not be shared with that target yet."""
    row = {"document_id": document_id, "account_id": account_id, "target": target}
    stamp = {"created_at": rfc3339(now()), "created_by": by}
    conn.execute(insert(domain_shares).values(row | stamp))


def drop_share(conn: Connection, document_id: str, target: str | None = None) -> int:
    """End one share, or all; returns how many there were."""
    s = domain_shares.c
    query = delete(domain_shares).where(s.document_id == document_id)
    if target is not None:
        query = query.where(s.target == target)
    return conn.execute(query).rowcount


@unbounded("a domain is verified once in an installation, and nothing but that is told")
def verified_elsewhere(conn: Connection, document: Document) -> bool:
    """Whether another workspace has verified the same domain."""
    c = documents.c
    query = select(c.body).where(
        c.kind == DOMAINS.name, c.name == document.name, c.id != document.id
    )
    bodies = (msgspec.json.decode(body) for (body,) in conn.execute(query))
    return any(body["spec"].get("status") == "verified" for body in bodies)
