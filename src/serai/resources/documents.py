"""Documents as rows: functions of a Connection, always within one workspace and kind."""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from serai.api.pages import PageQuery
from serai.store.tables.documents import documents

HIDDEN = "TERMINATED"


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


def _row(document: Document) -> dict[str, Any]:
    return {name: getattr(document, name) for name in FIELDS}


def find(
    conn: Connection, workspace: str, kind: str, name: str, parent: str = ""
) -> Document | None:
    """The document of that name, or ``None``."""
    c = documents.c
    query = select(*COLUMNS).where(
        c.workspace == workspace, c.kind == kind, c.parent == parent, c.name == name
    )
    return _first(conn, query)


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


def _first(conn: Connection, query: Any) -> Document | None:
    row = conn.execute(query).first()
    return Document(**dict(zip(FIELDS, row, strict=True))) if row is not None else None


def add(conn: Connection, document: Document) -> None:
    """Insert a document; its name must be free."""
    conn.execute(insert(documents).values(_row(document)))


def save(conn: Connection, document: Document) -> None:
    """Overwrite a document by its id."""
    conn.execute(update(documents).where(documents.c.id == document.id).values(_row(document)))


def drop(conn: Connection, document_id: str) -> None:
    """Delete a document by its id."""
    conn.execute(delete(documents).where(documents.c.id == document_id))


def every(conn: Connection, kind: str, workspace: str | None = None) -> list[Document]:
    """All documents of a kind, of every workspace unless one is named: for the platform itself."""
    query = select(*COLUMNS).where(documents.c.kind == kind)
    if workspace is not None:
        query = query.where(documents.c.workspace == workspace)
    return [Document(**dict(zip(FIELDS, row, strict=True))) for row in conn.execute(query)]


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
    """One page; ``after`` is the position of the last item of the page before."""
    c = documents.c
    within = _within(workspace, kind, parent, query)
    key = c[query.column]
    descending = query.descending != query.from_end
    conditions = [*within, *_search(query)]
    if after is not None:
        conditions.append(_beyond(key, after, descending))
    order = (key.desc(), c.id.desc()) if descending else (key.asc(), c.id.asc())
    statement = select(key, c.id, c.body).where(*conditions).order_by(*order).limit(size + 1)
    rows = conn.execute(statement).all()
    total = conn.execute(select(func.count()).where(*within)).scalar_one()
    more, rows = len(rows) > size, rows[:size]
    last = [rows[-1][0], rows[-1][1]] if rows else []
    items = [body.encode() for _, _, body in rows]
    if query.from_end:
        items.reverse()
    return Page(items, more, last, total)


def _within(workspace: str, kind: str, parent: str, query: PageQuery) -> list[ColumnElement[bool]]:
    c = documents.c
    conditions = [c.workspace == workspace, c.kind == kind, c.parent == parent]
    if query.statuses is not None:
        conditions.append(c.status.in_(query.statuses))
    elif not query.show_terminated:
        conditions.append(c.status != HIDDEN)
    if query.external_id:
        conditions.append(c.external_id == query.external_id)
    return conditions


def _search(query: PageQuery) -> list[ColumnElement[bool]]:
    return [documents.c.search.contains(query.q, autoescape=True)] if query.q else []


def _beyond(key: Any, after: list[str], descending: bool) -> ColumnElement[bool]:
    value, last_id = after
    c = documents.c
    if descending:
        return or_(key < value, and_(key == value, c.id < last_id))
    return or_(key > value, and_(key == value, c.id > last_id))
