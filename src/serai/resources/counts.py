"""How many documents there are: triggers keep the counts exact, whatever changes the documents."""

from collections.abc import Iterable

from sqlalchemy import Connection, func, select

from serai.store.tables.documents import document_counts as counts

List = tuple[str, str, str]
"""Workspace, kind and parent: what one list shows."""


def by_status(conn: Connection, of: List) -> dict[str, int]:
    """How many documents of a list have each status; those that none has are left out."""
    c = counts.c
    query = select(c.status, c.count).where(
        c.workspace == of[0], c.kind == of[1], c.parent == of[2], c.count > 0
    )
    return {row[0]: row[1] for row in conn.execute(query)}


def total(
    conn: Connection, workspaces: Iterable[str], kinds: Iterable[str], besides: Iterable[str]
) -> int:
    """All documents of some kinds in some workspaces, but for those of the statuses ``besides``."""
    c = counts.c
    query = select(func.coalesce(func.sum(c.count), 0)).where(
        c.workspace.in_(list(workspaces)),
        c.kind.in_(list(kinds)),
        c.status.not_in(list(besides)),
    )
    return int(conn.execute(query).scalar_one())
