"""Deleting lines: those that are old, those beyond what a workspace may have, those of nobody.

When a workspace has too much, its largest resources give up their oldest lines first: one that
prints a lot takes nothing from those that print little.
"""

from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from sqlalchemy import BigInteger, Connection, delete, func, literal_column, or_, select, update

from serai.kernel.background import Background
from serai.kernel.clock import millis, now
from serai.kernel.repeating import again_and_again
from serai.store.reach import unbounded
from serai.store.tables.lines import log_hours, log_lines, log_origins, log_streams
from serai.telemetry.lines.entry import ROW_BYTES
from serai.telemetry.lines.records import HOUR_NS
from serai.telemetry.lines.store import LineStore

INTERVAL = 60.0
AT_ONCE = 10_000
"""Lines that one transaction deletes: others want to write too."""
HOURS_A_DAY, DAY_MS = 24, 86_400_000
DOWN_TO = 0.95
"""Share of what a workspace may have that is left, once it had more."""
_lines, _hours, _streams, _origins = log_lines.c, log_hours.c, log_streams.c, log_origins.c
_TAKEN = func.length(_lines.text) + func.length(_lines.attributes) + ROW_BYTES
log = structlog.get_logger(__name__)


class LineKeeper:
    """Deletes what is not to be kept.

    Args:
        store: of lines.
        workspaces: the names of those that there are.
        days: how long a line is kept.
        most_bytes: what the lines of one workspace may take; 0 for any amount.
    """

    def __init__(
        self,
        store: LineStore,
        workspaces: Callable[[], Awaitable[frozenset[str]]],
        days: int,
        most_bytes: int,
    ) -> None:
        self._store = store
        self._workspaces = workspaces
        self._days = days
        self._most_bytes = most_bytes
        self._background = Background()

    async def run(self) -> None:
        """Once at the start, as much may have changed meanwhile, then again and again."""
        await again_and_again(self.tidy, INTERVAL, "lines_not_deleted")

    async def tidy(self) -> None:
        """Delete all that is not to be kept."""
        known = await self._store.search(_workspaces_with_lines)
        for workspace in sorted(known - await self._workspaces()):
            await self.forget(workspace)
        oldest_hour = (millis(now()) // DAY_MS - self._days) * HOURS_A_DAY
        for stream_id in await self._store.search(_orphans):
            await self._delete_before(stream_id, None)
        for stream_id in await self._store.search(partial(_with_hours_before, hour=oldest_hour)):
            await self._delete_before(stream_id, oldest_hour * HOUR_NS)
        if self._most_bytes:
            for workspace in sorted(known):
                await self._shrink(workspace)
        await self._store.write(partial(self._drop_empty, oldest_day=oldest_hour // HOURS_A_DAY))

    def workspace_gone(self, workspace: str) -> None:
        """A workspace was deleted: its lines cannot be read from now on, and go soon."""
        self._background.start(self._forget_all(workspace))

    async def _forget_all(self, workspace: str) -> None:
        try:
            await self.forget(workspace)
            for stream_id in await self._store.search(_orphans):
                await self._delete_before(stream_id, None)
        except Exception:  # the next turn sees it again
            log.exception("lines_not_deleted", workspace=workspace)

    async def forget(self, workspace: str) -> None:
        """Let the lines of a workspace belong to nobody."""
        self._store.queue.forget(workspace)

        def drop(conn: Connection) -> None:
            conn.execute(delete(log_streams).where(_streams.workspace == workspace))
            self._store.forget_known()

        with unbounded("a workspace's lines go with it"):
            await self._store.write(drop)

    async def _delete_before(self, stream_id: int, number: int | None) -> None:
        """Delete the lines of a stream with smaller numbers, or all, a few at a time."""
        with unbounded("lines of all workspaces grow old alike"):
            while await self._store.write(partial(_delete_some, stream_id=stream_id, end=number)):
                pass

    async def _shrink(self, workspace: str) -> None:
        """Delete the oldest lines of the largest streams until all fit."""
        sizes = await self._store.search(partial(_sizes, workspace=workspace))
        if sum(sizes.values()) <= self._most_bytes:
            return
        level = fair_level(list(sizes.values()), int(self._most_bytes * DOWN_TO))
        log.info("log_lines_over_limit", workspace=workspace, kept_of_each=level)
        for stream_id, size in sizes.items():
            if size > level:
                edge = await self._store.search(
                    partial(_edge, stream_id=stream_id, excess=size - level)
                )
                await self._delete_before(stream_id, edge)

    def _drop_empty(self, conn: Connection, oldest_day: int) -> None:
        """Forget streams without lines, and origins of days whose lines are gone."""
        with unbounded("of what has no lines nothing is shown to anybody"):
            empty = ~select(_hours.hour).where(_hours.stream_id == _streams.id).exists()
            gone = conn.execute(delete(log_streams).where(empty)).rowcount
            orphaned = ~select(_streams.id).where(_streams.id == _origins.stream_id).exists()
            dropped = or_(_origins.day < oldest_day, orphaned)
            gone += conn.execute(delete(log_origins).where(dropped)).rowcount
        if gone:
            self._store.forget_known()


def fair_level(sizes: list[int], most: int) -> int:
    """The largest size at which each may be cut so that all together take at most ``most``."""
    left = most
    for place, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - place)
        if size > share:
            return share
        left -= size
    return max(sizes, default=0)


@unbounded("workspaces that are gone are looked for among all")
def _workspaces_with_lines(conn: Connection) -> frozenset[str]:
    return frozenset(conn.execute(select(_streams.workspace).distinct()).scalars())


@unbounded("lines of nobody are nobody's")
def _orphans(conn: Connection) -> list[int]:
    owned = select(_streams.id).where(_streams.id == _hours.stream_id).exists()
    return list(conn.execute(select(_hours.stream_id).where(~owned).distinct()).scalars())


@unbounded("lines of all workspaces grow old alike")
def _with_hours_before(conn: Connection, hour: int) -> list[int]:
    query = select(_hours.stream_id).where(_hours.hour < hour).distinct()
    return list(conn.execute(query).scalars())


@unbounded("each workspace may have as much as any other")
def _sizes(conn: Connection, workspace: str) -> dict[int, int]:
    """Bytes of each stream of a workspace."""
    query = (
        select(_streams.id, func.sum(_hours.size))
        .join(log_hours, _hours.stream_id == _streams.id)
        .where(_streams.workspace == workspace)
        .group_by(_streams.id)
    )
    return {stream_id: int(size) for stream_id, size in conn.execute(query)}


@unbounded("each workspace may have as much as any other")
def _edge(conn: Connection, stream_id: int, excess: int) -> int:
    """The number below which the lines of a stream take about ``excess`` bytes."""
    hours = select(_hours.hour, _hours.size).where(_hours.stream_id == stream_id)
    for hour, size in conn.execute(hours.order_by(_hours.hour)):
        if size > excess:
            return _edge_within(conn, stream_id, hour, excess)
        excess -= size
    return 1 << 62


def _edge_within(conn: Connection, stream_id: int, hour: int, excess: int) -> int:
    query = (
        select(_lines.number, _TAKEN)
        .where(_lines.stream_id == stream_id, _lines.number >= hour * HOUR_NS)
        .order_by(_lines.number)
    )
    for number, size in conn.execute(query):
        if excess <= 0:
            return int(number)
        excess -= size
    return (hour + 1) * HOUR_NS


def _delete_some(conn: Connection, stream_id: int, end: int | None) -> bool:
    """Delete the oldest lines of a stream; whether there may be more to delete."""
    mine = [_lines.stream_id == stream_id]
    if end is not None:
        mine.append(_lines.number < end)
    oldest = select(_lines.number).where(*mine).order_by(_lines.number)
    edge = conn.execute(oldest.offset(AT_ONCE).limit(1)).scalar()
    chosen = [*mine, _lines.number < edge] if edge is not None else mine
    of_hour = _lines.number // literal_column(str(HOUR_NS), BigInteger)  # as text: grouped by it
    by_hour = select(of_hour, func.sum(_TAKEN)).where(*chosen).group_by(of_hour)
    for hour, size in conn.execute(by_hour).all():
        here = (_hours.stream_id == stream_id, _hours.hour == hour)
        conn.execute(update(log_hours).where(*here).values(size=_hours.size - size))
    conn.execute(delete(log_lines).where(*chosen))
    done = edge if edge is not None else end
    past = [_hours.stream_id == stream_id]
    if done is not None:
        past.append(_hours.hour < done // HOUR_NS)
    conn.execute(delete(log_hours).where(*past))
    return edge is not None
