"""Lists as each API version shows them."""

from collections.abc import Callable
from typing import Any, get_args

from sqlalchemy import Connection

from serai.api.pages import LIMIT_DEFAULT, PageQuery, join_array, join_page, parse_page_query
from serai.api.versions import PAGES_SINCE, at_least
from serai.kernel.cursors import CursorCodec
from serai.resources import documents
from serai.resources.kind import Kind
from serai.wire.common import Status

STATUSES: tuple[str, ...] = get_args(Status)


def answer_list(
    conn: Connection,
    cursors: CursorCodec,
    kind: Kind,
    workspace: str,
    version: str,
    params: Any,
    parent: str = "",
    complete: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """The JSON of a list: a page for paged kinds since ``PAGES_SINCE``, else a bare array.

    ``complete`` adds to each document what is not stored.

    Raises:
        BadRequest: a parameter is not understood, or the cursor is of another query or too old.
    """
    query = parse_page_query(params, STATUSES)
    if not kind.paged or not at_least(version, PAGES_SINCE):
        bodies = documents.bodies(conn, workspace, kind.name, query, parent)
        return join_array(list(map(complete, bodies)) if complete else bodies)
    scope = query.fingerprint(f"{workspace}/{kind.name}/{parent}")
    after = cursors.decode(scope, query.cursor) if query.cursor else None
    size = query.limit or LIMIT_DEFAULT
    page = documents.page(conn, workspace, kind.name, query, after, size, parent)
    more = page.more and not _is_last_page(query)
    items = list(map(complete, page.items)) if complete else page.items
    return join_page(items, cursors.encode(scope, page.last) if more else None, page.total)


def _is_last_page(query: PageQuery) -> bool:
    return query.from_end
