"""Documents as rows: functions of a Connection, always within one workspace and kind."""

from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from serai.api.pages import PageQuery
from serai.resources import counts
from serai.resources.changes import Change
from serai.resources.counts import List
from serai.store import changes
from serai.store.dialect import search_candidates
from serai.store.tables.documents import documents

HIDDEN = "TERMINATED"
CANDIDATES = 2000
"""A search that may match more than this walks the list in its order instead."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A stored document; ``body`` is its public JSON with secrets masked."""

    id: str
    workspace: str
    kind: str
    parent: str
    name: str
    external_id: str | None
    status: str
    generation: int
    created_at: str
    updated_at: str
    search: str
    body: str
    secrets: bytes | None


class Page(msgspec.Struct, frozen=True):
    """JSON documents of one page, whether more follow, and where the page ends."""

    items: list[bytes]
    more: bool
    last: list[str]
    total: int


FIELDS = Document.__struct_fields__
COLUMNS = [documents.c[name] for name in FIELDS]


# built once: building an expression costs as much as running it
BY_NAME = select(*COLUMNS).where(
    *(documents.c[name] == bindparam(name) for name in ("workspace", "kind", "parent", "name"))
)


def _row(document: Document) -> dict[str, Any]:
    return {name: getattr(document, name) for name in FIELDS}


def find(
    conn: Connection, workspace: str, kind: str, name: str, parent: str = ""
) -> Document | None:
    """The document of that name, or ``None``."""
    wanted = {"workspace": workspace, "kind": kind, "parent": parent, "name": name}
    return _first(conn, BY_NAME, wanted)


def find_external(conn: Connection, workspace: str, kind: str, value: str) -> Document | None:
    """The newest document with that external id that is not terminated."""
    c = documents.c
    query = (
        select(*COLUMNS)
        .where(
            c.workspace == workspace,
            c.kind == kind,
            c.external_id == value,
            c.status != HIDDEN,
        )
        .order_by(c.created_at.desc())
        .limit(1)
    )
    return _first(conn, query)


def _first(
    conn: Connection, query: Any, parameters: dict[str, str] | None = None
) -> Document | None:
    row = conn.execute(query, parameters).first()
    return Document(**dict(zip(FIELDS, row, strict=True))) if row is not None else None


def add(conn: Connection, document: Document) -> None:
    """Insert a document; its name must be free."""
    conn.execute(insert(documents).values(_row(document)))
    changes.note(conn, _change(document))


def save(conn: Connection, document: Document) -> None:
    """Overwrite a document by its id; its name, parent, kind and workspace never change."""
    conn.execute(update(documents).where(*_itself(document)).values(_row(document)))
    changes.note(conn, _change(document))


def drop(conn: Connection, document: Document) -> None:
    """Delete a document; its events and revisions go with it."""
    conn.execute(delete(documents).where(*_itself(document)))
    changes.note(conn, _change(document, deleted=True))


def _change(document: Document, *, deleted: bool = False) -> Change:
    where = (document.workspace, document.kind, document.name, document.parent)
    return Change(*where, status=document.status, deleted=deleted)


def drop_by_id(conn: Connection, document_id: str) -> None:
    """Delete a document of whatever workspace: for the platform itself."""
    conn.execute(delete(documents).where(documents.c.id == document_id))


def _itself(document: Document) -> tuple[ColumnElement[bool], ...]:
    return documents.c.id == document.id, documents.c.workspace == document.workspace


def every(conn: Connection, kind: str, workspace: str | None = None) -> list[Document]:
    """All documents of a kind, of every workspace unless one is named: for the platform itself."""
    query = select(*COLUMNS).where(documents.c.kind == kind)
    if workspace is not None:
        query = query.where(documents.c.workspace == workspace)
    return [Document(**dict(zip(FIELDS, row, strict=True))) for row in conn.execute(query)]


def ids(conn: Connection, kind: str) -> frozenset[str]:
    """The ids of all documents of a kind, of every workspace: for the platform itself."""
    query = select(documents.c.id).where(documents.c.kind == kind)
    return frozenset(map(str, conn.execute(query).scalars()))


def elsewhere(conn: Connection, kind: str, origin: str) -> Document | None:
    """One document of a kind whose body has no URL below ``origin``; ``None`` when all have."""
    c = documents.c
    here = c.body.contains(f'"url":"{origin}/', autoescape=True)
    return _first(conn, select(*COLUMNS).where(c.kind == kind, ~here).limit(1))


