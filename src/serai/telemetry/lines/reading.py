"""Answering questions about logs from the two places where lines are: their store, and calls."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from serai.kernel.cursors import CursorCodec
from serai.kernel.errors import BadRequest
from serai.store.database import Database
from serai.store.searching import TookTooLong, at_most
from serai.telemetry.lines import calls, query
from serai.telemetry.lines.asking import Asked
from serai.telemetry.lines.query import Page
from serai.telemetry.lines.records import Stored
from serai.telemetry.lines.shown import shown
from serai.telemetry.lines.store import LineStore
from serai.wire.telemetry import WorkloadLogs

SECONDS = 5.0
"""How long one search may take."""


class Place(msgspec.Struct, frozen=True):
    """Whose lines somebody may read: the account and the workspace of the caller."""

    account_id: str
    workspace: str


class LineReader:
    """Finds lines.

    Args:
        store: of lines.
        usage: the database with calls of models.
        cursors: writes and reads cursors.
    """

    def __init__(self, store: LineStore, usage: Database, cursors: CursorCodec) -> None:
        self.store = store
        self._usage = usage
        self._cursors = cursors

    async def answer(self, place: Place, asked: Asked) -> dict[str, WorkloadLogs]:
        """Lines by the name of their resource; a name that was asked for is always there.

        Raises:
            BadRequest: the cursor is another question's, or the search took too long.
        """
        scope = repr(["logs", place.account_id, place.workspace, asked.question])
        after, total = None, None
        if asked.cursor is not None:
            numbers = map(int, self._cursors.decode(scope, asked.cursor))
            after, total, first, last = numbers
            wanted = msgspec.structs.replace(asked.wanted, first=first, last=last)
            asked = msgspec.structs.replace(asked, wanted=wanted)
        pages = await self.pages(place, asked, after)
        return {name: self._shown(scope, asked, page, total) for name, page in pages.items()}

    def _shown(self, scope: str, asked: Asked, page: Page, total: int | None) -> WorkloadLogs:
        count = page.total if total is None else total
        cursor = None
        if page.more:
            wanted = asked.wanted
            position = (page.lines[-1].number, count, wanted.first, wanted.last)
            cursor = self._cursors.encode(scope, [str(number) for number in position])
        lines = [shown(line) for line in page.lines]
        return WorkloadLogs(logs=lines, total_count=count, next_cursor=cursor)

    async def pages(self, place: Place, asked: Asked, after: int | None = None) -> dict[str, Page]:
        """Pages by the name of their resource.

        Raises:
            BadRequest: the search took too long.
        """
        read = _of_models if asked.resource_type == calls.MODEL else _of_streams
        database = self._usage if asked.resource_type == calls.MODEL else self.store

        def limited(conn: Connection) -> dict[str, Page]:
            with at_most(conn, SECONDS):
                return read(conn, place, asked, after)

        try:
            return await self.store.search(limited, database)
        except TookTooLong:
            raise BadRequest(
                f"The search was ended after {SECONDS:g} s: choose start and end closer together, "
                "or name the resource in workloadIds.",
                code="LOG_SEARCH_TOO_WIDE",
            ) from None


def _of_streams(conn: Connection, place: Place, asked: Asked, after: int | None) -> dict[str, Page]:
    pages = {name: Page(lines=[], total=0, more=False) for name in asked.names}
    trace_id = asked.wanted.trace_id
    if trace_id and not asked.names:
        found = query.streams_of_trace(conn, place.workspace, asked.resource_type, trace_id)
    else:
        found = query.find_streams(conn, place.workspace, asked.resource_type, asked.names)
    for name, stream_id in found.items():
        key = (place.workspace, asked.resource_type, name)
        if after is None:
            given = (asked.wanted, asked.limit, asked.offset)
            pages[name] = query.page(conn, stream_id, key, *given)
        else:
            pages[name] = query.page_after(conn, stream_id, key, asked.wanted, after, asked.limit)
    return pages


def _of_models(conn: Connection, place: Place, asked: Asked, after: int | None) -> dict[str, Page]:
    pages = {}
    for name in calls.find_models(conn, place.account_id, place.workspace, asked.names):
        key = (place.workspace, calls.MODEL, name)
        if after is None:
            given = (asked.wanted, asked.limit, asked.offset)
            pages[name] = calls.page(conn, place.account_id, key, *given)
        else:
            given_after = (asked.wanted, after, asked.limit)
            pages[name] = calls.page_after(conn, place.account_id, key, *given_after)
    return pages


def in_order(pages: Sequence[Page]) -> list[Stored]:
    """The lines of several pages, the oldest first."""
    return sorted((line for page in pages for line in page.lines), key=lambda line: line.number)