def move(conn: Connection, kind: str, old: str, new: str) -> None:
    """Put every URL of a kind's documents that is below one origin below another."""
    c = documents.c
    there, here = f'"url":"{old}/', f'"url":"{new}/'
    statement = update(documents).where(c.kind == kind, c.body.contains(there, autoescape=True))
    conn.execute(statement.values(body=func.replace(c.body, there, here)))


def children(conn: Connection, workspace: str, kind: str, parent: str) -> list[Document]:
    """All documents of a kind that belong to one parent."""
    c = documents.c
    query = select(*COLUMNS).where(c.workspace == workspace, c.kind == kind, c.parent == parent)
    return [Document(**dict(zip(FIELDS, row, strict=True))) for row in conn.execute(query)]


def bodies(
    conn: Connection, workspace: str, kind: str, query: PageQuery | None, parent: str = ""
) -> list[bytes]:
    """All documents of a list, newest first, as JSON: what versions without pages answer."""
    c = documents.c
    conditions = [c.workspace == workspace, c.kind == kind, c.parent == parent]
    if query is None or not query.show_terminated:
        conditions.append(c.status != HIDDEN)
    if query is not None and query.external_id:
        conditions.append(c.external_id == query.external_id)
    rows = conn.execute(
        select(c.body).where(*conditions).order_by(c.created_at.desc(), c.id.desc())
    )
    return [body.encode() for (body,) in rows]


def page(
    conn: Connection,
    workspace: str,
    kind: str,
    query: PageQuery,
    after: list[str] | None,
    size: int,
    parent: str = "",
) -> Page:
    """One page; ``after`` is the position of the last item of the page before.

    ``total`` counts the whole list, whatever the filters: only ended documents are left out,
    unless they are shown.
    """
    within = (workspace, kind, parent)
    held = counts.by_status(conn, within)
    shown = {s: n for s, n in held.items() if query.show_terminated or s != HIDDEN}
    wanted = shown if query.statuses is None else set(held) & query.statuses
    descending = query.descending != query.from_end
    rows = _rows(conn, within, sorted(wanted), query, after, size + 1)
    rows.sort(key=lambda row: (row[0], row[1]), reverse=descending)
    more, rows = len(rows) > size, rows[:size]
    last = [rows[-1][0], rows[-1][1]] if rows else []
    items = [body.encode() for _, _, body in rows]
    if query.from_end:
        items.reverse()
    return Page(items, more, last, sum(shown.values()))


def _rows(
    conn: Connection,
    within: List,
    statuses: list[str],
    query: PageQuery,
    after: list[str] | None,
    limit: int,
) -> list[Any]:
    """At least the first ``limit`` rows after a position, in any order.

    The ways to them: by external id; by the search index, when that finds few; else along the
    index of each status in the list's order, which makes every page as fast as the first.
    """
    c = documents.c
    key = c[query.column]
    base = select(key, c.id, c.body).where(*_filters(query, after, key))
    base = _ordered(base, query, key, limit)
    numbers = search_candidates(conn, query.q, CANDIDATES) if query.q else None
    if query.external_id or numbers is not None:
        mine = [_unindexed(c.parent) == within[2], _unindexed(c.status).in_(statuses)]
        if numbers is not None:
            mine += [_unindexed(c.workspace) == within[0], _unindexed(c.kind) == within[1]]
            mine += [c.number.in_(numbers)]
        else:
            mine += [c.workspace == within[0], c.kind == within[1]]
        return list(conn.execute(base.where(*mine)))
    mine = [c.workspace == within[0], c.kind == within[1], c.parent == within[2]]
    return [
        row for status in statuses for row in conn.execute(base.where(*mine, c.status == status))
    ]


def _filters(query: PageQuery, after: list[str] | None, key: Any) -> list[ColumnElement[bool]]:
    c = documents.c
    conditions: list[ColumnElement[bool]] = []
    if query.external_id:
        conditions.append(c.external_id == query.external_id)
    if query.q:
        conditions.append(c.search.contains(query.q, autoescape=True))
    if after is not None:
        here, there = tuple_(key, c.id), tuple_(*after)
        descending = query.descending != query.from_end
        conditions.append(here < there if descending else here > there)
    return conditions


def _ordered(statement: Any, query: PageQuery, key: Any, limit: int) -> Any:
    c = documents.c
    descending = query.descending != query.from_end
    order = (key.desc(), c.id.desc()) if descending else (key.asc(), c.id.asc())
    return statement.order_by(*order).limit(limit)


def _unindexed(column: Any) -> Any:
    """The column, so written that no index over it is chosen."""
    return column.concat("")
